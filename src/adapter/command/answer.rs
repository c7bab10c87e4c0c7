//! What is told of a command, and to whom. No I/O.

use bytes::Bytes;
use serde_json::Value as Json;

use super::book::Write;
use super::error::CommandError;
use crate::adapter::data::Data;
use crate::adapter::publish::{open, push, write_value};
use crate::clock::WallTime;
use crate::mqtt::{Message, PublishProperties, QoS};
use crate::topic::TopicName;
use crate::value::{Value, write_json_text, write_json_value};

/// Who asked, and where the answer goes.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// To be handed back.
    pub(crate) id: Option<Json>,
    /// The topic of the command.
    pub(crate) topic: TopicName,
    /// Where MQTT 5 says that the answer goes as well.
    pub(crate) response_topic: Option<TopicName>,
    /// To be handed back (MQTT 5).
    pub(crate) correlation_data: Option<Bytes>,
}

/// What was done.
#[derive(Debug)]
pub(crate) enum Done {
    /// A write, and where it was to be verified, what the device holds now.
    Written {
        write: Write,
        read_back: Option<Data>,
    },
    /// An instrument was told.
    Told,
}

/// The messages that tell what became of a command: to `TOPIC/result`, and to the response topic.
pub(crate) fn answers(
    asker: Asker,
    result: &Result<Done, CommandError>,
    at: WallTime,
) -> Vec<Message> {
    let payload = Bytes::from(json(asker.id.as_ref(), result, at));
    let correlation_data = asker.correlation_data;
    let properties = correlation_data.map(|correlation_data| {
        Box::new(PublishProperties {
            correlation_data: Some(correlation_data),
            ..PublishProperties::default()
        })
    });
    let usual = TopicName::try_from(format!("{}/result", asker.topic)).ok();
    let asked_for = asker
        .response_topic
        .filter(|topic| Some(topic) != usual.as_ref());
    let topics = usual.into_iter().chain(asked_for);
    let message = |topic| Message {
        properties: properties.clone(),
        ..Message::new(topic, payload.clone(), QoS::AtLeastOnce, false)
    };
    topics.map(message).collect()
}

fn json(id: Option<&Json>, result: &Result<Done, CommandError>, at: WallTime) -> String {
    let mut out = String::with_capacity(128);
    open(&mut out, at);
    if let Some(id) = id {
        push(&mut out, format_args!(",\"id\":{id}"));
    }
    match result {
        Err(error) => {
            push(
                &mut out,
                format_args!(",\"ok\":false,\"error\":\"{error}\""),
            );
            if error.leaves_in_doubt() {
                out.push_str(",\"in_doubt\":true");
            }
        }
        Ok(_) => out.push_str(",\"ok\":true"),
    }
    if let Ok(Done::Written { write, read_back }) = result {
        let key = if write.is_group { "values" } else { "value" };
        match &write.bits {
            Some(bits) => {
                let bits = bits.iter().map(|(name, bit)| (name.as_str().into(), *bit));
                push(&mut out, format_args!(",\"{key}\":"));
                write_json_value(&mut out, &Value::Bits(bits.collect()));
            }
            None => values(&mut out, key, write, &write.request.as_data()),
        }
        if let Some(data) = read_back {
            values(&mut out, "read_back", write, data);
        }
    }
    out.push('}');
    out
}

/// `"key":VALUE`, or of a group an object; nothing of what has no value.
fn values(out: &mut String, key: &str, write: &Write, data: &Data) {
    let mut values = write
        .tags
        .iter()
        .filter_map(|(tag, offset)| Some((tag, tag.value(data, *offset)?)))
        .peekable();
    if values.peek().is_none() {
        return;
    }
    push(out, format_args!(",\"{key}\":"));
    if !write.is_group {
        for (tag, value) in values.take(1) {
            write_value(out, &tag.tag, &value);
        }
        return;
    }
    let mut comma = '{';
    for (tag, value) in values {
        out.push(comma);
        comma = ',';
        write_json_text(out, &tag.tag.name);
        out.push(':');
        write_value(out, &tag.tag, &value);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::book::Settable;
    use super::*;
    use crate::adapter::fixture;
    use crate::adapter::options::{Table, TagOptions, WriteOptions};
    use crate::adapter::reason::Reason;
    use crate::adapter::write::{WriteData, WriteRequest};
    use crate::value::TagType;

    const PAGE: &str = include_str!("../../../config/docs/topics.md");
    const AT: WallTime = WallTime(1_800_000_000_456);

    fn setpoint() -> Arc<Settable> {
        let tag = TagOptions {
            scale: 0.1,
            write: Some(WriteOptions::default()),
            ..fixture::tag("setpoint", Table::HoldingRegisters, 12, TagType::Int16)
        };
        Arc::new(Settable::new(&tag).unwrap())
    }

    #[test]
    fn the_page_of_topics_shows_the_answers_and_explains_every_error() {
        let write = Write {
            request: WriteRequest {
                address: 12,
                data: WriteData::Register(75),
            },
            verify: true,
            tags: vec![(setpoint(), 0)],
            bits: None,
            is_group: false,
        };
        let id = Json::from("abc");
        let read_back = Some(Data::Registers(vec![75]));
        let done = Ok(Done::Written { write, read_back });
        let refused = Err(CommandError::OutOfRange);
        for answer in [json(Some(&id), &done, AT), json(Some(&id), &refused, AT)] {
            assert!(PAGE.lines().any(|line| line == answer), "{answer}");
        }
        let (_, table) = PAGE.split_once("| error |").unwrap();
        let rows = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let rows: Vec<_> = rows
            .map(|(word, _)| word)
            .take_while(|word| *word != "timeout")
            .collect();
        let failed = CommandError::Failed(Reason::Exception(4));
        assert_eq!(failed.to_string(), "exception_04");
        let words = CommandError::NAMED.map(|error| error.to_string());
        assert_eq!(rows, [&words[..], &["exception_NN".to_owned()]].concat());
    }
}
