//! The MQTT codec: bytes to packets and back, for 3.1, 3.1.1 and 5.0. No I/O, no clock, no state beyond one frame.
//!
//! One struct per packet for all versions; the version is an argument. What a version does not have is empty in its
//! packets: a 3.1.1 packet has no properties and its reason codes are the ones of MQTT 5 with the same meaning.
//!
//! Invariants: the decoder checks the packet size limit before it waits for, or allocates, a single byte of the body; it never
//! panics on any input; what it returns are slices of the input, so whatever is kept for long is copied first
//! ([`Message::compact`]).

mod acknowledge;
mod connack;
mod connect;
mod decoder;
mod disconnect;
mod encoded;
mod encoder;
mod error;
mod header;
mod message;
mod oversized;
mod packet;
mod plain;
mod property;
mod publish;
mod reader;
mod reason;
mod subscribe;
mod subscription_ids;
mod unsubscribe;
mod writer;

pub use decoder::{Decoder, decode};
pub use encoded::{EncodedPublish, Extra, PropertyBlock};
pub use error::{DecodeError, EncodeError};
pub use header::{
    FIXED_HEADER_BYTES_MAX, Frame, PACKET_BYTES_MAX, PacketType, REMAINING_LENGTH_MAX, packet_len,
};
pub use message::{Message, PublishProperties};
pub use oversized::{Incoming, Oversized};
pub use packet::{
    Acknowledge, Auth, Connack, Connect, Disconnect, Packet, Publish, RetainHandling, Suback,
    Subscribe, Subscription, Unsuback, Unsubscribe, UserProperties, Will,
};
pub use plain::{Plain, PlainPacket, PlainPublish, write_acknowledge};
pub use property::PropertyId;
pub use reason::ReasonCode;
pub use subscription_ids::SubscriptionIds;

use std::fmt;
use std::num::NonZeroU16;

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// MQTT 3.1, protocol name `MQIsdp`, level 3. Handled as 3.1.1, except for what its peers may do: set bits that it
    /// calls unused, set DUP when they send a request again, and announce a user name or password that does not come.
    V31,
    /// MQTT 3.1.1, level 4.
    V311,
    /// MQTT 5.0, level 5.
    V5,
}

impl ProtocolVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// The level that a CONNECT says.
    #[must_use]
    pub fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The name that a CONNECT says.
    #[must_use]
    pub fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// Whether packets of this version carry properties and reason codes.
    #[must_use]
    pub fn is_v5(self) -> bool {
        self == Self::V5
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// Quality of Service: how sure a delivery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0.
    #[default]
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl QoS {
    /// From the two bits of the standard; 3 is malformed.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A Packet Identifier: 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// `None` for 0, which the standard forbids [MQTT-2.2.1-3].
    #[must_use]
    pub fn new(id: u16) -> Option<Self> {
        NonZeroU16::new(id).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }
}
