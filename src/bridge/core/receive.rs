//! What the upstream sends: mapped by the routes, handed to the local broker, and answered when that has answered.
//!
//! The bridge stands between two brokers and keeps nothing of a message. Packet ids are the upstream's; what the local
//! broker says to an id goes up as it is, so a message is acknowledged when every durable consumer here is covered, and
//! at QoS 2 the broker's marks tell a message that comes again after a crash from a new one. When the upstream lost our
//! session, that of the broker begins anew before anything is subscribed to.
//!
//! Nothing piles up: an upstream sends no more than the Receive Maximum without an answer, and while more than that waits
//! for the broker nothing is read ([`Core::wants_packets`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytestring::ByteString;

use super::connect::RECEIVE_MAXIMUM;
use super::{Core, Effect};
use crate::bridge::ReceiveRoute;
use crate::broker::{ForwardRoute, InletAnswer, RetainPolicy};
use crate::mqtt::{
    Acknowledge, Oversized, Packet, PacketId, Publish, QoS, ReasonCode, UserProperties,
};
use crate::topic::{TemplateError, TopicName};

/// Name of the user property that counts how often a message came down from an upstream.
pub const HOPS_PROPERTY: &str = "fieldgate-hops";
/// How often it may.
const HOPS_MAX: u32 = 4;

/// Messages that came to nothing and are told of, in one connection; the others are only counted.
const TOLD_MAX: u32 = 20;

/// Why a message from the upstream went nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReceived {
    /// See [`HOPS_PROPERTY`].
    #[error(
        "it has come down from an upstream {HOPS_MAX} times before: bridges send it in a circle"
    )]
    TooManyHops,
    /// A command that somebody gave once, or never meant for now.
    #[error("a command with RETAIN set is not carried out; publish it without")]
    RetainedCommand,
    /// `$SYS` and its like are the local broker's own.
    #[error("its topic here would begin with `$`, which the local broker keeps for itself")]
    Reserved,
    /// The route makes no topic of it.
    #[error("its route gives no topic: {0}")]
    Unmapped(#[from] TemplateError),
    /// Above the limit.
    #[error("it has {len} bytes, and no more than {limit} are taken (`broker.limits.packet_size`)")]
    TooLarge {
        /// Of the packet.
        len: usize,
        /// In bytes.
        limit: u32,
    },
    /// By the local broker.
    #[error("the local broker refused it: {0:?} (0x{code:02X})", code = .0.byte())]
    Refused(ReasonCode),
}

/// The local broker's side, and what is on its way to it.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    inlet: Inlet,
    /// Came before the inlet was open.
    early: VecDeque<Packet>,
    /// Handed to the broker and not answered by it, with the upstream's QoS and topic.
    unanswered: BTreeMap<PacketId, (QoS, TopicName)>,
    /// How many were told of.
    told: u32,
    /// QoS 2 of the upstream that the broker has no part in any more: their PUBREL is answered at once.
    apart: BTreeSet<PacketId>,
}

/// How the local broker stands to this connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inlet {
    /// Nothing is received, or no connection is there.
    #[default]
    Closed,
    /// Asked for.
    Opening,
    /// With the highest QoS that the broker takes.
    Open(QoS),
    /// The broker has ended: nothing is answered any more.
    Ended,
}

impl Receiving {
    pub(super) fn open(&mut self) {
        self.inlet = Inlet::Opening;
    }
}

impl Core {
    /// Whether more is to be read from the upstream: not while its messages wait for the local broker to be there.
    #[must_use]
    pub fn wants_packets(&self) -> bool {
        self.receiving.early.len() < usize::from(RECEIVE_MAXIMUM)
    }

    /// The broker has the session that [`Effect::OpenInlet`] asked for.
    pub fn handle_inlet(&mut self, now: Instant, maximum_qos: QoS) {
        if self.receiving.inlet == Inlet::Opening && self.is_up() {
            self.receiving.inlet = Inlet::Open(maximum_qos);
            for packet in std::mem::take(&mut self.receiving.early) {
                match packet {
                    Packet::Publish(publish) => self.handle_publish(now, publish),
                    Packet::Pubrel(pubrel) => self.handle_pubrel(now, pubrel),
                    _ => {}
                }
            }
        }
    }

    /// The broker has ended, and with it what can be received. Where only the inlet was closed, the link has to end, since
    /// nobody answers what is under way.
    pub fn handle_inlet_ended(&mut self, has_broker_ended: bool) {
        if has_broker_ended {
            self.receiving = Receiving {
                inlet: Inlet::Ended,
                ..Receiving::default()
            };
        } else if self.is_up() {
            self.close(super::Cause::InletClosed);
        }
    }

    /// QoS 0 messages that the inlet had no room for.
    pub fn handle_not_taken(&mut self, count: u64) {
        self.figures.received = self.figures.received.saturating_sub(count);
        self.figures.not_received += count;
    }

    /// No SUBSCRIBE before the broker's session fits the upstream's; nothing may come while it does not.
    pub(super) fn may_subscribe(&self) -> bool {
        self.options.receive.is_empty() || matches!(self.receiving.inlet, Inlet::Open(_))
    }

    pub(super) fn handle_publish(&mut self, now: Instant, publish: Publish) {
        let Some(topic) = publish
            .topic
            .clone()
            .filter(|_| publish.topic_alias.is_none())
        else {
            return self.violation("the upstream used a topic alias, and none was allowed");
        };
        match self.receiving.inlet {
            Inlet::Closed => self.not_asked_for(now, &publish),
            Inlet::Opening => self.receiving.early.push_back(Packet::Publish(publish)),
            Inlet::Open(maximum_qos) => self.bring_in(now, topic, publish, maximum_qos),
            Inlet::Ended => {}
        }
    }

    /// A message above the limit, of which the rest was not kept. It is answered, or the upstream would send it on each
    /// connection. An upstream of MQTT 5 knows the limit and sends no such message.
    pub fn handle_oversized(&mut self, now: Instant, oversized: Oversized) {
        if !self.is_up() {
            return self.violation("the first packet of the upstream is not a CONNACK");
        }
        let Some(topic) = oversized.topic else {
            return self.violation("the upstream used a topic alias, and none was allowed");
        };
        self.figures.not_received += 1;
        if let Some(id) = oversized.packet_id {
            self.answer(now, id, oversized.qos, ReasonCode::Success);
        }
        let (len, limit) = (oversized.len, self.options.packet_size);
        self.tell(topic, NotReceived::TooLarge { len, limit });
    }

    /// A message that no route takes: an older configuration subscribed to it. It is answered so that the upstream's queue
    /// for us empties, and goes nowhere.
    fn not_asked_for(&mut self, now: Instant, publish: &Publish) {
        self.figures.unexpected += 1;
        if let Some(id) = publish.packet_id {
            self.answer(now, id, publish.qos, ReasonCode::Success);
        }
    }

    fn bring_in(&mut self, now: Instant, topic: TopicName, publish: Publish, maximum_qos: QoS) {
        let routes = self.options.receive.iter();
        let Some(route) = { routes }.find(|route| route.filter.matches(&topic)) else {
            return self.not_asked_for(now, &publish);
        };
        let (id, sent) = (publish.packet_id, publish.qos);
        match self.mapped(route, &topic, publish, maximum_qos) {
            Err(why) => {
                if let Some(id) = id {
                    // It would come to nothing each time.
                    self.answer(now, id, sent, ReasonCode::Success);
                }
                match why {
                    NotReceived::TooManyHops => self.figures.too_many_hops += 1,
                    _ => self.figures.not_received += 1,
                }
                self.tell(topic, why);
            }
            Ok(publish) => {
                if let Some(id) = id {
                    if publish.packet_id.is_some() {
                        self.receiving.unanswered.insert(id, (sent, topic));
                    } else {
                        self.answer(now, id, sent, ReasonCode::Success);
                    }
                }
                if publish.packet_id.is_none() {
                    self.figures.received += 1;
                }
                self.effects
                    .push_back(Effect::Pass(Packet::Publish(publish)));
            }
        }
    }

    /// The message as it is published here.
    fn mapped(
        &self,
        route: &ReceiveRoute,
        topic: &TopicName,
        publish: Publish,
        maximum_qos: QoS,
    ) -> Result<Publish, NotReceived> {
        let here = route.topic.apply(topic)?;
        if here.is_reserved() {
            return Err(NotReceived::Reserved);
        }
        if publish.retain && self.is_command(&here) {
            return Err(NotReceived::RetainedCommand);
        }
        let mut properties = publish.properties.unwrap_or_default();
        count_hop(&mut properties.user_properties)?;
        if let Some(answer) = properties.response_topic.take() {
            properties.response_topic = Some(self.as_here(answer));
        }
        let qos = publish.qos.min(route.qos).min(maximum_qos);
        Ok(Publish {
            topic: Some(here),
            qos,
            packet_id: publish.packet_id.filter(|_| qos > QoS::AtMostOnce),
            // Also where it comes as QoS 0 now: a command that is sent again is told by it.
            dup: publish.dup,
            retain: publish.retain && route.retain == RetainPolicy::Keep,
            subscription_ids: Vec::new(),
            properties: Some(properties),
            ..publish
        })
    }

    /// `{gateway}/{device}/set/...`: what acts on the real world.
    fn is_command(&self, topic: &TopicName) -> bool {
        let mut levels = topic.levels();
        levels.next() == Some(&*self.options.gateway) && levels.nth(1) == Some("set")
    }

    /// The topic here that a forward route carries to `upstream`, if there is one: who answers a request reaches who asked.
    fn as_here(&self, upstream: TopicName) -> TopicName {
        let routes = &self.options.forward;
        let found = routes.iter().enumerate().find_map(|(index, route)| {
            let here = route.topic.invert(&route.filter, &upstream)?;
            let takes = |route: &ForwardRoute| {
                let mut except = route.except.iter();
                route.filter.matches(&here) && !except.any(|filter| filter.matches(&here))
            };
            let first = routes.iter().position(takes);
            (first == Some(index)).then_some(here)
        });
        found.unwrap_or(upstream)
    }

    pub(super) fn handle_pubrel(&mut self, now: Instant, pubrel: Acknowledge) {
        let id = pubrel.packet_id;
        if self.receiving.apart.remove(&id) {
            return self.complete(now, id, ReasonCode::Success);
        }
        match self.receiving.inlet {
            Inlet::Closed => self.complete(now, id, ReasonCode::Success),
            Inlet::Opening => self.receiving.early.push_back(Packet::Pubrel(pubrel)),
            Inlet::Open(_) => {
                let pubrel = Acknowledge::new(id, ReasonCode::Success);
                self.effects.push_back(Effect::Pass(Packet::Pubrel(pubrel)));
            }
            Inlet::Ended => {}
        }
    }

    /// The local broker has answered: it goes up.
    pub fn handle_inlet_answer(&mut self, now: Instant, answer: &InletAnswer) {
        if !self.is_up() {
            return;
        }
        let (InletAnswer::Puback(ack) | InletAnswer::Pubrec(ack) | InletAnswer::Pubcomp(ack)) =
            answer;
        let id = ack.packet_id;
        if let InletAnswer::Pubcomp(_) = answer {
            return self.complete(now, id, ack.reason);
        }
        let Some((sent, topic)) = self.receiving.unanswered.remove(&id) else {
            return;
        };
        if ack.reason.is_error() {
            self.figures.not_received += 1;
            let why = NotReceived::Refused(ack.reason);
            self.tell(topic, why);
        } else {
            self.figures.received += 1;
        }
        let reason = match ack.reason {
            // A server's word.
            ReasonCode::NoMatchingSubscribers => ReasonCode::Success,
            reason => reason,
        };
        if let InletAnswer::Pubrec(_) = answer {
            self.send(now, Packet::Pubrec(Acknowledge::new(id, reason)));
        } else {
            self.answer(now, id, sent, reason);
        }
    }

    fn tell(&mut self, topic: TopicName, why: NotReceived) {
        if self.receiving.told < TOLD_MAX {
            self.receiving.told += 1;
            self.effects.push_back(Effect::NotReceived { topic, why });
        }
    }

    /// PUBACK, or the PUBREC of a message that the broker does not have at QoS 2.
    fn answer(&mut self, now: Instant, id: PacketId, sent: QoS, reason: ReasonCode) {
        let answer = Acknowledge::new(id, reason);
        if sent == QoS::ExactlyOnce {
            if !reason.is_error() {
                self.receiving.apart.insert(id);
            }
            self.send(now, Packet::Pubrec(answer));
        } else {
            self.send(now, Packet::Puback(answer));
        }
    }

    fn complete(&mut self, now: Instant, id: PacketId, reason: ReasonCode) {
        self.send(now, Packet::Pubcomp(Acknowledge::new(id, reason)));
    }
}

/// One more.
fn count_hop(properties: &mut UserProperties) -> Result<(), NotReceived> {
    let counted = properties.iter().filter(|(name, _)| name == HOPS_PROPERTY);
    // What is no number was not written by a bridge.
    let hops = counted
        .filter_map(|(_, count)| count.parse::<u32>().ok())
        .max();
    let hops = hops.unwrap_or(0);
    if hops >= HOPS_MAX {
        return Err(NotReceived::TooManyHops);
    }
    properties.retain(|(name, _)| name != HOPS_PROPERTY);
    let name = ByteString::from_static(HOPS_PROPERTY);
    properties.push((name, ByteString::from((hops + 1).to_string())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_down_is_counted_and_the_fifth_is_one_too_many() {
        let mut properties = UserProperties::new();
        for hops in ["1", "2", "3", "4"] {
            assert_eq!(count_hop(&mut properties), Ok(()));
            assert_eq!(properties, [(HOPS_PROPERTY.into(), hops.into())]);
        }
        assert_eq!(count_hop(&mut properties), Err(NotReceived::TooManyHops));
    }

    #[test]
    fn what_is_no_count_begins_one() {
        let mut properties = vec![(HOPS_PROPERTY.into(), "many".into())];
        assert_eq!(count_hop(&mut properties), Ok(()));
        assert_eq!(properties, [(HOPS_PROPERTY.into(), "1".into())]);
    }
}
