//! The whole gateway at one moment. Plain data, the same for `fieldgate status`, the state as JSON, the metrics and the
//! support bundle: what one of them shows, the others show too.
//!
//! Names of fields are part of the contract with whoever reads the JSON; fields may be added. No secrets, no topics, no
//! client ids. Counters count since the start of the program.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::problems::{Problem, problems};
use super::{BridgeStatus, Durations, ListenerStatus};
use crate::clock::WallTime;

/// The gateway at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayState {
    /// Its id.
    pub gateway: String,
    /// Of the program.
    pub version: String,
    /// When this was put together, by the wall clock.
    pub at: WallTime,
    /// Since the start of the program.
    pub uptime_s: u64,
    /// Whether the wall clock was set; a box without a battery starts in 1970.
    pub clock_is_set: bool,
    /// What it runs on.
    pub config: ConfigState,
    /// In the order of the configuration, like all lists here.
    pub listeners: Vec<ListenerStatus>,
    /// Where this is served by HTTP; `None`: nowhere.
    #[serde(default)]
    pub console: Option<ListenerStatus>,
    /// The local broker.
    pub broker: BrokerState,
    /// What is kept.
    pub store: StoreState,
    /// The wires and what is on them.
    pub connections: Vec<ConnectionState>,
    /// The ways up.
    pub bridges: Vec<BridgeState>,
    /// What is left of bridges that a reload has removed; empty ones are not told.
    #[serde(default)]
    pub left_backlogs: Vec<LeftBacklog>,
    /// The gateway's own certificates.
    pub certificates: Vec<CertificateState>,
    /// What needs attention, the worst first.
    pub problems: Vec<Problem>,
}

/// The configuration that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigState {
    /// The file.
    pub file: String,
    /// When it was last taken up.
    pub loaded: WallTime,
    /// The file had faults at the start, and the last good configuration runs instead.
    pub is_last_good: bool,
    /// The last reload was refused, or broke off: what the file says now is not in use.
    pub was_refused: bool,
    /// Sections that were changed and count only from the next start on.
    pub needs_restart: Vec<String>,
}

/// The local broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BrokerState {
    /// It takes nobody in any more.
    #[serde(default)]
    pub has_ended: bool,
    /// Who is refused because the file of users or of rules cannot be used, and why; `None`: it can.
    #[serde(default)]
    pub login_error: Option<String>,
    /// MQTT clients that are connected.
    pub clients: u64,
    /// Most of them at a time.
    pub clients_maximum: u64,
    /// Sessions, connected or away.
    pub sessions: u64,
    /// Subscriptions of all sessions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained_messages: u64,
    /// Their bytes.
    pub retained_bytes: u64,
    /// Messages taken from clients, devices and upstreams: of QoS 0, 1 and 2.
    pub received: [u64; 3],
    /// Messages handed to receivers: of QoS 0, 1 and 2.
    pub sent: [u64; 3],
    /// Messages taken per second, over the last seconds.
    pub received_per_s: f64,
    /// Messages handed out per second, over the last seconds.
    pub sent_per_s: f64,
    /// Deliveries dropped by a declared policy.
    pub dropped: u64,
    /// Messages whose expiry passed while they waited.
    pub expired: u64,
    /// Messages that a forward route matched and has no topic for.
    pub unmapped: u64,
    /// Panics that were caught.
    pub panics: u64,
    /// Bytes from clients.
    pub bytes_received: u64,
    /// Bytes to clients.
    pub bytes_sent: u64,
}

/// What is kept on the disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreState {
    /// The folder.
    pub data_dir: String,
    /// Why something that should be kept cannot be; `None`: all is well.
    pub error: Option<String>,
    /// Free bytes of its disk; `None` where the system does not say.
    pub free_bytes: Option<u64>,
    /// So many stay free.
    pub free_bytes_minimum: u64,
    /// Commits of messages, all logs together.
    #[serde(default)]
    pub commits: u64,
    /// How long each of them took, with its syncs.
    #[serde(default)]
    pub commit_times: Durations,
    /// Syncs of the medium for them.
    #[serde(default)]
    pub syncs: u64,
    /// Bytes given to the medium for them.
    #[serde(default)]
    pub bytes_written: u64,
}

/// A wire and its devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionState {
    /// Its name.
    pub name: String,
    /// `modbus_tcp`, `modbus_rtu`, `modbus_rtu_over_tcp` or `serial`.
    pub kind: String,
    /// The port or the host.
    pub to: String,
    /// Whether it is connected now.
    pub connected: bool,
    /// Connections made.
    pub connects: u64,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Messages that the broker took.
    pub published: u64,
    /// Messages dropped because the broker did not take them in time.
    pub dropped: u64,
    /// Times that it was started again after a panic.
    pub restarts: u64,
    /// How much of its time requests take; `None`: an instrument, which may speak when it likes.
    #[serde(default)]
    pub busy: Option<Busy>,
    /// What the driver of its serial port counts; `None`: it has none, or one that does not count.
    #[serde(default)]
    pub line_errors: Option<LineErrorCounts>,
    /// What is on it.
    pub devices: Vec<DeviceState>,
}

/// How much of the time of a wire requests take, with what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Busy {
    /// Of about the last minute, 0 to 1.
    pub ratio: f64,
    /// Since the start, in seconds.
    pub time_s: f64,
}

/// What a serial port did not receive as it was sent. Counts count since the start of its wire, which a reload may start anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineErrorCounts {
    /// Characters without their stop bit: another speed, or noise.
    pub frame: u64,
    /// Characters that came faster than they were fetched.
    pub overrun: u64,
    /// Characters with a wrong parity bit.
    pub parity: u64,
    /// Breaks: the line was low for longer than a character.
    #[serde(rename = "break")]
    pub breaks: u64,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceState {
    /// Its name.
    pub name: String,
    /// Its unit on the wire; an instrument has none.
    pub unit_id: Option<u8>,
    /// How it stands.
    pub state: Health,
    /// When it came to that.
    pub since: WallTime,
    /// When the last whole reply arrived.
    pub last_ok: Option<WallTime>,
    /// The word for why it is not online: `timeout`, `exception_02`, ...
    pub error: Option<String>,
    /// Requests sent, with retries and probes.
    pub requests: u64,
    /// As many of them were answered whole and without an exception.
    #[serde(default)]
    pub answered: u64,
    /// Requests without a whole reply in time.
    pub timeouts: u64,
    /// Frames with a wrong checksum.
    pub crc_errors: u64,
    /// Replies to another request.
    pub late_replies: u64,
    /// Replies that were none to what was asked.
    pub invalid_replies: u64,
    /// Exception replies.
    pub exceptions: u64,
    /// The same by the word for each: `exception_02`; `exception_other` for those that are not in the specification.
    #[serde(default)]
    pub exception_codes: BTreeMap<String, u64>,
    /// From the sending of a request to its whole reply; `None`: an instrument that is not asked.
    #[serde(default)]
    pub reply_times: Option<Durations>,
    /// Deadlines that passed without a reading.
    pub overruns: u64,
}

/// How a device stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not asked yet.
    #[default]
    Unknown,
    /// Every group came in whole the last time.
    Online,
    /// Some reading failed the last time.
    Degraded,
    /// Silent; only probed.
    Offline,
}

/// A bridge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeState {
    /// Its name.
    pub name: String,
    /// Its first address.
    pub to: String,
    /// How it stands.
    pub status: BridgeStatus,
}

/// The backlog of a bridge that is not configured any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBacklog {
    /// The bridge's name.
    pub bridge: String,
    /// Messages that were not sent.
    pub messages: u64,
}

/// A certificate that the gateway shows to others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CertificateState {
    /// `listener plant`, `connection line2`, `bridge cloud`.
    pub used_by: String,
    /// Its file.
    pub file: String,
    /// When it ends.
    pub expires: WallTime,
    /// What somebody should do about it.
    pub warning: Option<String>,
}

impl GatewayState {
    /// The same, with what needs attention.
    #[must_use]
    pub fn judged(mut self) -> Self {
        self.problems = problems(&self);
        self
    }

    /// Whether nothing is wrong; what is only warned of is not wrong yet.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.problems
            .iter()
            .all(|problem| problem.severity != super::Severity::Error)
    }
}
