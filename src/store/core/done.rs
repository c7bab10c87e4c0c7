//! What needs to be kept no longer: acknowledged, received by the upstream, dropped with its file.

use std::time::Instant;

use super::super::front::TIDY_DELAY;
use super::super::gap::GapReason;
use super::super::ledger::{Ledger, Summary};
use super::super::{CommitNumber, Outcome, WhenFull};
use super::{Core, TIDY_POSITIONS};
use crate::clock::WallTime;

impl Core {
    /// A message needs to be kept no longer. What is done already, or never was, is passed over.
    pub(crate) fn done(&mut self, now: Instant, seq: u64, outcome: Outcome) {
        if seq <= self.cursor || seq >= self.front.tail.next() || self.done.contains(seq) {
            return;
        }
        let in_files = if self.front.tail.contains(seq) {
            let Some(kept) = self.front.tail.take(seq) else {
                return;
            };
            let is_written = seq <= self.front.written();
            if !kept.is_qos0() && !is_written && self.front.spare(seq, kept.bytes()) {
                self.front.pace.tidy_by(now + TIDY_DELAY);
            }
            !kept.is_qos0() && is_written
        } else {
            true
        };
        if in_files {
            self.ledger.done(seq);
        }
        if in_files | self.received.remove(&seq).is_some() {
            self.front.pace.tidy_by(now + TIDY_DELAY);
        }
        self.dropped += u64::from(outcome == Outcome::Dropped);
        self.done.insert(seq, seq);
        self.settle(seq);
        self.judge_promptness(now);
        if self.cursor - self.committed_cursor > TIDY_POSITIONS && self.front.pace.is_tidy_due() {
            self.front.pace.tidy_by(now);
        }
    }

    pub(super) fn advance_cursor(&mut self) {
        loop {
            let next = self.cursor + 1;
            if let Some(end) = self.done.end_of(next) {
                self.cursor = end;
            } else if self.front.tail.contains(next) && self.front.tail.get(next).is_none() {
                self.cursor = next;
            } else {
                break;
            }
        }
        self.done.remove_to(self.cursor);
        if self.front.has_stored_nothing_above(self.committed_cursor) {
            // Nothing in the files is above the stored cursor: a start from there would find nothing either.
            self.committed_cursor = self.cursor;
        }
    }

    /// QoS 2: PUBREC has come. The commit that makes it durable.
    pub(crate) fn received(&mut self, now: Instant, seq: u64) -> CommitNumber {
        if seq <= self.cursor || self.done.contains(seq) || seq >= self.front.tail.next() {
            // Perhaps dropped with its file, which a power cut brings back: it would be sent again after its PUBREL.
            return CommitNumber(self.front.settled(now));
        }
        let number = match self.received.get(&seq) {
            Some(number) => *number,
            None => self.front.promise(now),
        };
        self.received.insert(seq, number);
        CommitNumber(number)
    }

    /// A sealed generation that must go because of `max_bytes` or `max_age`. One with a message that the upstream has
    /// received (PUBREC) stays: its packet id is taken until PUBCOMP.
    pub(super) fn surplus(&mut self, wall: WallTime) -> Option<u64> {
        let number = self.oldest_droppable()?;
        let summary = *self.ledger.summary(number)?;
        let over = self.gives_way() && self.ledger.file_bytes() > self.options.max_bytes;
        let is_aged = Ledger::is_expired(&summary, wall, self.options.max_age);
        self.aged = is_aged.then_some(number);
        (over || is_aged).then_some(number)
    }

    /// Whether the oldest makes room for what is new.
    pub(super) fn gives_way(&self) -> bool {
        self.options.when_full == WhenFull::DropOldest
    }

    pub(super) fn oldest_droppable(&self) -> Option<u64> {
        let ledger = &self.ledger;
        let oldest = ledger.oldest_droppable(|summary| self.holds_received(summary));
        oldest.map(|oldest| oldest.summary.number)
    }

    fn holds_received(&self, summary: &Summary) -> bool {
        summary.count > 0
            && self
                .received
                .range(summary.first..=summary.last)
                .next()
                .is_some()
    }

    /// The file of a generation was dropped, with whatever was in it. Gives the number of messages lost by it.
    pub(super) fn drop_generation(&mut self, now: Instant, number: u64) -> u64 {
        let is_oldest = self.ledger.is_oldest(number);
        let Some(generation) = self.ledger.remove(number) else {
            return 0;
        };
        let summary = generation.summary;
        if summary.count == 0 {
            return 0;
        }
        self.dropped += generation.live();
        let reason = match self.aged.take_if(|aged| *aged == number) {
            Some(_) => GapReason::MaxAge,
            None => GapReason::DropOldest,
        };
        let (oldest, newest) = summary.times();
        self.lose(now, reason, generation.live(), oldest, newest);
        let first = if is_oldest { 0 } else { summary.first };
        let first = first.max(self.cursor + 1);
        for seq in
            first.max(self.front.tail.first())..(summary.last + 1).min(self.front.tail.next())
        {
            if let Some(kept) = self.front.tail.take(seq) {
                self.dropped += u64::from(kept.is_qos0());
            }
        }
        self.done.insert(first, summary.last);
        self.front.pace.tidy_by(now + TIDY_DELAY);
        self.settle(first);
        self.judge_promptness(now);
        generation.live()
    }
}
