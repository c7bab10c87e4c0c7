//! Reading the configuration again while the gateway runs, and taking up what has changed.
//!
//! All or nothing: a fault anywhere in the configuration, or in a file that it names, changes nothing. What can only be read
//! at a start is told, and told again until there was one.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::apply::ApplyError;
use super::difference::{Difference, in_use};
use super::{Applied, Gateway, Prepared};
use crate::clock;
use crate::config::{self, Config, Loaded};
use crate::net::TlsTime;
use crate::status::ConfigState;

/// The configuration that is in use, and where it comes from.
#[derive(Debug)]
pub struct Reload {
    file: PathBuf,
    in_use: Arc<Config>,
    state: ConfigState,
}

/// What became of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Applied(Applied),
    /// Nothing was changed; why, as `check` prints it.
    Refused(String),
}

impl Reload {
    /// For the configuration that was read from `file`.
    #[must_use]
    pub fn new(file: PathBuf, started: Config) -> Self {
        let state = ConfigState {
            file: file.display().to_string(),
            loaded: clock::wall(),
            ..ConfigState::default()
        };
        Self {
            file,
            in_use: Arc::new(started),
            state,
        }
    }

    /// Tells who looks at the gateway what it runs on.
    pub fn show(&self, gateway: &Gateway) {
        gateway.observer().tell_config(self.state.clone());
    }

    /// What the gateway can be started with once more; the files that are named are read again.
    ///
    /// # Errors
    /// Every fault in these files, as `check` prints them.
    pub async fn prepare_again(&self, gateway: &Gateway) -> Result<Prepared, String> {
        let (config, time) = (Config::clone(&self.in_use), gateway.tls_time().clone());
        let prepared = tokio::task::spawn_blocking(move || Prepared::new(config, time)).await;
        match prepared {
            Ok(prepared) => prepared.map_err(|faults| faults.to_string()),
            Err(fault) => Err(format!("this is a fault of fieldgate: {fault}")),
        }
    }

    /// Reads the file again and takes up what has changed; logs and gives what was done, or why nothing was. Returns when all of
    /// it is in use.
    pub async fn run(&mut self, gateway: &mut Gateway) -> Outcome {
        let outcome = match self.try_to_run(gateway).await {
            Ok(applied) => Outcome::Applied(applied),
            Err(why) => Outcome::Refused(why),
        };
        match &outcome {
            Outcome::Applied(applied) => applied.log(),
            Outcome::Refused(why) => {
                tracing::error!("reload: nothing was changed, everything runs as before\n{why}");
            }
        }
        outcome
    }

    async fn try_to_run(&mut self, gateway: &mut Gateway) -> Result<Applied, String> {
        let (file, in_use_now) = (self.file.clone(), Arc::clone(&self.in_use));
        let time = gateway.tls_time().clone();
        let read = tokio::task::spawn_blocking(move || read(file, &in_use_now, time)).await;
        let read =
            read.unwrap_or_else(|fault| Err(format!("this is a fault of fieldgate: {fault}")));
        let (prepared, now, warnings) = read?;
        let difference = Difference::between(&self.in_use, &now);
        let applied = gateway.apply(prepared, &difference).await;
        if let Err(ApplyError::Refused(why)) = applied {
            return Err(why);
        }
        // Whatever broke on the way, from here on this is what the gateway is meant to be.
        self.in_use = Arc::new(in_use(&self.in_use, now));
        self.state.loaded = clock::wall();
        self.state.faults = None;
        self.state
            .needs_restart
            .clone_from(&difference.needs_restart);
        self.show(gateway);
        let applied = applied.map_err(|error| format!("not all was taken up: {error}"))?;
        Ok(Applied {
            warnings,
            ..applied
        })
    }
}

impl Applied {
    fn log(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        for done in &self.done {
            tracing::info!("reload: {done}");
        }
        tracing::info!("reload: as before: {}", self.kept.join(", "));
        if !self.needs_restart.is_empty() {
            let changed = self.needs_restart.join(", ");
            tracing::warn!("reload: changed, but needs a restart: {changed}");
        }
    }
}

/// What the file says now, with its warnings; else the faults, as `check` prints them.
fn read(
    file: PathBuf,
    in_use: &Config,
    time: TlsTime,
) -> Result<(Prepared, Config, Vec<String>), String> {
    let Loaded { config, warnings } = config::load(&file).map_err(|faults| faults.to_string())?;
    if config.gateway.id != in_use.gateway.id {
        // The rules have it filled in, and would be about topics that there are not yet.
        return Err("gateway.id was changed, which all topics depend on: restart".to_owned());
    }
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    match Prepared::new(config.clone(), time) {
        Ok(prepared) => Ok((prepared, config, warnings)),
        Err(faults) => {
            let warnings: String = warnings.iter().map(|it| format!("{it}\n")).collect();
            Err(format!("{warnings}{faults}"))
        }
    }
}
