//! `connections:`: the wires.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::address::is_host;
use super::{Names, below, each, name, time};
use crate::adapter::{
    ConnectionOptions, Parity, Rs485Options, RtuOptions, SerialOptions, TcpOptions, WireOptions,
};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::raw::{self, AutoTime, OneOf, Time};
use crate::config::section::Section;

/// The port of Modbus TCP.
const MODBUS_PORT: u16 = 502;

/// From the slowest line in use to what adapters can.
const BAUD_RATES: RangeInclusive<u32> = 110..=4_000_000;

/// What a connection may be, of which it is exactly one.
const KINDS: [&str; 4] = ["modbus_tcp", "modbus_rtu", "modbus_rtu_over_tcp", "serial"];

/// A wire with its place. `None` where the file names it but says it wrong: devices may still refer to it.
pub(super) type Wire = (String, Place, Option<ConnectionOptions>);

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
        let wire = wire(context, &section);
        if let Some(WireOptions::ModbusRtu(serial, _)) = &wire {
            let place = section.at("modbus_rtu").key("port");
            check_port(context, &wires, serial, &place);
        }
        let options = wire.map(|wire| ConnectionOptions {
            name: name.clone(),
            wire,
            devices: Vec::new(),
        });
        if !name.is_empty() && names.take(context, "connection", &name, &section.at("name")) {
            wires.push((name, section.place, options));
        }
    }
    wires
}

/// What kind of connection it is, and how that is reached.
fn wire(context: &mut Context<'_>, section: &Section<raw::Connection>) -> Option<WireOptions> {
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
    match *kinds.first()? {
        "modbus_tcp" => modbus_tcp(context, section),
        "modbus_rtu" => modbus_rtu(context, section),
        "modbus_rtu_over_tcp" => modbus_rtu_over_tcp(context, section),
        _ => None,
    }
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
    } = &section.raw;
    let port = tcp_port(context, &section, *port);
    let tcp = tcp(context, &section, host.as_ref(), port, *connect_timeout);
    Some(WireOptions::ModbusTcp(tcp?))
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
    let raw = &section.raw;
    let keys = PortKeys {
        port: raw.port.as_deref(),
        baud_rate: raw.baud_rate,
        data_bits: raw.data_bits,
        parity: raw.parity,
        stop_bits: raw.stop_bits,
    };
    let serial = serial(context, &section, keys, 8..=8);
    let rs485 = rs485(context, &section);
    let rtu = rtu(context, &section, raw.frame_gap, raw.discard_echo);
    let serial = SerialOptions { rs485, ..serial? };
    Some(WireOptions::ModbusRtu(serial, rtu))
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
        port: port.unwrap_or(MODBUS_PORT),
        connect_timeout: timeout.unwrap_or(Duration::from_secs(3)),
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

/// What is said of a serial port.
struct PortKeys<'a> {
    port: Option<&'a str>,
    baud_rate: Option<u32>,
    data_bits: Option<u8>,
    parity: Option<OneOf<Parity>>,
    stop_bits: Option<u8>,
}

fn serial<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    keys: PortKeys<'_>,
    data_bits: RangeInclusive<u8>,
) -> Option<SerialOptions> {
    let port = section.required(
        context,
        "port",
        keys.port,
        "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A10K2X3Z-if00-port0",
    );
    let port = port.filter(|port| is_device_file(context, port, &section.at("port")));
    // A wrong guess would only time out.
    let baud_rate = section.required(context, "baud_rate", keys.baud_rate, "9600");
    let baud_rate = section.within(context, "baud_rate", baud_rate, BAUD_RATES, |baud| {
        baud.to_string()
    });
    let show = |bits: u8| bits.to_string();
    let data_bits = section.within(context, "data_bits", keys.data_bits, data_bits, show);
    let stop_bits = section.within(context, "stop_bits", keys.stop_bits, 1..=2, show);
    Some(SerialOptions {
        port: PathBuf::from(port?),
        baud_rate: baud_rate?,
        data_bits: data_bits.unwrap_or(8),
        parity: keys.parity.map(|parity| parity.0).unwrap_or_default(),
        stop_bits: stop_bits.unwrap_or(1),
        rs485: None,
    })
}

/// A full path, and best one that names the adapter.
fn is_device_file(context: &mut Context<'_>, port: &str, place: &Place) -> bool {
    if !port.starts_with('/') {
        let message = format!("`{}` is no serial port", quoted(port));
        let remedy = "write its full path, such as /dev/ttyAMA0 or one of /dev/serial/by-id";
        context.error(Code::BadAddress, place, message, remedy);
        return false;
    }
    if ["/dev/ttyUSB", "/dev/ttyACM"]
        .iter()
        .any(|numbered| port.starts_with(numbered))
    {
        let message = format!(
            "`{}` names whichever adapter was plugged in at that turn",
            quoted(port)
        );
        let remedy = "write its name in /dev/serial/by-id, which stays";
        context.warning(Code::BadAddress, place, message, remedy);
    }
    true
}

/// A port has one master.
fn check_port(context: &mut Context<'_>, wires: &[Wire], serial: &SerialOptions, place: &Place) {
    let taken = wires.iter().find(|(_, _, options)| {
        options.as_ref().is_some_and(|options| {
            matches!(&options.wire, WireOptions::ModbusRtu(first, _) if first.port == serial.port)
        })
    });
    if let Some((first, ..)) = taken {
        let message = format!(
            "`{}` is the port of the connection `{}` already",
            quoted(&serial.port.to_string_lossy()),
            quoted(first)
        );
        let remedy = "let the devices of one line name one connection";
        context.error(Code::Contradiction, place, message, remedy);
    }
}

fn rs485(context: &mut Context<'_>, section: &Section<raw::ModbusRtu>) -> Option<Rs485Options> {
    let value = section.raw.rs485.as_ref();
    let section = below::<raw::Rs485>(context, section, "rs485", value);
    let raw::Rs485 {
        mode,
        delay_before_send,
        delay_after_send,
    } = section.raw;
    let range = Duration::ZERO..=Duration::from_millis(100);
    let mut delay = |key, given| {
        let delay = time(context, &section, key, given, range.clone());
        delay.unwrap_or_default()
    };
    let options = Rs485Options {
        delay_before_send: delay("delay_before_send", delay_before_send),
        delay_after_send: delay("delay_after_send", delay_after_send),
    };
    let is_kernel = mode.is_some_and(|mode| mode.0 == raw::Rs485Mode::Kernel);
    if !is_kernel && options != Rs485Options::default() {
        context.warning(
            Code::NoEffect,
            &section.place,
            "the delays are the kernel's, which does not switch here",
            "write `mode: kernel`, or remove them",
        );
    }
    is_kernel.then_some(options)
}
