//! What the reader gets: from RAM, or sifted from what was found in the files.

use std::time::Instant;

use super::super::gap::GapReason;
use super::super::ledger::is_expired;
use super::super::reading::{Ask, Found};
use super::super::record::Stored;
use super::super::{Entry, Outcome, Seq};
use super::Core;
use crate::clock::WallTime;
use crate::mqtt::QoS;

/// Where the next messages are.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Here they are; none: the reader has caught up.
    Ram(Vec<Entry>),
    /// In the files, from one position to another.
    Files {
        /// Not below the cursor.
        from: u64,
        /// The last one that is not in RAM.
        until: u64,
    },
}

impl Core {
    /// Where the messages from `ask.from` on are; see [`super::super::Log::read`].
    pub(crate) fn read(&mut self, now: Instant, wall: WallTime, ask: &Ask) -> Reading {
        let from = ask.from.max(self.cursor + 1);
        if from < self.front.tail.first() {
            let until = self.front.tail.first() - 1;
            return Reading::Files { from, until };
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut expired = Vec::new();
        let mut taken = 0;
        let mut seen = self.front.tail.next() - 1;
        for (seq, kept) in self.front.tail.iter(from) {
            if self.expires(wall, seq, self.epoch, &kept.record) {
                expired.push((seq, WallTime(kept.record.stamp)));
                continue;
            }
            taken += kept.bytes();
            if !entries.is_empty() && (entries.len() >= ask.messages || taken > ask.bytes) {
                seen = seq - 1;
                break;
            }
            entries.push(self.entry(seq, self.epoch, kept.record.clone()));
        }
        if ask.takes {
            self.read_to = self.read_to.max(seen);
        }
        self.expire(now, expired);
        Reading::Ram(entries)
    }

    /// Sifts what was found for `ask`. What is missing there is in no file, so it is done.
    pub(super) fn sift(
        &mut self,
        now: Instant,
        wall: WallTime,
        ask: &Ask,
        found: Found,
    ) -> Vec<Entry> {
        for (first, count) in found.damaged {
            // The reader may come by again; by then it is marked as done.
            if first > self.cursor && !self.done.contains(first) {
                self.lost += count;
                let of = self.ledger.generation_of(first);
                let (oldest, newest) = of.map_or((wall, wall), |of| of.summary.times());
                self.lose(now, GapReason::Damaged, count, oldest, newest);
            }
        }
        let mut next = ask.from.max(self.cursor + 1);
        let mut entries = Vec::with_capacity(found.records.len());
        let mut expired = Vec::new();
        for (seq, epoch, record) in found.records {
            if seq > next {
                self.done.insert(next, seq - 1);
            }
            next = next.max(seq + 1);
            if seq <= self.cursor || self.done.contains(seq) {
                continue;
            }
            if self.expires(wall, seq, epoch, &record) {
                expired.push((seq, WallTime(record.stamp)));
            } else {
                entries.push(self.entry(seq, epoch, record));
            }
        }
        self.done.insert(next, found.reached);
        if ask.takes {
            self.read_to = self.read_to.max(found.reached);
        }
        self.advance_cursor();
        self.judge_promptness(now);
        self.expire(now, expired);
        self.doubt_session(now);
        entries
    }

    fn entry(&self, seq: u64, epoch: u32, record: Stored) -> Entry {
        let mark = self.received.get(&seq);
        Entry {
            seq: Seq(seq),
            epoch,
            record: record.into(),
            received: mark.is_some_and(|number| *number <= self.front.pace.commits()),
            maybe_sent: epoch != self.epoch,
        }
    }

    /// Whether a message is dropped for its age. Not at QoS 2 where it may have been sent: its packet id is taken.
    fn expires(&self, wall: WallTime, seq: u64, epoch: u32, record: &Stored) -> bool {
        let maybe_sent = epoch != self.epoch || seq <= self.read_to;
        is_expired(WallTime(record.stamp), wall, self.options.max_age)
            && !(record.message.qos == QoS::ExactlyOnce && maybe_sent)
    }

    fn expire(&mut self, now: Instant, expired: Vec<(u64, WallTime)>) {
        for (seq, stamp) in expired {
            let before = self.dropped;
            self.done(now, seq, Outcome::Dropped);
            let count = self.dropped - before; // none where it was done already
            self.lose(now, GapReason::MaxAge, count, stamp, stamp);
        }
    }
}
