//! The generation files of a log together: opened, written, rolled, read, unlinked. Only the writer thread calls.
//!
//! The highest number is the active generation; all others are sealed. One sealed file is kept open for the reader.

use super::super::error::StoreError;
use super::super::keeper::{Commit, Loaded, Rows};
use super::super::ledger::Summary;
use super::super::position::Position;
use super::super::reading::{Allowance, Ask, Found};
use super::super::record::Stored;
use super::super::segment::SegmentEncoder;
use super::super::sessions::Survivors;
use super::generation::{Generation, SealedGeneration};
use super::place::{Place, file_name};
use super::tables::{Contents, summary_of};
use super::{rewrite, salvage};

/// See the head of this file.
#[derive(Debug)]
pub(in crate::store) struct Files {
    active: Generation,
    reader: Option<SealedGeneration>,
}

/// What a read of the files gave.
#[derive(Debug)]
pub(in crate::store) enum FoundOrSalvaged {
    Found(Found),
    /// A file was damaged and has been made anew; read again.
    Salvaged(Summary),
}

impl Files {
    /// Opens the files, or makes the first. `epoch`: of the present start, where it has begun already; else a new one
    /// is begun and committed.
    pub(in crate::store) fn open(
        place: &Place,
        epoch: Option<u32>,
    ) -> Result<(Self, Loaded), StoreError> {
        let mut files = clean(place)?;
        let Some((number, _)) = files.pop() else {
            return Self::begin(place, epoch.unwrap_or(1));
        };
        let (mut active, contents) = open_active(place, number)?;
        let Contents {
            epoch: last_epoch,
            mut position,
            summary,
            sealed: known,
            sessions,
            marks,
            is_salvaged,
        } = contents;
        position.epoch = match epoch {
            Some(epoch) => epoch,
            None => last_epoch.max(position.epoch).saturating_add(1),
        };
        if epoch.is_none() {
            active.start_epoch(place, &position)?;
        }
        let is_gone =
            |summary: &&Summary| !files.iter().any(|(number, _)| *number == summary.number);
        let gone = known.iter().filter(is_gone).copied().collect();
        let mut there = Vec::with_capacity(files.len() + 1);
        for (number, bytes) in files {
            let summary = known.iter().find(|summary| summary.number == number);
            let summary = match summary {
                Some(summary) => *summary,
                None => scan(place, number)?,
            };
            there.push((summary, bytes));
        }
        there.push((summary, summary.bytes));
        let loaded = Loaded {
            epoch: position.epoch,
            position,
            sessions,
            marks,
            files: there,
            gone,
            is_salvaged,
        };
        let files = Self {
            active,
            reader: None,
        };
        Ok((files, loaded))
    }

    fn begin(place: &Place, epoch: u32) -> Result<(Self, Loaded), StoreError> {
        let rows = Rows {
            position: Position {
                epoch,
                ..Position::default()
            },
            ..Rows::default()
        };
        let active = Generation::create(place, 1, epoch, &rows)?;
        let loaded = Loaded {
            epoch,
            position: rows.position,
            files: vec![(Summary::empty(1), 0)],
            ..Loaded::default()
        };
        let files = Self {
            active,
            reader: None,
        };
        Ok((files, loaded))
    }

    /// Writes one commit; sums up what it wrote.
    pub(in crate::store) fn commit(
        &mut self,
        place: &Place,
        commit: &Commit,
    ) -> Result<Summary, StoreError> {
        let mut encoder = SegmentEncoder::new(commit.epoch);
        for (seq, record) in &commit.records {
            encoder.push(*seq, record);
        }
        let segments = encoder.finish();
        self.active.commit(place, &segments, &commit.rows)?;
        let mut landed = Summary::empty(self.active.number());
        for segment in &segments {
            landed.add(&summary_of(self.active.number(), segment));
        }
        Ok(landed)
    }

    pub(in crate::store) fn is_active(&self, number: u64) -> bool {
        self.active.number() == number
    }

    /// Copies the active generation to a new file, every page of it; then [`Self::publish_copy`].
    pub(in crate::store) fn copy_active(&self, place: &Place) -> Result<Generation, StoreError> {
        rewrite::copy(place, &self.active)
    }

    /// The copy takes the place of the active generation. After an error the names must be looked at again.
    pub(in crate::store) fn publish_copy(
        &mut self,
        place: &Place,
        copy: Generation,
    ) -> Result<(), StoreError> {
        rewrite::publish(place, copy.number())?;
        self.active = copy;
        Ok(())
    }

    /// Begins the next generation with the live rows. Gives its number and the size of the file that is sealed by it.
    pub(in crate::store) fn roll(
        &mut self,
        place: &Place,
        epoch: u32,
        rows: &Rows,
    ) -> Result<(u64, u64), StoreError> {
        let number = self.active.number() + 1;
        let next = Generation::create(place, number, epoch, rows)?;
        let sealed = std::mem::replace(&mut self.active, next);
        let name = file_name(sealed.number());
        sealed.close(place)?;
        Ok((number, place.size(&name)?))
    }

    /// Makes a sealed generation anew with what `survivors` still want of it. Gives what is left and its file's size.
    pub(in crate::store) fn rewrite(
        &mut self,
        place: &Place,
        number: u64,
        survivors: &Survivors,
    ) -> Result<(Summary, u64), StoreError> {
        self.reader = None;
        match rewrite::rewrite(place, number, survivors) {
            Err(error) if error.is_damage() => {
                let left = salvage::salvage(place, number, &error)?;
                Ok((left, place.size(&file_name(number))?))
            }
            rewritten => rewritten,
        }
    }

    /// Reads what `ask` asks for in generation `number`, up to `until`.
    pub(in crate::store) fn read(
        &mut self,
        place: &Place,
        number: u64,
        until: u64,
        ask: &Ask,
    ) -> Result<FoundOrSalvaged, StoreError> {
        let mut found = Found {
            reached: ask.from.saturating_sub(1),
            ..Found::default()
        };
        let range = (ask.from, until);
        let mut allowance = Allowance::new(ask);
        let whole = if number == self.active.number() {
            self.active.read(place, range, &mut allowance, &mut found)
        } else {
            self.read_sealed(place, number, range, &mut allowance, &mut found)
        };
        match whole {
            Ok(true) => found.reached = until,
            Ok(false) => {}
            Err(error) if error.is_damage() && number != self.active.number() => {
                self.reader = None;
                let summary = salvage::salvage(place, number, &error)?;
                return Ok(FoundOrSalvaged::Salvaged(summary));
            }
            Err(error) => return Err(error),
        }
        Ok(FoundOrSalvaged::Found(found))
    }

    fn read_sealed(
        &mut self,
        place: &Place,
        number: u64,
        range: (u64, u64),
        allowance: &mut Allowance,
        found: &mut Found,
    ) -> Result<bool, StoreError> {
        let open = self.reader.take();
        let reader = match open.filter(|reader| reader.number() == number) {
            Some(reader) => reader,
            None => SealedGeneration::open(place, number)?,
        };
        let whole = reader.read(place, range, allowance, found)?;
        self.reader = Some(reader);
        Ok(whole)
    }

    /// Calls `take` with the generation, the position and the message for all messages, in order.
    pub(in crate::store) fn for_each(
        &self,
        place: &Place,
        take: &mut dyn FnMut(u64, u64, Stored),
    ) -> Result<(), StoreError> {
        for number in place.generations()?.into_iter().map(|(number, _)| number) {
            let mut records = Vec::new();
            let mut collect = |_, seq, record| records.push((seq, record));
            if number == self.active.number() {
                self.active.for_each(place, &mut collect)?;
            } else {
                open_sealed(place, number)?.for_each(place, &mut collect)?;
            }
            for (seq, record) in records {
                take(number, seq, record);
            }
        }
        Ok(())
    }

    /// Lets go of a sealed generation whose file is about to go.
    pub(in crate::store) fn forget(&mut self, number: u64) {
        self.reader.take_if(|reader| reader.number() == number);
    }

    /// Ends the active generation in order.
    pub(in crate::store) fn close(self, place: &Place) -> Result<(), StoreError> {
        drop(self.reader);
        self.active.close(place)
    }
}

/// Removes what was being made when the program ended; gives the generations that are there, lowest number first, with
/// their sizes.
fn clean(place: &Place) -> Result<Vec<(u64, u64)>, StoreError> {
    let list = || place.directory.list().map_err(|error| place.io("", error));
    salvage::finish(place, &list()?)?;
    for (name, _) in list()? {
        if name.ends_with(".tmp") {
            let removed = place.directory.remove(&name);
            removed.map_err(|error| place.io(&name, error))?;
        }
    }
    // A name that an earlier attempt could not make durable must be, before anything is committed under it.
    let synced = place.directory.sync();
    synced.map_err(|error| place.io("", error))?;
    place.generations()
}

fn open_active(place: &Place, number: u64) -> Result<(Generation, Contents), StoreError> {
    match Generation::open(place, number) {
        Err(error) if error.is_damage() => {
            salvage::salvage(place, number, &error)?;
            Generation::open(place, number)
        }
        opened => opened,
    }
}

/// Opens a sealed generation; salvages one that is damaged.
fn open_sealed(place: &Place, number: u64) -> Result<SealedGeneration, StoreError> {
    let opened = SealedGeneration::open(place, number)
        .and_then(|sealed| sealed.contents(place).map(|_| sealed));
    match opened {
        Err(error) if error.is_damage() => {
            salvage::salvage(place, number, &error)?;
            SealedGeneration::open(place, number)
        }
        opened => opened,
    }
}

/// Sums up a sealed generation whose summary is not known.
fn scan(place: &Place, number: u64) -> Result<Summary, StoreError> {
    let contents = open_sealed(place, number)?.contents(place)?;
    Ok(contents.summary)
}
