//! The simulated devices of a configuration: each connection gets a server or a pseudo terminal of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Arguments;
use super::faults::Fault;
use super::speech;
use super::values::device_map;
use crate::adapter::serial::{ChecksumError, InstrumentConnection, Mode};
use crate::adapter::{ConnectionOptions, PlanError, WireOptions};
use crate::config::{Config, Lead};
use crate::simulator::{
    DeviceMap, Framing, Manner, SimulatedInstrument, Simulator, SimulatorHandle, Terminal,
};

/// How often an instrument speaks that is not asked.
const SPEAKS_EVERY: Duration = Duration::from_secs(1);

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
pub(super) enum SiteError {
    #[error(
        "there is no device `{0}` with `serial`, so it cannot say a line; instruments here: {1}"
    )]
    Mute(String, String),
    #[error("there is no device and no unit `{0}` that can have this fault")]
    NoSuchDevice(String),
    #[error("what `{device}` is to say cannot be a frame: {error}")]
    Frame {
        device: String,
        error: ChecksumError,
    },
    #[error("the device `{device}` cannot be read: {error}")]
    Plan { device: String, error: PlanError },
    #[error("{address} cannot be listened on: {error}; choose another `--port`")]
    Bind {
        address: SocketAddr,
        error: io::Error,
    },
    #[error("no pseudo terminal for the connection `{connection}`: {error}")]
    Terminal {
        connection: String,
        error: io::Error,
    },
    #[error("there is no port 65536: begin with a lower `--port`")]
    Ports,
}

/// What runs. Dropping it ends all of it.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// Where each connection leads.
    pub(super) leads: BTreeMap<String, Lead>,
    /// What is simulated, a line for each connection.
    pub(super) told: Vec<String>,
    modbus: Vec<SimulatorHandle>,
    instruments: Vec<SimulatedInstrument>,
}

impl Site {
    /// Starts all devices of `config`; the names of terminals are made in `folder`.
    pub(super) async fn start(
        config: &Config,
        folder: &Path,
        arguments: &Arguments,
    ) -> Result<Self, SiteError> {
        check_names(config, arguments)?;
        let mut site = Self::default();
        let mut port = arguments.port;
        for connection in &config.connections {
            site.modbus(connection, folder, &mut port, &arguments.fault)
                .await?;
        }
        for connection in &config.instruments {
            site.instrument(connection, folder, arguments)?;
        }
        Ok(site)
    }

    async fn modbus(
        &mut self,
        connection: &ConnectionOptions,
        folder: &Path,
        port: &mut Option<u16>,
        faults: &[Fault],
    ) -> Result<(), SiteError> {
        let maps: Result<Vec<_>, _> = connection
            .devices
            .iter()
            .map(|device| {
                device_map(device).map_err(|error| SiteError::Plan {
                    device: device.name.clone(),
                    error,
                })
            })
            .collect();
        let maps = maps?;
        let (lead, handle) = match &connection.wire {
            WireOptions::ModbusTcp(_) => {
                let (address, handle) = bind(next(port)?, Framing::Tcp, maps).await?;
                (Lead::Tcp(address), handle)
            }
            WireOptions::ModbusRtuOverTcp(..) => {
                let (address, handle) = bind(next(port)?, Framing::Rtu, maps).await?;
                (Lead::Tcp(address), handle)
            }
            WireOptions::ModbusRtu(..) => {
                let (name, terminal) = terminal(folder, &connection.name)?;
                (Lead::Port(name), Simulator::on_line(terminal, maps))
            }
        };
        for device in &connection.devices {
            let fault = faults
                .iter()
                .find(|fault| fault.is_of(&device.name, Some(device.unit_id.0)));
            if let Some(fault) = fault {
                let trouble = fault.trouble(device.response_timeout);
                handle.trouble(device.unit_id.0, trouble, fault.every);
            }
        }
        let devices = connection
            .devices
            .iter()
            .map(|device| format!("{} (unit {})", device.name, device.unit_id.0));
        let devices = devices.collect::<Vec<_>>().join(", ");
        self.add(
            &connection.name,
            lead,
            &connection.wire.to_string(),
            &devices,
        );
        self.modbus.push(handle);
        Ok(())
    }

    fn instrument(
        &mut self,
        connection: &InstrumentConnection,
        folder: &Path,
        arguments: &Arguments,
    ) -> Result<(), SiteError> {
        let instrument = &connection.instrument;
        let said = speech::by_device(&arguments.say);
        let lines = said.get(instrument.name.as_str());
        let frames = lines.into_iter().flatten().map(|line| {
            speech::frame(&instrument.dialect, line).map_err(|error| SiteError::Frame {
                device: instrument.name.clone(),
                error,
            })
        });
        let frames = frames.collect::<Result<Vec<_>, _>>()?;
        let (manner, timeout) = match &instrument.dialect.mode {
            Mode::Listen { .. } => (Manner::Unasked(SPEAKS_EVERY), SPEAKS_EVERY),
            Mode::Poll { send, timeout, .. } => (Manner::Asked(send.clone()), *timeout),
        };
        let fault = arguments
            .fault
            .iter()
            .find(|fault| fault.suits_instruments() && fault.is_of(&instrument.name, None));
        let trouble = fault.map(|fault| (fault.trouble(timeout), fault.every));
        let (name, terminal) = terminal(folder, &connection.name)?;
        let does = match frames.len() {
            0 => format!("is silent; give it lines: --say {}=LINE", instrument.name),
            1 => "says its line".to_owned(),
            n => format!("says its {n} lines in turn"),
        };
        let mut turn = frames.into_iter().cycle();
        let say = move |_| turn.next().unwrap_or_default();
        self.instruments
            .push(SimulatedInstrument::on_line(terminal, manner, trouble, say));
        let device = format!("{} {does}", instrument.name);
        let real = connection.port.to_string();
        self.add(&connection.name, Lead::Port(name), &real, &device);
        Ok(())
    }

    fn add(&mut self, connection: &str, lead: Lead, real: &str, devices: &str) {
        let place = match &lead {
            Lead::Tcp(address) => address.to_string(),
            Lead::Port(port) => port.display().to_string(),
        };
        self.told
            .push(format!("{connection}: {place} for {real}: {devices}"));
        self.leads.insert(connection.to_owned(), lead);
    }
}

/// Whether what was typed is about devices that are there.
fn check_names(config: &Config, arguments: &Arguments) -> Result<(), SiteError> {
    let instruments = || config.instruments.iter().map(|c| &c.instrument);
    for device in speech::by_device(&arguments.say).into_keys() {
        if !instruments().any(|instrument| instrument.name == device) {
            let names: Vec<&str> = instruments().map(|i| i.name.as_str()).collect();
            let names = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            return Err(SiteError::Mute(device.to_owned(), names));
        }
    }
    for fault in &arguments.fault {
        let mut devices = config.connections.iter().flat_map(|c| &c.devices);
        let of_modbus = devices.any(|device| fault.is_of(&device.name, Some(device.unit_id.0)));
        let has = |name: &str| fault.is_of(name, None) && fault.suits_instruments();
        if !of_modbus && !instruments().any(|instrument| has(&instrument.name)) {
            let of = fault.of.clone().unwrap_or_default();
            return Err(SiteError::NoSuchDevice(of));
        }
    }
    Ok(())
}

/// The address of the next server; without a first port the system chooses.
fn next(port: &mut Option<u16>) -> Result<SocketAddr, SiteError> {
    let Some(next) = port else {
        return Ok((Ipv4Addr::LOCALHOST, 0).into());
    };
    let address = (Ipv4Addr::LOCALHOST, *next).into();
    *next = next.checked_add(1).ok_or(SiteError::Ports)?;
    Ok(address)
}

async fn bind(
    address: SocketAddr,
    framing: Framing,
    maps: Vec<DeviceMap>,
) -> Result<(SocketAddr, SimulatorHandle), SiteError> {
    let bound = Simulator::bind_with(address, framing, maps).await;
    bound.map_err(|error| SiteError::Bind { address, error })
}

fn terminal(folder: &Path, connection: &str) -> Result<(PathBuf, Terminal), SiteError> {
    let name = folder.join(connection);
    let terminal = Terminal::plug_in(&name).map_err(|error| SiteError::Terminal {
        connection: connection.to_owned(),
        error,
    })?;
    Ok((name, terminal))
}
