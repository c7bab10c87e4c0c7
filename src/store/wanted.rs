//! What the store keeps of client sessions: vocabulary of the session log and of `state.redb`. No I/O.
//!
//! The session log holds the messages that persistent sessions still want, each once. `state.redb` holds what is no
//! queue: sessions, subscriptions, retained messages. Deadlines come in and go out as time that remains; the store counts it
//! on over a restart as far as the clocks allow.

use std::time::Duration;

use bytestring::ByteString;

use super::Seq;
use crate::mqtt::{Message, PacketId, ProtocolVersion, QoS, SubscriptionIds, Will};
use crate::topic::TopicName;

/// A session that is kept. Never given out twice: a session that ended and began anew is another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNumber(pub u64);

/// That a session wants a message of the session log, and how. QoS 1 or 2: nothing else is kept for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Who.
    pub session: SessionNumber,
    /// Given when the message is appended, so that a restart sends it under the same one.
    pub packet_id: PacketId,
    /// Of the delivery.
    pub qos: QoS,
    /// RETAIN of the delivery.
    pub retain: bool,
    /// Those of the subscriptions that matched.
    pub subscription_ids: SubscriptionIds,
}

/// A QoS 2 message from a client between PUBLISH and PUBREL. Each log that took the message keeps its mark, in the same
/// commit: a resend goes only to the logs without it. In `state.redb` it comes with what was retained, or behind it, and
/// before anything newer is covered: that is not overwritten by a resend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The publisher's session.
    pub session: SessionNumber,
    /// The packet id that it used.
    pub packet_id: PacketId,
}

/// A message read back for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// Where it stands in the session log.
    pub seq: Seq,
    /// What.
    pub message: Message,
    /// How.
    pub want: Want,
    /// How long ago it was appended, counting as far as the clocks allow.
    pub age: Duration,
    /// QoS 2: the client's PUBREC is committed; what remains to be sent is PUBREL.
    pub received: bool,
}

/// Where a session stands in the session log when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStanding {
    /// Messages that it still wants, in flight or not.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The highest position that is known to have been sent. Messages above it may have been, if the program crashed.
    pub sent: Seq,
    /// The last packet id that was given out.
    pub last_packet_id: Option<PacketId>,
    /// Its QoS 2 messages to us whose PUBREL has not come.
    pub marks: Vec<PacketId>,
}

/// A change of `state.redb`.
#[derive(Clone, Debug, PartialEq)]
pub enum StateChange {
    /// A session began, or changed.
    Session(SessionNumber, Box<StoredSession>),
    /// A session ended, and its subscriptions with it.
    SessionGone(SessionNumber),
    /// A subscription was made, or replaced. By its filter as the client wrote it, `$share/...` included.
    Subscription(SessionNumber, ByteString, StoredSubscription),
    /// A subscription ended.
    SubscriptionGone(SessionNumber, ByteString),
    /// The newest message of its topic, and the ClientId of its publisher.
    Retained(Message, ByteString),
    /// The topic has none any more.
    RetainedGone(TopicName),
    /// A QoS 2 message from a client was retained, or took one away. To be put after that change.
    Marked(Mark),
    /// The mark is not needed any more.
    MarkGone(Mark),
}

/// A session in `state.redb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Whose.
    pub client_id: ByteString,
    /// The user that it logged in as last; its rights are worked out anew at a start.
    pub user: Option<ByteString>,
    /// Its certificate has proven that user, which needs no line in the users file then.
    pub certified: bool,
    /// What it spoke last.
    pub version: ProtocolVersion,
    /// Seconds that it outlives its connection; `u32::MAX`: for ever.
    pub expiry: u32,
    /// Whether its client is there.
    pub presence: StoredPresence,
    /// The will that is to be published if the client does not come back in time.
    pub will: Option<Will>,
}

/// Whether the client of a stored session is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredPresence {
    /// It was there when this was written; at a start that means: it left just now, without DISCONNECT.
    Connected,
    /// It is away.
    Away {
        /// Until the session ends; `None`: never.
        expires_in: Option<Duration>,
        /// Until the will is due, where there is one.
        will_in: Option<Duration>,
    },
}

/// A subscription in `state.redb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSubscription {
    /// Granted.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Subscription Identifier.
    pub id: Option<u32>,
    /// Retained messages for it were not all delivered yet: after a restart they are sent from the first on.
    pub replaying: bool,
}
