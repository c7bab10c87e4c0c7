//! `connections:`: the wires.

use std::time::Duration;

use super::address::is_host;
use super::{Names, below, each, name, time};
use crate::adapter::ConnectionOptions;
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;

/// The port of Modbus TCP.
const MODBUS_PORT: u16 = 502;

/// What a connection may be, of which it is exactly one.
const KINDS: [&str; 4] = ["modbus_tcp", "modbus_rtu", "modbus_rtu_over_tcp", "serial"];

/// A wire with its place. `None` where the file names it but says it wrong: devices may still refer to it.
pub(super) type Wire = (String, Place, Option<ConnectionOptions>);

pub(super) fn wires(context: &mut Context<'_>, root: &Section<raw::Root>) -> Vec<Wire> {
    let mut names = Names::default();
    let mut wires = Vec::new();
    for section in each::<raw::Connection>(
        context,
        root.raw.connections.as_ref(),
        &root.at("connections"),
    ) {
        name(context, &section, section.raw.name.as_ref(), "line1");
        let name = section.raw.name.clone().unwrap_or_default();
        let options = modbus_tcp(context, &section, &name);
        if !name.is_empty() && names.take(context, "connection", &name, &section.at("name")) {
            wires.push((name, section.place, options));
        }
    }
    wires
}

fn modbus_tcp(
    context: &mut Context<'_>,
    section: &Section<raw::Connection>,
    name: &str,
) -> Option<ConnectionOptions> {
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| section.has(kind)).collect();
    if kinds.is_empty() {
        let remedy = "add `modbus_tcp: { host: 192.168.10.21 }`";
        context.error_at_key(
            Code::MissingKey,
            &section.place,
            "what kind of connection this is, is missing",
            remedy,
        );
    }
    if let [first, second, ..] = kinds.as_slice() {
        let message = format!("a connection is one wire; this one has `{first}` and `{second}`");
        context.error_at_key(
            Code::Contradiction,
            &section.at(second),
            message,
            "make two connections of it",
        );
    }
    if !section.has("modbus_tcp") {
        return None;
    }
    let tcp = below::<raw::ModbusTcp>(
        context,
        section,
        "modbus_tcp",
        section.raw.modbus_tcp.as_ref(),
    );
    let host = tcp.required(context, "host", tcp.raw.host.as_ref(), "192.168.10.21");
    let host = host.filter(|host| is_host(context, host, &tcp.at("host")));
    let port = tcp.within(context, "port", tcp.raw.port, 1..=65_535, |port| {
        port.to_string()
    });
    let range = Duration::from_millis(10)..=Duration::from_secs(300);
    let timeout = time(
        context,
        &tcp,
        "connect_timeout",
        tcp.raw.connect_timeout,
        range,
    );
    Some(ConnectionOptions {
        name: name.to_owned(),
        host: host?.clone(),
        port: port.unwrap_or(MODBUS_PORT),
        connect_timeout: timeout.unwrap_or(Duration::from_secs(3)),
        devices: Vec::new(),
    })
}
