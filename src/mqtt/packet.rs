//! The packets of MQTT, one struct each for all versions (MQTT 5 chapter 3).

use bytes::Bytes;
use bytestring::ByteString;

use super::{Message, PacketId, ProtocolVersion, QoS, ReasonCode};
use crate::secret::Secret;
use crate::topic::TopicName;

/// Name and value pairs whose meaning is the application's, in order.
pub type UserProperties = Vec<(ByteString, ByteString)>;

/// Any control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// 1: the client asks for a connection.
    Connect(Box<Connect>),
    /// 2: the server answers.
    Connack(Box<Connack>),
    /// 3: an application message.
    Publish(Publish),
    /// 4: QoS 1 delivery is done.
    Puback(Acknowledge),
    /// 5: QoS 2, the message is received.
    Pubrec(Acknowledge),
    /// 6: QoS 2, the id is released.
    Pubrel(Acknowledge),
    /// 7: QoS 2 delivery is done.
    Pubcomp(Acknowledge),
    /// 8: the client asks for topics.
    Subscribe(Subscribe),
    /// 9: what was granted.
    Suback(Suback),
    /// 10: the client asks no longer.
    Unsubscribe(Unsubscribe),
    /// 11: done.
    Unsuback(Unsuback),
    /// 12: the client is alive.
    Pingreq,
    /// 13: so is the server.
    Pingresp,
    /// 14: the connection ends, and why.
    Disconnect(Disconnect),
    /// 15: extended authentication, MQTT 5 only.
    Auth(Auth),
}

/// CONNECT (section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The version the client speaks from here on.
    pub version: ProtocolVersion,
    /// Clean Start; in 3.1.1 Clean Session, which also means a `session_expiry` of 0.
    pub clean_start: bool,
    /// Seconds between two packets of the client; 0: no limit.
    pub keep_alive: u16,
    /// Empty: the server names the client.
    pub client_id: ByteString,
    /// What the server publishes when the connection breaks.
    pub will: Option<Box<Will>>,
    /// User Name.
    pub user_name: Option<ByteString>,
    /// Password; in MQTT 5 allowed without a user name.
    pub password: Option<Secret<Bytes>>,
    /// Session Expiry Interval in seconds; `u32::MAX`: never. The decoder of 3.1.1 sets 0 for Clean Session 1 and
    /// `u32::MAX` for 0, because that is what it means.
    pub session_expiry: u32,
    /// Receive Maximum; absent in MQTT 5 and in 3.1.1: 65535.
    pub receive_maximum: u16,
    /// Maximum Packet Size that the client takes; `None`: no limit.
    pub maximum_packet_size: Option<u32>,
    /// Topic Alias Maximum that the client takes; 0: none.
    pub topic_alias_maximum: u16,
    /// Request Response Information.
    pub request_response_information: bool,
    /// Request Problem Information; absent: true.
    pub request_problem_information: bool,
    /// User Properties of the connection.
    pub user_properties: UserProperties,
    /// Authentication Method; present: extended authentication.
    pub authentication_method: Option<ByteString>,
    /// Authentication Data.
    pub authentication_data: Option<Bytes>,
}

/// The Will of a client (section 3.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// What is published, with its topic, QoS and retain flag.
    pub message: Message,
    /// Will Delay Interval in seconds.
    pub delay: u32,
}

/// CONNACK (section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Session Present.
    pub session_present: bool,
    /// The answer. For 3.1.1 the encoder writes the return code with the nearest meaning, the decoder the reverse.
    pub reason: ReasonCode,
    /// Session Expiry Interval, where it differs from the one asked for.
    pub session_expiry: Option<u32>,
    /// Receive Maximum of the server; absent: 65535.
    pub receive_maximum: u16,
    /// Maximum QoS; absent: 2.
    pub maximum_qos: QoS,
    /// Retain Available; absent: true.
    pub retain_available: bool,
    /// Maximum Packet Size that the server takes.
    pub maximum_packet_size: Option<u32>,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<ByteString>,
    /// Topic Alias Maximum of the server; absent: 0.
    pub topic_alias_maximum: u16,
    /// Reason String.
    pub reason_string: Option<ByteString>,
    /// User Properties.
    pub user_properties: UserProperties,
    /// Wildcard Subscription Available; absent: true.
    pub wildcard_subscription_available: bool,
    /// Subscription Identifiers Available; absent: true.
    pub subscription_identifiers_available: bool,
    /// Shared Subscription Available; absent: true.
    pub shared_subscription_available: bool,
    /// Server Keep Alive: the client uses this instead of its own.
    pub server_keep_alive: Option<u16>,
    /// Response Information.
    pub response_information: Option<ByteString>,
    /// Server Reference.
    pub server_reference: Option<ByteString>,
    /// Authentication Method.
    pub authentication_method: Option<ByteString>,
    /// Authentication Data.
    pub authentication_data: Option<Bytes>,
}

impl Connack {
    /// A CONNACK that says no more than its reason.
    #[must_use]
    pub fn new(reason: ReasonCode, session_present: bool) -> Self {
        Self {
            session_present,
            reason,
            session_expiry: None,
            receive_maximum: u16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// PUBLISH (section 3.3) as it stands on the wire. What is stored and routed is its [`Message`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// A resend of what may have arrived before.
    pub dup: bool,
    /// Present exactly when the QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// Delivery guarantee.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Absent only where a topic alias stands for it (MQTT 5).
    pub topic: Option<TopicName>,
    /// Topic Alias; of this connection and direction only.
    pub topic_alias: Option<u16>,
    /// Subscription Identifiers; server to client only.
    pub subscription_ids: Vec<u32>,
    /// The properties that travel with the message.
    pub properties: Option<Box<super::PublishProperties>>,
    /// The application's bytes.
    pub payload: Bytes,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7): the same shape, four meanings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// Which PUBLISH.
    pub packet_id: PacketId,
    /// Always [`ReasonCode::Success`] in 3.1.1.
    pub reason: ReasonCode,
    /// Reason String.
    pub reason_string: Option<ByteString>,
    /// User Properties.
    pub user_properties: UserProperties,
}

impl Acknowledge {
    /// With a reason and nothing else.
    #[must_use]
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self {
            packet_id,
            reason,
            reason_string: None,
            user_properties: Vec::new(),
        }
    }
}

/// SUBSCRIBE (section 3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Answered by the SUBACK with the same id.
    pub packet_id: PacketId,
    /// At least one [MQTT-3.8.3-2].
    pub subscriptions: Vec<Subscription>,
    /// Subscription Identifier, 1 to 268435455.
    pub subscription_id: Option<u32>,
    /// User Properties.
    pub user_properties: UserProperties,
}

/// One filter of a SUBSCRIBE with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// As it stood in the packet; a filter that breaks section 4.7 is refused in the SUBACK, not by closing.
    pub filter: ByteString,
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// Retain Handling (section 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// 0: send retained messages at subscribe.
    #[default]
    Send = 0,
    /// 1: only if the subscription is new.
    SendIfNew = 1,
    /// 2: never.
    DoNotSend = 2,
}

/// SUBACK (section 3.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order: a granted QoS or why not. In 3.1.1 every refusal is 0x80.
    pub reasons: Vec<ReasonCode>,
    /// Reason String.
    pub reason_string: Option<ByteString>,
    /// User Properties.
    pub user_properties: UserProperties,
}

/// UNSUBSCRIBE (section 3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Answered by the UNSUBACK with the same id.
    pub packet_id: PacketId,
    /// At least one.
    pub filters: Vec<ByteString>,
    /// User Properties.
    pub user_properties: UserProperties,
}

/// UNSUBACK (section 3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsuback {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each filter, in order; not on the wire in 3.1.1, where the decoder leaves it empty.
    pub reasons: Vec<ReasonCode>,
    /// Reason String.
    pub reason_string: Option<ByteString>,
    /// User Properties.
    pub user_properties: UserProperties,
}

/// DISCONNECT (section 3.14). In 3.1.1 from the client only, without a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// Session Expiry Interval: the client changes its mind.
    pub session_expiry: Option<u32>,
    /// Reason String.
    pub reason_string: Option<ByteString>,
    /// User Properties.
    pub user_properties: UserProperties,
    /// Server Reference.
    pub server_reference: Option<ByteString>,
}

impl Disconnect {
    /// With a reason and nothing else.
    #[must_use]
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry: None,
            reason_string: None,
            user_properties: Vec::new(),
            server_reference: None,
        }
    }
}

/// AUTH (section 3.15), MQTT 5 only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Success, Continue authentication or Re-authenticate.
    pub reason: ReasonCode,
    /// Authentication Method.
    pub authentication_method: Option<ByteString>,
    /// Authentication Data.
    pub authentication_data: Option<Bytes>,
    /// Reason String.
    pub reason_string: Option<ByteString>,
    /// User Properties.
    pub user_properties: UserProperties,
}
