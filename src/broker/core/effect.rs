//! What the core wants done: values that the shell carries out, in order.

use std::rc::Rc;

use crate::mqtt::{Message, Packet, PacketId, QoS, ReasonCode, SubscriptionIds};
use crate::store::{Record, Seq};

/// A network connection, by the shell's slab. Numbers are dense, and one is not given out again before
/// [`super::Core::closed`] was called for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub usize);

/// A bridge's log, in the order of attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub usize);

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a control packet.
    Send {
        /// To whom.
        conn: ConnId,
        /// What.
        packet: Packet,
    },
    /// Send a PUBLISH. The deliveries of one publish follow each other and share one message, so that it is encoded once
    /// for a (version, QoS, retain).
    Deliver {
        /// To whom.
        conn: ConnId,
        /// What; its own QoS and retain flag are those of the publisher and not for the wire.
        message: Rc<Message>,
        /// QoS of this delivery.
        qos: QoS,
        /// RETAIN of this delivery.
        retain: bool,
        /// Whether it may have been sent before.
        dup: bool,
        /// Present for QoS 1 and 2.
        packet_id: Option<PacketId>,
        /// Those of the subscriptions that matched; empty in 3.1.1.
        subscription_ids: SubscriptionIds,
    },
    /// Close once all that was sent before is flushed. Then say [`super::Core::closed`].
    Close {
        /// Whom.
        conn: ConnId,
        /// Why, for the log.
        cause: CloseCause,
    },
    /// Append to a bridge's log.
    Append {
        /// Which.
        log: LogId,
        /// The position it must get.
        seq: Seq,
        /// What.
        record: Record,
    },
    /// The newest value of one of the gateway's own `$` topics, mapped for the bridge of this log.
    Latest {
        /// Whose.
        log: LogId,
        /// What.
        message: Message,
    },
}

/// Why the core closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseCause {
    /// The client said DISCONNECT.
    #[error("the client disconnected")]
    Disconnected,
    /// Nothing was heard for one and a half times the keep alive [MQTT-3.1.2-22].
    #[error("nothing heard for one and a half times the keep alive")]
    KeepAlive,
    /// CONNECT was refused.
    #[error("CONNECT refused: {0:?}")]
    Refused(ReasonCode),
    /// The broker ends.
    #[error("the broker ends")]
    ShuttingDown,
    /// Another connection came with the same client id [MQTT-3.1.4-3].
    #[error("another connection came with the same client id")]
    TakenOver,
    /// The client broke a rule.
    #[error("the client broke a rule of the protocol: {0:?}")]
    Violated(ReasonCode),
}

impl CloseCause {
    /// What a DISCONNECT of the server says about it; `None` where none is sent.
    #[must_use]
    pub fn reason(self) -> Option<ReasonCode> {
        match self {
            Self::Disconnected | Self::Refused(_) => None,
            Self::KeepAlive => Some(ReasonCode::KeepAliveTimeout),
            Self::ShuttingDown => Some(ReasonCode::ServerShuttingDown),
            Self::TakenOver => Some(ReasonCode::SessionTakenOver),
            Self::Violated(reason) => Some(reason),
        }
    }
}
