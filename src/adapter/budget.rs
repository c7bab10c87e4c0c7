//! How much of the time of a wire its devices ask for, from their plans. No I/O.
//!
//! A transaction on a line takes the bytes of request and reply, each as long as a character; a frame gap before each of
//! both; the time that the device thinks, which nobody knows before ([`THINKING`] is what a quick one takes; many take 20 to
//! 50 ms); and `request_delay`. Retries and requests that are made in parts come on top: a line needs air for them, which is
//! why [`OVERBOOKED_ABOVE`] is less than all.

use std::fmt;
use std::time::Duration;

use super::options::{ConnectionOptions, DeviceOptions};
use super::plan::{PlanError, ReadRequest, plan};
use super::wire_options::WireOptions;

/// What a device is taken to need from the last byte of a request to the first of its reply, beside the gap.
const THINKING: Duration = Duration::from_millis(5);
/// More of its time than this is too much for a line.
pub const OVERBOOKED_ABOVE: f64 = 0.8;

/// Unit, function, address, quantity, checksum.
const REQUEST_BYTES: u32 = 8;
/// Unit, function, count and checksum around the data.
const REPLY_BYTES_AROUND: u32 = 5;
/// How fast the line behind a converter is taken to be where an example is given.
const EXAMPLE_BAUD: u32 = 9600;
/// Start, eight, parity or a second stop, stop.
const EXAMPLE_CHARACTER_BITS: u32 = 11;

/// What the devices of a connection ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Of a Modbus TCP connection: how much it can take depends on the device.
    Requests {
        /// In a second.
        rate: f64,
    },
    /// Of a serial line.
    Line {
        /// Part of its time; more than 1 cannot be.
        share: f64,
    },
    /// Of a line behind a converter, whose speed only the converter knows.
    Converter {
        /// Requests in a second.
        rate: f64,
        /// Part of its time, were it a line of 9600 baud.
        share_at_9600: f64,
    },
}

impl Load {
    /// What the devices of `connection` ask for, when all goes well.
    ///
    /// # Errors
    /// Says which tag cannot be read.
    pub fn of(connection: &ConnectionOptions) -> Result<Self, PlanError> {
        let wire = &connection.wire;
        Ok(match wire {
            WireOptions::ModbusTcp(_) => Self::Requests {
                rate: sum(connection, |_, _| 1.0)?,
            },
            WireOptions::ModbusRtu(serial, _) => Self::Line {
                share: share(connection, serial.character())?,
            },
            WireOptions::ModbusRtuOverTcp(..) => Self::Converter {
                rate: sum(connection, |_, _| 1.0)?,
                share_at_9600: share(
                    connection,
                    Duration::from_secs(1) * EXAMPLE_CHARACTER_BITS / EXAMPLE_BAUD,
                )?,
            },
        })
    }

    /// Whether it is more than the line can be relied on for. Of what is not known to be a line nothing is claimed.
    #[must_use]
    pub fn is_overbooked(self) -> bool {
        matches!(self, Self::Line { share } if share > OVERBOOKED_ABOVE)
    }
}

/// `38 % of its time booked`.
impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests { rate } => write!(formatter, "{} a second", Requests(*rate)),
            Self::Line { share } => write!(formatter, "{} of its time booked", Percent(*share)),
            Self::Converter {
                rate,
                share_at_9600,
            } => write!(
                formatter,
                "{} a second, {} of the time of a line at 9600 baud",
                Requests(*rate),
                Percent(*share_at_9600)
            ),
        }
    }
}

struct Percent(f64);

impl fmt::Display for Percent {
    /// Whole ones; what is little is no nothing.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        if percent > 0.0 && percent < 1.0 {
            return formatter.write_str("less than 1 %");
        }
        write!(formatter, "{percent:.0} %")
    }
}

struct Requests(f64);

impl fmt::Display for Requests {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two digits are enough: 0.017 of what is asked each minute.
        if self.0 >= 10.0 {
            write!(formatter, "{:.0} requests", self.0)
        } else {
            let rounded = format!("{:.2}", self.0);
            let short = rounded.trim_end_matches('0').trim_end_matches('.');
            write!(formatter, "{short} requests")
        }
    }
}

/// Part of the time of a line where a byte takes `character`.
fn share(connection: &ConnectionOptions, character: Duration) -> Result<f64, PlanError> {
    let gap = connection.wire.frame_gap();
    sum(connection, |device, request| {
        let bytes = REQUEST_BYTES + REPLY_BYTES_AROUND + data_bytes(request);
        let time = character * bytes + gap * 2 + THINKING + device.request_delay;
        time.as_secs_f64()
    })
}

/// `cost` of each request, in a second.
fn sum(
    connection: &ConnectionOptions,
    cost: impl Fn(&DeviceOptions, &ReadRequest) -> f64,
) -> Result<f64, PlanError> {
    let mut total = 0.0;
    for device in &connection.devices {
        for group in plan(device)? {
            let once: f64 = group
                .requests
                .iter()
                .map(|request| cost(device, request))
                .sum();
            total += once / group.interval.as_secs_f64();
        }
    }
    Ok(total)
}

fn data_bytes(request: &ReadRequest) -> u32 {
    let quantity = u32::from(request.quantity);
    if request.table.holds_bits() {
        quantity.div_ceil(8)
    } else {
        quantity * 2
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::options::{GroupOptions, Table};
    use super::super::wire_options::{Parity, RtuOptions, SerialOptions, TcpOptions};
    use super::*;
    use crate::value::TagType;

    fn line(baud_rate: u32, parity: Parity) -> WireOptions {
        let serial = SerialOptions {
            port: "/dev/ttyUSB0".into(),
            baud_rate,
            data_bits: 8,
            parity,
            stop_bits: 1,
            rs485: None,
        };
        WireOptions::ModbusRtu(serial, RtuOptions::default())
    }

    fn tcp() -> TcpOptions {
        TcpOptions {
            host: "moxa".to_owned(),
            port: 4001,
            connect_timeout: Duration::from_secs(3),
            tls: None,
        }
    }

    /// One request for so many registers.
    fn group(interval_ms: u64, registers: u16) -> GroupOptions {
        let tag = fixture::tag("t", Table::HoldingRegisters, 0, TagType::Text(registers));
        fixture::group("g", interval_ms, vec![tag])
    }

    fn load(wire: WireOptions, devices: Vec<DeviceOptions>) -> Load {
        let name = "line".to_owned();
        let connection = ConnectionOptions {
            name,
            wire,
            devices,
            splits_file: None,
        };
        Load::of(&connection).unwrap()
    }

    fn share(wire: WireOptions, devices: Vec<DeviceOptions>) -> f64 {
        match load(wire, devices) {
            Load::Line { share } => share,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_takes_its_bytes_gaps_and_delays() {
        // 8 + 5 + 20 bytes of 11 bits at 9600 baud: 37.81 ms; two gaps of 3.5 characters: 8.02 ms; 5 ms: 50.83 ms.
        let one = |group| vec![fixture::device("meter", 1, vec![group])];
        let found = share(line(9600, Parity::Even), one(group(1000, 10)));
        assert!((found - 0.050_83).abs() < 0.000_01, "{found}");
        // Without parity 10 bits: 34.38 ms; the gaps stay those of 11 bits, as the standard has them.
        let found = share(line(9600, Parity::None), one(group(1000, 10)));
        assert!((found - 0.047_40).abs() < 0.000_01, "{found}");
        // 8 + 5 + 250 bytes at 115 200 baud: 25.11 ms; two fixed gaps: 3.5 ms; 5 ms: 33.61 ms in each 100 ms.
        let found = share(line(115_200, Parity::Even), one(group(100, 125)));
        assert!((found - 0.336_1).abs() < 0.000_1, "{found}");
        // Nine coils are two bytes: 15 bytes, 17.19 ms; 8.02 ms; 5 ms: 30.21 ms.
        let coils = (0..9).map(|address| fixture::tag("t", Table::Coils, address, TagType::Bool));
        let coils = fixture::group("g", 1000, coils.collect());
        let found = share(line(9600, Parity::Even), one(coils));
        assert!((found - 0.030_21).abs() < 0.000_01, "{found}");
    }

    #[test]
    fn all_groups_of_all_devices_of_a_line_count() {
        let meter = |unit| fixture::device("meter", unit, vec![group(1000, 10), group(10_000, 10)]);
        let slow = DeviceOptions {
            request_delay: Duration::from_millis(100),
            ..meter(3)
        };
        let devices = vec![meter(1), meter(2), slow];
        // 50.83 ms, 3.3 times a second, and 100 ms 1.1 times.
        let found = share(line(9600, Parity::Even), devices);
        assert!((found - (3.3 * 0.050_83 + 0.11)).abs() < 0.000_1, "{found}");
    }

    #[test]
    fn a_line_is_overbooked_above_four_fifths() {
        let devices =
            |units| (1..=units).map(|unit| fixture::device("m", unit, vec![group(1000, 10)]));
        let load = |units| load(line(9600, Parity::Even), devices(units).collect());
        assert_eq!(load(15).to_string(), "76 % of its time booked");
        assert!(!load(15).is_overbooked());
        assert_eq!(load(16).to_string(), "81 % of its time booked");
        assert!(load(16).is_overbooked());
        assert_eq!(load(30).to_string(), "152 % of its time booked");
    }

    #[test]
    fn what_is_no_line_is_told_by_its_requests() {
        let devices = |interval| vec![fixture::device("m", 1, vec![group(interval, 10)])];
        let tcp_load = |interval| load(WireOptions::ModbusTcp(tcp()), devices(interval));
        assert_eq!(tcp_load(10).to_string(), "100 requests a second");
        assert!(!tcp_load(10).is_overbooked());
        assert_eq!(tcp_load(400).to_string(), "2.5 requests a second");
        assert_eq!(tcp_load(60_000).to_string(), "0.02 requests a second");
        let converter = WireOptions::ModbusRtuOverTcp(tcp(), RtuOptions::default());
        // The gap of a converter is 5 ms: 37.81 + 10 + 5 = 52.81 ms.
        assert_eq!(
            load(converter, devices(500)).to_string(),
            "2 requests a second, 11 % of the time of a line at 9600 baud"
        );
        assert_eq!(
            load(line(9600, Parity::Even), devices(60_000)).to_string(),
            "less than 1 % of its time booked"
        );
    }
}
