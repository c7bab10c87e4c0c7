//! Whom a command asks: a device of the configuration by its name, a host, or a serial port. Opens nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Fault;
use crate::adapter::{
    ConnectionOptions, Parity, RtuOptions, SerialOptions, TcpOptions, UnitId, WireOptions,
};
use crate::cli::default_config;
use crate::cli::installed::Surroundings;
use crate::config::{self, Config};

/// The port of Modbus TCP.
const MODBUS_PORT: u16 = 502;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// As patient as the configuration is by default.
const TIMEOUT: Duration = Duration::from_secs(1);
const RETRIES: u32 = 1;

/// How it is reached, as a person says it.
#[derive(Debug, clap::Args)]
pub(super) struct Reach {
    /// A device by its name in the configuration, or `HOST[:PORT]`, or a serial port such as /dev/ttyUSB0.
    pub(super) target: String,
    #[command(flatten)]
    pub(super) wire: WireArguments,
    /// The unit that is asked; default: 1, or that of the device.
    #[arg(short, long)]
    pub(super) unit: Option<u8>,
    /// How long to wait for a reply; default: 1s, or that of the device.
    #[arg(long, value_parser = config::duration)]
    pub(super) timeout: Option<Duration>,
    /// The configuration that has the device; default as for `run`, where there is one.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// How bytes get there.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct WireArguments {
    /// HOST:PORT is a converter to a serial line, which speaks Modbus RTU.
    #[arg(long)]
    pub(super) rtu: bool,
    /// Speed of the serial port.
    #[arg(long)]
    pub(super) baud: Option<u32>,
    /// none, odd or even; default: none.
    #[arg(long, value_parser = config::parity)]
    pub(super) parity: Option<Parity>,
    /// 1 or 2; default: 1.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(super) stop_bits: Option<u8>,
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The wire; of a device of the configuration it has that device and no other.
    pub(super) connection: ConnectionOptions,
    pub(super) unit: UnitId,
    pub(super) timeout: Duration,
    pub(super) retries: u32,
    /// It was taken for a host, but may be meant as a name.
    pub(super) may_be_a_name: bool,
    /// Of the gateway that may be running.
    pub(super) config: Option<Config>,
}

impl Reach {
    /// Finds out whom is meant.
    pub(super) fn resolve(&self) -> Result<Target, Fault> {
        let plain = is_plain(&self.target);
        let config = load(self.config.as_deref(), plain)?;
        let named = config
            .iter()
            .flat_map(|config| &config.connections)
            .find_map(|connection| only(connection, &self.target));
        let is_named = named.is_some();
        let (connection, (unit, timeout, retries)) = match named {
            Some(connection) => {
                self.wire.refuse_for(&self.target)?;
                let asked = connection
                    .devices
                    .first()
                    .map(|device| (device.unit_id, device.response_timeout, device.retries));
                (connection, asked.unwrap_or((UnitId(1), TIMEOUT, RETRIES)))
            }
            None => {
                if let (Some(config), Some(file), false) = (&config, &self.config, plain) {
                    return Err(no_such_device(&self.target, file, config));
                }
                let connection = ConnectionOptions {
                    name: self.target.clone(),
                    wire: self.wire.wire(&self.target)?,
                    devices: Vec::new(),
                    splits_file: None,
                };
                (connection, (UnitId(1), TIMEOUT, RETRIES))
            }
        };
        Ok(Target {
            connection,
            unit: self.unit.map_or(unit, UnitId),
            timeout: self.timeout.unwrap_or(timeout),
            retries,
            may_be_a_name: !is_named && !plain,
            config,
        })
    }
}

impl Reach {
    /// Tags are asked for as the configuration says.
    pub(super) fn refuse_for_tags(&self) -> Result<(), Fault> {
        if self.unit.is_some() || self.timeout.is_some() {
            return usage(
                "the configuration says how its device is asked: leave --unit and --timeout out, or name a register",
            );
        }
        Ok(())
    }
}

impl Target {
    /// Whether others may share its wire.
    pub(super) fn is_line(&self) -> bool {
        !matches!(self.connection.wire, WireOptions::ModbusTcp(_))
    }
}

/// Whether it can be nothing but a host or a port.
fn is_plain(target: &str) -> bool {
    target.contains(['/', ':', '.'])
}

/// The configuration that is named, which must be well; or the default one, whose faults count only where a name may be
/// looked for in it.
pub(super) fn load(named: Option<&Path>, plain: bool) -> Result<Option<Config>, Fault> {
    let file = named.map_or_else(default_config, Path::to_owned);
    if named.is_none() && !file.exists() {
        return Ok(None);
    }
    match config::load_in(&file, &Surroundings::of(&file)) {
        Ok(loaded) => Ok(Some(loaded.config)),
        Err(_) if named.is_none() && plain => Ok(None),
        Err(faults) => Err(Fault::Config(faults)),
    }
}

fn no_such_device(name: &str, file: &Path, config: &Config) -> Fault {
    let file = file.display();
    let mut instruments = config.instruments.iter();
    if instruments.any(|connection| connection.instrument.name == name) {
        return Fault::Usage(format!(
            "`{name}` in {file} is a serial instrument, which speaks no Modbus"
        ));
    }
    Fault::Usage(format!(
        "there is no device `{name}` in {file}; {}",
        known(config)
    ))
}

/// The devices that could be meant.
pub(super) fn known(config: &Config) -> String {
    let devices = config.connections.iter().flat_map(|wire| &wire.devices);
    let known: Vec<_> = devices.map(|device| device.name.as_str()).collect();
    if known.is_empty() {
        "it has none that speaks Modbus".to_owned()
    } else {
        format!("there are: {}", known.join(", "))
    }
}

/// The connection with this device alone; `None` where it is not on it.
fn only(connection: &ConnectionOptions, device: &str) -> Option<ConnectionOptions> {
    let mut devices = connection.devices.iter();
    let device = devices.find(|known| known.name == device)?;
    Some(ConnectionOptions {
        devices: vec![device.clone()],
        ..connection.clone()
    })
}

impl WireArguments {
    /// How `target` is reached, which is no device of the configuration.
    pub(super) fn wire(&self, target: &str) -> Result<WireOptions, Fault> {
        if target.starts_with('/') {
            if self.rtu {
                return usage("a serial port speaks RTU anyway: leave --rtu out");
            }
            let Some(baud_rate) = self.baud else {
                return usage(
                    "how fast is the port? say --baud 9600, or what the manual of the device says",
                );
            };
            return Ok(WireOptions::ModbusRtu(
                self.port(target, baud_rate, self.parity.unwrap_or_default()),
                RtuOptions::default(),
            ));
        }
        self.refuse_serial(target)?;
        let (host, port) = host_and_port(target)?;
        let tcp = |port| TcpOptions {
            host,
            port,
            connect_timeout: CONNECT_TIMEOUT,
            tls: None,
        };
        match (self.rtu, port) {
            (false, port) => Ok(WireOptions::ModbusTcp(tcp(port.unwrap_or(MODBUS_PORT)))),
            (true, Some(port)) => Ok(WireOptions::ModbusRtuOverTcp(
                tcp(port),
                RtuOptions::default(),
            )),
            (true, None) => usage(format!(
                "which port of the converter? write {target}:4001, or what its settings say"
            )),
        }
    }

    /// The serial port `file`, at another speed and parity than is said here.
    pub(super) fn port(&self, file: &str, baud_rate: u32, parity: Parity) -> SerialOptions {
        SerialOptions {
            port: PathBuf::from(file),
            baud_rate,
            data_bits: 8,
            parity,
            stop_bits: self.stop_bits.unwrap_or(1),
            rs485: None,
        }
    }

    fn refuse_serial(&self, target: &str) -> Result<(), Fault> {
        if self.baud.is_some() || self.parity.is_some() || self.stop_bits.is_some() {
            return usage(format!(
                "--baud, --parity and --stop-bits are for serial ports, whose names begin with /dev; `{target}` is none"
            ));
        }
        Ok(())
    }

    /// Of a device the configuration says how it is reached.
    fn refuse_for(&self, device: &str) -> Result<(), Fault> {
        if self.rtu {
            return usage(format!(
                "the configuration says how `{device}` is reached: leave --rtu out"
            ));
        }
        self.refuse_serial(device)
    }
}

fn usage<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Usage(message.into()))
}

/// `plc`, `plc:502`, `[::1]:502`, `::1`.
fn host_and_port(target: &str) -> Result<(String, Option<u16>), Fault> {
    let fault = || Fault::Usage(format!("`{target}` is no HOST or HOST:PORT"));
    let (host, port) = if let Some(rest) = target.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(fault)?;
        match rest {
            "" => (host, None),
            rest => (host, Some(rest.strip_prefix(':').ok_or_else(fault)?)),
        }
    } else if target.parse::<std::net::Ipv6Addr>().is_ok() {
        (target, None)
    } else {
        match target.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (target, None),
        }
    };
    let is_host = !host.is_empty() && !host.contains(char::is_whitespace);
    let port = port.map(str::parse::<u16>).transpose();
    match port {
        Ok(port) if is_host && port != Some(0) => Ok((host.to_owned(), port)),
        _ => Err(fault()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(target: &str, arguments: &WireArguments) -> Result<String, String> {
        let wire = arguments.wire(target);
        wire.map(|wire| wire.to_string())
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let tcp = WireArguments::default();
        for (target, expected) in [
            ("192.168.10.21", "192.168.10.21:502"),
            ("plc:1502", "plc:1502"),
            ("[::1]:1502", "::1:1502"),
            ("[::1]", "::1:502"),
            ("fe80::1", "fe80::1:502"),
        ] {
            assert_eq!(wire(target, &tcp).as_deref(), Ok(expected), "{target}");
        }
        for wrong in [
            "plc:",
            "plc:0",
            "plc:70000",
            ":502",
            "[::1",
            "[::1]502",
            "a b",
            "",
        ] {
            assert!(wire(wrong, &tcp).is_err(), "{wrong}");
        }
        let rtu = WireArguments {
            rtu: true,
            ..WireArguments::default()
        };
        assert_eq!(wire("moxa:4001", &rtu).as_deref(), Ok("moxa:4001 (RTU)"));
        assert!(wire("moxa", &rtu).unwrap_err().contains("moxa:4001"));
        assert!(wire("/dev/ttyS0", &rtu).is_err());
    }

    #[test]
    fn a_serial_port_needs_its_speed_and_nothing_else_has_one() {
        let port = WireArguments {
            baud: Some(9600),
            parity: Some(Parity::Even),
            ..WireArguments::default()
        };
        assert_eq!(
            wire("/dev/ttyS0", &port).as_deref(),
            Ok("/dev/ttyS0 at 9600 8E1")
        );
        let fault = wire("/dev/ttyS0", &WireArguments::default()).unwrap_err();
        assert!(fault.contains("--baud 9600"), "{fault}");
        let fault = wire("plc", &port).unwrap_err();
        assert!(fault.contains("for serial ports"), "{fault}");
    }
}
