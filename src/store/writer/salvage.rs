//! What to do with a damaged file: put it aside, and make its generation anew from the segments and positions that can be
//! found in its bytes.
//!
//! Copies that redb left behind are found too, also ones that were never committed: of two messages at one position the one
//! of the later start of the program wins, and what the position found there says is done is left out. So nothing is
//! invented, but a message that was done may come back; all of them are of an earlier epoch or will be, so they count as
//! possibly sent. The session at the upstream is not carried over: it may hold packet ids of messages that were lost. Nor
//! are marks: one that had been removed would swallow a message that comes under its packet id. Where all that is found is
//! of a newer program, the file is left to that.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::SessionNumber;
use super::super::error::StoreError;
use super::super::keeper::Rows;
use super::super::ledger::Summary;
use super::super::position::{self, Position};
use super::super::record::Stored;
use super::super::segment::{self, Segment, SegmentEncoder, SegmentError};
use super::super::sessions::{self, SessionRow};
use super::generation::{Generation, SealedGeneration};
use super::place::{Place, file_name, number_of};
use super::tables::{newer, summary_of};
use crate::clock;

/// Damaged files that are kept for a look; the oldest goes first.
const KEPT: usize = 2;
/// Where no position was found, it is not known how many starts there were; no (epoch, position) may be used twice.
const UNKNOWN_EPOCHS: u32 = 1000;

/// Makes generation `number` anew. The damaged file is kept beside it as `*.bad-<seconds since 1970>`.
pub(in crate::store) fn salvage(
    place: &Place,
    number: u64,
    damage: &StoreError,
) -> Result<Summary, StoreError> {
    let name = file_name(number);
    tracing::error!(%damage, "putting the file aside and salvaging what is in it");
    let bytes = place.directory.read(&name);
    let bytes = bytes.map_err(|error| place.io(&name, error))?;
    let found = scan(&Bytes::from(bytes));
    if let Some(version) = found.newer.filter(|_| found.records.is_empty()) {
        return Err(newer(place, &name, version.into(), segment::VERSION.into()));
    }
    let (position, sessions) = match found.position {
        Some(position) => (position, found.sessions),
        None => older_rows(place, number, &found),
    };
    let wanted = found.records.into_iter();
    let wanted = wanted.filter(|(seq, _)| *seq > position.cursor && !position.done.contains(*seq));
    let segments = pack(wanted);
    let mut summary = Summary::empty(number);
    for segment in &segments {
        summary.add(&summary_of(number, segment));
    }
    let epoch = position.epoch;
    let position = Position {
        // Its counts are of what has just been left out.
        touched: position
            .touched
            .iter()
            .filter(|(of, _)| *of != number)
            .copied()
            .collect(),
        // Nobody knows any more what is unfinished in it.
        session: None,
        ..position
    };
    let rows = Rows {
        position,
        sessions: sessions
            .into_iter()
            .map(|(session, row)| (session, Some(row)))
            .collect(),
        ..Rows::default()
    };
    let temporary = format!("{name}.tmp");
    let generation = Generation::fill(place, &temporary, number, epoch, &rows, &segments)?;
    generation.note_salvage(place)?;
    generation.close(place)?;
    put_aside(place, &name, &temporary)?;
    tracing::error!(
        file = name,
        messages = summary.count,
        "salvaged; these messages may have been sent before"
    );
    Ok(summary)
}

/// Ends a salvage that was interrupted between its two renames.
pub(in crate::store) fn finish(place: &Place, files: &[(String, u64)]) -> Result<(), StoreError> {
    for (temporary, _) in files {
        let Some(name) = temporary.strip_suffix(".tmp") else {
            continue;
        };
        let put_aside = format!("{name}.bad-");
        let is_gone = !files.iter().any(|(file, _)| file == name);
        if number_of(name).is_some()
            && is_gone
            && files.iter().any(|(file, _)| file.starts_with(&put_aside))
        {
            let renamed = place.directory.rename(temporary, name);
            renamed
                .and_then(|()| place.directory.sync())
                .map_err(|error| place.io(name, error))?;
        }
    }
    Ok(())
}

/// Puts `name` aside and gives its name to `temporary`.
pub(in crate::store) fn put_aside(
    place: &Place,
    name: &str,
    temporary: &str,
) -> Result<(), StoreError> {
    let directory = &place.directory;
    let bad = format!("{name}.bad-{}", clock::wall().0 / 1000);
    // The new file's name must be there before the old one's goes: see `finish`.
    directory
        .sync()
        .and_then(|()| directory.rename(name, &bad))
        .and_then(|()| directory.rename(temporary, name))
        .and_then(|()| directory.sync())
        .map_err(|error| place.io(name, error))?;
    let files = directory.list().map_err(|error| place.io("", error))?;
    let mut bad: Vec<_> = files
        .into_iter()
        .filter_map(|(file, _)| Some((file.rsplit_once(".bad-")?.1.parse::<u64>().ok()?, file)))
        .collect();
    bad.sort_unstable();
    let surplus = bad.len().saturating_sub(KEPT);
    for (_, file) in bad.into_iter().take(surplus) {
        let removed = directory.remove(&file);
        removed.map_err(|error| place.io(&file, error))?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Scanned {
    /// By position: epoch and message.
    records: BTreeMap<u64, (u32, Stored)>,
    position: Option<Position>,
    sessions: BTreeMap<SessionNumber, SessionRow>,
    /// The version of a segment that a newer program wrote.
    newer: Option<u8>,
}

/// Looks at every byte for what starts a segment or a position.
fn scan(bytes: &Bytes) -> Scanned {
    let mut scanned = Scanned::default();
    for at in 0..bytes.len() {
        let rest = bytes.get(at..).unwrap_or(&[]);
        if rest.first() != segment::MAGIC.first() {
            continue;
        }
        if rest.starts_with(segment::MAGIC) {
            match Segment::parse(bytes.slice(at..)) {
                Ok(segment) => scanned.take(&segment),
                Err(SegmentError::Newer(version)) => scanned.newer = Some(version),
                Err(SegmentError::Damaged) => {}
            }
        } else if rest.starts_with(position::MAGIC)
            && let Some(found) = Position::decode(bytes.slice(at..))
        {
            let newest = scanned.position.get_or_insert_with(|| found.clone());
            if (found.epoch, found.cursor) > (newest.epoch, newest.cursor) {
                *newest = found;
            }
        } else if rest.starts_with(sessions::ROW_MAGIC)
            && let Some(found) = SessionRow::decode(bytes.slice(at..))
        {
            let slot = scanned.sessions.entry(found.session);
            let newest = slot.or_insert_with(|| found.clone());
            if (found.epoch, found.order) > (newest.epoch, newest.order) {
                *newest = found;
            }
        }
    }
    scanned
}

impl Scanned {
    fn take(&mut self, segment: &Segment) {
        let epoch = segment.header.epoch;
        for (seq, record) in segment.records().flatten() {
            let slot = self.records.entry(seq);
            let held = slot.or_insert_with(|| (epoch, record.clone()));
            if held.0 < epoch {
                *held = (epoch, record);
            }
        }
    }
}

/// Packs messages again, each with the epoch it had.
pub(super) fn pack(records: impl IntoIterator<Item = (u64, (u32, Stored))>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut current: Option<(u32, SegmentEncoder)> = None;
    for (seq, (epoch, record)) in records {
        if current.as_ref().is_some_and(|(of, _)| *of != epoch)
            && let Some((_, encoder)) = current.take()
        {
            segments.extend(encoder.finish());
        }
        let (_, encoder) = current.get_or_insert_with(|| (epoch, SegmentEncoder::new(epoch)));
        encoder.push(seq, &record);
    }
    if let Some((_, encoder)) = current {
        segments.extend(encoder.finish());
    }
    segments
}

/// The rows in the newest older generation, those found in the damaged one before them; else everything found is to be
/// sent.
fn older_rows(
    place: &Place,
    number: u64,
    found: &Scanned,
) -> (Position, BTreeMap<SessionNumber, SessionRow>) {
    let mut position = Position::default();
    let mut sessions = found.sessions.clone();
    let files = place.directory.list().unwrap_or_default();
    let mut older: Vec<_> = files
        .iter()
        .filter_map(|(name, _)| number_of(name))
        .collect();
    older.retain(|other| *other < number);
    older.sort_unstable();
    let read = |number: u64| SealedGeneration::open(place, number)?.contents(place);
    if let Some(contents) = older.iter().rev().find_map(|number| read(*number).ok()) {
        position = contents.position;
        position.epoch = position.epoch.max(contents.epoch);
        for (session, row) in contents.sessions {
            sessions.entry(session).or_insert(row);
        }
    } else if let Some(first) = found.records.keys().next() {
        position.cursor = first.saturating_sub(1);
    }
    let epochs = found.records.values().map(|(epoch, _)| *epoch);
    let highest = epochs.max().unwrap_or(0).max(position.epoch);
    position.epoch = highest.saturating_add(UNKNOWN_EPOCHS);
    position.gaps.skip_unknown();
    (position, sessions)
}
