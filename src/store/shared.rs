//! What the handles of a log share with its thread: the core behind a mutex, the wake-up, and what others wait for.
//!
//! The mutex is never held across a file operation or an await.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot, watch};

use super::Progress;
use super::directory::Meter;
use super::error::StoreError;
use super::keeper::Keeper;
use super::reading::Ask;
use crate::clock;
use crate::metrics::Histogram;

/// Reads that may wait: of a bridge one, of sessions what the broker asks for at a time.
const READS_MAX: usize = 1024;

/// What the handles and the thread share.
#[derive(Debug)]
pub(super) struct Shared<K: Keeper> {
    state: Mutex<State<K>>,
    wake: Condvar,
    pub(super) room: Notify,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) meter: Meter,
}

/// See [`Shared`].
#[derive(Debug)]
pub(super) struct State<K: Keeper> {
    pub(super) core: K,
    pub(super) reads: VecDeque<ReadRequest<K::Entry>>,
    pub(super) phase: Phase,
    /// The thread sleeps until then.
    asleep: Option<Instant>,
    /// Why the files are out of use.
    pub(super) error: Option<String>,
    /// Commits that succeeded, by how long they took.
    pub(super) commits: Histogram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Commit everything, then end.
    Closing,
    /// End as if the power went.
    Abandoned,
    Ended,
}

/// Messages from the files, and up to where they were looked for.
pub(super) type ReadReply<E> = Result<(Vec<E>, u64), StoreError>;

/// What the reader asks of the files.
#[derive(Debug)]
pub(super) struct ReadRequest<E> {
    pub(super) ask: Ask,
    pub(super) reply: oneshot::Sender<ReadReply<E>>,
}

impl<K: Keeper> Shared<K> {
    pub(super) fn new(core: K, meter: Meter) -> Self {
        Self {
            progress: watch::channel(core.progress()).0,
            state: Mutex::new(State {
                core,
                reads: VecDeque::new(),
                phase: Phase::Running,
                asleep: None,
                error: None,
                commits: Histogram::default(),
            }),
            wake: Condvar::new(),
            room: Notify::new(),
            meter,
        }
    }

    /// Changes the state and tells everyone concerned.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut State<K>) -> T) -> T {
        let mut state = self.lock();
        let had_room = state.core.has_room();
        let result = change(&mut state);
        let now = state.core.progress();
        self.progress.send_if_modified(|progress| {
            let is_new = *progress != now;
            *progress = now;
            is_new
        });
        if !had_room && state.core.has_room() {
            self.room.notify_waiters();
        }
        if state.asleep.is_some_and(|until| state.is_wanted(until)) {
            state.asleep = None;
            self.wake.notify_one();
        }
        result
    }

    /// Has the thread read from the files.
    pub(super) fn ask(
        &self,
        ask: Ask,
    ) -> Result<oneshot::Receiver<ReadReply<K::Entry>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.with(|state| {
            if state.phase != Phase::Running {
                return Err(StoreError::Closed);
            }
            if state.reads.len() >= READS_MAX {
                return Err(StoreError::Busy);
            }
            state.reads.push_back(ReadRequest { ask, reply });
            Ok(answer)
        })
    }

    pub(super) fn close(&self) {
        self.end(Phase::Closing);
    }

    pub(super) fn abandon(&self) {
        self.end(Phase::Abandoned);
    }

    fn end(&self, phase: Phase) {
        self.with(|state| {
            if state.phase != Phase::Ended {
                state.phase = phase;
            }
        });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sleep(&self, until: Instant) {
        let mut state = self.lock();
        if state.is_wanted(until) {
            return;
        }
        state.asleep = Some(until);
        while state.asleep.is_some() {
            let now = clock::now();
            if now >= until {
                break;
            }
            let waited = self.wake.wait_timeout(state, until - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.asleep = None;
    }
}

impl<K: Keeper> State<K> {
    /// Whether the thread has something to do before `until`.
    fn is_wanted(&self, until: Instant) -> bool {
        let due = self.core.due().filter(|_| self.error.is_none());
        self.phase != Phase::Running || !self.reads.is_empty() || due.is_some_and(|due| due < until)
    }
}

impl<E> ReadRequest<E> {
    pub(super) fn answer(self, reply: ReadReply<E>) {
        if self.reply.send(reply).is_err() {
            tracing::debug!("the reader did not wait for its messages");
        }
    }
}
