//! What needs to be kept no longer: acknowledged, received by the upstream, dropped with its file.

use std::time::Instant;

use super::super::ledger::{Ledger, Summary};
use super::super::{CommitNumber, Outcome};
use super::{Core, TIDY_DELAY, TIDY_POSITIONS};
use crate::clock::WallTime;

impl Core {
    /// A message needs to be kept no longer. What is done already, or never was, is passed over.
    pub(crate) fn done(&mut self, now: Instant, seq: u64, outcome: Outcome) {
        if seq <= self.cursor || seq >= self.tail.next() || self.done.contains(seq) {
            return;
        }
        let in_files = if self.tail.contains(seq) {
            let Some(kept) = self.tail.take(seq) else {
                return;
            };
            !kept.is_qos0() && (seq <= self.written || self.spare(now, seq, kept.bytes()))
        } else {
            true
        };
        if in_files {
            self.ledger.done(seq);
        }
        if in_files | self.received.remove(&seq).is_some() {
            self.tidy_by(now + TIDY_DELAY);
        }
        self.dropped += u64::from(outcome == Outcome::Dropped);
        self.done.insert(seq, seq);
        self.settle(seq);
        if self.cursor - self.committed_cursor > TIDY_POSITIONS && self.tidy.is_some() {
            self.tidy_by(now);
        }
    }

    /// A message that waited needs no commit any more, unless one is under way with it: then it will be in the files,
    /// and its end must be committed too. Always false: it is in no file yet.
    fn spare(&mut self, now: Instant, seq: u64, bytes: usize) -> bool {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        match &mut self.flight {
            Some(flight) if seq <= flight.last => {
                flight.waiting = flight.waiting.saturating_sub(1);
                flight.waiting_bytes = flight.waiting_bytes.saturating_sub(bytes);
                flight.done += 1;
                self.tidy_by(now + TIDY_DELAY);
            }
            _ => self.spared += 1,
        }
        false
    }

    pub(super) fn tidy_by(&mut self, due: Instant) {
        self.tidy = Some(self.tidy.map_or(due, |tidy| tidy.min(due)));
    }

    pub(super) fn advance_cursor(&mut self) {
        loop {
            let next = self.cursor + 1;
            if let Some(end) = self.done.end_of(next) {
                self.cursor = end;
            } else if self.tail.contains(next) && self.tail.get(next).is_none() {
                self.cursor = next;
            } else {
                break;
            }
        }
        self.done.remove_to(self.cursor);
        let in_flight = self.flight.is_some_and(|flight| flight.last > 0);
        if self.stored <= self.committed_cursor && !in_flight {
            // Nothing in the files is above the stored cursor: a start from there would find nothing either.
            self.committed_cursor = self.cursor;
        }
    }

    /// QoS 2: PUBREC has come. The commit that makes it durable.
    pub(crate) fn received(&mut self, now: Instant, seq: u64) -> CommitNumber {
        if seq <= self.cursor || self.done.contains(seq) || seq >= self.tail.next() {
            return CommitNumber(self.commits);
        }
        let number = match self.received.get(&seq) {
            Some(number) => *number,
            None => self.promise(now),
        };
        self.received.insert(seq, number);
        CommitNumber(number)
    }

    /// The number of the first commit that will hold what is true now: one that is under way does not.
    pub(super) fn promise(&mut self, now: Instant) -> u64 {
        let number = self.commits + 1 + u64::from(self.flight.is_some());
        if number > self.promised || self.promised_due.is_none() {
            let due = now + self.options.commit_interval;
            self.promised_due = Some(self.promised_due.map_or(due, |earlier| earlier.min(due)));
        }
        self.promised = self.promised.max(number);
        number
    }

    /// A sealed generation whose file is no longer needed.
    pub(crate) fn consumed(&self) -> Option<u64> {
        self.ledger.consumed(self.committed_cursor)
    }

    /// A sealed generation that must go because of `max_bytes` or `max_age`. One with a message that the upstream has
    /// received (PUBREC) stays: its packet id is taken until PUBCOMP.
    pub(crate) fn surplus(&self, wall: WallTime) -> Option<u64> {
        let oldest = self
            .ledger
            .oldest_droppable(|summary| self.holds_received(summary))?;
        let summary = &oldest.summary;
        let over = self.ledger.file_bytes() > self.options.max_bytes;
        (over || Ledger::is_expired(summary, wall, self.options.max_age)).then_some(summary.number)
    }

    fn holds_received(&self, summary: &Summary) -> bool {
        summary.count > 0
            && self
                .received
                .range(summary.first..=summary.last)
                .next()
                .is_some()
    }

    /// The file of a consumed generation is gone.
    pub(crate) fn unlinked(&mut self, number: u64) {
        self.ledger.remove(number);
    }

    /// The file of a generation was dropped, with whatever was in it. Gives the number of messages lost by it.
    pub(crate) fn dropped_file(&mut self, now: Instant, number: u64) -> u64 {
        let is_oldest = self.ledger.is_oldest(number);
        let Some(generation) = self.ledger.remove(number) else {
            return 0;
        };
        let summary = generation.summary;
        if summary.count == 0 {
            return 0;
        }
        self.dropped += generation.live();
        let first = if is_oldest { 0 } else { summary.first };
        let first = first.max(self.cursor + 1);
        for seq in first.max(self.tail.first())..(summary.last + 1).min(self.tail.next()) {
            if let Some(kept) = self.tail.take(seq) {
                self.dropped += u64::from(kept.is_qos0());
            }
        }
        self.done.insert(first, summary.last);
        self.tidy_by(now + TIDY_DELAY);
        self.settle(first);
        generation.live()
    }
}
