//! Properties of MQTT 5 (section 2.2.2): a length, then identifiers with their values.
//!
//! Reading: [`Properties`] hands out one identifier after another and refuses a second of a single property; the packet
//! takes the value, so each packet's own file lists what it may carry. Writing: a property that says what its absence
//! says is left out.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::reader::Reader;
use super::writer::{Measure, Writer};
use super::{DecodeError, EncodeError, PacketType, UserProperties};

/// Identifies a property (section 2.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the standard's own")]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQoS = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifiersAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

impl PropertyId {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::PayloadFormatIndicator,
            0x02 => Self::MessageExpiryInterval,
            0x03 => Self::ContentType,
            0x08 => Self::ResponseTopic,
            0x09 => Self::CorrelationData,
            0x0B => Self::SubscriptionIdentifier,
            0x11 => Self::SessionExpiryInterval,
            0x12 => Self::AssignedClientIdentifier,
            0x13 => Self::ServerKeepAlive,
            0x15 => Self::AuthenticationMethod,
            0x16 => Self::AuthenticationData,
            0x17 => Self::RequestProblemInformation,
            0x18 => Self::WillDelayInterval,
            0x19 => Self::RequestResponseInformation,
            0x1A => Self::ResponseInformation,
            0x1C => Self::ServerReference,
            0x1F => Self::ReasonString,
            0x21 => Self::ReceiveMaximum,
            0x22 => Self::TopicAliasMaximum,
            0x23 => Self::TopicAlias,
            0x24 => Self::MaximumQoS,
            0x25 => Self::RetainAvailable,
            0x26 => Self::UserProperty,
            0x27 => Self::MaximumPacketSize,
            0x28 => Self::WildcardSubscriptionAvailable,
            0x29 => Self::SubscriptionIdentifiersAvailable,
            0x2A => Self::SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// Whether it may come more than once. A Subscription Identifier may in a PUBLISH only; SUBSCRIBE checks its own.
    fn repeats(self) -> bool {
        matches!(self, Self::UserProperty | Self::SubscriptionIdentifier)
    }
}

impl fmt::Display for PropertyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PayloadFormatIndicator => "Payload Format Indicator",
            Self::MessageExpiryInterval => "Message Expiry Interval",
            Self::ContentType => "Content Type",
            Self::ResponseTopic => "Response Topic",
            Self::CorrelationData => "Correlation Data",
            Self::SubscriptionIdentifier => "Subscription Identifier",
            Self::SessionExpiryInterval => "Session Expiry Interval",
            Self::AssignedClientIdentifier => "Assigned Client Identifier",
            Self::ServerKeepAlive => "Server Keep Alive",
            Self::AuthenticationMethod => "Authentication Method",
            Self::AuthenticationData => "Authentication Data",
            Self::RequestProblemInformation => "Request Problem Information",
            Self::WillDelayInterval => "Will Delay Interval",
            Self::RequestResponseInformation => "Request Response Information",
            Self::ResponseInformation => "Response Information",
            Self::ServerReference => "Server Reference",
            Self::ReasonString => "Reason String",
            Self::ReceiveMaximum => "Receive Maximum",
            Self::TopicAliasMaximum => "Topic Alias Maximum",
            Self::TopicAlias => "Topic Alias",
            Self::MaximumQoS => "Maximum QoS",
            Self::RetainAvailable => "Retain Available",
            Self::UserProperty => "User Property",
            Self::MaximumPacketSize => "Maximum Packet Size",
            Self::WildcardSubscriptionAvailable => "Wildcard Subscription Available",
            Self::SubscriptionIdentifiersAvailable => "Subscription Identifiers Available",
            Self::SharedSubscriptionAvailable => "Shared Subscription Available",
        })
    }
}

/// The properties of one packet, one after another. After [`Self::next`] the value is taken with the method of its
/// type, before the next one is asked for.
#[derive(Debug)]
pub(super) struct Properties<'a> {
    reader: Reader<'a>,
    packet: PacketType,
    /// A bit for each identifier that came; they end at 0x2A.
    seen: u64,
    current: PropertyId,
}

impl<'a> Properties<'a> {
    /// The block at the front of `reader`, with its length.
    pub(super) fn open(reader: &mut Reader<'a>, packet: PacketType) -> Result<Self, DecodeError> {
        let len = reader.variable_byte_integer()?;
        Ok(Self::of(reader.split(len)?, packet))
    }

    /// All of `reader` is properties, without a length before them.
    pub(super) fn of(reader: Reader<'a>, packet: PacketType) -> Self {
        Self {
            reader,
            packet,
            seen: 0,
            current: PropertyId::UserProperty,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    pub(super) fn next(&mut self) -> Result<Option<PropertyId>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        // The identifier is a Variable Byte Integer, but none of two bytes is defined.
        let byte = self.reader.u8()?;
        let id = PropertyId::from_byte(byte).ok_or(DecodeError::UnknownProperty(byte))?;
        let bit = 1 << byte;
        if self.seen & bit != 0 && !id.repeats() {
            return Err(DecodeError::PropertyTwice { property: id });
        }
        self.seen |= bit;
        self.current = id;
        Ok(Some(id))
    }

    /// The error for a property that this packet does not have.
    pub(super) fn not_allowed<T>(&self) -> Result<T, DecodeError> {
        Err(DecodeError::PropertyNotAllowed {
            packet: self.packet,
            property: self.current,
        })
    }

    fn refuse_value<T>(&self, value: u32) -> Result<T, DecodeError> {
        Err(DecodeError::PropertyValue {
            property: self.current,
            value,
        })
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => self.refuse_value(u32::from(other)),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.reader.u16()
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.reader.u32()
    }

    pub(super) fn u16_above_zero(&mut self) -> Result<u16, DecodeError> {
        match self.reader.u16()? {
            0 => self.refuse_value(0),
            value => Ok(value),
        }
    }

    pub(super) fn u32_above_zero(&mut self) -> Result<u32, DecodeError> {
        match self.reader.u32()? {
            0 => self.refuse_value(0),
            value => Ok(value),
        }
    }

    pub(super) fn string(&mut self) -> Result<ByteString, DecodeError> {
        self.reader.string()
    }

    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        self.reader.binary()
    }

    pub(super) fn topic(&mut self) -> Result<crate::topic::TopicName, DecodeError> {
        self.reader.topic()
    }

    /// A Subscription Identifier, 1 to 268435455.
    pub(super) fn subscription_id(&mut self) -> Result<u32, DecodeError> {
        match self.reader.variable_byte_integer()? {
            0 => self.refuse_value(0),
            id => Ok(id),
        }
    }

    /// The error for a Subscription Identifier that comes again where one is allowed.
    pub(super) fn twice<T>(&self) -> Result<T, DecodeError> {
        Err(DecodeError::PropertyTwice {
            property: self.current,
        })
    }

    pub(super) fn user_property(&mut self) -> Result<(ByteString, ByteString), DecodeError> {
        Ok((self.reader.string()?, self.reader.string()?))
    }
}

/// Writes a property block: what `write` writes, with its length before it.
pub(super) fn write_block(out: &mut dyn Writer, write: impl Fn(&mut dyn Writer)) {
    match super::writer::measure(&write) {
        Ok(len) => {
            out.variable_byte_integer(len);
            write(out);
        }
        Err(error) => out.refuse(error),
    }
}

/// Whether `write` writes nothing, so that the block can be left off where the standard allows it.
pub(super) fn is_empty(write: impl Fn(&mut dyn Writer)) -> bool {
    let mut measure = Measure::default();
    write(&mut measure);
    measure.is_empty()
}

/// Each method writes one property where there is something to say.
impl dyn Writer + '_ {
    fn property(&mut self, id: PropertyId) {
        self.u8(id as u8);
    }

    /// A flag whose absence means `default`.
    pub(super) fn property_flag(&mut self, id: PropertyId, value: bool, default: bool) {
        if value != default {
            self.property(id);
            self.u8(u8::from(value));
        }
    }

    pub(super) fn property_u16(&mut self, id: PropertyId, value: Option<u16>) {
        if let Some(value) = value {
            self.property(id);
            self.u16(value);
        }
    }

    pub(super) fn property_u32(&mut self, id: PropertyId, value: Option<u32>) {
        if let Some(value) = value {
            self.property(id);
            self.u32(value);
        }
    }

    /// Refuses 0, which the standard forbids for this property.
    pub(super) fn property_u16_above_zero(
        &mut self,
        id: PropertyId,
        field: &'static str,
        value: Option<u16>,
    ) {
        if value == Some(0) {
            self.refuse(EncodeError::Forbidden { field });
        }
        self.property_u16(id, value);
    }

    /// Refuses 0, which the standard forbids for this property.
    pub(super) fn property_u32_above_zero(
        &mut self,
        id: PropertyId,
        field: &'static str,
        value: Option<u32>,
    ) {
        if value == Some(0) {
            self.refuse(EncodeError::Forbidden { field });
        }
        self.property_u32(id, value);
    }

    pub(super) fn property_string(&mut self, id: PropertyId, value: Option<&ByteString>) {
        if let Some(value) = value {
            self.property(id);
            self.string(value);
        }
    }

    pub(super) fn property_binary(&mut self, id: PropertyId, value: Option<&Bytes>) {
        if let Some(value) = value {
            self.property(id);
            self.binary(value);
        }
    }

    pub(super) fn property_subscription_id(&mut self, id: u32) {
        if id == 0 {
            self.refuse(EncodeError::Forbidden {
                field: "Subscription Identifier",
            });
        }
        self.property(PropertyId::SubscriptionIdentifier);
        self.variable_byte_integer(id as usize);
    }

    pub(super) fn user_properties(&mut self, properties: &UserProperties) {
        for (name, value) in properties {
            self.property(PropertyId::UserProperty);
            self.string(name);
            self.string(value);
        }
    }
}
