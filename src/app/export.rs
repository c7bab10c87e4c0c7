//! A backlog as JSON, a line for each message: for people who must get at data that cannot get to the cloud.

use std::collections::VecDeque;

use base64ct::{Base64, Encoding as _};
use serde_json::{Map, Value, json};

use crate::bridge::core::Lane;
use crate::bridge::{DEAD_LETTER_PROPERTY, ID_PROPERTY, Lanes};
use crate::mqtt::{Message, PublishProperties};
use crate::store::{Entry, Log, Seq, StoreError};

/// Messages read at a time.
const READ_MESSAGES: usize = 256;
/// Their bytes.
const READ_BYTES: usize = 256 << 10;

/// The messages that waited when it was made, oldest first. Changes nothing.
#[derive(Debug)]
pub struct Export {
    /// What is still to be read; the live lane comes first, as it would be sent.
    parts: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    log: Log,
    lane: Lane,
    item: fn(Lane, &Entry) -> Value,
    from: Seq,
    end: Seq,
}

impl Export {
    /// Of what a dead-letter keeps now.
    #[must_use]
    pub fn of_dead_letters(log: Log) -> Self {
        let mut letters = Self::new(log);
        for part in &mut letters.parts {
            part.item = letter;
        }
        letters
    }

    /// Of what waits now.
    #[must_use]
    pub fn new(logs: impl Into<Lanes>) -> Self {
        let Lanes { backlog, live } = logs.into();
        let live = live.map(|log| (Lane::Live, log));
        let parts = live.into_iter().chain([(Lane::Backlog, backlog)]);
        let parts = parts.map(|(lane, log)| Part {
            lane,
            end: log.next_seq(),
            from: Seq(0),
            item,
            log,
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// The next messages; none: that was all.
    ///
    /// # Errors
    /// Where the files cannot be read.
    pub async fn next(&mut self) -> Result<Vec<Value>, StoreError> {
        while let Some(part) = self.parts.front_mut() {
            let items = part.next().await?;
            if !items.is_empty() {
                return Ok(items);
            }
            self.parts.pop_front();
        }
        Ok(Vec::new())
    }
}

impl Part {
    async fn next(&mut self) -> Result<Vec<Value>, StoreError> {
        if self.from >= self.end {
            return Ok(Vec::new());
        }
        let read = self.log.look(self.from, READ_MESSAGES, READ_BYTES);
        let entries = read.await?;
        self.from = entries
            .last()
            .map_or(self.end, |last| Seq(last.seq.0.saturating_add(1)));
        let wanted = entries.iter().filter(|entry| entry.seq < self.end);
        let item = |entry| (self.item)(self.lane, entry);
        Ok(wanted.map(item).collect())
    }
}

/// What a message says by itself, for whoever prints it: `topic`, `qos`, `retain`, and `payload`, or where that is no text
/// `payload_base64`.
pub(super) fn message_fields(message: &Message) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("topic", json!(message.topic.as_str()));
    set("qos", json!(message.qos as u8));
    set("retain", json!(message.retain));
    match std::str::from_utf8(&message.payload) {
        Ok(text) => set("payload", json!(text)),
        Err(_) => set(
            "payload_base64",
            json!(Base64::encode_string(&message.payload)),
        ),
    };
    fields
}

/// `{"seq":12,"epoch":3,"ts":1763870000123,"topic":"...","qos":1,"retain":false,"payload":"21.5"}`; a payload that is no
/// text as `payload_base64`; properties of MQTT 5 where there are any; `"lane":"live"` of what overtakes the backlog.
fn item(lane: Lane, entry: &Entry) -> Value {
    let message = &entry.record.message;
    let mut fields = message_fields(message);
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("seq", json!(entry.seq.0));
    if lane == Lane::Live {
        set("lane", json!("live"));
    }
    set("epoch", json!(entry.epoch));
    set("ts", json!(entry.record.stamped.0));
    if let Some(properties) = properties(message) {
        set("properties", properties);
    }
    Value::Object(fields)
}

/// The same with `reason` and `id`, the `fieldgate-id`: its position is that in the dead-letter.
fn letter(lane: Lane, entry: &Entry) -> Value {
    let mut entry = entry.clone();
    let mut taken = Map::new();
    if let Some(properties) = &mut entry.record.message.properties {
        for (property, field) in [(ID_PROPERTY, "id"), (DEAD_LETTER_PROPERTY, "reason")] {
            // Ours is the last of that name.
            let pairs = &mut properties.user_properties;
            let place = pairs.iter().rposition(|(name, _)| *name == *property);
            if let Some((_, text)) = place.map(|place| pairs.remove(place)) {
                taken.insert(field.to_owned(), json!(&*text));
            }
        }
    }
    let mut item = item(lane, &entry);
    if let Some(fields) = item.as_object_mut() {
        fields.append(&mut taken);
    }
    item
}

fn properties(message: &Message) -> Option<Value> {
    let PublishProperties {
        payload_is_utf8: _,
        message_expiry,
        content_type,
        response_topic,
        correlation_data,
        user_properties,
    } = message.properties.as_deref()?;
    let mut fields = Map::new();
    if let Some(seconds) = message_expiry {
        fields.insert("message_expiry_s".to_owned(), json!(seconds));
    }
    if let Some(text) = content_type {
        fields.insert("content_type".to_owned(), json!(&**text));
    }
    if let Some(topic) = response_topic {
        fields.insert("response_topic".to_owned(), json!(topic.as_str()));
    }
    if let Some(data) = correlation_data {
        let text = Base64::encode_string(data);
        fields.insert("correlation_data_base64".to_owned(), json!(text));
    }
    if !user_properties.is_empty() {
        let pairs = user_properties.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| json!([&**name, &**value]))
            .collect();
        fields.insert("user_properties".to_owned(), json!(pairs));
    }
    (!fields.is_empty()).then_some(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::{self, WallTime};
    use crate::mqtt::QoS;
    use crate::store::{LogOptions, Record};
    use crate::topic::TopicName;

    #[tokio::test]
    async fn what_waits_comes_out_in_order_with_all_that_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(LogOptions::new(folder.path().join("cloud"))).unwrap();
        for payload in [&b"21.5"[..], &[0xFF, 0x00]] {
            let topic = TopicName::try_from("site/a").unwrap();
            let payload = Bytes::copy_from_slice(payload);
            let mut message = Message::new(topic, payload, QoS::AtLeastOnce, false);
            if message.payload[0] == 0xFF {
                message.properties = Some(Box::new(PublishProperties {
                    message_expiry: Some(60),
                    user_properties: vec![("unit".into(), "mm".into())],
                    ..PublishProperties::default()
                }));
            }
            let stamped = WallTime(1_800_000_000_000);
            let record = Record { message, stamped };
            log.append(clock::now(), log.next_seq(), record, None);
        }
        let mut export = Export::new(log.clone());
        let items = export.next().await.unwrap();
        let lines: Vec<_> = items.iter().map(Value::to_string).collect();
        assert!(export.next().await.unwrap().is_empty());
        assert_eq!(
            lines,
            [
                r#"{"epoch":1,"payload":"21.5","qos":1,"retain":false,"seq":1,"topic":"site/a","ts":1800000000000}"#,
                r#"{"epoch":1,"payload_base64":"/wA=","properties":{"message_expiry_s":60,"user_properties":[["unit","mm"]]},"qos":1,"retain":false,"seq":2,"topic":"site/a","ts":1800000000000}"#
            ]
        );
        assert_eq!(log.stats().messages, 2, "it only looked");
        log.close();
    }
}
