//! PUBLISH on the wire (section 3.3 of both standards).

use super::property::{Properties, PropertyId, write_block};
use super::reader::Reader;
use super::writer::Writer;
use super::{
    DecodeError, EncodeError, PacketType, ProtocolVersion, Publish, PublishProperties, QoS,
};
use crate::topic::TopicError;

pub(super) const DUP: u8 = 0b1000;
pub(super) const QOS_SHIFT: u8 = 1;
pub(super) const RETAIN: u8 = 0b0001;

/// The first byte, without DUP.
pub(super) fn first_byte(qos: QoS, retain: bool) -> u8 {
    PacketType::Publish.first_byte() | (qos as u8) << QOS_SHIFT | if retain { RETAIN } else { 0 }
}

impl Publish {
    /// `flags` passed the checks of the fixed header.
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
        flags: u8,
    ) -> Result<Self, DecodeError> {
        let qos = QoS::from_bits(flags >> QOS_SHIFT & 0b11).ok_or(DecodeError::QoS)?;
        let topic = match reader.topic() {
            Ok(topic) => Some(topic),
            Err(DecodeError::Topic(TopicError::Empty)) if version.is_v5() => None,
            Err(error) => return Err(error),
        };
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => Some(reader.packet_id()?),
        };
        let mut publish = Self {
            dup: flags & DUP != 0,
            packet_id,
            qos,
            retain: flags & RETAIN != 0,
            topic,
            topic_alias: None,
            subscription_ids: Vec::new(),
            properties: None,
            payload: bytes::Bytes::new(),
        };
        if version.is_v5() {
            publish.decode_properties(reader)?;
        }
        publish.payload = reader.remainder();
        Ok(publish)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut properties = Properties::open(reader, PacketType::Publish)?;
        if !properties.is_empty() {
            let mut with_message = PublishProperties::default();
            while let Some(id) = properties.next()? {
                match id {
                    PropertyId::TopicAlias => {
                        self.topic_alias = Some(properties.u16_above_zero()?);
                    }
                    PropertyId::SubscriptionIdentifier => {
                        self.subscription_ids.push(properties.subscription_id()?);
                    }
                    _ if with_message.take(id, &mut properties)? => {}
                    _ => return properties.not_allowed(),
                }
            }
            self.properties = with_message.boxed();
        }
        if self.topic.is_none() && self.topic_alias.is_none() {
            return Err(DecodeError::TopicMissing);
        }
        Ok(())
    }

    /// DUP is left out at QoS 0, where it means nothing.
    pub(super) fn first_byte(&self) -> u8 {
        let dup = self.dup && self.qos != QoS::AtMostOnce;
        first_byte(self.qos, self.retain) | if dup { DUP } else { 0 }
    }

    pub(super) fn write(&self, version: ProtocolVersion, out: &mut dyn Writer) {
        match &self.topic {
            Some(topic) => out.binary(topic.as_bytes()),
            None if version.is_v5() && self.topic_alias.is_some() => out.u16(0),
            None => out.refuse(EncodeError::Forbidden {
                field: "a PUBLISH without a topic",
            }),
        }
        match (self.qos, self.packet_id) {
            (QoS::AtMostOnce, None) => {}
            (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(id)) => out.packet_id(id),
            _ => out.refuse(EncodeError::Forbidden {
                field: PACKET_ID_FIELD,
            }),
        }
        if version.is_v5() {
            write_block(out, |out| {
                if let Some(properties) = &self.properties {
                    properties.write(out);
                }
                out.property_u16_above_zero(
                    PropertyId::TopicAlias,
                    "Topic Alias",
                    self.topic_alias,
                );
                for &id in &self.subscription_ids {
                    out.property_subscription_id(id);
                }
            });
        }
        out.put(&self.payload);
    }
}

/// What [`EncodeError::Forbidden`] says about an id at QoS 0, or none above.
pub(super) const PACKET_ID_FIELD: &str = "the packet identifier of a PUBLISH";
