//! What a gateway is started with: the configuration, or where that has faults the last good one.

use std::path::{Path, PathBuf};

use super::{Prepared, Reload, last_good};
use crate::config::{self, Loaded, Source};
use crate::net::TlsTime;

/// Everything for a start.
#[derive(Debug)]
pub struct Boot {
    /// What to start.
    pub prepared: Prepared,
    /// What it was made of, for reloads.
    pub reload: Reload,
    /// What is probably not meant so, as `check` prints it.
    pub warnings: Vec<String>,
    /// The file cannot be used, and why; then all this is the last good configuration.
    pub faults: Option<String>,
}

/// Why there is nothing to start with, as `check` prints it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootFault {
    /// The configuration itself: it would be the same at the next attempt.
    #[error("{0}")]
    Config(String),
    /// A file that it names (users, rules, certificates, keys): others write those, and may have mended it by the next attempt.
    #[error("{0}")]
    Files(String),
}

impl Boot {
    /// Reads `file`, else what was last good of it. Blocks.
    ///
    /// # Errors
    /// What is wrong, where there is no last good configuration that can be used either.
    pub fn read(file: &Path) -> Result<Self, BootFault> {
        let read = config::load_with_source(file)
            .map_err(|faults| BootFault::Config(faults.to_string()))
            .and_then(|(loaded, source)| Self::of(loaded, source, None));
        let fault = match read {
            Ok(boot) => return Ok(boot),
            Err(fault) => fault,
        };
        let Some(source) = last_good::find(&folder_of(file), file) else {
            return Err(fault);
        };
        let again = config::read_again(&source);
        let again = again.map_err(|faults| BootFault::Config(faults.to_string()));
        again
            .and_then(|loaded| Self::of(loaded, source, Some(fault.to_string())))
            .map_err(|of_last| {
                let both = format!(
                    "{fault}\n\nthe last good configuration cannot be used either:\n{of_last}"
                );
                match (fault, of_last) {
                    (BootFault::Config(_), BootFault::Config(_)) => BootFault::Config(both),
                    _ => BootFault::Files(both),
                }
            })
    }

    fn of(loaded: Loaded, source: Source, faults: Option<String>) -> Result<Self, BootFault> {
        let Loaded { config, warnings } = loaded;
        let prepared = Prepared::new(config.clone(), TlsTime::default());
        Ok(Self {
            prepared: prepared.map_err(|faults| BootFault::Files(faults.to_string()))?,
            reload: Reload::new(config, source, faults.is_some()),
            warnings: warnings.iter().map(ToString::to_string).collect(),
            faults,
        })
    }
}

/// Where the last good configuration of a file with faults may be.
fn folder_of(file: &Path) -> PathBuf {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    last_good::folder(&last_good::data_dir_of(&text, file))
}

/// The gateway runs on this configuration: should the file have faults one day, this is what runs. A disk that does not take it
/// costs that and nothing else.
pub(super) async fn keep(data_dir: PathBuf, source: Source) {
    let folder = last_good::folder(&data_dir);
    let kept = tokio::task::spawn_blocking(move || last_good::keep(&folder, &source)).await;
    match kept {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the configuration cannot be kept as the last good one");
        }
        Err(fault) => tracing::error!(%fault, "this is a fault of fieldgate"),
    }
}
