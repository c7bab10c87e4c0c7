//! The Application Message: what is routed and stored, free of packet ids, aliases and versions.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::property::{Properties, PropertyId};
use super::reader::Reader;
use super::writer::{Writer, measure};
use super::{DecodeError, EncodeError, PacketId, PacketType, Publish, QoS, UserProperties};
use crate::topic::TopicName;

/// What a publisher said: topic, payload, QoS, retain flag and the properties that travel with it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub topic: TopicName,
    /// What.
    pub payload: Bytes,
    /// As published.
    pub qos: QoS,
    /// As published.
    pub retain: bool,
    /// Present only where the publisher sent one (MQTT 5); boxed because most messages have none.
    pub properties: Option<Box<PublishProperties>>,
}

/// The properties of a PUBLISH that travel with the message (MQTT 5 section 3.3.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// Payload Format Indicator: true for UTF-8.
    pub payload_is_utf8: bool,
    /// Message Expiry Interval in seconds; 0 is legal.
    pub message_expiry: Option<u32>,
    /// Content Type.
    pub content_type: Option<ByteString>,
    /// Response Topic.
    pub response_topic: Option<TopicName>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// User Properties, in order.
    pub user_properties: UserProperties,
}

impl Message {
    /// A message without properties.
    #[must_use]
    pub fn new(topic: TopicName, payload: Bytes, qos: QoS, retain: bool) -> Self {
        Self {
            topic,
            payload,
            qos,
            retain,
            properties: None,
        }
    }

    /// A copy that shares nothing with the buffer it was read into; for what is kept long.
    #[must_use]
    pub fn compact(&self) -> Self {
        let (topic, payload) = self.topic.compact_with(&self.payload);
        Self {
            topic,
            payload,
            properties: self
                .properties
                .as_ref()
                .map(|properties| Box::new(properties.compact())),
            ..*self
        }
    }

    /// The PUBLISH that carries it to one receiver, with its own QoS and retain flag. Many receivers share an
    /// [`super::EncodedPublish`] instead.
    #[must_use]
    pub fn into_publish(self, packet_id: Option<PacketId>) -> Publish {
        Publish {
            dup: false,
            packet_id,
            qos: self.qos,
            retain: self.retain,
            topic: Some(self.topic),
            topic_alias: None,
            subscription_ids: Vec::new(),
            properties: self.properties,
            payload: self.payload,
        }
    }
}

impl Publish {
    /// The message in it; `None` where only a topic alias stands for the topic. Fill in `topic` first.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        self.clone().into_message()
    }

    /// As [`Self::message`], without a copy of the properties.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        Some(Message {
            topic: self.topic?,
            payload: self.payload,
            qos: self.qos,
            retain: self.retain,
            properties: self.properties,
        })
    }
}

impl PublishProperties {
    /// Appends the properties as MQTT 5 writes them, one after another, without the length before them. This is also
    /// how they are stored.
    ///
    /// # Errors
    /// A string of over 65535 bytes or with U+0000, which no decoder let in. Nothing is written then.
    pub fn encode_properties(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let len = measure(|out| self.write(out))?;
        out.reserve(len);
        self.write(out);
        Ok(())
    }

    /// Reads what [`Self::encode_properties`] wrote; strings and data are slices of `bytes`.
    ///
    /// # Errors
    /// Whatever a PUBLISH with these properties would be refused for; the identifiers that do not travel with the
    /// message are refused too.
    pub fn decode_properties(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut taken = Self::default();
        let mut properties = Properties::of(Reader::new(bytes, bytes), PacketType::Publish);
        while let Some(id) = properties.next()? {
            if !taken.take(id, &mut properties)? {
                return properties.not_allowed();
            }
        }
        Ok(taken)
    }

    /// Takes the value of `id` if it is one of these properties, and says whether it was.
    pub(super) fn take(
        &mut self,
        id: PropertyId,
        properties: &mut Properties<'_>,
    ) -> Result<bool, DecodeError> {
        match id {
            PropertyId::PayloadFormatIndicator => self.payload_is_utf8 = properties.flag()?,
            PropertyId::MessageExpiryInterval => self.message_expiry = Some(properties.u32()?),
            PropertyId::ContentType => self.content_type = Some(properties.string()?),
            PropertyId::ResponseTopic => self.response_topic = Some(properties.topic()?),
            PropertyId::CorrelationData => self.correlation_data = Some(properties.binary()?),
            PropertyId::UserProperty => self.user_properties.push(properties.user_property()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// For [`Message::properties`]: `None` where there is nothing to carry.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// The Message Expiry Interval stands first, so that an [`super::EncodedPublish`] can leave it out without writing
    /// the rest anew.
    pub(super) fn write(&self, out: &mut dyn Writer) {
        out.property_u32(PropertyId::MessageExpiryInterval, self.message_expiry);
        out.property_flag(
            PropertyId::PayloadFormatIndicator,
            self.payload_is_utf8,
            false,
        );
        out.property_string(PropertyId::ContentType, self.content_type.as_ref());
        out.property_binary(
            PropertyId::ResponseTopic,
            self.response_topic.as_ref().map(TopicName::as_bytes),
        );
        out.property_binary(PropertyId::CorrelationData, self.correlation_data.as_ref());
        out.user_properties(&self.user_properties);
    }

    fn compact(&self) -> Self {
        Self {
            payload_is_utf8: self.payload_is_utf8,
            message_expiry: self.message_expiry,
            content_type: self
                .content_type
                .as_ref()
                .map(|text| ByteString::from(&**text)),
            response_topic: self.response_topic.as_ref().map(TopicName::compact),
            correlation_data: self
                .correlation_data
                .as_ref()
                .map(|bytes| Bytes::copy_from_slice(bytes)),
            user_properties: compact_pairs(&self.user_properties),
        }
    }
}

/// User Properties with storage of their own.
pub(super) fn compact_pairs(pairs: &UserProperties) -> UserProperties {
    pairs
        .iter()
        .map(|(name, value)| (ByteString::from(&**name), ByteString::from(&**value)))
        .collect()
}
