//! The gateway's own `$` topics: the newest value of each, sent on connect and on change. Never stored, never queued
//! behind the backlog; what is not acknowledged when a connection ends is superseded by what is newest then.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use super::{Core, ids};
use crate::mqtt::{Acknowledge, Message, Packet, PacketId, Publish, QoS};
use crate::topic::TopicName;

/// How many may be in flight, so that they do not take the whole window.
const IN_FLIGHT: usize = 8;

/// What waits and what is in flight. Bounded by the number of such topics.
#[derive(Debug)]
pub(super) struct Newest {
    waiting: BTreeMap<TopicName, Message>,
    in_flight: BTreeMap<PacketId, TopicName>,
    last_id: u16,
}

impl Default for Newest {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            last_id: ids::LAST_UNSTORED,
        }
    }
}

impl Newest {
    /// A connection begins or ends: the shell hands in everything anew.
    pub(super) fn connected(&mut self) {
        self.waiting.clear();
        self.in_flight.clear();
    }

    /// Nothing more is to be said.
    pub(super) fn discard_waiting(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn in_flight_topics(&self) -> impl Iterator<Item = &TopicName> {
        self.in_flight.values()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    pub(super) fn put(&mut self, message: Message) {
        self.waiting.insert(message.topic.clone(), message);
    }

    /// The ids take turns, so that a late acknowledgement does not hit a new message. More of them than may be in flight.
    fn next_id(&mut self, topic: &TopicName) -> Option<PacketId> {
        for _ in 0..=IN_FLIGHT {
            let next = self.last_id.saturating_add(1);
            let is_one = (ids::FIRST_UNSTORED..=ids::LAST_UNSTORED).contains(&next);
            self.last_id = if is_one { next } else { ids::FIRST_UNSTORED };
            let id = PacketId::new(self.last_id)?;
            if let Entry::Vacant(free) = self.in_flight.entry(id) {
                free.insert(topic.clone());
                return Some(id);
            }
        }
        None
    }
}

impl Core {
    /// Values of the gateway's own topics: all of them after [`super::Effect::Up`], later those that changed.
    pub fn handle_latest(&mut self, messages: Vec<Message>) {
        if self.phase == super::Phase::Up {
            for message in messages {
                if !self.suspects.is_topic_condemned(&message.topic) {
                    self.newest.put(message);
                }
            }
        }
    }

    /// Sends one of them, if one waits and may be sent; returns its bytes, about.
    pub(super) fn send_newest(&mut self, now: Instant) -> Option<usize> {
        let first = self.newest.waiting.first_entry()?;
        let qos = first
            .get()
            .qos
            .min(QoS::AtLeastOnce)
            .min(self.limits.maximum_qos);
        let unstored = self.newest.in_flight.len();
        let full = unstored >= IN_FLIGHT || !self.has_room_for_unstored();
        if qos != QoS::AtMostOnce && full {
            return None;
        }
        let message = self.newest.waiting.pop_first()?.1;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => Some(self.newest.next_id(&message.topic)?),
        };
        let publish = Publish {
            dup: false,
            packet_id,
            qos,
            retain: message.retain && self.limits.retain_available,
            topic: Some(message.topic),
            topic_alias: None,
            subscription_ids: Vec::new(),
            properties: message.properties.filter(|_| self.options.protocol.is_v5()),
            payload: message.payload,
        };
        let bytes = super::publish::about(&publish);
        let packet = Packet::Publish(publish);
        if self.check(&packet).is_err() {
            self.figures.too_large += 1;
            if let Some(id) = packet_id {
                self.newest.in_flight.remove(&id);
            }
            return Some(0);
        }
        if let Some(id) = packet_id {
            self.since.insert(id, now);
        }
        self.send(now, packet);
        Some(bytes)
    }

    /// The next value follows when there is one, so a refusal is only counted.
    pub(super) fn newest_acknowledged(&mut self, puback: &Acknowledge) {
        self.since.remove(&puback.packet_id);
        let Some(topic) = self.newest.in_flight.remove(&puback.packet_id) else {
            self.figures.unexpected += 1;
            return;
        };
        self.suspects.topic_answered(&topic);
        self.figures.refused += u64::from(puback.reason.is_error());
    }
}
