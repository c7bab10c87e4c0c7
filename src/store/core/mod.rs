//! The state of a bridge's log, without I/O: what is in RAM, what must be committed and when, what is done.
//!
//! One appender, one reader, one writer thread call in; `now` is an argument. Split by verb: `append` here, then
//! [`commit`], [`done`], [`purge`], [`read`] and [`session`]; [`files`] answers the thread. What waits for a commit is in
//! [`super::front`].
//!
//! Invariants:
//! - every position at or below `cursor` is done; what is done above it is in `done`, or is an empty slot of the tail, or is
//!   missing in the files, which the reader finds out when it gets there;
//! - the tail takes at most `hold_bytes` besides what waits for a commit.

mod commit;
mod done;
mod files;
mod purge;
mod read;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(super) use read::Reading;

use super::front::{Front, TIDY_DELAY};
use super::gap::{Gap, GapReason, Gaps};
use super::keeper::Loaded;
use super::ledger::Ledger;
use super::marks::Marks;
use super::pace::Pace;
use super::position::Position;
use super::ranges::Ranges;
use super::tail::Kept;
use super::{LinkHealth, LogOptions, LogStats, Mark, Progress, Record, Seq, WhenFull};
use crate::clock::WallTime;
use crate::mqtt::QoS;

/// So many positions may be done and not committed as done: fewer than [`super::REACH`].
const TIDY_POSITIONS: u64 = 20_000;

/// What waits for longer is not sent soon.
const PROMPT: Duration = Duration::from_secs(5);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Core {
    options: LogOptions,
    epoch: u32,
    front: Front,
    ledger: Ledger,
    cursor: u64,
    done: Ranges,
    /// The cursor as the next start would find it.
    committed_cursor: u64,
    /// What it becomes with the commit under way.
    cursor_under_way: u64,
    /// The reader has seen everything up to here once.
    read_to: u64,
    /// QoS 2: PUBREC has come; the commit that makes it durable.
    received: BTreeMap<u64, u64>,
    /// QoS 2 messages that came in, between PUBLISH and PUBREL.
    marks: Marks,
    /// What the reader calls its session at the upstream.
    session: Option<String>,
    /// What the appender calls its routes.
    routes: Vec<u32>,
    /// The commit that holds the session as it is, and no mark of an earlier one.
    session_commit: u64,
    /// As many of `lost` were known when the session was last doubted.
    lost_known: u64,
    link: LinkHealth,
    /// When this was looked at last, the oldest message had not waited for long.
    waits_little: bool,
    /// The rows in the files are not known; the next commit writes them all.
    rows_in_doubt: bool,
    /// There is no space left for what waits.
    is_medium_full: bool,
    dropped: u64,
    /// As many of `dropped` were purged.
    purged: u64,
    refused: u64,
    lost: u64,
    gaps: Gaps,
    /// The hole that every later start would find fixed, and the one that the commit under way fixes.
    gap: Option<Gap>,
    gap_under_way: Option<Gap>,
    /// The generation that is to go for its age.
    aged: Option<u64>,
}

impl Core {
    pub(super) fn new(options: LogOptions, loaded: Loaded) -> Self {
        let used = loaded.last_position();
        let mut position = loaded.position;
        let ledger = Ledger::new(loaded.files, &position);
        let dropped = files::note_gone(&loaded.gone, &mut position);
        // What is done may lie above what is in the files: those positions were used.
        let used = used.max(position.cursor).max(position.done.last());
        let received = position
            .received
            .iter()
            .flat_map(|(first, last)| first..=last);
        let pace = Pace::new(options.commit_interval, options.hold_for_upstream);
        Self {
            front: Front::new(pace, options.hold_bytes, ledger.last(), used),
            options,
            epoch: loaded.epoch,
            cursor: position.cursor,
            committed_cursor: position.cursor,
            cursor_under_way: position.cursor,
            read_to: position.cursor,
            // That of a message which went with its file, because it was done, is void.
            received: received
                .filter(|seq| ledger.generation_of(*seq).is_some())
                .map(|seq| (seq, 0))
                .collect(),
            marks: Marks::new(loaded.marks),
            dropped,
            session: position.session,
            routes: position.routes,
            session_commit: 0,
            lost_known: 0,
            done: position.done,
            ledger,
            link: LinkHealth::Down,
            waits_little: false,
            rows_in_doubt: loaded.is_salvaged,
            purged: 0,
            is_medium_full: false,
            refused: 0,
            lost: 0,
            // Told by an earlier start perhaps, as it is stored.
            gap: position.gaps.fixed(),
            gap_under_way: None,
            gaps: position.gaps,
            aged: None,
        }
    }

    pub(super) fn next_seq(&self) -> Seq {
        Seq(self.front.tail.next())
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            appended: Seq(self.front.tail.next() - 1),
            covered: Seq(self.front.covered()),
            committed: Seq(self.front.covered()),
            cursor: Seq(self.committed_cursor),
            commits: super::CommitNumber(self.front.pace.commits()),
            is_prompt: self.is_prompt(),
            dropped: self.dropped,
            is_full: self.is_full(),
            gap: self.gap,
        }
    }

    /// Whether nothing more is to be appended. A log in which nothing waits takes one message whatever the limits are, else it
    /// might take none for ever.
    pub(super) fn is_full(&self) -> bool {
        let refuses = self.options.when_full == WhenFull::Refuse;
        refuses
            && !self.is_empty()
            && (self.is_medium_full || self.bytes() >= self.options.max_bytes)
    }

    /// See [`super::Log::is_nearly_full`].
    pub(super) fn is_nearly_full(&self) -> bool {
        !self.is_empty() && self.bytes() >= self.options.max_bytes - self.options.max_bytes / 4
    }

    /// Of the files, and of what waits for a commit.
    fn bytes(&self) -> u64 {
        let (_, waiting) = self.front.waiting();
        self.ledger.file_bytes().saturating_add(waiting as u64)
    }

    /// Whether nothing waits.
    fn is_empty(&self) -> bool {
        self.cursor + 1 >= self.front.tail.next()
    }

    /// A message of this time was not taken. `is_lost`: nobody could be told.
    pub(super) fn refuse(&mut self, now: Instant, stamp: WallTime, is_lost: bool) {
        if is_lost {
            self.dropped += 1;
            self.lose(now, GapReason::NotTaken, 1, stamp, stamp);
        } else {
            self.refused += 1;
        }
    }

    /// The upstream is to be told that messages will not come.
    fn lose(
        &mut self,
        now: Instant,
        reason: GapReason,
        count: u64,
        first: WallTime,
        last: WallTime,
    ) {
        if count > 0 {
            self.gaps.add(reason, count, first, last);
            self.front.pace.tidy_by(now + TIDY_DELAY);
        }
    }

    /// The upstream knows of the hole with this number.
    pub(super) fn gap_told(&mut self, now: Instant, number: u64) {
        if self.gaps.told(number) {
            self.gap = None;
            self.front.pace.tidy_by(now + TIDY_DELAY);
        }
    }

    /// Appends `record` at the next position.
    pub(super) fn append(&mut self, now: Instant, record: Record, mark: Option<Mark>) {
        let seq = self.front.tail.next();
        let kept = Kept::new(record.into(), now);
        if kept.is_qos0() {
            let keep = self.link == LinkHealth::Up
                && self.front.tail.bytes() + kept.bytes() < self.options.hold_bytes;
            self.dropped += u64::from(!keep);
            self.front.tail.push(keep.then_some(kept));
        } else {
            let may_wait = kept.record.message.qos == QoS::AtLeastOnce && mark.is_none();
            let held = may_wait && self.link == LinkHealth::Up && self.front.pace.holds(now);
            self.front.append(now, kept, held);
        }
        if let Some(mark) = mark {
            self.marks.set(mark, seq);
            self.front.pace.tidy_by(now + TIDY_DELAY);
        }
        self.settle(seq);
        self.judge_promptness(now);
    }

    /// The QoS 2 message of `mark` was released: the commit that removes the mark.
    pub(super) fn unmark(&mut self, now: Instant, mark: Mark) -> super::CommitNumber {
        self.marks.remove(mark);
        super::CommitNumber(self.front.promise(now))
    }

    pub(super) fn marks(&self) -> Vec<Mark> {
        self.marks.all()
    }

    pub(super) fn routes(&self) -> Vec<u32> {
        self.routes.clone()
    }

    /// See [`super::Log::keep_routes`].
    pub(super) fn keep_routes(&mut self, now: Instant, routes: Vec<u32>) {
        if self.routes != routes {
            self.routes = routes;
            self.front.pace.tidy_by(now + TIDY_DELAY);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.front.has_room()
    }

    pub(super) fn link(&mut self, now: Instant, link: LinkHealth) {
        self.link = link;
        if link == LinkHealth::Down && self.front.waiting().0 > 0 {
            self.front.pace.hurry_soon(now);
        }
        if link == LinkHealth::Up && self.gap.is_none() && !self.gaps.is_empty() {
            self.front.pace.tidy_by(now); // one that was found at the start
        }
        self.judge_promptness(now);
    }

    /// Whether the oldest message has waited for long, as far as that has to do with the upstream.
    fn judge_promptness(&mut self, now: Instant) {
        let oldest = self.front.tail.get(self.cursor + 1);
        self.waits_little =
            oldest.is_some_and(|kept| now.saturating_duration_since(kept.at) < PROMPT);
    }

    /// See [`Progress::is_prompt`]. What finds nothing before it can neither wait behind it nor displace it.
    fn is_prompt(&self) -> bool {
        let has_room = !self.is_medium_full && !self.is_nearly_full();
        self.link == LinkHealth::Up && (self.is_empty() || (self.waits_little && has_room))
    }

    /// Moves the watermarks on and makes room. `hint` is the position that changed.
    fn settle(&mut self, hint: u64) {
        if hint <= self.cursor + 1 {
            self.advance_cursor();
        }
        self.front.advance_covered();
        self.trim();
    }

    /// Drops from the tail what is done; and while it takes too much RAM, what is in the files too; then QoS 0.
    fn trim(&mut self) {
        loop {
            let first = self.front.tail.first();
            let evictable = self.front.is_over() && first <= self.front.covered();
            if first >= self.front.tail.next() || !(first <= self.cursor || evictable) {
                break;
            }
            let Some((seq, slot)) = self.front.tail.pop() else {
                break;
            };
            self.popped(seq, slot.as_ref());
        }
        while self.front.is_over() {
            let Some(seq) = self.front.tail.take_oldest_qos0() else {
                break;
            };
            self.dropped += 1;
            if seq == self.cursor + 1 {
                self.advance_cursor();
            }
            self.front.advance_covered();
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
        let oldest_in_ram = self.front.tail.iter(self.cursor + 1).next();
        let oldest_in_ram = oldest_in_ram.map(|(_, kept)| kept.record.stamp);
        let on_disk = self.front.tail.first() > self.cursor + 1 && self.ledger.messages() > 0;
        let (waiting, waiting_bytes) = self.front.waiting();
        let oldest = if on_disk {
            self.ledger.oldest()
        } else {
            oldest_in_ram
        };
        LogStats {
            messages: self.ledger.messages() + waiting + self.front.tail.qos0() as u64,
            bytes: self.ledger.bytes() + (waiting_bytes + self.front.tail.qos0_bytes()) as u64,
            oldest: oldest.map(WallTime),
            file_bytes: self.ledger.file_bytes(),
            file_bytes_max: self.options.max_bytes,
            appended: self.front.tail.next() - 1,
            dropped: self.dropped,
            purged: self.purged,
            refused: self.refused,
            is_full: self.is_full(),
            lost: self.lost,
            ..LogStats::default()
        }
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
            gaps: self.gaps.clone(),
            routes: self.routes.clone(),
        }
    }
}
