//! The thread that owns a log's files.
//!
//! It sleeps until the next commit is due, commits, rolls, unlinks what is consumed or surplus, and reads for the reader
//! what is no longer in RAM. After any error, or panic, in a file operation it lets go of the files and opens them again
//! with back-off: what was appended stays in RAM meanwhile, and nothing is reported as covered.

mod files;
mod generation;
mod place;
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
use super::keeper::{Chore, Commit, Keeper};
use super::reading::Found;
use super::shared::{Phase, Shared};
use crate::clock::{self, WallTime};

/// Back-off after an error.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Files are looked at for their age at least this often.
const NAP: Duration = Duration::from_secs(60);
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
    /// `None` after an error.
    files: Option<Files>,
    epoch: u32,
    generation_bytes: u64,
    retry_at: Instant,
    retry_delay: Duration,
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
            retry_at: now,
            retry_delay: RETRY_MIN,
            closing_attempts: CLOSING_ATTEMPTS,
        }
    }

    /// The thread.
    pub(super) fn run(mut self) {
        loop {
            let now = clock::now();
            let step = panic::catch_unwind(AssertUnwindSafe(|| self.step(now, clock::wall())));
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Sleep(until)) => self.shared.sleep(until),
                Ok(Step::End) => break,
                Err(_) => self.fail(
                    now,
                    &StoreError::Unavailable {
                        reason: "the log's thread panicked; please report this".to_owned(),
                    },
                ),
            }
        }
    }

    /// Does one thing.
    pub(super) fn step(&mut self, now: Instant, wall: WallTime) -> Step {
        let phase = self.shared.lock().phase;
        if matches!(phase, Phase::Abandoned | Phase::Ended) {
            return self.end();
        }
        let is_closing = phase == Phase::Closing;
        let done = match self.files.take() {
            None if is_closing || now >= self.retry_at => self.reopen(now),
            None => {
                self.refuse_reads();
                return Step::Sleep(self.retry_at);
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
            Ok(false) => {
                let due = self.shared.lock().core.due();
                Step::Sleep(due.map_or(now + NAP, |due| due.min(now + NAP)))
            }
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
        let mut has_worked = self.roll_if_full(files)?;
        has_worked |= self.do_chore(now, wall, files)?;
        let commit = self.shared.with(|state| state.core.commit(now, is_closing));
        if let Some(commit) = commit {
            self.commit(now, files, &commit)?;
            has_worked = true;
        }
        has_worked |= self.read(now, wall, files)?;
        Ok(has_worked)
    }

    fn commit(
        &mut self,
        now: Instant,
        files: &mut Files,
        commit: &Commit,
    ) -> Result<(), StoreError> {
        let landed = files.commit(&self.place, commit)?;
        self.retry_delay = RETRY_MIN;
        self.shared.with(|state| {
            state.commits += 1;
            state.core.committed(now, &landed);
        });
        Ok(())
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
        let (number, sealed_bytes) = files.roll(&self.place, self.epoch, &rows)?;
        self.shared.with(|state| {
            state.commits += 1;
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
                files.unlink(&self.place, number)?;
                self.shared.with(|state| state.core.unlinked(number));
            }
            Some(Chore::Drop(number)) => {
                // Unlinked first: the disk may be full. A start after a crash finds the gap and counts it.
                files.unlink(&self.place, number)?;
                let dropped = self
                    .shared
                    .with(|state| state.core.dropped_file(now, number));
                tracing::warn!(
                    dropped,
                    "{} is over its limit: dropped its oldest messages",
                    K::NAME
                );
            }
            Some(Chore::Rewrite(number, survivors)) => {
                let (left, bytes) = files.rewrite(&self.place, number, &survivors)?;
                self.shared
                    .with(|state| state.core.rewritten(now, &left, bytes));
            }
        }
        Ok(true)
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
                return Err(error);
            }
        }
        self.shared.with(|state| state.reads.push_front(request));
        Ok(true)
    }

    fn reopen(&mut self, now: Instant) -> Result<bool, StoreError> {
        let (files, loaded) = Files::open(&self.place, Some(self.epoch))?;
        self.files = Some(files);
        tracing::info!(path = %self.place.directory.path().display(), "files are open again");
        self.shared.with(|state| {
            state.error = None;
            state.core.reopened(now, loaded);
        });
        Ok(true)
    }

    /// Lets go of the files, to be opened again later.
    fn fail(&mut self, now: Instant, error: &StoreError) {
        tracing::error!(%error, retry_in = ?self.retry_delay, "the files of {} are out of use", K::NAME);
        let files = self.files.take();
        if panic::catch_unwind(AssertUnwindSafe(|| drop(files))).is_err() {
            tracing::error!("redb panicked while closing a file");
        }
        self.retry_at = now + self.retry_delay;
        self.retry_delay = (self.retry_delay * 2).min(RETRY_MAX);
        self.shared.with(|state| {
            state.error = Some(error.to_string());
        });
        self.refuse_reads();
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
