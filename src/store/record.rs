//! The stored form of one message, inside a segment.
//!
//! ```text
//! flags     1 byte: bits 0-1 QoS, bit 2 retain, bit 3 properties follow, bit 4 wants follow (since version 2)
//! stamp     varint, zigzag: milliseconds after the segment's stamp
//! topic     varint: 0 = a new one follows (length, UTF-8), n = the segment's n-th
//! [properties]  length, the MQTT 5 property block as it goes over the wire
//! payload   length, bytes
//! [wants]   count, and for each: session, flags (bits 0-1 QoS, bit 2 retain, bit 3 identifiers follow), packet id,
//!           [count, identifiers]
//! ```
//!
//! Separate from the run-time types: those may change, this may only grow with the segment's version. What is decoded
//! shares the segment's bytes.

use std::collections::HashMap;

use bytes::BytesMut;

use super::varint::{self, Input};
use super::{Record, SessionNumber, Want};
use crate::clock::WallTime;
use crate::mqtt::{Message, PacketId, PublishProperties, QoS, SubscriptionIds};
use crate::topic::TopicName;

const QOS_BITS: u8 = 0b11;
const RETAIN: u8 = 0b100;
const PROPERTIES: u8 = 0b1000;
const WANTS: u8 = 0b1_0000;
/// Of a want.
const IDS: u8 = 0b1000;

/// A message as logs keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) message: Message,
    /// Milliseconds on the clock that its log stamps with.
    pub(super) stamp: u64,
    /// The sessions that want it; none in the log of a bridge. In RAM in the order of their numbers.
    pub(super) wants: Vec<Want>,
}

impl Stored {
    /// Where `session` stands among those that want it, of a message in RAM.
    pub(super) fn place_of(&self, session: SessionNumber) -> Option<usize> {
        let found = self
            .wants
            .binary_search_by_key(&session, |want| want.session);
        found.ok()
    }
}

impl From<Record> for Stored {
    fn from(record: Record) -> Self {
        Self {
            message: record.message,
            stamp: record.stamped.0,
            wants: Vec::new(),
        }
    }
}

impl From<Stored> for Record {
    fn from(stored: Stored) -> Self {
        Self {
            message: stored.message,
            stamped: WallTime(stored.stamp),
        }
    }
}

/// Encodes records one after the other; keeps the topics that the segment has named.
#[derive(Debug, Default)]
pub(super) struct RecordEncoder {
    topics: HashMap<TopicName, u64>,
}

impl RecordEncoder {
    /// Appends `record`. `stamp` is the segment's.
    pub(super) fn encode(&mut self, out: &mut Vec<u8>, stamp: u64, record: &Stored) {
        let message = &record.message;
        let properties = message.properties.as_deref().and_then(property_block);
        let mut flags = message.qos as u8;
        if message.retain {
            flags |= RETAIN;
        }
        if properties.is_some() {
            flags |= PROPERTIES;
        }
        if !record.wants.is_empty() {
            flags |= WANTS;
        }
        out.push(flags);
        let after = record.stamp.wrapping_sub(stamp).cast_signed();
        varint::put(out, varint::zigzag(after));
        if let Some(place) = self.topics.get(&message.topic) {
            varint::put(out, *place);
        } else {
            varint::put(out, 0);
            varint::put_bytes(out, message.topic.as_bytes());
            self.topics
                .insert(message.topic.clone(), self.topics.len() as u64 + 1);
        }
        if let Some(properties) = properties {
            varint::put_bytes(out, &properties);
        }
        varint::put_bytes(out, &message.payload);
        if !record.wants.is_empty() {
            encode_wants(out, &record.wants);
        }
    }
}

fn encode_wants(out: &mut Vec<u8>, wants: &[Want]) {
    varint::put(out, wants.len() as u64);
    for want in wants {
        let mut flags = want.qos as u8;
        if want.retain {
            flags |= RETAIN;
        }
        if !want.subscription_ids.is_empty() {
            flags |= IDS;
        }
        varint::put(out, want.session.0);
        out.push(flags);
        varint::put(out, want.packet_id.get().into());
        if !want.subscription_ids.is_empty() {
            varint::put(out, want.subscription_ids.len() as u64);
            for id in want.subscription_ids.iter() {
                varint::put(out, (*id).into());
            }
        }
    }
}

fn decode_want(input: &mut Input) -> Option<Want> {
    let session = SessionNumber(input.varint()?);
    let flags = input.byte()?;
    if flags & !(QOS_BITS | RETAIN | IDS) != 0 {
        return None;
    }
    let packet_id = PacketId::new(u16::try_from(input.varint()?).ok()?)?;
    let mut subscription_ids = SubscriptionIds::default();
    if flags & IDS != 0 {
        for _ in 0..input.varint()? {
            subscription_ids.push(u32::try_from(input.varint()?).ok()?);
        }
    }
    Some(Want {
        session,
        packet_id,
        qos: QoS::from_bits(flags & QOS_BITS)?,
        retain: flags & RETAIN != 0,
        subscription_ids,
    })
}

/// `None` for what no decoder would have let in: the message is kept, its properties are not.
fn property_block(properties: &PublishProperties) -> Option<BytesMut> {
    let mut block = BytesMut::new();
    if let Err(error) = properties.encode_properties(&mut block) {
        tracing::warn!(%error, "a message is stored without its properties, which cannot be encoded");
        return None;
    }
    Some(block)
}

/// Decodes the records of one segment, from the first on.
#[derive(Debug, Default)]
pub(super) struct RecordDecoder {
    topics: Vec<TopicName>,
    only: Option<SessionNumber>,
}

impl RecordDecoder {
    /// One that leaves out what others than `session` want: a thousand sessions that each read a thousand messages for all
    /// of them would make as many lists of a thousand.
    pub(super) fn only(session: Option<SessionNumber>) -> Self {
        Self {
            only: session,
            ..Self::default()
        }
    }

    /// `None`: not what [`RecordEncoder`] writes.
    pub(super) fn decode(&mut self, input: &mut Input, stamp: u64) -> Option<Stored> {
        let flags = input.byte()?;
        if flags & !(QOS_BITS | RETAIN | PROPERTIES | WANTS) != 0 {
            return None;
        }
        let qos = QoS::from_bits(flags & QOS_BITS)?;
        let after = varint::unzigzag(input.varint()?);
        let topic = match input.varint()? {
            0 => {
                let topic = TopicName::from_bytes(input.bytes()?).ok()?;
                self.topics.push(topic.clone());
                topic
            }
            place => {
                let index = usize::try_from(place - 1).ok()?;
                self.topics.get(index)?.clone()
            }
        };
        let properties = if flags & PROPERTIES == 0 {
            None
        } else {
            Some(Box::new(
                PublishProperties::decode_properties(&input.bytes()?).ok()?,
            ))
        };
        let message = Message {
            topic,
            payload: input.bytes()?,
            qos,
            retain: flags & RETAIN != 0,
            properties,
        };
        let mut wants = Vec::new();
        if flags & WANTS != 0 {
            for _ in 0..input.varint()? {
                let want = decode_want(input)?;
                if self.only.is_none_or(|only| only == want.session) {
                    wants.push(want);
                }
            }
        }
        Some(Stored {
            message,
            stamp: stamp.wrapping_add(after.cast_unsigned()),
            wants,
        })
    }
}
