//! A message on its way to one session, and what it weighs: in memory, on the wire, in time.

use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::groups::GroupKey;
use crate::mqtt::{Message, PacketId, PublishProperties, QoS, SubscriptionIds};
use crate::store::Seq;

/// A message for one session, not yet sent or not yet acknowledged. What it holds owns its storage: the buffer it was
/// read into is not pinned.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) message: Rc<Message>,
    /// Of this delivery.
    pub(super) qos: QoS,
    /// Of this delivery.
    pub(super) retain: bool,
    pub(super) subscription_ids: SubscriptionIds,
    /// The group that it was sent to this session for. Should the session end first, another member gets it.
    pub(super) share: Option<GroupKey>,
    pub(super) arrived: Instant,
    /// Where it stands in the session log; of QoS 1 and 2 for a session that is kept, and of nothing else.
    pub(super) place: Option<Place>,
}

/// A place in the session log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: Seq,
    /// Given when it was appended.
    pub(super) id: PacketId,
    /// QoS 2: the PUBREC is committed, what remains is PUBREL.
    pub(super) received: bool,
}

/// The messages that wait for one session: bounded by count and bytes, the oldest give way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    held: VecDeque<Held>,
    bytes: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn front(&self) -> Option<&Held> {
        self.held.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn append(&mut self, held: Held) {
        self.bytes += weight(&held.message);
        self.held.push_back(held);
    }

    /// Takes the first that `chosen` is true for.
    pub(super) fn take(&mut self, chosen: impl Fn(&Held) -> bool) -> Option<Held> {
        let position = self.held.iter().position(chosen)?;
        let held = self.held.remove(position)?;
        self.bytes -= weight(&held.message);
        Some(held)
    }

    pub(super) fn pop(&mut self) -> Option<Held> {
        let held = self.held.pop_front()?;
        self.bytes -= weight(&held.message);
        Some(held)
    }

    /// All of them, oldest first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Held> + use<> {
        self.bytes = 0;
        mem::take(&mut self.held).into_iter()
    }

    /// As [`Self::push`], but before those that arrived later.
    pub(super) fn insert(&mut self, held: Held, limit: usize, bytes_limit: usize) -> u64 {
        self.bytes += weight(&held.message);
        let place = self
            .held
            .partition_point(|other| other.arrived <= held.arrived);
        self.held.insert(place, held);
        self.drop_beyond(limit, bytes_limit)
    }

    /// Appends, and drops the oldest until the limits hold; returns how many (the new one too, where it alone is too
    /// much).
    pub(super) fn push(&mut self, held: Held, limit: usize, bytes_limit: usize) -> u64 {
        self.append(held);
        self.drop_beyond(limit, bytes_limit)
    }

    fn drop_beyond(&mut self, limit: usize, bytes_limit: usize) -> u64 {
        let mut dropped = 0;
        while (self.held.len() > limit || self.bytes > bytes_limit) && self.pop().is_some() {
            dropped += 1;
        }
        dropped
    }
}

impl Held {
    /// The message as it goes out at `now`: with what is left of its expiry [MQTT-3.3.2-6]; `None` where nothing is left
    /// and it has not been sent before [MQTT-3.3.2-5].
    pub(super) fn message_at(&self, now: Instant, sent_before: bool) -> Option<Rc<Message>> {
        let Some(expiry) = expiry(&self.message) else {
            return Some(Rc::clone(&self.message));
        };
        let waited = now.saturating_duration_since(self.arrived);
        if waited.is_zero() {
            return Some(Rc::clone(&self.message));
        }
        if !sent_before && expired(&self.message, self.arrived, now) {
            return None;
        }
        if waited.as_secs() == 0 {
            return Some(Rc::clone(&self.message));
        }
        let left = u64::from(expiry).saturating_sub(waited.as_secs());
        let mut message = Message::clone(&self.message);
        if let Some(properties) = &mut message.properties {
            properties.message_expiry = Some(u32::try_from(left).unwrap_or(u32::MAX));
        }
        Some(Rc::new(message))
    }
}

/// Whether the message's expiry has passed.
pub(super) fn expired(message: &Message, arrived: Instant, now: Instant) -> bool {
    expiry(message).is_some_and(|expiry| {
        now.saturating_duration_since(arrived) >= Duration::from_secs(u64::from(expiry))
    })
}

fn expiry(message: &Message) -> Option<u32> {
    message.properties.as_ref()?.message_expiry
}

/// What a message takes of a limit in bytes: topic, payload and properties.
pub(super) fn weight(message: &Message) -> usize {
    let properties = message.properties.as_deref().map_or(0, properties_len);
    message.topic.as_str().len() + message.payload.len() + properties
}

/// Bytes of the PUBLISH packet of MQTT 5, to be held against the client's Maximum Packet Size.
pub(super) fn packet_len(message: &Message, qos: QoS, subscription_ids: &[u32]) -> usize {
    let ids = subscription_ids.iter();
    let ids: usize = ids.map(|&id| 1 + variable_len(id as usize)).sum();
    let properties = message.properties.as_deref().map_or(0, properties_len) + ids;
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let remaining = 2
        + message.topic.as_str().len()
        + packet_id
        + variable_len(properties)
        + properties
        + message.payload.len();
    1 + variable_len(remaining) + remaining
}

fn properties_len(properties: &PublishProperties) -> usize {
    let text = |len: Option<usize>| len.map_or(0, |len| 3 + len);
    let user = properties.user_properties.iter();
    let user: usize = user.map(|(name, value)| 5 + name.len() + value.len()).sum();
    let response_topic = properties.response_topic.as_ref();
    usize::from(properties.payload_is_utf8) * 2
        + properties.message_expiry.map_or(0, |_| 5)
        + text(properties.content_type.as_ref().map(|text| text.len()))
        + text(response_topic.map(|topic| topic.as_str().len()))
        + text(properties.correlation_data.as_ref().map(bytes::Bytes::len))
        + user
}

/// Bytes of a Variable Byte Integer (section 1.5.5).
fn variable_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::topic::TopicName;

    fn held(payload: &[u8], expiry: Option<u32>, arrived: Instant) -> Held {
        let properties = PublishProperties {
            message_expiry: expiry,
            ..PublishProperties::default()
        };
        Held {
            message: Rc::new(Message {
                topic: TopicName::try_from("t").unwrap(),
                payload: Bytes::copy_from_slice(payload),
                qos: QoS::AtLeastOnce,
                retain: false,
                properties: expiry.map(|_| Box::new(properties)),
            }),
            qos: QoS::AtLeastOnce,
            retain: false,
            subscription_ids: SubscriptionIds::default(),
            share: None,
            arrived,
            place: None,
        }
    }

    #[test]
    fn a_full_queue_drops_its_oldest_by_count_and_by_bytes() {
        let now = crate::clock::now();
        let mut queue = Queue::default();
        assert_eq!(queue.push(held(b"1", None, now), 2, 20), 0);
        assert_eq!(queue.push(held(b"2", None, now), 2, 20), 0);
        assert_eq!(queue.push(held(b"3", None, now), 2, 20), 1);
        assert_eq!(queue.push(held(&[0; 19], None, now), 2, 20), 2);
        assert_eq!(queue.push(held(&[0; 20], None, now), 2, 20), 2);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn mqtt_3_3_2_6_the_expiry_counts_down_while_a_message_waits() {
        let arrived = crate::clock::now();
        let after = |millis| arrived + Duration::from_millis(millis);
        let left = |at: Option<Rc<Message>>| expiry(&at.unwrap());
        let held = held(b"x", Some(10), arrived);
        let at_once = held.message_at(after(999), false).unwrap();
        assert!(Rc::ptr_eq(&at_once, &held.message));
        assert_eq!(left(held.message_at(after(3500), false)), Some(7));
        assert_eq!(left(held.message_at(after(9999), false)), Some(1));
        assert_eq!(held.message_at(after(10_000), false), None);
        assert_eq!(left(held.message_at(after(60_000), true)), Some(0));
    }

    #[test]
    fn the_length_of_a_packet_counts_every_part() {
        let mut message = Message::clone(&held(&[0; 10], Some(1), crate::clock::now()).message);
        // header 2, topic 3, id 2, property length 1, expiry 5, payload 10
        assert_eq!(packet_len(&message, QoS::AtLeastOnce, &[]), 23);
        assert_eq!(packet_len(&message, QoS::AtMostOnce, &[5, 200]), 21 + 2 + 3);
        message.properties = Some(Box::new(PublishProperties {
            payload_is_utf8: true,
            content_type: Some("ab".into()),
            response_topic: Some(TopicName::try_from("r").unwrap()),
            correlation_data: Some(Bytes::from_static(b"c")),
            user_properties: vec![("k".into(), "v".into())],
            ..PublishProperties::default()
        }));
        // 2 + 5 + 4 + 4 + 7 = 22 of properties
        assert_eq!(
            packet_len(&message, QoS::AtMostOnce, &[]),
            2 + 3 + 1 + 22 + 10
        );
    }
}
