//! Whether the gateway that runs has the wire that a command wants to use. A line has one master: two would hear each other's
//! replies. A Modbus TCP device may take several connections, or not.

use std::path::Path;

use crate::adapter::WireOptions;
use crate::cli::installed;
use crate::config::Config;
use crate::control::{AskError, Request, ask};

/// A connection of the gateway that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Held {
    /// Its name in the configuration.
    pub(in crate::cli) connection: String,
    /// Nobody else may use it meanwhile.
    pub(in crate::cli) is_line: bool,
}

/// The connection with the same wire of the gateway that runs by `config`, if one does.
pub(in crate::cli) fn held(wire: &WireOptions, config: &Config) -> Option<Held> {
    let held = connection_with(wire, config)?;
    is_running(config).then_some(held)
}

fn connection_with(wire: &WireOptions, config: &Config) -> Option<Held> {
    let modbus = config.connections.iter();
    let modbus = modbus.filter(|connection| is_same(&connection.wire, wire));
    let instruments = config.instruments.iter();
    let instruments = instruments.filter(|instrument| {
        matches!(wire, WireOptions::ModbusRtu(port, _) if is_same_file(&instrument.port.port, &port.port))
    });
    let mut names = modbus
        .map(|connection| &connection.name)
        .chain(instruments.map(|instrument| &instrument.name));
    Some(Held {
        connection: names.next()?.clone(),
        is_line: !matches!(wire, WireOptions::ModbusTcp(_)),
    })
}

fn is_same(one: &WireOptions, other: &WireOptions) -> bool {
    use WireOptions::{ModbusRtu, ModbusRtuOverTcp, ModbusTcp};
    match (one, other) {
        (ModbusRtu(one, _), ModbusRtu(other, _)) => is_same_file(&one.port, &other.port),
        (
            ModbusTcp(one) | ModbusRtuOverTcp(one, _),
            ModbusTcp(other) | ModbusRtuOverTcp(other, _),
        ) => one.host == other.host && one.port == other.port,
        _ => false,
    }
}

/// The same adapter has several names.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// The service has its socket elsewhere than a gateway that a person started.
fn is_running(config: &Config) -> bool {
    let request = Request::Backlog { bridge: None };
    [&config.gateway.control_socket, Path::new(installed::SOCKET)]
        .into_iter()
        // One that does not let us in runs, too.
        .any(|socket| matches!(ask(socket, &request), Ok(_) | Err(AskError::NotPermitted)))
}
