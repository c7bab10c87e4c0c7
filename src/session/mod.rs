//! QoS delivery state machines, shared by broker and bridge: written once.
//!
//! [`Outbound`] is the sender of QoS 1 and 2 (MQTT 5 section 4.3): which packet ids are in flight, in the order of
//! sending, and what each still waits for. [`Inbound`] is the receiver: which QoS 2 ids are taken and not yet released,
//! and how much of the Receive Maximum is used up. [`PacketIds`] hands out ids, [`TopicAliases`] numbers for topics.
//!
//! They never see packets, sockets, clocks or a store. Whoever owns one sends what its answers say. Where a step must be
//! durable before the next packet may go out, the step is two calls: [`Outbound::received`] when a PUBREC is known and
//! [`Outbound::released`] when it is on stable storage, [`Inbound::release`] and [`Inbound::completed`] likewise.
//!
//! Invariants: an id is in flight once; the order of delivery is the order of [`Outbound::sent`]; nothing here grows
//! beyond the window it was given, or beyond the 65535 ids there are.

mod aliases;
mod inbound;
mod outbound;
mod packet_ids;

pub use aliases::{Alias, TopicAliases};
pub use inbound::{Inbound, Released, Taken};
pub use outbound::{Outbound, Received, Resend};
pub use packet_ids::PacketIds;

use crate::mqtt::{PacketId, ReasonCode};

/// The peer (or, for the first two, the caller) broke the rules of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// As many messages are in flight as the receiver allows: the sender must wait.
    #[error("the window of messages in flight is full")]
    WindowFull,
    /// The id belongs to a delivery that is not finished [MQTT-2.2.1-3].
    #[error("packet id {} is still in use", .0.get())]
    PacketIdInUse(PacketId),
    /// An acknowledgement of something that is not in flight. Harmless after a lost session: the standard has answers
    /// for it (0x92), so this alone is no reason to close.
    #[error("packet id {} is not in flight", .0.get())]
    NotInFlight(PacketId),
    /// The id is in flight, but this is not the packet that comes next for it.
    #[error("packet id {} waits for a different acknowledgement", .0.get())]
    OutOfStep(PacketId),
    /// More QoS 1 and 2 messages without an answer than were allowed [MQTT-3.3.4-9].
    #[error("more messages in flight than the receive maximum allows")]
    ReceiveMaximumExceeded,
}

impl Violation {
    /// What a DISCONNECT says about it.
    #[must_use]
    pub fn reason(self) -> ReasonCode {
        match self {
            Self::ReceiveMaximumExceeded => ReasonCode::ReceiveMaximumExceeded,
            // 0x91 and 0x92 are no reasons of a DISCONNECT (section 3.14.2.1).
            Self::PacketIdInUse(_) | Self::NotInFlight(_) | Self::OutOfStep(_) => {
                ReasonCode::ProtocolError
            }
            Self::WindowFull => ReasonCode::ImplementationSpecificError,
        }
    }
}
