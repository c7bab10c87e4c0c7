//! What a gateway is started with: the configuration, or where that has faults the last good one. What is wrong with files that
//! they name costs the parts that need these, and no start.

use std::path::{Path, PathBuf};

use super::{Prepared, Reload, last_good};
use crate::config::{self, Loaded, NamedFiles, Source};
use crate::net::TlsTime;

/// Everything for a start.
#[derive(Debug)]
pub struct Boot {
    /// What to start; it says itself which of the files that are named cannot be used.
    pub prepared: Prepared,
    /// What it was made of, for reloads.
    pub reload: Reload,
    /// What is probably not meant so, as `check` prints it.
    pub warnings: Vec<String>,
    /// The file cannot be used, and why; then all this is the last good configuration.
    pub faults: Option<String>,
}

impl Boot {
    /// Reads `file`, else what was last good of it. Where it is only files that they name that cannot be used, the first that is well
    /// but for these. Blocks.
    ///
    /// # Errors
    /// What is wrong, as `check` prints it: the configuration itself, so it would be the same at the next attempt.
    pub fn read(file: &Path) -> Result<Self, String> {
        let last = last_good::find(&folder_of(file), file);
        let mut faults = None;
        for named in [NamedFiles::MustBeThere, NamedFiles::MayLack] {
            let read = config::load_with_source(file, named).map_err(|faults| faults.to_string());
            let fault =
                match read.and_then(|(loaded, source)| Self::of(loaded, source, None, named)) {
                    Ok(boot) => return Ok(boot),
                    Err(fault) => fault,
                };
            // As it was told with all of its files looked at.
            let fault = faults.get_or_insert(fault);
            let Some(source) = &last else {
                continue;
            };
            let read = config::read_again(source, named).map_err(|faults| faults.to_string());
            let told = Some(fault.clone());
            match read.and_then(|loaded| Self::of(loaded, source.clone(), told, named)) {
                Ok(boot) => return Ok(boot),
                Err(of_last) if named == NamedFiles::MayLack => fault.push_str(&format!(
                    "\n\nthe last good configuration cannot be used either:\n{of_last}"
                )),
                Err(_) => {}
            }
        }
        Err(faults.unwrap_or_default())
    }

    fn of(
        loaded: Loaded,
        source: Source,
        faults: Option<String>,
        named: NamedFiles,
    ) -> Result<Self, String> {
        let Loaded { config, warnings } = loaded;
        let prepared = Prepared::patient(config.clone(), TlsTime::default());
        if named == NamedFiles::MustBeThere
            && let Some(faults) = prepared.faults()
        {
            return Err(faults);
        }
        Ok(Self {
            prepared,
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

/// The gateway runs on this configuration: should the file have faults one day, this is what runs. One that has to do without
/// files that it names takes no other's place. A disk that does not take it costs that and nothing else.
pub(super) async fn keep(data_dir: PathBuf, source: Source, lacks_files: bool) {
    let folder = last_good::folder(&data_dir);
    let keep = move || {
        if lacks_files && last_good::find(&folder, &source.file).is_some() {
            return Ok(());
        }
        last_good::keep(&folder, &source)
    };
    let kept = tokio::task::spawn_blocking(keep).await;
    match kept {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the configuration cannot be kept as the last good one");
        }
        Err(fault) => tracing::error!(%fault, "this is a fault of fieldgate"),
    }
}
