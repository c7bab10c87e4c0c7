//! PUBACK, PUBREC, PUBREL, PUBCOMP, both ways, and every other answer that waits.
//!
//! What we owe a client waits in its `Answers` until the store has covered what it depends on. What a receiver tells us
//! moves its window on.

use std::time::Instant;

use super::answers::{Answer, OTHERS_MAX, Reply, Tickets};
use super::effect::Effect;
use super::explain::explain;
use super::session::{Presence, Session, SessionKey};
use super::store::{waits, watermark};
use super::{Core, LogId};
use crate::mqtt::{Acknowledge, Connack, Packet, PacketId, PacketType, ReasonCode};
use crate::session::{Received, Released, Violation};
use crate::store::{Mark, Outcome, Seq};

impl Core {
    /// A part of the store has covered everything up to `upto`: what waited for that is answered.
    pub fn covered(&mut self, now: Instant, log: LogId, upto: Seq) {
        self.now = Some(now);
        let Some(known) = watermark(&mut self.logs, &mut self.store, log) else {
            return;
        };
        known.cover(upto);
        while let Some(key) =
            watermark(&mut self.logs, &mut self.store, log).and_then(|known| known.pop_covered())
        {
            self.settle(now, key);
        }
        if log == LogId::Sessions {
            self.store.tell_replayed(&mut self.effects);
        }
        while let Some(mark) = self.store.pop_unmarked() {
            self.unmarked(now, LogId::State, mark);
        }
    }

    /// A client is owed an answer.
    pub(super) fn answer(&mut self, now: Instant, key: SessionKey, reply: Reply, tickets: Tickets) {
        let session = self.sessions.get_mut(key.0);
        let Some(connection) = session.and_then(Session::connection_mut) else {
            return;
        };
        if tickets == Tickets::None {
            // It may overtake answers to messages, and no others: what it says may hang on what they wait for.
            let overtakes = matches!(reply, Reply::Packet(_))
                && connection.greeted
                && connection.answers.others() == 0;
            if overtakes || connection.answers.front().is_none() {
                return self.send_answer(now, key, reply);
            }
        }
        if connection.answers.push(Answer { reply, tickets }) {
            return self.settle(now, key);
        }
        if connection.answers.others() > OTHERS_MAX {
            self.pause(key);
        }
    }

    /// The CONNACK. While it waits the client is not read: what it asks of a session that a crash may undo would leave
    /// traces in the logs that belong to nobody.
    pub(super) fn greet(
        &mut self,
        now: Instant,
        key: SessionKey,
        connack: Connack,
        tickets: Tickets,
    ) {
        self.answer(now, key, Reply::Connack(Box::new(connack)), tickets);
        let session = self.sessions.get(key.0);
        let connection = session.and_then(Session::connection);
        if connection.is_some_and(|connection| !connection.greeted) {
            self.pause(key);
        }
    }

    /// Sends the answers that wait for nothing (any more), oldest first; of a client that is away it is the will that waited.
    fn settle(&mut self, now: Instant, key: SessionKey) {
        self.settle_will(now, key);
        while let Some(reply) = self.ready_answer(key) {
            self.send_answer(now, key, reply);
        }
        self.resume_reading(now, key);
    }

    /// The oldest answer, if it waits for nothing; else it is noted where it waits.
    fn ready_answer(&mut self, key: SessionKey) -> Option<Reply> {
        let session = self.sessions.get_mut(key.0)?;
        let answers = &mut session.connection_mut()?.answers;
        let tickets = &answers.front()?.tickets;
        if waits(&mut self.logs, &mut self.store, key, tickets) {
            return None;
        }
        answers.pop().map(|answer| answer.reply)
    }

    fn send_answer(&mut self, now: Instant, key: SessionKey, reply: Reply) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let Presence::Online(connection) = &mut session.presence else {
            return;
        };
        let explains = connection.wants_reasons;
        // What a CONNACK or a SUBACK lets go follows it.
        let mut lets_go = false;
        let packet = match reply {
            Reply::Puback(id, reason) => {
                session.inbound.acknowledged();
                Packet::Puback(answer_to(id, reason, explains))
            }
            Reply::Pubrec(id, reason) => {
                session.inbound.received(id, reason.is_error());
                Packet::Pubrec(answer_to(id, reason, explains))
            }
            Reply::Connack(connack) => {
                connection.greeted = true;
                lets_go = true;
                Packet::Connack(connack)
            }
            Reply::Packet(packet) => {
                lets_go = matches!(*packet, Packet::Suback(_));
                *packet
            }
        };
        self.effects.push(Effect::Send {
            conn: connection.conn,
            packet,
        });
        if lets_go {
            self.flush(now, key);
        }
    }

    /// Sends a packet that waits for nothing but the CONNACK.
    pub(super) fn answer_now(&mut self, key: SessionKey, packet: Packet) {
        let session = self.sessions.get_mut(key.0);
        let Some(connection) = session.and_then(Session::connection_mut) else {
            return;
        };
        if connection.greeted {
            let conn = connection.conn;
            self.effects.push(Effect::Send { conn, packet });
            return;
        }
        connection.answers.push(Answer {
            reply: Reply::Packet(Box::new(packet)),
            tickets: Tickets::None,
        });
        if connection.answers.others() > OTHERS_MAX {
            self.pause(key);
        }
    }

    /// The client sent a QoS 2 message again whose PUBREC it had been sent: it gets another, and nothing is published.
    pub(super) fn pubrec_again(&mut self, key: SessionKey, id: PacketId) -> Result<(), ReasonCode> {
        let pubrec = Acknowledge::new(id, ReasonCode::Success);
        self.answer_now(key, Packet::Pubrec(pubrec));
        Ok(())
    }

    pub(super) fn puback(
        &mut self,
        now: Instant,
        key: SessionKey,
        puback: &Acknowledge,
    ) -> Result<(), ReasonCode> {
        let Some((session, mut out)) = self.with_session(now, key) else {
            return Ok(());
        };
        match session.outbound.acknowledged(puback.packet_id) {
            Ok(held) => session.finish(held.as_ref(), Outcome::Delivered, &mut out),
            Err(violation) => tolerate_unknown(violation)?,
        }
        self.flush(now, key);
        Ok(())
    }

    pub(super) fn pubrec(
        &mut self,
        now: Instant,
        key: SessionKey,
        pubrec: &Acknowledge,
    ) -> Result<(), ReasonCode> {
        let Some((session, mut out)) = self.with_session(now, key) else {
            return Ok(());
        };
        let id = pubrec.packet_id;
        let reason = match session.outbound.received(id, pubrec.reason.is_error()) {
            Ok(Received::Release(held)) => {
                let place = held.as_ref().and_then(|held| held.place);
                if let (Some(durable), Some(place)) = (&session.durable, place) {
                    // The PUBREL follows when this is committed: `committed_received`.
                    let (session, seq) = (durable.number, place.seq);
                    out.effects.push(Effect::Received { session, seq });
                    return Ok(());
                }
                session.outbound.released(id).map_err(Violation::reason)?;
                ReasonCode::Success
            }
            Ok(Received::Again) => ReasonCode::Success,
            Ok(Received::Pending) => return Ok(()),
            Ok(Received::Refused(held)) => {
                session.finish(held.as_ref(), Outcome::Delivered, &mut out);
                self.flush(now, key);
                return Ok(());
            }
            // After a refusal there is nothing to release [MQTT-4.3.3-4].
            Err(Violation::NotInFlight(_)) if pubrec.reason.is_error() => return Ok(()),
            Err(Violation::NotInFlight(_)) => ReasonCode::PacketIdentifierNotFound,
            Err(violation) => return Err(violation.reason()),
        };
        self.answer_now(key, Packet::Pubrel(Acknowledge::new(id, reason)));
        Ok(())
    }

    pub(super) fn pubcomp(
        &mut self,
        now: Instant,
        key: SessionKey,
        pubcomp: &Acknowledge,
    ) -> Result<(), ReasonCode> {
        let Some((session, mut out)) = self.with_session(now, key) else {
            return Ok(());
        };
        match session.outbound.completed(pubcomp.packet_id) {
            Ok(held) => session.finish(held.as_ref(), Outcome::Delivered, &mut out),
            Err(violation) => tolerate_unknown(violation)?,
        }
        self.flush(now, key);
        Ok(())
    }

    /// The marks of the message go; when that is committed everywhere, PUBCOMP says so. Sooner, a crash would find a mark
    /// under an id that the client has given to its next message, and swallow that.
    pub(super) fn pubrel(
        &mut self,
        key: SessionKey,
        pubrel: &Acknowledge,
    ) -> Result<(), ReasonCode> {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Ok(());
        };
        let id = pubrel.packet_id;
        let reason = match session.inbound.release(id).map_err(Violation::reason)? {
            Released::Pending => return Ok(()),
            Released::Unknown => ReasonCode::PacketIdentifierNotFound,
            Released::Known => {
                if let Some(durable) = &mut session.durable
                    && let Some(logs) = durable.marks.remove(&id)
                {
                    let mark = durable.mark(id);
                    durable.unmarking.insert(id, logs.clone());
                    for log in logs {
                        self.unmark(log, mark);
                    }
                    return Ok(());
                }
                session.inbound.completed(id);
                ReasonCode::Success
            }
        };
        self.answer_now(key, Packet::Pubcomp(Acknowledge::new(id, reason)));
        Ok(())
    }

    /// [`Effect::Unmark`] is committed, or what the state was told to that end.
    pub fn unmarked(&mut self, now: Instant, log: LogId, mark: Mark) {
        self.now = Some(now);
        let Some(key) = self.store.session(mark.session) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let id = mark.packet_id;
        let Some(durable) = &mut session.durable else {
            return;
        };
        let Some(logs) = durable.unmarking.get_mut(&id) else {
            return;
        };
        logs.retain(|known| *known != log);
        if logs.is_empty() {
            durable.unmarking.remove(&id);
            if session.inbound.completed(id) {
                let pubcomp = Acknowledge::new(id, ReasonCode::Success);
                self.answer_now(key, Packet::Pubcomp(pubcomp));
            }
        }
    }
}

/// PUBACK or PUBREC, which are explained by the same words.
fn answer_to(id: PacketId, reason: ReasonCode, explains: bool) -> Acknowledge {
    Acknowledge {
        reason_string: explain(PacketType::Puback, reason).filter(|_| explains),
        ..Acknowledge::new(id, reason)
    }
}

/// An acknowledgement of something unknown may come after a lost session and does no harm.
fn tolerate_unknown(violation: Violation) -> Result<(), ReasonCode> {
    match violation {
        Violation::NotInFlight(_) => Ok(()),
        violation => Err(violation.reason()),
    }
}
