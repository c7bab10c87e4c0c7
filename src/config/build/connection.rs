//! `connections:`: the wires.

use std::time::Duration;

use super::address::is_host;
use super::client_tls::{Said, client_tls};
use super::port::{check_port, serial_port};
use super::{Names, below, each, name, time};
use crate::adapter::serial::InstrumentOptions;
use crate::adapter::{
    ConnectionOptions, Load, OVERBOOKED_ABOVE, RtuOptions, SerialOptions, TcpOptions, WireOptions,
};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::place::Place;
use crate::config::raw::{self, AutoTime, Time};
use crate::config::section::Section;
use crate::net::ClientTls;

/// The port of Modbus TCP.
const MODBUS_PORT: u16 = 502;
/// The port of Modbus TCP over TLS (Modbus/TCP Security).
const MODBUS_TLS_PORT: u16 = 802;

/// What a connection may be, of which it is exactly one.
const KINDS: [&str; 4] = ["modbus_tcp", "modbus_rtu", "modbus_rtu_over_tcp", "serial"];

/// A wire with its place. `None` where the file names it but says it wrong: devices may still refer to it.
pub(super) type Wire = (String, Place, Option<Wired>);

/// What is on a wire: as yet nothing, then the devices that name it.
pub(super) enum Wired {
    Modbus(ConnectionOptions),
    Serial(SerialOptions, Option<Box<InstrumentOptions>>),
}

impl Wired {
    /// The serial port of this machine that it takes.
    pub(super) fn port(&self) -> Option<&SerialOptions> {
        match self {
            Self::Serial(port, _) => Some(port),
            Self::Modbus(modbus) => match &modbus.wire {
                WireOptions::ModbusRtu(port, _) => Some(port),
                WireOptions::ModbusTcp(_) | WireOptions::ModbusRtuOverTcp(..) => None,
            },
        }
    }
}

pub(super) fn wires(context: &mut Context<'_>, root: &Section<raw::Root>) -> Vec<Wire> {
    let mut names = Names::default();
    let mut wires: Vec<Wire> = Vec::new();
    for section in each::<raw::Connection>(
        context,
        root.raw.connections.as_ref(),
        &root.at("connections"),
    ) {
        name(context, &section, section.raw.name.as_ref(), "line1");
        let name = section.raw.name.clone().unwrap_or_default();
        let (kind, wired) = wired(context, &section, &name);
        if let Some(port) = wired.as_ref().and_then(Wired::port) {
            let place = section.at(kind).key("port");
            check_port(context, &wires, port, &place);
        }
        if !name.is_empty() && names.take(context, "connection", &name, &section.at("name")) {
            wires.push((name, section.place, wired));
        }
    }
    wires
}

/// Lines that have no time for all that is asked of them. Groups that cannot be read at all have faults of their own.
pub(super) fn check_budgets(context: &mut Context<'_>, wires: &[Wire]) {
    for (_, place, wired) in wires {
        let Some(Wired::Modbus(connection)) = wired else {
            continue;
        };
        if let Ok(load) = Load::of(connection)
            && load.is_overbooked()
        {
            let message = format!(
                "the line has {load}, and more than {:.0} % leaves no room for retries",
                OVERBOOKED_ABOVE * 100.0
            );
            let remedy = "raise `baud_rate` or an `interval`, read more at once with `max_gap`, or part the devices over \
                          two lines";
            context.warning(Code::Overbooked, place, message, remedy);
        }
    }
}

/// What kind of connection it is, and how that is reached.
fn wired(
    context: &mut Context<'_>,
    section: &Section<raw::Connection>,
    name: &str,
) -> (&'static str, Option<Wired>) {
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| section.has(kind)).collect();
    if kinds.is_empty() {
        let remedy = "add `modbus_tcp: { host: 192.168.10.21 }`, or one of `modbus_rtu:`, `modbus_rtu_over_tcp:` and `serial:`";
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
    let kind = kinds.first().copied().unwrap_or_default();
    let wire = match kind {
        "modbus_tcp" => modbus_tcp(context, section),
        "modbus_rtu" => modbus_rtu(context, section),
        "modbus_rtu_over_tcp" => modbus_rtu_over_tcp(context, section),
        "serial" => {
            let port = instrument_port(context, section);
            return (kind, port.map(|port| Wired::Serial(port, None)));
        }
        _ => None,
    };
    let wired = wire.map(|wire| {
        Wired::Modbus(ConnectionOptions {
            name: name.to_owned(),
            wire,
            devices: Vec::new(),
            splits_file: None,
        })
    });
    (kind, wired)
}

fn modbus_tcp(
    context: &mut Context<'_>,
    section: &Section<raw::Connection>,
) -> Option<WireOptions> {
    let value = section.raw.modbus_tcp.as_ref();
    let section = below::<raw::ModbusTcp>(context, section, "modbus_tcp", value);
    let raw::ModbusTcp {
        host,
        port,
        connect_timeout,
        tls: _,
    } = &section.raw;
    let default = if section.has("tls") {
        MODBUS_TLS_PORT
    } else {
        MODBUS_PORT
    };
    let port = tcp_port(context, &section, *port).or(Some(default));
    let tcp = tcp(context, &section, host.as_ref(), port, *connect_timeout);
    let tls = section.has("tls").then(|| modbus_tls(context, &section));
    Some(WireOptions::ModbusTcp(TcpOptions {
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
        ..tcp?
    }))
}

fn modbus_tls(context: &mut Context<'_>, section: &Section<raw::ModbusTcp>) -> Option<ClientTls> {
    let tls = below::<raw::ModbusTls>(context, section, "tls", section.raw.tls.as_ref());
    let raw::ModbusTls {
        ca,
        certificate,
        private_key,
        server_name,
    } = &tls.raw;
    let said = Said {
        ca: ca.as_ref(),
        certificate: certificate.as_ref(),
        private_key: private_key.as_ref(),
        server_name: server_name.as_ref(),
    };
    client_tls(context, &tls, said, "certs/plant-ca.pem")
}

fn modbus_rtu_over_tcp(
    context: &mut Context<'_>,
    section: &Section<raw::Connection>,
) -> Option<WireOptions> {
    let value = section.raw.modbus_rtu_over_tcp.as_ref();
    let section = below::<raw::ModbusRtuOverTcp>(context, section, "modbus_rtu_over_tcp", value);
    let raw::ModbusRtuOverTcp {
        host,
        port,
        connect_timeout,
        frame_gap,
        discard_echo,
    } = &section.raw;
    // Converters have no port in common.
    let port = section.required(context, "port", *port, "4001");
    let port = tcp_port(context, &section, port);
    let tcp = tcp(context, &section, host.as_ref(), port, *connect_timeout);
    let rtu = rtu(context, &section, *frame_gap, *discard_echo);
    Some(WireOptions::ModbusRtuOverTcp(tcp?, rtu))
}

fn modbus_rtu(
    context: &mut Context<'_>,
    section: &Section<raw::Connection>,
) -> Option<WireOptions> {
    let value = section.raw.modbus_rtu.as_ref();
    let section = below::<raw::ModbusRtu>(context, section, "modbus_rtu", value);
    let serial = serial_port!(context, &section, 8..=8);
    let (gap, echo) = (section.raw.frame_gap, section.raw.discard_echo);
    let rtu = rtu(context, &section, gap, echo);
    Some(WireOptions::ModbusRtu(serial?, rtu))
}

fn instrument_port(
    context: &mut Context<'_>,
    section: &Section<raw::Connection>,
) -> Option<SerialOptions> {
    let value = section.raw.serial.as_ref();
    let section = below::<raw::SerialPort>(context, section, "serial", value);
    serial_port!(context, &section, 5..=8)
}

fn tcp_port<T>(context: &mut Context<'_>, section: &Section<T>, port: Option<u16>) -> Option<u16> {
    section.within(context, "port", port, 1..=65_535, |port| port.to_string())
}

fn tcp<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    host: Option<&String>,
    port: Option<u16>,
    connect_timeout: Option<Time>,
) -> Option<TcpOptions> {
    let host = section.required(context, "host", host, "192.168.10.21");
    let host = host.filter(|host| is_host(context, host, &section.at("host")));
    let range = Duration::from_millis(10)..=Duration::from_secs(300);
    let timeout = time(context, section, "connect_timeout", connect_timeout, range);
    Some(TcpOptions {
        host: host?.clone(),
        port: port?,
        connect_timeout: timeout.unwrap_or(Duration::from_secs(3)),
        tls: None,
    })
}

fn rtu<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    frame_gap: Option<AutoTime>,
    discard_echo: Option<bool>,
) -> RtuOptions {
    let gap = frame_gap.and_then(|gap| gap.0).map(Time);
    let range = Duration::ZERO..=Duration::from_secs(1);
    RtuOptions {
        frame_gap: time(context, section, "frame_gap", gap, range),
        discard_echo: discard_echo.unwrap_or(false),
    }
}
