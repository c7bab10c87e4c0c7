//! When to commit, what goes into a commit, and what follows from its success or failure.

use std::time::Instant;

use super::super::ledger::Summary;
use super::super::position::Position;
use super::super::tail::Kept;
use super::{COMMIT_BYTES, Core, HOLD_PAUSE, Loaded, Record};

/// One commit, to be written in one transaction.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// The start of the program.
    pub(crate) epoch: u32,
    /// Messages with their positions, in order; may be none.
    pub(crate) records: Vec<(u64, Record)>,
    pub(crate) position: Position,
}

/// A commit under way, or one whose outcome is unknown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// What `written` becomes.
    pub(super) up_to: u64,
    /// Position of its last message; 0: it has none.
    pub(super) last: u64,
    /// Its messages that still wait, and their RAM.
    pub(super) waiting: u64,
    pub(super) waiting_bytes: usize,
    /// Its messages that became done meanwhile.
    pub(super) done: u64,
    cursor: u64,
}

impl Core {
    /// When the next commit is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let times = [self.urgent, self.tidy, self.promised_due, self.held_due()];
        times.into_iter().flatten().min()
    }

    /// When the oldest message that waits has been held long enough.
    fn held_due(&self) -> Option<Instant> {
        let oldest = self.tail.get(self.covered + 1)?;
        Some(oldest.at + self.options.hold_for_upstream)
    }

    /// Whether anything would be lost or done twice if the program ended now.
    fn is_dirty(&self) -> bool {
        self.waiting > 0 || self.tidy.is_some() || self.promised > self.commits
    }

    /// The next commit, if one is due, or with `all` if there is anything to commit. Must be followed by
    /// [`Self::committed`], or else by [`Self::reopened`].
    pub(crate) fn commit(&mut self, now: Instant, all: bool) -> Option<Commit> {
        if self.flight.is_some() || !(all || self.due().is_some_and(|due| due <= now)) {
            return None;
        }
        let by_age_only = !all
            && [self.urgent, self.tidy, self.promised_due]
                .into_iter()
                .flatten()
                .all(|due| due > now);
        let dirty = self.is_dirty();
        self.urgent = None;
        self.tidy = None;
        self.promised_due = None;
        if !dirty {
            return None;
        }
        let flight = self.take_off(now);
        if by_age_only {
            self.judge_holding(now, flight.1.len() as u64);
        }
        self.flight = Some(flight.0);
        Some(Commit {
            epoch: self.epoch,
            records: flight.1,
            position: self.position(),
        })
    }

    /// Collects what waits, as much as one commit takes.
    fn take_off(&mut self, now: Instant) -> (Flight, Vec<(u64, Record)>) {
        let mut flight = Flight {
            up_to: self.tail.next() - 1,
            last: 0,
            waiting: 0,
            waiting_bytes: 0,
            done: 0,
            cursor: self.cursor,
        };
        let mut records = Vec::new();
        let mut is_rest = false;
        for (seq, kept) in self.tail.iter(self.covered + 1) {
            if kept.is_qos0() {
                continue;
            }
            if flight.waiting_bytes >= COMMIT_BYTES {
                is_rest = true;
                break;
            }
            flight.last = seq;
            flight.waiting += 1;
            flight.waiting_bytes += Kept::bytes(kept);
            records.push((seq, kept.record.clone()));
        }
        if is_rest {
            flight.up_to = flight.last;
            self.urgent = Some(now);
        }
        (flight, records)
    }

    /// Holding is worth it while acknowledgements keep more messages from being written than a commit by age writes.
    fn judge_holding(&mut self, now: Instant, aged: u64) {
        if aged > self.spared {
            self.hold_pause = Some(now + HOLD_PAUSE);
        }
        self.spared = 0;
    }

    /// The commit succeeded; `landed` sums up what it wrote.
    pub(crate) fn committed(&mut self, now: Instant, landed: &Summary) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        self.ledger.landed(landed, flight.done);
        self.land(&flight);
        self.committed_cursor = self.committed_cursor.max(flight.cursor);
        self.commits += 1;
        if self.promised > self.commits {
            let due = now + self.options.commit_interval;
            self.promised_due.get_or_insert(due);
        }
        self.advance_covered();
        self.trim();
    }

    fn land(&mut self, flight: &Flight) {
        self.waiting = self.waiting.saturating_sub(flight.waiting);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(flight.waiting_bytes);
        self.written = self.written.max(flight.up_to);
        self.stored = self.stored.max(flight.last);
    }

    /// The files were opened again after an error. A commit whose outcome was unknown is in them or is not: it was one
    /// transaction. What is not there is due at once.
    pub(crate) fn reopened(&mut self, now: Instant, loaded: Loaded) {
        let stored = loaded.ledger.last();
        self.doubt_salvaged_session(now, loaded.position.session.as_deref());
        self.ledger = self.ledger.refreshed(loaded.ledger);
        if let Some(flight) = self.flight.take()
            && flight.last > 0
            && stored >= flight.last
        {
            self.ledger.landed(&Summary::empty(0), flight.done);
            self.land(&flight);
        }
        self.urgent = (self.waiting > 0).then_some(now);
        // The position in the files may be older than the one here, or newer by what the unknown commit had.
        self.tidy = Some(now);
        self.advance_covered();
        self.trim();
    }

    /// A new generation has become the active one.
    pub(crate) fn rolled(&mut self, number: u64, sealed_bytes: u64) {
        self.ledger.rolled(number, sealed_bytes);
    }

    /// The file of a sealed generation was made anew from what could be found in it.
    pub(crate) fn salvaged(&mut self, now: Instant, found: &Summary) {
        self.lost += self.ledger.salvaged(found);
        self.doubt_session(now);
    }
}
