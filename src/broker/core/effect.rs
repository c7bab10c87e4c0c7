//! What the core wants done: values that the shell carries out, in order.

use std::rc::Rc;

use bytestring::ByteString;

use crate::auth::Principal;
use crate::mqtt::{Message, Packet, PacketId, QoS, ReasonCode, SubscriptionIds};
use crate::store::{Mark, Outcome, Record, Seq, SessionNumber, StateChange, Want};
use crate::topic::{TopicFilter, TopicName};

/// A network connection, by the shell's slab. Numbers are dense, and one is not given out again before
/// [`super::Core::closed`] was called for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub usize);

/// A part of the store that an answer may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogId {
    /// A bridge's log, in the order of attachment.
    Bridge(usize),
    /// The session log, which all sessions that are kept share.
    Sessions,
    /// What is no queue: sessions, subscriptions, retained messages.
    State,
}

/// Messages that a [`Effect::Fetch`] asks for at most.
pub const FETCH_MESSAGES: usize = 128;
/// Bytes that a [`Effect::Fetch`] asks for, about.
pub const FETCH_BYTES: usize = 256 << 10;

/// A message for a part of the gateway that acts on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// To which part.
    pub conn: ConnId,
    /// What.
    pub message: Rc<Message>,
    /// RETAIN as it was published.
    pub retain: bool,
    /// Who asks.
    pub publisher: Publisher,
}

/// Who published a message, as parts of the gateway that act on it need to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Publisher {
    /// Its ClientId.
    pub client_id: ByteString,
    /// Its user, and what that may do.
    pub principal: Principal,
    /// It has sent the message before and knows of no answer (DUP), so this may be the second time that it comes.
    pub sends_again: bool,
}

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
    /// A QoS 0 message that was just published, for a part of the gateway that acts on it ([`super::Origin::Device`]) or a
    /// person who looks ([`super::Origin::Console`]): they are told who publishes.
    Command(Box<Command>),
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
        /// To be kept in the same commit: a QoS 2 message of a session that is kept.
        mark: Option<Mark>,
    },
    /// A message did not go into a bridge's log: count it there.
    NotTaken {
        /// Which.
        log: LogId,
        /// Nobody could be told so: devices, the gateway itself, wills, QoS 0. Everybody else got it.
        is_lost: bool,
    },
    /// Append to the session log.
    Keep {
        /// The position it must get.
        seq: Seq,
        /// What. Its own QoS and retain flag are those of the publisher.
        message: Rc<Message>,
        /// Who wants it: at least one.
        wants: Vec<Want>,
        /// To be kept in the same commit.
        mark: Option<Mark>,
        /// It goes to all of them at once and at QoS 1, so their PUBACKs may come before it needs to be written.
        hold: bool,
    },
    /// A session does not want a message any more.
    Done {
        /// Who.
        session: SessionNumber,
        /// Which.
        seq: Seq,
        /// Why.
        outcome: Outcome,
    },
    /// A client's PUBREC came. Once that is committed: [`super::Core::committed_received`].
    Received {
        /// Whose.
        session: SessionNumber,
        /// For which message.
        seq: Seq,
    },
    /// Messages of a session up to here may have been sent.
    Sent {
        /// Whose.
        session: SessionNumber,
        /// The highest of them.
        seq: Seq,
    },
    /// A session does not want the oldest of its messages that were never sent: the queue was full.
    Skip {
        /// Whose.
        session: SessionNumber,
        /// How many, at least 1.
        count: u64,
    },
    /// Remove a mark from one log. Once that is committed: [`super::Core::unmarked`].
    Unmark {
        /// Which log; never [`LogId::State`], which is told by [`Self::State`].
        log: LogId,
        /// What.
        mark: Mark,
    },
    /// The session has ended: the session log may forget all that it wants.
    Forget {
        /// Which.
        session: SessionNumber,
    },
    /// Read what a session wants from the session log, at most [`FETCH_MESSAGES`] and about [`FETCH_BYTES`]; then call
    /// [`super::Core::fetched`], exactly once. Where the log cannot be read now, that is after it could. One at a time for
    /// a session.
    Fetch {
        /// Whose.
        session: SessionNumber,
        /// From the next position on.
        after: Seq,
    },
    /// A change of what is no queue. Positions count from 1 since the start.
    State {
        /// The position it gets, for [`super::Core::covered`].
        seq: Seq,
        /// What.
        change: Box<StateChange>,
        /// Somebody waits for it, or a crash without it would do something wrong: not only some seconds later.
        urgent: bool,
    },
    /// Read nothing more from this connection, packets that were decoded but not handed in included, until
    /// [`Self::Resume`].
    Pause {
        /// Whom.
        conn: ConnId,
    },
    /// Read on.
    Resume {
        /// Whom.
        conn: ConnId,
    },
    /// The newest value of one of the gateway's own `$` topics, mapped for the bridge of this log.
    Latest {
        /// Whose.
        log: LogId,
        /// What.
        message: Message,
    },
    /// For the log: a client tried what it may not do. At most one a minute of each session.
    Refused(Box<Refused>),
}

/// A client tried what it may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its connection, while it is there.
    pub conn: Option<ConnId>,
    /// Who.
    pub client_id: ByteString,
    /// As which user; `None`: an anonymous client.
    pub user: Option<ByteString>,
    /// What.
    pub act: Act,
    /// Refusals of this session since the last that was told.
    pub untold: u32,
}

/// What a client may or may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Publish to a topic.
    Publish(TopicName),
    /// Have its will published to a topic.
    Will(TopicName),
    /// Subscribe to a filter.
    Subscribe(TopicFilter),
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
    /// It publishes to a session whose queue is full, or a bridge whose backlog is, where that is a reason to refuse, and 3.1.1
    /// has no answer that says so.
    #[error("the queue of a receiver, or a bridge's backlog, has been full for too long")]
    QueueFull,
    /// Its user is gone from the users.
    #[error("its user does not exist any more")]
    Revoked,
    /// An operator wants it gone.
    #[error("an operator closed it")]
    Kicked,
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
            Self::QueueFull => Some(ReasonCode::QuotaExceeded),
            Self::Kicked => Some(ReasonCode::AdministrativeAction),
            Self::Revoked => Some(ReasonCode::NotAuthorized),
            Self::ShuttingDown => Some(ReasonCode::ServerShuttingDown),
            Self::TakenOver => Some(ReasonCode::SessionTakenOver),
            Self::Violated(reason) => Some(reason),
        }
    }
}
