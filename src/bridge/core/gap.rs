//! Holes in the backlog: the upstream is told of each, at QoS 1, until it has acknowledged it. Told one after the other, beside the
//! messages, and before those that still wait when a connection begins.
//!
//! Under its number a hole is told as the same every time, over connections and restarts: the log shows it only once it is
//! committed as it is.

use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;

use super::{Core, Effect, ID_PROPERTY, ids};
use crate::mqtt::{Acknowledge, Message, Packet, PacketId, PublishProperties, QoS};
use crate::store::Gap;
use crate::topic::TopicName;

/// What became of the hole that the log shows.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// It waits for its acknowledgement.
    in_flight: Option<u64>,
    /// The upstream refused it on this connection; the next one may take it.
    refused: Option<u64>,
    /// Told, and the log does not say so yet.
    told: Option<u64>,
    /// The session in which it was sent first.
    sent: Option<(u64, u32)>,
}

impl Telling {
    /// A connection begins or ends.
    pub(super) fn connected(&mut self) {
        (self.in_flight, self.refused) = (None, None);
    }

    pub(super) fn in_flight(&self) -> usize {
        usize::from(self.in_flight.is_some())
    }
}

impl Core {
    /// Tells of the hole that the log shows, if it may be told now; returns the bytes, about.
    pub(super) fn send_gap(&mut self, now: Instant) -> Option<usize> {
        let gap = self.untold_gap()?;
        if self.phase != super::Phase::Up || self.telling.in_flight.is_some() {
            return None;
        }
        let message = self.options.gap.clone()?;
        let qos = message.qos.min(QoS::AtLeastOnce);
        let qos = qos.min(self.limits.maximum_qos);
        if qos != QoS::AtMostOnce && self.room_to_resend() == 0 {
            return None;
        }
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => Some(PacketId::new(ids::GAP)?),
        };
        let sent = (gap.number, self.session);
        let is_again = self.telling.sent == Some(sent);
        let mut publish = self.gap_message(&gap, message).into_publish(packet_id);
        publish.qos = qos;
        publish.dup = packet_id.is_some() && is_again;
        publish.retain = false;
        let bytes = super::publish::about(&publish);
        let packet = Packet::Publish(publish);
        if self.check(&packet).is_err() {
            self.figures.too_large += 1;
            self.telling.refused = Some(gap.number);
            return Some(0);
        }
        match packet_id {
            Some(id) => {
                self.telling.in_flight = Some(gap.number);
                self.telling.sent = Some(sent);
                self.since.insert(id, now);
            }
            None => self.gap_told(gap.number),
        }
        self.send(now, packet);
        Some(bytes)
    }

    /// The hole that the log shows, unless the upstream knows of it, or will not hear of it.
    pub(super) fn untold_gap(&self) -> Option<Gap> {
        let topic = self.options.gap.as_ref().map(|message| &message.topic)?;
        let known = [self.telling.refused, self.telling.told];
        let gap = self
            .progress
            .gap
            .filter(|gap| !known.contains(&Some(gap.number)));
        gap.filter(|_| !self.suspects.is_topic_condemned(topic))
    }

    /// The topic of the one that is in flight.
    pub(super) fn gap_in_flight(&self) -> Option<&TopicName> {
        self.telling.in_flight?;
        self.options.gap.as_ref().map(|message| &message.topic)
    }

    fn gap_message(&self, gap: &Gap, message: Message) -> Message {
        let (gateway, bridge) = (&self.options.gateway, &self.options.name);
        let body = serde_json::json!({
            "bridge": bridge,
            "number": gap.number,
            "reason": gap.reason.as_str(),
            "count": gap.count,
            "first": gap.first.0,
            "last": gap.last.0,
        });
        let properties = self.options.protocol.is_v5().then(|| {
            let id = format!("{gateway}/{bridge}/gap/{}", gap.number);
            let id = (ByteString::from_static(ID_PROPERTY), ByteString::from(id));
            Box::new(PublishProperties {
                user_properties: vec![id],
                ..PublishProperties::default()
            })
        });
        Message {
            payload: Bytes::from(body.to_string()),
            properties,
            ..message
        }
    }

    pub(super) fn gap_acknowledged(&mut self, puback: &Acknowledge) {
        self.since.remove(&puback.packet_id);
        if let Some(message) = &self.options.gap {
            self.suspects.topic_answered(&message.topic);
        }
        match self.telling.in_flight.take() {
            None => self.figures.unexpected += 1,
            Some(number) if puback.reason.is_error() => {
                self.figures.refused += 1;
                self.telling.refused = Some(number);
            }
            Some(number) => self.gap_told(number),
        }
    }

    fn gap_told(&mut self, number: u64) {
        self.telling.told = Some(number);
        self.effects.push_back(Effect::GapTold(number));
    }
}
