//! A PUBLISH for all who receive it.
//!
//! What differs from one delivery to the next is the first byte's DUP, the lengths, the packet id, and what a receiver
//! has of its own ([`Extra`]). The rest is shared: topic and payload with the message, the properties with every other
//! delivery ([`PropertyBlock`], encoded once). A delivery allocates nothing here and copies topic and properties once,
//! into the outbox.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{REMAINING_LENGTH_MAX, variable_byte_integer, variable_byte_integer_len};
use super::property::{PropertyId, write_block};
use super::publish::{DUP, PACKET_ID_FIELD, first_byte};
use super::writer::measure;
use super::{EncodeError, Message, PacketId, ProtocolVersion, QoS};

/// Identifier and value of a Message Expiry Interval, which stands first in the properties.
const EXPIRY_BYTES: usize = 5;

/// Identifier and value of a Topic Alias.
const ALIAS_BYTES: usize = 3;

/// The properties of a message as its PUBLISH to receivers of one version carries them, the length before them included.
#[derive(Clone, Debug)]
pub struct PropertyBlock {
    /// Empty before MQTT 5.
    bytes: Bytes,
    /// Whether the block begins with a Message Expiry Interval.
    expires: bool,
}

impl PropertyBlock {
    /// Before MQTT 5 there are none.
    pub const BEFORE_V5: Self = Self {
        bytes: Bytes::new(),
        expires: false,
    };

    /// Of a message without properties, in MQTT 5.
    pub const EMPTY: Self = Self {
        bytes: Bytes::from_static(&[0]),
        expires: false,
    };

    /// Encodes those of `message` for receivers of `version`.
    ///
    /// # Errors
    /// Where one has over 65535 bytes or U+0000. No decoded message is like that.
    pub fn new(version: ProtocolVersion, message: &Message) -> Result<Self, EncodeError> {
        if !version.is_v5() {
            return Ok(Self::BEFORE_V5);
        }
        let Some(properties) = &message.properties else {
            return Ok(Self::EMPTY);
        };
        let len = measure(|out| write_block(out, |out| properties.write(out)))?;
        let mut block = BytesMut::with_capacity(len);
        write_block(&mut block, |out| properties.write(out));
        Ok(Self {
            bytes: block.freeze(),
            expires: properties.message_expiry.is_some(),
        })
    }
}

/// A PUBLISH for a (version, QoS, retain): what its deliveries have in common.
#[derive(Clone, Copy, Debug)]
pub struct EncodedPublish<'a> {
    /// Type, QoS and RETAIN; without DUP.
    first: u8,
    qos: QoS,
    topic: &'a [u8],
    properties: &'a PropertyBlock,
    payload: &'a Bytes,
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

impl<'a> EncodedPublish<'a> {
    /// For receivers who get `message` at `qos` with RETAIN as given. `properties` are its own, for their version.
    #[must_use]
    pub fn new(
        properties: &'a PropertyBlock,
        message: &'a Message,
        qos: QoS,
        retain: bool,
    ) -> Self {
        Self {
            first: first_byte(qos, retain),
            qos,
            topic: message.topic.as_bytes(),
            properties,
            payload: &message.payload,
        }
    }

    /// The QoS it was encoded for.
    #[must_use]
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// The payload, shared with the message. It follows what [`Self::write_head`] writes.
    #[must_use]
    pub fn payload(&self) -> &'a Bytes {
        self.payload
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
        let topic = if layout.sends_topic { self.topic } else { &[] };
        // A topic name has at most 65535 bytes; that is checked when it is made.
        out.put_u16(u16::try_from(topic.len()).unwrap_or(u16::MAX));
        out.put_slice(topic);
        if let Some(id) = packet_id {
            out.put_u16(id.get());
        }
        match layout.own_properties {
            None => out.put_slice(&self.properties.bytes),
            Some(len) => {
                put_variable_byte_integer(out, len);
                extra.write(out);
                out.put_slice(self.shared_properties(extra));
            }
        }
        Ok(())
    }

    /// The common properties that stay beside `extra`, without the length before them.
    fn shared_properties(&self, extra: &Extra<'_>) -> &'a [u8] {
        let PropertyBlock { bytes, expires } = self.properties;
        let length_bytes = bytes.iter().take_while(|&&byte| byte & 0x80 != 0).count() + 1;
        let replaced = if *expires && extra.message_expiry.is_some() {
            EXPIRY_BYTES
        } else {
            0
        };
        bytes.get(length_bytes + replaced..).unwrap_or_default()
    }

    fn layout(&self, extra: &Extra<'_>) -> Result<Layout, EncodeError> {
        let v5 = !self.properties.bytes.is_empty();
        let private = v5 && !extra.is_none();
        let own_properties = if private {
            Some(checked(self.shared_properties(extra).len() + extra.len())?)
        } else {
            None
        };
        let sends_topic = !(private && extra.alias_known && extra.topic_alias.is_some());
        let topic_len = if sends_topic { self.topic.len() } else { 0 };
        let id_len = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties_len = own_properties.map_or(self.properties.bytes.len(), |len| {
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
    use crate::topic::TopicName;

    fn message() -> Message {
        let topic = TopicName::try_from("t").unwrap();
        Message::new(topic, Bytes::from_static(b"hi"), QoS::AtLeastOnce, false)
    }

    fn head(
        message: &Message,
        (version, qos, retain): (ProtocolVersion, QoS, bool),
        id: Option<u16>,
        extra: &Extra<'_>,
    ) -> Result<Vec<u8>, EncodeError> {
        let properties = PropertyBlock::new(version, message)?;
        let encoded = EncodedPublish::new(&properties, message, qos, retain);
        let mut out = BytesMut::new();
        encoded.write_head(true, id.and_then(PacketId::new), extra, &mut out)?;
        let len = out.len() + encoded.payload().len();
        assert_eq!(encoded.wire_len(extra), Ok(len));
        Ok(out.to_vec())
    }

    #[test]
    fn payload_and_topic_are_shared_with_the_message() {
        let message = message();
        let properties = PropertyBlock::new(V5, &message).unwrap();
        let encoded = EncodedPublish::new(&properties, &message, QoS::AtMostOnce, false);
        assert_eq!(encoded.payload().as_ptr(), message.payload.as_ptr());
        assert_eq!(encoded.topic.as_ptr(), message.topic.as_bytes().as_ptr());
    }

    #[test]
    fn a_delivery_adds_dup_and_packet_id() {
        let none = Extra::default();
        let with_id = head(&message(), (V311, QoS::AtLeastOnce, true), Some(7), &none);
        assert_eq!(with_id.unwrap(), b"\x3b\x07\0\x01t\0\x07");
        let without = head(&message(), (V5, QoS::AtMostOnce, false), None, &none);
        assert_eq!(without.unwrap(), b"\x30\x06\0\x01t\0");
    }

    #[test]
    fn mqtt_2_2_1_2_the_packet_id_goes_with_the_qos() {
        for (qos, id) in [(QoS::AtMostOnce, Some(7)), (QoS::ExactlyOnce, None)] {
            assert!(matches!(
                head(&message(), (V5, qos, false), id, &Extra::default()),
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
        let form = (V5, QoS::AtMostOnce, false);
        let extra = Extra {
            message_expiry: Some(5),
            topic_alias: Some(9),
            alias_known: true,
            subscription_ids: &[200],
        };
        assert_eq!(
            head(&message, form, None, &extra).unwrap(),
            b"\x30\x12\0\0\x0d\x02\0\0\0\x05\x23\0\x09\x0b\xc8\x01\x01\x01"
        );
        // The shared properties are as they were.
        assert_eq!(
            head(&message, form, None, &Extra::default()).unwrap(),
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
        let form = (V311, QoS::AtMostOnce, false);
        let written = head(&message(), form, None, &extra);
        assert_eq!(written.unwrap(), b"\x30\x05\0\x01t");
    }

    #[test]
    fn what_the_protocol_cannot_carry_is_refused() {
        let mut message = message();
        let long = bytestring::ByteString::from("x".repeat(65_536));
        message.properties = Some(Box::new(PublishProperties {
            content_type: Some(long),
            ..PublishProperties::default()
        }));
        assert!(matches!(
            PropertyBlock::new(V5, &message),
            Err(EncodeError::FieldTooLong { len: 65_536 })
        ));
        assert!(PropertyBlock::new(V311, &message).is_ok());
    }
}
