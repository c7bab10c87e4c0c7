//! The generation files of a log together: opened, written, rolled, read, unlinked. Only the writer thread calls.
//!
//! The highest number is the active generation; all others are sealed. One sealed file is kept open for the reader.

use super::super::core::{Allowance, Commit, Found, Loaded};
use super::super::error::StoreError;
use super::super::ledger::{Ledger, Summary};
use super::super::position::Position;
use super::super::segment::SegmentEncoder;
use super::generation::{Generation, SealedGeneration};
use super::place::{Place, file_name, number_of};
use super::salvage;
use super::tables::{Contents, summary_of};

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
        } = contents;
        position.epoch = match epoch {
            Some(epoch) => epoch,
            None => last_epoch.max(position.epoch).saturating_add(1),
        };
        if epoch.is_none() {
            active.start_epoch(place, &position)?;
        }
        let dropped = dropped_before(&known, &files, &position);
        let mut summaries = Vec::with_capacity(files.len() + 1);
        for (number, bytes) in files {
            let summary = known.iter().find(|summary| summary.number == number);
            let summary = match summary {
                Some(summary) => *summary,
                None => scan(place, number)?,
            };
            summaries.push((summary, bytes));
        }
        summaries.push((summary, summary.bytes));
        let loaded = Loaded {
            epoch: position.epoch,
            ledger: Ledger::new(summaries, &position),
            position,
            dropped,
        };
        let files = Self {
            active,
            reader: None,
        };
        Ok((files, loaded))
    }

    fn begin(place: &Place, epoch: u32) -> Result<(Self, Loaded), StoreError> {
        let position = Position {
            epoch,
            ..Position::default()
        };
        let active = Generation::create(place, 1, &position, &[])?;
        let loaded = Loaded {
            epoch,
            ledger: Ledger::new(vec![(Summary::empty(1), 0)], &position),
            position,
            dropped: 0,
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
        self.active.commit(place, &segments, &commit.position)?;
        let mut landed = Summary::empty(self.active.number());
        for segment in &segments {
            landed.add(&summary_of(self.active.number(), segment));
        }
        Ok(landed)
    }

    /// Begins the next generation with the live rows. Gives its number and the size of the file that is sealed by it.
    pub(in crate::store) fn roll(
        &mut self,
        place: &Place,
        position: &Position,
        summaries: &[Summary],
    ) -> Result<(u64, u64), StoreError> {
        let number = self.active.number() + 1;
        let next = Generation::create(place, number, position, summaries)?;
        let sealed = std::mem::replace(&mut self.active, next);
        let name = file_name(sealed.number());
        sealed.close(place)?;
        let files = place.directory.list();
        let files = files.map_err(|error| place.io(&name, error))?;
        let bytes = files.iter().find(|(file, _)| *file == name);
        Ok((number, bytes.map_or(0, |(_, bytes)| *bytes)))
    }

    /// Reads from `from` to `until`, which are in the generations `numbers`, as far as `allowance` goes.
    pub(in crate::store) fn read(
        &mut self,
        place: &Place,
        numbers: &[u64],
        (from, until): (u64, u64),
        mut allowance: Allowance,
    ) -> Result<FoundOrSalvaged, StoreError> {
        let mut found = Found {
            reached: from.saturating_sub(1),
            ..Found::default()
        };
        for number in numbers {
            let whole = if *number == self.active.number() {
                self.active
                    .read(place, (from, until), &mut allowance, &mut found)
            } else {
                self.read_sealed(place, *number, (from, until), &mut allowance, &mut found)
            };
            match whole {
                Ok(true) => {}
                Ok(false) => return Ok(FoundOrSalvaged::Found(found)),
                Err(error) if error.is_damage() && *number != self.active.number() => {
                    self.reader = None;
                    let summary = salvage::salvage(place, *number, &error)?;
                    return Ok(FoundOrSalvaged::Salvaged(summary));
                }
                Err(error) => return Err(error),
            }
        }
        found.reached = until;
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

    /// Removes the file of a sealed generation. Not made durable: one that comes back is removed again.
    pub(in crate::store) fn unlink(
        &mut self,
        place: &Place,
        number: u64,
    ) -> Result<(), StoreError> {
        if self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.number() == number)
        {
            self.reader = None;
        }
        let name = file_name(number);
        match place.directory.remove(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(place.io(&name, error))
            }
            _ => Ok(()),
        }
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
    let mut files = Vec::new();
    for (name, bytes) in list()? {
        if name.ends_with(".tmp") {
            let removed = place.directory.remove(&name);
            removed.map_err(|error| place.io(&name, error))?;
        } else if let Some(number) = number_of(&name) {
            files.push((number, bytes));
        }
    }
    files.sort_unstable();
    // A name that an earlier attempt could not make durable must be, before anything is committed under it.
    let synced = place.directory.sync();
    synced.map_err(|error| place.io("", error))?;
    Ok(files)
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

/// Sums up a sealed generation whose summary is not known.
fn scan(place: &Place, number: u64) -> Result<Summary, StoreError> {
    let contents = SealedGeneration::open(place, number).and_then(|sealed| sealed.contents(place));
    match contents {
        Ok(contents) => Ok(contents.summary),
        Err(error) if error.is_damage() => salvage::salvage(place, number, &error),
        Err(error) => Err(error),
    }
}

/// Messages in files that were dropped, and are not known to be, because the program ended first.
fn dropped_before(known: &[Summary], files: &[(u64, u64)], position: &Position) -> u64 {
    let gone = known.iter().filter(|summary| {
        let is_there = files.iter().any(|(number, _)| *number == summary.number);
        let is_done = summary.last <= position.cursor || position.done.contains(summary.last);
        summary.count > 0 && !is_there && !is_done
    });
    gone.map(|summary| {
        let touched = position.touched.iter();
        let done = touched.filter(|(number, _)| *number == summary.number);
        summary.count - done.map(|(_, done)| *done).sum::<u64>().min(summary.count)
    })
    .sum()
}
