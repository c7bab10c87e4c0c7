//! How the session log begins: with the small rows only. Where these were salvaged, what the sessions want is counted anew
//! from the messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::super::error::StoreError;
use super::super::front::{Front, TIDY_DELAY};
use super::super::keeper::Loaded;
use super::super::ledger::Ledger;
use super::super::marks::Marks;
use super::super::pace::Pace;
use super::super::record::Stored;
use super::super::tail::message_bytes;
use super::super::{SessionLogOptions, SessionNumber};
use super::SessionCore;
use super::census::Census;
use super::row::SessionRow;
use super::session::{Held, Session, Share};
use crate::clock::Timeline;

impl SessionCore {
    /// `known`: the sessions that there are; what others wanted is forgotten.
    pub(super) fn new(
        now: Instant,
        options: SessionLogOptions,
        timeline: Timeline,
        known: &BTreeSet<SessionNumber>,
        loaded: Loaded,
    ) -> Self {
        let highest = loaded.sessions.values().map(SessionRow::highest).max();
        let used = loaded.last_position().max(loaded.position.cursor);
        let used = used.max(highest.unwrap_or(0));
        let ledger = Ledger::new(loaded.files, &loaded.position);
        let pace = Pace::new(options.commit_interval, options.hold);
        let mut core = Self {
            front: Front::new(pace, options.hold_bytes, ledger.last(), used),
            options,
            timeline,
            epoch: loaded.epoch,
            ledger,
            census: Census::default(),
            sessions: BTreeMap::new(),
            marks: Marks::new(loaded.marks),
            dirty: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            changed: BTreeMap::new(),
            flight: (0, BTreeSet::new()),
            dead: BTreeMap::new(),
            rewrite: None,
            rewritten: BTreeMap::new(),
            rows_in_doubt: loaded.is_salvaged,
            cursor: loaded.position.cursor,
            dropped_now: BTreeMap::new(),
            dropped: 0,
            lost: 0,
        };
        for (number, row) in loaded.sessions {
            if known.contains(&number) {
                core.load(number, &row);
            } else {
                core.forgotten.insert(number);
            }
        }
        for mark in core.marks.all() {
            if !known.contains(&mark.session) {
                core.marks.remove(mark);
            }
        }
        if !core.forgotten.is_empty() || !core.dirty.is_empty() || core.marks.is_changed() {
            core.front.pace.tidy_by(now + TIDY_DELAY);
        }
        core
    }

    fn load(&mut self, number: SessionNumber, row: &SessionRow) {
        let mut session = Session::new(row.horizon);
        session.sent = row.sent;
        session.last_packet_id = row.last_packet_id;
        session.gone = row.gone.clone();
        for part in &row.parts {
            if self.ledger.summary(part.generation).is_none() {
                // Its file was dropped, and the program ended before it could say so.
                let open: u64 = part.open.iter().map(|open| open.bytes).sum();
                let told = self.dropped_now.entry(number).or_default();
                let messages = part.messages.saturating_sub(part.skip) + part.open.len() as u64;
                told.0 += messages;
                told.1 += part.bytes + open;
                self.dropped += messages;
                self.dirty.insert(number);
                continue;
            }
            let share = Share {
                messages: part.messages,
                bytes: part.bytes,
                skip: part.skip,
            };
            self.census
                .add(part.generation, share.live() + part.open.len() as u64);
            if share.messages > 0 {
                session.shares.insert(part.generation, share);
            }
            for open in &part.open {
                let held = Held {
                    bytes: open.bytes,
                    generation: Some(part.generation),
                    received: open.received.then_some(0),
                };
                session.open.insert(open.seq, held);
            }
        }
        session.settle(self.front.tail.next() - 1);
        self.sessions.insert(number, session);
    }
}

/// What is known while the messages are counted.
#[derive(Debug)]
struct Recount {
    /// What the rows say is open, and was not found yet.
    unseen: BTreeMap<SessionNumber, BTreeMap<u64, Held>>,
    /// Sessions without a row.
    fresh: BTreeSet<SessionNumber>,
}

/// Calls with the generation, the position and the message for all messages in the files, in order.
pub(in crate::store) type Survey<'a> =
    dyn FnMut(&mut dyn FnMut(u64, u64, Stored)) -> Result<(), StoreError> + 'a;

impl SessionCore {
    /// As [`Self::new`], with the messages counted where that is necessary.
    pub(in crate::store) fn open(
        now: Instant,
        options: SessionLogOptions,
        timeline: Timeline,
        known: &BTreeSet<SessionNumber>,
        loaded: Loaded,
        survey: &mut Survey<'_>,
    ) -> Result<Self, StoreError> {
        let is_salvaged = loaded.is_salvaged;
        let mut core = Self::new(now, options, timeline, known, loaded);
        if is_salvaged {
            let mut recount = core.begin_recount(known);
            survey(&mut |generation, seq, record| {
                core.count(&mut recount, generation, seq, &record);
            })?;
            core.end_recount(now);
        }
        Ok(core)
    }

    fn begin_recount(&mut self, known: &BTreeSet<SessionNumber>) -> Recount {
        self.census = Census::default();
        let mut recount = Recount {
            unseen: BTreeMap::new(),
            fresh: BTreeSet::new(),
        };
        for number in known {
            let session = self.sessions.entry(*number).or_insert_with(|| {
                recount.fresh.insert(*number);
                Session::new(0)
            });
            session.shares.clear();
            let open = std::mem::take(&mut session.open);
            recount.unseen.insert(*number, open);
        }
        recount
    }

    /// A message in the file of `generation`, in order.
    fn count(&mut self, recount: &mut Recount, generation: u64, seq: u64, record: &Stored) {
        let bytes = message_bytes(&record.message) as u64;
        for want in &record.wants {
            let Some(session) = self.sessions.get_mut(&want.session) else {
                continue;
            };
            if recount.fresh.contains(&want.session) {
                session.last_packet_id = Some(want.packet_id);
            }
            let unseen = recount.unseen.get_mut(&want.session);
            if let Some(held) = unseen.and_then(|unseen| unseen.remove(&seq)) {
                let held = Held {
                    generation: Some(generation),
                    ..held
                };
                session.open.insert(seq, held);
            } else if seq > session.horizon && !session.gone.contains(seq) {
                let share = session.shares.entry(generation).or_default();
                share.messages += 1;
                share.bytes += bytes;
            } else {
                continue;
            }
            self.census.add(generation, 1);
        }
    }

    /// All messages were counted.
    fn end_recount(&mut self, now: Instant) {
        let appended = self.front.tail.next() - 1;
        for session in self.sessions.values_mut() {
            session.settle(appended);
        }
        self.front.pace.tidy_by(now);
    }
}
