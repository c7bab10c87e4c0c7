//! What the thread asks: what to do with the files.

use std::time::Instant;

use super::super::Entry;
use super::super::gap::GapReason;
use super::super::keeper::{Chore, Commit, Keeper, Loaded, Relief, Rows};
use super::super::ledger::{Ledger, Summary};
use super::super::position::Position;
use super::super::reading::{Ask, Found};
use super::Core;
use crate::clock::WallTime;

impl Keeper for Core {
    type Entry = Entry;
    const NAME: &'static str = "the backlog";

    fn progress(&self) -> super::Progress {
        self.progress()
    }

    fn has_room(&self) -> bool {
        self.front.has_room()
    }

    fn due(&self) -> Option<Instant> {
        self.front.due()
    }

    fn commit(&mut self, now: Instant, all: bool) -> Option<Commit> {
        self.next_commit(now, all)
    }

    fn commit_rows(&mut self, now: Instant) -> Option<Commit> {
        self.next_rows(now)
    }

    fn committed(&mut self, now: Instant, landed: &Summary) {
        self.commit_landed(now, landed);
    }

    fn reopened(&mut self, now: Instant, loaded: Loaded) {
        self.files_reopened(now, loaded);
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn carried(&self) -> Rows {
        Rows {
            position: self.position(),
            marks: self.marks.stored(),
            summaries: self.ledger.summaries(),
            whole: true,
            ..Rows::default()
        }
    }

    fn rolled(&mut self, number: u64, sealed_bytes: u64) {
        self.ledger.rolled(number, sealed_bytes);
    }

    fn chore(&mut self, _now: Instant, wall: WallTime) -> Option<Chore> {
        let consumed = self.ledger.consumed(self.committed_cursor);
        let consumed = consumed.map(Chore::Unlink);
        consumed.or_else(|| self.surplus(wall).map(Chore::Drop))
    }

    fn medium_full(&mut self, is_full: bool) {
        self.is_medium_full = is_full;
    }

    fn relief(&self) -> Option<Relief> {
        // Should the power go before this cursor is committed, what was delivered of it is counted as dropped.
        let consumed = self.ledger.consumed(self.cursor).map(Relief::Consumed);
        let is_wanted = self.gives_way() && self.front.waiting().0 > 0;
        consumed.or_else(|| {
            self.oldest_droppable()
                .filter(|_| is_wanted)
                .map(Relief::Oldest)
        })
    }

    fn unlinked(&mut self, number: u64) {
        self.ledger.remove(number);
    }

    fn dropped_file(&mut self, now: Instant, number: u64) -> u64 {
        self.drop_generation(now, number)
    }

    fn salvaged(&mut self, now: Instant, found: &Summary) {
        let before = self.ledger.summary(found.number).map(Summary::times);
        let lost = self.ledger.salvaged(found);
        self.lost += lost;
        if let Some((oldest, newest)) = before {
            self.lose(now, GapReason::Damaged, lost, oldest, newest);
        }
        self.doubt_session(now);
    }

    /// Never asked for: the reader of a bridge's log takes its messages in order.
    fn rewritten(&mut self, _now: Instant, left: &Summary, file_bytes: u64) {
        self.ledger.rewritten(left, file_bytes);
    }

    fn holding(&self, ask: &Ask) -> Option<(u64, u64)> {
        self.ledger.holding(ask.from, ask.until, |_| true)
    }

    fn found(&mut self, now: Instant, wall: WallTime, ask: &Ask, found: Found) -> Vec<Entry> {
        self.sift(now, wall, ask, found)
    }
}

/// Messages in files that were dropped, and are not known to be, because the program ended first: how many. They are done now,
/// and a hole.
pub(super) fn note_gone(gone: &[Summary], position: &mut Position) -> u64 {
    let mut dropped = 0;
    for summary in gone {
        let first = summary.first.max(position.cursor + 1);
        let done_to = position.done.end_of(first).unwrap_or(position.cursor);
        if summary.count == 0 || summary.last <= done_to {
            continue;
        }
        let touched = position.touched.iter();
        let done = touched.filter(|(number, _)| *number == summary.number);
        let done: u64 = done.map(|(_, done)| *done).sum();
        let live = summary.count - done.min(summary.count);
        let (oldest, newest) = summary.times();
        let gaps = &mut position.gaps;
        gaps.add(GapReason::Unknown, live, oldest, newest);
        position.done.insert(first, summary.last);
        dropped += live;
    }
    dropped
}
