//! Options of a bridge.

use std::time::Duration;

use crate::broker::{ForwardRoute, RetainPolicy};
use crate::mqtt::{Message, ProtocolVersion, QoS};
use crate::net::ClientTls;
use crate::secret::Secret;
use crate::store::LogOptions;
use crate::topic::{Template, TopicFilter};

/// One bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeOptions {
    /// Its name, for logs and `fieldgate-id`.
    pub name: String,
    /// The gateway's id, for `fieldgate-id`.
    pub gateway: String,
    /// Upstream addresses, tried in order.
    pub addresses: Vec<Address>,
    /// V311 or V5.
    pub protocol: ProtocolVersion,
    /// Client Identifier at the upstream.
    pub client_id: String,
    /// User Name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret<String>>,
    /// Keep Alive.
    pub keep_alive: Duration,
    /// Session Expiry Interval asked for.
    pub session_expiry: Duration,
    /// TLS for addresses that want it.
    pub tls: Option<ClientTls>,
    /// What goes up.
    pub forward: Vec<ForwardRoute>,
    /// What comes down. The first route that matches takes a message.
    pub receive: Vec<ReceiveRoute>,
    /// The Will left at the upstream: says that the gateway is offline.
    pub will: Option<Message>,
    /// What tells the upstream of a hole in the backlog, with another payload; `None`: no route takes the topic.
    pub gap: Option<Message>,
    /// QoS 1 and 2 messages in flight; the upstream's Receive Maximum may lower it.
    pub inflight: u16,
    /// Largest packet taken from the upstream, in bytes.
    pub packet_size: u32,
    /// What the upstream takes at most; what it says itself counts beside it.
    pub ceilings: Ceilings,
    /// Of a hundred messages that leave while both lanes have some, so many are of the backlog; see [`super::core::Lane`].
    pub late_share: u8,
    /// How fast messages may leave.
    pub rate: Rate,
    /// Where messages go that the upstream refuses for good.
    pub dead_letter: LogOptions,
    /// Wait between attempts.
    pub backoff: Backoff,
    /// The whole of dialling, from DNS to CONNACK, stage by stage at most this long each.
    pub stage_timeout: Duration,
}

/// One route down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveRoute {
    /// What it takes of the upstream's topics, and what is subscribed to.
    pub filter: TopicFilter,
    /// The topic here.
    pub topic: Template,
    /// Highest QoS.
    pub qos: QoS,
    /// What becomes of the retain flag.
    pub retain: RetainPolicy,
}

/// An upstream address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `mqtts://`.
    pub tls: bool,
}

/// What the upstream takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// Highest QoS.
    pub maximum_qos: QoS,
    /// Whether it takes messages with RETAIN set.
    pub retain: bool,
    /// Bytes of a packet.
    pub packet_size: u32,
    /// Levels of a topic.
    pub topic_levels: usize,
    /// Bytes of a topic.
    pub topic_bytes: usize,
}

impl Default for Ceilings {
    /// None beside those of MQTT.
    fn default() -> Self {
        Self {
            maximum_qos: QoS::ExactlyOnce,
            retain: true,
            packet_size: u32::MAX,
            topic_levels: usize::MAX,
            topic_bytes: usize::MAX,
        }
    }
}

/// Most messages and bytes a second; 0: as fast as it goes. Bytes are those of topic and payload, and a few more for the
/// rest of the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// PUBLISH packets.
    pub messages_per_second: u64,
    /// Their bytes.
    pub bytes_per_second: u64,
}

/// Wait between attempts: decorrelated jitter between `min` and `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Shortest wait; also the floor after an orderly close.
    pub min: Duration,
    /// Longest wait.
    pub max: Duration,
}
