//! `fieldgate check --probe`: whether those that a configuration names are there. Each device is asked for one register, each
//! port opened, the way to each upstream tried as far as the login. Changes nothing anywhere.

use std::process::ExitCode;
use std::time::Duration;

use super::modbus::{Asked, Held, Register, held};
use super::say;
use crate::adapter::by_hand::{ByHand, try_port};
use crate::adapter::serial::InstrumentConnection;
use crate::adapter::{ConnectionOptions, DeviceOptions, RtuOptions, Table, WireOptions};
use crate::app::Prepared;
use crate::bridge::PreparedBridge;
use crate::clock;
use crate::config::Config;

/// How many were tried, and failed.
#[derive(Debug, Default)]
struct Tally {
    tried: usize,
    failed: usize,
}

pub(super) fn probe(config: &Config, prepared: &Prepared) -> ExitCode {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("fieldgate: cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let tally = runtime.block_on(probe_all(config, prepared));
    let Tally { tried, failed } = tally;
    say(format_args!("probed {tried}, {failed} failed"));
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn probe_all(config: &Config, prepared: &Prepared) -> Tally {
    let mut tally = Tally::default();
    for connection in &config.connections {
        probe_devices(connection, config, &mut tally).await;
    }
    for instrument in &config.instruments {
        probe_port(instrument, config, &mut tally);
    }
    for bridge in prepared.bridges() {
        probe_upstream(bridge, &mut tally).await;
    }
    tally
}

impl Tally {
    fn tell(&mut self, who: &str, result: Result<String, String>) {
        self.tried += 1;
        match result {
            Ok(well) => say(format_args!("{who}: ok, {well}")),
            Err(fault) => {
                self.failed += 1;
                say(format_args!("{who}: FAILED: {fault}"));
            }
        }
    }
}

async fn probe_devices(connection: &ConnectionOptions, config: &Config, tally: &mut Tally) {
    let mut way = open(connection, config).await;
    for (index, device) in connection.devices.iter().enumerate() {
        let who = format!("device {}", device.name);
        let result = match &mut way {
            Err(fault) => Err(fault.clone()),
            Ok(by_hand) => {
                let began = clock::now();
                match by_hand.probe(index).await {
                    Ok(()) => Ok(answered(began.elapsed())),
                    Err(fault) => {
                        let register = by_hand.probed(index);
                        Err(asked(connection, device, register).explain(&fault))
                    }
                }
            }
        };
        tally.tell(&who, result);
    }
}

/// The wire, open, or the way to it through the gateway that has it; or why there is none, for each that is on it.
async fn open(connection: &ConnectionOptions, config: &Config) -> Result<ByHand, String> {
    let mut by_hand = ByHand::new(connection.clone()).map_err(|error| error.to_string())?;
    match held(&connection.name, &connection.wire, config) {
        Some(Held::Open(gateway)) => by_hand = by_hand.through(gateway),
        Some(Held::Closed(closed)) if closed.is_line => return Err(closed.to_string()),
        Some(Held::Closed(_)) | None => {}
    }
    match (by_hand.open().await, connection.devices.first()) {
        (Err(fault), Some(device)) => Err(asked(connection, device, None).explain(&fault)),
        _ => Ok(by_hand),
    }
}

fn asked<'a>(
    connection: &'a ConnectionOptions,
    device: &DeviceOptions,
    register: Option<(Table, u16)>,
) -> Asked<'a> {
    Asked {
        wire: &connection.wire,
        unit: device.unit_id,
        timeout: device.response_timeout,
        register: register.map(|(table, address)| Register { table, address }),
        write: None,
    }
}

/// What an instrument says is up to it: here it is enough that its port can be had.
fn probe_port(connection: &InstrumentConnection, config: &Config, tally: &mut Tally) {
    let InstrumentConnection {
        port, instrument, ..
    } = connection;
    let wire = WireOptions::ModbusRtu(port.clone(), RtuOptions::default());
    let opened = match held(&connection.name, &wire, config) {
        Some(Held::Closed(closed)) => Err(closed.to_string()),
        Some(Held::Open(_)) | None => try_port(port).map_err(|fault| fault.to_string()),
    };
    let opened = opened.map(|()| format!("its port {port} can be opened; it was not asked"));
    tally.tell(&format!("instrument {}", instrument.name), opened);
}

async fn probe_upstream(bridge: &PreparedBridge, tally: &mut Tally) {
    let name = &bridge.options().name;
    for (address, result) in bridge.try_addresses().await {
        let way = if address.tls {
            "DNS, TCP and TLS"
        } else {
            "DNS and TCP"
        };
        let result = result
            .map(|()| format!("{way} are well; the login was not tried"))
            .map_err(|error| error.to_string());
        let who = format!("bridge {name} to {}:{}", address.host, address.port);
        tally.tell(&who, result);
    }
}

fn answered(after: Duration) -> String {
    format!("answered after {} ms", after.as_millis())
}
