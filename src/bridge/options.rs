//! Options of a bridge.

use std::time::Duration;

use crate::broker::ForwardRoute;
use crate::mqtt::{Message, ProtocolVersion};
use crate::net::ClientTls;

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
    pub password: Option<String>,
    /// Keep Alive.
    pub keep_alive: Duration,
    /// Session Expiry Interval asked for.
    pub session_expiry: Duration,
    /// TLS for addresses that want it.
    pub tls: Option<ClientTls>,
    /// What goes up.
    pub forward: Vec<ForwardRoute>,
    /// The Will left at the upstream: says that the gateway is offline.
    pub will: Option<Message>,
    /// QoS 1 and 2 messages in flight; the upstream's Receive Maximum may lower it.
    pub inflight: u16,
    /// Wait between attempts.
    pub backoff: Backoff,
    /// The whole of dialling, from DNS to CONNACK, stage by stage at most this long each.
    pub stage_timeout: Duration,
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

/// Wait between attempts: decorrelated jitter between `min` and `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Shortest wait; also the floor after an orderly close.
    pub min: Duration,
    /// Longest wait.
    pub max: Duration,
}
