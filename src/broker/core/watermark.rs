//! How far a part of the store is, and who waits for it to be further.

use std::collections::BTreeSet;

use super::session::SessionKey;
use crate::store::Seq;

/// The positions of one log, or of the state.
#[derive(Debug)]
pub(super) struct Watermark {
    /// The position of what comes next.
    next: Seq,
    /// All up to here may be acknowledged.
    covered: Seq,
    /// Sessions whose oldest answer waits for this position. One entry a session at most.
    waiters: BTreeSet<(Seq, SessionKey)>,
}

impl Watermark {
    pub(super) fn new(next: Seq) -> Self {
        Self {
            next,
            covered: Seq(next.0.saturating_sub(1)),
            waiters: BTreeSet::new(),
        }
    }

    /// The position that is handed out next.
    pub(super) fn next(&self) -> Seq {
        self.next
    }

    /// The last position that was handed out.
    pub(super) fn last(&self) -> Seq {
        Seq(self.next.0.saturating_sub(1))
    }

    /// Hands out the next position.
    pub(super) fn take(&mut self) -> Seq {
        let seq = self.next;
        self.next = Seq(seq.0.saturating_add(1));
        seq
    }

    pub(super) fn is_covered(&self, seq: Seq) -> bool {
        seq <= self.covered
    }

    pub(super) fn cover(&mut self, upto: Seq) {
        self.covered = self.covered.max(upto);
    }

    pub(super) fn wait(&mut self, seq: Seq, session: SessionKey) {
        self.waiters.insert((seq, session));
    }

    pub(super) fn stop_waiting(&mut self, seq: Seq, session: SessionKey) {
        self.waiters.remove(&(seq, session));
    }

    /// Takes one session whose position is covered.
    pub(super) fn pop_covered(&mut self) -> Option<SessionKey> {
        if !self.is_covered(self.waiters.first()?.0) {
            return None;
        }
        self.waiters.pop_first().map(|(_, session)| session)
    }
}
