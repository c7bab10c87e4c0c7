//! The stored form of one message, inside a segment.
//!
//! ```text
//! flags     1 byte: bits 0-1 QoS, bit 2 retain, bit 3 properties follow
//! stamp     varint, zigzag: milliseconds after the segment's stamp
//! topic     varint: 0 = a new one follows (length, UTF-8), n = the segment's n-th
//! [properties]  length, the MQTT 5 property block as it goes over the wire
//! payload   length, bytes
//! ```
//!
//! Separate from the run-time types: those may change, this may only grow with the segment's version. What is decoded
//! shares the segment's bytes.

use std::collections::HashMap;

use bytes::BytesMut;

use super::Record;
use super::varint::{self, Input};
use crate::clock::WallTime;
use crate::mqtt::{Message, PublishProperties, QoS};
use crate::topic::TopicName;

const QOS_BITS: u8 = 0b11;
const RETAIN: u8 = 0b100;
const PROPERTIES: u8 = 0b1000;

/// Encodes records one after the other; keeps the topics that the segment has named.
#[derive(Debug, Default)]
pub(super) struct RecordEncoder {
    topics: HashMap<TopicName, u64>,
}

impl RecordEncoder {
    /// Appends `record`. `stamp` is the segment's.
    pub(super) fn encode(&mut self, out: &mut Vec<u8>, stamp: WallTime, record: &Record) {
        let message = &record.message;
        let properties = message.properties.as_deref().and_then(property_block);
        let mut flags = message.qos as u8;
        if message.retain {
            flags |= RETAIN;
        }
        if properties.is_some() {
            flags |= PROPERTIES;
        }
        out.push(flags);
        let after = record.stamped.0.wrapping_sub(stamp.0).cast_signed();
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
    }
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
}

impl RecordDecoder {
    /// `None`: not what [`RecordEncoder`] writes.
    pub(super) fn decode(&mut self, input: &mut Input, stamp: WallTime) -> Option<Record> {
        let flags = input.byte()?;
        if flags & !(QOS_BITS | RETAIN | PROPERTIES) != 0 {
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
        Some(Record {
            message: Message {
                topic,
                payload: input.bytes()?,
                qos,
                retain: flags & RETAIN != 0,
                properties,
            },
            stamped: WallTime(stamp.0.wrapping_add(after.cast_unsigned())),
        })
    }
}
