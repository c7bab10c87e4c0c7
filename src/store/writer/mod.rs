//! The thread that owns a log's files.
//!
//! It sleeps until the next commit is due, commits, rolls, unlinks what is consumed or surplus, and reads for the reader
//! what is no longer in RAM. After any error, or panic, in a file operation it lets go of the files and opens them again
//! with back-off: what was appended stays in RAM meanwhile, and nothing is reported as covered. The reader is served as soon as
//! they are open, whether they can be written or not: what it takes away is what makes room on a full medium, where
//! files are unlinked that nothing in RAM wants any more.
//!
//! After a sync that failed, what reads as written may never reach the medium: nothing of it counts, and nothing is built on
//! it, before the active file has been copied to a new one (`rewrite`).

mod files;
mod generation;
mod place;
mod recover;
mod rewrite;
mod rows;
mod salvage;
mod tables;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::files::Files;
use self::files::FoundOrSalvaged;
pub(super) use self::place::Place;
pub(super) use self::salvage::put_aside;
use super::error::StoreError;
use super::keeper::{Chore, Commit, Keeper, Loaded};
use super::reading::Found;
use super::shared::{Phase, Shared};
use crate::clock::{self, WallTime};
use crate::shutdown::Pulse;

/// Back-off after an error.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Files are looked at for their age at least this often.
const NAP: Duration = Duration::from_secs(60);
/// What a commit takes besides its messages, about.
const COMMIT_COST: u64 = 25 << 10;
/// Attempts to write when the log is closed and the files fail.
const CLOSING_ATTEMPTS: u32 = 3;

/// What the thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Again,
    Sleep(Instant),
    End,
}

/// The thread's own state.
#[derive(Debug)]
pub(super) struct Writer<K: Keeper> {
    shared: Arc<Shared<K>>,
    place: Place,
    /// `None` after an error, until they are open again.
    files: Option<Files>,
    epoch: u32,
    generation_bytes: u64,
    /// When they are opened again.
    open_at: Instant,
    /// Nothing is written before.
    write_at: Instant,
    retry_delay: Duration,
    /// The medium was full the last time.
    is_full: bool,
    /// On the medium this much must stay free.
    free_space_minimum: u64,
    /// So much was taken off because of that, and not written since.
    room: u64,
    /// What the files say, while it is not sure that the medium has it.
    unsure: Option<Loaded>,
    /// So many failed syncs have no consequence any more.
    settled_syncs: u64,
    closing_attempts: u32,
}

impl<K: Keeper> Writer<K> {
    pub(super) fn new(
        now: Instant,
        shared: Arc<Shared<K>>,
        place: Place,
        files: Files,
        epoch: u32,
        generation_bytes: u64,
    ) -> Self {
        Self {
            shared,
            place,
            files: Some(files),
            epoch,
            generation_bytes,
            open_at: now,
            write_at: now,
            retry_delay: RETRY_MIN,
            is_full: false,
            free_space_minimum: 0,
            room: 0,
            unsure: None,
            settled_syncs: 0,
            closing_attempts: CLOSING_ATTEMPTS,
        }
    }

    /// What waits is written only where so many bytes stay free on the medium.
    pub(super) fn keep_free(mut self, bytes: u64) -> Self {
        self.free_space_minimum = bytes;
        self
    }

    /// The thread.
    pub(super) fn run(mut self, pulse: &Pulse) {
        loop {
            let now = clock::now();
            pulse.beat(now);
            let step = panic::catch_unwind(AssertUnwindSafe(|| self.step(now, clock::wall())));
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Sleep(until)) => {
                    pulse.rest_until(until);
                    self.shared.sleep(until);
                }
                Ok(Step::End) => break,
                Err(_) => self.fail(
                    now,
                    &StoreError::Unavailable {
                        reason: "the log's thread panicked; please report this".to_owned(),
                    },
                ),
            }
        }
        pulse.end();
    }

    /// Does one thing.
    pub(super) fn step(&mut self, now: Instant, wall: WallTime) -> Step {
        let phase = self.shared.lock().phase;
        if matches!(phase, Phase::Abandoned | Phase::Ended) {
            return self.end();
        }
        let is_closing = phase == Phase::Closing;
        let done = match self.files.take() {
            None if is_closing || now >= self.open_at => self.reopen(now),
            None => {
                self.refuse_reads();
                if self.is_full && self.make_room(now, None).unwrap_or(false) {
                    return Step::Again;
                }
                return Step::Sleep(self.open_at.min(now + RETRY_MIN));
            }
            Some(mut files) => {
                let done = self.work(now, wall, &mut files, is_closing);
                self.files = Some(files);
                done
            }
        };
        match done {
            Ok(true) => Step::Again,
            Ok(false) if is_closing => self.end(),
            Ok(false) => Step::Sleep(self.next_look(now)),
            Err(error) => {
                self.fail(now, &error);
                if is_closing {
                    self.closing_attempts = self.closing_attempts.saturating_sub(1);
                    if self.closing_attempts == 0 {
                        tracing::error!("closing {} without its last messages", K::NAME);
                        return self.end();
                    }
                }
                Step::Again
            }
        }
    }

    /// One of each kind of work there is, so that none starves while another never ends; false: nothing to do.
    fn work(
        &mut self,
        now: Instant,
        wall: WallTime,
        files: &mut Files,
        is_closing: bool,
    ) -> Result<bool, StoreError> {
        let mut has_worked = if is_closing || now >= self.write_at {
            self.write(now, wall, files, is_closing)?
        } else {
            self.is_full && self.make_room(now, Some(files))?
        };
        has_worked |= self.read(now, wall, files)?;
        Ok(has_worked)
    }

    fn write(
        &mut self,
        now: Instant,
        wall: WallTime,
        files: &mut Files,
        is_closing: bool,
    ) -> Result<bool, StoreError> {
        self.make_sure(now, files)?;
        let is_short = !is_closing && self.is_short(now) && !self.make_room(now, Some(files))?;
        let mut has_worked = self.roll_if_full(files)?;
        has_worked |= self.do_chore(now, wall, files)?;
        let commit = self.shared.with(|state| match is_short {
            true => state.core.commit_rows(now),
            false => state.core.commit(now, is_closing),
        });
        if let Some(commit) = commit {
            self.commit(now, files, &commit)?;
            has_worked = true;
            if !is_short {
                self.is_well();
            }
        }
        if is_short {
            self.hold_back(now);
        }
        Ok(has_worked)
    }

    fn commit(
        &mut self,
        now: Instant,
        files: &mut Files,
        commit: &Commit,
    ) -> Result<(), StoreError> {
        let begun = clock::now();
        let landed = files.commit(&self.place, commit)?;
        let took = clock::now() - begun;
        self.retry_delay = RETRY_MIN;
        self.room = self.room.saturating_sub(landed.bytes + COMMIT_COST);
        self.shared.with(|state| {
            state.commits.observe(took);
            state.core.committed(now, &landed);
        });
        Ok(())
    }

    /// All that was to be written was.
    fn is_well(&mut self) {
        self.is_full = false;
        let error = self.shared.with(|state| {
            state.core.medium_full(false);
            state.error.take()
        });
        if error.is_some() {
            tracing::info!(path = %self.place.directory.path().display(), "files are written again");
        }
    }

    fn roll_if_full(&mut self, files: &mut Files) -> Result<bool, StoreError> {
        let rows = {
            let core = &self.shared.lock().core;
            let is_full = core
                .ledger()
                .active()
                .is_some_and(|active| active.summary.bytes >= self.generation_bytes);
            is_full.then(|| core.carried())
        };
        let Some(rows) = rows else {
            return Ok(false);
        };
        let begun = clock::now();
        let (number, sealed_bytes) = files.roll(&self.place, self.epoch, &rows)?;
        let took = clock::now() - begun;
        self.shared.with(|state| {
            state.commits.observe(took);
            state.core.rolled(number, sealed_bytes);
        });
        Ok(true)
    }

    fn do_chore(
        &mut self,
        now: Instant,
        wall: WallTime,
        files: &mut Files,
    ) -> Result<bool, StoreError> {
        let chore = self.shared.lock().core.chore(now, wall);
        match chore {
            None => return Ok(false),
            Some(Chore::Unlink(number)) => {
                self.remove(Some(files), number)?;
                self.shared.with(|state| state.core.unlinked(number));
            }
            Some(Chore::Drop(number)) => {
                // Unlinked first: the disk may be full. A start after a crash finds the gap and counts it.
                self.remove(Some(files), number)?;
                self.dropped(now, number);
            }
            Some(Chore::Rewrite(number, survivors)) => {
                let (left, bytes) = files.rewrite(&self.place, number, &survivors)?;
                self.shared
                    .with(|state| state.core.rewritten(now, &left, bytes));
            }
        }
        Ok(true)
    }

    fn remove(&self, files: Option<&mut Files>, number: u64) -> Result<(), StoreError> {
        if let Some(files) = files {
            files.forget(number);
        }
        self.place.unlink(number)
    }

    /// The file of a generation went with what was in it.
    fn dropped(&self, now: Instant, number: u64) {
        let dropped = self
            .shared
            .with(|state| state.core.dropped_file(now, number));
        tracing::warn!(
            dropped,
            "{} is over its limit: dropped its oldest messages",
            K::NAME
        );
    }

    /// Reads from one file for the request that has waited longest.
    fn read(
        &mut self,
        now: Instant,
        wall: WallTime,
        files: &mut Files,
    ) -> Result<bool, StoreError> {
        let request = self.shared.lock().reads.pop_front();
        let Some(mut request) = request.filter(|request| !request.reply.is_closed()) else {
            return Ok(false);
        };
        let holding = self.shared.lock().core.holding(&request.ask);
        let found = match holding {
            Some((number, until)) => files.read(&self.place, number, until, &request.ask),
            None => Ok(FoundOrSalvaged::Found(Found {
                reached: request.ask.until,
                ..Found::default()
            })),
        };
        match found {
            Ok(FoundOrSalvaged::Found(found)) => {
                let reached = found.reached;
                let entries = self
                    .shared
                    .with(|state| state.core.found(now, wall, &request.ask, found));
                if !entries.is_empty() || reached >= request.ask.until {
                    request.answer(Ok((entries, reached)));
                    return Ok(true);
                }
                request.ask.from = reached + 1;
            }
            Ok(FoundOrSalvaged::Salvaged(summary)) => {
                self.shared.with(|state| state.core.salvaged(now, &summary));
            }
            Err(error) => {
                let reason = error.to_string();
                request.answer(Err(StoreError::Unavailable { reason }));
                if holding.is_some_and(|(number, _)| !files.is_active(number)) {
                    // What is written does not depend on it.
                    tracing::error!(%error, "a file of {} cannot be read now", K::NAME);
                    return Ok(true);
                }
                return Err(error);
            }
        }
        self.shared.with(|state| state.reads.push_front(request));
        Ok(true)
    }

    fn refuse_reads(&self) {
        let (reads, error) = {
            let mut state = self.shared.lock();
            (std::mem::take(&mut state.reads), state.error.clone())
        };
        for request in reads {
            let reason = error.clone().unwrap_or_default();
            request.answer(Err(StoreError::Unavailable { reason }));
        }
    }

    fn end(&mut self) -> Step {
        let phase = self.shared.lock().phase;
        if let Some(files) = self.files.take()
            && phase == Phase::Closing
            && let Err(error) = files.close(&self.place)
        {
            tracing::error!(%error, "closing {}; nothing that was committed is lost", K::NAME);
        }
        let reads = self.shared.with(|state| {
            state.phase = Phase::Ended;
            std::mem::take(&mut state.reads)
        });
        for request in reads {
            request.answer(Err(StoreError::Closed));
        }
        Step::End
    }
}
