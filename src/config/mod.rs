//! The configuration: `fieldgate.yaml` to the rooms' option structs, or every fault of it at once, each with line, column,
//! path and remedy. The only room with serde_yaml.
//!
//! Three steps. `document` reads the text into a tree of values, and `merge` adds those of `conf.d`. `section` reads each section of the tree into a plain
//! struct of `raw`, each key on its own, so that one typo does not hide the next. `build` applies defaults, inheritance
//! and every rule that spans keys, and makes the options. Faults are noted by path on the way; `locate` finds line and
//! column of those few paths at the end.
//!
//! Invariants: no input panics; nothing in the file is ignored silently (what this version does not build yet has an error
//! of its own, in `later`); no value that came from `${env:...}`, `${file:...}` or `${cred:...}` is shown in a fault.
//!
//! It reads the file, `conf.d/*.yaml` and `templates/*.yaml` beside it, the files that `${file:...}` names, and looks whether named files are there. It opens no socket and
//! checks no certificate.

mod build;
mod context;
mod document;
mod environment;
mod error;
mod excerpt;
mod later;
mod locate;
mod merge;
mod origins;
mod place;
mod placed;
mod raw;
mod redirect;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod schema;
mod secrecy;
mod section;
mod shipped;
mod source;
mod substitute;
mod suggest;
mod units;
mod wording;
mod words;

pub use environment::{BeforeFiles, Environment, SUBSTITUTE_BYTES_MAX, System};
pub use error::{Code, Fault, Faults, Position, Severity};
pub use excerpt::Excerpt;
pub use redirect::{Lead, redirected};
pub use secrecy::secret_in;
pub use shipped::TEMPLATES as SHIPPED_TEMPLATES;
pub use source::Source;
pub use words::{
    byte_order, parity, parity_word, reference, referred, table, table_word, tag_type, type_word,
};

use std::io;
use std::net::SocketAddr;
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
use context::Context;
use place::Place;
use section::Section;
use source::Recorder;

/// Reads a duration as the file has them: `500ms`, `7d`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|fault| format!("{}; {}", fault.message, fault.remedy))
}

/// The JSON Schema (draft-07) of the file, for editors.
pub const SCHEMA: &str = include_str!("../../config/fieldgate.schema.json");

/// The file of the control socket, in its folder.
pub const CONTROL_SOCKET: &str = "control.sock";

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
    /// Where health, metrics and state are served by HTTP; `None`: nowhere.
    pub console: Option<SocketAddr>,
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

/// Loads the configuration at `path`, with `conf.d` beside it. Relative paths are relative to the file they stand in. Blocks.
///
/// # Errors
/// All faults at once, warnings among them.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    load_in(path, &System)
}

/// The same where something else than this machine says what there is.
///
/// # Errors
/// As [`load`].
pub fn load_in(path: &Path, environment: &dyn Environment) -> Result<Loaded, Faults> {
    parse(&text_of(path, environment)?, path, environment)
}

/// Files that a configuration names and this room does not read: certificates, keys, users, rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedFiles {
    /// One that is not there is a fault.
    MustBeThere,
    /// Whoever reads them finds out.
    MayLack,
}

impl NamedFiles {
    fn parse(
        self,
        text: &str,
        file: &Path,
        environment: &dyn Environment,
    ) -> Result<Loaded, Faults> {
        match self {
            Self::MustBeThere => parse(text, file, environment),
            Self::MayLack => parse(text, file, &BeforeFiles(environment)),
        }
    }
}

/// As [`load`], with the texts that it was read from.
///
/// # Errors
/// As [`load`].
pub fn load_with_source(path: &Path, named: NamedFiles) -> Result<(Loaded, Source), Faults> {
    let recorder = Recorder::default();
    let text = text_of(path, &recorder)?;
    let loaded = named.parse(&text, path, &recorder)?;
    Ok((loaded, recorder.into_source(path, text)))
}

fn text_of(path: &Path, environment: &dyn Environment) -> Result<String, Faults> {
    let text = environment.read(path, FILE_BYTES_MAX);
    text.map_err(|error| Faults {
        list: vec![placed::unreadable(path, &error)],
        more: 0,
        // What the system said, and not what was made of what was read.
        is_unread: error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound,
    })
}

/// Reads a configuration again as its texts were; the files that they name are read as they are.
///
/// # Errors
/// As [`load`]: a file that is named may have gone.
pub fn read_again(source: &Source, named: NamedFiles) -> Result<Loaded, Faults> {
    named.parse(&source.text, &source.file, source)
}

/// Reads a configuration from `text`; `file` is its name in faults, and the folder of relative paths.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, file: &Path, environment: &dyn Environment) -> Result<Loaded, Faults> {
    let build = |context: &mut Context<'_>, root| {
        let whole = merge::whole(context, root, text.len());
        build::build(context, &whole)
    };
    let (config, warnings) = read(text, file, environment, build)?;
    Ok(Loaded { config, warnings })
}

/// The files beside the configuration at `path` that are read as if they stood in it: `conf.d/*.yaml`.
#[must_use]
pub fn conf_d(path: &Path) -> Vec<PathBuf> {
    merge::files(path, &System)
}

/// Reads how an instrument speaks, the section `serial:` of a device, from a `text` of its own.
///
/// # Errors
/// As [`load`].
pub fn dialect(text: &str, file: &Path, environment: &dyn Environment) -> Result<Dialect, Faults> {
    let build = |context: &mut Context<'_>, root| {
        let section = Section::<raw::Serial>::read(context, &root, Place::default());
        build::dialect(context, &section)
    };
    let (dialect, warnings) = read(text, file, environment, build)?;
    // What is not there was at fault, and that was noted.
    dialect.ok_or_else(|| Faults {
        list: warnings,
        ..Faults::default()
    })
}

/// What `build` makes of `text`, with the warnings; or all faults.
fn read<T>(
    text: &str,
    file: &Path,
    environment: &dyn Environment,
    build: impl FnOnce(&mut Context<'_>, serde_yaml::Value) -> T,
) -> Result<(T, Vec<Fault>), Faults> {
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let text = document::without_mark(text);
    let mut context = Context::new(environment, folder);
    let root = match context.main_document(text) {
        Ok(root) => root,
        Err(error) => {
            return Err(Faults {
                list: vec![placed::no_yaml(text, file, &error)],
                ..Faults::default()
            });
        }
    };
    let built = build(&mut context, root);
    let faults = placed::placed(text, file, context);
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
