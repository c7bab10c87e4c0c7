//! What each generation file holds and how much of it is still wanted. No I/O.
//!
//! The counts are exact: they are stored with the position they belong to, so that what a dropped file takes with it is
//! known without reading it.

use std::collections::VecDeque;
use std::time::Duration;

use super::position::Position;
use super::varint::{self, Input};
use crate::clock::WallTime;

/// A file of redb that holds next to nothing.
const NEW_FILE_BYTES: u64 = 72 << 10;

/// What a generation holds. Fixed once it is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Its number, which is in its file's name.
    pub(super) number: u64,
    /// Position of its first message; meaningless where there is none.
    pub(super) first: u64,
    /// Position of its last message; meaningless where there is none.
    pub(super) last: u64,
    /// Messages written to it.
    pub(super) count: u64,
    /// Bytes of its segments.
    pub(super) bytes: u64,
    /// Lowest of the first stamps of its segments.
    pub(super) oldest: u64,
    /// Highest stamp in it.
    pub(super) newest: u64,
}

impl Summary {
    /// One that holds nothing yet.
    pub(super) fn empty(number: u64) -> Self {
        Self {
            number,
            first: 0,
            last: 0,
            count: 0,
            bytes: 0,
            oldest: u64::MAX,
            newest: 0,
        }
    }

    /// Adds what was written in one segment or one commit.
    pub(super) fn add(&mut self, more: &Self) {
        if more.count == 0 {
            return;
        }
        if self.count == 0 {
            self.first = more.first;
        }
        self.last = more.last;
        self.count += more.count;
        self.bytes += more.bytes;
        self.oldest = self.oldest.min(more.oldest);
        self.newest = self.newest.max(more.newest);
    }

    /// Between which all its messages were taken.
    pub(super) fn times(&self) -> (WallTime, WallTime) {
        (WallTime(self.oldest), WallTime(self.newest))
    }

    /// Everything but the number, which is the row's key.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40);
        for value in [
            self.first,
            self.last,
            self.count,
            self.bytes,
            self.oldest,
            self.newest,
        ] {
            varint::put(&mut out, value);
        }
        out
    }

    pub(super) fn decode(number: u64, bytes: &[u8]) -> Option<Self> {
        let mut input = Input::new(bytes.to_vec().into());
        Some(Self {
            number,
            first: input.varint()?,
            last: input.varint()?,
            count: input.varint()?,
            bytes: input.varint()?,
            oldest: input.varint()?,
            newest: input.varint()?,
        })
    }
}

/// A generation and what became of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) summary: Summary,
    /// Messages in it that are done.
    pub(super) done: u64,
    /// Size of its file.
    pub(super) file_bytes: u64,
}

impl Generation {
    /// Messages in it that are still wanted.
    pub(super) fn live(&self) -> u64 {
        self.summary.count.saturating_sub(self.done)
    }

    fn holds(&self, seq: u64) -> bool {
        self.summary.count > 0 && (self.summary.first..=self.summary.last).contains(&seq)
    }

    /// The share of its bytes that is still wanted.
    fn live_bytes(&self) -> u64 {
        let count = u128::from(self.summary.count.max(1));
        let bytes = u128::from(self.summary.bytes) * u128::from(self.live()) / count;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// All generations, oldest first; the last is the active one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    generations: VecDeque<Generation>,
    /// The sum of their sizes: asked for with each message.
    file_bytes: u64,
}

impl Ledger {
    /// From the files that are there, lowest number first, and the stored position.
    pub(super) fn new(files: Vec<(Summary, u64)>, position: &Position) -> Self {
        let generations = files.into_iter().map(|(summary, file_bytes)| Generation {
            summary,
            done: position
                .touched
                .iter()
                .find(|(number, _)| *number == summary.number)
                .map_or(0, |(_, done)| *done)
                .min(summary.count),
            file_bytes,
        });
        let mut ledger = Self {
            generations: generations.collect(),
            file_bytes: 0,
        };
        ledger.weigh();
        // The position may be older than the files only where it was salvaged, and newer where a cut brought back a file
        // that was dropped; what it has passed is done.
        for generation in &mut ledger.generations {
            let summary = &generation.summary;
            let end = position.done.end_of(summary.first.max(position.cursor + 1));
            if summary.last <= position.cursor || end.is_some_and(|end| summary.last <= end) {
                generation.done = summary.count;
            }
        }
        ledger
    }

    /// Takes over the files' truth after they were opened again; what is done is known better here.
    pub(super) fn refreshed(&self, mut files: Self) -> Self {
        for generation in &mut files.generations {
            if let Some(known) = self
                .generations
                .iter()
                .find(|known| known.summary.number == generation.summary.number)
            {
                generation.done = known.done.min(generation.summary.count);
            }
        }
        files
    }

    /// Highest position in any file, 0 if there is none.
    pub(super) fn last(&self) -> u64 {
        let held = self.generations.iter().filter(|g| g.summary.count > 0);
        held.map(|generation| generation.summary.last)
            .max()
            .unwrap_or(0)
    }

    /// The first generation with messages from `from` to `until` that `is_wanted`, and up to where it and the gap behind
    /// it go: `until`, if nothing else has any.
    pub(super) fn holding(
        &self,
        from: u64,
        until: u64,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Option<(u64, u64)> {
        let held = self.generations.iter().map(|generation| generation.summary);
        let mut held = held.filter(|summary| {
            let overlaps = summary.count > 0 && summary.last >= from && summary.first <= until;
            overlaps && is_wanted(summary.number)
        });
        let number = held.next()?.number;
        Some((number, held.next().map_or(until, |next| next.first - 1)))
    }

    /// The generation that has the message at `seq`, if any has it.
    pub(super) fn generation_of(&self, seq: u64) -> Option<&Generation> {
        self.generations.iter().find(|g| g.holds(seq))
    }

    /// What generation `number` holds.
    pub(super) fn summary(&self, number: u64) -> Option<&Summary> {
        let mut all = self.generations.iter().map(|g| &g.summary);
        all.find(|summary| summary.number == number)
    }

    /// One message in the files became done.
    pub(super) fn done(&mut self, seq: u64) {
        if let Some(generation) = self.generations.iter_mut().find(|g| g.holds(seq)) {
            generation.done = (generation.done + 1).min(generation.summary.count);
        }
    }

    /// A commit wrote `written` to the active generation, of which `done` were done by the time it succeeded.
    pub(super) fn landed(&mut self, written: &Summary, done: u64) {
        if let Some(active) = self.generations.back_mut() {
            active.summary.add(written);
            active.done = (active.done + done).min(active.summary.count);
            active.file_bytes += written.bytes;
        }
        self.weigh();
    }

    /// Generation `number` has become the active one; the file of the one before takes `sealed_bytes`.
    pub(super) fn rolled(&mut self, number: u64, sealed_bytes: u64) {
        if let Some(sealed) = self.generations.back_mut() {
            sealed.file_bytes = sealed_bytes;
        }
        self.generations.push_back(Generation {
            summary: Summary::empty(number),
            done: 0,
            file_bytes: NEW_FILE_BYTES,
        });
        self.weigh();
    }

    /// The file of a generation was made anew from what could be found in it. Gives how many messages are gone.
    pub(super) fn salvaged(&mut self, found: &Summary) -> u64 {
        let mut generations = self.generations.iter_mut();
        let Some(known) = generations.find(|g| g.summary.number == found.number) else {
            return 0;
        };
        let live = known.live();
        known.summary = *found;
        known.done = 0;
        live.saturating_sub(found.count)
    }

    /// The file of a generation was made anew with what is left of it.
    pub(super) fn rewritten(&mut self, left: &Summary, file_bytes: u64) {
        let mut generations = self.generations.iter_mut();
        if let Some(known) = generations.find(|g| g.summary.number == left.number) {
            known.summary = *left;
            known.done = 0;
            known.file_bytes = file_bytes;
        }
        self.weigh();
    }

    /// The active generation.
    pub(super) fn active(&self) -> Option<&Generation> {
        self.generations.back()
    }

    /// What every generation holds, the active one too.
    pub(super) fn summaries(&self) -> Vec<Summary> {
        self.generations.iter().map(|g| g.summary).collect()
    }

    /// All but the active generation.
    pub(super) fn sealed(&self) -> impl Iterator<Item = &Generation> {
        let sealed = self.generations.len().saturating_sub(1);
        self.generations.iter().take(sealed)
    }

    /// Whether nothing older is left.
    pub(super) fn is_oldest(&self, number: u64) -> bool {
        self.generations
            .front()
            .is_some_and(|generation| generation.summary.number == number)
    }

    /// A sealed generation whose messages are all at or below the committed `cursor`.
    pub(super) fn consumed(&self, cursor: u64) -> Option<u64> {
        let front = self.sealed().next()?;
        (front.summary.count == 0 || front.summary.last <= cursor).then_some(front.summary.number)
    }

    /// The oldest sealed generation of which `keep` does not say that it must stay.
    pub(super) fn oldest_droppable(&self, keep: impl Fn(&Summary) -> bool) -> Option<&Generation> {
        self.sealed().find(|generation| !keep(&generation.summary))
    }

    /// Whether every message in it is older than `max_age`, as far as both clocks were set.
    pub(super) fn is_expired(summary: &Summary, now: WallTime, max_age: Duration) -> bool {
        summary.count > 0 && is_expired(WallTime(summary.newest), now, max_age)
    }

    /// Takes a generation off; gives it back.
    pub(super) fn remove(&mut self, number: u64) -> Option<Generation> {
        let at = self
            .generations
            .iter()
            .position(|generation| generation.summary.number == number)?;
        let removed = self.generations.remove(at);
        self.weigh();
        removed
    }

    /// Messages in the files that are not done.
    pub(super) fn messages(&self) -> u64 {
        self.generations.iter().map(Generation::live).sum()
    }

    /// Their bytes, by each file's average.
    pub(super) fn bytes(&self) -> u64 {
        self.generations.iter().map(Generation::live_bytes).sum()
    }

    /// Size of all files.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn weigh(&mut self) {
        self.file_bytes = self.generations.iter().map(|g| g.file_bytes).sum();
    }

    /// Stamp of about the oldest message in the files that is not done: that of its generation's first.
    pub(super) fn oldest(&self) -> Option<u64> {
        let live = self.generations.iter().find(|g| g.live() > 0)?;
        Some(live.summary.oldest)
    }

    /// For [`Position::touched`].
    pub(super) fn touched(&self) -> Vec<(u64, u64)> {
        let touched = self.generations.iter().filter(|g| g.done > 0);
        touched.map(|g| (g.summary.number, g.done)).collect()
    }
}

/// Whether `stamp` is more than `max_age` ago. A clock that was never set proves nothing.
pub(super) fn is_expired(stamp: WallTime, now: WallTime, max_age: Duration) -> bool {
    now.is_plausible()
        && stamp.is_plausible()
        && u128::from(now.millis_since(stamp)) > max_age.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(number: u64, first: u64, last: u64, count: u64) -> Summary {
        Summary {
            number,
            first,
            last,
            count,
            bytes: 100 * count,
            oldest: first,
            newest: last,
        }
    }

    fn ledger() -> Ledger {
        let files = vec![
            (summary(1, 1, 10, 8), 1000),
            (summary(2, 12, 20, 9), 1000),
            (Summary::empty(3), 500),
        ];
        Ledger::new(files, &Position::default())
    }

    #[test]
    fn a_summary_comes_back() {
        let summary = summary(4, 1000, 2000, 900);
        assert_eq!(Summary::decode(4, &summary.encode()), Some(summary));
        assert_eq!(Summary::decode(4, &summary.encode()[..5]), None);
    }

    #[test]
    fn nothing_is_wanted_of_a_file_whose_drop_was_committed_and_whose_name_a_cut_brought_back() {
        let mut position = Position {
            cursor: 5,
            ..Position::default()
        };
        position.done.insert(12, 20);
        let files = vec![
            (summary(1, 1, 10, 8), 1000),
            (summary(2, 12, 20, 9), 1000),
            (summary(3, 21, 22, 2), 500),
        ];
        let ledger = Ledger::new(files, &position);
        assert_eq!(ledger.messages(), 8 + 2);
    }

    #[test]
    fn what_is_done_is_counted_in_its_own_generation() {
        let mut ledger = ledger();
        ledger.done(10);
        ledger.done(12);
        ledger.done(11);
        assert_eq!(ledger.messages(), 15);
        assert_eq!(ledger.bytes(), 1500);
        assert_eq!(ledger.touched(), [(1, 1), (2, 1)]);
        assert_eq!(ledger.remove(1).unwrap().live(), 7);
    }

    #[test]
    fn a_read_finds_the_files_it_needs() {
        let ledger = ledger();
        assert_eq!(ledger.holding(1, 5, |_| true), Some((1, 5)));
        assert_eq!(ledger.holding(1, 12, |_| true), Some((1, 11)));
        assert_eq!(ledger.holding(1, 12, |number| number > 1), Some((2, 12)));
        assert_eq!(ledger.holding(11, 11, |_| true), None);
        assert_eq!(ledger.holding(21, 90, |_| true), None);
    }

    #[test]
    fn only_a_sealed_generation_below_the_cursor_is_consumed() {
        let mut ledger = ledger();
        assert_eq!(ledger.consumed(9), None);
        assert_eq!(ledger.consumed(10), Some(1));
        ledger.remove(1);
        assert_eq!(ledger.consumed(20), Some(2));
        ledger.remove(2);
        assert_eq!(ledger.consumed(99), None);
    }

    #[test]
    fn a_clock_that_was_never_set_expires_nothing() {
        let age = Duration::from_secs(1);
        let set = WallTime(1_800_000_000_000);
        assert!(!is_expired(WallTime(0), set, age));
        assert!(!is_expired(set, WallTime(0), age));
        assert!(!is_expired(set, WallTime(set.0 + 1000), age));
        assert!(is_expired(set, WallTime(set.0 + 1001), age));
    }
}
