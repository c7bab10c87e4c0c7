//! The redb file of the state. Only the state's thread calls.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`; `head`; `clock` | u32 little endian; the head row; u64 little endian, see [`StateFile::clock_was`] |
//! | `sessions` | number | row |
//! | `subscriptions` | number, big endian, and filter | row |
//! | `retained` | topic | row |
//! | `marks` | number and packet id, big endian | row |
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
use super::super::{Mark, SessionNumber, StateChange};
use super::pending::Batch;
use super::row::{self, Counts, Head, Kept, Row, RowError};
use crate::clock::{ClockMark, WallTime};

/// The file.
pub(super) const NAME: &str = "state.redb";
pub(super) const TEMPORARY: &str = "state.redb.tmp";

const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
const SESSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sessions");
const SUBSCRIPTIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("subscriptions");
const RETAINED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("retained");
const MARKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("marks");

/// Version of the tables. Format 1 had no marks.
const FORMAT: u32 = 2;
const FORMAT_KEY: &[u8] = b"format";
const HEAD_KEY: &[u8] = b"head";
const CLOCK_KEY: &[u8] = b"clock";
/// The default of redb is 1 GiB.
const CACHE_BYTES: usize = 2 << 20;
/// Rows in one commit when a file is made anew.
const FILL_ROWS: usize = 1024;

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct StateFile {
    database: Database,
    counts: Counts,
    /// The wall clock at the last commit before it was opened at which it was set; the head has the last, set or not.
    pub(super) clock_was: Option<WallTime>,
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
            Ok(Self {
                database,
                counts,
                clock_was: None,
            })
        })?;
        for rows in rows.chunks(FILL_ROWS) {
            let changes = rows.iter().map(|row| (row.stamp, &row.change));
            file.write(place, name, epoch, clock, changes)?;
        }
        Ok(file)
    }

    /// Opens it after a check of every page.
    pub(super) fn open(place: &Place) -> Result<(Self, Head), StoreError> {
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
        if check(place, &database)? < FORMAT {
            upgrade(place, &database)?;
        }
        let (head, counts, clock_was) = place.guard(NAME, || {
            let transaction = database.begin_read()?;
            let meta = transaction.open_table(META)?;
            let clock_was = meta.get(CLOCK_KEY)?;
            let clock_was = clock_was.and_then(|value| value.value().try_into().ok());
            let head = meta.get(HEAD_KEY)?;
            let head = head.map(|value| row::decode(&Bytes::copy_from_slice(value.value())));
            let counts = Counts {
                sessions: transaction.open_table(SESSIONS)?.len()?,
                subscriptions: transaction.open_table(SUBSCRIPTIONS)?.len()?,
                retained: transaction.open_table(RETAINED)?.len()?,
            };
            Ok((head, counts, clock_was))
        })?;
        match head {
            Some(Ok((Row::Head(head), _))) => {
                let file = Self {
                    database,
                    counts,
                    clock_was: clock_was.map(|bytes| WallTime(u64::from_le_bytes(bytes))),
                };
                Ok((file, head))
            }
            Some(Err(RowError::Newer(found))) => {
                Err(newer(place, found.into(), row::VERSION.into()))
            }
            _ => Err(place.damaged(NAME, "its head is not as it was written")),
        }
    }

    /// Hands over every row, in the order of the tables; gives their bytes. One that is damaged makes the file count as
    /// damaged.
    pub(super) fn read(
        &self,
        place: &Place,
        mut take: impl FnMut(Kept),
    ) -> Result<u64, StoreError> {
        let mut reading = Reading {
            take: &mut take,
            bytes: 0,
            error: None,
        };
        place.guard(NAME, || {
            let transaction = self.database.begin_read()?;
            for row in transaction.open_table(SESSIONS)?.iter()? {
                reading.row(row?.1.value());
            }
            for table in [SUBSCRIPTIONS, RETAINED, MARKS] {
                for row in transaction.open_table(table)?.iter()? {
                    reading.row(row?.1.value());
                }
            }
            Ok(())
        })?;
        match reading.error {
            Some(RowError::Newer(found)) => Err(newer(place, found.into(), row::VERSION.into())),
            Some(RowError::Damaged) => Err(place.damaged(NAME, RowError::Damaged)),
            None => Ok(reading.bytes),
        }
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

    /// Copies every row to a new file `name`.
    pub(super) fn copy(&self, place: &Place, name: &str) -> Result<Self, StoreError> {
        let medium = place.medium(name, true)?;
        place.guard(name, || {
            let database = Database::builder()
                .set_cache_size(CACHE_BYTES)
                .create_with_backend(medium)?;
            let transaction = self.database.begin_read()?;
            copy_rows(&transaction.open_table(META)?, &database, META)?;
            copy_rows(&transaction.open_table(SESSIONS)?, &database, SESSIONS)?;
            for table in [SUBSCRIPTIONS, RETAINED, MARKS] {
                copy_rows(&transaction.open_table(table)?, &database, table)?;
            }
            Ok(Self {
                database,
                counts: self.counts,
                clock_was: self.clock_was,
            })
        })
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
    let mut marks = transaction.open_table(MARKS)?;
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
            StateChange::Marked(mark) => drop(marks.insert(mark_key(*mark).as_slice(), row)?),
            StateChange::MarkGone(mark) => drop(marks.remove(mark_key(*mark).as_slice())?),
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
    let wall = clock.reading.wall;
    if wall.is_plausible() {
        meta.insert(CLOCK_KEY, wall.0.to_le_bytes().as_slice())?;
    }
    Ok(counts)
}

/// In bounded steps; at least one, so that the table is there.
fn copy_rows<K: redb::Key + 'static>(
    from: &impl ReadableTable<K, &'static [u8]>,
    to: &Database,
    table: TableDefinition<'_, K, &'static [u8]>,
) -> Result<(), redb::Error> {
    let mut rows = from.iter()?.peekable();
    loop {
        let transaction = to.begin_write()?;
        let mut table = transaction.open_table(table)?;
        for row in rows.by_ref().take(FILL_ROWS) {
            let (key, value) = row?;
            table.insert(key.value(), value.value())?;
        }
        drop(table);
        transaction.commit()?;
        if rows.peek().is_none() {
            return Ok(());
        }
    }
}

fn prefix(number: SessionNumber) -> [u8; 8] {
    number.0.to_be_bytes()
}

fn subscription_key(number: SessionNumber, filter: &str) -> Vec<u8> {
    [prefix(number).as_slice(), filter.as_bytes()].concat()
}

fn mark_key(mark: Mark) -> Vec<u8> {
    let packet_id = mark.packet_id.get().to_be_bytes();
    [prefix(mark.session).as_slice(), &packet_id].concat()
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
        Ok(Some(database)) => check::<ReadOnlyDatabase>(place, database).map(drop),
        Ok(None) => Ok(()),
        Err(_) => return Ok(()),
    };
    match checked {
        Err(error @ (StoreError::NewerFormat { .. } | StoreError::InUse { .. })) => Err(error),
        _ => Ok(()),
    }
}

/// The format of the file, which is one that is known.
fn check<D: ReadableDatabase>(place: &Place, database: &D) -> Result<u32, StoreError> {
    let format = place.guard(NAME, || {
        let transaction = database.begin_read()?;
        let value = transaction.open_table(META)?.get(FORMAT_KEY)?;
        Ok(value.and_then(|value| Some(u32::from_le_bytes(value.value().try_into().ok()?))))
    })?;
    match format {
        None => Err(place.damaged(NAME, "no format is given")),
        Some(found) if found > FORMAT => Err(newer(place, found, FORMAT)),
        Some(found) => Ok(found),
    }
}

/// Gives an older file the tables that it lacks, and the format with them: what is written to it from here on an older
/// program must not read.
fn upgrade(place: &Place, database: &Database) -> Result<(), StoreError> {
    place.guard(NAME, || {
        let transaction = database.begin_write()?;
        transaction.open_table(MARKS)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
        drop(meta);
        Ok(transaction.commit()?)
    })
}

pub(super) fn newer(place: &Place, found: u32, known: u32) -> StoreError {
    StoreError::NewerFormat {
        path: place.directory.path().join(NAME),
        found,
        known,
    }
}

struct Reading<'a> {
    take: &'a mut dyn FnMut(Kept),
    bytes: u64,
    error: Option<RowError>,
}

impl Reading<'_> {
    fn row(&mut self, value: &[u8]) {
        self.bytes += value.len() as u64;
        match row::decode(&Bytes::copy_from_slice(value)) {
            Ok((Row::Kept(kept), _)) => (self.take)(kept),
            Ok((Row::Head(_), _)) => self.error = Some(RowError::Damaged),
            Err(error) => self.error = Some(error),
        }
    }
}
