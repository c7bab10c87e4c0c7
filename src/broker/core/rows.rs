//! What the state of the store is told: sessions, retained messages and their marks. Nothing without a store.

use std::time::Instant;

use super::answers::Tickets;
use super::effect::Effect;
use super::publish::is_own;
use super::session::{Presence, Session, SessionKey};
use super::source::Source;
use super::{Core, LogId};
use crate::mqtt::{Message, QoS};
use crate::store::{Mark, Seq, SessionNumber, StateChange, StoredPresence, StoredSession};

impl Core {
    /// A change of the state; the position it gets. `None` without a store.
    pub(super) fn put_state(&mut self, change: StateChange, urgent: bool) -> Option<Seq> {
        let attached = self.store.is_attached();
        attached.then(|| self.store.put(&mut self.effects, change, urgent))
    }

    /// What an answer waits for that has changed the state since the position `before`. Positions are covered in order, so
    /// the last one stands for all.
    pub(super) fn state_since(&self, before: Seq) -> Tickets {
        let last = self.store.state.last();
        let mut tickets = Tickets::None;
        if last > before {
            tickets.push(LogId::State, last);
        }
        tickets
    }

    /// A session has changed. Nothing where the store does not keep it.
    pub(super) fn put_session(&mut self, now: Instant, key: SessionKey) {
        let session = self.sessions.get(key.0);
        if let Some((number, row)) = session.and_then(|session| session.row(now)) {
            self.put_state(StateChange::Session(number, Box::new(row)), true);
        }
    }

    /// Keeps the message as the newest of its topic [MQTT-3.3.1-5]; an empty one removes it [MQTT-3.3.1-6]. The position
    /// that its acknowledgement waits for: those of clients' and upstreams' messages, which somebody was promised.
    pub(super) fn retain(
        &mut self,
        now: Instant,
        source: &Source,
        message: &Message,
    ) -> Option<Seq> {
        let change = if message.payload.is_empty() {
            let was_there = self.retained.clear(&message.topic);
            was_there.then(|| StateChange::RetainedGone(message.topic.clone()))
        } else if self.retained.has_room(message) {
            let publisher = source.client_id.clone();
            self.retained.set(now, message.clone(), publisher.clone());
            self.arm_sweep(now);
            Some(StateChange::Retained(message.clone(), publisher))
        } else {
            self.stats.dropped += 1;
            return None;
        };
        if is_own(source.origin, message) {
            return None;
        }
        let promised = !source.origin.has_no_resender() && message.qos > QoS::AtMostOnce;
        let changed = change.and_then(|change| self.put_state(change, promised));
        let mark = source.mark.map(StateChange::Marked);
        let marked = mark.and_then(|mark| self.put_state(mark, true));
        marked.or(changed).filter(|_| promised)
    }

    /// Removes a mark from one part of the store; then [`Self::unmarked`].
    pub(super) fn unmark(&mut self, log: LogId, mark: Mark) {
        if log != LogId::State {
            self.effects.push(Effect::Unmark { log, mark });
        } else if let Some(seq) = self.put_state(StateChange::MarkGone(mark), true) {
            self.store.unmarking.push_back((seq, mark));
        }
    }
}

impl Session {
    /// As the store keeps it.
    fn row(&self, now: Instant) -> Option<(SessionNumber, StoredSession)> {
        let durable = self.durable.as_ref()?;
        let (presence, will) = match &self.presence {
            Presence::Online(connection) => (StoredPresence::Connected, connection.will.as_deref()),
            Presence::Offline(away) => {
                let will = away.will.as_ref();
                let presence = StoredPresence::Away {
                    expires_in: away.expires.map(|at| at.saturating_duration_since(now)),
                    will_in: will.map(|will| will.due.saturating_duration_since(now)),
                };
                (presence, will.map(|will| &*will.will))
            }
        };
        let row = StoredSession {
            client_id: self.client_id.clone(),
            user: self.principal.user.clone(),
            certified: self.principal.certified,
            version: durable.version,
            expiry: self.expiry,
            presence,
            will: will.cloned(),
        };
        Some((durable.number, row))
    }
}
