//! The stored form of a message in a row of `state.redb`.

use bytes::BytesMut;

use super::super::super::varint::{self, Input};
use crate::mqtt::{Message, PublishProperties, QoS};
use crate::topic::TopicName;

const QOS_BITS: u8 = 0b11;
const RETAIN: u8 = 0b100;
const PROPERTIES: u8 = 0b1000;

pub(super) fn encode(out: &mut Vec<u8>, message: &Message) {
    let properties = message.properties.as_deref().and_then(property_block);
    let mut flags = message.qos as u8;
    if message.retain {
        flags |= RETAIN;
    }
    if properties.is_some() {
        flags |= PROPERTIES;
    }
    out.push(flags);
    varint::put_bytes(out, message.topic.as_bytes());
    if let Some(properties) = properties {
        varint::put_bytes(out, &properties);
    }
    varint::put_bytes(out, &message.payload);
}

/// `None`: not what [`encode`] writes. The message shares the row's bytes.
pub(super) fn decode(input: &mut Input) -> Option<Message> {
    let flags = input.byte()?;
    if flags & !(QOS_BITS | RETAIN | PROPERTIES) != 0 {
        return None;
    }
    let topic = TopicName::from_bytes(input.bytes()?).ok()?;
    let properties = if flags & PROPERTIES == 0 {
        None
    } else {
        let block = input.bytes()?;
        Some(Box::new(PublishProperties::decode_properties(&block).ok()?))
    };
    Some(Message {
        topic,
        payload: input.bytes()?,
        qos: QoS::from_bits(flags & QOS_BITS)?,
        retain: flags & RETAIN != 0,
        properties,
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
