//! How the state's file is opened: made where there is none, salvaged where it is damaged, made anew where it has become
//! much larger than what is in it.

use super::super::error::StoreError;
use super::super::writer::Place;
use super::file::{NAME, StateFile, TEMPORARY};
use super::row::Head;
use super::salvage;
use crate::clock::{ClockMark, ClockReading};

/// A file so many times as large as its rows is mostly free; one that was written in any order is up to six times.
const SPARSE: u64 = 10;

/// The file, and what it says of itself.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: StateFile,
    pub(super) head: Head,
    /// Where it was damaged: rows that could not be read.
    pub(super) lost: Option<u64>,
}

/// `epoch`: what a new file says.
pub(super) fn open(place: &Place, reading: ClockReading, epoch: u32) -> Result<Opened, StoreError> {
    salvage::finish(place)?;
    let files = place.directory.list();
    let files = files.map_err(|error| place.io("", error))?;
    if !files.iter().any(|(name, _)| name == NAME) {
        create(place, reading, epoch)?;
    }
    match StateFile::open(place) {
        Err(error) if error.is_damage() => salvaged(place, reading, &error),
        opened => {
            let (file, head) = opened?;
            let lost = None;
            Ok(Opened { file, head, lost })
        }
    }
}

/// Makes anew what is damaged.
pub(super) fn salvaged(
    place: &Place,
    reading: ClockReading,
    damage: &StoreError,
) -> Result<Opened, StoreError> {
    let lost = Some(salvage::salvage(place, reading, damage)?);
    let (file, head) = StateFile::open(place)?;
    Ok(Opened { file, head, lost })
}

/// Makes the file anew without its free pages, where it is above a size and has little in it: redb seldom gives back what
/// it once took. The file is kept as it is where that fails.
pub(super) fn shrink(
    place: &Place,
    opened: Opened,
    bytes: u64,
    above: u64,
) -> Result<StateFile, StoreError> {
    let file = opened.file;
    let files = place.directory.list();
    let files = files.map_err(|error| place.io("", error))?;
    let size = files.iter().find(|(name, _)| name == NAME);
    let size = size.map_or(0, |(_, size)| *size);
    if size <= above || size / SPARSE <= bytes {
        return Ok(file);
    }
    let copied = file
        .copy(place, TEMPORARY)
        .and_then(|copy| copy.close(place, TEMPORARY));
    if let Err(error) = copied {
        tracing::warn!(%error, "the state's file stays larger than it need be");
        salvage::finish(place)?;
        return Ok(file);
    }
    drop(file);
    publish(place)?;
    tracing::info!(
        size,
        bytes,
        "made the state's file anew, without its free pages"
    );
    Ok(StateFile::open(place)?.0)
}

/// Makes the file anew, every page of it: after a sync that failed, what reads as written may never reach the medium, and a
/// commit would stand on it.
pub(super) fn anew(place: &Place, opened: Opened) -> Result<Opened, StoreError> {
    opened
        .file
        .copy(place, TEMPORARY)?
        .close(place, TEMPORARY)?;
    drop(opened.file);
    publish(place)?;
    let (file, head) = StateFile::open(place)?;
    Ok(Opened {
        file,
        head,
        lost: opened.lost,
    })
}

fn create(place: &Place, reading: ClockReading, epoch: u32) -> Result<(), StoreError> {
    let clock = ClockMark {
        timeline: 0,
        reading,
    };
    StateFile::fill(place, TEMPORARY, epoch, clock, &[])?.close(place, TEMPORARY)?;
    publish(place)
}

fn publish(place: &Place) -> Result<(), StoreError> {
    let directory = &place.directory;
    directory
        .rename(TEMPORARY, NAME)
        .and_then(|()| directory.sync())
        .map_err(|error| place.io(NAME, error))
}
