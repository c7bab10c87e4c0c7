//! The service that the package installs, as a command given by hand has to see it: which configuration is its own, and what
//! systemd tells it that it tells no shell. So the file means by hand what it means to the service: the same folders, the
//! same variables, the same credentials as far as this user may read them.
//!
//! Never invents a service: where its data folder is not there it has never run on this machine, as in a container that has
//! its file at the same place, and nothing is said in its name.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Environment, SUBSTITUTE_BYTES_MAX, System};

/// The configuration of the service.
pub(super) const CONFIGURATION: &str = "/etc/fieldgate/fieldgate.yaml";

/// Where systemd's unit has the control socket.
pub(super) const SOCKET: &str = "/run/fieldgate/control.sock";

/// What systemd tells a service of its folders: `StateDirectory=`, `RuntimeDirectory=`, `LoadCredential=`.
const STATE: &str = "STATE_DIRECTORY";
const RUNTIME: &str = "RUNTIME_DIRECTORY";
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// This machine as the gateway of a configuration sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    system: System,
    /// What the service is told, and this process is not.
    told: BTreeMap<String, String>,
}

impl Surroundings {
    /// Of whichever gateway runs by this `file`.
    pub(super) fn of(file: &Path) -> Self {
        // The service itself, and whoever speaks for it, as the scripts of the package.
        if std::env::var_os(STATE).is_some() {
            return Self::default();
        }
        let service = Service::below(Path::new("/"));
        let told = service.is_of(file).then(|| service.told());
        Self {
            system: System,
            told: told.unwrap_or_default(),
        }
    }
}

impl Environment for Surroundings {
    fn variable(&self, name: &str) -> Option<String> {
        let told = self.told.get(name).cloned();
        told.or_else(|| self.system.variable(name))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        self.system.read(path, bytes_max)
    }

    fn yaml_files(&self, folder: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
        self.system.yaml_files(folder, most)
    }

    fn is_file(&self, path: &Path) -> bool {
        self.system.is_file(path)
    }

    fn host_name(&self) -> Option<String> {
        self.system.host_name()
    }
}

/// Whether it is the configuration of the service, under whatever name.
pub(super) fn is_configuration(file: &Path) -> bool {
    Service::below(Path::new("/")).is_of(file)
}

/// Whether there is something at `path`. Behind a door that is closed to this user there is: the service's folders are closed
/// to all but its group, and who is told that nothing is there looks in the wrong place.
pub(super) fn is_there(path: &Path) -> bool {
    is_found(path.try_exists())
}

fn is_found(looked: io::Result<bool>) -> bool {
    looked.unwrap_or_else(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Where the parts of the service are.
#[derive(Debug)]
struct Service {
    configuration: PathBuf,
    /// Its `EnvironmentFile=`.
    variables: PathBuf,
    state: PathBuf,
    runtime: PathBuf,
    credentials: PathBuf,
}

impl Service {
    fn below(root: &Path) -> Self {
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        Self {
            configuration: at(CONFIGURATION),
            variables: at("etc/default/fieldgate"),
            state: at("var/lib/fieldgate"),
            runtime: at("run/fieldgate"),
            credentials: at("run/credentials/fieldgate.service"),
        }
    }

    fn is_of(&self, file: &Path) -> bool {
        match (file.canonicalize(), self.configuration.canonicalize()) {
            (Ok(file), Ok(own)) => file == own && is_there(&self.state),
            _ => false,
        }
    }

    fn told(&self) -> BTreeMap<String, String> {
        let text = System.read(&self.variables, SUBSTITUTE_BYTES_MAX);
        let mut told = variables(&text.unwrap_or_default());
        let mut tell = |name: &str, folder: &Path| {
            told.insert(name.to_owned(), folder.display().to_string());
        };
        tell(STATE, &self.state);
        tell(RUNTIME, &self.runtime);
        // Only while the service runs, and only for root.
        if self.credentials.read_dir().is_ok() {
            tell(CREDENTIALS, &self.credentials);
        }
        told
    }
}

/// What a file of variables says, as systemd reads it (systemd.exec(5), `EnvironmentFile=`); values on several lines by `\`
/// alone.
fn variables(text: &str) -> BTreeMap<String, String> {
    let text = text.replace("\\\n", "");
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with(['#', ';']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, text)| (name.trim().to_owned(), value(text.trim())))
        .collect()
}

/// Without its quotes and backslashes.
fn value(text: &str) -> String {
    let mut value = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            ('\\', None) => value.extend(letters.next()),
            ('\\', Some('"')) => match letters.next() {
                Some(next @ ('"' | '\\' | '`' | '$')) => value.push(next),
                next => {
                    value.push('\\');
                    value.extend(next);
                }
            },
            (letter, _) => value.push(letter),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_behind_a_closed_door_is_there() {
        assert!(is_found(Ok(true)) && !is_found(Ok(false)));
        assert!(is_found(Err(io::ErrorKind::PermissionDenied.into())));
        assert!(!is_found(Err(io::ErrorKind::NotADirectory.into())));
    }

    #[test]
    fn the_file_means_by_hand_what_it_means_to_the_service() {
        let root = tempfile::tempdir().unwrap();
        let service = Service::below(root.path());
        let put = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(&service.configuration, "");
        put(
            &service.variables,
            "# no\nSITE=\"plant 3\"\nTOKEN='a\\b' \n",
        );
        let link = root.path().join("link.yaml");
        std::os::unix::fs::symlink(&service.configuration, &link).unwrap();
        assert!(!service.is_of(&link), "no service has ever run here");
        fs::create_dir_all(&service.state).unwrap();
        assert!(service.is_of(&service.configuration) && service.is_of(&link));
        assert!(!service.is_of(&service.variables));
        assert!(!service.is_of(&root.path().join("none.yaml")));

        let surroundings = Surroundings {
            system: System,
            told: service.told(),
        };
        let variable = |name| surroundings.variable(name);
        assert_eq!(variable("SITE").as_deref(), Some("plant 3"));
        assert_eq!(variable("TOKEN").as_deref(), Some("a\\b"));
        assert_eq!(variable(STATE).as_deref(), service.state.to_str());
        assert_eq!(variable(RUNTIME).as_deref(), service.runtime.to_str());
        assert_eq!(variable(CREDENTIALS), System.variable(CREDENTIALS));
        assert_eq!(variable("PATH"), System.variable("PATH"));
        fs::create_dir_all(&service.credentials).unwrap();
        let told = service.told();
        assert_eq!(
            told.get(CREDENTIALS).map(String::as_str),
            service.credentials.to_str()
        );
    }

    #[test]
    fn variables_are_read_as_systemd_does() {
        let told = variables(
            "\n ; no\n#A=1\nB = 2 3 \nC=a\\\nb\nD=\"x \\\"y\\\" \\n\"\nE=it\\'s\nF=\nnothing\n",
        );
        let told: Vec<_> = told
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(
            told,
            [
                ("B", "2 3"),
                ("C", "ab"),
                ("D", "x \"y\" \\n"),
                ("E", "it's"),
                ("F", ""),
            ]
        );
    }
}
