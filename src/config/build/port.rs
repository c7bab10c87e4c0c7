//! Serial ports, of Modbus lines and of instruments.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_yaml::Value;

use super::connection::{Wire, Wired};
use super::{below, time};
use crate::adapter::{Parity, Rs485Options, SerialOptions};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::raw::{self, OneOf};
use crate::config::section::Section;

/// From the slowest line in use to what adapters can.
const BAUD_RATES: RangeInclusive<u32> = 110..=4_000_000;

/// What is said of a serial port.
pub(super) struct PortKeys<'a> {
    pub(super) port: Option<&'a str>,
    pub(super) baud_rate: Option<u32>,
    pub(super) data_bits: Option<u8>,
    pub(super) parity: Option<OneOf<Parity>>,
    pub(super) stop_bits: Option<u8>,
    pub(super) rs485: Option<&'a Value>,
}

/// The [`SerialOptions`] of a section that has the keys of a port, with so many data bits.
macro_rules! serial_port {
    ($context:expr, $section:expr, $data_bits:expr) => {{
        let raw = &$section.raw;
        let keys = $crate::config::build::port::PortKeys {
            port: raw.port.as_deref(),
            baud_rate: raw.baud_rate,
            data_bits: raw.data_bits,
            parity: raw.parity,
            stop_bits: raw.stop_bits,
            rs485: raw.rs485.as_ref(),
        };
        $crate::config::build::port::serial($context, $section, keys, $data_bits)
    }};
}
pub(super) use serial_port;

pub(super) fn serial<T>(
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
    let rs485 = rs485(context, section, keys.rs485);
    Some(SerialOptions {
        port: PathBuf::from(port?),
        baud_rate: baud_rate?,
        data_bits: data_bits.unwrap_or(8),
        parity: keys.parity.map(|parity| parity.0).unwrap_or_default(),
        stop_bits: stop_bits.unwrap_or(1),
        rs485,
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
pub(super) fn check_port(
    context: &mut Context<'_>,
    wires: &[Wire],
    serial: &SerialOptions,
    place: &Place,
) {
    let taken = wires.iter().find(|(_, _, wired)| {
        let port = wired.as_ref().and_then(Wired::port);
        port.is_some_and(|first| first.port == serial.port)
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

fn rs485<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    value: Option<&Value>,
) -> Option<Rs485Options> {
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
