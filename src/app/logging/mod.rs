//! The log: stderr, one line an event, in the form of who reads it; `RUST_LOG` overrides what is shown.
//!
//! Invariants: a line is a line, whatever a stranger put into it (`escape`); no place in the program can say more than
//! `budget::LINES` lines a minute about one thing, and what had no room is counted and told. Both hold for all lines, those
//! of other crates too, because all go through one [`Layer`](tracing_subscriber::Layer). Nobody else limits or escapes.

mod budget;
mod escape;
mod layer;
mod line;
mod tap;

pub use layer::Log;

use std::env;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::events::Events;

/// How much is logged unless `RUST_LOG` says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// What an operator wants to know.
    Info,
    /// Only what needs attention.
    Error,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: with time, and colours on a terminal.
    Text,
    /// For journald: with the priority in front, without what journald knows by itself.
    Journal,
    /// For programs: one JSON object a line, with `time`, `level`, `room`, `message` and `fields`.
    Json,
}

/// Not the name of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not `text`, `journal` or `json`")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "text" => Ok(Self::Text),
            "journal" => Ok(Self::Journal),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat),
        }
    }
}

impl Format {
    /// `journal` where stderr goes to journald, else `text`.
    #[must_use]
    pub fn of_stderr() -> Self {
        let stream = env::var("JOURNAL_STREAM").ok();
        let is_journal = stream.is_some_and(|stream| names(&stream, io::stderr()));
        if is_journal {
            Self::Journal
        } else {
            Self::Text
        }
    }
}

/// Whether `$JOURNAL_STREAM` means this stream. It is inherited also by what was redirected elsewhere since.
fn names(journal_stream: &str, stream: impl rustix::fd::AsFd) -> bool {
    let Ok(stat) = rustix::fs::fstat(stream) else {
        return false;
    };
    let place = journal_stream.split_once(':');
    place.is_some_and(|(device, inode)| {
        device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
    })
}

/// What a stranger may have a part in, for a line that people read.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    let written = escape::for_people(text, &mut out);
    debug_assert!(written.is_ok(), "a String takes all");
    out
}

/// Starts logging for the whole process; a second call changes nothing. What is said of fieldgate from INFO up also becomes
/// `events`, where there are some: of the one gateway that this process runs.
pub fn start(verbosity: Verbosity, format: Format, events: Option<Events>) -> Log {
    let default = match verbosity {
        Verbosity::Info => LevelFilter::INFO,
        Verbosity::Error => LevelFilter::ERROR,
    };
    let wanted = env::var("RUST_LOG").ok();
    let (filter, fault) = shown(wanted.as_deref(), default);
    let colours = io::stderr().is_terminal();
    let log = Log::new(format, colours, Box::new(io::stderr()));
    let own = Targets::new().with_target("fieldgate", LevelFilter::INFO);
    let started = tracing_subscriber::registry()
        .with(log.clone().with_filter(filter))
        .with(events.map(|events| tap::Tap(events).with_filter(own)));
    if started.try_init().is_err() {
        tracing::debug!("logging was started before");
    }
    if let Some(fault) = fault {
        tracing::warn!(%fault, "RUST_LOG is not understood and not heeded; write a level, or levels of parts: info,fieldgate::bridge=debug");
    }
    log
}

/// What is shown: what `wanted` says, and `default` where it says nothing or what nobody understands.
fn shown(wanted: Option<&str>, default: LevelFilter) -> (Targets, Option<ParseError>) {
    let default = Targets::new().with_default(default);
    match wanted.map(str::trim).filter(|wanted| !wanted.is_empty()) {
        None => (default, None),
        Some(wanted) => match wanted.parse() {
            Ok(wanted) => (wanted, None),
            Err(fault) => (default, Some(fault)),
        },
    }
}

#[cfg(test)]
mod tests;
