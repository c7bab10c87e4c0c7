//! A sealed generation of which little is wanted is made anew with that, so that one old message does not pin the disk.
//!
//! The new file is made under a name ending in `.tmp` and takes the place of the old one when it is whole: at a crash
//! there is the one or the other, under the same number, with the same positions.

use super::super::error::StoreError;
use super::super::keeper::Rows;
use super::super::ledger::Summary;
use super::super::sessions::Survivors;
use super::generation::{Generation, SealedGeneration};
use super::place::{Place, file_name};
use super::salvage::pack;
use super::tables::summary_of;

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
    let rows = Rows {
        position: contents.position,
        sessions: contents
            .sessions
            .into_iter()
            .map(|(session, row)| (session, Some(row)))
            .collect(),
        summaries: contents.sealed,
        ..Rows::default()
    };
    let temporary = format!("{name}.tmp");
    let new = Generation::fill(place, &temporary, number, contents.epoch, &rows, &segments)?;
    new.close(place)?;
    let directory = &place.directory;
    directory
        .rename(&temporary, &name)
        .and_then(|()| directory.sync())
        .map_err(|error| place.io(&name, error))?;
    tracing::debug!(
        file = name,
        messages = left.count,
        "rewritten with what is still wanted"
    );
    Ok((left, place.size(&name)?))
}
