//! What becomes of sealed generations: unlinked when nobody wants anything of them, rewritten when hardly anybody does,
//! dropped when all files together are over their limit.

use std::time::Instant;

use super::super::SessionNumber;
use super::super::front::TIDY_DELAY;
use super::super::keeper::{Chore, Relief};
use super::super::ledger::{Generation, Summary};
use super::SessionCore;
use super::survivors::Survivors;

/// A generation is rewritten when at most one in so many of its messages is wanted: then a byte that is rewritten has
/// freed seven.
const MOSTLY_DEAD: u64 = 8;
/// The same when the files are over their limit.
const HALF_DEAD: u64 = 2;
/// A smaller generation is hardly smaller when it is rewritten. (Tests have small ones.)
const REWRITE_BYTES_MIN: u64 = if cfg!(test) { 2 << 10 } else { 256 << 10 };

impl SessionCore {
    pub(super) fn next_chore(&mut self, now: Instant) -> Option<Chore> {
        if let Some(dead) = self.dead_generation() {
            return Some(Chore::Unlink(dead));
        }
        let commits = self.front.pace.commits();
        if let Some(rewrite) = self.rewrite.take_if(|(_, from, _)| *from <= commits) {
            return Some(Chore::Rewrite(rewrite.0, rewrite.2));
        }
        if self.rewrite.is_some() {
            return None;
        }
        let is_over = self.ledger.file_bytes() > self.options.queued_bytes_total;
        let share = if is_over { HALF_DEAD } else { MOSTLY_DEAD };
        if self.prepare_rewrite(now, share) || !is_over {
            return None;
        }
        self.oldest_droppable().map(Chore::Drop)
    }

    /// See [`super::super::keeper::Keeper::relief`]. Should the power go before the rows say so, what was delivered of a
    /// generation is counted as dropped.
    pub(super) fn next_relief(&self) -> Option<Relief> {
        let mut sealed = self.ledger.sealed().map(|sealed| sealed.summary.number);
        let dead = sealed.find(|number| self.census.of(*number) == 0);
        let is_wanted = self.front.waiting().0 > 0;
        dead.map(Relief::Consumed).or_else(|| {
            self.oldest_droppable()
                .filter(|_| is_wanted)
                .map(Relief::Oldest)
        })
    }

    fn oldest_droppable(&self) -> Option<u64> {
        let ledger = &self.ledger;
        let oldest = ledger.oldest_droppable(|summary| self.holds_received(summary));
        oldest.map(|oldest| oldest.summary.number)
    }

    /// A generation that nobody wants anything of, and the files say so.
    fn dead_generation(&self) -> Option<u64> {
        let commits = self.front.pace.commits();
        let mut sealed = self.ledger.sealed().map(|sealed| sealed.summary.number);
        sealed.find(|number| {
            let is_known = self.dead.get(number).is_none_or(|from| *from <= commits);
            self.census.of(*number) == 0 && is_known
        })
    }

    /// Whether hardly anything would be left of a generation. A message that two sessions want counts twice here, so there
    /// is less left than it looks; and never twice for the same wants, should the counts be wrong.
    fn is_worth_rewriting(&self, generation: &Generation, share: u64) -> bool {
        let summary = &generation.summary;
        let wants = self.census.of(summary.number);
        let before = self.rewritten.get(&summary.number);
        if wants.saturating_mul(share) > summary.count
            || summary.bytes < REWRITE_BYTES_MIN
            || before.is_some_and(|before| wants.saturating_mul(2) > *before)
        {
            return false;
        }
        let shares = self.sessions.values();
        let shares = shares.filter_map(|session| session.shares.get(&summary.number));
        let skipped: u64 = shares.map(|share| share.skip).sum();
        (wants + skipped).saturating_mul(share) <= summary.count
    }

    /// Looks for a generation of which at most one message in `share` is wanted; notes what is to be kept of it. What is
    /// not must be committed as done before the file is rewritten: the counts in the files go on to fit.
    fn prepare_rewrite(&mut self, now: Instant, share: u64) -> bool {
        let mut sealed = self.ledger.sealed();
        let found = sealed.find(|generation| self.is_worth_rewriting(generation, share));
        let Some(number) = found.map(|generation| generation.summary.number) else {
            return false;
        };
        let sessions = self.sessions.iter();
        let concerned = sessions.filter(|(_, session)| {
            session.shares.contains_key(&number)
                || session
                    .open
                    .values()
                    .any(|held| held.generation == Some(number))
        });
        let concerned: Vec<_> = concerned.collect();
        // What was to be skipped and has been come by is not kept, so the rows must not count it any more.
        self.dirty
            .extend(concerned.iter().map(|(number, _)| **number));
        let survivors = Survivors::new(concerned);
        self.rewritten.insert(number, self.census.of(number));
        self.front.pace.tidy_by(now + TIDY_DELAY);
        self.rewrite = Some((number, self.next_commit_number(), survivors));
        true
    }

    /// One with a message that a client has received (PUBREC) stays: its packet id is taken until PUBCOMP.
    fn holds_received(&self, summary: &Summary) -> bool {
        self.sessions.values().any(|session| {
            let mut open = session.open.values();
            open.any(|held| held.generation == Some(summary.number) && held.received.is_some())
        })
    }

    /// The file of a generation was dropped, with whatever was in it. Gives the number of messages lost by it.
    pub(super) fn drop_generation(&mut self, now: Instant, number: u64) -> u64 {
        self.census.forget(number);
        self.is_gone(number);
        let mut all = 0;
        let mut losers: Vec<SessionNumber> = Vec::new();
        for (session, state) in &mut self.sessions {
            let in_tail = state.recent.iter().chain(&state.open);
            let in_tail = in_tail.filter(|(_, held)| held.generation == Some(number));
            for seq in in_tail.map(|(seq, _)| *seq) {
                self.front.tail.release(seq, *session);
            }
            let (messages, bytes) = state.drop_generation(number);
            if messages > 0 {
                let told = self.dropped_now.entry(*session).or_default();
                told.0 += messages;
                told.1 += bytes;
                all += messages;
                state.settle(self.front.tail.next() - 1);
                losers.push(*session);
            }
        }
        for session in losers {
            self.touch(now, session);
        }
        self.dropped += all;
        self.settle();
        all
    }

    /// A generation has no file any more.
    pub(super) fn is_gone(&mut self, number: u64) {
        self.ledger.remove(number);
        self.dead.remove(&number);
        self.changed.remove(&number);
        self.rewritten.remove(&number);
        self.rewrite = self.rewrite.take().filter(|(of, ..)| *of != number);
    }

    /// The file of a sealed generation is another one: as it was salvaged or rewritten.
    pub(super) fn remade(&mut self, now: Instant, summary: &Summary) {
        self.changed.insert(summary.number, *summary);
        self.front.pace.tidy_by(now + TIDY_DELAY);
    }

    /// What was dropped for the limit since the last time: messages and bytes of each session.
    pub(in crate::store) fn take_dropped(&mut self) -> Vec<(SessionNumber, u64, u64)> {
        let dropped = std::mem::take(&mut self.dropped_now).into_iter();
        dropped
            .map(|(session, (messages, bytes))| (session, messages, bytes))
            .collect()
    }
}
