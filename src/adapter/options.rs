//! Options of connections, devices, groups and tags.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire_options::WireOptions;
use crate::mqtt::QoS;
use crate::net::ClientTls;
use crate::topic::TopicName;
use crate::value::{Deadband, Interpretation, Meaning, TagType, Value};

/// One wire. Requests on it go strictly one at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionOptions {
    /// For logs.
    pub name: String,
    /// What it is.
    pub wire: WireOptions,
    /// The devices on this wire.
    pub devices: Vec<DeviceOptions>,
    /// Where it is kept which requests they refuse as a whole; `None`: nowhere.
    pub splits_file: Option<PathBuf>,
}

impl ConnectionOptions {
    /// How it is kept from others' eyes; `None`: it is not.
    #[must_use]
    pub fn tls(&self) -> Option<&ClientTls> {
        match &self.wire {
            WireOptions::ModbusTcp(tcp) => tcp.tls.as_ref(),
            WireOptions::ModbusRtu(..) | WireOptions::ModbusRtuOverTcp(..) => None,
        }
    }
}

/// The Modbus Unit Identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u8);

/// One device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceOptions {
    /// Its name in topics.
    pub name: String,
    /// Its unit on the wire.
    pub unit_id: UnitId,
    /// From request to the last byte of the reply; on a serial port the time that the bytes take is added.
    pub response_timeout: Duration,
    /// Further attempts after a timeout.
    pub retries: u32,
    /// Pause before each request.
    pub request_delay: Duration,
    /// Failures in a row, and at least 3 s, after which the device is offline.
    pub offline_after: u32,
    /// Wait between probes of an offline device.
    pub probe_backoff: ProbeBackoff,
    /// Most registers in one request, at most 125.
    pub max_registers: u16,
    /// Unused registers that may be read to save a request.
    pub max_gap: u16,
    /// Where `$status` goes.
    pub status_topic: TopicName,
    /// One level above the topics by which its tags are written.
    pub set_topic: TopicName,
    /// What is read together.
    pub groups: Vec<GroupOptions>,
}

/// Wait between probes of an offline device; doubles from `min` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeBackoff {
    /// First wait.
    pub min: Duration,
    /// Longest wait.
    pub max: Duration,
}

/// Tags that are read and published together.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupOptions {
    /// Its name in topics.
    pub name: String,
    /// From one reading to the next, by absolute deadline.
    pub interval: Duration,
    /// How it is published.
    pub payload: Payload,
    /// QoS of its messages.
    pub qos: QoS,
    /// Whether they are retained.
    pub retain: bool,
    /// Which of its readings are published.
    pub publish: PublishOptions,
    /// What is read.
    pub tags: Vec<TagOptions>,
}

/// Which readings are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishOptions {
    /// Only those that say something new; else all, and the intervals mean nothing.
    pub on_change: bool,
    /// Messages are at least so far apart.
    pub min_interval: Duration,
    /// And not farther than this, though nothing changes.
    pub max_interval: Duration,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            on_change: false,
            min_interval: Duration::ZERO,
            max_interval: Duration::from_secs(60),
        }
    }
}

/// How a group is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// One JSON message a group, to this topic.
    Json(TopicName),
    /// One JSON message a tag, to each tag's own topic.
    JsonPerTag,
    /// The bare value, to each tag's own topic; while it is bad nothing, or where retained an empty message, which removes
    /// the retained value.
    Value,
}

/// The tables of a Modbus device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Function code 1.
    Coils,
    /// Function code 2.
    DiscreteInputs,
    /// Function code 3.
    HoldingRegisters,
    /// Function code 4.
    InputRegisters,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct TagOptions {
    /// Its name in payloads and topics.
    pub name: String,
    /// Which table.
    pub table: Table,
    /// The 0-based number on the wire.
    pub address: u16,
    /// What the bits mean.
    pub kind: TagType,
    /// Order of the bytes of a multi-register value.
    pub byte_order: crate::value::ByteOrder,
    /// Multiplied with the raw number; 1.0: the raw number itself, an integer staying one.
    pub scale: f64,
    /// The tag of the group that has the power of ten to multiply with; both are read in one request.
    pub scale_from: Option<String>,
    /// Whether it is read in one request with the other atomic tags of its group.
    pub atomic: bool,
    /// Digits after the point that are published; `None`: as many as the value has.
    pub decimals: Option<u8>,
    /// Raw numbers, before scaling and as the type has them, by which the device says that it has no value.
    pub invalid: Vec<Value>,
    /// Whether integers are strings in JSON, for readers whose numbers are 64 bit floats.
    pub quoted: bool,
    /// A change that is no larger counts as none.
    pub deadband: Option<Deadband>,
    /// What its integer stands for.
    pub meaning: Meaning,
    /// Told in per-tag JSON.
    pub unit: Option<String>,
    /// Whether and how it may be written.
    pub write: Option<WriteOptions>,
    /// The tag's own topic, for [`Payload::JsonPerTag`] and [`Payload::Value`].
    pub topic: TopicName,
}

impl TagOptions {
    /// How its registers are read.
    pub(crate) fn interpretation(&self) -> Interpretation {
        Interpretation::new(self.kind, self.byte_order, self.scale, self.decimals)
            .without(self.invalid.clone())
            .meaning(self.meaning.clone())
    }
}

/// How a tag may be written.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteOptions {
    /// The least value, scaled as it is published.
    pub min: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// Whether it is read back.
    pub verify: bool,
    /// Older commands are refused.
    pub max_age: Duration,
    /// A command whose age is not known counts as new.
    pub takes_undated: bool,
    /// By which function.
    pub function: WriteFunction,
}

/// The functions that write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteFunction {
    /// 05 and 06 where one coil or register is written, else 15 and 16.
    #[default]
    Auto,
    /// 05 and 06.
    Single,
    /// 15 and 16.
    Multiple,
}

impl WriteOptions {
    /// [`Self::max_age`] unless somebody says otherwise.
    pub const MAX_AGE: Duration = Duration::from_secs(30);
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            min: None,
            max: None,
            verify: false,
            max_age: Self::MAX_AGE,
            takes_undated: true,
            function: WriteFunction::Auto,
        }
    }
}
