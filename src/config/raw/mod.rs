//! The file as it is written: one struct a section, every key optional, nothing tagged, flattened or untagged. What
//! stands below a section is left as a value and read as a section of its own. No rules here; those are in `build`.

mod bridge;
mod broker;
mod device;
mod scalar;
mod serial;

pub(super) use bridge::{Backlog, Backoff, Bridge, BridgeTls, Rate, Receive, Route};
pub(super) use broker::{
    Access, Broker, Limits, Listener, ListenerTls, Store, TlsVersion, UserFrom, WebSocket,
};
pub(super) use device::{
    BigIntegers, Connection, Defaults, Device, Group, Kind, ModbusRtu, ModbusRtuOverTcp, ModbusTcp,
    ModbusTls, PayloadKind, ProbeBackoff, Publish, Rs485, Rs485Mode, SerialPort, Tag, Template,
    TemplateFile, Undated, Write,
};
pub(super) use scalar::{AutoTime, Deadband, OneOf, Size, Time, Words, choose};
pub(super) use serial::{
    Binary, Checksum, Command, Csv, Encoding, Field, Framing, Json, LengthField, Parse, Poll,
    Serial,
};

use serde::Deserialize;
use serde_yaml::{Mapping, Value};

#[cfg(test)]
use super::schema::{self, Form};
#[cfg(test)]
use super::section::{Shape, shape};

/// The document.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Root {
    pub(super) gateway: Option<Value>,
    pub(super) broker: Option<Value>,
    pub(super) store: Option<Value>,
    pub(super) defaults: Option<Value>,
    pub(super) connections: Option<Vec<Value>>,
    pub(super) templates: Option<Mapping>,
    pub(super) devices: Option<Vec<Value>>,
    pub(super) bridges: Option<Vec<Value>>,
    pub(super) console: Option<Value>,
}

/// `gateway:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) id: Option<String>,
    pub(super) data_dir: Option<String>,
}

/// `console:`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Console {
    pub(super) bind: Option<String>,
}

/// A section as the reference and the schema have it.
#[cfg(test)]
pub(super) struct Known {
    /// Its path as the reference writes it.
    pub(super) path: &'static str,
    /// Name and keys of its struct.
    pub(super) shape: Shape,
    /// What each key takes.
    pub(super) forms: Vec<Form>,
}

#[cfg(test)]
fn section<T: serde::de::DeserializeOwned>(path: &'static str) -> Known {
    let shape = shape::<T>();
    Known {
        path,
        shape,
        forms: shape
            .fields
            .iter()
            .map(|key| schema::form::<T>(key))
            .collect(),
    }
}

/// All sections.
#[cfg(test)]
pub(super) fn sections() -> Vec<Known> {
    vec![
        section::<Root>(""),
        section::<Gateway>("gateway"),
        section::<Broker>("broker"),
        section::<Listener>("broker.listeners[]"),
        section::<ListenerTls>("broker.listeners[].tls"),
        section::<WebSocket>("broker.listeners[].websocket"),
        section::<Access>("broker.access[]"),
        section::<Limits>("broker.limits"),
        section::<Store>("store"),
        section::<Defaults>("defaults"),
        section::<Publish>("defaults.publish"),
        section::<Connection>("connections[]"),
        section::<ModbusTcp>("connections[].modbus_tcp"),
        section::<ModbusTls>("connections[].modbus_tcp.tls"),
        section::<ModbusRtu>("connections[].modbus_rtu"),
        section::<Rs485>("connections[].modbus_rtu.rs485"),
        section::<ModbusRtuOverTcp>("connections[].modbus_rtu_over_tcp"),
        section::<SerialPort>("connections[].serial"),
        section::<TemplateFile>("templates/*.yaml"),
        section::<Template>("templates.NAME"),
        section::<Device>("devices[]"),
        section::<ProbeBackoff>("devices[].probe_backoff"),
        section::<Serial>("devices[].serial"),
        section::<Framing>("devices[].serial.framing"),
        section::<LengthField>("devices[].serial.framing.length_field"),
        section::<Checksum>("devices[].serial.checksum"),
        section::<Poll>("devices[].serial.poll"),
        section::<Parse>("devices[].serial.parse"),
        section::<Csv>("devices[].serial.parse.csv"),
        section::<Binary>("devices[].serial.parse.binary"),
        section::<Field>("devices[].serial.parse.fields.NAME"),
        section::<Command>("devices[].serial.commands.NAME"),
        section::<Group>("devices[].groups[]"),
        section::<Tag>("devices[].groups[].tags[]"),
        section::<Write>("devices[].groups[].tags[].write"),
        section::<Bridge>("bridges[]"),
        section::<BridgeTls>("bridges[].tls"),
        section::<Route>("bridges[].forward[]"),
        section::<Receive>("bridges[].receive[]"),
        section::<Backlog>("bridges[].backlog"),
        section::<Rate>("bridges[].rate"),
        section::<Backoff>("bridges[].backoff"),
        section::<Console>("console"),
    ]
}
