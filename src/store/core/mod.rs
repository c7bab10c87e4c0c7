//! The state of a log, without I/O: what is in RAM, what must be committed and when, what is done.
//!
//! One appender, one reader, one writer thread call in; `now` is an argument. Split by verb: `append` here, then
//! [`commit`], [`done`], [`read`] and [`session`].
//!
//! Invariants:
//! - every position at or below `written` is in the files, or done, or was QoS 0: a commit writes everything that waits, up
//!   to one position, and no further;
//! - `covered` is `written`, moved on over what follows and needs no file;
//! - every position at or below `cursor` is done; what is done above it is in `done`, or is an empty slot of the tail, or is
//!   missing in the files, which the reader finds out when it gets there;
//! - the tail takes at most `hold_bytes` besides what waits for a commit.

mod commit;
mod done;
mod read;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) use commit::Commit;
pub(super) use read::{Allowance, Found, Reading};

use super::ledger::Ledger;
use super::position::Position;
use super::ranges::Ranges;
use super::tail::{Kept, Tail};
use super::{LinkHealth, LogOptions, LogStats, Progress, Record, Seq};
use crate::mqtt::QoS;

/// One commit takes about this much: a quarter of the cache of the active file. More would be written twice.
pub(super) const COMMIT_BYTES: usize = 512 << 10;
/// A commit only for acknowledgements waits this long for a better reason.
const TIDY_DELAY: Duration = Duration::from_secs(1);
/// So many positions may be done and not committed as done; a bridge's packet ids come round after 65 000.
const TIDY_POSITIONS: u64 = 20_000;
/// After a commit by age that showed holding to be useless, nothing is held for this long.
const HOLD_PAUSE: Duration = Duration::from_secs(10);

/// What the files say when they are opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    /// The present start of the program.
    pub(super) epoch: u32,
    pub(super) position: Position,
    pub(super) ledger: Ledger,
    /// Messages in files that had been dropped, when the program ended before it could say so.
    pub(super) dropped: u64,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Core {
    options: LogOptions,
    epoch: u32,
    tail: Tail,
    ledger: Ledger,
    cursor: u64,
    done: Ranges,
    /// The cursor as the next start would find it.
    committed_cursor: u64,
    written: u64,
    covered: u64,
    /// Highest position that ever was in a file.
    stored: u64,
    /// The reader has seen everything up to here once.
    read_to: u64,
    /// QoS 2: PUBREC has come; the commit that makes it durable.
    received: BTreeMap<u64, u64>,
    /// What the reader calls its session at the upstream.
    session: Option<String>,
    /// The commit that holds the session as it is, and no mark of an earlier one.
    session_commit: u64,
    /// As many of `lost` were known when the session was last doubted.
    lost_known: u64,
    link: LinkHealth,
    /// Until then nothing is held.
    hold_pause: Option<Instant>,
    /// Messages kept from being written by their acknowledgement, since the last commit by age.
    spared: u64,
    /// When what waits and is not held must be committed.
    urgent: Option<Instant>,
    /// When acknowledgements must be committed.
    tidy: Option<Instant>,
    /// The highest commit number promised to a caller, and when it must have been made.
    promised: u64,
    promised_due: Option<Instant>,
    commits: u64,
    flight: Option<commit::Flight>,
    /// Messages that wait for a commit, and their RAM.
    waiting: u64,
    waiting_bytes: usize,
    dropped: u64,
    lost: u64,
}

impl Core {
    pub(super) fn new(options: LogOptions, loaded: Loaded) -> Self {
        let Loaded {
            epoch,
            position,
            ledger,
            dropped,
        } = loaded;
        let written = ledger.last().max(position.cursor);
        let received = position.received.iter();
        Self {
            options,
            epoch,
            tail: Tail::new(written + 1),
            cursor: position.cursor,
            committed_cursor: position.cursor,
            written,
            covered: written,
            stored: ledger.last(),
            read_to: position.cursor,
            received: received
                .flat_map(|(first, last)| first..=last)
                .map(|seq| (seq, 0))
                .collect(),
            session: position.session,
            session_commit: 0,
            lost_known: 0,
            done: position.done,
            ledger,
            link: LinkHealth::Down,
            hold_pause: None,
            spared: 0,
            urgent: None,
            tidy: None,
            promised: 0,
            promised_due: None,
            commits: 0,
            flight: None,
            waiting: 0,
            waiting_bytes: 0,
            dropped,
            lost: 0,
        }
    }

    pub(super) fn next_seq(&self) -> Seq {
        Seq(self.tail.next())
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            appended: Seq(self.tail.next() - 1),
            covered: Seq(self.covered),
            committed: Seq(self.covered),
            cursor: Seq(self.committed_cursor),
            commits: super::CommitNumber(self.commits),
        }
    }

    /// Appends `record` at the next position.
    pub(super) fn append(&mut self, now: Instant, record: Record) {
        let seq = self.tail.next();
        let kept = Kept { record, at: now };
        if kept.is_qos0() {
            let keep = self.link == LinkHealth::Up
                && self.tail.bytes() + kept.bytes() < self.options.hold_bytes;
            self.dropped += u64::from(!keep);
            self.tail.push(keep.then_some(kept));
        } else {
            self.waiting += 1;
            self.waiting_bytes += kept.bytes();
            let held = kept.record.message.qos == QoS::AtLeastOnce && self.holds(now);
            self.tail.push(Some(kept));
            if !held {
                self.hurry(now + self.options.commit_interval);
            }
            if self.waiting_bytes >= self.bytes_to_commit() {
                self.hurry(now);
            }
        }
        self.settle(seq);
    }

    /// Whether a QoS 1 message that comes now is held for the upstream's acknowledgement.
    fn holds(&self, now: Instant) -> bool {
        self.link == LinkHealth::Up
            && !self.options.hold_for_upstream.is_zero()
            && self.hold_pause.is_none_or(|until| until <= now)
    }

    /// Where waiting longer would not make the commit any cheaper, or would use up the room.
    fn bytes_to_commit(&self) -> usize {
        let half = self.options.hold_bytes / 2;
        if self.urgent.is_some() {
            half.min(COMMIT_BYTES)
        } else {
            half
        }
    }

    fn hurry(&mut self, due: Instant) {
        self.urgent = Some(self.urgent.map_or(due, |urgent| urgent.min(due)));
    }

    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.tail.bytes() < self.options.hold_bytes
    }

    pub(super) fn link(&mut self, now: Instant, link: LinkHealth) {
        self.link = link;
        if link == LinkHealth::Down && self.waiting > 0 {
            self.hurry(now + self.options.commit_interval);
        }
    }

    /// Moves the watermarks on and makes room. `hint` is the position that changed.
    fn settle(&mut self, hint: u64) {
        if hint <= self.cursor + 1 {
            self.advance_cursor();
        }
        self.advance_covered();
        self.trim();
    }

    fn advance_covered(&mut self) {
        self.covered = self.covered.max(self.written);
        while self.covered + 1 < self.tail.next() {
            let next = self.covered + 1;
            if self.tail.get(next).is_some_and(|kept| !kept.is_qos0()) {
                break;
            }
            self.covered = next;
        }
    }

    /// Drops from the tail what is done; and while it takes too much RAM, what is in the files too; then QoS 0.
    fn trim(&mut self) {
        loop {
            let first = self.tail.first();
            let over = self.tail.bytes() > self.options.hold_bytes;
            let evictable = over && first <= self.covered;
            if first >= self.tail.next() || !(first <= self.cursor || evictable) {
                break;
            }
            let Some((seq, slot)) = self.tail.pop() else {
                break;
            };
            self.popped(seq, slot.as_ref());
        }
        while self.tail.bytes() > self.options.hold_bytes {
            let Some(seq) = self.tail.take_oldest_qos0() else {
                break;
            };
            self.dropped += 1;
            if seq == self.cursor + 1 {
                self.advance_cursor();
            }
            self.advance_covered();
        }
    }

    /// A position left the tail. One that was empty, or QoS 0, is not in the files: the reader finds that out when it
    /// gets there, but where it has been already, it must be remembered.
    fn popped(&mut self, seq: u64, slot: Option<&Kept>) {
        if let Some(kept) = slot {
            if !kept.is_qos0() {
                return;
            }
            self.dropped += 1;
        }
        if seq > self.cursor && (seq <= self.read_to || seq == self.cursor + 1) {
            self.done.insert(seq, seq);
            self.advance_cursor();
        }
    }

    pub(super) fn stats(&self) -> LogStats {
        let oldest_in_ram = self.tail.iter(self.cursor + 1).next();
        let oldest_in_ram = oldest_in_ram.map(|(_, kept)| kept.record.stamped);
        let on_disk = self.tail.first() > self.cursor + 1 && self.ledger.messages() > 0;
        LogStats {
            messages: self.ledger.messages() + self.waiting + self.tail.qos0() as u64,
            bytes: self.ledger.bytes() + (self.waiting_bytes + self.tail.qos0_bytes()) as u64,
            oldest: if on_disk {
                self.ledger.oldest()
            } else {
                oldest_in_ram
            },
            dropped: self.dropped,
            lost: self.lost,
            ..LogStats::default()
        }
    }

    /// The ledger, for what the writer thread decides by it.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The position as it is now, to be stored.
    pub(super) fn position(&self) -> Position {
        let mut received = Ranges::default();
        for seq in self.received.keys() {
            received.insert(*seq, *seq);
        }
        Position {
            epoch: self.epoch,
            cursor: self.cursor,
            done: self.done.clone(),
            received,
            touched: self.ledger.touched(),
            session: self.session.clone(),
        }
    }
}
