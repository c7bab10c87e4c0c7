//! Whether the gateway that runs has the wire that a command wants to use. A line has one master: two would hear each other's
//! replies. A Modbus TCP device may take several connections, or not. So it is the gateway that asks there, where it can be
//! asked to.

use std::path::Path;

use super::through::Gateway;
use crate::adapter::{RtuOptions, WireOptions};
use crate::cli::installed;
use crate::config::Config;
use crate::control::{AskError, Request, ask};
use crate::status::{ConnectionState, GatewayState};

/// What the gateway that runs has.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Held {
    /// The wire, and it asks there for others.
    Open(Gateway),
    /// The wire, and it does not.
    Closed(Closed),
}

/// Why it does not ask for others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the gateway that runs has {wire}, as its connection `{connection}`, {why}: two masters would disturb each other\n  help: \
     {help}; stop the gateway to use the line by hand"
)]
pub(in crate::cli) struct Closed {
    connection: String,
    wire: String,
    why: String,
    help: &'static str,
    /// Nobody else may use it meanwhile.
    pub(in crate::cli) is_line: bool,
}

/// A connection of the configuration.
struct Found {
    name: String,
    wire: WireOptions,
    is_instrument: bool,
}

/// Whether the gateway that runs by `config` has this wire, by preference under this name.
pub(in crate::cli) fn held(name: &str, wire: &WireOptions, config: &Config) -> Option<Held> {
    let found = Found::with_wire(name, wire, config)?;
    // The service has its socket elsewhere than a gateway that a person started.
    let sockets = [
        &*config.gateway.control_socket,
        Path::new(installed::SOCKET),
    ];
    sockets.into_iter().find_map(|socket| found.held_at(socket))
}

impl Closed {
    /// What a person is told where that does not keep from asking.
    pub(super) fn note(&self) -> String {
        let Self {
            connection,
            wire,
            why,
            help,
            ..
        } = self;
        format!(
            "note: the gateway that runs is connected to {wire} too, as `{connection}`, {why}: a device that takes one connection \
             only refuses this one; {help}"
        )
    }
}

impl Found {
    fn with_wire(wanted_name: &str, wanted: &WireOptions, config: &Config) -> Option<Self> {
        let modbus = config.connections.iter();
        let modbus = modbus.filter(|it| is_same(&it.wire, wanted));
        let modbus = modbus.map(|it| (&it.name, it.wire.clone(), false));
        let instruments = config.instruments.iter().map(|it| {
            let wire = WireOptions::ModbusRtu(it.port.clone(), RtuOptions::default());
            (&it.name, wire, true)
        });
        let instruments = instruments.filter(|(_, wire, _)| is_same(wire, wanted));
        let all = modbus.chain(instruments);
        // Of equals the first is meant, which `min` gives.
        let (name, wire, is_instrument) = all.min_by_key(|(name, ..)| *name != wanted_name)?;
        Some(Self {
            name: name.clone(),
            wire,
            is_instrument,
        })
    }

    /// Whether the gateway at this socket has it.
    fn held_at(&self, socket: &Path) -> Option<Held> {
        let running = match state(socket) {
            Ok(running) => running?,
            Err(why) => {
                let why = format!("and cannot be asked ({why})");
                let help =
                    "with sudo this goes through it, where `sudo fieldgate status` is answered";
                return Some(Held::Closed(self.closed(why, help)));
            }
        };
        let to = self.wire.to_string();
        let has_name = |it: &&ConnectionState| it.name == self.name;
        let mut there = running.connections.iter().filter(|it| it.to == to);
        match there.clone().find(has_name).or_else(|| there.next()) {
            Some(_) if self.is_instrument => {
                let help = "`fieldgate values` shows what it reads";
                let why = "which speaks no Modbus".to_owned();
                Some(Held::Closed(self.closed(why, help)))
            }
            Some(it) => Some(Held::Open(Gateway {
                socket: socket.to_owned(),
                connection: it.name.clone(),
                wire: self.wire.clone(),
            })),
            // It does not run by what the file says now. Another host by that name is another wire; a port may be the same.
            None if is_line(&self.wire) => {
                let help = "`fieldgate reload` first";
                let Some(stale) = running.connections.iter().find(has_name) else {
                    // It may have the port under another name, or by another setting.
                    let why = "by a configuration that it has not taken up yet".to_owned();
                    return Some(Held::Closed(self.closed(why, help)));
                };
                let why = format!("where its configuration says {to} by now");
                Some(Held::Closed(Closed {
                    wire: stale.to.clone(),
                    ..self.closed(why, help)
                }))
            }
            None => None,
        }
    }

    fn closed(&self, why: String, help: &'static str) -> Closed {
        Closed {
            connection: self.name.clone(),
            wire: self.wire.to_string(),
            why,
            help,
            is_line: is_line(&self.wire),
        }
    }
}

/// How the gateway at this socket is; `None`: there is none. Else why it cannot be asked.
fn state(socket: &Path) -> Result<Option<GatewayState>, String> {
    let answers = match ask(socket, &Request::State) {
        Err(AskError::NotRunning) => return Ok(None),
        answers => answers.map_err(|error| error.to_string())?,
    };
    let mut state = None;
    for item in answers {
        let item = item.map_err(|error| error.to_string())?;
        let read = serde_json::from_value(item);
        state = read.map_err(|fault| format!("it is of another version: {fault}"))?;
    }
    Ok(state)
}

fn is_line(wire: &WireOptions) -> bool {
    !matches!(wire, WireOptions::ModbusTcp(_))
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
