//! What the thread asks: what to do with the files.

use std::time::Instant;

use super::super::keeper::{Chore, Commit, Keeper, Loaded, Relief, Rows};
use super::super::ledger::{Ledger, Summary};
use super::super::reading::{Ask, Found};
use super::super::{Progress, SessionEntry};
use super::SessionCore;
use crate::clock::WallTime;

impl Keeper for SessionCore {
    type Entry = SessionEntry;
    const NAME: &'static str = "the session log";

    fn progress(&self) -> Progress {
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
            sessions: self.rows(self.front.written()),
            marks: self.marks.stored(),
            summaries: self.ledger.summaries(),
            whole: true,
        }
    }

    fn rolled(&mut self, number: u64, sealed_bytes: u64) {
        self.ledger.rolled(number, sealed_bytes);
    }

    fn chore(&mut self, now: Instant, _wall: WallTime) -> Option<Chore> {
        self.next_chore(now)
    }

    fn relief(&self) -> Option<Relief> {
        self.next_relief()
    }

    fn unlinked(&mut self, number: u64) {
        self.is_gone(number);
    }

    fn dropped_file(&mut self, now: Instant, number: u64) -> u64 {
        self.drop_generation(now, number)
    }

    fn salvaged(&mut self, now: Instant, found: &Summary) {
        self.ledger.salvaged(found);
        self.remade(now, found);
    }

    fn rewritten(&mut self, now: Instant, left: &Summary, file_bytes: u64) {
        self.ledger.rewritten(left, file_bytes);
        self.remade(now, left);
    }

    fn holding(&self, ask: &Ask) -> Option<(u64, u64)> {
        let session = self.sessions.get(&ask.session?)?;
        let wanted = session.wanted();
        self.ledger
            .holding(ask.from, ask.until, |number| wanted.contains_key(&number))
    }

    fn found(
        &mut self,
        now: Instant,
        _wall: WallTime,
        ask: &Ask,
        found: Found,
    ) -> Vec<SessionEntry> {
        self.sift(now, ask, found)
    }
}
