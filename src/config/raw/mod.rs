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

/// Each section's path as the reference writes it, and its keys.
#[cfg(test)]
pub(super) fn sections() -> Vec<(&'static str, Shape)> {
    vec![
        ("", shape::<Root>()),
        ("gateway", shape::<Gateway>()),
        ("broker", shape::<Broker>()),
        ("broker.listeners[]", shape::<Listener>()),
        ("broker.listeners[].tls", shape::<ListenerTls>()),
        ("broker.listeners[].websocket", shape::<WebSocket>()),
        ("broker.access[]", shape::<Access>()),
        ("broker.limits", shape::<Limits>()),
        ("store", shape::<Store>()),
        ("defaults", shape::<Defaults>()),
        ("defaults.publish", shape::<Publish>()),
        ("connections[]", shape::<Connection>()),
        ("connections[].modbus_tcp", shape::<ModbusTcp>()),
        ("connections[].modbus_tcp.tls", shape::<ModbusTls>()),
        ("connections[].modbus_rtu", shape::<ModbusRtu>()),
        ("connections[].modbus_rtu.rs485", shape::<Rs485>()),
        (
            "connections[].modbus_rtu_over_tcp",
            shape::<ModbusRtuOverTcp>(),
        ),
        ("connections[].serial", shape::<SerialPort>()),
        ("templates/*.yaml", shape::<TemplateFile>()),
        ("templates.NAME", shape::<Template>()),
        ("devices[]", shape::<Device>()),
        ("devices[].probe_backoff", shape::<ProbeBackoff>()),
        ("devices[].serial", shape::<Serial>()),
        ("devices[].serial.framing", shape::<Framing>()),
        (
            "devices[].serial.framing.length_field",
            shape::<LengthField>(),
        ),
        ("devices[].serial.checksum", shape::<Checksum>()),
        ("devices[].serial.poll", shape::<Poll>()),
        ("devices[].serial.parse", shape::<Parse>()),
        ("devices[].serial.parse.csv", shape::<Csv>()),
        ("devices[].serial.parse.binary", shape::<Binary>()),
        ("devices[].serial.parse.fields.NAME", shape::<Field>()),
        ("devices[].serial.commands.NAME", shape::<Command>()),
        ("devices[].groups[]", shape::<Group>()),
        ("devices[].groups[].tags[]", shape::<Tag>()),
        ("devices[].groups[].tags[].write", shape::<Write>()),
        ("bridges[]", shape::<Bridge>()),
        ("bridges[].tls", shape::<BridgeTls>()),
        ("bridges[].forward[]", shape::<Route>()),
        ("bridges[].receive[]", shape::<Receive>()),
        ("bridges[].backlog", shape::<Backlog>()),
        ("bridges[].rate", shape::<Rate>()),
        ("bridges[].backoff", shape::<Backoff>()),
        ("console", shape::<Console>()),
    ]
}
