//! What all commands share that ask the gateway that runs: which one, and how it ends when there is no answer.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::installed::{self, Surroundings, is_there};
use super::{EXIT_CONFIG, EXIT_NOT_RUNNING, default_config};
use crate::app::last_good;
use crate::config::{self, BeforeFiles, Config, Environment};
use crate::control::{Answers, AskError, Request, ask};

/// Which gateway is meant.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Whom {
    /// The configuration of the gateway; default: the one that is installed and runs, else as for `run`.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway's control socket; then its configuration is not looked at.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}")]
    Config(config::Faults),
    #[error("the gateway's answer is of another version: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl Whom {
    /// Where it is asked.
    pub(super) fn socket(&self) -> Result<PathBuf, Fault> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let service = Path::new(installed::SOCKET);
        let named = self.config.as_deref();
        if named.is_none_or(installed::is_configuration) && is_there(service) {
            return Ok(service.to_owned());
        }
        match self.load_before_files() {
            Ok(config) => Ok(self.started_by_hand(config.gateway.control_socket)),
            // It may have been written since; what runs is asked where the broken text still says that it is.
            Err(fault) => socket_of_broken(&self.file()).ok_or(fault),
        }
    }

    /// `socket`; where it is not there, that of a gateway which a person started on the service's configuration.
    fn started_by_hand(&self, socket: PathBuf) -> PathBuf {
        if is_there(&socket) {
            return socket;
        }
        let by_hand = self.load_in(&BeforeFiles(&Surroundings::default()));
        let by_hand = by_hand.map(|config| config.gateway.control_socket);
        by_hand.ok().filter(|it| is_there(it)).unwrap_or(socket)
    }

    /// The file of its configuration.
    pub(super) fn file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(default_config)
    }

    /// Its configuration.
    pub(super) fn load(&self) -> Result<Config, Fault> {
        self.load_in(&self.surroundings())
    }

    /// The same before all is there that it names.
    pub(super) fn load_before_files(&self) -> Result<Config, Fault> {
        self.load_in(&BeforeFiles(&self.surroundings()))
    }

    /// What its configuration may refer to.
    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings::of(&self.file())
    }

    fn load_in(&self, environment: &dyn Environment) -> Result<Config, Fault> {
        let loaded = config::load_in(&self.file(), environment).map_err(Fault::Config)?;
        Ok(loaded.config)
    }

    /// Asks it.
    pub(super) fn ask(&self, request: &Request) -> Result<Answers, Fault> {
        Ok(ask(&self.socket()?, request)?)
    }

    /// Asks for what is answered in one item.
    pub(super) fn ask_one(&self, request: &Request) -> Result<serde_json::Value, Fault> {
        let mut item = None;
        for answer in self.ask(request)? {
            item = Some(answer?);
        }
        item.ok_or_else(|| Fault::Ask(AskError::Broken(io::ErrorKind::UnexpectedEof.into())))
    }
}

/// The socket of a gateway whose configuration has faults by now, if it is there.
fn socket_of_broken(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read(file).unwrap_or_default();
    let data_dir = last_good::data_dir_of(&String::from_utf8_lossy(&text), file);
    let socket = data_dir.join(config::CONTROL_SOCKET);
    is_there(&socket).then_some(socket)
}

impl Fault {
    /// Tells it; the exit status of the command with this name.
    pub(super) fn end(&self, command: &str) -> ExitCode {
        match self {
            // `| head` is no fault.
            Self::Print(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Config(faults) => {
                eprintln!("{faults}");
                eprintln!(
                    "help: a gateway that runs on an older state of the file can be asked by its socket: --socket PATH"
                );
                ExitCode::from(EXIT_CONFIG)
            }
            Self::Ask(AskError::NotRunning) => {
                eprintln!("fieldgate {command}: {self}");
                ExitCode::from(EXIT_NOT_RUNNING)
            }
            _ => {
                eprintln!("fieldgate {command}: {self}");
                ExitCode::FAILURE
            }
        }
    }
}

/// What a command came to, as an exit status.
pub(super) fn end(command: &str, done: Result<ExitCode, Fault>) -> ExitCode {
    done.unwrap_or_else(|fault| fault.end(command))
}
