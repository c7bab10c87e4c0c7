//! Reading the configuration again while the gateway runs: who may log in, who may do what and what is in the certificate
//! files count at once, the rest from the next start on.
//!
//! All or nothing: a fault anywhere in the configuration, or in a file that it names, changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Gateway, Prepared};
use crate::broker::LinkClosed;
use crate::config::{self, Config, Loaded, SessionStoreOptions};
use crate::net::TlsTime;

/// What the gateway was started with; users and access rules as they were read last.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    started: Arc<Config>,
}

impl Reload {
    /// For the configuration that was read from `file`.
    #[must_use]
    pub fn new(file: PathBuf, started: Config) -> Self {
        Self {
            file,
            started: Arc::new(started),
        }
    }

    /// What the gateway can be started with once more; the files that are named are read again.
    ///
    /// # Errors
    /// Every fault in these files, as `check` prints them.
    pub async fn prepare_again(&self, gateway: &Gateway) -> Result<Prepared, String> {
        let (config, time) = (Config::clone(&self.started), gateway.tls_time().clone());
        let prepared = tokio::task::spawn_blocking(move || Prepared::new(config, time)).await;
        match prepared {
            Ok(prepared) => prepared.map_err(|faults| faults.to_string()),
            Err(fault) => Err(format!("this is a fault of fieldgate: {fault}")),
        }
    }

    /// Reads the file again and does what can be done at once; logs what was done, what needs a restart, or why nothing was
    /// done. Returns when the broker knows.
    pub async fn run(&mut self, gateway: &Gateway) {
        let (file, started) = (self.file.clone(), Arc::clone(&self.started));
        let time = gateway.tls_time().clone();
        let read = tokio::task::spawn_blocking(move || read(file, &started, time)).await;
        let read =
            read.unwrap_or_else(|fault| Err(format!("this is a fault of fieldgate: {fault}")));
        let (prepared, now, changed) = match read {
            Ok(read) => read,
            Err(faults) => {
                tracing::error!("reload: nothing was changed, everything runs as before\n{faults}");
                return;
            }
        };
        if !changed.is_empty() {
            let changed = changed.join(", ");
            tracing::warn!("reload: changed, but needs a restart: {changed}");
        }
        let started = Arc::make_mut(&mut self.started);
        started.users_file = now.users_file;
        started.access = now.access;
        let credentials = prepared.credentials;
        match gateway.broker().replace_credentials(credentials).await {
            Ok(()) => tracing::info!("reload: users and access rules count from now on"),
            Err(LinkClosed) => tracing::debug!("reload: the broker has ended"),
        }
        gateway.renew_certificates(&prepared.listeners);
    }
}

/// What the file says now, and what of it needs a restart; else the faults, as `check` prints them.
fn read(
    file: PathBuf,
    started: &Config,
    time: TlsTime,
) -> Result<(Prepared, Config, Vec<&'static str>), String> {
    let Loaded { config, warnings } = config::load(&file).map_err(|faults| faults.to_string())?;
    if config.gateway.id != started.gateway.id {
        // The rules have it filled in, and would be about topics that there are not yet.
        return Err("gateway.id was changed, which all topics depend on: restart".to_owned());
    }
    let changed = changed(started, &config);
    match Prepared::new(config.clone(), time) {
        Ok(prepared) => {
            for warning in &warnings {
                tracing::warn!("{warning}");
            }
            Ok((prepared, config, changed))
        }
        Err(faults) => {
            let warnings: String = warnings
                .iter()
                .map(|warning| format!("{warning}\n"))
                .collect();
            Err(format!("{warnings}{faults}"))
        }
    }
}

/// The sections that differ, of those that are read at a start only.
fn changed(started: &Config, now: &Config) -> Vec<&'static str> {
    let Config {
        gateway,
        broker,
        listeners,
        users_file: _,
        access: _,
        store,
        sessions,
        connections,
        instruments,
        bridges,
    } = now;
    let total = |sessions: &SessionStoreOptions| sessions.log.queued_bytes_total;
    let limits_differ =
        broker.limits != started.broker.limits || total(sessions) != total(&started.sessions);
    let sections = [
        ("gateway", *gateway != started.gateway),
        ("broker.limits", limits_differ),
        (
            "broker.when_queue_full",
            broker.when_queue_full != started.broker.when_queue_full,
        ),
        ("broker.listeners", *listeners != started.listeners),
        ("store", *store != started.store),
        (
            "connections and devices",
            *connections != started.connections || *instruments != started.instruments,
        ),
        ("bridges", *bridges != started.bridges),
    ];
    let changed = sections.into_iter().filter(|(_, differs)| *differs);
    changed.map(|(section, _)| section).collect()
}
