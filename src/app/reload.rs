//! Reading the configuration again while the gateway runs, and taking up what has changed.
//!
//! All or nothing: a fault anywhere in the configuration, or in a file that it names, changes nothing. What can only be read
//! at a start is told, and told again until there was one.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::apply::ApplyError;
use super::difference::{Difference, InUse};
use super::{Applied, Gateway, Prepared, boot};
use crate::clock;
use crate::config::{self, Config, Loaded, NamedFiles, Source};
use crate::net::TlsTime;
use crate::status::ConfigState;

/// The configuration that is in use, and where it comes from.
#[derive(Debug)]
pub struct Reload {
    source: Source,
    in_use: InUse,
    state: ConfigState,
}

/// What is said where [`Prepared::faults`] has some at a start.
pub const WITHOUT: &str = "files that the configuration names cannot be used; RUNNING WITHOUT the parts that need them, until they can be. \
     Mend them, then `fieldgate reload`";

/// What became of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Applied(Applied),
    /// Nothing was changed: the configuration is at fault; why, as `check` prints it.
    Refused(String),
    /// The configuration is not at fault, and still not all of it is in use; why.
    Failed(String),
}

impl Reload {
    /// For the configuration that was read from `source`; `is_last_good`: the file has faults by now, and `source` is how it was.
    #[must_use]
    pub fn new(started: Config, source: Source, is_last_good: bool) -> Self {
        let state = ConfigState {
            file: source.file.display().to_string(),
            loaded: clock::wall(),
            is_last_good,
            ..ConfigState::default()
        };
        Self {
            source,
            in_use: started.into(),
            state,
        }
    }

    /// The gateway has started, or has taken up what it had to do without: tells who looks at it what it runs on, and has that
    /// kept as the last good configuration. Waits for no disk.
    pub fn started(&self, gateway: &Gateway) {
        gateway.observer().tell_config(self.state.clone());
        tokio::spawn(boot::keep(
            gateway.observer().data_dir(),
            self.source.clone(),
            gateway.lacks_files(),
        ));
    }

    /// What the gateway can be started with once more; the files that are named are read again, as at a start. What bridges that
    /// were removed have left is closed then.
    ///
    /// # Errors
    /// Where that was not possible, and where what runs has what was in a file that is at fault now.
    pub async fn prepare_again(&mut self, gateway: &Gateway) -> Result<Prepared, String> {
        let (config, time) = (self.in_use.config.clone(), gateway.tls_time().clone());
        let started = config.clone();
        let prepared = tokio::task::spawn_blocking(move || Prepared::patient(config, time)).await;
        let prepared =
            prepared.map_err(|fault| format!("this is a fault of fieldgate: {fault}"))?;
        if let Some(faults) = prepared.faults() {
            let forgets_logins = !gateway.lacks_logins() && prepared.logins.error().is_some();
            if forgets_logins || !gateway.lacks_files() {
                return Err(faults);
            }
            tracing::error!(faults, "{WITHOUT}");
        }
        self.in_use = started.into();
        Ok(prepared)
    }

    /// Reads the file again and takes up what has changed; logs and gives what was done, or why nothing was. Returns when all of
    /// it is in use.
    pub async fn run(&mut self, gateway: &mut Gateway) -> Outcome {
        let pulse = gateway.observer().reload_pulse().clone();
        pulse.beat(clock::now());
        let outcome = match self.try_to_run(gateway).await {
            Ok(applied) => Outcome::Applied(applied),
            Err(outcome) => outcome,
        };
        pulse.end();
        match &outcome {
            Outcome::Applied(applied) => applied.log(),
            Outcome::Refused(why) => {
                tracing::error!(
                    faults = why,
                    "reload: nothing was changed, everything runs as before"
                );
            }
            Outcome::Failed(why) => tracing::error!("reload: {why}"),
        }
        if !matches!(outcome, Outcome::Applied(_)) {
            self.state.was_refused = true;
            gateway.observer().tell_config(self.state.clone());
        }
        outcome
    }

    async fn try_to_run(&mut self, gateway: &mut Gateway) -> Result<Applied, Outcome> {
        let (file, time) = (self.source.file.clone(), gateway.tls_time().clone());
        let id = self.in_use.config.gateway.id.clone();
        let read = tokio::task::spawn_blocking(move || read(&file, &id, time)).await;
        let read =
            read.map_err(|fault| Outcome::Failed(format!("this is a fault of fieldgate: {fault}")));
        let (prepared, now, source, warnings) = read?.map_err(Outcome::Refused)?;
        let difference = Difference::between(&self.in_use, &now);
        let needs_restart = difference.needs_restart.clone();
        // Where it breaks off, the next one compares with what was before, and so does all of it again.
        let applied = gateway.apply(prepared, difference).await;
        let applied = applied.map_err(|error| {
            Outcome::Failed(match error {
                ApplyError::Refused(why) => format!("nothing was changed: {why}"),
                ApplyError::Broken(why) => format!("not all was taken up: {why}"),
            })
        })?;
        self.in_use = self.in_use.after(now);
        self.state.loaded = clock::wall();
        self.state.is_last_good = false;
        self.state.was_refused = false;
        self.state.needs_restart = needs_restart;
        self.source = source;
        self.started(gateway);
        Ok(Applied {
            warnings,
            ..applied
        })
    }
}

impl Applied {
    fn log(&self) {
        if !self.warnings.is_empty() {
            let faults = self.warnings.join("\n");
            tracing::warn!(faults, "reload: the configuration is probably not meant so");
        }
        if !self.needs_restart.is_empty() {
            let changed = self.needs_restart.join(", ");
            tracing::warn!("reload: changed, but needs a restart: {changed}");
        }
        // One line: there may be more of them than the log has room for.
        tracing::info!("reload: {}", self.done.join("; "));
        tracing::info!("reload: as before: {}", self.kept.join(", "));
    }
}

/// What the file says now, with its warnings; else the faults, as `check` prints them.
fn read(
    file: &Path,
    id: &str,
    time: TlsTime,
) -> Result<(Prepared, Config, Source, Vec<String>), String> {
    let loaded = config::load_with_source(file, NamedFiles::MustBeThere);
    let (Loaded { config, warnings }, source) = loaded.map_err(|faults| faults.to_string())?;
    if config.gateway.id != id {
        // The rules have it filled in, and would be about topics that there are not yet.
        return Err("gateway.id was changed, which all topics depend on: restart".to_owned());
    }
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    match Prepared::new(config.clone(), time) {
        Ok(prepared) => Ok((prepared, config, source, warnings)),
        Err(faults) => {
            let warnings: String = warnings.iter().map(|it| format!("{it}\n")).collect();
            Err(format!("{warnings}{faults}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_gateway_that_knows_its_users_does_not_start_anew_without_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let text = "gateway: { id: g1, data_dir: data }\nconsole: { bind: off }\nbroker: { users_file: users }\n";
        fs::write(path("site.yaml"), text).unwrap();
        fs::write(path("users"), "").unwrap();
        let read = config::load_with_source(&path("site.yaml"), NamedFiles::MustBeThere);
        let (Loaded { config, .. }, source) = read.unwrap();
        let prepared = Prepared::new(config.clone(), TlsTime::default()).unwrap();
        let gateway = Gateway::start(prepared).await.unwrap();
        let mut reload = Reload::new(config, source, false);

        fs::write(path("users"), "plc7:secret\n").unwrap();
        let fault = reload.prepare_again(&gateway).await.unwrap_err();
        assert!(fault.contains("users:1: `plc7`: "), "{fault}");
        fs::write(path("users"), "").unwrap();
        reload.prepare_again(&gateway).await.unwrap();
        gateway.stop().await;
    }
}
