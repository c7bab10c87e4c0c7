//! Messages of a person at a command: what is published as it passes, and publishing. The person is a client of the local
//! broker like any other, by a link of its own, and may do everything: so it works where the logins do not.
//!
//! Invariants: whoever reads too slowly loses the oldest, is told how many, and holds up neither the broker nor other readers;
//! what is published is in the log with the user who did it; nothing is published on topics that are the broker's own.

use std::collections::VecDeque;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::export::message_fields;
use crate::broker::{BrokerHandle, Link, LinkClosed, LinkOptions, Origin, Publisher};
use crate::clock::{self, WallTime};
use crate::control::{Line, Payload};
use crate::mqtt::{Message, QoS, ReasonCode};
use crate::topic::{TopicFilter, TopicName};

/// Messages that wait for a reader.
const WAITING_MAX: usize = 1024;
/// Their payloads, in bytes.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// What the store is given to keep a message, and a device to answer a command.
const PATIENCE: Duration = Duration::from_secs(15);

const ENDED: &str = "the gateway stops";

impl From<LinkClosed> for Ended {
    fn from(_: LinkClosed) -> Self {
        Self
    }
}

/// The broker has ended.
struct Ended;

impl From<Ended> for String {
    fn from(_: Ended) -> Self {
        ENDED.to_owned()
    }
}

/// Gives out what is published on the topics of `filter`, until nobody listens any more.
pub(super) async fn subscribe(
    broker: &BrokerHandle,
    user: u32,
    filter: &str,
    answer: &mpsc::Sender<Line>,
) -> Result<Line, String> {
    if filter.starts_with("$share/") {
        return Err("a shared subscription takes messages away from those who share it".to_owned());
    }
    let wanted = TopicFilter::try_from(filter).map_err(|why| format!("`{filter}`: {why}"))?;
    let mut link = link(broker, user).await?;
    let reason = link.subscribe(wanted, QoS::AtMostOnce).await;
    let reason = reason.map_err(Ended::from)?;
    if reason.is_error() {
        return Err(format!("the broker refuses `{filter}`: {reason}"));
    }
    let mut waiting = Waiting::default();
    loop {
        tokio::select! {
            () = answer.closed() => return Ok(Line::End), // to nobody
            received = link.receive_from() => {
                let (message, publisher) = received.map_err(Ended::from)?;
                waiting.push(clock::wall(), message, publisher);
            }
            room = answer.reserve(), if !waiting.is_empty() => {
                if let (Ok(room), Some(item)) = (room, waiting.next()) {
                    room.send(Line::Item(item));
                }
            }
        }
    }
}

/// The message that a request describes.
pub(super) fn message(
    topic: &str,
    payload: Payload,
    qos: u8,
    retain: bool,
) -> Result<Message, String> {
    let name = TopicName::try_from(topic).map_err(|why| format!("`{topic}`: {why}"))?;
    if name.is_reserved() {
        return Err(format!("`{topic}`: what begins with $ is the broker's own"));
    }
    let qos = match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        other => return Err(format!("QoS {other}: there are 0, 1 and 2")),
    };
    let payload = match payload {
        Payload::Text(text) => Bytes::from(text),
        Payload::Base64(text) => Base64::decode_vec(&text)
            .map_err(|why| format!("the payload: {why}"))?
            .into(),
    };
    Ok(Message::new(name, payload, qos, retain))
}

/// Publishes, and tells when the broker has taken it; with `is_answered` what became of the command, too.
pub(super) async fn publish(
    broker: &BrokerHandle,
    user: u32,
    mut message: Message,
    is_answered: bool,
    answer: &mpsc::Sender<Line>,
) -> Result<Line, String> {
    tracing::info!(
        user,
        topic = message.topic.as_str(),
        bytes = message.payload.len(),
        retain = message.retain,
        "publishing a message, as asked on the control socket"
    );
    let mut link = link(broker, user).await?;
    let (topic, qos) = (message.topic.clone(), message.qos);
    // Handed back with the answer, so that nobody else's is taken for it: the payload stays as it was given.
    let correlation = Bytes::copy_from_slice(&fastrand::u128(..).to_be_bytes());
    if is_answered {
        let properties = message.properties.get_or_insert_default();
        properties.correlation_data = Some(correlation.clone());
        let results = TopicFilter::try_from(&*format!("{topic}/result"));
        let results = results.map_err(|why| format!("`{topic}`: {why}"))?;
        let granted = link.subscribe(results, QoS::AtMostOnce).await;
        granted.map_err(Ended::from)?;
    }
    let Ok(published) = timeout(PATIENCE, link.publish_acknowledged(message)).await else {
        return Err(format!(
            "it is not acknowledged within {} s: the store is slow or out of use (fieldgate status); it may be kept still",
            PATIENCE.as_secs()
        ));
    };
    let reason = published.map_err(Ended::from)?;
    if reason.is_error() {
        return Err(format!("the broker refuses it: {reason}"));
    }
    let is_wanted = reason != ReasonCode::NoMatchingSubscribers;
    let item = json!({
        "topic": topic.as_str(), "qos": qos as u8, "acknowledged": qos != QoS::AtMostOnce, "wanted": is_wanted,
    });
    if answer.send(Line::Item(item)).await.is_err() || !is_answered {
        return Ok(Line::End);
    }
    let Ok(result) = timeout(PATIENCE, result(&mut link, &correlation)).await else {
        return Err(format!(
            "no device answers within {} s: is there one with this tag, and may it be written?",
            PATIENCE.as_secs()
        ));
    };
    let told = answer.send(Line::Item(result?)).await;
    tracing::trace!(told = told.is_ok(), "the answer to a command");
    Ok(Line::End)
}

/// The answer of the device to the command with this `correlation`.
async fn result(link: &mut Link, correlation: &Bytes) -> Result<Value, Ended> {
    loop {
        let message = link.receive().await?;
        let properties = message.properties.as_deref();
        let handed_back = properties.and_then(|properties| properties.correlation_data.as_ref());
        if handed_back == Some(correlation)
            && let Ok(result) = serde_json::from_slice(&message.payload)
        {
            return Ok(result);
        }
    }
}

async fn link(broker: &BrokerHandle, user: u32) -> Result<Link, Ended> {
    let options = LinkOptions {
        // The user is in the log of whoever acts on what it publishes.
        client_id: format!("$fieldgate/user-{user}/{:08x}", fastrand::u32(..)).into(),
        origin: Origin::Console,
    };
    Ok(broker.link(options).await?)
}

/// What waits for a reader.
#[derive(Default)]
struct Waiting {
    items: VecDeque<(WallTime, Message, Option<Publisher>)>,
    bytes: usize,
    /// Since it was last told.
    lost: u64,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn push(&mut self, at: WallTime, message: Message, publisher: Option<Publisher>) {
        self.bytes += message.payload.len();
        self.items.push_back((at, message, publisher));
        while self.items.len() > WAITING_MAX
            || (self.bytes > WAITING_BYTES_MAX && self.items.len() > 1)
        {
            self.pop();
            self.lost += 1;
        }
    }

    fn pop(&mut self) -> Option<(WallTime, Message, Option<Publisher>)> {
        let popped = self.items.pop_front()?;
        self.bytes -= popped.1.payload.len();
        Some(popped)
    }

    /// What is said next: first how many are missing before it.
    fn next(&mut self) -> Option<Value> {
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            return Some(json!({ "lost": lost }));
        }
        let (at, message, publisher) = self.pop()?;
        Some(item(at, &message, publisher.as_ref()))
    }
}

/// `{"ts":...,"topic":"...","qos":1,"retain":false,"payload":"21.5","client_id":"plc7","user":"plc7"}`; what was retained
/// and comes from memory has no `client_id` and `"retained":true`.
fn item(at: WallTime, message: &Message, publisher: Option<&Publisher>) -> Value {
    let mut fields = message_fields(message);
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("ts", json!(at.0));
    match publisher {
        Some(publisher) => {
            set("client_id", json!(&*publisher.client_id));
            if let Some(user) = publisher.principal.user.as_deref() {
                set("user", json!(user));
            }
        }
        None => {
            set("retained", json!(true));
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::PROGRAM_MADE;

    fn text(topic: &str, payload: &str) -> Message {
        message(topic, Payload::Text(payload.to_owned()), 1, false).unwrap()
    }

    #[test]
    fn whoever_is_too_slow_loses_the_oldest_and_is_told_how_many() {
        let mut waiting = Waiting::default();
        for number in 0..WAITING_MAX + 7 {
            waiting.push(PROGRAM_MADE, text("a", &number.to_string()), None);
        }
        assert_eq!(waiting.next(), Some(json!({ "lost": 7 })));
        assert_eq!(waiting.next().unwrap()["payload"], "7");
        let large = "x".repeat(WAITING_BYTES_MAX);
        waiting.push(PROGRAM_MADE, text("a", &large), None);
        assert_eq!(waiting.next(), Some(json!({ "lost": WAITING_MAX - 1 })));
        assert_eq!(waiting.next().unwrap()["payload"], large);
        assert_eq!((waiting.next(), waiting.bytes), (None, 0));
        waiting.push(
            PROGRAM_MADE,
            text("a", &"x".repeat(WAITING_BYTES_MAX + 1)),
            None,
        );
        assert!(!waiting.is_empty(), "one is never too large");
    }

    #[test]
    fn a_message_is_told_with_who_published_it() {
        let publisher = Publisher {
            client_id: "plc".into(),
            principal: crate::auth::Principal {
                user: Some("plc7".into()),
                ..Default::default()
            },
            sends_again: false,
        };
        let told = item(PROGRAM_MADE, &text("a/b", "21.5"), Some(&publisher));
        let wanted = r#"{"client_id":"plc","payload":"21.5","qos":1,"retain":false,"topic":"a/b","ts":1795392000000,"user":"plc7"}"#;
        assert_eq!(told.to_string(), wanted);
        let bytes = message("a", Payload::Base64("/wA=".to_owned()), 0, true).unwrap();
        let told = item(PROGRAM_MADE, &bytes, None);
        let wanted = r#"{"payload_base64":"/wA=","qos":0,"retain":true,"retained":true,"topic":"a","ts":1795392000000}"#;
        assert_eq!(told.to_string(), wanted);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (topic, qos) in [("a/#", 0), ("", 0), ("$SYS/a", 0), ("a", 3)] {
            let payload = Payload::Text(String::new());
            assert!(
                message(topic, payload, qos, false).is_err(),
                "{topic} {qos}"
            );
        }
        let payload = Payload::Base64("?".to_owned());
        assert!(message("a", payload, 0, false).is_err());
    }
}
