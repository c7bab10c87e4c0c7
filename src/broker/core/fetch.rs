//! From the session log back to a client that is there: what came while it was away or slow, and what of that is settled.

use std::rc::Rc;
use std::time::Instant;

use super::deliver::Out;
use super::durable::{Load, one};
use super::effect::Effect;
use super::held::{Held, Place, weight};
use super::session::Session;
use super::{ConnId, Core};
use crate::mqtt::{Acknowledge, Packet, ReasonCode};
use crate::store::{Seq, SessionEntry, SessionNumber, Want};

/// With fewer than this in the queue, more is read.
const FETCH_BELOW: usize = 32;

impl Core {
    /// What [`Effect::Fetch`] asked for, in order; `end`: when it was read, that was all there was.
    pub fn fetched(
        &mut self,
        now: Instant,
        session: SessionNumber,
        mut entries: Vec<SessionEntry>,
        end: bool,
    ) {
        self.now = Some(now);
        if self.fetched_estate(now, session, &mut entries, end) {
            return;
        }
        let Some(key) = self.store.session(session) else {
            return;
        };
        if let Some(session) = self.sessions.get_mut(key.0) {
            session.fetched(now, entries, end);
        }
        self.flush(now, key);
    }

    /// A client's PUBREC, told of by [`Effect::Received`], is committed.
    pub fn committed_received(&mut self, now: Instant, session: SessionNumber, seq: Seq) {
        self.now = Some(now);
        let Some(key) = self.store.session(session) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let mut in_flight = session.outbound.messages();
        let found = in_flight.find(|(_, held)| held.as_ref().is_some_and(|held| held.is_at(seq)));
        let Some(id) = found.map(|(id, _)| id) else {
            return;
        };
        drop(in_flight);
        // Of a client that has come back in the meantime nothing waits for this: it was sent the message again.
        if session.outbound.released(id).is_ok() {
            let pubrel = Acknowledge::new(id, ReasonCode::Success);
            self.answer_now(key, Packet::Pubrel(pubrel));
        }
    }

    /// The session log has dropped the oldest that this session wanted, because all sessions together had too much.
    pub fn dropped(&mut self, now: Instant, session: SessionNumber, messages: u64, bytes: u64) {
        self.now = Some(now);
        self.stats.dropped += messages;
        let Some(key) = self.store.session(session) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        session.dropped += messages;
        if let Some(durable) = &mut session.durable {
            durable.dropped(Load { messages, bytes });
        }
        self.flush(now, key);
    }
}

impl Session {
    /// Asks for what is in the log only, where that has its turn.
    pub(super) fn fetch(&mut self, out: &mut Out<'_>) {
        if self.queue.len() >= FETCH_BELOW || !self.is_behind() || !self.can_take() {
            return;
        }
        if let Some(durable) = &mut self.durable
            && let Some(after) = durable.fetch()
        {
            out.effects.push(Effect::Fetch {
                session: durable.number,
                after,
            });
        }
    }

    fn fetched(&mut self, now: Instant, entries: Vec<SessionEntry>, end: bool) {
        let is_online = self.connection().is_some();
        let Some(durable) = &mut self.durable else {
            return;
        };
        let Some(fetched) = durable.fetch_ended().filter(|_| is_online) else {
            return;
        };
        for entry in entries {
            if entry.seq <= durable.known {
                continue;
            }
            let seq = entry.seq;
            let held = Held::read(now, entry);
            durable.know(seq, one(weight(&held.message)));
            self.queue.append(held);
        }
        if end {
            let in_flight = self
                .outbound
                .messages()
                .filter_map(|(_, held)| held.as_ref());
            let mut all = (Load::default(), Load::default());
            for held in in_flight.chain(self.queue.iter()) {
                let load = one(weight(&held.message));
                all.0.add(load);
                if held.place.is_some_and(|place| durable.was_sent(place.seq)) {
                    all.1.add(load);
                }
            }
            durable.catch_up(fetched, all);
        }
    }

    /// The PUBREC was committed before the client came back.
    pub(super) fn release_again(&mut self, conn: ConnId, held: Held, out: &mut Out<'_>) {
        let Some(place) = held.place else {
            return;
        };
        let pubrel = Acknowledge::new(place.id, ReasonCode::Success);
        out.send(conn, Packet::Pubrel(pubrel));
        // `may_go` has found the id free, so this cannot fail.
        let resumed = self.outbound.resumed(place.id, Some(held));
        debug_assert!(resumed.is_ok(), "{resumed:?}");
    }
}

impl Held {
    fn is_at(&self, seq: Seq) -> bool {
        self.place.is_some_and(|place| place.seq == seq)
    }

    /// As it was read from the session log. Copied: it must not pin the segment that it was read with.
    pub(super) fn read(now: Instant, entry: SessionEntry) -> Self {
        let Want {
            packet_id,
            qos,
            retain,
            subscription_ids,
            ..
        } = entry.want;
        Self {
            message: Rc::new(entry.message.compact()),
            qos,
            retain,
            subscription_ids,
            share: None,
            arrived: now.checked_sub(entry.age).unwrap_or(now),
            place: Some(Place {
                seq: entry.seq,
                id: packet_id,
                received: entry.received,
            }),
        }
    }
}
