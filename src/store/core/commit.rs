//! What goes into a commit, and what follows from its success or failure.

use std::time::Instant;

use super::super::keeper::{Commit, Loaded, Rows};
use super::super::ledger::{Ledger, Summary};
use super::super::record::Stored;
use super::Core;

impl Core {
    /// See [`super::super::keeper::Keeper::commit`].
    pub(super) fn next_commit(&mut self, now: Instant, all: bool) -> Option<Commit> {
        let records = self.front.commit(now, all)?;
        self.commit_of(records)
    }

    /// See [`super::super::keeper::Keeper::commit_rows`].
    pub(super) fn next_rows(&mut self, now: Instant) -> Option<Commit> {
        self.front.commit_rows(now).then_some(())?;
        self.commit_of(Vec::new())
    }

    fn commit_of(&mut self, records: Vec<(u64, Stored)>) -> Option<Commit> {
        let up_to = self.front.flight()?.up_to;
        self.cursor_under_way = self.cursor;
        self.gaps.fix();
        self.gap_under_way = self.gaps.fixed();
        let rows = Rows {
            position: self.position(),
            marks: self.marks.take_off(up_to, self.rows_in_doubt),
            whole: self.rows_in_doubt,
            ..Rows::default()
        };
        Some(Commit {
            epoch: self.epoch,
            records,
            rows,
        })
    }

    pub(super) fn commit_landed(&mut self, now: Instant, landed: &Summary) {
        let Some(flight) = self.front.committed(now) else {
            return;
        };
        self.ledger.landed(landed, flight.done);
        self.marks.landed();
        self.rows_in_doubt = false;
        self.committed_cursor = self.committed_cursor.max(self.cursor_under_way);
        // Unless it was told meanwhile.
        self.gap = self
            .gap_under_way
            .filter(|gap| self.gaps.fixed() == Some(*gap));
        self.trim();
    }

    /// What is not in the files is due at once.
    pub(super) fn files_reopened(&mut self, now: Instant, loaded: Loaded) {
        self.doubt_salvaged_session(now, loaded.position.session.as_deref());
        let files = Ledger::new(loaded.files, &loaded.position);
        let stored = files.last();
        self.ledger = self.ledger.refreshed(files);
        if let Some(flight) = self.front.reopened(now, stored) {
            self.ledger.landed(&Summary::empty(0), flight.done);
            self.marks.landed();
        }
        self.rows_in_doubt = true;
        self.trim();
    }
}
