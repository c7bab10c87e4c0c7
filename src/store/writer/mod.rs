//! The thread that owns a log's files.
//!
//! It sleeps until the next commit is due, commits, rolls, unlinks what is consumed or surplus, and reads for the reader
//! what is no longer in RAM. After any error, or panic, in a file operation it lets go of the files and opens them again
//! with back-off: what was appended stays in RAM meanwhile, and nothing is reported as covered.

mod files;
mod generation;
mod place;
mod salvage;
mod tables;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use self::files::Files;
use self::files::FoundOrSalvaged;
pub(super) use self::place::Place;
pub(super) use self::salvage::put_aside;
use super::core::{Allowance, Commit};
use super::error::StoreError;

use super::shared::{Phase, ReadRequest, Shared};
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
pub(super) struct Writer {
    shared: Arc<Shared>,
    place: Place,
    /// `None` after an error.
    files: Option<Files>,
    epoch: u32,
    generation_bytes: u64,
    retry_at: Instant,
    retry_delay: Duration,
    closing_attempts: u32,
}

impl Writer {
    pub(super) fn new(
        now: Instant,
        shared: Arc<Shared>,
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
                        tracing::error!("closing the backlog without its last messages");
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
        has_worked |= self.unlink_one(now, wall, files)?;
        let commit = self.shared.with(|state| state.core.commit(now, is_closing));
        if let Some(commit) = commit {
            self.commit(now, files, &commit)?;
            has_worked = true;
        }
        let request = self.shared.lock().reads.pop_front();
        if let Some(request) = request {
            self.read(now, wall, files, request)?;
            has_worked = true;
        }
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
            let state = self.shared.lock();
            let ledger = state.core.ledger();
            let is_full = ledger
                .active()
                .is_some_and(|active| active.summary.bytes >= self.generation_bytes);
            is_full.then(|| (state.core.position(), ledger.summaries()))
        };
        let Some((position, summaries)) = rows else {
            return Ok(false);
        };
        let (number, sealed_bytes) = files.roll(&self.place, &position, &summaries)?;
        self.shared.with(|state| {
            state.commits += 1;
            state.core.rolled(number, sealed_bytes);
        });
        Ok(true)
    }

    fn unlink_one(
        &mut self,
        now: Instant,
        wall: WallTime,
        files: &mut Files,
    ) -> Result<bool, StoreError> {
        let (consumed, surplus) = {
            let state = self.shared.lock();
            (state.core.consumed(), state.core.surplus(wall))
        };
        if let Some(number) = consumed {
            files.unlink(&self.place, number)?;
            self.shared.with(|state| state.core.unlinked(number));
        } else if let Some(number) = surplus {
            // Unlinked first: the disk may be full. A start after a crash finds the gap and counts it.
            files.unlink(&self.place, number)?;
            let dropped = self
                .shared
                .with(|state| state.core.dropped_file(now, number));
            tracing::warn!(
                dropped,
                "the backlog is over its limit: dropped its oldest messages"
            );
        }
        Ok(consumed.or(surplus).is_some())
    }

    fn read(
        &mut self,
        now: Instant,
        wall: WallTime,
        files: &mut Files,
        mut request: ReadRequest,
    ) -> Result<(), StoreError> {
        while !request.reply.is_closed() {
            let range = (request.from, request.until);
            let numbers = self
                .shared
                .lock()
                .core
                .ledger()
                .holding(request.from, request.until);
            let allowance = Allowance::new(request.messages, request.bytes);
            let found = match files.read(&self.place, &numbers, range, allowance) {
                Ok(FoundOrSalvaged::Found(found)) => found,
                Ok(FoundOrSalvaged::Salvaged(summary)) => {
                    self.shared.with(|state| state.core.salvaged(now, &summary));
                    continue;
                }
                Err(error) => {
                    let reason = error.to_string();
                    request.answer(Err(StoreError::Unavailable { reason }));
                    return Err(error);
                }
            };
            let reached = found.reached;
            let entries = self
                .shared
                .with(|state| state.core.found(now, wall, request.from, found));
            if !entries.is_empty() || reached >= request.until {
                request.answer(Ok((entries, reached)));
                return Ok(());
            }
            request.from = reached + 1;
        }
        Ok(())
    }

    fn reopen(&mut self, now: Instant) -> Result<bool, StoreError> {
        let (files, loaded) = Files::open(&self.place, Some(self.epoch))?;
        self.files = Some(files);
        tracing::info!(path = %self.place.directory.path().display(), "the backlog's files are open again");
        self.shared.with(|state| {
            state.error = None;
            state.core.reopened(now, loaded);
        });
        Ok(true)
    }

    /// Lets go of the files, to be opened again later.
    fn fail(&mut self, now: Instant, error: &StoreError) {
        tracing::error!(%error, retry_in = ?self.retry_delay, "the backlog's files are out of use");
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
            tracing::error!(%error, "closing the backlog; nothing that was committed is lost");
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
