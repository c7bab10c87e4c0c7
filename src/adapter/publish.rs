//! Readings to messages. No I/O.
//!
//! Invariants: a message holds only what was read for it, nothing is repeated from before; every tag of the group is
//! either among the values or among the bad ones with its reason; the stamp is that of the reply. A bare value that is
//! retained does not outlive its truth: while the tag is bad nothing is retained under its topic.

use std::fmt::Write;

use bytes::Bytes;

use super::health::DeviceStatus;
use super::options::{GroupOptions, Payload, TagOptions};
use super::reason::Reason;
use crate::clock::WallTime;
use crate::mqtt::{Message, QoS};
use crate::topic::TopicName;
use crate::value::{Value, write_json_text, write_json_value, write_plain_value};

/// What became of one tag.
pub(crate) type Reading = Result<Value, Reason>;

/// Calls `publish` with each message of a group that `wanted` takes by its number: 0 where it is one for all tags, else that
/// of its tag. `readings` are those of the group's tags, in their order; `at` is when the last reply arrived, or when it
/// was given up.
pub(crate) fn group_messages(
    group: &GroupOptions,
    readings: &[Reading],
    at: WallTime,
    wanted: impl Fn(usize) -> bool,
    mut publish: impl FnMut(Message),
) {
    let mut send = |topic: &TopicName, payload: String| {
        publish(Message {
            topic: topic.clone(),
            payload: Bytes::from(payload),
            qos: group.qos,
            retain: group.retain,
            properties: None,
        });
    };
    match &group.payload {
        Payload::Json(topic) if wanted(0) => send(topic, group_json(&group.tags, readings, at)),
        Payload::Json(_) => {}
        Payload::JsonPerTag => {
            for (tag, reading) in wanted_tags(group, readings, wanted) {
                send(&tag.topic, tag_json(tag, reading, at));
            }
        }
        Payload::Value => {
            for (tag, reading) in wanted_tags(group, readings, wanted) {
                let mut payload = String::new();
                match reading {
                    Ok(value) => write_plain_value(&mut payload, value),
                    // Empty and retained: the broker forgets the old value (MQTT 3.3.1.3). With every
                    // one that is published, not only the first: that one may be lost in a full outbox, or fall to a
                    // former run of the gateway.
                    Err(_) if group.retain => {}
                    Err(_) => continue,
                }
                send(&tag.topic, payload);
            }
        }
    }
}

fn wanted_tags<'a>(
    group: &'a GroupOptions,
    readings: &'a [Reading],
    wanted: impl Fn(usize) -> bool,
) -> impl Iterator<Item = (&'a TagOptions, &'a Reading)> {
    let tags = group.tags.iter().zip(readings).enumerate();
    tags.filter(move |(number, _)| wanted(*number))
        .map(|(_, tag)| tag)
}

/// The retained `$status` of a device.
pub(crate) fn status_message(topic: &TopicName, status: &DeviceStatus) -> Message {
    // Plain fields of a struct: there is nothing in it that JSON could refuse.
    let payload = serde_json::to_vec(status).unwrap_or_default();
    Message {
        topic: topic.clone(),
        payload: Bytes::from(payload),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: None,
    }
}

fn group_json(tags: &[TagOptions], readings: &[Reading], at: WallTime) -> String {
    let mut out = String::with_capacity(64 + tags.len() * 24);
    open(&mut out, at);
    out.push_str(",\"values\":{");
    let mut comma = "";
    for (tag, reading) in tags.iter().zip(readings) {
        if let Ok(value) = reading {
            out.push_str(comma);
            comma = ",";
            write_json_text(&mut out, &tag.name);
            out.push(':');
            write_value(&mut out, tag, value);
        }
    }
    out.push('}');
    comma = ",\"bad\":{";
    for (tag, reading) in tags.iter().zip(readings) {
        if let Err(reason) = reading {
            out.push_str(comma);
            comma = ",";
            write_json_text(&mut out, &tag.name);
            push(&mut out, format_args!(":\"{reason}\""));
        }
    }
    if comma == "," {
        out.push('}');
    }
    out.push('}');
    out
}

fn tag_json(tag: &TagOptions, reading: &Reading, at: WallTime) -> String {
    let mut out = String::with_capacity(96);
    open(&mut out, at);
    out.push_str(",\"value\":");
    match reading {
        Ok(value) => {
            write_value(&mut out, tag, value);
            out.push_str(",\"quality\":\"good\"");
        }
        Err(reason) => push(
            &mut out,
            format_args!("null,\"quality\":\"bad\",\"reason\":\"{reason}\""),
        ),
    }
    if let Some(unit) = &tag.unit {
        out.push_str(",\"unit\":");
        write_json_text(&mut out, unit);
    }
    out.push('}');
    out
}

pub(super) fn write_value(out: &mut String, tag: &TagOptions, value: &Value) {
    match value {
        Value::Integer(integer) if tag.quoted => push(out, format_args!("\"{integer}\"")),
        value => write_json_value(out, value),
    }
}

/// Begins a message with its stamp.
pub(super) fn open(out: &mut String, at: WallTime) {
    push(out, format_args!("{{\"ts\":{}", at.0));
    if !at.is_plausible() {
        out.push_str(",\"clock\":\"unsynced\"");
    }
}

pub(super) fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::health::DeviceState;
    use super::super::options::Table;
    use super::*;
    use crate::value::TagType;

    const AT: WallTime = WallTime(1_800_000_000_123);

    fn group(payload: Payload) -> GroupOptions {
        let mut tags: Vec<_> = ["run", "set\"point", "supply_t"]
            .iter()
            .map(|name| fixture::tag("t", Table::Coils, 0, TagType::Bool).named(name))
            .collect();
        tags[1].unit = Some("degC".to_owned());
        GroupOptions {
            payload,
            ..fixture::group("status", 500, tags)
        }
    }

    fn payloads(group: &GroupOptions, readings: &[Reading], at: WallTime) -> Vec<String> {
        let mut payloads = Vec::new();
        group_messages(
            group,
            readings,
            at,
            |_| true,
            |message| {
                payloads.push(String::from_utf8(message.payload.to_vec()).unwrap());
            },
        );
        payloads
    }

    fn mixed() -> Vec<Reading> {
        vec![
            Ok(Value::Bool(true)),
            Ok(Value::Float64(7.5)),
            Err(Reason::Exception(11)),
        ]
    }

    #[test]
    fn a_group_tells_values_and_what_is_bad() {
        let group = group(Payload::Json(fixture::topic("g/d/status")));
        assert_eq!(
            payloads(&group, &mixed(), AT),
            [
                r#"{"ts":1800000000123,"values":{"run":true,"set\"point":7.5},"bad":{"supply_t":"exception_0B"}}"#
            ]
        );
        let bad = vec![Err(Reason::Timeout); 3];
        assert_eq!(
            payloads(&group, &bad, AT),
            [
                r#"{"ts":1800000000123,"values":{},"bad":{"run":"timeout","set\"point":"timeout","supply_t":"timeout"}}"#
            ]
        );
        let good = vec![Ok(Value::Integer(1)); 3];
        assert_eq!(
            payloads(&group, &good, WallTime(5)),
            [r#"{"ts":5,"clock":"unsynced","values":{"run":1,"set\"point":1,"supply_t":1}}"#]
        );
    }

    #[test]
    fn a_tag_tells_its_quality_and_unit() {
        assert_eq!(
            payloads(&group(Payload::JsonPerTag), &mixed(), AT),
            [
                r#"{"ts":1800000000123,"value":true,"quality":"good"}"#,
                r#"{"ts":1800000000123,"value":7.5,"quality":"good","unit":"degC"}"#,
                r#"{"ts":1800000000123,"value":null,"quality":"bad","reason":"exception_0B"}"#,
            ]
        );
    }

    #[test]
    fn integers_that_some_readers_cannot_hold_are_strings_where_wanted() {
        let value = i128::from(u64::MAX);
        let readings = vec![
            Ok(Value::Integer(value)),
            Ok(Value::Integer(value)),
            Ok(Value::Float64(0.5)),
        ];
        let mut group = group(Payload::Json(fixture::topic("g/d/status")));
        group.tags[0].quoted = true;
        group.tags[2].quoted = true;
        assert_eq!(
            payloads(&group, &readings, AT),
            [
                r#"{"ts":1800000000123,"values":{"run":"18446744073709551615","set\"point":18446744073709551615,"supply_t":0.5}}"#
            ]
        );
        group.payload = Payload::JsonPerTag;
        assert_eq!(
            payloads(&group, &readings, AT)[0],
            r#"{"ts":1800000000123,"value":"18446744073709551615","quality":"good"}"#
        );
        group.payload = Payload::Value;
        assert_eq!(payloads(&group, &readings, AT)[0], value.to_string());
    }

    #[test]
    fn the_page_of_topics_shows_what_is_published() {
        let page = include_str!("../../config/docs/topics.md");
        let mut group = group(Payload::Json(fixture::topic("g/d/status")));
        "setpoint".clone_into(&mut group.tags[1].name);
        let mut shown = payloads(&group, &mixed(), AT);
        group.payload = Payload::JsonPerTag;
        shown.extend(payloads(&group, &mixed(), AT).split_off(1));
        let device = fixture::device("d", 1, Vec::new());
        let status = DeviceStatus {
            state: Some(DeviceState::Degraded),
            since: AT,
            last_ok: Some(AT),
            error: Some(Reason::Exception(2)),
            requests: 3600,
            timeouts: 1,
            exceptions: 12,
            ..DeviceStatus::default()
        };
        let status = status_message(&device.status_topic, &status);
        shown.push(String::from_utf8(status.payload.to_vec()).unwrap());
        assert_eq!(shown.len(), 4);
        for body in shown {
            assert!(page.lines().any(|line| line == body), "{body}");
        }
    }

    #[test]
    fn a_bare_value_is_silent_while_bad() {
        assert_eq!(
            payloads(&group(Payload::Value), &mixed(), AT),
            ["true", "7.5"]
        );
    }

    #[test]
    fn a_retained_bare_value_is_removed_while_bad() {
        let group = GroupOptions {
            retain: true,
            ..group(Payload::Value)
        };
        let mut sent = Vec::new();
        group_messages(
            &group,
            &mixed(),
            AT,
            |_| true,
            |message| {
                assert!(message.retain);
                sent.push((message.topic.as_str().to_owned(), message.payload));
            },
        );
        let expected = ["true", "7.5", ""].map(|payload| ("g/d/t".to_owned(), payload.into()));
        assert_eq!(sent, expected);
    }
}
