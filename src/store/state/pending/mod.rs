//! What waits for a commit: one row a key, the newest. Decides what is committed when, and how far the state is. No I/O.
//!
//! Rows are whole and absolute, so a batch whose commit failed, or whose fate is unknown, simply waits again, and it does
//! not matter which part of it reached the disk. Urgent rows are committed `commit_interval` after the first of them,
//! others with `relaxed_interval`, so that a value that changes all the time is written once in that time. Where a commit
//! cannot take all urgent rows, it takes those of the lowest positions: none goes before what was put before it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::super::tail::message_bytes;
use super::super::{CommitNumber, Progress, Seq, SessionNumber, StateChange};
use super::row::Key;

/// Rows in one commit, and their bytes (a quarter of redb's cache): a bulk is committed in steps.
const STEP_ROWS: usize = 1024;
const STEP_BYTES: usize = 256 << 10;
/// What a row takes in RAM beside its texts and payload.
const ROW_OVERHEAD: usize = 160;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Pending {
    commit_interval: Duration,
    relaxed_interval: Duration,
    bytes_max: usize,
    rows: BTreeMap<Key, Row>,
    /// Keys by the lowest position that their row stands for; those of the batch that is being committed too.
    urgent: BTreeMap<u64, Key>,
    relaxed: BTreeMap<u64, Key>,
    urgent_due: Option<Instant>,
    relaxed_due: Option<Instant>,
    bytes: usize,
    progress: Progress,
}

/// The newest change of a key.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) stamp: u64,
    pub(super) change: StateChange,
    /// The lowest position that it stands for.
    first: u64,
    is_urgent: bool,
    bytes: usize,
}

/// What one commit takes.
#[derive(Debug)]
pub(super) struct Batch {
    rows: Vec<(Key, Row)>,
}

impl Batch {
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().map(|(_, row)| row)
    }
}

impl Pending {
    pub(super) fn new(
        commit_interval: Duration,
        relaxed_interval: Duration,
        bytes_max: usize,
    ) -> Self {
        Self {
            commit_interval,
            relaxed_interval,
            bytes_max,
            rows: BTreeMap::new(),
            urgent: BTreeMap::new(),
            relaxed: BTreeMap::new(),
            urgent_due: None,
            relaxed_due: None,
            bytes: 0,
            progress: Progress::default(),
        }
    }

    /// Takes a change. `seq` is higher than all before.
    pub(super) fn put(
        &mut self,
        now: Instant,
        seq: Seq,
        stamp: u64,
        change: StateChange,
        is_urgent: bool,
    ) {
        debug_assert!(seq > self.progress.appended, "positions ascend");
        self.progress.appended = self.progress.appended.max(seq);
        let mut row = Row {
            stamp,
            bytes: bytes_of(&change),
            change,
            first: seq.0,
            is_urgent,
        };
        if let StateChange::SessionGone(number) = row.change {
            self.fold_subscriptions(number, &mut row);
        }
        self.insert(Key::of(&row.change), row);
        let (due, interval) = if is_urgent {
            (&mut self.urgent_due, self.commit_interval)
        } else {
            (&mut self.relaxed_due, self.relaxed_interval)
        };
        due.get_or_insert(now + interval);
        if self.bytes > self.bytes_max / 2 {
            self.hurry(now);
        }
        self.update();
    }

    /// When there is something to commit.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.urgent_due, self.relaxed_due]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next batch, if one is due; `all`: whatever waits. Must be given back by [`Self::committed`] or
    /// [`Self::failed`] before the next is asked for.
    pub(super) fn take(&mut self, now: Instant, all: bool) -> Option<Batch> {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| all || due <= now);
        let takes_relaxed = is_due(self.relaxed_due);
        if !takes_relaxed && !is_due(self.urgent_due) {
            return None;
        }
        let relaxed = self.relaxed.values().filter(|_| takes_relaxed);
        let candidates = self.urgent.values().chain(relaxed);
        let mut bytes = 0;
        let mut rows = Vec::new();
        for key in candidates {
            if rows.len() >= STEP_ROWS || bytes >= STEP_BYTES {
                break;
            }
            if let Some(row) = self.rows.remove(key) {
                bytes += row.bytes;
                rows.push((key.clone(), row));
            }
        }
        let taken_urgent = rows.iter().filter(|(_, row)| row.is_urgent).count();
        if taken_urgent == self.urgent.len() {
            self.urgent_due = None;
        }
        if takes_relaxed && rows.len() - taken_urgent == self.relaxed.len() {
            self.relaxed_due = None;
        }
        // In the order of the tables: each page is then touched once, and written once even if the cache is too small.
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        // Nothing, where what was due has become part of an urgent row that went before.
        (!rows.is_empty()).then_some(Batch { rows })
    }

    /// The batch is on stable storage.
    pub(super) fn committed(&mut self, batch: Batch) {
        for (_, row) in batch.rows {
            self.index(row.is_urgent).remove(&row.first);
            self.bytes -= row.bytes;
        }
        self.progress.commits = CommitNumber(self.progress.commits.0 + 1);
        self.update();
    }

    /// The batch may or may not be on stable storage, in part: it waits again, less what has a newer row.
    pub(super) fn failed(&mut self, now: Instant, batch: Batch) {
        for (key, mut row) in batch.rows {
            self.index(row.is_urgent).remove(&row.first);
            self.bytes -= row.bytes;
            let ended = match &key {
                Key::Subscription(number, _) => Some(Key::Session(*number)),
                _ => None,
            };
            let ended = ended.filter(|session| {
                let row = self.rows.get(session);
                row.is_some_and(|row| matches!(row.change, StateChange::SessionGone(_)))
            });
            let place = ended.unwrap_or(key);
            if let Some(mut newer) = self.remove(&place) {
                newer.fold(&row);
                row = newer;
            }
            self.insert(place, row);
        }
        self.hurry(now);
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether what waits is below its limit.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.bytes_max
    }

    /// Rows that wait or are being committed, and the RAM they take.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.urgent.len() + self.relaxed.len(), self.bytes)
    }

    fn hurry(&mut self, now: Instant) {
        for (index, due) in [
            (&self.urgent, &mut self.urgent_due),
            (&self.relaxed, &mut self.relaxed_due),
        ] {
            if !index.is_empty() {
                *due = Some(due.map_or(now, |due| due.min(now)));
            }
        }
    }

    fn fold_subscriptions(&mut self, number: SessionNumber, row: &mut Row) {
        let from = Key::Subscription(number, ByteString::new());
        let keys = self.rows.range(from..).map(|(key, _)| key);
        let keys = keys.take_while(|key| matches!(key, Key::Subscription(of, _) if *of == number));
        let keys: Vec<_> = keys.cloned().collect();
        for key in keys {
            if let Some(subscription) = self.remove(&key) {
                row.fold(&subscription);
            }
        }
    }

    /// In place of an older row of the key, for whose positions it stands too.
    fn insert(&mut self, key: Key, mut row: Row) {
        if let Some(older) = self.remove(&key) {
            row.fold(&older);
        }
        self.bytes += row.bytes;
        self.index(row.is_urgent).insert(row.first, key.clone());
        self.rows.insert(key, row);
    }

    fn remove(&mut self, key: &Key) -> Option<Row> {
        let row = self.rows.remove(key)?;
        self.index(row.is_urgent).remove(&row.first);
        self.bytes -= row.bytes;
        Some(row)
    }

    fn index(&mut self, is_urgent: bool) -> &mut BTreeMap<u64, Key> {
        if is_urgent {
            &mut self.urgent
        } else {
            &mut self.relaxed
        }
    }

    /// What was covered stays so: a row that became urgent late stands for positions that nobody waited for.
    fn update(&mut self) {
        let before = |first: Option<(&u64, &Key)>| first.map(|(first, _)| Seq(first - 1));
        let appended = self.progress.appended;
        let urgent = before(self.urgent.first_key_value()).unwrap_or(appended);
        let relaxed = before(self.relaxed.first_key_value()).unwrap_or(appended);
        self.progress.covered = self.progress.covered.max(urgent);
        self.progress.committed = self.progress.committed.max(urgent.min(relaxed));
    }
}

impl Row {
    /// Stands for the positions of `other`, too.
    fn fold(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.is_urgent |= other.is_urgent;
    }
}

fn bytes_of(change: &StateChange) -> usize {
    let content = match change {
        StateChange::Session(_, session) => {
            let will = session.will.as_ref();
            let will = will.map_or(0, |will| message_bytes(&will.message));
            session.client_id.len() + session.user.as_ref().map_or(0, |user| user.len()) + will
        }
        StateChange::Subscription(_, filter, _) | StateChange::SubscriptionGone(_, filter) => {
            filter.len()
        }
        StateChange::Retained(message, publisher) => message_bytes(message) + publisher.len(),
        StateChange::RetainedGone(topic) => topic.as_str().len(),
        StateChange::SessionGone(_) | StateChange::Marked(_) | StateChange::MarkGone(_) => 0,
    };
    ROW_OVERHEAD + content
}

#[cfg(test)]
mod tests;
