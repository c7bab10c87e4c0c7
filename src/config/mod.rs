//! The configuration: `fieldgate.yaml` to the rooms' option structs, or every fault of it at once, each with line, column,
//! path and remedy. The only room with serde_yaml.
//!
//! Three steps. `document` reads the text into a tree of values. `section` reads each section of the tree into a plain
//! struct of `raw`, each key on its own, so that one typo does not hide the next. `build` applies defaults, inheritance
//! and every rule that spans keys, and makes the options. Faults are noted by path on the way; `locate` finds line and
//! column of those few paths at the end.
//!
//! Invariants: no input panics; nothing in the file is ignored silently (what this version does not build yet has an error
//! of its own, in `later`); no value that came from `${env:...}` or `${file:...}` is shown in a fault.
//!
//! It reads the file, `templates/*.yaml` beside it, the files that `${file:...}` names, and looks whether named files are there. It opens no socket and
//! checks no certificate.

mod build;
mod context;
mod document;
mod environment;
mod error;
mod excerpt;
mod later;
mod locate;
mod place;
mod raw;
mod redirect;
#[cfg(test)]
mod reference;
mod section;
mod shipped;
mod suggest;
mod units;
mod wording;
mod words;

pub use environment::{Environment, SUBSTITUTE_BYTES_MAX, System};
pub use error::{Code, Fault, Faults, Severity};
pub use excerpt::Excerpt;
pub use redirect::{Lead, redirected};
pub use shipped::TEMPLATES as SHIPPED_TEMPLATES;
pub use words::{
    byte_order, parity, parity_word, reference, referred, table, table_word, tag_type, type_word,
};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::adapter::ConnectionOptions;
use crate::adapter::serial::Dialect;
use crate::adapter::serial::InstrumentConnection;
use crate::auth::AccessOptions;
use crate::bridge::BridgeOptions;
use crate::broker::{BrokerOptions, Durability};
use crate::listener::ListenerOptions;
use crate::store::{LogOptions, SessionLogOptions, StateOptions};
use context::{Context, Noted};
use place::Place;
use section::Section;

/// Reads a duration as the file has them: `500ms`, `7d`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|fault| format!("{}; {}", fault.message, fault.remedy))
}

/// The largest configuration file, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// The most faults that are placed and shown; the rest is counted. Each costs one run of the parser.
const FAULTS_MAX: usize = 50;

/// A whole configuration, ready for the rooms. Two are compared to see what a reload changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who we are and where we keep things.
    pub gateway: Gateway,
    /// The local broker.
    pub broker: BrokerOptions,
    /// Its listeners.
    pub listeners: Vec<ListenerOptions>,
    /// Its users; `None`: there are none.
    pub users_file: Option<PathBuf>,
    /// Who may do what.
    pub access: AccessOptions,
    /// What all logs share.
    pub store: StoreSettings,
    /// Where sessions and retained messages are kept.
    pub sessions: SessionStoreOptions,
    /// The wires, each with its devices. Shared, since what runs and what a reload compares with are the same.
    pub connections: Vec<Arc<ConnectionOptions>>,
    /// The serial instruments, each on its port.
    pub instruments: Vec<InstrumentConnection>,
    /// The ways up.
    pub bridges: Vec<Bridge>,
}

/// Who we are and where we keep things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// One level of a topic; default: the host name.
    pub id: String,
    /// Default: `$STATE_DIRECTORY`, else `data` in the working directory.
    pub data_dir: PathBuf,
    /// Where commands ask it: in systemd's `$RUNTIME_DIRECTORY`, else in `data_dir`.
    pub control_socket: PathBuf,
    /// Whether it says how it is under its id. A file that asks for a broker alone, without an id, device or bridge, gets
    /// one that publishes nothing of its own outside `$SYS`: other programs subscribe to `#` and `+/+` there.
    pub tells_status: bool,
}

/// What all logs share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Group commit.
    pub commit_interval: Duration,
    /// What the acknowledgement of a message waits for.
    pub durability: Durability,
    /// How long QoS 1 is kept in RAM for the upstream's acknowledgement; zero: not at all.
    pub hold_for_upstream: Duration,
    /// RAM for that, per log, in bytes.
    pub hold_bytes: usize,
    /// Bytes that stay free on the disk; 0: none.
    pub free_space_minimum: u64,
}

/// Where sessions and retained messages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStoreOptions {
    /// What is no queue.
    pub state: StateOptions,
    /// What sessions still want.
    pub log: SessionLogOptions,
}

/// A bridge and the log of its backlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The bridge.
    pub options: BridgeOptions,
    /// Its backlog, in `data_dir/backlog/NAME`.
    pub log: LogOptions,
}

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is probably not meant so.
    pub warnings: Vec<Fault>,
}

/// Loads the configuration at `path`. Relative paths in it are relative to its folder. Blocks.
///
/// # Errors
/// All faults at once, warnings among them.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    match environment::read_text(path, FILE_BYTES_MAX) {
        Ok(text) => parse(&text, path, &System),
        Err(error) => Err(Faults {
            list: vec![unreadable(path, &error)],
            more: 0,
        }),
    }
}

/// Reads a configuration from `text`; `file` is its name in faults, and the folder of relative paths.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, file: &Path, environment: &dyn Environment) -> Result<Loaded, Faults> {
    let (config, warnings) = read(text, file, environment, build::build)?;
    Ok(Loaded { config, warnings })
}

/// Reads how an instrument speaks, the section `serial:` of a device, from a `text` of its own.
///
/// # Errors
/// As [`load`].
pub fn dialect(text: &str, file: &Path, environment: &dyn Environment) -> Result<Dialect, Faults> {
    let build = |context: &mut Context<'_>, root: &serde_yaml::Value| {
        let section = Section::<raw::Serial>::read(context, root, Place::default());
        build::dialect(context, &section)
    };
    let (dialect, warnings) = read(text, file, environment, build)?;
    // What is not there was at fault, and that was noted.
    dialect.ok_or(Faults {
        list: warnings,
        more: 0,
    })
}

/// What `build` makes of `text`, with the warnings; or all faults.
fn read<T>(
    text: &str,
    file: &Path,
    environment: &dyn Environment,
    build: impl FnOnce(&mut Context<'_>, &serde_yaml::Value) -> T,
) -> Result<(T, Vec<Fault>), Faults> {
    let document = match document::parse(text, Place::default()) {
        Ok(document) => document,
        Err(error) => {
            return Err(Faults {
                list: vec![no_yaml(text, file, &error)],
                more: 0,
            });
        }
    };
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut context = Context::new(environment, folder);
    context.note_document(&document);
    let built = build(&mut context, &document.root);
    let faults = placed(text, file, context);
    if faults.more > 0
        || faults
            .list
            .iter()
            .any(|fault| fault.severity == Severity::Error)
    {
        return Err(faults);
    }
    Ok((built, faults.list))
}

/// Gives each fault its line and column, and sorts by them: those of the file itself first.
fn placed(text: &str, file: &Path, context: Context<'_>) -> Faults {
    let (noted, others) = context.into_noted();
    let mut noted: Vec<Noted> = noted.collect();
    // Should not all be shown, then errors before warnings.
    noted.sort_by_key(|noted| noted.severity);
    let more = noted.len().saturating_sub(FAULTS_MAX);
    noted.truncate(FAULTS_MAX);
    let mut list: Vec<Fault> = noted
        .into_iter()
        .map(|noted| {
            let other = noted.place.file();
            let (file, text) = other
                .and_then(|other| others.texts.get_key_value(other))
                .map_or((file, text), |(file, text)| (file, text));
            let at = locate::position(text, &noted.place, noted.spot);
            fault(file, text, at, noted)
        })
        .collect();
    list.extend(others.faults);
    list.sort_by_key(|fault| {
        let other = (fault.file != file).then(|| fault.file.clone());
        (other, fault.line, fault.column, fault.code)
    });
    Faults { list, more }
}

fn fault(file: &Path, text: &str, (line, column): (usize, usize), noted: Noted) -> Fault {
    let text = line
        .checked_sub(1)
        .and_then(|index| text.lines().nth(index));
    Fault {
        file: file.to_path_buf(),
        line,
        column,
        path: excerpt::quoted_path(&noted.place.path()),
        message: noted.message,
        remedy: noted.remedy,
        code: noted.code,
        severity: noted.severity,
        excerpt: text.map(|text| Excerpt::new(text, column)),
    }
}

fn no_yaml(text: &str, file: &Path, error: &serde_yaml::Error) -> Fault {
    let lines: Vec<&str> = text.lines().collect();
    let (line, column) = error
        .location()
        .map_or((1, 1), |location| (location.line(), location.column()));
    // At the end of the text the parser names a line that is not there.
    let line = line.clamp(1, lines.len().max(1));
    let at = |line: usize| lines.get(line.wrapping_sub(1)).copied().unwrap_or_default();
    let before = (1..line).rev().map(at).find(|line| !line.trim().is_empty());
    let (message, remedy) =
        wording::no_yaml(&error.to_string(), at(line), before.unwrap_or_default());
    let noted = Noted {
        place: Place::default(),
        spot: locate::Spot::Value,
        code: Code::Syntax,
        severity: Severity::Error,
        message,
        remedy,
    };
    fault(file, text, (line, column), noted)
}

fn unreadable(file: &Path, error: &std::io::Error) -> Fault {
    let (message, remedy) = match error.kind() {
        std::io::ErrorKind::NotFound => (
            "there is no such file".to_owned(),
            "name the file (`check FILE`, `run -c FILE`); /etc/fieldgate/fieldgate.yaml comes first, where it exists",
        ),
        std::io::ErrorKind::PermissionDenied => (
            "it may not be read".to_owned(),
            "give the user of fieldgate the right",
        ),
        std::io::ErrorKind::InvalidData => (error.to_string(), "save the file as UTF-8"),
        _ => (error.to_string(), "name a text file"),
    };
    Fault {
        file: file.to_path_buf(),
        line: 0,
        column: 0,
        path: String::new(),
        message,
        remedy: remedy.to_owned(),
        code: Code::Unreadable,
        severity: Severity::Error,
        excerpt: None,
    }
}
