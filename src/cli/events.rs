//! `fieldgate events`: what happened lately, from the gateway that runs.

use std::process::ExitCode;

use serde_json::Value;

use super::asking::{self, Whom};
use super::say;
use super::words::{date, shown, time_of_day};
use crate::clock::WallTime;
use crate::control::Request;

/// What `events` may be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// At most so many, the newest.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    count: usize,
    /// Print each as JSON, a line of its own.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whom: Whom,
}

pub(super) fn events(arguments: &Arguments) -> ExitCode {
    asking::end("events", tell(arguments))
}

fn tell(arguments: &Arguments) -> Result<ExitCode, asking::Fault> {
    let count = arguments.count;
    for event in arguments.whom.ask(&Request::Events { count })? {
        let event = event?;
        if arguments.json {
            say(event);
        } else {
            say(line(&event));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `2026-11-29 14:02:04  warning  connection line2  device is offline (12 times)`
fn line(event: &Value) -> String {
    let text = |field: &str| event.get(field).and_then(Value::as_str).unwrap_or_default();
    let number = |field: &str| event.get(field).and_then(Value::as_u64).unwrap_or_default();
    let at = WallTime(number("at"));
    let times = match number("count") {
        0 | 1 => String::new(),
        count => format!(" ({count} times)"),
    };
    let about = match text("subject") {
        "" => String::new(),
        subject => format!("{}: ", shown(subject)),
    };
    format!(
        "{} {}  {:<7}  {about}{}{times}",
        date(at),
        time_of_day(at),
        text("severity"),
        shown(text("text"))
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_that_says_how_often() {
        let event = json!({
            "at": 1_796_000_000_000_u64, "count": 12, "severity": "warning",
            "subject": "connection line2", "text": "cannot connect",
        });
        let told = line(&event);
        assert!(told.starts_with("2026-"), "{told}");
        assert!(
            told.ends_with("warning  connection line2: cannot connect (12 times)"),
            "{told}"
        );
        let once = line(&json!({ "at": 0, "count": 1, "severity": "info", "text": "running" }));
        assert!(once.ends_with("info     running"), "{once}");
    }
}
