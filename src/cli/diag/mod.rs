//! `fieldgate diag`: what somebody who helps from afar needs to see, in one file, without secrets.
//!
//! It says what is inside. Nothing is sent anywhere; no key, no password and no hash of one is read into it, and what comes
//! from a running gateway or a log goes through `redact` like everything else.

mod redact;
mod tar;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

use super::asking::{self, Whom};
use super::installed::Surroundings;
use super::replace::create;
use super::say;
use super::words::{date, size};
use crate::auth::user_names;
use crate::clock::{self, WallTime};
use crate::config::Environment as _;
use crate::control::Request;
use redact::{Masked, mask, references, scrub};
use tar::Archive;

/// Of each part; a longer one keeps its end, where what is new stands.
const PART_BYTES_MAX: usize = 2 << 20;
/// Files of `conf.d`.
const FILES_MAX: usize = 100;

/// What the system says of itself.
const SYSTEM: [&str; 9] = [
    "/etc/os-release",
    "/proc/version",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/net/dev",
    "/proc/tty/drivers",
    "/proc/tty/driver/serial",
];

/// Where serial ports have their names.
const PORTS: [&str; 2] = ["/dev/serial/by-id", "/dev/serial/by-path"];

/// What `diag` may be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to; default: fieldgate-diag-DATE.tar here.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where it is and what is inside as JSON, in one line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whom: Whom,
}

/// A file of the bundle.
#[derive(Debug)]
struct Part {
    name: String,
    what: &'static str,
    text: String,
}

impl Part {
    fn json(&self) -> Value {
        json!({ "name": self.name, "bytes": self.text.len(), "what": self.what })
    }
}

pub(super) fn diag(arguments: &Arguments) -> ExitCode {
    asking::end("diag", collect(arguments))
}

fn collect(arguments: &Arguments) -> Result<ExitCode, asking::Fault> {
    let now = clock::wall();
    let default = || PathBuf::from(format!("fieldgate-diag-{}.tar", date(now)));
    let output = arguments.output.clone().unwrap_or_else(default);
    let parts = Collector::new(&arguments.whom).collect();
    let bytes = bundle(&parts, now);
    // The name that nobody gave may be planted.
    create(&output, &bytes, arguments.output.is_some()).map_err(|error| {
        asking::Fault::Print(io::Error::new(
            error.kind(),
            format!("{}: {error}", output.display()),
        ))
    })?;
    if arguments.json {
        let parts = parts.iter().map(Part::json).collect::<Vec<_>>();
        say(json!({ "file": output, "parts": parts }));
        return Ok(ExitCode::SUCCESS);
    }
    for part in &parts {
        let length = size(part.text.len() as u64);
        say(format_args!(
            "{:<28} {length:>10}  {}",
            part.name, part.what
        ));
    }
    say(format_args!(
        "{}: {} parts; secrets are masked, but look yourself before you give it away: tar -xf {0}",
        output.display(),
        parts.len()
    ));
    Ok(ExitCode::SUCCESS)
}

fn bundle(parts: &[Part], now: WallTime) -> Vec<u8> {
    let mut archive = Archive::default();
    for part in parts {
        let name = format!("fieldgate-diag/{}", part.name);
        archive.add(&name, part.text.as_bytes(), now.0 / 1000);
    }
    archive.finish()
}

struct Collector<'a> {
    whom: &'a Whom,
    file: PathBuf,
    parts: Vec<Part>,
    secrets: Vec<String>,
}

impl<'a> Collector<'a> {
    fn new(whom: &'a Whom) -> Self {
        Self {
            whom,
            file: whom.file(),
            parts: Vec::new(),
            secrets: Vec::new(),
        }
    }

    fn collect(mut self) -> Vec<Part> {
        let version = format!("fieldgate {}\n", env!("CARGO_PKG_VERSION"));
        self.add("version.txt", "this program", version);
        self.configuration();
        self.users();
        let file = self.file.clone();
        let check = this_program(&["check".as_ref(), file.as_ref()]);
        self.add("check.txt", "what `fieldgate check` says", check);
        let show = [
            "cert".as_ref(),
            "show".as_ref(),
            "-c".as_ref(),
            file.as_ref(),
        ];
        let certificates = this_program(&show);
        self.add(
            "certificates.txt",
            "what the certificates say; no key",
            certificates,
        );
        let state = asked(self.whom, &Request::State);
        self.add("state.json", "how the gateway that runs stands", state);
        let events = asked(self.whom, &Request::Events { count: 1000 });
        self.add("events.jsonl", "what happened lately", events);
        let backlogs = asked(self.whom, &Request::Backlog { bridge: None });
        self.add(
            "backlogs.json",
            "how its backlogs stand; no message",
            backlogs,
        );
        let journal = "journalctl -u fieldgate -n 2000 --no-pager -o short-iso";
        let mut words = journal.split(' ').map(OsStr::new);
        let log = words.next().map_or_else(String::new, |program| {
            output_of(Command::new(program).args(words))
        });
        self.add("journal.txt", "the last 2000 lines of its log", log);
        self.system();
        // Only now is every secret known.
        for part in &mut self.parts {
            part.text = scrub(&part.text, &self.secrets);
        }
        self.parts
    }

    fn add(&mut self, name: impl Into<String>, what: &'static str, text: String) {
        let start = text.len().saturating_sub(PART_BYTES_MAX);
        let start = (start..=text.len()).find(|at| text.is_char_boundary(*at));
        let text = text.get(start.unwrap_or_default()..).unwrap_or_default();
        self.parts.push(Part {
            name: name.into(),
            what,
            text: text.to_owned(),
        });
    }

    /// The file, and those beside it.
    fn configuration(&mut self) {
        let mut files = vec![self.file.clone()];
        if let Some(folder) = self.file.parent() {
            let mut more: Vec<PathBuf> = fs::read_dir(folder.join("conf.d"))
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension() == Some(OsStr::new("yaml")))
                .take(FILES_MAX)
                .collect();
            more.sort();
            files.extend(more);
        }
        for path in files {
            let (text, secrets) = match text_of(&path) {
                Ok(text) => {
                    self.resolve(&text, &path);
                    let Masked { text, secrets } = mask(&text);
                    (text, secrets)
                }
                Err(error) => (format!("{}: {error}\n", path.display()), Vec::new()),
            };
            self.secrets.extend(secrets);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.add(format!("config/{name}"), "the configuration, masked", text);
        }
    }

    /// What references in the file `path` stand for is secret, wherever it may have got to.
    fn resolve(&mut self, text: &str, path: &Path) {
        let surroundings = Surroundings::of(&self.file);
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        for (kind, name) in references(text) {
            let value = match kind {
                "env" => surroundings.variable(name),
                "file" => text_of(&folder.join(name)).ok(),
                "cred" => surroundings
                    .variable("CREDENTIALS_DIRECTORY")
                    .and_then(|folder| text_of(&Path::new(&folder).join(name)).ok()),
                _ => None,
            };
            let lines = value.iter().flat_map(|value| value.lines());
            self.secrets.extend(lines.map(str::to_owned));
        }
    }

    /// Their names alone.
    fn users(&mut self) {
        let config = self.whom.load_before_files();
        let Some(path) = config.ok().and_then(|config| config.users_file) else {
            return;
        };
        let names = match text_of(&path) {
            Ok(text) => user_names(&text).map(|name| format!("{name}\n")).collect(),
            Err(error) => format!("{}: {error}\n", path.display()),
        };
        self.add("users.txt", "names of the users file; no hash", names);
    }

    fn system(&mut self) {
        let mut text = String::new();
        for path in SYSTEM {
            let content = text_of(Path::new(path));
            let content = content.unwrap_or_else(|error| format!("{error}\n"));
            text += &format!("== {path}\n{content}\n");
        }
        self.add(
            "system.txt",
            "kernel, memory, load, network counters, tty drivers",
            text,
        );
        let mut text = String::new();
        for folder in PORTS {
            text += &format!("== {folder}\n");
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let to = fs::read_link(entry.path()).unwrap_or_default();
                let name = entry.file_name();
                text += &format!("{} -> {}\n", name.to_string_lossy(), to.display());
            }
        }
        self.add("ports.txt", "serial ports and their names", text);
    }
}

/// What the gateway that runs says, a line for each item, or why it does not.
fn asked(whom: &Whom, request: &Request) -> String {
    let told = whom.ask(request).and_then(|answers| {
        let mut text = String::new();
        for item in answers {
            text += &format!("{}\n", item?);
        }
        Ok(text)
    });
    told.unwrap_or_else(|fault| format!("{fault}\n"))
}

/// What another command of this program prints.
fn this_program(arguments: &[&OsStr]) -> String {
    match std::env::current_exe() {
        Ok(program) => output_of(Command::new(program).args(arguments)),
        Err(error) => format!("{error}\n"),
    }
}

fn output_of(command: &mut Command) -> String {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
            format!("{out}{err}({})\n", output.status)
        }
        Err(error) => format!("{}: {error}\n", command.get_program().display()),
    }
}

/// Of a file that is not too long; bytes that are no text are replaced.
fn text_of(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = PART_BYTES_MAX as u64;
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
