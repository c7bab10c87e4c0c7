//! Options of the broker.

use std::time::Duration;

use crate::mqtt::QoS;

/// How the broker behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerOptions {
    /// Limits on clients.
    pub limits: Limits,
    /// What happens when the queue of a session is full.
    pub when_queue_full: WhenQueueFull,
    /// What the acknowledgement of a message waits for.
    pub durability: Durability,
}

/// What PUBACK and PUBREC wait for, where something durable takes the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Until it is on stable storage, or was acknowledged by all who wanted it (promise P1).
    #[default]
    Strict,
    /// Nothing: it is committed with the others within the hold and the interval of commits, and what was not by then is lost
    /// by a kill or a power cut. CONNACK, SUBACK, UNSUBACK and PUBCOMP wait all the same: what they promise outlives the
    /// interval, as a packet id that a client uses again.
    Interval,
}

/// What happens when a message would be one too many, or too many bytes, for the queue of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenQueueFull {
    /// The oldest that were not sent yet give way; counted.
    #[default]
    DropOldest,
    /// Nobody gets the message: its publisher is told so (MQTT 5), or not read until there is room and closed after 30 s
    /// (3.1.1). What nobody could be refused for, such as a will, drops the oldest.
    Refuse,
}

/// Limits on clients; the defaults are those of the configuration and suit a 1 GiB Raspberry Pi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections of one address at a time: of an IPv4 address, or an IPv6 subnet (/64).
    pub connections_per_address: usize,
    /// From accept to CONNECT, TLS included.
    pub connect_timeout: Duration,
    /// Largest packet, both ways, in bytes.
    pub packet_size: u32,
    /// Levels of a topic.
    pub topic_levels: usize,
    /// Filters of one session.
    pub subscriptions_per_client: usize,
    /// QoS 1 and 2 messages in flight towards us, MQTT 5.
    pub receive_maximum: u16,
    /// QoS 1 and 2 messages in flight towards a client.
    pub inflight: u16,
    /// Topic aliases that a client may set, MQTT 5; 0: none.
    pub topic_alias_maximum: u16,
    /// Sessions kept while their client is away.
    pub sessions: usize,
    /// Messages queued for one session.
    pub queued_messages: usize,
    /// Bytes queued for one session.
    pub queued_bytes: usize,
    /// Longest keep alive; longer ones are shortened (MQTT 5) or served as asked (3.1.1).
    pub keep_alive_maximum: Duration,
    /// Longest session expiry.
    pub session_expiry_maximum: Duration,
    /// Retained messages; 0: not available.
    pub retained_messages: usize,
    /// Their bytes.
    pub retained_bytes: usize,
    /// Highest QoS that is granted.
    pub maximum_qos: QoS,
    /// An empty ClientId is given a name (3.1.1: only with a clean session).
    pub empty_client_id: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            connections_per_address: 200,
            connect_timeout: Duration::from_secs(5),
            packet_size: 256 << 10,
            topic_levels: 32,
            subscriptions_per_client: 1000,
            receive_maximum: 100,
            inflight: 20,
            topic_alias_maximum: 16,
            sessions: 5000,
            queued_messages: 1000,
            queued_bytes: 1 << 20,
            keep_alive_maximum: Duration::from_secs(600),
            session_expiry_maximum: Duration::from_secs(7 * 24 * 3600),
            retained_messages: 100_000,
            retained_bytes: 64 << 20,
            maximum_qos: QoS::ExactlyOnce,
            empty_client_id: true,
        }
    }
}
