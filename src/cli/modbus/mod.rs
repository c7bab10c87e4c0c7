//! Modbus by hand: `read`, `guess`, `scan` and `write`, for a person in front of a device. None but `write` changes anything
//! in a device, and that only what a person has confirmed.
//!
//! `target` finds out whom is meant, `register` what of it, `takes` which values it takes, `guard` whether the gateway that
//! runs has the wire; then `through` has it ask. `blame` says why there is no answer.

mod blame;
mod guard;
mod guess;
mod read;
mod register;
mod scan;
mod takes;
mod target;
mod through;
mod write;

use std::future::Future;
use std::io;
use std::process::ExitCode;

use super::{EXIT_CONFIG, EXIT_USAGE, runtime};
use crate::adapter::WireOptions;
use crate::adapter::by_hand::{ByHand, Unanswered};
use crate::config::{self, Config};
use guard::Closed;
use target::Target;
use through::Gateway;

pub(super) use blame::Asked;
pub(super) use guard::{Held, held};
pub(super) use guess::Arguments as GuessArguments;
pub(super) use read::Arguments as ReadArguments;
pub(super) use register::Register;
pub(super) use scan::Arguments as ScanArguments;
pub(super) use write::Arguments as WriteArguments;

/// Why a command does not do what it was told.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Config(config::Faults),
    #[error(transparent)]
    Held(Closed),
    #[error(
        "the gateway that runs has {0}, and asks there by these settings\n  help: say the same; stop the gateway to try others"
    )]
    OtherSettings(String),
    /// With what to do.
    #[error("{0}")]
    Unanswered(String),
    /// Which, was told.
    #[error("not all of it could be read")]
    NotWhole,
    /// With what to try.
    #[error("nobody answers\n  help: {0}")]
    Nobody(&'static str),
    #[error(
        "nobody can be asked whether to disturb the line: this is no terminal; say --yes where nobody is to be asked"
    )]
    NobodyToAsk,
    #[error("nothing was asked")]
    Declined,
    #[error(
        "nobody can be asked whether to write: this is no terminal; say --yes where nobody is to be asked"
    )]
    NobodyToConfirm,
    #[error("nothing was written")]
    NotWritten,
    /// What it holds was told.
    #[error(
        "it was written, and reads as something else\n  help: some devices take a moment, keep to limits of their own, or \
         clear a command that they have taken; `fieldgate read` shows what it holds now"
    )]
    HoldsOther,
    #[error("{0}")]
    System(#[from] io::Error),
}

pub(super) fn read(arguments: &ReadArguments) -> ExitCode {
    end("read", run(read::read(arguments)))
}

pub(super) fn guess(arguments: &GuessArguments) -> ExitCode {
    end("guess", run(guess::guess(arguments)))
}

pub(super) fn scan(arguments: &ScanArguments) -> ExitCode {
    end("scan", run(scan::scan(arguments)))
}

pub(super) fn write(arguments: &WriteArguments) -> ExitCode {
    end("write", run(write::write(arguments)))
}

fn run(command: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    runtime()?.block_on(command)
}

fn end(command: &str, done: Result<(), Fault>) -> ExitCode {
    let Err(fault) = done else {
        return ExitCode::SUCCESS;
    };
    match fault {
        Fault::Config(faults) => {
            eprintln!("{faults}");
            ExitCode::from(EXIT_CONFIG)
        }
        Fault::Usage(_) | Fault::NobodyToAsk | Fault::NobodyToConfirm => {
            eprintln!("fieldgate {command}: {fault}");
            ExitCode::from(EXIT_USAGE)
        }
        _ => {
            eprintln!("fieldgate {command}: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// The gateway that runs, where it has the wire, by preference under this name, and asks there for others. A line that it has
/// and does not ask on is refused; a connection beside its own is not, since devices may take several, but said.
fn gateway_with(
    name: &str,
    wire: &WireOptions,
    config: Option<&Config>,
) -> Result<Option<Gateway>, Fault> {
    match config.and_then(|config| held(name, wire, config)) {
        None => Ok(None),
        Some(Held::Open(gateway)) => Ok(Some(gateway)),
        Some(Held::Closed(closed)) if closed.is_line => Err(Fault::Held(closed)),
        Some(Held::Closed(closed)) => {
            eprintln!("{}", closed.note());
            Ok(None)
        }
    }
}

impl Target {
    /// The wire, or the way to it through the gateway that has it.
    fn by_hand(&self) -> Result<ByHand, Fault> {
        let connection = &self.connection;
        let by_hand = ByHand::new(connection.clone());
        let by_hand = by_hand.map_err(|error| Fault::Usage(error.to_string()))?;
        let config = self.config.as_ref();
        let Some(gateway) = gateway_with(&connection.name, &connection.wire, config)? else {
            return Ok(by_hand);
        };
        if !gateway.has(&connection.wire) {
            return Err(Fault::OtherSettings(gateway.wire.to_string()));
        }
        eprintln!("{}", gateway.note());
        Ok(by_hand.through(gateway))
    }

    fn unanswered(&self, fault: &Unanswered, register: Option<Register>) -> Fault {
        Fault::Unanswered(self.explain(fault, register, None))
    }

    /// Why there is no answer; `write`: the function that was to write.
    fn explain(&self, fault: &Unanswered, register: Option<Register>, write: Option<u8>) -> String {
        let asked = Asked {
            wire: &self.connection.wire,
            unit: self.unit,
            timeout: self.timeout,
            register,
            write,
        };
        let mut told = asked.explain(fault);
        if matches!(fault, Unanswered::NotOpen(_)) {
            told += &self.name_meant();
        }
        told
    }

    /// Where it was taken for a host but may be meant as a name: which it could be. Else nothing.
    fn name_meant(&self) -> String {
        match (&self.config, self.may_be_a_name) {
            (_, false) => String::new(),
            (Some(config), true) => format!(
                "\n  or is it a device of the configuration? {}",
                target::known(config)
            ),
            (None, true) => {
                "\n  or is it a device of a configuration? name that with -c FILE".to_owned()
            }
        }
    }
}
