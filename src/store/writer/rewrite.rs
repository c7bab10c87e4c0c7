//! A sealed generation of which little is wanted is made anew with that, so that one old message does not pin the disk.
//!
//! The new file is made under a name ending in `.tmp` and takes the place of the old one when it is whole: at a crash
//! there is the one or the other, under the same number, with the same positions.
//!
//! So is an active one of which it is not sure that the medium has all of it.

use super::super::error::StoreError;
use super::super::keeper::Rows;
use super::super::ledger::Summary;
use super::super::sessions::Survivors;
use super::generation::{Generation, SealedGeneration};
use super::place::{Place, file_name};
use super::salvage::pack;
use super::tables::{Contents, summary_of};

/// Makes generation `number` anew with what `survivors` want. Gives what is left and the size of the file.
pub(super) fn rewrite(
    place: &Place,
    number: u64,
    survivors: &Survivors,
) -> Result<(Summary, u64), StoreError> {
    let name = file_name(number);
    let old = SealedGeneration::open(place, number)?;
    let contents = old.contents(place)?;
    let mut records = Vec::new();
    old.for_each(place, |epoch, seq, mut record| {
        record
            .wants
            .retain(|want| survivors.want(seq, want.session));
        if !record.wants.is_empty() {
            records.push((seq, (epoch, record)));
        }
    })?;
    drop(old);
    let segments = pack(records);
    let mut left = Summary::empty(number);
    for segment in &segments {
        left.add(&summary_of(number, segment));
    }
    let epoch = contents.epoch;
    let rows = rows_of(contents);
    let temporary = format!("{name}.tmp");
    let new = Generation::fill(place, &temporary, number, epoch, &rows, &segments)?;
    new.close(place)?;
    publish(place, number)?;
    tracing::debug!(
        file = name,
        messages = left.count,
        "rewritten with what is still wanted"
    );
    Ok((left, place.size(&name)?))
}

/// Copies a generation that is open for writing, whole, to a file that has not its name yet: see [`publish`].
pub(super) fn copy(place: &Place, active: &Generation) -> Result<Generation, StoreError> {
    let number = active.number();
    let contents = active.contents(place)?;
    let (epoch, is_salvaged) = (contents.epoch, contents.is_salvaged);
    let mut records = Vec::new();
    active.for_each(place, |epoch, seq, record| {
        records.push((seq, (epoch, record)))
    })?;
    let temporary = format!("{}.tmp", file_name(number));
    let rows = rows_of(contents);
    let copy = Generation::fill(place, &temporary, number, epoch, &rows, &pack(records))?;
    if is_salvaged {
        copy.note_salvage(place)?;
    }
    Ok(copy)
}

/// Gives the file that was made for generation `number` its name, in place of the one that had it.
pub(super) fn publish(place: &Place, number: u64) -> Result<(), StoreError> {
    let name = file_name(number);
    let directory = &place.directory;
    directory
        .rename(&format!("{name}.tmp"), &name)
        .and_then(|()| directory.sync())
        .map_err(|error| place.io(&name, error))
}

fn rows_of(contents: Contents) -> Rows {
    let sessions = contents.sessions.into_iter();
    Rows {
        position: contents.position,
        sessions: sessions
            .map(|(session, row)| (session, Some(row)))
            .collect(),
        marks: contents
            .marks
            .into_iter()
            .map(|mark| (mark, true))
            .collect(),
        summaries: contents.sealed,
        ..Rows::default()
    }
}
