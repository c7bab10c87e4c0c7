//! `fieldgate simulate`: the devices of a configuration without hardware, so that it can be tried. With `--write` there is
//! a copy of the configuration beside it that leads to them.

mod faults;
mod site;
mod speech;
mod values;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::installed::Surroundings;
use super::run::StopSignals;
use super::{EXIT_CONFIG, EXIT_USAGE, say};
use crate::app::logging;
use crate::config::{self, BeforeFiles, Loaded};
use site::{Site, SiteError};

/// In the first line of a copy.
const MARK: &str = "with its devices simulated by `fieldgate simulate`";

/// What a simulation may be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration whose devices are simulated.
    #[arg(value_name = "FILE")]
    config: PathBuf,
    /// Write a copy of FILE under this name beside it that leads to the simulated devices, for `run`. It has no bridges, and
    /// a data_dir of its own.
    #[arg(long, value_name = "NAME")]
    write: Option<String>,
    /// First TCP port on loopback; default: any that are free.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// What a serial instrument says, without its delimiter or marks; a checksum is added where it lacks. More than one are
    /// said in turn. \r \n \t \\ and \x02 mean what they mean.
    #[arg(long, value_name = "DEVICE=LINE")]
    say: Vec<speech::Say>,
    /// What goes wrong: late, short, garbage, foreign-unit, exception, dead or reboot; of a device or unit, else of all; with
    /// each question, or each N-th.
    #[arg(long, value_name = "KIND[:DEVICE|UNIT][@N]")]
    fault: Vec<faults::Fault>,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
enum SimulateError {
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error("its folder for terminals: {0}")]
    Folder(io::Error),
    #[error("{file} cannot be written: {error}", file = .file.display())]
    Write { file: PathBuf, error: io::Error },
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    #[error("cannot start its threads: {0}")]
    Threads(io::Error),
}

pub(super) fn simulate(arguments: &Arguments) -> ExitCode {
    // Devices are there before the certificates of a site are; what they are for is not simulated.
    let surroundings = Surroundings::of(&arguments.config);
    let loaded = match config::load_in(&arguments.config, &BeforeFiles(&surroundings)) {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if loaded.config.connections.is_empty() && loaded.config.instruments.is_empty() {
        eprintln!("fieldgate simulate: the configuration has no devices");
        return ExitCode::from(EXIT_USAGE);
    }
    let copy = match copy(arguments) {
        Ok(copy) => copy,
        Err(reason) => {
            eprintln!("fieldgate simulate: {reason}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    logging::start(
        logging::Verbosity::Error,
        logging::Format::of_stderr(),
        None,
    );
    let ran = super::runtime()
        .map_err(SimulateError::Threads)
        .and_then(|runtime| runtime.block_on(run(arguments, &loaded, copy)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ SimulateError::Site(SiteError::Mute(..) | SiteError::NoSuchDevice(_))) => {
            eprintln!("fieldgate simulate: {error}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(error) => {
            eprintln!("fieldgate simulate: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(
    arguments: &Arguments,
    loaded: &Loaded,
    copy: Option<PathBuf>,
) -> Result<(), SimulateError> {
    // Before anything is started, so that the folder is removed whenever a signal comes.
    let mut signals = StopSignals::listen().map_err(SimulateError::Signals)?;
    let folder = tempfile::tempdir().map_err(SimulateError::Folder)?;
    let site = Site::start(&loaded.config, folder.path(), arguments).await?;
    site.told.iter().for_each(say);
    if let Some(copy) = copy {
        match write_copy(&arguments.config, &copy, &site) {
            Ok(()) => say(format_args!("now: fieldgate run -c {}", copy.display())),
            Err(error) => return Err(SimulateError::Write { file: copy, error }),
        }
    }
    signals.asked().await;
    Ok(())
}

/// Where the copy goes: beside the file, because what the file names is relative to its folder. What was not written by a
/// simulation is never replaced.
fn copy(arguments: &Arguments) -> Result<Option<PathBuf>, String> {
    let Some(name) = &arguments.write else {
        return Ok(None);
    };
    if Path::new(name).file_name() != Some(name.as_ref()) {
        return Err(format!(
            "`--write {name}`: write a name without a folder; the copy stands beside {}",
            arguments.config.display()
        ));
    }
    if let Some(other) = config::conf_d(&arguments.config).first() {
        // It would be read with the copy too, and its devices and bridges are the real ones.
        return Err(format!(
            "`--write {name}`: {} belongs to the configuration, and a copy beside {} could not be without it; put all \
             into one file, elsewhere",
            other.display(),
            arguments.config.display()
        ));
    }
    let copy = arguments.config.with_file_name(name);
    match fs::read_to_string(&copy) {
        Ok(there) if !there.lines().next().is_some_and(|line| line.contains(MARK)) => Err(format!(
            "{} is there and is no copy that a simulation wrote; choose another name",
            copy.display()
        )),
        _ => Ok(Some(copy)),
    }
}

fn write_copy(file: &Path, copy: &Path, site: &Site) -> io::Result<()> {
    let text = fs::read_to_string(file)?;
    let data_dir = copy.with_extension("data");
    let data_dir = data_dir.file_name().unwrap_or_default().to_string_lossy();
    let redirected = config::redirected(&text, &site.leads, &data_dir)
        .ok_or_else(|| io::Error::other("the file has changed since it was read"))?;
    let head = format!("# {}, {MARK}, and without its bridges.\n", file.display());
    fs::write(copy, head + &redirected)
}
