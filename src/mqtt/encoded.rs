//! A PUBLISH encoded once for all who receive it.
//!
//! What differs from one delivery to the next is the first byte's DUP, the lengths, the packet id, and what a receiver
//! has of its own ([`Extra`]). The rest is shared: topic and payload with the message, the properties with every other
//! delivery. A delivery allocates nothing here and copies topic and properties once, into the outbox.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{REMAINING_LENGTH_MAX, variable_byte_integer, variable_byte_integer_len};
use super::property::{PropertyId, write_block};
use super::publish::{DUP, PACKET_ID_FIELD, first_byte};
use super::writer::measure;
use super::{EncodeError, Message, PacketId, ProtocolVersion, QoS};
use crate::topic::TopicName;

/// Identifier and value of a Message Expiry Interval, which stands first in the properties.
const EXPIRY_BYTES: usize = 5;

/// Identifier and value of a Topic Alias.
const ALIAS_BYTES: usize = 3;

/// A PUBLISH encoded once for a (version, QoS, retain). Cheap to clone.
#[derive(Clone, Debug)]
pub struct EncodedPublish {
    /// Type, QoS and RETAIN; without DUP.
    first: u8,
    qos: QoS,
    topic: TopicName,
    /// The property block with its length; empty before MQTT 5.
    properties: Bytes,
    /// Whether the block begins with a Message Expiry Interval.
    expires: bool,
    payload: Bytes,
}

/// What one receiver gets beside what all get. All of it is MQTT 5 and left out before. With none of it the common
/// properties are copied as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extra<'a> {
    /// The Subscription Identifiers of the receiver's subscriptions that match, each 1 to 268435455.
    pub subscription_ids: &'a [u32],
    /// Replaces the Message Expiry Interval, or adds one: what is left of it after the wait here [MQTT-3.3.2-6].
    pub message_expiry: Option<u32>,
    /// A Topic Alias, 1 to the receiver's maximum.
    pub topic_alias: Option<u16>,
    /// The receiver already knows which topic the alias stands for, so the topic is not sent.
    pub alias_known: bool,
}

impl Extra<'_> {
    fn is_none(&self) -> bool {
        self.subscription_ids.is_empty()
            && self.message_expiry.is_none()
            && self.topic_alias.is_none()
    }

    /// Bytes that it adds to the properties, not counting what it replaces.
    fn len(&self) -> usize {
        let ids = self.subscription_ids.iter();
        ids.map(|&id| 1 + variable_byte_integer_len(id))
            .sum::<usize>()
            + self.message_expiry.map_or(0, |_| EXPIRY_BYTES)
            + self.topic_alias.map_or(0, |_| ALIAS_BYTES)
    }

    fn write(&self, out: &mut BytesMut) {
        if let Some(seconds) = self.message_expiry {
            out.put_u8(PropertyId::MessageExpiryInterval as u8);
            out.put_u32(seconds);
        }
        if let Some(alias) = self.topic_alias {
            out.put_u8(PropertyId::TopicAlias as u8);
            out.put_u16(alias);
        }
        for &id in self.subscription_ids {
            out.put_u8(PropertyId::SubscriptionIdentifier as u8);
            put_variable_byte_integer(out, id);
        }
    }
}

impl EncodedPublish {
    /// Encodes `message` for receivers of `version` who get it at `qos` with RETAIN as given.
    ///
    /// # Errors
    /// Where the protocol cannot carry the message: over 268435455 bytes, or a property of over 65535 bytes or with
    /// U+0000. No decoded message is like that.
    pub fn new(
        version: ProtocolVersion,
        message: &Message,
        qos: QoS,
        retain: bool,
    ) -> Result<Self, EncodeError> {
        let (properties, expires) = match &message.properties {
            _ if !version.is_v5() => (Bytes::new(), false),
            None => (Bytes::from_static(&[0]), false),
            Some(properties) => {
                let len = measure(|out| write_block(out, |out| properties.write(out)))?;
                let mut block = BytesMut::with_capacity(len);
                write_block(&mut block, |out| properties.write(out));
                (block.freeze(), properties.message_expiry.is_some())
            }
        };
        let encoded = Self {
            first: first_byte(qos, retain),
            qos,
            topic: message.topic.clone(),
            properties,
            expires,
            payload: message.payload.clone(),
        };
        encoded.layout(&Extra::default())?;
        Ok(encoded)
    }

    /// The QoS it was encoded for.
    #[must_use]
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// The payload, shared with the message. It follows what [`Self::write_head`] writes.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Bytes on the wire of one delivery, payload included; to be held against the receiver's Maximum Packet Size
    /// [MQTT-3.1.2-24].
    ///
    /// # Errors
    /// Where it is more than the protocol can carry.
    pub fn wire_len(&self, extra: &Extra<'_>) -> Result<usize, EncodeError> {
        let layout = self.layout(extra)?;
        Ok(1 + variable_byte_integer_len(layout.remaining) + layout.remaining as usize)
    }

    /// Appends everything up to the payload. The packet id is needed at QoS 1 and 2 and must be absent at QoS 0, where
    /// DUP is ignored. `extra` is ignored before MQTT 5.
    ///
    /// # Errors
    /// A delivery that the protocol cannot carry, or a packet id that does not go with the QoS. Nothing is written then.
    pub fn write_head(
        &self,
        dup: bool,
        packet_id: Option<PacketId>,
        extra: &Extra<'_>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let exactly_when = self.qos != QoS::AtMostOnce;
        if packet_id.is_some() != exactly_when {
            return Err(EncodeError::Forbidden {
                field: PACKET_ID_FIELD,
            });
        }
        let layout = self.layout(extra)?;
        out.reserve(5 + layout.remaining as usize - self.payload.len());
        out.put_u8(self.first | if dup && exactly_when { DUP } else { 0 });
        put_variable_byte_integer(out, layout.remaining);
        let topic: &[u8] = if layout.sends_topic {
            self.topic.as_bytes()
        } else {
            &[]
        };
        // A topic name has at most 65535 bytes; that is checked when it is made.
        out.put_u16(u16::try_from(topic.len()).unwrap_or(u16::MAX));
        out.put_slice(topic);
        if let Some(id) = packet_id {
            out.put_u16(id.get());
        }
        match layout.own_properties {
            None => out.put_slice(&self.properties),
            Some(len) => {
                put_variable_byte_integer(out, len);
                extra.write(out);
                out.put_slice(self.shared_properties(extra));
            }
        }
        Ok(())
    }

    /// The common properties that stay beside `extra`, without the length before them.
    fn shared_properties(&self, extra: &Extra<'_>) -> &[u8] {
        let length_bytes = self
            .properties
            .iter()
            .take_while(|&&byte| byte & 0x80 != 0)
            .count()
            + 1;
        let replaced = if self.expires && extra.message_expiry.is_some() {
            EXPIRY_BYTES
        } else {
            0
        };
        self.properties
            .get(length_bytes + replaced..)
            .unwrap_or_default()
    }

    fn layout(&self, extra: &Extra<'_>) -> Result<Layout, EncodeError> {
        let v5 = !self.properties.is_empty();
        let private = v5 && !extra.is_none();
        let own_properties = if private {
            Some(checked(self.shared_properties(extra).len() + extra.len())?)
        } else {
            None
        };
        let sends_topic = !(private && extra.alias_known && extra.topic_alias.is_some());
        let topic_len = if sends_topic {
            self.topic.as_bytes().len()
        } else {
            0
        };
        let id_len = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties_len = own_properties.map_or(self.properties.len(), |len| {
            variable_byte_integer_len(len) + len as usize
        });
        let remaining = checked(2 + topic_len + id_len + properties_len + self.payload.len())?;
        Ok(Layout {
            remaining,
            own_properties,
            sends_topic,
        })
    }
}

/// The lengths of one delivery.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Remaining Length.
    remaining: u32,
    /// Bytes of the properties where the receiver has some of its own.
    own_properties: Option<u32>,
    sends_topic: bool,
}

fn checked(len: usize) -> Result<u32, EncodeError> {
    u32::try_from(len)
        .ok()
        .filter(|&len| len <= REMAINING_LENGTH_MAX)
        .ok_or(EncodeError::PacketTooLarge { len })
}

fn put_variable_byte_integer(out: &mut BytesMut, value: u32) {
    let (bytes, len) = variable_byte_integer(value);
    out.put_slice(bytes.get(..len).unwrap_or(&bytes));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::ProtocolVersion::{V5, V311};
    use crate::mqtt::PublishProperties;

    fn message() -> Message {
        let topic = TopicName::try_from("t").unwrap();
        Message::new(topic, Bytes::from_static(b"hi"), QoS::AtLeastOnce, false)
    }

    fn head(
        encoded: &EncodedPublish,
        id: Option<u16>,
        extra: &Extra<'_>,
    ) -> Result<Vec<u8>, EncodeError> {
        let mut out = BytesMut::new();
        encoded.write_head(true, id.and_then(PacketId::new), extra, &mut out)?;
        let len = out.len() + encoded.payload().len();
        assert_eq!(encoded.wire_len(extra), Ok(len));
        Ok(out.to_vec())
    }

    #[test]
    fn payload_and_topic_are_shared_with_the_message() {
        let message = message();
        let encoded = EncodedPublish::new(V5, &message, QoS::AtMostOnce, false).unwrap();
        assert_eq!(encoded.payload().as_ptr(), message.payload.as_ptr());
        let topic = |topic: &TopicName| topic.as_bytes().as_ptr();
        assert_eq!(topic(&encoded.topic), topic(&message.topic));
    }

    #[test]
    fn a_delivery_adds_dup_and_packet_id() {
        let none = Extra::default();
        let encoded = EncodedPublish::new(V311, &message(), QoS::AtLeastOnce, true).unwrap();
        assert_eq!(
            head(&encoded, Some(7), &none).unwrap(),
            b"\x3b\x07\0\x01t\0\x07"
        );
        let encoded = EncodedPublish::new(V5, &message(), QoS::AtMostOnce, false).unwrap();
        assert_eq!(head(&encoded, None, &none).unwrap(), b"\x30\x06\0\x01t\0");
    }

    #[test]
    fn mqtt_2_2_1_2_the_packet_id_goes_with_the_qos() {
        for (qos, id) in [(QoS::AtMostOnce, Some(7)), (QoS::ExactlyOnce, None)] {
            let encoded = EncodedPublish::new(V5, &message(), qos, false).unwrap();
            assert!(matches!(
                head(&encoded, id, &Extra::default()),
                Err(EncodeError::Forbidden { .. })
            ));
        }
    }

    #[test]
    fn mqtt_3_3_2_6_a_reduced_expiry_replaces_the_first_one() {
        let mut message = message();
        message.properties = Some(Box::new(PublishProperties {
            payload_is_utf8: true,
            message_expiry: Some(60),
            ..PublishProperties::default()
        }));
        let encoded = EncodedPublish::new(V5, &message, QoS::AtMostOnce, false).unwrap();
        let extra = Extra {
            message_expiry: Some(5),
            topic_alias: Some(9),
            alias_known: true,
            subscription_ids: &[200],
        };
        assert_eq!(
            head(&encoded, None, &extra).unwrap(),
            b"\x30\x12\0\0\x0d\x02\0\0\0\x05\x23\0\x09\x0b\xc8\x01\x01\x01"
        );
        // The shared properties are as they were.
        assert_eq!(
            head(&encoded, None, &Extra::default()).unwrap(),
            b"\x30\x0d\0\x01t\x07\x02\0\0\0\x3c\x01\x01"
        );
    }

    #[test]
    fn before_mqtt_5_nothing_is_added() {
        let extra = Extra {
            message_expiry: Some(5),
            topic_alias: Some(9),
            alias_known: true,
            subscription_ids: &[1],
        };
        let encoded = EncodedPublish::new(V311, &message(), QoS::AtMostOnce, false).unwrap();
        assert_eq!(head(&encoded, None, &extra).unwrap(), b"\x30\x05\0\x01t");
    }

    #[test]
    fn what_the_protocol_cannot_carry_is_refused() {
        let mut message = message();
        let long = bytestring::ByteString::from("x".repeat(65_536));
        message.properties = Some(Box::new(PublishProperties {
            content_type: Some(long),
            ..PublishProperties::default()
        }));
        let refused = EncodedPublish::new(V5, &message, QoS::AtMostOnce, false);
        assert!(matches!(
            refused,
            Err(EncodeError::FieldTooLong { len: 65_536 })
        ));
        assert!(EncodedPublish::new(V311, &message, QoS::AtMostOnce, false).is_ok());
    }
}
