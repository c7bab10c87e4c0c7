//! Options for the tests of this room.

use std::time::Duration;

use super::options::{
    ConnectionOptions, DeviceOptions, GroupOptions, Payload, ProbeBackoff, PublishOptions, Table,
    TagOptions, UnitId,
};
use super::wire_options::{TcpOptions, WireOptions};
use crate::mqtt::QoS;
use crate::topic::TopicName;
use crate::value::{ByteOrder, Meaning, TagType};

pub(super) fn topic(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

pub(super) fn tag(name: &str, table: Table, address: u16, kind: TagType) -> TagOptions {
    TagOptions {
        name: name.to_owned(),
        table,
        address,
        kind,
        byte_order: ByteOrder::ABCD,
        scale: 1.0,
        scale_from: None,
        atomic: false,
        decimals: None,
        invalid: Vec::new(),
        quoted: false,
        deadband: None,
        meaning: Meaning::Number,
        write: None,
        unit: None,
        topic: topic(&format!("g/d/{name}")),
    }
}

pub(super) fn group(name: &str, interval_ms: u64, tags: Vec<TagOptions>) -> GroupOptions {
    GroupOptions {
        name: name.to_owned(),
        interval: Duration::from_millis(interval_ms),
        payload: Payload::Json(topic(&format!("g/d/{name}"))),
        qos: QoS::AtLeastOnce,
        retain: false,
        publish: PublishOptions::default(),
        tags,
    }
}

pub(super) fn device(name: &str, unit: u8, groups: Vec<GroupOptions>) -> DeviceOptions {
    DeviceOptions {
        name: name.to_owned(),
        unit_id: UnitId(unit),
        response_timeout: Duration::from_millis(200),
        retries: 0,
        request_delay: Duration::ZERO,
        offline_after: 3,
        probe_backoff: ProbeBackoff {
            min: Duration::from_secs(1),
            max: Duration::from_secs(30),
        },
        max_registers: 125,
        max_gap: 0,
        status_topic: topic(&format!("g/{name}/$status")),
        set_topic: topic(&format!("g/{name}/set")),
        groups,
    }
}

/// Modbus TCP, to nowhere.
pub(super) fn connection(devices: Vec<DeviceOptions>) -> ConnectionOptions {
    ConnectionOptions {
        name: "line".to_owned(),
        wire: WireOptions::ModbusTcp(TcpOptions {
            host: "localhost".to_owned(),
            port: 502,
            connect_timeout: Duration::from_secs(1),
            tls: None,
        }),
        devices,
        splits_file: None,
    }
}

impl TagOptions {
    pub(super) fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }
}
