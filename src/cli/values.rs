//! `fieldgate values`: what the devices say now, as the gateway that runs has read it last.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::asking::{self, Fault, Whom};
use super::words::{duration, shown};
use super::{say, screen};
use crate::control::Request;

/// Between two looks with `-w`.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longer values are cut.
const VALUE_CHARS_MAX: usize = 40;

/// What `values` may be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only those of this device.
    device: Option<String>,
    #[command(flatten)]
    whom: Whom,
    /// Again each second, in place, until Ctrl-C.
    #[arg(short, long, conflicts_with = "json")]
    watch: bool,
    /// As JSON, a line for each value.
    #[arg(long)]
    json: bool,
}

pub(super) fn values(arguments: &Arguments) -> ExitCode {
    asking::end("values", show(arguments))
}

fn show(arguments: &Arguments) -> Result<ExitCode, Fault> {
    let request = Request::Values {
        device: arguments.device.clone(),
    };
    if arguments.json {
        for item in arguments.whom.ask(&request)? {
            say(item?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        let mut rows = Vec::new();
        for item in arguments.whom.ask(&request)? {
            rows.push(serde_json::from_value::<Row>(item?)?.cells());
        }
        let lines = table(&rows);
        if !arguments.watch {
            say(lines.join("\n"));
            return Ok(ExitCode::SUCCESS);
        }
        screen::show(&lines)?;
        thread::sleep(LOOK_AGAIN);
    }
}

/// What the gateway says of a tag.
#[derive(Debug, Deserialize)]
struct Row {
    device: String,
    group: Option<String>,
    tag: String,
    value: Value,
    quality: String,
    reason: Option<String>,
    device_seen_s: Option<u64>,
    unit: Option<String>,
    age_ms: Option<u64>,
    topic: String,
}

const HEAD: [&str; 7] = ["DEVICE", "TAG", "VALUE", "UNIT", "QUALITY", "AGE", "TOPIC"];

/// A cell for each column.
type Cells = [String; HEAD.len()];

impl Row {
    fn cells(&self) -> Cells {
        let tag = match &self.group {
            Some(group) => format!("{group}/{}", self.tag),
            None => self.tag.clone(),
        };
        let value = match &self.value {
            Value::Null => "-".to_owned(),
            Value::String(text) => shown(text),
            other => shown(&other.to_string()),
        };
        let mut quality = self.quality.clone();
        if let Some(reason) = &self.reason {
            quality += &format!(" ({reason}");
            if let Some(seconds) = self.device_seen_s.filter(|_| reason == "offline") {
                quality += &format!(", last seen {} ago", duration(seconds));
            }
            quality += ")";
        }
        let age = self.age_ms.map_or_else(String::new, |age| match age {
            0..10_000 => format!("{:.1} s", age as f64 / 1000.0),
            _ => duration(age / 1000),
        });
        [
            shown(&self.device),
            shown(&tag),
            cut(&value),
            shown(self.unit.as_deref().unwrap_or_default()),
            quality,
            age,
            shown(&self.topic),
        ]
    }
}

fn cut(value: &str) -> String {
    if value.chars().count() <= VALUE_CHARS_MAX {
        return value.to_owned();
    }
    let mut short: String = value.chars().take(VALUE_CHARS_MAX - 1).collect();
    short.push('…');
    short
}

fn table(rows: &[Cells]) -> Vec<String> {
    if rows.is_empty() {
        return vec!["there are no devices".to_owned()];
    }
    let head = HEAD.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let mut widths = [0; HEAD.len()];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &Cells| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_of_what_is_and_why_something_is_not() {
        let items = [
            json!({ "device": "m1", "group": "power", "tag": "u", "value": 230.2, "quality": "good", "unit": "V",
                "ts": 1, "age_ms": 400, "topic": "gw/m1/power" }),
            json!({ "device": "m7", "group": "power", "tag": "u", "value": null, "quality": "bad", "reason": "offline",
                "device_seen_s": 361, "unit": "V", "ts": 1, "age_ms": 61_000, "topic": "gw/m7/power" }),
            json!({ "device": "scale", "tag": "weight", "value": "x".repeat(50), "quality": "uncertain",
                "ts": 1, "age_ms": 400, "topic": "gw/scale" }),
            json!({ "device": "new", "group": "g", "tag": "t", "value": null, "quality": "bad", "reason": "not_read_yet",
                "topic": "gw/new/g" }),
        ];
        let rows = items.map(|item| serde_json::from_value::<Row>(item).unwrap().cells());
        let long = "x".repeat(39) + "…";
        let pad = |text: &str, width: usize| format!("{text:<width$}");
        let row = |value: &str, rest: &str| format!("{}  {rest}", pad(value, 40));
        assert_eq!(
            table(&rows),
            [
                format!(
                    "DEVICE  TAG      {}",
                    row(
                        "VALUE",
                        "UNIT  QUALITY                                 AGE        TOPIC"
                    )
                ),
                format!(
                    "m1      power/u  {}",
                    row(
                        "230.2",
                        "V     good                                    0.4 s      gw/m1/power"
                    )
                ),
                format!(
                    "m7      power/u  {}",
                    row(
                        "-",
                        "V     bad (offline, last seen 6 min 1 s ago)  1 min 1 s  gw/m7/power"
                    )
                ),
                format!(
                    "scale   weight   {}",
                    row(
                        &long,
                        "      uncertain                               0.4 s      gw/scale"
                    )
                ),
                format!(
                    "new     g/t      {}",
                    row(
                        "-",
                        "      bad (not_read_yet)                                 gw/new/g"
                    )
                ),
            ]
        );
        assert_eq!(table(&[]), ["there are no devices"]);
    }
}
