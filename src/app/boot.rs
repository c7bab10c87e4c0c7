//! What a gateway is started with: the configuration, or where that has faults the last good one. What is wrong with files that
//! they name costs the parts that need these, and no start.

use std::path::{Path, PathBuf};

use super::{Prepared, Reload, last_good};
use crate::config::{self, Faults, Loaded, NamedFiles, Source};
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

/// Why there is nothing to start with.
#[derive(Debug, thiserror::Error)]
#[error("{faults}")]
pub struct BootError {
    /// What is wrong, as `check` prints it.
    faults: String,
    /// The texts may be well, and what they refer to may be there at another attempt. Else the configuration is to be mended.
    pub may_pass: bool,
}

impl From<Faults> for BootError {
    fn from(faults: Faults) -> Self {
        Self {
            faults: faults.to_string(),
            may_pass: faults.may_pass(),
        }
    }
}

impl Boot {
    /// Reads `file`, else what was last good of it. Where it is only files that they name that cannot be used, the first that is well
    /// but for these; but where those are users or rules, `file`: nobody is let in whom they might refuse, and an older
    /// configuration might let them in. Blocks.
    ///
    /// # Errors
    /// What is wrong with the configuration itself.
    pub fn read(file: &Path) -> Result<Self, BootError> {
        // Faults are told as they are with all of its files looked at.
        let BootError { faults, .. } = match Self::of_file(file, NamedFiles::MustBeThere) {
            Ok(boot) => return Ok(boot),
            Err(fault) => fault,
        };
        let lacking = Self::of_file(file, NamedFiles::MayLack);
        if let Ok(boot) = &lacking
            && boot.prepared.lacks_logins_alone()
        {
            return lacking;
        }
        let Some(source) = last_good::find(&folder_of(file), file) else {
            return lacking.map_err(|of_file| BootError { faults, ..of_file });
        };
        let last = |named| {
            let loaded = config::read_again(&source, named)?;
            Self::of(loaded, source.clone(), Some(faults.clone()), named)
        };
        if let Ok(boot) = last(NamedFiles::MustBeThere) {
            return Ok(boot);
        }
        let of_file = match lacking {
            Ok(boot) => return Ok(boot),
            Err(fault) => fault,
        };
        last(NamedFiles::MayLack).map_err(|of_last| BootError {
            may_pass: of_file.may_pass || of_last.may_pass,
            faults: format!(
                "{faults}\n\nthe last good configuration cannot be used either:\n{of_last}"
            ),
        })
    }

    fn of_file(file: &Path, named: NamedFiles) -> Result<Self, BootError> {
        let (loaded, source) = config::load_with_source(file, named)?;
        Self::of(loaded, source, None, named)
    }

    fn of(
        loaded: Loaded,
        source: Source,
        faults: Option<String>,
        named: NamedFiles,
    ) -> Result<Self, BootError> {
        let Loaded { config, warnings } = loaded;
        let prepared = Prepared::patient(config.clone(), TlsTime::default());
        if named == NamedFiles::MustBeThere
            && let Some(faults) = prepared.faults()
        {
            return Err(BootError {
                faults,
                may_pass: true,
            });
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The file `site.yaml` with this listener and more, whose last good text had a listener alone.
    fn read(listener: &str, more: &str) -> Result<Boot, BootError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site.yaml");
        let write = |listener: &str, more: &str| {
            let text = format!(
                "gateway: {{ id: g1, data_dir: data }}\n\
                 broker: {{ listeners: [{{ name: a, bind: \"127.0.0.1:0\", anonymous: true{listener} }}]{more} }}\n"
            );
            fs::write(&file, text).unwrap();
        };
        write("", "");
        let (_, source) = config::load_with_source(&file, NamedFiles::MustBeThere).unwrap();
        last_good::keep(&folder.path().join("data"), &source).unwrap();
        write(listener, more);
        Boot::read(&file)
    }

    #[test]
    fn what_lacks_users_or_rules_alone_gives_way_to_no_older_configuration() {
        const TLS: &str = ", tls: { certificate: no.crt, private_key: no.key }";
        let unknown = |boot: &Boot| boot.prepared.logins.credentials.unknown;
        for more in [", users_file: typo", ", mosquitto_acl_file: typo"] {
            let boot = read("", more).unwrap();
            assert_eq!(boot.faults, None, "{more}");
            assert!(unknown(&boot).users || unknown(&boot).rules, "{more}");
        }
        let boot = read(TLS, "").unwrap();
        assert!(boot.faults.unwrap().contains("no.crt"));
        assert_eq!(boot.prepared.faults(), None);
    }

    #[test]
    fn only_what_is_referred_to_may_be_there_at_another_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site.yaml");
        let may_pass = || Boot::read(&file).unwrap_err().may_pass;
        assert!(!may_pass(), "there is no file at all");
        fs::write(&file, "gateway: { id: '${file:id}' }\n").unwrap();
        assert!(may_pass());
        fs::write(&file, "gateway: { id: '${file:id}', nonsense: 1 }\n").unwrap();
        assert!(!may_pass());
        let own = folder.path().join("own.yaml");
        std::os::unix::fs::symlink(&own, &own).unwrap();
        assert!(Boot::read(&own).unwrap_err().may_pass, "ELOOP");
    }
}
