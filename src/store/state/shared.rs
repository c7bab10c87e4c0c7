//! What the handles of the state share with its thread. The mutex is never held across a file operation or an await.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::super::Progress;
use super::super::directory::Meter;
use super::super::shared::Phase;
use super::pending::Pending;
use super::row::Counts;
use crate::clock::{self, Timeline};
use crate::metrics::Histogram;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    wake: Condvar,
    pub(super) room: Notify,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) timeline: Timeline,
    pub(super) meter: Meter,
}

/// See [`Shared`].
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pending: Pending,
    pub(super) phase: Phase,
    /// The thread sleeps until then.
    asleep: Option<Instant>,
    /// Why the file is out of use.
    pub(super) error: Option<String>,
    /// Rows in the file.
    pub(super) counts: Counts,
    /// Rows that were lost to damage.
    pub(super) lost: u64,
    /// Commits of changes, by how long they took.
    pub(super) commits: Histogram,
}

impl Shared {
    pub(super) fn new(
        pending: Pending,
        timeline: Timeline,
        meter: Meter,
        counts: Counts,
        lost: u64,
    ) -> Self {
        Self {
            progress: watch::channel(pending.progress()).0,
            inner: Mutex::new(Inner {
                pending,
                phase: Phase::Running,
                asleep: None,
                error: None,
                counts,
                lost,
                commits: Histogram::default(),
            }),
            wake: Condvar::new(),
            room: Notify::new(),
            timeline,
            meter,
        }
    }

    /// Changes the state and tells everyone concerned.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let had_room = inner.pending.has_room();
        let result = change(&mut inner);
        let now = inner.pending.progress();
        self.progress.send_if_modified(|progress| {
            let is_new = *progress != now;
            *progress = now;
            is_new
        });
        if !had_room && inner.pending.has_room() {
            self.room.notify_waiters();
        }
        if inner.asleep.is_some_and(|until| inner.is_wanted(until)) {
            inner.asleep = None;
            self.wake.notify_one();
        }
        result
    }

    pub(super) fn end(&self, phase: Phase) {
        self.with(|inner| {
            if inner.phase != Phase::Ended {
                inner.phase = phase;
            }
        });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sleep(&self, until: Instant) {
        let mut inner = self.lock();
        if inner.is_wanted(until) {
            return;
        }
        inner.asleep = Some(until);
        while inner.asleep.is_some() {
            let now = clock::now();
            if now >= until {
                break;
            }
            let waited = self.wake.wait_timeout(inner, until - now);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.asleep = None;
    }
}

impl Inner {
    /// Whether the thread has something to do before `until`.
    fn is_wanted(&self, until: Instant) -> bool {
        let due = self.pending.due().filter(|_| self.error.is_none());
        self.phase != Phase::Running || due.is_some_and(|due| due < until)
    }
}
