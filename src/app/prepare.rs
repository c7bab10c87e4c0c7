//! What is inside the files that a configuration names (certificates, keys, users): read once, checked as a whole, handed
//! on. `config` knows whether they are there.
//!
//! A file that cannot be used is a fault, which `check` and a reload refuse. A start does not: the one part that needs the file is
//! out, says so, and reads it again until it can be used; nobody can come to the box for each of them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::logins::{LoginFiles, Logins};
use crate::adapter::ConnectionOptions;
use crate::adapter::serial::InstrumentConnection;
use crate::bridge::PreparedBridge;
use crate::broker::BrokerOptions;
use crate::config::{self, Config, SessionStoreOptions};
use crate::listener::PreparedListener;
use crate::net::{self, Expiry, TlsTime};
use crate::store::LogOptions;

/// A configuration with all that its files hold.
#[derive(Debug)]
pub struct Prepared {
    pub(super) gateway: config::Gateway,
    /// By which all of it judges certificates.
    pub(super) tls_time: TlsTime,
    pub(super) broker: BrokerOptions,
    pub(super) logins: Logins,
    pub(super) login_files: LoginFiles,
    pub(super) listeners: Vec<PreparedListener>,
    pub(super) connections: Vec<Arc<ConnectionOptions>>,
    /// When our certificate ends, of connections that have one.
    pub(super) expiries: Vec<(String, Expiry)>,
    pub(super) instruments: Vec<InstrumentConnection>,
    pub(super) sessions: SessionStoreOptions,
    pub(super) free_space_minimum: u64,
    pub(super) bridges: Vec<(PreparedBridge, LogOptions)>,
    /// Where the console is; `None`: there is none.
    pub(super) console: Option<SocketAddr>,
    /// Each with part, file and remedy.
    faults: Vec<String>,
}

/// What is wrong inside the files, all at once; the configuration's owner is to blame.
#[derive(Debug, thiserror::Error)]
#[error("{}", told(.0))]
pub struct FileFaults(Vec<String>);

/// A line for each.
fn told(faults: &[String]) -> String {
    let lines: Vec<_> = faults.iter().map(|it| format!("error: {it}")).collect();
    lines.join("\n")
}

impl Prepared {
    /// Reads every file; certificates are judged by `tls_time`. Blocks for milliseconds.
    ///
    /// # Errors
    /// Every fault in them, each with file and remedy.
    pub fn new(config: Config, tls_time: TlsTime) -> Result<Self, FileFaults> {
        let prepared = Self::patient(config, tls_time);
        if prepared.faults.is_empty() {
            Ok(prepared)
        } else {
            Err(FileFaults(prepared.faults))
        }
    }

    /// The same for a gateway that runs without what needs a file that cannot be used ([`Self::faults`]), until it can be.
    #[must_use]
    pub fn patient(config: Config, tls_time: TlsTime) -> Self {
        let login_files = LoginFiles::of(&config);
        let logins = login_files.read();
        let mut faults: Vec<_> = logins.faults.iter().map(ToString::to_string).collect();
        let listeners = config.listeners.into_iter();
        let listeners: Vec<_> = listeners
            .map(|options| PreparedListener::patient(options, &tls_time))
            .collect();
        for listener in &listeners {
            let fault = listener.fault();
            faults.extend(fault.map(|fault| format!("listener `{}`: {fault}", listener.name())));
        }
        let expiries = expiries(&config.connections, &tls_time, &mut faults);
        let bridges = config.bridges.into_iter();
        let bridges: Vec<_> = bridges
            .map(|config::Bridge { options, log }| {
                (PreparedBridge::patient(options, tls_time.clone()), log)
            })
            .collect();
        for (bridge, _) in &bridges {
            let (name, fault) = (&bridge.options().name, bridge.fault());
            faults.extend(fault.map(|fault| format!("bridge {name}: {fault}")));
        }
        Self {
            gateway: config.gateway,
            tls_time,
            broker: config.broker,
            logins,
            login_files,
            listeners,
            connections: config.connections,
            expiries,
            instruments: config.instruments,
            sessions: config.sessions,
            free_space_minimum: config.store.free_space_minimum,
            bridges,
            console: config.console,
            faults,
        }
    }

    /// What is wrong inside the files, as `check` prints it; `None`: nothing.
    #[must_use]
    pub fn faults(&self) -> Option<String> {
        (!self.faults.is_empty()).then(|| told(&self.faults))
    }

    /// No file but those of users and rules is at fault.
    pub(super) fn lacks_logins_alone(&self) -> bool {
        self.faults.len() == self.logins.faults.len()
    }

    /// Where the gateway will keep things.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.gateway.data_dir
    }

    /// When our certificate of this connection ends.
    pub(super) fn expiry(&self, connection: &str) -> Option<Expiry> {
        let mut expiries = self.expiries.iter();
        let found = expiries.find(|(name, _)| name == connection);
        found.map(|(_, expiry)| expiry.clone())
    }

    /// Its bridges, which are not started.
    pub fn bridges(&self) -> impl Iterator<Item = &PreparedBridge> {
        self.bridges.iter().map(|(bridge, _)| bridge)
    }

    /// What will not be well for long: certificates that expire. What runs tells it by itself.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let now = self.tls_time.now();
        let bridges = self.bridges.iter();
        let bridges = bridges.filter_map(|(bridge, _)| {
            let warning = bridge.expiry()?.warning(now)?;
            Some(format!("bridge `{}`: {warning}", bridge.options().name))
        });
        let listeners = self.listeners.iter();
        let listeners = listeners.filter_map(|listener| {
            let warning = listener.expiry()?.warning(now)?;
            Some(format!("listener `{}`: {warning}", listener.name()))
        });
        let connections = self.expiries.iter();
        let connections = connections.filter_map(|(name, expiry)| {
            let warning = expiry.warning(now)?;
            Some(format!("connection `{name}`: {warning}"))
        });
        listeners.chain(connections).chain(bridges).collect()
    }
}

/// When the certificates of these connections end. One whose files cannot be used says so by itself, at each attempt to connect.
fn expiries(
    connections: &[Arc<ConnectionOptions>],
    time: &TlsTime,
    faults: &mut Vec<String>,
) -> Vec<(String, Expiry)> {
    let mut expiries = Vec::new();
    for connection in connections {
        let Some(tls) = connection.tls() else {
            continue;
        };
        let name = connection.name.clone();
        match net::client_setup(tls, time) {
            Ok(setup) => expiries.extend(setup.expiry.map(|expiry| (name, expiry))),
            Err(fault) => faults.push(format!("connection {name}: {fault}")),
        }
    }
    expiries
}
