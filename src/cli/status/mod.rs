//! `fieldgate status`: whether all is well, and if not which side is broken and what to do.
//!
//! What is said is made in `lines`, from the same state that everybody else is shown.

mod lines;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use super::asking::{self, Whom};
use super::say;
use crate::control::Request;
use crate::status::GatewayState;
use lines::{Line, Tone, lines};

/// What `status` may be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// All of it as JSON, in one line.
    #[arg(long)]
    json: bool,
}

pub(super) fn status(arguments: &Arguments) -> ExitCode {
    asking::end("status", tell(arguments))
}

fn tell(arguments: &Arguments) -> Result<ExitCode, asking::Fault> {
    let item = arguments.whom.ask_one(&Request::State)?;
    let state: GatewayState = serde_json::from_value(item.clone())?;
    if arguments.json {
        say(item);
    } else {
        let colours = are_colours_wanted();
        for line in lines(&state) {
            say(line.painted(colours));
        }
    }
    Ok(if state.is_healthy() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A person looks, and has not said no (`NO_COLOR`).
fn are_colours_wanted() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !refused
}

impl Line {
    fn painted(&self, colours: bool) -> String {
        let code = match self.tone {
            Tone::Plain => None,
            Tone::Warning => Some(33), // yellow
            Tone::Error => Some(31),   // red
        };
        match code.filter(|_| colours) {
            Some(code) => format!("\x1b[{code}m{}\x1b[0m", self.text),
            None => self.text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_well_is_coloured_and_only_where_somebody_looks() {
        let line = |tone| Line {
            tone,
            text: "x".to_owned(),
        };
        assert_eq!(line(Tone::Error).painted(true), "\x1b[31mx\x1b[0m");
        assert_eq!(line(Tone::Error).painted(false), "x");
        assert_eq!(line(Tone::Plain).painted(true), "x");
    }
}
