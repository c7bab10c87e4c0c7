//! When something is due, earliest first. An owner has at most one entry of a kind and takes it out when it ends, so the
//! table is bounded by its owners.

use std::collections::BTreeSet;
use std::time::Instant;

use super::session::SessionKey;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timeout {
    /// Silence may have lasted for one and a half times the keep alive. Not moved with every packet: when it fires it is
    /// compared with the last packet and set anew.
    KeepAlive(SessionKey),
    /// A publisher that is not read because the queue of a receiver, or a log, is full has waited long enough.
    QueueFull(SessionKey),
    /// The session of a client that is away ends.
    SessionExpiry(SessionKey),
    /// Retained messages that expired are removed, some at a time.
    Sweep,
    /// The will of a client that is away is published.
    WillDelay(SessionKey),
}

/// All that is due some time.
#[derive(Debug, Default)]
pub(super) struct Timeouts {
    due: BTreeSet<(Instant, Timeout)>,
}

impl Timeouts {
    pub(super) fn set(&mut self, at: Instant, timeout: Timeout) {
        self.due.insert((at, timeout));
    }

    pub(super) fn cancel(&mut self, at: Instant, timeout: Timeout) {
        self.due.remove(&(at, timeout));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes one that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timeout> {
        if self.next()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, timeout)| timeout)
    }
}
