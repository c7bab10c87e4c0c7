//! What happened: the last state changes and audit entries, in RAM and over restarts.
//!
//! Somebody tells [`Events`] what happened; readers ask for the last of it, or follow. What happens again and again is one
//! entry with a count, and where there is no room the kind that has most entries loses its oldest: neither a link that
//! flaps nor a stranger pushes out what else happened.
//!
//! Kept in a file (`file`) that is written only when something happened, and ever more rarely while it goes on (`pace`). Invariants: what is damaged or cannot be read or written costs entries, never a start; memory and files are
//! bounded; an instance belongs to one gateway and is handed in, it is no global.

mod entry;
mod error;
mod file;
mod keeper;
mod pace;
mod ring;

pub use entry::{Entry, Severity};
pub use error::EventsError;
pub use file::EventFile;
pub use keeper::keep;
pub use ring::{BYTES_MAX, ENTRIES_MAX};

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use crate::clock::{ClockReading, WallTime};
use ring::Ring;

/// Something that happened, as who tells it says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How bad it is.
    pub severity: Severity,
    /// Which part of the program says it, such as `bridge/task`.
    pub kind: String,
    /// What of the configuration it is about, such as `bridge cloud`.
    pub subject: Option<String>,
    /// In words.
    pub text: String,
    /// Which place in the program says it.
    pub place: u64,
    /// Equal where the same happened again, though its figures may differ.
    pub sameness: u64,
}

/// The events of one gateway. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    /// Up to this number they came from the file.
    kept: u64,
    /// What the clocks said at one moment.
    started: (Instant, ClockReading),
}

impl Events {
    /// None yet, kept nowhere.
    #[must_use]
    pub fn new(now: Instant, reading: ClockReading) -> Self {
        Self::with(Ring::default(), now, reading)
    }

    /// Those that are kept in `folder`. Blocks, and always succeeds: what is wrong with the file is told by [`keep`], which alone
    /// writes it.
    #[must_use]
    pub fn open(folder: &Path, now: Instant, reading: ClockReading) -> (Self, EventFile) {
        let (file, entries) = EventFile::open(folder);
        (Self::with(Ring::with(entries), now, reading), file)
    }

    fn with(ring: Ring, now: Instant, reading: ClockReading) -> Self {
        let kept = ring.newest();
        Self(Arc::new(Shared {
            ring: Mutex::new(ring),
            newest: watch::Sender::new(kept),
            kept,
            started: (now, reading),
        }))
    }

    /// Something happened.
    pub fn happened(&self, now: Instant, wall: WallTime, event: Event) {
        let (started, reading) = &self.0.started;
        let passed = now.saturating_duration_since(*started).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let boot = reading.boot.map(|boot| entry::Boot {
            id: entry::Boot::short(boot.id),
            uptime: boot.uptime.saturating_add(passed),
        });
        let mut ring = self.ring();
        let newest = ring.push(now, wall, boot, event);
        // Within the lock, so that it never goes back.
        self.0.newest.send_replace(newest);
    }

    /// At most the last `count` entries that are new or changed since the number `since`, oldest first; with 0 the last of all. A
    /// number that has not been given out yet is of an earlier start, and as good as 0.
    #[must_use]
    pub fn recent(&self, count: usize, since: u64) -> Vec<Entry> {
        self.ring().recent(count, since)
    }

    /// The number of the newest entry, now and as it changes; for [`Self::recent`]. Who is slow misses numbers, and entries
    /// only where the ring has no room for them any more.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    fn kept(&self) -> u64 {
        self.0.kept
    }

    /// The newest number, and the lines of what is newer than `kept`; true: they have no room in the file, and are all.
    fn to_be_written(&self, kept: u64, file: &EventFile) -> (u64, String, bool) {
        let ring = self.ring();
        let lines = ring.lines(kept);
        if file.is_full(lines.len()) {
            (ring.newest(), ring.lines(0), true)
        } else {
            (ring.newest(), lines, false)
        }
    }

    /// Each change is whole.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
