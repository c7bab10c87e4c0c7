//! `defaults:`, `connections:`, `templates:` and `devices:`.

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::{AutoTime, Deadband, OneOf, Time, Words};
use crate::adapter::{Parity, Table, WriteFunction};
use crate::value::{ByteOrder, TagType};

/// `defaults:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Defaults {
    pub(in crate::config) topic: Option<String>,
    pub(in crate::config) payload: Option<OneOf<PayloadKind>>,
    pub(in crate::config) qos: Option<u8>,
    pub(in crate::config) retain: Option<bool>,
    pub(in crate::config) interval: Option<Time>,
    pub(in crate::config) publish: Option<Value>,
    pub(in crate::config) big_integers: Option<OneOf<BigIntegers>>,
}

/// `publish:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Publish {
    pub(in crate::config) on_change: Option<bool>,
    pub(in crate::config) min_interval: Option<Time>,
    pub(in crate::config) max_interval: Option<Time>,
}

/// An entry of `connections`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Connection {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) modbus_tcp: Option<Value>,
    pub(in crate::config) modbus_rtu: Option<Value>,
    pub(in crate::config) modbus_rtu_over_tcp: Option<Value>,
    pub(in crate::config) serial: Option<Value>,
}

/// `modbus_tcp:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ModbusTcp {
    pub(in crate::config) host: Option<String>,
    pub(in crate::config) port: Option<u16>,
    pub(in crate::config) connect_timeout: Option<Time>,
    pub(in crate::config) tls: Option<Value>,
}

/// `tls:` of a Modbus TCP device.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ModbusTls {
    pub(in crate::config) ca: Option<String>,
    pub(in crate::config) certificate: Option<String>,
    pub(in crate::config) private_key: Option<String>,
    pub(in crate::config) server_name: Option<String>,
}

/// `modbus_rtu:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ModbusRtu {
    pub(in crate::config) port: Option<String>,
    pub(in crate::config) baud_rate: Option<u32>,
    pub(in crate::config) data_bits: Option<u8>,
    pub(in crate::config) parity: Option<OneOf<Parity>>,
    pub(in crate::config) stop_bits: Option<u8>,
    pub(in crate::config) frame_gap: Option<AutoTime>,
    pub(in crate::config) rs485: Option<Value>,
    pub(in crate::config) discard_echo: Option<bool>,
}

/// `serial:` of a connection
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct SerialPort {
    pub(in crate::config) port: Option<String>,
    pub(in crate::config) baud_rate: Option<u32>,
    pub(in crate::config) data_bits: Option<u8>,
    pub(in crate::config) parity: Option<OneOf<Parity>>,
    pub(in crate::config) stop_bits: Option<u8>,
    pub(in crate::config) rs485: Option<Value>,
}

/// `modbus_rtu_over_tcp:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ModbusRtuOverTcp {
    pub(in crate::config) host: Option<String>,
    pub(in crate::config) port: Option<u16>,
    pub(in crate::config) connect_timeout: Option<Time>,
    pub(in crate::config) frame_gap: Option<AutoTime>,
    pub(in crate::config) discard_echo: Option<bool>,
}

/// `rs485:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Rs485 {
    pub(in crate::config) mode: Option<OneOf<Rs485Mode>>,
    pub(in crate::config) delay_before_send: Option<Time>,
    pub(in crate::config) delay_after_send: Option<Time>,
}

/// Who switches the driver of an RS-485 line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::config) enum Rs485Mode {
    #[default]
    Auto,
    Kernel,
}

/// A file `templates/*.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct TemplateFile {
    pub(in crate::config) templates: Option<Mapping>,
}

/// An entry of `templates`: what a device may say of itself but for its name, connection and unit.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Template {
    pub(in crate::config) byte_order: Option<OneOf<ByteOrder>>,
    pub(in crate::config) max_registers: Option<u16>,
    pub(in crate::config) max_gap: Option<u16>,
    pub(in crate::config) response_timeout: Option<Time>,
    pub(in crate::config) retries: Option<u32>,
    pub(in crate::config) request_delay: Option<Time>,
    pub(in crate::config) topic: Option<String>,
    pub(in crate::config) payload: Option<OneOf<PayloadKind>>,
    pub(in crate::config) qos: Option<u8>,
    pub(in crate::config) retain: Option<bool>,
    pub(in crate::config) interval: Option<Time>,
    pub(in crate::config) publish: Option<Value>,
    pub(in crate::config) big_integers: Option<OneOf<BigIntegers>>,
    pub(in crate::config) groups: Option<Vec<Value>>,
}

/// An entry of `devices`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Device {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) connection: Option<String>,
    pub(in crate::config) unit_id: Option<u8>,
    pub(in crate::config) template: Option<String>,
    pub(in crate::config) byte_order: Option<OneOf<ByteOrder>>,
    pub(in crate::config) max_registers: Option<u16>,
    pub(in crate::config) max_gap: Option<u16>,
    pub(in crate::config) response_timeout: Option<Time>,
    pub(in crate::config) retries: Option<u32>,
    pub(in crate::config) request_delay: Option<Time>,
    pub(in crate::config) offline_after: Option<u32>,
    pub(in crate::config) probe_backoff: Option<Value>,
    pub(in crate::config) topic: Option<String>,
    pub(in crate::config) payload: Option<OneOf<PayloadKind>>,
    pub(in crate::config) qos: Option<u8>,
    pub(in crate::config) retain: Option<bool>,
    pub(in crate::config) interval: Option<Time>,
    pub(in crate::config) publish: Option<Value>,
    pub(in crate::config) big_integers: Option<OneOf<BigIntegers>>,
    pub(in crate::config) groups: Option<Vec<Value>>,
    pub(in crate::config) serial: Option<Value>,
}

/// `probe_backoff:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ProbeBackoff {
    pub(in crate::config) min: Option<Time>,
    pub(in crate::config) max: Option<Time>,
}

/// An entry of `groups`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Group {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) atomic: Option<bool>,
    pub(in crate::config) topic: Option<String>,
    pub(in crate::config) payload: Option<OneOf<PayloadKind>>,
    pub(in crate::config) qos: Option<u8>,
    pub(in crate::config) retain: Option<bool>,
    pub(in crate::config) interval: Option<Time>,
    pub(in crate::config) publish: Option<Value>,
    pub(in crate::config) big_integers: Option<OneOf<BigIntegers>>,
    pub(in crate::config) tags: Option<Vec<Value>>,
}

/// An entry of `tags`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Tag {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) register: Option<OneOf<Table>>,
    pub(in crate::config) address: Option<u16>,
    pub(in crate::config) reference: Option<u32>,
    pub(in crate::config) r#type: Option<OneOf<Kind>>,
    pub(in crate::config) length: Option<u16>,
    pub(in crate::config) byte_order: Option<OneOf<ByteOrder>>,
    pub(in crate::config) scale: Option<f64>,
    pub(in crate::config) scale_from: Option<String>,
    pub(in crate::config) decimals: Option<u8>,
    pub(in crate::config) invalid: Option<Vec<Value>>,
    pub(in crate::config) r#enum: Option<Mapping>,
    pub(in crate::config) bits: Option<Mapping>,
    pub(in crate::config) deadband: Option<Deadband>,
    pub(in crate::config) unit: Option<String>,
    pub(in crate::config) atomic: Option<bool>,
    pub(in crate::config) write: Option<Value>,
    pub(in crate::config) topic: Option<String>,
    pub(in crate::config) payload: Option<OneOf<PayloadKind>>,
    pub(in crate::config) qos: Option<u8>,
    pub(in crate::config) retain: Option<bool>,
    pub(in crate::config) interval: Option<Time>,
    pub(in crate::config) publish: Option<Value>,
    pub(in crate::config) big_integers: Option<OneOf<BigIntegers>>,
}

/// `write` of a tag.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Write {
    pub(in crate::config) min: Option<f64>,
    pub(in crate::config) max: Option<f64>,
    pub(in crate::config) verify: Option<bool>,
    pub(in crate::config) max_age: Option<Time>,
    pub(in crate::config) undated: Option<OneOf<Undated>>,
    pub(in crate::config) function: Option<OneOf<WriteFunction>>,
}

/// What becomes of a command whose age is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Undated {
    Accept,
    Refuse,
}

/// How values are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) enum PayloadKind {
    #[default]
    Json,
    JsonPerTag,
    Value,
}

/// How integers of 64 bits are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum BigIntegers {
    Number,
    String,
}

/// `type:` of a tag; `string` gets its length from another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Kind {
    Bool,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Float32,
    Float64,
    Bcd16,
    Bcd32,
    Text,
}

impl Kind {
    /// What a tag is; a string spans `length` registers.
    pub(in crate::config) fn spanning(self, length: u16) -> TagType {
        match self {
            Self::Bool => TagType::Bool,
            Self::Int16 => TagType::Int16,
            Self::Uint16 => TagType::Uint16,
            Self::Int32 => TagType::Int32,
            Self::Uint32 => TagType::Uint32,
            Self::Int64 => TagType::Int64,
            Self::Uint64 => TagType::Uint64,
            Self::Float32 => TagType::Float32,
            Self::Float64 => TagType::Float64,
            Self::Bcd16 => TagType::Bcd16,
            Self::Bcd32 => TagType::Bcd32,
            Self::Text => TagType::Text(length),
        }
    }
}

impl Words for PayloadKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("json", Self::Json),
        ("json_per_tag", Self::JsonPerTag),
        ("value", Self::Value),
    ];
}

impl Undated {
    /// Whether it is carried out, unless the file says otherwise.
    pub(in crate::config) fn is_taken(said: Option<OneOf<Self>>) -> bool {
        said.is_none_or(|word| word.0 == Self::Accept)
    }
}

impl Words for Undated {
    const WORDS: &'static [(&'static str, Self)] =
        &[("accept", Self::Accept), ("refuse", Self::Refuse)];
}

impl Words for WriteFunction {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("single", Self::Single),
        ("multiple", Self::Multiple),
    ];
}

impl Words for Parity {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("odd", Self::Odd),
        ("even", Self::Even),
    ];
}

impl Words for Rs485Mode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("kernel", Self::Kernel)];
}

impl Words for BigIntegers {
    const WORDS: &'static [(&'static str, Self)] =
        &[("number", Self::Number), ("string", Self::String)];
}

impl Words for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("bool", Self::Bool),
        ("int16", Self::Int16),
        ("uint16", Self::Uint16),
        ("int32", Self::Int32),
        ("uint32", Self::Uint32),
        ("int64", Self::Int64),
        ("uint64", Self::Uint64),
        ("float32", Self::Float32),
        ("float64", Self::Float64),
        ("bcd16", Self::Bcd16),
        ("bcd32", Self::Bcd32),
        ("string", Self::Text),
    ];
}

impl Words for Table {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("coil", Self::Coils),
        ("discrete", Self::DiscreteInputs),
        ("input", Self::InputRegisters),
        ("holding", Self::HoldingRegisters),
    ];
}

impl Words for ByteOrder {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("ABCD", Self::ABCD),
        ("CDAB", Self::CDAB),
        ("BADC", Self::BADC),
        ("DCBA", Self::DCBA),
    ];
}
