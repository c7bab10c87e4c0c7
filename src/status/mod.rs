//! Snapshots of themselves that rooms publish, for whoever shows them: the status topics, the commands, the web endpoints.
//!
//! Plain data in a `watch` channel: the newest one counts, and nobody waits for a reader. `gateway` is the whole at one
//! moment, put together by `app`; `problems` says what of it needs attention.

mod durations;
mod gateway;
mod problems;

pub use durations::Durations;
pub use gateway::{
    BridgeState, BrokerState, Busy, CertificateState, ConfigState, ConnectionState, DeviceState,
    GatewayState, Health, LeftBacklog, LineErrorCounts, StoreState,
};
pub use problems::{Problem, Severity};

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;

/// How a bridge stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeStatus {
    /// The link.
    pub link: LinkState,
    /// Which stage of the last attempt failed and why; `None` while up.
    pub error: Option<String>,
    /// Why the backlog's files are out of use, if they are: nothing new is acknowledged until they are back.
    pub store_error: Option<String>,
    /// When our certificate ends; `None`: there is none.
    pub certificate_expires: Option<WallTime>,
    /// What somebody should do about the bridge's certificates; `None`: nothing.
    pub certificate_warning: Option<String>,
    /// When the link came to its present state.
    pub since: WallTime,
    /// Messages that wait for the upstream or for its acknowledgement.
    pub backlog_messages: u64,
    /// Their bytes, as stored.
    pub backlog_bytes: u64,
    /// Stamp of the oldest of them.
    pub oldest: Option<WallTime>,
    /// Size of its files.
    pub file_bytes: u64,
    /// The size at which something has to give way.
    pub file_bytes_max: u64,
    /// How fast it grows and drains.
    pub flow: Flow,
    /// Acknowledged by the upstream since the start (QoS 0: sent).
    pub delivered: u64,
    /// Dropped by a declared policy since the start: limits, expiry, QoS 0 while the link was down.
    pub dropped: u64,
    /// As many of them were purged by somebody.
    pub purged: u64,
    /// Whether it is full and refuses what is new (`when_full: refuse`).
    pub refusing: bool,
    /// Messages refused since the start: their publishers know it.
    pub refused: u64,
    /// Messages that the upstream refused for good, kept in the dead-letter.
    pub dead_letters: u64,
    /// The oldest of those, dropped since the start because there were too many.
    pub dead_letters_dropped: u64,
    /// Sent again without being sure that the first copy did not arrive.
    pub maybe_duplicated: u64,
    /// QoS 2 messages that the upstream had received and no longer knew when they were to be completed.
    pub in_doubt: u64,
    /// Connections made since the start.
    pub connects: u64,
    /// Messages of the upstream that came in since the start.
    pub received: u64,
    /// Messages of the upstream that went nowhere: refused by the local broker, too large, without room at QoS 0, without a topic
    /// here, or commands with RETAIN set.
    pub not_received: u64,
    /// Messages that bridges sent in a circle, stopped here.
    pub too_many_hops: u64,
    /// Subscriptions that the upstream refuses, with the reason; empty where all is well.
    pub subscriptions_refused: Vec<String>,
    /// Times the bridge had to be started again after a panic.
    pub restarts: u64,
}

/// How fast a backlog grows and drains, smoothed over about half a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Messages a second that come.
    pub messages_in: f64,
    /// Messages a second that the upstream acknowledges.
    pub messages_out: f64,
    /// Seconds until nothing waits, if it goes on like this; `None`: it does not shrink.
    pub drained_in_s: Option<u64>,
    /// Seconds until the files have their largest size, if it goes on like this; `None`: they do not grow.
    pub full_in_s: Option<u64>,
}

/// How a listener stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Where it listens, or shall listen; the real port where port 0 was asked for.
    pub address: String,
    /// Why it does not listen; `None` while it does.
    pub error: Option<String>,
}

impl ListenerStatus {
    /// Of a listener that has not been tried yet.
    #[must_use]
    pub fn new(name: String, address: &impl Display) -> Self {
        Self {
            name,
            address: address.to_string(),
            error: Some("starting".to_owned()),
        }
    }

    /// It listens.
    pub fn opened(&mut self, address: &impl Display) {
        self.address = address.to_string();
        self.error = None;
    }

    /// It does not listen. True where that is news.
    pub fn failed(&mut self, error: &str) -> bool {
        let is_new = self.error.as_deref() != Some(error);
        if is_new {
            self.error = Some(error.to_owned());
        }
        is_new
    }
}

/// Stages of a link to the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Waiting before the next attempt.
    #[default]
    Down,
    /// Resolving, dialling, shaking hands.
    Connecting,
    /// CONNACK received.
    Up,
}
