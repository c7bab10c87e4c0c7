//! What goes into a commit, and what follows from its success or failure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::super::SessionNumber;
use super::super::keeper::{Commit, Loaded, Rows};
use super::super::ledger::{Ledger, Summary};
use super::super::position::Position;
use super::super::record::Stored;
use super::SessionCore;
use super::row::{Open, Part, SessionRow};
use super::session::{Session, Share};

impl SessionCore {
    /// See [`super::super::keeper::Keeper::commit`].
    pub(super) fn next_commit(&mut self, now: Instant, all: bool) -> Option<Commit> {
        let from = self.front.written() + 1;
        let records = self.front.commit(now, all)?;
        self.commit_of(from, records)
    }

    /// See [`super::super::keeper::Keeper::commit_rows`].
    pub(super) fn next_rows(&mut self, now: Instant) -> Option<Commit> {
        let from = self.front.written() + 1;
        self.front.commit_rows(now).then_some(())?;
        self.commit_of(from, Vec::new())
    }

    fn commit_of(&mut self, from: u64, records: Vec<(u64, Stored)>) -> Option<Commit> {
        let up_to = self.front.flight()?.up_to;
        let wants = records.iter().flat_map(|(_, record)| &record.wants);
        let touched: BTreeSet<_> = wants.map(|want| want.session).collect();
        self.dirty.extend(&touched);
        self.flight = (from, touched);
        self.cursor = self.position().cursor;
        let rows = Rows {
            position: self.position(),
            sessions: self.take_rows(up_to),
            marks: self.marks.take_off(up_to, self.rows_in_doubt),
            summaries: std::mem::take(&mut self.changed).into_values().collect(),
            whole: self.rows_in_doubt,
        };
        Some(Commit {
            epoch: self.epoch,
            records,
            rows,
        })
    }

    /// The rows that must be written or deleted.
    fn take_rows(&mut self, up_to: u64) -> Vec<(SessionNumber, Option<SessionRow>)> {
        let dirty = std::mem::take(&mut self.dirty);
        let forgotten = std::mem::take(&mut self.forgotten);
        if self.rows_in_doubt {
            return self.rows(up_to);
        }
        let dirty = dirty.into_iter().filter_map(|number| {
            let session = self.sessions.get(&number)?;
            Some((number, Some(self.row(number, session, up_to))))
        });
        let forgotten = forgotten.into_iter().map(|number| (number, None));
        dirty.chain(forgotten).collect()
    }

    /// All rows, with what is in the files, or will be by a commit of the messages up to `up_to`.
    pub(super) fn rows(&self, up_to: u64) -> Vec<(SessionNumber, Option<SessionRow>)> {
        let all = self.sessions.iter();
        all.map(|(number, session)| (*number, Some(self.row(*number, session, up_to))))
            .collect()
    }

    fn row(&self, number: SessionNumber, session: &Session, up_to: u64) -> SessionRow {
        let active = self.ledger.active();
        let active = active.map_or(0, |active| active.summary.number);
        let mut parts: BTreeMap<u64, Part> = BTreeMap::new();
        let mut add = |generation: u64, share: Share, open: Option<Open>| {
            let part = parts.entry(generation).or_default();
            part.generation = generation;
            part.messages += share.messages;
            part.bytes += share.bytes;
            part.skip += share.skip;
            part.open.extend(open);
        };
        for (generation, share) in &session.shares {
            add(*generation, *share, None);
        }
        for (seq, held) in &session.open {
            let generation = held
                .generation
                .or_else(|| (*seq <= up_to).then_some(active));
            let open = Open {
                seq: *seq,
                bytes: held.bytes,
                received: held.received.is_some(),
            };
            if let Some(generation) = generation {
                add(generation, Share::default(), Some(open));
            }
        }
        let waiting = session.recent.range(self.front.written() + 1..);
        for (_, held) in waiting.take_while(|(seq, _)| **seq <= up_to) {
            let share = Share {
                messages: 1,
                bytes: held.bytes,
                skip: 0,
            };
            add(active, share, None);
        }
        SessionRow {
            session: number,
            epoch: self.epoch,
            order: self.front.pace.commits() + 1,
            horizon: session.horizon,
            sent: session.sent,
            last_packet_id: session.last_packet_id,
            gone: session.gone.clone(),
            parts: parts.into_values().collect(),
        }
    }

    /// What the files say besides the sessions: nothing up to its cursor is wanted.
    pub(super) fn position(&self) -> Position {
        let oldest = self.census.oldest();
        let oldest = oldest.and_then(|number| self.ledger.summary(number));
        Position {
            epoch: self.epoch,
            cursor: oldest.map_or_else(
                || self.front.written(),
                |summary| summary.first.saturating_sub(1),
            ),
            ..Position::default()
        }
    }

    pub(super) fn commit_landed(&mut self, now: Instant, landed: &Summary) {
        let Some(flight) = self.front.committed(now) else {
            return;
        };
        self.ledger.landed(landed, 0);
        self.land_sessions(flight.up_to);
        self.marks.landed();
        self.rows_in_doubt = false;
        self.settle();
    }

    fn land_sessions(&mut self, up_to: u64) {
        let (from, touched) = std::mem::take(&mut self.flight);
        let Some(active) = self.ledger.active() else {
            return;
        };
        for number in touched {
            if let Some(session) = self.sessions.get_mut(&number) {
                session.land(active.summary.number, from, up_to, &mut self.census);
            }
        }
    }

    /// What is not in the files is due at once.
    pub(super) fn files_reopened(&mut self, now: Instant, loaded: Loaded) {
        let files = Ledger::new(loaded.files, &loaded.position);
        let stored = files.last();
        self.ledger = self.ledger.refreshed(files);
        if let Some(flight) = self.front.reopened(now, stored) {
            self.land_sessions(flight.up_to);
            self.marks.landed();
        }
        self.rows_in_doubt = true;
        self.rewrite = None;
        self.settle();
    }
}
