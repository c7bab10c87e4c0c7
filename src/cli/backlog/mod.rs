//! `fieldgate backlog`: what waits for the upstreams, and getting at it.
//!
//! Asks the gateway that runs; `export` reads the files where none does.

mod purge;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use serde::Deserialize;

use super::asking::{self, Whom};
use super::words::{duration, size};
use super::{EXIT_NOT_RUNNING, EXIT_USAGE, is_confirmed, runtime, say};
use crate::app::Export;
use crate::bridge::Lanes;
use crate::config::Config;
use crate::control::{AskError, Request};
use crate::store::{Log, LogOptions, StoreError};

/// What `backlog` may be told.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Only that of this bridge.
    bridge: Option<String>,
    #[command(flatten)]
    whom: Whom,
    /// As JSON, a line for each bridge.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print the messages that wait as JSON, a line each, oldest first; also while no gateway runs.
    Export {
        /// The bridge they wait for.
        bridge: String,
        /// Instead the messages that its upstream refused for good, with the reason.
        #[arg(long)]
        dead_letter: bool,
        #[command(flatten)]
        whom: Whom,
    },
    /// Drop the old messages for good, in the gateway that runs. Asks first.
    Purge(purge::Arguments),
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Asking(#[from] asking::Fault),
    #[error("there is no bridge `{0}` in the configuration")]
    NoSuchBridge(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "nobody can be asked whether to drop messages: this is no terminal; say --yes where nobody is to be asked"
    )]
    NobodyToAsk,
    #[error("nothing was purged")]
    Declined,
    #[error(
        "no gateway is running, and only one that runs purges: its files must stay its own; `export` reads them meanwhile"
    )]
    PurgesNotItself,
}

impl From<AskError> for Fault {
    fn from(error: AskError) -> Self {
        Self::Asking(error.into())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Asking(error.into())
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Asking(error.into())
    }
}

pub(super) fn backlog(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.verb {
        None => show(&arguments.show),
        Some(Verb::Export {
            bridge,
            dead_letter,
            whom,
        }) => export(bridge, *dead_letter, whom),
        Some(Verb::Purge(arguments)) => purge::purge(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fault::Asking(fault)) => fault.end("backlog"),
        Err(fault) => {
            eprintln!("fieldgate backlog: {fault}");
            match fault {
                Fault::PurgesNotItself => ExitCode::from(EXIT_NOT_RUNNING),
                Fault::NobodyToAsk => ExitCode::from(EXIT_USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn show(show: &Show) -> Result<(), Fault> {
    let request = Request::Backlog {
        bridge: show.bridge.clone(),
    };
    for item in show.whom.ask(&request)? {
        let item = item?;
        if show.json {
            say(item);
        } else {
            say(serde_json::from_value::<Standing>(item)?.tell());
        }
    }
    Ok(())
}

fn export(bridge: &str, dead_letter: bool, whom: &Whom) -> Result<(), Fault> {
    let mut out = BufWriter::new(io::stdout().lock());
    let request = Request::Export {
        bridge: bridge.to_owned(),
        dead_letter,
    };
    match whom.ask(&request) {
        Ok(items) => {
            for item in items {
                writeln!(out, "{}", item?)?;
            }
        }
        Err(asking::Fault::Ask(AskError::NotRunning)) => {
            export_files(bridge, dead_letter, &whom.load()?, &mut out)?;
        }
        Err(other) => return Err(other.into()),
    }
    Ok(out.flush()?)
}

/// Nobody else has the files open.
fn export_files(
    bridge: &str,
    dead_letter: bool,
    config: &Config,
    out: &mut impl Write,
) -> Result<(), Fault> {
    let mut bridges = config.bridges.iter();
    let found = bridges.find(|known| known.options.name == bridge);
    let found = found.ok_or_else(|| Fault::NoSuchBridge(bridge.to_owned()))?;
    let letters = &found.options.dead_letter;
    let mut export = if !dead_letter {
        Export::new(view(&found.log)?)
    } else if letters.dir.is_dir() {
        Export::of_dead_letters(Log::view(letters.clone())?)
    } else {
        return Ok(()); // there has been none
    };
    let runtime = runtime()?;
    loop {
        let items = runtime.block_on(export.next())?;
        if items.is_empty() {
            return Ok(());
        }
        for item in items {
            writeln!(out, "{item}")?;
        }
    }
}

/// Both lanes, where there are two.
fn view(options: &LogOptions) -> Result<Lanes, StoreError> {
    let live = LogOptions {
        dir: options.live_dir(),
        ..options.clone()
    };
    let is_there = live.dir.is_dir();
    Ok(Lanes {
        backlog: Log::view(options.clone())?,
        live: is_there.then(|| Log::view(live)).transpose()?,
    })
}

/// What the gateway says of a bridge, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Standing {
    bridge: String,
    link: String,
    error: Option<String>,
    store_error: Option<String>,
    backlog_messages: u64,
    backlog_bytes: u64,
    oldest_age_s: Option<u64>,
    dropped: u64,
    purged: u64,
    refusing: bool,
    refused: u64,
    dead_letters: u64,
    file_bytes: u64,
    file_bytes_max: u64,
    flow: Flow,
}

#[derive(Debug, Deserialize)]
struct Flow {
    messages_in: f64,
    messages_out: f64,
    drained_in_s: Option<u64>,
    full_in_s: Option<u64>,
}

impl Standing {
    /// For people.
    fn tell(&self) -> String {
        let Self { bridge, link, .. } = self;
        let mut lines = vec![format!("{bridge}: link {link}")];
        if let Some(error) = &self.error {
            lines.push(format!("  last failure: {error}"));
        }
        if let Some(error) = &self.store_error {
            lines.push(format!("  ITS FILES ARE OUT OF USE: {error}"));
        }
        let oldest = self.oldest_age_s.map_or_else(String::new, |age| {
            format!(", the oldest {} old", duration(age))
        });
        lines.push(format!(
            "  {} messages wait ({}{oldest})",
            self.backlog_messages,
            size(self.backlog_bytes)
        ));
        let Flow {
            messages_in,
            messages_out,
            drained_in_s,
            full_in_s,
        } = &self.flow;
        let drained = drained_in_s.map_or_else(String::new, |seconds| {
            format!("; drained in {}", duration(seconds))
        });
        lines.push(format!(
            "  {messages_in} come and {messages_out} go a second{drained}"
        ));
        let full = full_in_s.map_or_else(String::new, |seconds| {
            format!("; full in {}", duration(seconds))
        });
        lines.push(format!(
            "  files take {} of {}{full}",
            size(self.file_bytes),
            size(self.file_bytes_max)
        ));
        if self.refusing {
            lines.push(
                "  IT IS FULL and refuses new messages until the upstream has taken some"
                    .to_owned(),
            );
        }
        if self.refused > 0 {
            lines.push(format!("  {} were refused since the start", self.refused));
        }
        if self.dropped > 0 {
            let purged = match self.purged {
                0 => String::new(),
                purged => format!(", {purged} of them purged"),
            };
            lines.push(format!(
                "  {} were dropped since the start{purged}",
                self.dropped
            ));
        }
        if self.dead_letters > 0 {
            lines.push(format!(
                "  {} that the upstream refused are kept: fieldgate backlog export {bridge} --dead-letter",
                self.dead_letters
            ));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_told_in_a_few_lines() {
        let standing: Standing = serde_json::from_value(serde_json::json!({
            "bridge": "cloud", "link": "down", "error": "tcp: refused", "store_error": null,
            "backlog_messages": 3_600_000_u64, "backlog_bytes": 1_073_741_824_u64, "oldest_age_s": 3725, "dropped": 9, "purged": 7,
            "dead_letters": 0, "refusing": true, "refused": 5,
            "file_bytes": 1_181_116_007_u64, "file_bytes_max": 2_147_483_648_u64, "delivered": 7,
            "flow": { "messages_in": 1000.0, "messages_out": 0.5, "drained_in_s": null, "full_in_s": 90_000 },
        }))
        .unwrap();
        assert_eq!(
            standing.tell(),
            "cloud: link down\n  last failure: tcp: refused\n  3600000 messages wait (1.0 GiB, the oldest 1 h 2 min old)\n  \
             1000 come and 0.5 go a second\n  files take 1.1 GiB of 2.0 GiB; full in 1 d 1 h\n  \
             IT IS FULL and refuses new messages until the upstream has taken some\n  5 were refused since the start\n  9 were dropped since the start, 7 of them purged"
        );
    }
}
