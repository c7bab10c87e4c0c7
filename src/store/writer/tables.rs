//! The tables of a generation, and how they are read; both an active and a sealed one are read by the same code.

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::super::error::StoreError;
use super::super::ledger::Summary;
use super::super::position::Position;
use super::super::reading::{Allowance, Found, Judged};
use super::super::record::Stored;
use super::super::segment::{Segment, SegmentError, VERSION};
use super::super::sessions::SessionRow;
use super::super::{Mark, SessionNumber};
use super::place::{Place, file_name};
use super::rows::{self, SMALL};

pub(in crate::store) const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
pub(in crate::store) const SEGMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("seg");
pub(in crate::store) const SEALED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("gens");

/// Version of the tables. Format 1 had neither sessions nor marks, format 2 no holes in the position.
pub(in crate::store) const FORMAT: u32 = 3;

/// What a generation says when it is opened.
#[derive(Debug)]
pub(in crate::store) struct Contents {
    pub(in crate::store) epoch: u32,
    pub(in crate::store) position: Position,
    pub(in crate::store) summary: Summary,
    /// The sealed generations before it, as they were when it became the active one.
    pub(in crate::store) sealed: Vec<Summary>,
    pub(in crate::store) sessions: BTreeMap<SessionNumber, SessionRow>,
    pub(in crate::store) marks: Vec<Mark>,
    /// The rows were found in a damaged file.
    pub(in crate::store) is_salvaged: bool,
}

/// What a segment adds to its generation's summary.
pub(in crate::store) fn summary_of(number: u64, segment: &Segment) -> Summary {
    Summary {
        number,
        first: segment.header.first,
        last: segment.header.last,
        count: u64::from(segment.header.count),
        bytes: segment.bytes.len() as u64,
        oldest: segment.header.stamp,
        newest: segment.header.newest,
    }
}

/// Refuses what a newer program wrote.
pub(in crate::store) fn check(
    place: &Place,
    number: u64,
    database: &impl ReadableDatabase,
) -> Result<(), StoreError> {
    let name = file_name(number);
    let format = place.guard(&name, || word(database, b"format"))?;
    match format {
        None => Err(place.damaged(&name, "no format is given")),
        Some(found) if found > FORMAT => Err(newer(place, &name, found, FORMAT)),
        Some(_) => Ok(()),
    }
}

fn word(database: &impl ReadableDatabase, key: &[u8]) -> Result<Option<u32>, redb::Error> {
    let transaction = database.begin_read()?;
    let value = transaction.open_table(META)?.get(key)?;
    Ok(value.and_then(|value| Some(u32::from_le_bytes(value.value().try_into().ok()?))))
}

/// Everything but the messages. A segment that is damaged makes it all count as damaged.
pub(in crate::store) fn contents(
    place: &Place,
    number: u64,
    database: &impl ReadableDatabase,
) -> Result<Contents, StoreError> {
    let name = file_name(number);
    check(place, number, database)?;
    let mut contents = Contents {
        epoch: 0,
        position: Position::default(),
        summary: summarize(place, number, database)?,
        sealed: Vec::new(),
        sessions: BTreeMap::new(),
        marks: Vec::new(),
        is_salvaged: false,
    };
    let is_whole = place.guard(&name, || {
        let Some(epoch) = word(database, b"epoch")? else {
            return Ok(false);
        };
        contents.epoch = epoch;
        let transaction = database.begin_read()?;
        for row in transaction.open_table(SEALED)?.iter()? {
            let (key, value) = row?;
            let Some(summary) = Summary::decode(key.value(), value.value()) else {
                return Ok(false);
            };
            contents.sealed.push(summary);
        }
        rows::read(&transaction.open_table(SMALL)?, &mut contents)
    })?;
    if !is_whole {
        return Err(place.damaged(&name, "its small rows are not as they were written"));
    }
    Ok(contents)
}

/// Calls `take` with each message and the start of the program that wrote it. A damaged segment makes it all count as
/// damaged.
pub(in crate::store) fn for_each(
    place: &Place,
    number: u64,
    database: &impl ReadableDatabase,
    mut take: impl FnMut(u32, u64, Stored),
) -> Result<(), StoreError> {
    let name = file_name(number);
    let end = place.guard(&name, || {
        let transaction = database.begin_read()?;
        for row in transaction.open_table(SEGMENTS)?.iter()? {
            let value = Bytes::copy_from_slice(row?.1.value());
            let taken = Segment::parse(value).and_then(|segment| {
                for record in segment.records() {
                    let (seq, record) = record?;
                    take(segment.header.epoch, seq, record);
                }
                Ok(())
            });
            if let Err(error) = taken {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    })?;
    end.map_err(|error| segment_error(place, &name, error))
}

pub(super) fn newer(place: &Place, name: &str, found: u32, known: u32) -> StoreError {
    StoreError::NewerFormat {
        path: place.directory.path().join(name),
        found,
        known,
    }
}

fn summarize(
    place: &Place,
    number: u64,
    database: &impl ReadableDatabase,
) -> Result<Summary, StoreError> {
    let name = file_name(number);
    let sum = place.guard(&name, || {
        let transaction = database.begin_read()?;
        let mut sum = Ok(Summary::empty(number));
        for row in transaction.open_table(SEGMENTS)?.iter()? {
            let segment = Segment::parse(Bytes::copy_from_slice(row?.1.value()));
            sum = sum.and_then(|mut sum: Summary| {
                sum.add(&summary_of(number, &segment?));
                Ok(sum)
            });
        }
        Ok(sum)
    })?;
    sum.map_err(|error| segment_error(place, &name, error))
}

fn segment_error(place: &Place, name: &str, error: SegmentError) -> StoreError {
    match error {
        SegmentError::Damaged => place.damaged(name, error),
        SegmentError::Newer(found) => newer(place, name, found.into(), VERSION.into()),
    }
}

/// Appends to `found` the messages from one position to another, both inside, as far as `allowance` goes. False: there
/// was more. A damaged segment is passed over, counted and reported.
pub(in crate::store) fn read(
    place: &Place,
    number: u64,
    database: &impl ReadableDatabase,
    range: (u64, u64),
    allowance: &mut Allowance,
    found: &mut Found,
) -> Result<bool, StoreError> {
    let name = file_name(number);
    let end = place.guard(&name, || {
        let transaction = database.begin_read()?;
        let table = transaction.open_table(SEGMENTS)?;
        let start = match table.range(..=range.0)?.next_back() {
            Some(row) => row?.0.value(),
            None => range.0,
        };
        for row in table.range(start..=range.1)? {
            let (first, value) = row?;
            let first = first.value();
            if first > range.0 {
                // What is below has been looked at, whether anything could be read there or not.
                found.reached = found.reached.max(first - 1);
            }
            if allowance.is_spent() {
                return Ok(Ok(false));
            }
            match take_segment(value.value(), range, allowance, found) {
                Ok(true) => {}
                Ok(false) => return Ok(Ok(false)),
                Err(SegmentError::Damaged) => {
                    let count = Segment::claimed_count(value.value());
                    tracing::error!(file = name, first, count, "a stored segment is damaged");
                    found.damaged.push((first, count));
                }
                Err(newer) => return Ok(Err(newer)),
            }
        }
        Ok(Ok(true))
    })?;
    end.map_err(|error| segment_error(place, &name, error))
}

/// The part of one segment that is asked for. False: the allowance ended.
fn take_segment(
    value: &[u8],
    range: (u64, u64),
    allowance: &mut Allowance,
    found: &mut Found,
) -> Result<bool, SegmentError> {
    let segment = Segment::parse(Bytes::copy_from_slice(value))?;
    if segment.header.last < range.0 {
        return Ok(true);
    }
    for record in segment.records_for(allowance.session()) {
        let (seq, record) = record?;
        if seq < range.0 {
            continue;
        }
        if seq > range.1 {
            break;
        }
        match allowance.judge(&record) {
            Judged::TooMuch => return Ok(false),
            Judged::Passed => {}
            Judged::Taken => found.records.push((seq, segment.header.epoch, record)),
        }
        found.reached = seq;
    }
    Ok(true)
}
