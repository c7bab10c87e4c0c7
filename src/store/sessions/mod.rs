//! The state of the session log, without I/O: messages in RAM, what must be committed and when, and where each session
//! stands.
//!
//! The broker's core appends and says what is done; readers and the writer thread call in; `now` is an argument. Split by
//! verb: `append` here, then [`commit`], [`done`], [`read`] and [`limits`]; [`files`] answers the thread, [`load`] begins
//! with what the files say. What waits for a commit is in [`super::front`], what one session wants in [`session`].
//!
//! Invariants:
//! - a message stays in the tail as long as somebody wants it, or until the tail takes more than `hold_bytes` and it is in
//!   a file;
//! - a row speaks of positions that may not be in a file yet; so no position that any row speaks of is given out again.

mod census;
mod commit;
mod done;
mod files;
mod limits;
mod load;
mod read;
mod row;
mod session;
mod survivors;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use self::census::Census;
pub(super) use self::load::Survey;
pub(super) use self::read::Reading;
pub(super) use self::row::{MAGIC as ROW_MAGIC, SessionRow};
use self::session::Session;
pub(super) use self::survivors::Survivors;
use super::front::{Front, TIDY_DELAY};
use super::ledger::{Ledger, Summary};
use super::marks::Marks;
use super::record::Stored;
use super::tail::{Kept, message_bytes};
use super::{
    CommitNumber, LogStats, Mark, Progress, Seq, SessionLogOptions, SessionNumber, SessionStanding,
    Want,
};
use crate::clock::Timeline;
use crate::mqtt::{Message, QoS};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct SessionCore {
    options: SessionLogOptions,
    timeline: Timeline,
    epoch: u32,
    front: Front,
    ledger: Ledger,
    census: Census,
    sessions: BTreeMap<SessionNumber, Session>,
    marks: Marks,
    /// Sessions whose rows must be written.
    dirty: BTreeSet<SessionNumber>,
    /// Sessions whose rows must be deleted.
    forgotten: BTreeSet<SessionNumber>,
    /// Sealed generations that are not as the files say.
    changed: BTreeMap<u64, Summary>,
    /// Sessions with messages in the commit under way; the first position that may be among them.
    flight: (u64, BTreeSet<SessionNumber>),
    /// Generations that nobody wants any more, and the commit from which on the files say so.
    dead: BTreeMap<u64, u64>,
    /// What is to be kept of a generation that is to be rewritten, and the commit from which on the files say so.
    rewrite: Option<(u64, u64, Survivors)>,
    /// Generations that were rewritten in this start, and how much was wanted of them then.
    rewritten: BTreeMap<u64, u64>,
    /// The rows in the files are not known; the next commit writes them all.
    rows_in_doubt: bool,
    /// The position as the last commit had it.
    cursor: u64,
    /// Dropped for the limit of all sessions, and not told yet: messages, bytes.
    dropped_now: BTreeMap<SessionNumber, (u64, u64)>,
    dropped: u64,
    lost: u64,
}

impl SessionCore {
    pub(super) fn next_seq(&self) -> Seq {
        Seq(self.front.tail.next())
    }

    /// Appends `message` at the next position, for those who want it.
    pub(super) fn append(
        &mut self,
        now: Instant,
        mut message: Message,
        mut wants: Vec<Want>,
        mark: Option<Mark>,
        hold: bool,
    ) {
        let seq = self.front.tail.next();
        if message.qos == QoS::AtMostOnce {
            // Nobody can want it at more than its QoS; but what is wanted here is kept.
            message.qos = QoS::AtLeastOnce;
        }
        let bytes = message_bytes(&message) as u64;
        let is_held = hold && mark.is_none() && self.front.pace.holds(now);
        wants.sort_unstable_by_key(|want| want.session);
        for want in &wants {
            let session = self.sessions.entry(want.session);
            let session = session.or_insert_with(|| Session::new(seq - 1));
            session.append(seq, bytes, want.packet_id);
        }
        if wants.is_empty() {
            self.front.tail.push(None);
        } else {
            let record = Stored {
                message,
                stamp: self.timeline.at(now),
                wants,
            };
            let kept = Kept::new(record, now);
            self.front.append(now, kept, is_held);
        }
        if let Some(mark) = mark {
            self.marks.set(mark, seq);
            self.front.pace.tidy_by(now + TIDY_DELAY);
        }
        self.settle();
    }

    /// The QoS 2 message of `mark` was released: the commit that removes the mark.
    pub(super) fn unmark(&mut self, now: Instant, mark: Mark) -> CommitNumber {
        self.marks.remove(mark);
        CommitNumber(self.front.promise(now))
    }

    pub(super) fn has_room(&self) -> bool {
        self.front.has_room()
    }

    pub(super) fn marks(&self) -> Vec<Mark> {
        self.marks.all()
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            is_prompt: false,
            appended: Seq(self.front.tail.next() - 1),
            covered: Seq(self.front.covered()),
            committed: Seq(self.front.covered()),
            cursor: Seq(self.cursor),
            commits: CommitNumber(self.front.pace.commits()),
            dropped: self.dropped,
            is_full: false,
            gap: None,
        }
    }

    pub(super) fn stats(&self) -> LogStats {
        let mut stats = LogStats {
            file_bytes: self.ledger.file_bytes(),
            file_bytes_max: self.options.queued_bytes_total,
            appended: self.front.tail.next() - 1,
            dropped: self.dropped,
            lost: self.lost,
            ..LogStats::default()
        };
        for (messages, bytes) in self.sessions.values().map(Session::total) {
            stats.messages += messages;
            stats.bytes += bytes;
        }
        stats
    }

    /// Where a session stands.
    pub(super) fn standing(&self, number: SessionNumber) -> SessionStanding {
        let marks = self.marks.all().into_iter();
        let marks = marks.filter(|mark| mark.session == number);
        let marks = marks.map(|mark| mark.packet_id).collect();
        let Some(session) = self.sessions.get(&number) else {
            return SessionStanding {
                marks,
                ..SessionStanding::default()
            };
        };
        let (messages, bytes) = session.total();
        SessionStanding {
            messages,
            bytes,
            last_packet_id: session.last_packet_id,
            sent: Seq(session.sent.max(session.horizon)),
            marks,
        }
    }

    /// Moves the watermarks on and makes room.
    fn settle(&mut self) {
        self.front.advance_covered();
        while self.front.tail.first() < self.front.tail.next() {
            let first = self.front.tail.first();
            let is_empty = self.front.tail.get(first).is_none();
            let evictable = self.front.is_over() && first <= self.front.covered();
            if !is_empty && !evictable {
                break;
            }
            let Some((seq, Some(kept))) = self.front.tail.pop() else {
                continue;
            };
            for want in &kept.record.wants {
                if let Some(session) = self.sessions.get_mut(&want.session) {
                    session.evicted(seq);
                }
            }
        }
    }

    /// The number of the next commit that is not under way.
    fn next_commit_number(&self) -> u64 {
        self.front.pace.commits() + 1 + u64::from(self.front.flight().is_some())
    }

    /// Remembers which generations have become useless.
    fn note_dead(&mut self) {
        let number = self.next_commit_number();
        for generation in self.census.take_emptied() {
            self.dead.insert(generation, number);
        }
    }
}
