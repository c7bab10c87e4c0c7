//! `fieldgate backlog purge`: asks the person, then the gateway.
//!
//! Only a gateway that runs purges: another process would leave files of another user behind, and a start of its own in
//! the log.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use serde::Deserialize;

use super::{Fault, Standing, Whom, asking, duration, is_confirmed, say};
use crate::config;
use crate::control::{AskError, Request};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The bridge that the messages wait for.
    bridge: String,
    /// Messages that are older than this go: `12h`, `7d`.
    #[arg(long, value_name = "AGE", value_parser = config::duration)]
    older: Duration,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    whom: Whom,
}

pub(super) fn purge(arguments: &Arguments) -> Result<(), Fault> {
    let Arguments {
        bridge,
        older,
        yes,
        whom,
    } = arguments;
    if !yes && !io::stdin().is_terminal() {
        return Err(Fault::NobodyToAsk);
    }
    let asked = |request| match whom.ask(&request) {
        Err(asking::Fault::Ask(AskError::NotRunning)) => Err(Fault::PurgesNotItself),
        answers => Ok(answers?),
    };
    if !yes {
        let standing = Request::Backlog {
            bridge: Some(bridge.clone()),
        };
        for item in asked(standing)? {
            say(serde_json::from_value::<Standing>(item?)?.tell());
        }
        if !is_confirmed(&format!(
            "Drop the messages that are older than {} for good? [y/N] ",
            duration(older.as_secs())
        ))? {
            return Err(Fault::Declined);
        }
    }
    let request = Request::Purge {
        bridge: bridge.clone(),
        older_ms: u64::try_from(older.as_millis()).unwrap_or(u64::MAX),
    };
    for item in asked(request)? {
        say(serde_json::from_value::<Purged>(item?)?.tell());
    }
    Ok(())
}

/// What the gateway says that it purged.
#[derive(Debug, Deserialize)]
struct Purged {
    purged: u64,
    kept: u64,
}

impl Purged {
    /// For people.
    fn tell(&self) -> String {
        let mut told = format!("{} messages purged", self.purged);
        if self.kept > 0 {
            told += &format!(
                "; {} as old stay: they are on their way, or the upstream may have them at QoS 2",
                self.kept
            );
        }
        told
    }
}
