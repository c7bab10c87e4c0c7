//! How the state's file is opened: made where there is none, salvaged where it is damaged, made anew where it has become
//! much larger than what is in it.

use super::super::error::StoreError;
use super::super::writer::Place;
use super::file::{Contents, NAME, StateFile, TEMPORARY};
use super::salvage;
use crate::clock::{ClockMark, ClockReading};

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: StateFile,
    pub(super) contents: Contents,
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
    let (opened, lost) = match StateFile::open(place) {
        Err(error) if error.is_damage() => {
            let lost = salvage::salvage(place, reading, &error)?;
            (StateFile::open(place)?, Some(lost))
        }
        opened => (opened?, None),
    };
    let (file, contents) = opened;
    Ok(Opened {
        file,
        contents,
        lost,
    })
}

fn create(place: &Place, reading: ClockReading, epoch: u32) -> Result<(), StoreError> {
    let clock = ClockMark {
        timeline: 0,
        reading,
    };
    StateFile::fill(place, TEMPORARY, epoch, clock, &[])?.close(place, TEMPORARY)?;
    let directory = &place.directory;
    directory
        .rename(TEMPORARY, NAME)
        .and_then(|()| directory.sync())
        .map_err(|error| place.io(NAME, error))
}
