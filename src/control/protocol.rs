//! What is asked and answered. Both ends are the same program, so a line that one of them does not know is an error.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest request, in bytes: a message to publish is in it.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the backlogs stand: an item for each.
    Backlog {
        /// Only that of this bridge.
        bridge: Option<String>,
    },
    /// The messages of one backlog, oldest first: an item for each.
    Export {
        /// Its bridge.
        bridge: String,
        /// What its upstream refused for good, instead of what waits for it.
        dead_letter: bool,
    },
    /// Drop the old messages of one backlog for good. One item, which says what was done, then the end when it lasts.
    Purge {
        /// Its bridge.
        bridge: String,
        /// Messages that are older than this go.
        older_ms: u64,
    },
    /// Read the configuration again. One item: what became of it.
    Reload,
    /// How all of it stands. One item.
    State,
    /// What happened lately, oldest first: an item for each.
    Events {
        /// So many of the newest at most.
        count: usize,
    },
    /// What was read last: an item for each tag.
    Values {
        /// Only those of this device.
        device: Option<String>,
    },
    /// The messages that are published from now on, and those that are retained: an item for each, and one of how many were
    /// left out where the peer is too slow. Ends when the peer goes.
    Subscribe {
        /// Of these topics.
        filter: String,
    },
    /// Publish a message. One item when the broker has taken it; with `answer` one more, what became of the command.
    Publish {
        /// Where.
        topic: String,
        /// What.
        payload: Payload,
        /// 0, 1 or 2.
        qos: u8,
        /// Keep it for those who subscribe later.
        retain: bool,
        /// The topic is a set topic: wait for the answer of its device.
        answer: bool,
    },
    /// Make one Modbus request where the gateway has the wire. One item: what was answered, or why nothing was.
    Modbus {
        /// The connection.
        connection: String,
        /// Where that leads to, as far as who asks knows: another place is not asked.
        to: String,
        /// Whom.
        unit: u8,
        /// How long the reply may take.
        timeout_ms: u64,
        /// What, in the form of who has the wire.
        what: Value,
    },
}

/// What is told in place of the end of an answer that has none.
pub(super) const BROKEN_OFF: &str = "the answer broke off";

/// What is told at once is told within this, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(10);
/// A message is kept, and a command answered, within 15 s each.
const PATIENCE_TO_PUBLISH: Duration = Duration::from_secs(25);
/// For a wire to have its turn, to be opened, and to be opened again.
const PATIENCE_WITH_WIRES: Duration = Duration::from_secs(45);
/// A device that is busy is asked again, and looked at before it is written to.
const REPLIES_MAX: u32 = 5;

impl Request {
    /// How long a gateway that does not hang may be silent; `None`: as long as it takes, since somebody waits for messages,
    /// or files are read or written.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        match self {
            Self::Backlog { .. } | Self::State | Self::Events { .. } | Self::Values { .. } => {
                Some(PATIENCE)
            }
            Self::Publish { .. } => Some(PATIENCE_TO_PUBLISH),
            Self::Modbus { timeout_ms, .. } => {
                let replies = Duration::from_millis(*timeout_ms).saturating_mul(REPLIES_MAX);
                Some(PATIENCE_WITH_WIRES.saturating_add(replies))
            }
            Self::Export { .. } | Self::Purge { .. } | Self::Reload | Self::Subscribe { .. } => {
                None
            }
        }
    }
}

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Payload {
    /// As it is.
    Text(String),
    /// Bytes that are no text.
    Base64(String),
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// A part of what was asked for.
    Item(Value),
    /// That was all.
    End,
    /// It cannot be answered, or not further, and why.
    Fault(String),
}

impl Line {
    /// With its line end.
    pub(super) fn encode(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_else(|fault| {
            // A `Value` has text keys only, so it always has a text.
            format!("{{\"fault\":\"an answer without a text: {fault}\"}}")
        });
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_requests_are_small_json() {
        let line = Line::Item(serde_json::json!({ "a\nb": 1 }));
        assert_eq!(line.encode(), "{\"item\":{\"a\\nb\":1}}\n");
        assert_eq!(Line::End.encode(), "\"end\"\n");
        let request = Request::Backlog { bridge: None };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, "{\"backlog\":{\"bridge\":null}}");
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        serde_json::from_str::<Request>("{\"reboot\":{}}").unwrap_err();
        assert!(request.patience().is_some() && Request::Reload.patience().is_none());
    }
}
