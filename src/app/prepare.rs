//! What is inside the files that a configuration names (certificates, keys, users): read once, checked as a whole, handed
//! on. `config` knows whether they are there.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::adapter::ConnectionOptions;
use crate::adapter::serial::InstrumentConnection;
use crate::auth::{Access, AccessOptions, Acl, AclFault, Credentials, FileError, LineFault, Users};
use crate::bridge::{PreparedBridge, StartError as BridgeError};
use crate::broker::BrokerOptions;
use crate::config::{self, Config, SessionStoreOptions};
use crate::listener::{ListenError, PreparedListener};
use crate::net::{self, Expiry, TlsError, TlsTime};
use crate::store::LogOptions;
use crate::topic::TopicError;

/// A configuration with all that its files hold.
#[derive(Debug)]
pub struct Prepared {
    pub(super) gateway: config::Gateway,
    /// By which all of it judges certificates.
    pub(super) tls_time: TlsTime,
    pub(super) broker: BrokerOptions,
    pub(super) credentials: Credentials,
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
}

/// What is wrong inside the files, all at once; the configuration's owner is to blame.
#[derive(Debug, thiserror::Error)]
pub struct FileFaults(Vec<FileFault>);

#[derive(Debug, thiserror::Error)]
enum FileFault {
    #[error("bridge {name}: {source}")]
    Bridge { name: String, source: BridgeError },
    #[error("connection {name}: {source}")]
    Connection { name: String, source: TlsError },
    #[error(transparent)]
    Listener(#[from] ListenError),
    #[error(transparent)]
    Users(#[from] FileError<LineFault>),
    #[error(transparent)]
    Acl(#[from] FileError<AclFault>),
    #[error("gateway.id makes no topic: {0}")]
    Topic(#[from] TopicError),
}

impl fmt::Display for FileFaults {
    /// A line for each.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            let line_break = if number == 0 { "" } else { "\n" };
            write!(formatter, "{line_break}error: {fault}")?;
        }
        Ok(())
    }
}

impl Prepared {
    /// Reads every file; certificates are judged by `tls_time`. Blocks for milliseconds.
    ///
    /// # Errors
    /// Every fault in them, each with file and remedy.
    pub fn new(config: Config, tls_time: TlsTime) -> Result<Self, FileFaults> {
        let mut faults = Vec::new();
        let users = config.users_file.as_deref().map(Users::read);
        let users = take(users.unwrap_or_else(|| Ok(Users::default())), &mut faults);
        let access = take(access(&config.gateway.id, &config.access), &mut faults);
        let listeners = config.listeners.into_iter();
        let listeners = listeners
            .filter_map(|options| take(PreparedListener::new(options, &tls_time), &mut faults))
            .collect();
        let mut expiries = Vec::new();
        for connection in &config.connections {
            let name = || connection.name.clone();
            let setup = connection
                .tls()
                .map(|tls| net::client_setup(tls, &tls_time));
            let setup = setup.transpose().map_err(|source| FileFault::Connection {
                name: name(),
                source,
            });
            let expiry = take(setup, &mut faults)
                .flatten()
                .and_then(|setup| setup.expiry);
            expiries.extend(expiry.map(|expiry| (name(), expiry)));
        }
        let mut bridges = Vec::new();
        for config::Bridge { options, log } in config.bridges {
            let name = options.name.clone();
            let bridge = PreparedBridge::new(options, tls_time.clone())
                .map_err(|source| FileFault::Bridge { name, source });
            bridges.extend(take(bridge, &mut faults).map(|bridge| (bridge, log)));
        }
        match users.zip(access) {
            Some((users, access)) if faults.is_empty() => Ok(Self {
                gateway: config.gateway,
                tls_time,
                broker: config.broker,
                credentials: Credentials { users, access },
                listeners,
                connections: config.connections,
                expiries,
                instruments: config.instruments,
                sessions: config.sessions,
                free_space_minimum: config.store.free_space_minimum,
                bridges,
                console: config.console,
            }),
            _ => Err(FileFaults(faults)),
        }
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

fn access(gateway: &str, options: &AccessOptions) -> Result<Access, FileFault> {
    Ok(match options {
        AccessOptions::NoRules => Access::without_rules(gateway)?,
        AccessOptions::Entries(entries) => Access::with_entries(gateway, entries)?,
        AccessOptions::MosquittoAcl(file) => Access::with_acl(gateway, Acl::read(file)?)?,
    })
}

fn take<T, F: Into<FileFault>>(result: Result<T, F>, faults: &mut Vec<FileFault>) -> Option<T> {
    result.map_err(|fault| faults.push(fault.into())).ok()
}
