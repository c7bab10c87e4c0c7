//! `fieldgate reload`: has the gateway that runs read its configuration again, and tells what became of it.

use std::process::ExitCode;

use serde_json::Value;

use super::asking::{self, Whom};
use super::{EXIT_CONFIG, say};
use crate::app::{Applied, Outcome};
use crate::control::{AskError, Request};

/// What `reload` may be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// What became of it as JSON, in one line.
    #[arg(long)]
    json: bool,
}

pub(super) fn reload(arguments: &Arguments) -> ExitCode {
    asking::end("reload", ask(arguments))
}

fn ask(arguments: &Arguments) -> Result<ExitCode, asking::Fault> {
    let item = arguments.whom.ask_one(&Request::Reload)?;
    let outcome: Outcome = serde_json::from_value(item.clone())?;
    if arguments.json {
        say(item);
    } else {
        tell(&outcome);
    }
    Ok(match outcome {
        Outcome::Applied(_) => ExitCode::SUCCESS,
        Outcome::Refused(_) => ExitCode::from(EXIT_CONFIG),
        Outcome::Failed(_) => ExitCode::FAILURE,
    })
}

/// What became of files that another command has written; they are as they shall be either way.
#[derive(Debug)]
pub(super) enum TakenUp {
    Yes,
    /// The next start reads them.
    NoGateway,
    /// And why.
    No(String),
}

/// Has the gateway that runs, if one does, take up files that another command has written.
pub(super) fn take_up(whom: &Whom) -> Result<TakenUp, asking::Fault> {
    let item = match whom.ask_one(&Request::Reload) {
        Ok(item) => item,
        Err(asking::Fault::Ask(AskError::NotRunning)) => return Ok(TakenUp::NoGateway),
        Err(fault) => return Err(fault),
    };
    Ok(match serde_json::from_value(item)? {
        Outcome::Applied(_) => TakenUp::Yes,
        Outcome::Refused(why) | Outcome::Failed(why) => TakenUp::No(why),
    })
}

impl TakenUp {
    /// For people.
    pub(super) fn tell(&self) {
        match self {
            Self::Yes => say("the gateway that runs has taken it up"),
            Self::NoGateway => say("no gateway is running; the next start reads it"),
            Self::No(why) => {
                eprintln!("it is written, but the gateway that runs has NOT taken it up:");
                eprintln!("{why}");
            }
        }
    }

    /// For programs: `object` with `taken_up`, which is null where no gateway runs, and why not.
    pub(super) fn tell_in(&self, mut object: Value) {
        let (taken_up, why) = match self {
            Self::Yes => (true.into(), None),
            Self::NoGateway => (Value::Null, None),
            Self::No(why) => (false.into(), Some(why.as_str())),
        };
        if let Some(fields) = object.as_object_mut() {
            fields.insert("taken_up".to_owned(), taken_up);
            fields.extend(why.map(|why| ("why".to_owned(), why.into())));
        }
        say(object);
    }

    /// Of the command: 1 where the gateway goes on with what was there before.
    pub(super) fn status(&self) -> ExitCode {
        match self {
            Self::Yes | Self::NoGateway => ExitCode::SUCCESS,
            Self::No(_) => ExitCode::FAILURE,
        }
    }
}

fn tell(outcome: &Outcome) {
    match outcome {
        Outcome::Applied(applied) => {
            for warning in &applied.warnings {
                eprintln!("{warning}");
            }
            say(lines(applied).join("\n"));
        }
        Outcome::Refused(why) => {
            eprintln!("{why}");
            eprintln!("fieldgate reload: nothing was changed, the gateway runs as before");
        }
        Outcome::Failed(why) => eprintln!("fieldgate reload: {why}"),
    }
}

fn lines(applied: &Applied) -> Vec<String> {
    let mut lines = applied.done.clone();
    if !applied.kept.is_empty() {
        lines.push(format!("as before: {}", applied.kept.join(", ")));
    }
    if !applied.needs_restart.is_empty() {
        let changed = applied.needs_restart.join(", ");
        lines.push(format!(
            "changed, but not in use before a restart: {changed}"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_what_was_not_and_what_has_to_wait() {
        let texts = |all: &[&str]| all.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let applied = Applied {
            done: texts(&["connection line2: started anew"]),
            kept: texts(&["2 listeners", "1 bridge"]),
            needs_restart: texts(&["store"]),
            warnings: Vec::new(),
        };
        assert_eq!(
            lines(&applied),
            [
                "connection line2: started anew",
                "as before: 2 listeners, 1 bridge",
                "changed, but not in use before a restart: store",
            ]
        );
    }
}
