//! `fieldgate sub` and `fieldgate pub`: messages of the local broker by hand, without a login and without other tools.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use serde_json::Value;

use super::asking::{self, Fault, Whom};
use super::words::{counted, shown, time_of_day};
use super::{say, screen};
use crate::clock::WallTime;
use crate::control::{Payload, REQUEST_BYTES_MAX, Request};

/// Topics that `sub -w` keeps in view.
const TOPICS_MAX: usize = 1000;

/// What `sub` may be told.
#[derive(Debug, clap::Args)]
pub(super) struct SubArguments {
    /// The topics: `plant/#`, `+/+/set/+`.
    filter: String,
    #[command(flatten)]
    whom: Whom,
    /// Print the payload alone, as it is.
    #[arg(short, long, conflicts_with_all = ["json", "watch"])]
    quiet: bool,
    /// End after so many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// As JSON, a line for each message.
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Show the newest message of each topic, in place.
    #[arg(short, long)]
    watch: bool,
}

/// What `pub` may be told.
#[derive(Debug, clap::Args)]
pub(super) struct PubArguments {
    /// Where: `plant/line3/mode`, or to write to a device `GATEWAY/DEVICE/set/TAG`.
    topic: String,
    /// What; `-`: what is read from stdin, whatever it is.
    #[arg(allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    whom: Whom,
    /// At QoS 0 nobody says that it was taken.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Keep it for those who subscribe later.
    #[arg(long)]
    retain: bool,
    /// What came of it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn sub(arguments: &SubArguments) -> ExitCode {
    asking::end("sub", subscribe(arguments))
}

pub(super) fn publish(arguments: &PubArguments) -> ExitCode {
    asking::end("pub", try_to_publish(arguments))
}

/// What `sub` is told of.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Told {
    Lost { lost: u64 },
    Message(Message),
}

#[derive(Debug, Deserialize)]
struct Message {
    ts: WallTime,
    topic: String,
    qos: u8,
    #[serde(default)]
    retained: bool,
    payload: Option<String>,
    payload_base64: Option<String>,
    client_id: Option<String>,
    user: Option<String>,
}

fn subscribe(arguments: &SubArguments) -> Result<ExitCode, Fault> {
    let request = Request::Subscribe {
        filter: arguments.filter.clone(),
    };
    let mut newest = BTreeMap::new();
    let mut left = arguments.count;
    for item in arguments.whom.ask(&request)? {
        let item = item?;
        let is_message = item.get("lost").is_none();
        if arguments.json {
            print(item.to_string().as_bytes(), b"\n")?;
        } else {
            match serde_json::from_value(item)? {
                Told::Lost { lost } => eprintln!("{}", missed(lost)),
                Told::Message(message) if arguments.quiet => print(&message.bytes(), b"\n")?,
                Told::Message(message) if arguments.watch => {
                    if newest.len() < TOPICS_MAX || newest.contains_key(&message.topic) {
                        newest.insert(message.topic.clone(), message.line());
                        screen::show(&newest.values().cloned().collect::<Vec<_>>())?;
                    }
                }
                Told::Message(message) => print(message.line().as_bytes(), b"\n")?,
            }
        }
        left = left.map(|left| left - u64::from(is_message));
        if left == Some(0) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn missed(lost: u64) -> String {
    let lost = counted(lost, "message");
    format!("fieldgate sub: {lost} left out here: they come faster than they are shown")
}

/// A reader who goes away ends the command, which would else go on without anybody.
fn print(bytes: &[u8], end: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.write_all(end)?;
    out.flush()
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        match (&self.payload, &self.payload_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(text)) => Base64::decode_vec(text).unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }

    /// `14:08:01.112 plant/a 21.5  (QoS 1, from plc, user plc7)`; the time is UTC.
    fn line(&self) -> String {
        let payload = match (&self.payload, &self.payload_base64) {
            (Some(text), _) => shown(text),
            (None, Some(text)) => format!("base64:{}", shown(text)),
            (None, None) => String::new(),
        };
        let mut notes = format!("QoS {}", self.qos);
        if self.retained {
            notes += ", retained";
        }
        if let Some(client_id) = &self.client_id {
            notes += &format!(", from {}", shown(client_id));
        }
        if let Some(user) = &self.user {
            notes += &format!(", user {}", shown(user));
        }
        let (time, topic) = (time_of_day(self.ts), shown(&self.topic));
        format!("{time} {topic} {payload}  ({notes})")
    }
}

fn try_to_publish(arguments: &PubArguments) -> Result<ExitCode, Fault> {
    let is_answered = is_set_topic(&arguments.topic);
    let request = Request::Publish {
        topic: arguments.topic.clone(),
        payload: payload(&arguments.value)?,
        qos: arguments.qos,
        retain: arguments.retain,
        answer: is_answered && !arguments.retain,
    };
    let mut status = ExitCode::SUCCESS;
    for item in arguments.whom.ask(&request)? {
        let item = item?;
        // The answer of a device to a command says so itself.
        let is_ok = item.get("ok").and_then(Value::as_bool);
        if arguments.json {
            say(&item);
        } else if is_ok.is_some() {
            say(format_args!("the device: {item}"));
        } else {
            say(taken(&item));
        }
        if is_ok == Some(false) {
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}

fn taken(item: &Value) -> String {
    let flag = |name| item.get(name).and_then(Value::as_bool) == Some(true);
    let mut told = if flag("acknowledged") {
        "taken".to_owned()
    } else {
        "sent; at QoS 0 nobody says whether it was taken".to_owned()
    };
    if !flag("wanted") {
        told += "; nobody subscribes to it now, and no bridge takes it";
    }
    told
}

/// `GATEWAY/DEVICE/set/TAG`, where the device answers on `.../result`.
fn is_set_topic(topic: &str) -> bool {
    let levels: Vec<_> = topic.split('/').collect();
    matches!(*levels, [_, _, "set", tag] if !tag.is_empty())
}

fn payload(value: &str) -> io::Result<Payload> {
    if value != "-" {
        return Ok(Payload::Text(value.to_owned()));
    }
    let mut bytes = Vec::new();
    // What is longer is refused as too long, but not read to its end.
    let limit = REQUEST_BYTES_MAX as u64 + 1;
    io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).map_or_else(
        |error| Payload::Base64(Base64::encode_string(error.as_bytes())),
        Payload::Text,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(item: Value) -> String {
        match serde_json::from_value(item).unwrap() {
            Told::Message(message) => message.line(),
            Told::Lost { lost } => missed(lost),
        }
    }

    #[test]
    fn a_message_is_a_line_with_where_it_comes_from() {
        let ts = 1_795_392_051_112_u64;
        assert_eq!(
            line(
                json!({ "ts": ts, "topic": "a/b", "qos": 1, "retain": false, "payload": "21.5\n",
                "client_id": "plc\u{1b}", "user": "plc7" })
            ),
            "00:00:51.112 a/b 21.5   (QoS 1, from plc , user plc7)"
        );
        assert_eq!(
            line(
                json!({ "ts": ts, "topic": "a/b", "qos": 0, "retain": true, "retained": true, "payload_base64": "/wA=" })
            ),
            "00:00:51.112 a/b base64:/wA=  (QoS 0, retained)"
        );
        assert!(line(json!({ "lost": 7 })).contains("7 messages left out here"));
    }

    #[test]
    fn only_devices_answer_to_what_is_published() {
        assert!(is_set_topic("g1/chiller/set/mode"));
        for topic in [
            "g1/chiller/set",
            "g1/chiller/set/",
            "g1/chiller/set/mode/result",
            "a/b",
        ] {
            assert!(!is_set_topic(topic), "{topic}");
        }
        let told = json!({ "acknowledged": true, "wanted": false });
        assert_eq!(
            taken(&told),
            "taken; nobody subscribes to it now, and no bridge takes it"
        );
    }
}
