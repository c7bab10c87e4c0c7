//! Holes in the backlog: the upstream is told of each, at QoS 1, until it has acknowledged it. Told one after the other, beside the
//! messages, and before those that still wait when a connection begins.
//!
//! Under its number a hole is told as the same every time, over connections and restarts: the log shows it only once it is
//! committed as it is. Each lane has holes of its own, which it numbers, and tells them under a packet id of its own.

use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;

use super::publish::numbered;
use super::{Core, Effect, ID_PROPERTY, Lane, ids};
use crate::mqtt::{Acknowledge, Message, Packet, PublishProperties, QoS};
use crate::store::Gap;
use crate::topic::TopicName;

/// What became of the hole that a log shows.
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
    fn connected(&mut self) {
        (self.in_flight, self.refused) = (None, None);
    }
}

impl Core {
    /// A connection begins or ends.
    pub(super) fn tell_gaps_anew(&mut self) {
        let all = self.queues.all_mut();
        all.for_each(|queue| queue.telling.connected());
    }

    pub(super) fn gaps_in_flight(&self) -> usize {
        let all = self.queues.all();
        all.filter(|queue| queue.telling.in_flight.is_some())
            .count()
    }

    /// Tells of a hole that a log shows, if one may be told now; returns the bytes, about.
    pub(super) fn send_gap(&mut self, now: Instant) -> Option<usize> {
        let mut lanes = self.queues.lanes();
        lanes.find_map(|lane| self.send_gap_of(lane, now))
    }

    fn send_gap_of(&mut self, lane: Lane, now: Instant) -> Option<usize> {
        let gap = self.untold_gap_of(lane)?;
        let is_under_way = self.queues.get(lane).telling.in_flight.is_some();
        if self.phase != super::Phase::Up || is_under_way {
            return None;
        }
        let message = self.options.gap.clone()?;
        let qos = message.qos.min(QoS::AtLeastOnce);
        let qos = qos.min(self.limits.maximum_qos);
        if qos != QoS::AtMostOnce && !self.has_room_for_unstored() {
            return None;
        }
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => Some(ids::gap_id(lane)?),
        };
        let sent = (gap.number, self.session);
        let is_again = self.queues.get(lane).telling.sent == Some(sent);
        let mut publish = self
            .gap_message(lane, &gap, message)
            .into_publish(packet_id);
        publish.qos = qos;
        publish.dup = packet_id.is_some() && is_again;
        publish.retain = false;
        let bytes = super::publish::about(&publish);
        let packet = Packet::Publish(publish);
        if self.check(&packet).is_err() {
            self.figures.too_large += 1;
            self.queues.get_mut(lane).telling.refused = Some(gap.number);
            return Some(0);
        }
        match packet_id {
            Some(id) => {
                let telling = &mut self.queues.get_mut(lane).telling;
                telling.in_flight = Some(gap.number);
                telling.sent = Some(sent);
                self.since.insert(id, now);
            }
            None => self.gap_told(lane, gap.number),
        }
        self.send(now, packet);
        Some(bytes)
    }

    /// The hole that a log shows, unless the upstream knows of it, or will not hear of it.
    fn untold_gap_of(&self, lane: Lane) -> Option<Gap> {
        let topic = self.options.gap.as_ref().map(|message| &message.topic)?;
        let queue = self.queues.get(lane);
        let known = [queue.telling.refused, queue.telling.told];
        let gap = queue
            .progress
            .gap
            .filter(|gap| !known.contains(&Some(gap.number)));
        gap.filter(|_| !self.suspects.is_topic_condemned(topic))
    }

    /// Whether there is such a one.
    pub(super) fn has_untold_gap(&self) -> bool {
        let mut lanes = self.queues.lanes();
        lanes.any(|lane| self.untold_gap_of(lane).is_some())
    }

    /// The topic of those that are in flight.
    pub(super) fn gap_in_flight(&self) -> Option<&TopicName> {
        let message = self.options.gap.as_ref()?;
        (self.gaps_in_flight() > 0).then_some(&message.topic)
    }

    fn gap_message(&self, lane: Lane, gap: &Gap, message: Message) -> Message {
        let (gateway, bridge) = (&self.options.gateway, &self.options.name);
        let mut body = serde_json::json!({
            "bridge": bridge,
            "number": gap.number,
            "reason": gap.reason.as_str(),
            "count": gap.count,
            "first": gap.first.0,
            "last": gap.last.0,
        });
        if lane == Lane::Live
            && let Some(fields) = body.as_object_mut()
        {
            fields.insert("lane".to_owned(), "live".into());
        }
        let properties = self.options.protocol.is_v5().then(|| {
            let id = format!("{gateway}/{bridge}/gap/{}", numbered(lane, gap.number));
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

    pub(super) fn gap_acknowledged(&mut self, lane: Lane, puback: &Acknowledge) {
        self.since.remove(&puback.packet_id);
        if let Some(message) = &self.options.gap {
            self.suspects.topic_answered(&message.topic);
        }
        let telling = &mut self.queues.get_mut(lane).telling;
        match telling.in_flight.take() {
            None => self.figures.unexpected += 1,
            Some(number) if puback.reason.is_error() => {
                self.figures.refused += 1;
                telling.refused = Some(number);
            }
            Some(number) => self.gap_told(lane, number),
        }
    }

    fn gap_told(&mut self, lane: Lane, number: u64) {
        self.queues.get_mut(lane).telling.told = Some(number);
        self.effects.push_back(Effect::GapTold(lane, number));
    }
}
