//! PUBACK, PUBREC, PUBREL, PUBCOMP, both ways.
//!
//! What we owe a publisher waits in its `AckQueue` until the logs have covered the message. What a receiver tells us
//! moves its window on.

use std::time::Instant;

use super::ack_queue::{Answer, Kind};
use super::effect::Effect;
use super::session::{Presence, SessionKey};
use super::{Core, LogId};
use crate::mqtt::{Acknowledge, Packet, PacketId, ReasonCode};
use crate::session::{Received, Violation};
use crate::store::Seq;

impl Core {
    /// A log has covered all its messages up to `upto`: what waited for that is acknowledged.
    pub fn covered(&mut self, now: Instant, log: LogId, upto: Seq) {
        self.now = Some(now);
        let Some(place) = self.logs.iter().position(|known| known.id == log) else {
            return;
        };
        if let Some(log) = self.logs.get_mut(place) {
            log.covered = log.covered.max(upto);
        }
        while let Some(key) = self.logs.get_mut(place).and_then(|log| log.pop_covered()) {
            self.settle(key);
        }
    }

    /// A publisher is owed an answer.
    pub(super) fn answer(&mut self, key: SessionKey, answer: Answer) {
        let session = self.sessions.get_mut(key.0);
        let connection = session.and_then(|session| session.connection_mut());
        if connection.is_some_and(|connection| connection.answers.push(answer)) {
            self.settle(key);
        }
    }

    /// Sends the answers that wait for nothing (any more), oldest first; the first that still waits is noted at its log.
    fn settle(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let Presence::Online(connection) = &mut session.presence else {
            return;
        };
        while let Some(front) = connection.answers.front() {
            for &(log, seq) in front.tickets.as_slice() {
                let log = self.logs.iter_mut().find(|known| known.id == log);
                if let Some(log) = log.filter(|log| log.covered < seq) {
                    return log.wait(seq, key);
                }
            }
            let Some(answer) = connection.answers.pop() else {
                return;
            };
            let acknowledge = Acknowledge::new(answer.id, answer.reason);
            let packet = match answer.kind {
                Kind::Puback => {
                    session.inbound.acknowledged();
                    Packet::Puback(acknowledge)
                }
                Kind::Pubrec => {
                    let refused = answer.reason.is_error();
                    session.inbound.received(answer.id, refused);
                    Packet::Pubrec(acknowledge)
                }
            };
            self.effects.push(Effect::Send {
                conn: connection.conn,
                packet,
            });
        }
    }

    /// The client sent a QoS 2 message again whose PUBREC it had been sent: it gets another, and nothing is published.
    pub(super) fn pubrec_again(&mut self, key: SessionKey, id: PacketId) -> Result<(), ReasonCode> {
        let pubrec = Acknowledge::new(id, ReasonCode::Success);
        self.answer_now(key, Packet::Pubrec(pubrec))
    }

    pub(super) fn puback(
        &mut self,
        now: Instant,
        key: SessionKey,
        puback: &Acknowledge,
    ) -> Result<(), ReasonCode> {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Ok(());
        };
        let done = session.outbound.acknowledged(puback.packet_id);
        tolerate_unknown(done.map(drop))?;
        self.flush(now, key);
        Ok(())
    }

    pub(super) fn pubrec(
        &mut self,
        now: Instant,
        key: SessionKey,
        pubrec: &Acknowledge,
    ) -> Result<(), ReasonCode> {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Ok(());
        };
        let id = pubrec.packet_id;
        let reason = match session.outbound.received(id, pubrec.reason.is_error()) {
            Ok(Received::Release(_)) => {
                // Sessions live in memory: there is nothing to commit before the PUBREL.
                session.outbound.released(id).map_err(Violation::reason)?;
                ReasonCode::Success
            }
            Ok(Received::Again | Received::Pending) => ReasonCode::Success,
            Ok(Received::Refused(_)) => {
                self.flush(now, key);
                return Ok(());
            }
            // After a refusal there is nothing to release [MQTT-4.3.3-4].
            Err(Violation::NotInFlight(_)) if pubrec.reason.is_error() => return Ok(()),
            Err(Violation::NotInFlight(_)) => ReasonCode::PacketIdentifierNotFound,
            Err(violation) => return Err(violation.reason()),
        };
        self.answer_now(key, Packet::Pubrel(Acknowledge::new(id, reason)))
    }

    pub(super) fn pubcomp(
        &mut self,
        now: Instant,
        key: SessionKey,
        pubcomp: &Acknowledge,
    ) -> Result<(), ReasonCode> {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Ok(());
        };
        let done = session.outbound.completed(pubcomp.packet_id);
        tolerate_unknown(done.map(drop))?;
        self.flush(now, key);
        Ok(())
    }

    pub(super) fn pubrel(
        &mut self,
        key: SessionKey,
        pubrel: &Acknowledge,
    ) -> Result<(), ReasonCode> {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Ok(());
        };
        let known = session.inbound.release(pubrel.packet_id);
        let reason = if known.map_err(Violation::reason)? {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        let pubcomp = Acknowledge::new(pubrel.packet_id, reason);
        self.answer_now(key, Packet::Pubcomp(pubcomp))
    }
}

/// An acknowledgement of something unknown may come after a lost session and does no harm.
fn tolerate_unknown(done: Result<(), Violation>) -> Result<(), ReasonCode> {
    match done {
        Ok(()) | Err(Violation::NotInFlight(_)) => Ok(()),
        Err(violation) => Err(violation.reason()),
    }
}
