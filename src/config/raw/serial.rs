//! `serial:` of a device: how an instrument speaks.

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::device::Undated;
use super::{OneOf, Time, Words};
use crate::adapter::TagType;
use crate::adapter::serial::{ChecksumKind, Endian, FieldType};
use crate::value::ByteOrder;

/// `serial:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Serial {
    pub(in crate::config) framing: Option<Value>,
    pub(in crate::config) checksum: Option<Value>,
    pub(in crate::config) poll: Option<Value>,
    pub(in crate::config) stale_after: Option<Time>,
    pub(in crate::config) parse: Option<Value>,
    pub(in crate::config) uncertain_when: Option<Mapping>,
    pub(in crate::config) commands: Option<Mapping>,
}

/// `framing:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Framing {
    pub(in crate::config) delimiter: Option<Value>,
    pub(in crate::config) start: Option<Value>,
    pub(in crate::config) end: Option<Value>,
    pub(in crate::config) trailer: Option<u8>,
    pub(in crate::config) length: Option<u16>,
    pub(in crate::config) length_field: Option<Value>,
    pub(in crate::config) sync: Option<Value>,
    pub(in crate::config) idle_gap: Option<Time>,
    pub(in crate::config) max_length: Option<u16>,
    pub(in crate::config) frame_timeout: Option<Time>,
}

/// `length_field:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct LengthField {
    pub(in crate::config) offset: Option<u16>,
    pub(in crate::config) size: Option<u8>,
    pub(in crate::config) endian: Option<OneOf<Endian>>,
    pub(in crate::config) adjust: Option<i16>,
}

/// `checksum:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Checksum {
    pub(in crate::config) kind: Option<OneOf<ChecksumKind>>,
    pub(in crate::config) over: Option<String>,
    pub(in crate::config) encoding: Option<OneOf<Encoding>>,
    pub(in crate::config) endian: Option<OneOf<Endian>>,
    pub(in crate::config) at: Option<i32>,
}

/// `poll:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Poll {
    pub(in crate::config) send: Option<Value>,
    pub(in crate::config) interval: Option<Time>,
    pub(in crate::config) timeout: Option<Time>,
}

/// `parse:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Parse {
    pub(in crate::config) only: Option<String>,
    pub(in crate::config) regex: Option<String>,
    pub(in crate::config) csv: Option<Value>,
    pub(in crate::config) json: Option<Value>,
    pub(in crate::config) binary: Option<Value>,
    pub(in crate::config) fields: Option<Mapping>,
}

/// `csv:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Csv {
    pub(in crate::config) separator: Option<String>,
    pub(in crate::config) columns: Option<Vec<String>>,
}

/// `json:`, which has no keys yet.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Json {}

/// `binary:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Binary {
    pub(in crate::config) byte_order: Option<OneOf<ByteOrder>>,
}

/// An entry of `fields`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Field {
    pub(in crate::config) group: Option<String>,
    pub(in crate::config) column: Option<u16>,
    pub(in crate::config) pointer: Option<String>,
    pub(in crate::config) offset: Option<u16>,
    pub(in crate::config) length: Option<u16>,
    pub(in crate::config) byte_order: Option<OneOf<ByteOrder>>,
    pub(in crate::config) r#type: Option<OneOf<FieldType>>,
    pub(in crate::config) scale: Option<f64>,
    pub(in crate::config) decimals: Option<u8>,
    pub(in crate::config) map: Option<Mapping>,
    pub(in crate::config) unit: Option<String>,
    pub(in crate::config) unit_from: Option<String>,
}

/// An entry of `commands`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Command {
    pub(in crate::config) send: Option<Value>,
    pub(in crate::config) expect: Option<String>,
    pub(in crate::config) timeout: Option<Time>,
    pub(in crate::config) max_age: Option<Time>,
    pub(in crate::config) undated: Option<OneOf<Undated>>,
}

/// How a checksum is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Encoding {
    Hex,
    Binary,
}

impl Words for Encoding {
    const WORDS: &'static [(&'static str, Self)] = &[("hex", Self::Hex), ("binary", Self::Binary)];
}

impl Words for Endian {
    const WORDS: &'static [(&'static str, Self)] = &[("big", Self::Big), ("little", Self::Little)];
}

impl Words for ChecksumKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("sum8", Self::Sum8),
        ("xor8", Self::Xor8),
        ("lrc", Self::Lrc),
        ("crc16_modbus", Self::Crc16Modbus),
        ("crc16_ccitt", Self::Crc16Ccitt),
    ];
}

impl Words for FieldType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("bool", Self::Tag(TagType::Bool)),
        ("int8", Self::Int8),
        ("uint8", Self::Uint8),
        ("int16", Self::Tag(TagType::Int16)),
        ("uint16", Self::Tag(TagType::Uint16)),
        ("int32", Self::Tag(TagType::Int32)),
        ("uint32", Self::Tag(TagType::Uint32)),
        ("int64", Self::Tag(TagType::Int64)),
        ("uint64", Self::Tag(TagType::Uint64)),
        ("float32", Self::Tag(TagType::Float32)),
        ("float64", Self::Tag(TagType::Float64)),
        ("string", Self::Text(0)),
    ];
}
