//! The newest end of a log: what is in RAM, what of it waits for a commit, and the commit under way. No I/O.
//!
//! Invariants:
//! - every position at or below `written` is in the files, or done, or was QoS 0: a commit writes everything that waits, up
//!   to one position, and no further;
//! - `covered` is `written`, moved on over what follows and needs no file.

use std::time::{Duration, Instant};

use super::pace::Pace;
use super::record::Stored;
use super::tail::{Kept, Tail};

/// One commit takes about this much: a quarter of the cache of the active file. More would be written twice.
pub(super) const COMMIT_BYTES: usize = 512 << 10;
/// A commit only for what became done waits this long for a better reason.
pub(super) const TIDY_DELAY: Duration = Duration::from_secs(1);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) tail: Tail,
    pub(super) pace: Pace,
    hold_bytes: usize,
    written: u64,
    covered: u64,
    /// Highest position that ever was in a file.
    stored: u64,
    /// Messages that wait for a commit, and their RAM.
    waiting: u64,
    waiting_bytes: usize,
    flight: Option<Flight>,
}

/// A commit under way, or one whose outcome is unknown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// What `written` becomes.
    pub(super) up_to: u64,
    /// Position of its last message; 0: it has none.
    pub(super) last: u64,
    /// Its messages that still wait, and their RAM.
    waiting: u64,
    waiting_bytes: usize,
    /// Its messages that became done meanwhile.
    pub(super) done: u64,
}

impl Front {
    /// `stored`: the highest position in a file; `used`: the highest that was ever given out.
    pub(super) fn new(pace: Pace, hold_bytes: usize, stored: u64, used: u64) -> Self {
        Self {
            tail: Tail::new(used + 1),
            pace,
            hold_bytes,
            written: used,
            covered: used,
            stored,
            waiting: 0,
            waiting_bytes: 0,
            flight: None,
        }
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn covered(&self) -> u64 {
        self.covered
    }

    /// Messages that wait for a commit, and their RAM.
    pub(super) fn waiting(&self) -> (u64, usize) {
        (self.waiting, self.waiting_bytes)
    }

    pub(super) fn flight(&self) -> Option<&Flight> {
        self.flight.as_ref()
    }

    /// Nothing above `seq` is in a file, or on its way there.
    pub(super) fn has_stored_nothing_above(&self, seq: u64) -> bool {
        self.stored <= seq && self.flight.is_none_or(|flight| flight.last == 0)
    }

    /// Appends a message that is to be written; `held`: not at once.
    pub(super) fn append(&mut self, now: Instant, kept: Kept, held: bool) {
        self.waiting += 1;
        self.waiting_bytes += kept.bytes();
        self.tail.push(Some(kept));
        if !held {
            self.pace.hurry_soon(now);
        }
        if self.waiting_bytes >= self.bytes_to_commit() {
            self.pace.hurry(now);
        }
    }

    /// Where waiting longer would not make the commit any cheaper, or would use up the room.
    fn bytes_to_commit(&self) -> usize {
        let half = self.hold_bytes / 2;
        if self.pace.is_urgent() {
            half.min(COMMIT_BYTES)
        } else {
            half
        }
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.tail.bytes() < self.hold_bytes
    }

    /// Whether the tail takes more RAM than it should.
    pub(super) fn is_over(&self) -> bool {
        self.tail.bytes() > self.hold_bytes
    }

    /// A message that waited, of `bytes`, needs no commit any more. True: one is under way with it all the same, so it
    /// will be in the files and its end must be committed too.
    pub(super) fn spare(&mut self, seq: u64, bytes: usize) -> bool {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        match &mut self.flight {
            Some(flight) if seq <= flight.last => {
                flight.waiting = flight.waiting.saturating_sub(1);
                flight.waiting_bytes = flight.waiting_bytes.saturating_sub(bytes);
                flight.done += 1;
                true
            }
            _ => {
                self.pace.spared();
                false
            }
        }
    }

    /// See [`Pace::promise`].
    pub(super) fn promise(&mut self, now: Instant) -> u64 {
        self.pace.promise(now, self.flight.is_some())
    }

    /// The commit that holds what became done: the last one, unless some of it still waits for the next.
    pub(super) fn settled(&mut self, now: Instant) -> u64 {
        if self.flight.is_some() || self.pace.is_tidy_due() {
            self.promise(now)
        } else {
            self.pace.commits()
        }
    }

    /// When the next commit is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let oldest = self.tail.get(self.covered + 1);
        self.pace.due(oldest.map(|kept| kept.at))
    }

    /// The messages of the next commit, if one is due, or with `all` if there is anything to commit; may be none. Must be
    /// followed by [`Self::committed`], or else by [`Self::reopened`].
    pub(super) fn commit(&mut self, now: Instant, all: bool) -> Option<Vec<(u64, Stored)>> {
        if self.flight.is_some() || !(all || self.due().is_some_and(|due| due <= now)) {
            return None;
        }
        let has_reason = self.waiting > 0 || self.pace.has_reason();
        let by_age_only = self.pace.begin(now) && !all;
        if !has_reason {
            return None;
        }
        let (flight, records) = self.take_off(now);
        if by_age_only {
            self.pace.judge_holding(now, records.len() as u64);
        }
        self.flight = Some(flight);
        Some(records)
    }

    /// A commit without messages, if it has a reason: what waits goes on to wait. Followed as [`Self::commit`].
    pub(super) fn commit_rows(&mut self, now: Instant) -> bool {
        if self.flight.is_some() || !self.pace.has_reason() {
            return false;
        }
        self.pace.begin(now);
        if self.waiting > 0 {
            self.pace.hurry(now);
        }
        self.flight = Some(Flight {
            up_to: self.written,
            last: 0,
            waiting: 0,
            waiting_bytes: 0,
            done: 0,
        });
        true
    }

    /// Collects what waits, as much as one commit takes.
    fn take_off(&mut self, now: Instant) -> (Flight, Vec<(u64, Stored)>) {
        let mut flight = Flight {
            up_to: self.tail.next() - 1,
            last: 0,
            waiting: 0,
            waiting_bytes: 0,
            done: 0,
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
            self.pace.hurry(now);
        }
        (flight, records)
    }

    /// The commit succeeded.
    pub(super) fn committed(&mut self, now: Instant) -> Option<Flight> {
        let flight = self.flight.take()?;
        self.land(&flight);
        self.pace.committed(now);
        self.advance_covered();
        Some(flight)
    }

    /// The files were opened again after an error; `stored` is the highest position in them. A commit whose outcome was
    /// unknown is in them or is not: it was one transaction. What is not there is due at once. Gives the commit if its
    /// messages are there.
    pub(super) fn reopened(&mut self, now: Instant, stored: u64) -> Option<Flight> {
        let landed = self
            .flight
            .take()
            .filter(|flight| flight.last > 0 && stored >= flight.last);
        if let Some(flight) = &landed {
            self.land(flight);
        }
        if self.waiting > 0 {
            self.pace.hurry(now);
        }
        // The rows in the files may be older than what is known here, or newer by what the unknown commit had.
        self.pace.tidy_by(now);
        self.advance_covered();
        landed
    }

    fn land(&mut self, flight: &Flight) {
        self.waiting = self.waiting.saturating_sub(flight.waiting);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(flight.waiting_bytes);
        self.written = self.written.max(flight.up_to);
        self.stored = self.stored.max(flight.last);
    }

    pub(super) fn advance_covered(&mut self) {
        self.covered = self.covered.max(self.written);
        while self.covered + 1 < self.tail.next() {
            let next = self.covered + 1;
            if self.tail.get(next).is_some_and(|kept| !kept.is_qos0()) {
                break;
            }
            self.covered = next;
        }
    }
}
