//! The redb file of the state. Only the state's thread calls.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`; `head` | u32 little endian; the head row |
//! | `sessions` | number | row |
//! | `subscriptions` | number, big endian, and filter | row |
//! | `retained` | topic | row |
//!
//! As a generation of a log: made under a name ending in `.tmp` and renamed after its first commits; opened with a check of
//! every page; every call into redb under `catch_unwind`. Every row has a CRC of its own (`row`).

use bytes::Bytes;
use redb::{
    Database, ReadOnlyDatabase, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, WriteTransaction,
};

use super::super::error::StoreError;
use super::super::writer::Place;
use super::super::{SessionNumber, StateChange};
use super::pending::Batch;
use super::row::{self, Counts, Head, Kept, Row, RowError};
use crate::clock::ClockMark;

/// The file.
pub(super) const NAME: &str = "state.redb";
pub(super) const TEMPORARY: &str = "state.redb.tmp";

const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
const SESSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sessions");
const SUBSCRIPTIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("subscriptions");
const RETAINED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("retained");

/// Version of the tables.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";
const HEAD_KEY: &[u8] = b"head";
/// The default of redb is 1 GiB.
const CACHE_BYTES: usize = 1 << 20;
/// Rows in one commit when a file is made anew.
const FILL_ROWS: usize = 1024;

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct StateFile {
    database: Database,
    counts: Counts,
}

/// What the file has.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// `None`: it was not found.
    pub(super) head: Option<Head>,
    pub(super) rows: Vec<Kept>,
    /// Bytes of the rows.
    pub(super) bytes: u64,
}

impl StateFile {
    /// Makes the file under `name` with `rows`.
    pub(super) fn fill(
        place: &Place,
        name: &str,
        epoch: u32,
        clock: ClockMark,
        rows: &[Kept],
    ) -> Result<Self, StoreError> {
        let medium = place.medium(name, true)?;
        let mut file = place.guard(name, || {
            let database = Database::builder()
                .set_cache_size(CACHE_BYTES)
                .create_with_backend(medium)?;
            let transaction = database.begin_write()?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
            drop(meta);
            let counts = write(&transaction, epoch, clock, std::iter::empty())?;
            transaction.commit()?;
            Ok(Self { database, counts })
        })?;
        for rows in rows.chunks(FILL_ROWS) {
            let changes = rows.iter().map(|row| (row.stamp, &row.change));
            file.write(place, name, epoch, clock, changes)?;
        }
        Ok(file)
    }

    /// Opens it after a check of every page, and reads all of it.
    pub(super) fn open(place: &Place) -> Result<(Self, Contents), StoreError> {
        let medium = place.medium(NAME, false)?;
        if redb::StorageBackend::len(&medium).map_err(|error| place.io(NAME, error))? == 0 {
            // redb would make a new database of it.
            return Err(place.damaged(NAME, "the file is empty"));
        }
        drop(medium);
        refuse_newer(place)?;
        let medium = place.medium(NAME, false)?;
        let database = place.guard(NAME, || {
            Ok(Database::builder()
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create_with_backend(medium)?)
        })?;
        check(place, &database)?;
        let (contents, counts) = contents(place, &database)?;
        Ok((Self { database, counts }, contents))
    }

    /// Commits `batch`, and that the clocks stand at `clock`.
    pub(super) fn commit(
        &mut self,
        place: &Place,
        epoch: u32,
        clock: ClockMark,
        batch: Option<&Batch>,
    ) -> Result<(), StoreError> {
        let rows = batch.into_iter().flat_map(Batch::rows);
        let changes = rows.map(|row| (row.stamp, &row.change));
        self.write(place, NAME, epoch, clock, changes)
    }

    fn write<'a>(
        &mut self,
        place: &Place,
        name: &str,
        epoch: u32,
        clock: ClockMark,
        changes: impl Iterator<Item = (u64, &'a StateChange)>,
    ) -> Result<(), StoreError> {
        self.counts = place.guard(name, || {
            let transaction = self.database.begin_write()?;
            let counts = write(&transaction, epoch, clock, changes)?;
            transaction.commit()?;
            Ok(counts)
        })?;
        Ok(())
    }

    /// Rows in its tables.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Ends it in order.
    pub(super) fn close(self, place: &Place, name: &str) -> Result<(), StoreError> {
        place.guard(name, || Ok(self.database.close()?))
    }
}

fn write<'a>(
    transaction: &WriteTransaction,
    epoch: u32,
    clock: ClockMark,
    changes: impl Iterator<Item = (u64, &'a StateChange)>,
) -> Result<Counts, redb::Error> {
    let mut sessions = transaction.open_table(SESSIONS)?;
    let mut subscriptions = transaction.open_table(SUBSCRIPTIONS)?;
    let mut retained = transaction.open_table(RETAINED)?;
    for (stamp, change) in changes {
        let row = row::encode(stamp, change).unwrap_or_default();
        let row = row.as_slice();
        match change {
            StateChange::Session(number, _) => drop(sessions.insert(number.0, row)?),
            StateChange::SessionGone(number) => {
                sessions.remove(number.0)?;
                let (from, to) = (prefix(*number), prefix(SessionNumber(number.0 + 1)));
                subscriptions
                    .retain_in::<&[u8], _>(from.as_slice()..to.as_slice(), |_, _| false)?;
            }
            StateChange::Subscription(number, filter, _) => {
                drop(subscriptions.insert(subscription_key(*number, filter).as_slice(), row)?);
            }
            StateChange::SubscriptionGone(number, filter) => {
                drop(subscriptions.remove(subscription_key(*number, filter).as_slice())?);
            }
            StateChange::Retained(message, _) => {
                drop(retained.insert(message.topic.as_bytes().as_ref(), row)?);
            }
            StateChange::RetainedGone(topic) => {
                drop(retained.remove(topic.as_bytes().as_ref())?);
            }
        }
    }
    let counts = Counts {
        sessions: sessions.len()?,
        subscriptions: subscriptions.len()?,
        retained: retained.len()?,
    };
    let head = Head {
        epoch,
        clock,
        counts,
    };
    let mut meta = transaction.open_table(META)?;
    meta.insert(HEAD_KEY, head.encode().as_slice())?;
    Ok(counts)
}

fn prefix(number: SessionNumber) -> [u8; 8] {
    number.0.to_be_bytes()
}

fn subscription_key(number: SessionNumber, filter: &str) -> Vec<u8> {
    [prefix(number).as_slice(), filter.as_bytes()].concat()
}

/// Looks at the format before anything is written to the file. What cannot be told here shows later.
fn refuse_newer(place: &Place) -> Result<(), StoreError> {
    let medium = place.medium(NAME, false)?;
    let database = place.guard(NAME, || {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        Ok(match builder.open_read_only_with_backend(medium) {
            Ok(database) => Some(database),
            // It was not closed in order.
            Err(redb::DatabaseError::RepairAborted) => None,
            Err(error) => return Err(error.into()),
        })
    });
    let checked = match &database {
        Ok(Some(database)) => check::<ReadOnlyDatabase>(place, database),
        Ok(None) => Ok(()),
        Err(_) => return Ok(()),
    };
    match checked {
        Err(error @ (StoreError::NewerFormat { .. } | StoreError::InUse { .. })) => Err(error),
        _ => Ok(()),
    }
}

fn check<D: ReadableDatabase>(place: &Place, database: &D) -> Result<(), StoreError> {
    let format = place.guard(NAME, || {
        let transaction = database.begin_read()?;
        let value = transaction.open_table(META)?.get(FORMAT_KEY)?;
        Ok(value.and_then(|value| Some(u32::from_le_bytes(value.value().try_into().ok()?))))
    })?;
    match format {
        None => Err(place.damaged(NAME, "no format is given")),
        Some(found) if found > FORMAT => Err(newer(place, found, FORMAT)),
        Some(_) => Ok(()),
    }
}

pub(super) fn newer(place: &Place, found: u32, known: u32) -> StoreError {
    StoreError::NewerFormat {
        path: place.directory.path().join(NAME),
        found,
        known,
    }
}

/// All rows; one that is damaged makes the file count as damaged.
fn contents(place: &Place, database: &Database) -> Result<(Contents, Counts), StoreError> {
    let read = place.guard(NAME, || {
        let transaction = database.begin_read()?;
        let mut reading = Reading::default();
        let meta = transaction.open_table(META)?;
        if let Some(value) = meta.get(HEAD_KEY)? {
            reading.take(value.value());
        }
        let sessions = transaction.open_table(SESSIONS)?;
        for row in sessions.iter()? {
            reading.take(row?.1.value());
        }
        let subscriptions = transaction.open_table(SUBSCRIPTIONS)?;
        for row in subscriptions.iter()? {
            reading.take(row?.1.value());
        }
        let retained = transaction.open_table(RETAINED)?;
        for row in retained.iter()? {
            reading.take(row?.1.value());
        }
        let counts = Counts {
            sessions: sessions.len()?,
            subscriptions: subscriptions.len()?,
            retained: retained.len()?,
        };
        Ok((reading, counts))
    });
    let (reading, counts) = read?;
    match reading.error {
        Some(RowError::Newer(found)) => Err(newer(place, found.into(), row::VERSION.into())),
        Some(RowError::Damaged) => Err(place.damaged(NAME, RowError::Damaged)),
        None if reading.contents.head.is_none() => Err(place.damaged(NAME, "its head is missing")),
        None => Ok((reading.contents, counts)),
    }
}

#[derive(Debug, Default)]
struct Reading {
    contents: Contents,
    error: Option<RowError>,
}

impl Reading {
    fn take(&mut self, value: &[u8]) {
        self.contents.bytes += value.len() as u64;
        match row::decode(&Bytes::copy_from_slice(value)) {
            Ok((Row::Head(head), _)) => self.contents.head = Some(head),
            Ok((Row::Kept(kept), _)) => self.contents.rows.push(kept),
            Err(error) => self.error = Some(error),
        }
    }
}
