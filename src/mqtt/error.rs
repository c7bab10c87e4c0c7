//! What can be wrong with bytes that arrived, and with a packet that is to be sent.
//!
//! A [`DecodeError`] blames the peer and names the Reason Code to close with; the stream cannot be followed after it.
//! An [`EncodeError`] blames us: nothing was written.

use super::property::PropertyId;
use super::{PacketType, ProtocolVersion, ReasonCode};
use crate::topic::TopicError;

/// Why bytes are not a packet. The peer broke the protocol, or speaks another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Section 1.5.5: a fifth byte of Remaining Length.
    #[error("the remaining length takes more than four bytes")]
    RemainingLength,
    /// [MQTT-1.5.5-1], MQTT 5 only.
    #[error("a length or subscription identifier is written with more bytes than it needs")]
    LengthNotMinimal,
    /// Longer than what we said we take [MQTT-3.1.2-24], [MQTT-3.2.2-15].
    #[error("a packet of {len} bytes arrives where at most {limit} are accepted")]
    PacketTooLarge {
        /// Header and body.
        len: usize,
        /// The limit in force.
        limit: u32,
    },
    /// Packet type 0.
    #[error("packet type 0 does not exist")]
    ReservedPacketType,
    /// [MQTT-3.1.0-1].
    #[error("the first packet of a connection is a CONNECT, not a {packet}")]
    NotConnect {
        /// What came instead.
        packet: PacketType,
    },
    /// CONNACK, SUBACK, UNSUBACK or PINGRESP from a client.
    #[error("only a server sends {packet}")]
    OfServer {
        /// What came.
        packet: PacketType,
    },
    /// AUTH before MQTT 5.
    #[error("{packet} does not exist in MQTT {version}")]
    NotInVersion {
        /// What came.
        packet: PacketType,
        /// What was agreed.
        version: ProtocolVersion,
    },
    /// [MQTT-2.1.3-1].
    #[error("the reserved flag bits of {packet} are {flags:04b}")]
    Flags {
        /// The packet.
        packet: PacketType,
        /// Its four bits.
        flags: u8,
    },
    /// [MQTT-3.3.1-4], [MQTT-3.1.2-12].
    #[error("QoS 3 does not exist")]
    QoS,
    /// Section 3.8.3.1.
    #[error("a subscription asks for QoS 3, which does not exist")]
    SubscriptionQoS,
    /// [MQTT-3.3.1-2].
    #[error("DUP is set on a PUBLISH with QoS 0")]
    DupAtQoS0,
    /// [MQTT-3.1.2-1]: neither `MQTT` nor `MQIsdp`.
    #[error("the protocol name is not MQTT")]
    ProtocolName,
    /// [MQTT-3.1.2-2]: answered with return code 1, the 0x84 of MQTT 5.
    #[error("protocol level {level} is not supported")]
    UnsupportedVersion {
        /// The level asked for.
        level: u8,
    },
    /// [MQTT-3.1.2-3], [MQTT-3.2.2-1].
    #[error("a reserved flag of {packet} is set")]
    ReservedFlag {
        /// CONNECT or CONNACK.
        packet: PacketType,
    },
    /// [MQTT-3.1.2-11], [MQTT-3.1.2-13].
    #[error("will QoS or will retain is set without a will")]
    WillFlags,
    /// MQTT 3.1.1 [MQTT-3.1.2-22].
    #[error("a password comes without a user name")]
    PasswordWithoutUserName,
    /// MQTT 5 section 3.1.2.11.10.
    #[error("authentication data comes without an authentication method")]
    AuthenticationDataAlone,
    /// MQTT 5 section 3.15.2.2.2.
    #[error("AUTH does not name its authentication method")]
    AuthenticationMethodMissing,
    /// [MQTT-3.2.2-6]: a refusal has no session.
    #[error("CONNACK refuses the connection and says session present")]
    SessionPresentRefused,
    /// [MQTT-2.2.1-3].
    #[error("packet identifier 0 does not exist")]
    PacketIdZero,
    /// A field goes on after the end of the packet.
    #[error("the packet ends in the middle of a field")]
    Truncated,
    /// Bytes after the last field.
    #[error("{count} bytes follow the last field of {packet}")]
    TrailingBytes {
        /// The packet.
        packet: PacketType,
        /// How many.
        count: usize,
    },
    /// [MQTT-1.5.4-1].
    #[error("a string is not well-formed UTF-8")]
    NotUtf8,
    /// [MQTT-1.5.4-2].
    #[error("a string contains the null character")]
    NullCharacter,
    /// [MQTT-3.3.2-2], [MQTT-3.3.2-14], [MQTT-4.7.3-1].
    #[error("the topic of a message is not valid: {0}")]
    Topic(TopicError),
    /// Neither a topic nor an alias that stands for it (section 3.3.2.1).
    #[error("PUBLISH has no topic")]
    TopicMissing,
    /// Section 2.2.2.2.
    #[error("property {0:#04x} does not exist")]
    UnknownProperty(u8),
    /// Section 2.2.2.2.
    #[error("{packet} cannot carry the property {property}")]
    PropertyNotAllowed {
        /// Where it stood.
        packet: PacketType,
        /// What stood there.
        property: PropertyId,
    },
    /// A single property twice.
    #[error("the property {property} comes twice")]
    PropertyTwice {
        /// Which.
        property: PropertyId,
    },
    /// 0 or 2 where only 1 and such are meant.
    #[error("the property {property} cannot be {value}")]
    PropertyValue {
        /// Which.
        property: PropertyId,
        /// What it was.
        value: u32,
    },
    /// Not one that the packet may carry.
    #[error("{packet} cannot carry the reason code {code:#04x}")]
    ReasonCode {
        /// Where it stood.
        packet: PacketType,
        /// The byte.
        code: u8,
    },
    /// [MQTT-3.8.3-2], [MQTT-3.10.3-2], and a SUBACK that answers nothing.
    #[error("{packet} has an empty payload")]
    EmptyPayload {
        /// The packet.
        packet: PacketType,
    },
    /// [MQTT-3.8.3-5], MQTT 3.1.1 [MQTT-3.8.3-4].
    #[error("the subscription options {0:#04x} have reserved bits set")]
    SubscriptionOptions(u8),
    /// Section 3.8.3.1.
    #[error("retain handling 3 does not exist")]
    RetainHandling,
    /// [MQTT-3.8.3-4].
    #[error("no local is set on a shared subscription")]
    NoLocalShared,
}

impl DecodeError {
    /// What to close the connection with (MQTT 5 section 4.13); before MQTT 5 it goes to the log only.
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::UnsupportedVersion { .. } => {
                ReasonCode::UnsupportedProtocolVersion
            }
            Self::PropertyValue {
                property: PropertyId::TopicAlias,
                ..
            } => ReasonCode::TopicAliasInvalid,
            Self::NotConnect { .. }
            | Self::OfServer { .. }
            | Self::NotInVersion { .. }
            | Self::AuthenticationDataAlone
            | Self::AuthenticationMethodMissing
            | Self::SessionPresentRefused
            | Self::PacketIdZero
            | Self::TopicMissing
            | Self::PropertyTwice { .. }
            | Self::PropertyValue { .. }
            | Self::ReasonCode { .. }
            | Self::EmptyPayload { .. }
            | Self::SubscriptionQoS
            | Self::RetainHandling
            | Self::NoLocalShared => ReasonCode::ProtocolError,
            _ => ReasonCode::MalformedPacket,
        }
    }
}

/// Why a packet cannot be written. Nothing was written; the packet was made wrongly, or is too large for the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A string or binary field over 65535 bytes.
    #[error("a field of {len} bytes does not fit its two byte length")]
    FieldTooLong {
        /// Its bytes.
        len: usize,
    },
    /// A body over [`super::REMAINING_LENGTH_MAX`].
    #[error("a packet of {len} bytes is more than the protocol can carry")]
    PacketTooLarge {
        /// Its bytes.
        len: usize,
    },
    /// [MQTT-1.5.4-2].
    #[error("a string contains the null character")]
    NullCharacter,
    /// AUTH, a DISCONNECT with a reason, or a topic alias without a topic before MQTT 5.
    #[error("MQTT {version} cannot say this with a {packet}")]
    NotInVersion {
        /// The packet.
        packet: PacketType,
        /// The version it was to be written in.
        version: ProtocolVersion,
    },
    /// A value that a decoder would refuse, such as a Receive Maximum of 0 or a PUBLISH with QoS 1 without an id.
    #[error("{field} has a value that the standard forbids")]
    Forbidden {
        /// In the standard's words.
        field: &'static str,
    },
    /// A reason that the packet cannot carry.
    #[error("{packet} cannot carry the reason code {:#04x}", reason.byte())]
    ReasonCode {
        /// The packet.
        packet: PacketType,
        /// The reason it was given.
        reason: ReasonCode,
    },
}
