//! The thread that owns the state's file.
//!
//! It sleeps until a commit is due, and commits. After any error, or panic, it lets go of the file and opens it again with
//! back-off: what was put stays in RAM meanwhile, and nothing is reported as covered.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::error::StoreError;
use super::super::shared::Phase;
use super::super::writer::{Place, Step};
use super::file::StateFile;
use super::opening;
use super::pending::Batch;
use super::shared::Shared;
use crate::clock::{self, ClockReading, WallTime};
use crate::shutdown::Pulse;

/// Back-off after an error.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Attempts to write when the state is closed and the file fails.
const CLOSING_ATTEMPTS: u32 = 3;
/// Where nothing is committed for so long, the clocks are: what has passed since may not count after a power cut.
const CLOCK_INTERVAL: Duration = Duration::from_secs(3600);

/// The thread's own state.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    place: Place,
    /// `None` after an error.
    file: Option<StateFile>,
    epoch: u32,
    /// The clocks at the origin of the timeline.
    reading: ClockReading,
    clock_due: Instant,
    retry_at: Instant,
    retry_delay: Duration,
    closing_attempts: u32,
    /// What is being committed.
    batch: Option<Batch>,
    /// So many failed syncs have no consequence any more.
    settled_syncs: u64,
}

impl Keeper {
    pub(super) fn new(
        now: Instant,
        shared: Arc<Shared>,
        place: Place,
        file: StateFile,
        epoch: u32,
        reading: ClockReading,
    ) -> Self {
        Self {
            shared,
            place,
            file: Some(file),
            epoch,
            reading,
            clock_due: now + CLOCK_INTERVAL,
            retry_at: now,
            retry_delay: RETRY_MIN,
            closing_attempts: CLOSING_ATTEMPTS,
            batch: None,
            settled_syncs: 0,
        }
    }

    /// The thread.
    pub(super) fn run(mut self, pulse: &Pulse) {
        loop {
            let now = clock::now();
            pulse.beat(now);
            let step = panic::catch_unwind(AssertUnwindSafe(|| self.step(now, clock::wall())));
            let step = step.unwrap_or_else(|_| {
                let reason = "the state's thread panicked; please report this".to_owned();
                self.failed(now, &StoreError::Unavailable { reason })
            });
            match step {
                Step::Again => {}
                Step::Sleep(until) => {
                    pulse.rest_until(until);
                    self.shared.sleep(until);
                }
                Step::End => break,
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
        let done = match self.file.take() {
            None if is_closing || now >= self.retry_at => self.reopen(),
            None => return Step::Sleep(self.retry_at),
            Some(mut file) => {
                let done = self.commit(now, wall, &mut file, is_closing);
                self.file = Some(file);
                done
            }
        };
        match done {
            Ok(true) => Step::Again,
            Ok(false) if is_closing => self.close(now, wall),
            Ok(false) => {
                let due = self.shared.lock().pending.due();
                Step::Sleep(due.map_or(self.clock_due, |due| due.min(self.clock_due)))
            }
            Err(error) => self.failed(now, &error),
        }
    }

    /// False: nothing was due.
    fn commit(
        &mut self,
        now: Instant,
        wall: WallTime,
        file: &mut StateFile,
        all: bool,
    ) -> Result<bool, StoreError> {
        self.batch = self.shared.with(|inner| inner.pending.take(now, all));
        if self.batch.is_none() && now < self.clock_due {
            return Ok(false);
        }
        let mark = self.shared.timeline.mark(self.reading, now, wall);
        let begun = clock::now();
        file.commit(&self.place, self.epoch, mark, self.batch.as_ref())?;
        let took = clock::now() - begun;
        let batch = self.batch.take();
        self.shared.with(|inner| {
            inner.counts = file.counts();
            if let Some(batch) = batch {
                inner.pending.committed(batch);
                inner.commits.observe(took);
            }
        });
        self.clock_due = now + CLOCK_INTERVAL;
        self.retry_delay = RETRY_MIN;
        Ok(true)
    }

    fn reopen(&mut self) -> Result<bool, StoreError> {
        let mut opened = opening::open(&self.place, self.reading, self.epoch)?;
        let failed = self.place.meter.failed_syncs();
        if failed != self.settled_syncs {
            opened = opening::anew(&self.place, opened)?;
            self.settled_syncs = failed;
        }
        self.file = Some(opened.file);
        tracing::info!(path = %self.place.directory.path().display(), "the state's file is open again");
        self.shared.with(|inner| {
            inner.error = None;
            inner.lost += opened.lost.unwrap_or(0);
        });
        Ok(true)
    }

    /// Lets go of the file, to be opened again later.
    fn failed(&mut self, now: Instant, error: &StoreError) -> Step {
        tracing::error!(%error, retry_in = ?self.retry_delay, "the state's file is out of use");
        let file = self.file.take();
        if panic::catch_unwind(AssertUnwindSafe(|| drop(file))).is_err() {
            tracing::error!("redb panicked while closing the state's file");
        }
        self.retry_at = now + self.retry_delay;
        self.retry_delay = (self.retry_delay * 2).min(RETRY_MAX);
        let batch = self.batch.take();
        let phase = self.shared.with(|inner| {
            inner.error = Some(error.to_string());
            if let Some(batch) = batch {
                inner.pending.failed(now, batch);
            }
            inner.phase
        });
        if phase == Phase::Closing {
            self.closing_attempts = self.closing_attempts.saturating_sub(1);
            if self.closing_attempts == 0 {
                tracing::error!("closing the state without its last changes");
                return self.end();
            }
        }
        Step::Again
    }

    /// The last commit is that of the clocks: time counts from here.
    fn close(&mut self, now: Instant, wall: WallTime) -> Step {
        if let Some(mut file) = self.file.take() {
            let mark = self.shared.timeline.mark(self.reading, now, wall);
            let closed = file
                .commit(&self.place, self.epoch, mark, None)
                .and_then(|()| file.close(&self.place, super::file::NAME));
            if let Err(error) = closed {
                tracing::error!(%error, "closing the state; nothing that was committed is lost");
            }
        }
        self.end()
    }

    fn end(&mut self) -> Step {
        self.file = None;
        self.shared.end(Phase::Ended);
        Step::End
    }
}
