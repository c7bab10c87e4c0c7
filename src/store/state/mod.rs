//! `state.redb`: what is no queue. Sessions, their subscriptions, and retained messages with the marks of those that came at
//! QoS 2; one small file, a row for each.
//!
//! [`State`] is the handle: a mutex around `pending`, which decides what is committed when. The thread in `keeper` owns the
//! `file`, whose rows have the form of `row`. Damage costs what was on the damaged pages, and nothing else (`salvage`).
//!
//! Invariants: rows are whole and absolute, so putting one again is harmless; only the thread opens a write transaction;
//! no number of a session is given out twice; what a newer program wrote is refused and kept.

mod file;
mod keeper;
#[cfg(test)]
pub(super) mod lives;
mod opening;
mod pending;
#[cfg(test)]
mod power_cut;
mod restored;
mod row;
mod salvage;
mod shared;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::keeper::Keeper;
use self::opening::Opened;
use self::pending::Pending;
use self::restored::Restoring;
pub use self::restored::{Restored, RestoredRetained, RestoredSession};
use self::row::Head;
use self::shared::Shared;
use super::directory::{Directory, Folder, Meter};
use super::handle::STEP_MAX;
use super::shared::Phase;
use super::writer::Place;
use super::{Progress, Seq, SessionNumber, StateChange, StoreError};
use crate::clock::{self, ClockReading, Timeline, resume};
use crate::metrics::Histogram;
use crate::shutdown::Pulse;

/// How the state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// Folder of `state.redb`; made if absent.
    pub dir: PathBuf,
    /// Group commit of what is urgent: from the first change that waits to the commit.
    pub commit_interval: Duration,
    /// The same of all else.
    pub relaxed_interval: Duration,
    /// RAM that changes may take which wait for a commit.
    pub pending_bytes: usize,
}

/// Figures of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateStats {
    /// Sessions in the file.
    pub sessions: u64,
    /// Subscriptions in the file.
    pub subscriptions: u64,
    /// Retained messages in the file.
    pub retained: u64,
    /// Rows that wait for a commit.
    pub waiting: u64,
    /// The RAM they take, in bytes.
    pub waiting_bytes: u64,
    /// Rows that could not be read because of damage; each time was reported.
    pub lost: u64,
    /// Commits of changes since the start, by how long they took, with their syncs.
    pub commits: Histogram,
    /// Syncs of the medium since the start.
    pub syncs: u64,
    /// Bytes given to the medium since the start.
    pub bytes_written: u64,
}

/// The state. One writer (the broker's thread). Cheap to clone. When the last clone is dropped without [`Self::close`],
/// what was not covered is lost, as in a crash.
#[derive(Clone, Debug)]
pub struct State {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pulse: Pulse,
}

impl StateOptions {
    /// The defaults of the configuration, for a state in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            commit_interval: Duration::from_millis(100),
            relaxed_interval: Duration::from_secs(5),
            pending_bytes: 4 << 20,
        }
    }
}

impl State {
    /// Opens or makes the state and starts its thread. Blocks while it reads all of it. Gives what was kept, and the
    /// timeline that the whole store counts on.
    ///
    /// # Errors
    /// Where the folder cannot be used, another process has the file, or a newer program wrote it. A damaged file is put
    /// aside and salvaged instead.
    pub fn open(options: StateOptions) -> Result<(Self, Restored, Timeline), StoreError> {
        let folder = Folder::create(options.dir.clone()).map_err(|source| StoreError::Io {
            path: options.dir.clone(),
            source,
        })?;
        Self::open_in(options, Box::new(folder))
    }

    /// As [`Self::open`], in a directory that need not be a real one: for tests that cut the power.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(
        options: StateOptions,
        directory: Box<dyn Directory>,
    ) -> Result<(Self, Restored, Timeline), StoreError> {
        let path = options.dir.clone();
        let prepared = prepare(
            clock::now(),
            clock::reading(),
            &options,
            REWRITE_ABOVE,
            directory,
        )?;
        let (shared, keeper, restored) = prepared;
        let timeline = shared.timeline;
        let pulse = Pulse::new("store state", STEP_MAX, clock::now());
        let beating = pulse.clone();
        let thread = thread::Builder::new()
            .name("store-state".to_owned())
            .spawn(move || keeper.run(&beating))
            .map_err(|source| StoreError::Io { path, source })?;
        let handle = Handle {
            shared,
            thread: Mutex::new(Some(thread)),
            pulse,
        };
        let state = Self {
            handle: Arc::new(handle),
        };
        Ok((state, restored, timeline))
    }

    /// Takes a change. `seq` counts the changes since the start, from 1, and ascends. Never blocks and never fails: whether
    /// there is room is asked before ([`Self::has_room`]), and what cannot be written is never reported as covered.
    ///
    /// The newest change of a key replaces one that still waits. `urgent`: someone waits for it to be covered; it is
    /// committed within `commit_interval`, all else within `relaxed_interval`. Remaining times count from `now`.
    pub fn put(&self, now: Instant, seq: Seq, change: StateChange, urgent: bool) {
        let stamp = self.handle.shared.timeline.at(now);
        self.handle
            .shared
            .with(|inner| inner.pending.put(now, seq, stamp, change, urgent));
    }

    /// Whether what waits for a commit is below its limit.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.handle.shared.lock().pending.has_room()
    }

    /// Waits until [`Self::has_room`]. Cancel safe.
    pub async fn room(&self) {
        loop {
            let changed = self.handle.shared.room.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.has_room() {
                return;
            }
            changed.await;
        }
    }

    /// Follows the progress. `covered`: every urgent change up to here is on stable storage, or a newer one of its key is;
    /// `committed`: every change is. `cursor` stays 0.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.handle.shared.progress.subscribe()
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> StateStats {
        let shared = &self.handle.shared;
        let inner = shared.lock();
        let (waiting, waiting_bytes) = inner.pending.waiting();
        StateStats {
            sessions: inner.counts.sessions,
            subscriptions: inner.counts.subscriptions,
            retained: inner.counts.retained,
            waiting: waiting as u64,
            waiting_bytes: waiting_bytes as u64,
            lost: inner.lost,
            commits: inner.commits,
            syncs: shared.meter.syncs(),
            bytes_written: shared.meter.bytes(),
        }
    }

    /// Of its thread.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.handle.pulse.clone()
    }

    /// Why the file is out of use at the moment, if it is: nothing is covered until it is back.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.handle.shared.lock().error.clone()
    }

    /// Commits what waits and ends the thread. Blocks. Called once, after the last change.
    pub fn close(&self) {
        self.handle.shared.end(Phase::Closing);
        self.handle.join();
    }
}

/// A file below this is not made anew, however empty it is.
const REWRITE_ABOVE: u64 = 8 << 20;

/// Sessions that one start of the program may begin. The high half of a number counts the starts, so that none is used
/// twice, whether the session that had it ever reached the disk or not.
const SESSIONS_PER_START_BITS: u32 = 32;

fn first_session_of(epoch: u32) -> SessionNumber {
    SessionNumber((u64::from(epoch) << SESSIONS_PER_START_BITS) + 1)
}

fn epoch_of(number: SessionNumber) -> u32 {
    u32::try_from(number.0 >> SESSIONS_PER_START_BITS).unwrap_or(u32::MAX)
}

/// Opens the file and begins a start of the program in it; the thread is not started.
fn prepare(
    now: Instant,
    reading: ClockReading,
    options: &StateOptions,
    rewrite_above: u64,
    directory: Box<dyn Directory>,
) -> Result<(Arc<Shared>, Keeper, Restored), StoreError> {
    let meter = Meter::default();
    let place = Place {
        directory,
        meter: meter.clone(),
    };
    let opened = opening::open(&place, reading, 0)?;
    let (opened, read) = match restore(&place, now, reading, &opened) {
        Err(error) if error.is_damage() => {
            drop(opened);
            let opened = opening::salvaged(&place, reading, &error)?;
            let read = restore(&place, now, reading, &opened)?;
            (opened, read)
        }
        read => (opened, read?),
    };
    let (restored, bytes) = read;
    let lost = opened.lost;
    let (timeline, epoch) = begin(&opened.head, now, reading);
    let mut file = opening::shrink(&place, opened, bytes, rewrite_above)?;
    file.commit(
        &place,
        epoch,
        timeline.mark(reading, now, reading.wall),
        None,
    )?;
    let pending = Pending::new(
        options.commit_interval,
        options.relaxed_interval,
        options.pending_bytes,
    );
    let shared = Arc::new(Shared::new(
        pending,
        timeline,
        meter,
        file.counts(),
        lost.unwrap_or(0),
    ));
    let keeper = Keeper::new(now, Arc::clone(&shared), place, file, epoch, reading);
    Ok((shared, keeper, restored))
}

/// The timeline and the number of a start of the program.
fn begin(head: &Head, now: Instant, reading: ClockReading) -> (Timeline, u32) {
    let timeline = Timeline::new(now, resume(Some(head.clock), reading));
    (timeline, head.epoch.saturating_add(1))
}

/// What is in the file, and its bytes.
fn restore(
    place: &Place,
    now: Instant,
    reading: ClockReading,
    opened: &Opened,
) -> Result<(Restored, u64), StoreError> {
    let (timeline, epoch) = begin(&opened.head, now, reading);
    let mut restoring = Restoring::new(
        timeline.at(now),
        first_session_of(epoch),
        opened.lost,
        opened.file.clock_was,
    );
    let bytes = opened.file.read(place, |kept| restoring.take(kept))?;
    Ok((restoring.finish(), bytes))
}

impl Handle {
    fn join(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the state's thread panicked; please report this");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.end(Phase::Abandoned);
        self.join();
    }
}

#[cfg(test)]
mod tests;
