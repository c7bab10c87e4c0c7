//! What a session wants no longer, has received, has been sent, or drops.

use std::time::Instant;

use super::super::front::TIDY_DELAY;
use super::super::{CommitNumber, Mark, Outcome, SessionNumber};
use super::SessionCore;

impl SessionCore {
    /// `session` needs the message no longer. What is done already, or never was wanted, is passed over.
    pub(in crate::store) fn done(
        &mut self,
        now: Instant,
        number: SessionNumber,
        seq: u64,
        outcome: Outcome,
    ) {
        let is_written = self.is_written(seq);
        let Some(session) = self.sessions.get_mut(&number) else {
            return;
        };
        let held = session.done(seq, is_written, &self.ledger, &mut self.census);
        let Some(held) = held else {
            return;
        };
        session.settle(self.front.tail.next() - 1);
        self.dropped += u64::from(outcome == Outcome::Dropped);
        self.release(now, number, seq);
        if is_written {
            if held.generation.is_none()
                && let Some(active) = self.ledger.active()
            {
                // The commit under way has it.
                let number = self.next_commit_number();
                self.dead.insert(active.summary.number, number);
            }
            self.touch(now, number);
        }
        self.note_dead();
        self.settle();
    }

    /// Whether a position is in a file, or on its way there.
    fn is_written(&self, seq: u64) -> bool {
        let flight = self.front.flight().map_or(0, |flight| flight.up_to);
        seq <= self.front.written().max(flight)
    }

    /// Takes the want off the tail. The last one to go takes the message with it.
    fn release(&mut self, now: Instant, session: SessionNumber, seq: u64) {
        if let Some(kept) = self.front.tail.release(seq, session)
            && seq > self.front.written()
            && self.front.spare(seq, kept.bytes())
        {
            self.front.pace.tidy_by(now + TIDY_DELAY);
        }
    }

    /// The row of `session` has changed.
    pub(super) fn touch(&mut self, now: Instant, session: SessionNumber) {
        self.dirty.insert(session);
        self.front.pace.tidy_by(now + TIDY_DELAY);
    }

    /// QoS 2: the client's PUBREC has come. The commit that makes it durable.
    pub(in crate::store) fn received(
        &mut self,
        now: Instant,
        number: SessionNumber,
        seq: u64,
    ) -> CommitNumber {
        let Some(session) = self.sessions.get_mut(&number) else {
            return CommitNumber(self.front.settled(now));
        };
        let promised = session.received(seq, &self.ledger, || self.front.promise(now));
        let Some(promised) = promised else {
            // Perhaps dropped with its file, which a power cut brings back: it would be sent again after its PUBREL.
            return CommitNumber(self.front.settled(now));
        };
        self.dirty.insert(number);
        CommitNumber(promised)
    }

    /// Everything up to `seq` may have been sent.
    pub(in crate::store) fn sent(&mut self, number: SessionNumber, seq: u64) {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.sent(seq);
        }
    }

    /// Drops the oldest `count` messages of a session that were neither handed out nor sent.
    pub(in crate::store) fn skip_oldest(
        &mut self,
        now: Instant,
        number: SessionNumber,
        count: u64,
    ) {
        let Some(session) = self.sessions.get_mut(&number) else {
            return;
        };
        let (skipped, in_tail) = session.skip(count, &mut self.census);
        if skipped > 0 {
            session.settle(self.front.tail.next() - 1);
            self.dropped += skipped;
            self.touch(now, number);
            self.note_dead();
        }
        for seq in in_tail {
            self.done(now, number, seq, Outcome::Dropped);
        }
    }

    /// A session has ended, with all that it wanted and its marks. The commit that makes it durable.
    pub(in crate::store) fn forget(&mut self, now: Instant, number: SessionNumber) -> CommitNumber {
        let promised = CommitNumber(self.front.promise(now));
        let marks = self.marks.all();
        let marks = marks.into_iter().filter(|mark| mark.session == number);
        for mark in marks.collect::<Vec<Mark>>() {
            self.marks.remove(mark);
        }
        self.dropped_now.remove(&number);
        self.dirty.remove(&number);
        self.forgotten.insert(number);
        let Some(session) = self.sessions.remove(&number) else {
            return promised;
        };
        for (generation, wants) in session.wanted() {
            self.census.remove(Some(generation), wants);
        }
        for seq in session.open.keys().chain(session.recent.keys()) {
            self.release(now, number, *seq);
        }
        self.note_dead();
        self.settle();
        promised
    }
}
