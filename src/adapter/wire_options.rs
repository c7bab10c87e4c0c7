//! Options of wires: what a connection is and how it is reached. No I/O.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::net::ClientTls;

/// Bits of a character in the arithmetic of Modbus (section 2.5.1): start, eight, parity, stop.
const MODBUS_CHARACTER_BITS: u32 = 11;
/// Above this many baud the pauses are fixed (section 2.5.1.1).
const FIXED_GAP_ABOVE: u32 = 19_200;
const FIXED_GAP: Duration = Duration::from_micros(1750);
/// What a converter's line is given where its speed is not known: enough at 9600 baud.
const CONVERTER_GAP: Duration = Duration::from_millis(5);

/// What a connection is.
#[derive(Clone, Debug, PartialEq)]
pub enum WireOptions {
    /// Modbus TCP.
    ModbusTcp(TcpOptions),
    /// Modbus RTU on a serial port of this machine.
    ModbusRtu(SerialOptions, RtuOptions),
    /// Modbus RTU through a converter that carries bytes between TCP and a serial line.
    ModbusRtuOverTcp(TcpOptions, RtuOptions),
}

/// Whom to dial.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpOptions {
    /// Host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Limit on connecting.
    pub connect_timeout: Duration,
    /// Modbus TCP over TLS; `None`: everything is readable on the way.
    pub tls: Option<ClientTls>,
}

/// A serial port.
#[derive(Clone, Debug, PartialEq)]
pub struct SerialOptions {
    /// Its file, best by id: that name stays when adapters change places.
    pub port: PathBuf,
    /// Bits per second.
    pub baud_rate: u32,
    /// 5 to 8.
    pub data_bits: u8,
    /// The check bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// Let the kernel switch the driver of an RS-485 line; `None`: the adapter does by itself.
    pub rs485: Option<Rs485Options>,
}

/// The check bit of each character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    /// There is none.
    #[default]
    None,
    /// Ones are odd in number, with it.
    Odd,
    /// Ones are even in number, with it.
    Even,
}

/// How long the kernel holds the driver of an RS-485 line on, in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rs485Options {
    /// From switching on to the first bit.
    pub delay_before_send: Duration,
    /// From the last bit to switching off.
    pub delay_after_send: Duration,
}

/// How RTU is spoken on a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RtuOptions {
    /// Silence between frames; `None`: 3.5 characters, 1.75 ms above 19 200 baud, 5 ms behind a converter.
    pub frame_gap: Option<Duration>,
    /// The adapter hears what it sends.
    pub discard_echo: bool,
}

impl SerialOptions {
    /// How long one character takes on the line.
    #[must_use]
    pub fn character(&self) -> Duration {
        let parity = u32::from(self.parity != Parity::None);
        let bits = 1 + u32::from(self.data_bits) + parity + u32::from(self.stop_bits);
        Duration::from_secs(1) * bits / self.baud_rate.max(1)
    }

    /// 3.5 characters (section 2.5.1.1).
    fn gap(&self) -> Duration {
        if self.baud_rate > FIXED_GAP_ABOVE {
            FIXED_GAP
        } else {
            Duration::from_secs(7) * MODBUS_CHARACTER_BITS / (2 * self.baud_rate.max(1))
        }
    }
}

impl WireOptions {
    /// How long opening it may take; zero where that takes no time.
    #[must_use]
    pub(super) fn connect_limit(&self) -> Duration {
        match self {
            Self::ModbusTcp(tcp) | Self::ModbusRtuOverTcp(tcp, _) => tcp.connect_timeout,
            Self::ModbusRtu(..) => Duration::ZERO,
        }
    }

    /// Silence between two frames; zero where they have borders of their own.
    #[must_use]
    pub fn frame_gap(&self) -> Duration {
        match self {
            Self::ModbusTcp(_) => Duration::ZERO,
            Self::ModbusRtu(serial, rtu) => rtu.frame_gap.unwrap_or_else(|| serial.gap()),
            Self::ModbusRtuOverTcp(_, rtu) => rtu.frame_gap.unwrap_or(CONVERTER_GAP),
        }
    }

    /// How long one byte takes; zero where it is not known.
    #[must_use]
    pub fn byte(&self) -> Duration {
        match self {
            Self::ModbusRtu(serial, _) => serial.character(),
            Self::ModbusTcp(_) | Self::ModbusRtuOverTcp(..) => Duration::ZERO,
        }
    }
}

impl fmt::Display for WireOptions {
    /// Where it goes: `plc:502`, `moxa:4001 (RTU)`, `/dev/ttyUSB0 at 9600 8E1`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ModbusTcp(tcp) => tcp.fmt(formatter),
            Self::ModbusRtu(serial, _) => serial.fmt(formatter),
            Self::ModbusRtuOverTcp(tcp, _) => write!(formatter, "{tcp} (RTU)"),
        }
    }
}

impl fmt::Display for TcpOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls.is_some() { " (TLS)" } else { "" };
        write!(formatter, "{}:{}{tls}", self.host, self.port)
    }
}

impl fmt::Display for SerialOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Odd => 'O',
            Parity::Even => 'E',
        };
        write!(
            formatter,
            "{} at {} {}{parity}{}",
            self.port.display(),
            self.baud_rate,
            self.data_bits,
            self.stop_bits
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtu(baud_rate: u32) -> WireOptions {
        let serial = SerialOptions {
            port: "/dev/ttyUSB0".into(),
            baud_rate,
            data_bits: 8,
            parity: Parity::Even,
            stop_bits: 1,
            rs485: None,
        };
        WireOptions::ModbusRtu(serial, RtuOptions::default())
    }

    #[test]
    fn a_gap_is_three_and_a_half_characters() {
        for (baud_rate, micros) in [
            (1200, 32_083),
            (9600, 4010),
            (19_200, 2005),
            (38_400, 1750),
            (115_200, 1750),
        ] {
            let gap = rtu(baud_rate).frame_gap();
            assert_eq!(gap.as_micros(), micros, "{baud_rate} baud");
        }
        assert_eq!(rtu(9600).byte().as_micros(), 1145);
        assert_eq!(rtu(9600).to_string(), "/dev/ttyUSB0 at 9600 8E1");
    }
}
