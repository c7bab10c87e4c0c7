//! The short way for what nearly all traffic is: a plain packet ([`Plain`]) whose fate is known before it is taken apart.
//!
//! [`Core::express`] does exactly what [`Core::receive`] would do with the same packet, or nothing at all and says so. A
//! message goes by a lane (`lanes`); an acknowledgement between the two ends moves a window on, and that is all. Whatever
//! needs more is left to the long way: a message that somebody keeps, a receiver that cannot take it now, a rule that is
//! broken, an answer that waits for the store.

use std::time::Instant;

use bytes::Bytes;

use super::lanes::{Found, Straight, Taker, Way};
use super::session::{Connection, Session, SessionKey};
use super::subscriptions::Subscriber;
use super::{ConnId, Core, Slot};
use crate::broker::Origin;
use crate::mqtt::{PacketId, PacketType, Plain, PlainPacket, PlainPublish, QoS, ReasonCode};
use crate::session::{Received, Released};
use crate::topic::TopicName;

/// Who takes messages by one lane at most; bounds what the lanes may hold.
const TAKERS_MAX: usize = 128;

/// What an answer takes at most.
const ANSWER_BYTES: usize = 5;

/// What is to be sent for a plain packet.
#[derive(Debug, Default)]
pub struct Expressed {
    /// Its deliveries, where it is a PUBLISH.
    pub deliveries: Vec<ExpressDelivery>,
    /// The answer to who sent it, without a Reason String.
    pub answer: Option<(PacketType, PacketId, ReasonCode)>,
}

/// A plain PUBLISH for one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpressDelivery {
    /// To whom.
    pub conn: ConnId,
    /// QoS of this delivery.
    pub qos: QoS,
    /// Present for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
}

impl Core {
    /// A plain packet from a client. True where it is done, and `out` says what is to be sent for it; false where nothing has
    /// happened: then it is to be decoded, for [`Self::receive`]. The time was told before ([`Self::tell_time`]).
    pub fn express(
        &mut self,
        now: Instant,
        conn: ConnId,
        plain: &Plain<'_>,
        out: &mut Expressed,
    ) -> bool {
        out.deliveries.clear();
        out.answer = None;
        // What was decided before goes out first.
        let Slot::Open(key) = self.slot(conn) else {
            return false;
        };
        if !self.effects.is_empty() {
            return false;
        }
        let is_done = match &plain.packet {
            PlainPacket::Publish(publish) => self.express_publish(key, publish, out),
            PlainPacket::Acknowledge(packet, id) => {
                self.parked.is_empty() && self.express_acknowledge(key, *packet, *id, out)
            }
        };
        if is_done {
            self.seen(now, key);
        }
        is_done
    }

    fn express_publish(
        &mut self,
        key: SessionKey,
        publish: &PlainPublish<'_>,
        out: &mut Expressed,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return false;
        };
        let last = &mut session.last_lane;
        let way = match self.lanes.find(key, publish.topic, last) {
            Found::Lane(lane) => &lane.way,
            Found::Nothing { wanted: true } => {
                let way = self.find_way(key, publish.topic);
                self.lanes.put(key, publish.topic, way);
                return false;
            }
            Found::Nothing { wanted: false } => return false,
        };
        let Way::Straight(straight) = way else {
            return false;
        };
        if publish.qos > straight.qos {
            return false;
        }
        for taker in &straight.receivers {
            let session = self.sessions.get(taker.session.0);
            let qos = publish.qos.min(taker.qos);
            let Some(conn) = session.and_then(|session| session.takes(publish, qos)) else {
                return false;
            };
            let packet_id = None;
            out.deliveries.push(ExpressDelivery {
                conn,
                qos,
                packet_id,
            });
        }
        if let Some(id) = publish.packet_id {
            let Some(session) = self.sessions.get_mut(key.0) else {
                return false;
            };
            if !session.accept_express(id, publish.qos) {
                return false;
            }
            let is_v5 = session
                .connection()
                .is_some_and(|connection| connection.version.is_v5());
            let packet = match publish.qos {
                QoS::ExactlyOnce => PacketType::Pubrec,
                _ => PacketType::Puback,
            };
            let reason = match straight.is_matched || !is_v5 {
                true => ReasonCode::Success,
                false => ReasonCode::NoMatchingSubscribers,
            };
            out.answer = Some((packet, id, reason));
        }
        self.stats.received.add(publish.qos);
        if publish.qos > QoS::AtMostOnce {
            for (taker, delivery) in straight.receivers.iter().zip(&mut out.deliveries) {
                if let Some(session) = self.sessions.get_mut(taker.session.0) {
                    session.number_express(delivery);
                }
            }
        }
        for delivery in &out.deliveries {
            self.stats.sent.add(delivery.qos);
        }
        true
    }

    fn express_acknowledge(
        &mut self,
        key: SessionKey,
        packet: PacketType,
        id: PacketId,
        out: &mut Expressed,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return false;
        };
        if session.durable.is_some() || !session.is_idle() {
            return false;
        }
        let answer = match packet {
            PacketType::Puback => return session.outbound.acknowledged(id).is_ok(),
            PacketType::Pubcomp => return session.outbound.completed(id).is_ok(),
            PacketType::Pubrec if session.takes_answers() => {
                match session.outbound.received(id, false) {
                    Ok(Received::Release(_)) => {
                        let released = session.outbound.released(id);
                        debug_assert!(released.is_ok(), "{released:?}");
                    }
                    Ok(Received::Again) => {}
                    // None of them has changed anything.
                    Ok(Received::Pending | Received::Refused(_)) | Err(_) => return false,
                }
                PacketType::Pubrel
            }
            PacketType::Pubrel if session.takes_answers() => {
                if session.inbound.release(id) != Ok(Released::Known) {
                    return false; // that has changed nothing of note
                }
                session.inbound.completed(id);
                PacketType::Pubcomp
            }
            _ => return false,
        };
        out.answer = Some((answer, id, ReasonCode::Success));
        true
    }

    /// What becomes of plain messages of this publisher on this topic.
    fn find_way(&mut self, key: SessionKey, topic: &[u8]) -> Way {
        let straight = TopicName::from_bytes(Bytes::copy_from_slice(topic))
            .ok()
            .and_then(|topic| self.find_straight(key, &topic));
        straight.map_or(Way::Long, Way::Straight)
    }

    /// As `find_receivers`, but not for one message: `None` where it takes more than the topic to tell.
    fn find_straight(&mut self, key: SessionKey, topic: &TopicName) -> Option<Straight> {
        let publisher = self.sessions.get(key.0)?;
        let is_client = publisher.connection()?.origin == Origin::Client;
        let is_routed = self
            .logs
            .iter()
            .any(|log| log.takes(Origin::Client, topic).is_some());
        if !is_client
            || is_routed
            || topic.is_deeper_than(self.limits.topic_levels)
            || !publisher.may_publish(topic)
        {
            return None;
        }
        let (mut matches, mut groups) = (Vec::new(), Vec::new());
        self.subscriptions.matches(topic, &mut matches, &mut groups);
        if !groups.is_empty() || matches.len() > TAKERS_MAX {
            return None;
        }
        let mut straight = Straight {
            receivers: Box::default(),
            qos: self.limits.maximum_qos,
            is_matched: false,
        };
        let mut takers: Vec<Taker> = Vec::new();
        for subscriber in &matches {
            let session = self.sessions.get(subscriber.session.0)?;
            let is_own = subscriber.no_local && subscriber.session == key;
            if is_own || (subscriber.checked && !session.may_read(topic)) {
                continue;
            }
            straight.is_matched = true;
            if subscriber.qos > QoS::AtMostOnce && session.keeps_sent() {
                straight.qos = QoS::AtMostOnce;
            }
            let Some(connection) = session.connection() else {
                continue;
            };
            if !connection.takes_plain() || subscriber.subscription_id.is_some() {
                return None;
            }
            note_taker(&mut takers, subscriber);
        }
        straight.receivers = takers.into();
        Some(straight)
    }
}

/// Each session once, at the highest QoS of its subscriptions [MQTT-3.3.4-2].
fn note_taker(takers: &mut Vec<Taker>, subscriber: &Subscriber) {
    let mut known = takers.iter_mut();
    match known.find(|taker| taker.session == subscriber.session) {
        Some(taker) => taker.qos = taker.qos.max(subscriber.qos),
        None => takers.push(Taker {
            session: subscriber.session,
            qos: subscriber.qos,
        }),
    }
}

impl Connection {
    /// What it gets needs nothing of its own.
    fn takes_plain(&self) -> bool {
        self.origin == Origin::Client && !self.takes_aliases
    }
}

impl Session {
    /// To whom the message goes, if it can go now.
    fn takes(&self, publish: &PlainPublish<'_>, qos: QoS) -> Option<ConnId> {
        let connection = self.connection()?;
        let takes = connection.greeted
            && !connection.congested
            && publish.len_max() <= connection.maximum_packet_size
            && (qos == QoS::AtMostOnce || self.can_send(qos));
        takes.then_some(connection.conn)
    }

    fn takes_answers(&self) -> bool {
        let connection = self.connection();
        connection.is_some_and(|connection| {
            connection.greeted && connection.maximum_packet_size >= ANSWER_BYTES
        })
    }

    /// Takes a message that is answered at once; false, and nothing changed, where there is more to it.
    fn accept_express(&mut self, id: PacketId, qos: QoS) -> bool {
        let owes = self
            .connection()
            .is_none_or(|connection| connection.answers.front().is_some());
        if owes || !self.takes_answers() || self.inbound.contains(id) {
            return false;
        }
        if self.inbound.publish(id, qos).is_err() {
            return false;
        }
        match qos {
            QoS::ExactlyOnce => self.inbound.received(id, false),
            _ => self.inbound.acknowledged(),
        }
        true
    }

    /// Gives a delivery at QoS 1 or 2 its packet id. The window was found open, so there is one.
    fn number_express(&mut self, delivery: &mut ExpressDelivery) {
        let Self {
            outbound,
            packet_ids,
            ..
        } = self;
        delivery.packet_id = outbound.send_next(packet_ids, delivery.qos, None);
        debug_assert_eq!(delivery.packet_id.is_some(), delivery.qos > QoS::AtMostOnce);
    }
}
