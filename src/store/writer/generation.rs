//! One generation: a redb file of about 7 MiB of segments, only appended to, and unlinked whole.
//!
//! Tables, all `&[u8]` or `u64` to `&[u8]`, because redb 5 changes the identity of other types:
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `format`, `number`, `epoch` | u32 / u64 little endian |
//! | `seg` | position of the first message | a segment |
//! | `cur` | see [`super::rows`] | small rows: the position, sessions, marks |
//! | `gens` | number of a sealed generation | its summary |
//!
//! A file is made under a name ending in `.tmp`, gets its first commit, and is renamed then: a power cut while redb makes
//! a file leaves one in three that never opens again. The active file is opened with a check of every page; a sealed
//! one is opened to read only, and each segment has a CRC of its own. Every call into redb is made under
//! `catch_unwind`, since redb may panic on a damaged file.

use std::fmt;

use redb::{Database, ReadOnlyDatabase};

use super::super::error::StoreError;
use super::super::keeper::Rows;
use super::super::position::Position;
use super::super::reading::{Allowance, Found};
use super::super::record::Stored;
use super::super::segment::Segment;
use super::place::{Place, file_name};
use super::rows::{self, READER, SMALL};
use super::tables::{self, Contents, FORMAT, META, SEGMENTS};

/// The default of redb is 1 GiB.
const ACTIVE_CACHE_BYTES: usize = 2 << 20;
const READER_CACHE_BYTES: usize = 1 << 20;

/// A generation open for writing.
#[derive(Debug)]
pub(in crate::store) struct Generation {
    number: u64,
    database: Database,
    /// As it is stored.
    position: Position,
}

/// A sealed generation open for reading.
pub(in crate::store) struct SealedGeneration {
    number: u64,
    database: ReadOnlyDatabase,
}

impl Generation {
    /// Makes generation `number` and gives it its name when its first commit, with all that is carried over, is done.
    pub(in crate::store) fn create(
        place: &Place,
        number: u64,
        epoch: u32,
        rows: &Rows,
    ) -> Result<Self, StoreError> {
        let name = file_name(number);
        let temporary = format!("{name}.tmp");
        let generation = Self::fill(place, &temporary, number, epoch, rows, &[])?;
        let directory = &place.directory;
        directory
            .rename(&temporary, &name)
            .and_then(|()| directory.sync())
            .map_err(|error| place.io(&name, error))?;
        Ok(generation)
    }

    /// As [`Self::create`], but leaves it under the name `name`.
    pub(in crate::store) fn fill(
        place: &Place,
        name: &str,
        number: u64,
        epoch: u32,
        rows: &Rows,
        segments: &[Segment],
    ) -> Result<Self, StoreError> {
        let medium = place.medium(name, true)?;
        place.guard(name, || {
            let database = Database::builder()
                .set_cache_size(ACTIVE_CACHE_BYTES)
                .create_with_backend(medium)?;
            let transaction = database.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(b"format".as_slice(), FORMAT.to_le_bytes().as_slice())?;
                meta.insert(b"number".as_slice(), number.to_le_bytes().as_slice())?;
                meta.insert(b"epoch".as_slice(), epoch.to_le_bytes().as_slice())?;
                rows::write(&transaction, rows)?;
                let mut table = transaction.open_table(SEGMENTS)?;
                for segment in segments {
                    table.insert(segment.header.first, segment.bytes.as_ref())?;
                }
            }
            transaction.commit()?;
            Ok(Self {
                number,
                database,
                position: rows.position.clone(),
            })
        })
    }

    /// Opens what is to be written on, or was not closed in order, after a check of every page.
    pub(in crate::store) fn open(
        place: &Place,
        number: u64,
    ) -> Result<(Self, Contents), StoreError> {
        let name = file_name(number);
        let medium = place.medium(&name, false)?;
        if redb::StorageBackend::len(&medium).map_err(|error| place.io(&name, error))? == 0 {
            // redb would make a new database of it.
            return Err(place.damaged(&name, "the file is empty"));
        }
        drop(medium);
        SealedGeneration::refuse_newer(place, number)?;
        let medium = place.medium(&name, false)?;
        let database = place.guard(&name, || {
            Ok(Database::builder()
                .set_cache_size(ACTIVE_CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create_with_backend(medium)?)
        })?;
        let contents = tables::contents(place, number, &database)?;
        let generation = Self {
            number,
            database,
            position: contents.position.clone(),
        };
        Ok((generation, contents))
    }

    pub(in crate::store) fn number(&self) -> u64 {
        self.number
    }

    /// One transaction: segments, and the small rows that changed.
    pub(in crate::store) fn commit(
        &mut self,
        place: &Place,
        segments: &[Segment],
        rows: &Rows,
    ) -> Result<(), StoreError> {
        let has_changed = rows.whole
            || rows.position != self.position
            || !(rows.sessions.is_empty() && rows.marks.is_empty() && rows.summaries.is_empty());
        place.guard(&file_name(self.number), || {
            let transaction = self.database.begin_write()?;
            {
                let mut table = transaction.open_table(SEGMENTS)?;
                for segment in segments {
                    table.insert(segment.header.first, segment.bytes.as_ref())?;
                }
                if has_changed {
                    rows::write(&transaction, rows)?;
                }
            }
            transaction.commit()?;
            Ok(())
        })?;
        self.position = rows.position.clone();
        Ok(())
    }

    /// A new start of the program. What it writes from here on an older one must not read, so the format goes with it.
    pub(in crate::store) fn start_epoch(
        &mut self,
        place: &Place,
        position: &Position,
    ) -> Result<(), StoreError> {
        place.guard(&file_name(self.number), || {
            let transaction = self.database.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(b"format".as_slice(), FORMAT.to_le_bytes().as_slice())?;
                meta.insert(b"epoch".as_slice(), position.epoch.to_le_bytes().as_slice())?;
                let mut small = transaction.open_table(SMALL)?;
                small.insert(READER, position.encode().as_slice())?;
            }
            transaction.commit()?;
            Ok(())
        })?;
        self.position = position.clone();
        Ok(())
    }

    /// Says that its rows were salvaged, until a commit writes them all.
    pub(in crate::store) fn note_salvage(&self, place: &Place) -> Result<(), StoreError> {
        place.guard(&file_name(self.number), || {
            let transaction = self.database.begin_write()?;
            rows::note_salvage(&transaction)?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// Everything but the messages.
    pub(in crate::store) fn contents(&self, place: &Place) -> Result<Contents, StoreError> {
        tables::contents(place, self.number, &self.database)
    }

    /// Appends to `found` what it has from `from` to `until`, as far as `allowance` goes. False: there was more.
    pub(in crate::store) fn read(
        &self,
        place: &Place,
        range: (u64, u64),
        allowance: &mut Allowance,
        found: &mut Found,
    ) -> Result<bool, StoreError> {
        tables::read(place, self.number, &self.database, range, allowance, found)
    }

    /// As [`SealedGeneration::for_each`].
    pub(in crate::store) fn for_each(
        &self,
        place: &Place,
        take: impl FnMut(u32, u64, Stored),
    ) -> Result<(), StoreError> {
        tables::for_each(place, self.number, &self.database, take)
    }

    /// Ends it in order, so that it can be opened to read only.
    pub(in crate::store) fn close(self, place: &Place) -> Result<(), StoreError> {
        place.guard(&file_name(self.number), || Ok(self.database.close()?))
    }
}

impl SealedGeneration {
    /// Opens it. One that was not closed in order (a crash while rolling) is repaired first.
    pub(in crate::store) fn open(place: &Place, number: u64) -> Result<Self, StoreError> {
        if let Some(sealed) = Self::open_clean(place, number)? {
            return Ok(sealed);
        }
        Generation::open(place, number)?.0.close(place)?;
        Self::open_clean(place, number)?
            .ok_or_else(|| place.damaged(&file_name(number), "cannot be repaired"))
    }

    /// `None`: it was not closed in order.
    fn open_clean(place: &Place, number: u64) -> Result<Option<Self>, StoreError> {
        let name = file_name(number);
        let medium = place.medium(&name, false)?;
        let database = place.guard(&name, || {
            let mut builder = Database::builder();
            builder.set_cache_size(READER_CACHE_BYTES);
            Ok(match builder.open_read_only_with_backend(medium) {
                Ok(database) => Some(database),
                Err(redb::DatabaseError::RepairAborted) => None,
                Err(error) => return Err(error.into()),
            })
        })?;
        Ok(database.map(|database| Self { number, database }))
    }

    /// Looks at the format before anything is written to the file. What cannot be told here shows later.
    fn refuse_newer(place: &Place, number: u64) -> Result<(), StoreError> {
        let checked = match Self::open_clean(place, number) {
            Ok(Some(sealed)) => tables::check(place, number, &sealed.database),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match checked {
            Err(error @ (StoreError::NewerFormat { .. } | StoreError::InUse { .. })) => Err(error),
            _ => Ok(()),
        }
    }

    pub(in crate::store) fn number(&self) -> u64 {
        self.number
    }

    pub(in crate::store) fn contents(&self, place: &Place) -> Result<Contents, StoreError> {
        tables::contents(place, self.number, &self.database)
    }

    /// Calls `take` with each message and the start of the program that wrote it.
    pub(in crate::store) fn for_each(
        &self,
        place: &Place,
        take: impl FnMut(u32, u64, Stored),
    ) -> Result<(), StoreError> {
        tables::for_each(place, self.number, &self.database, take)
    }

    /// As [`Generation::read`].
    pub(in crate::store) fn read(
        &self,
        place: &Place,
        range: (u64, u64),
        allowance: &mut Allowance,
        found: &mut Found,
    ) -> Result<bool, StoreError> {
        tables::read(place, self.number, &self.database, range, allowance, found)
    }
}

impl fmt::Debug for SealedGeneration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SealedGeneration")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
