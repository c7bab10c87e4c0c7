//! Readings of an instrument to messages, in the shapes that groups of Modbus tags have. No I/O.
//!
//! Invariants: every field is either among the values or among the bad ones with its reason; a value that its instrument
//! does not vouch for never looks like one that it does: a bare value, which cannot say so, is left out like a bad one.

use bytes::Bytes;

use super::options::{FieldOptions, InstrumentOptions};
use super::parse::FieldReading;
use crate::adapter::options::Payload;
use crate::adapter::publish::{open, push};
use crate::clock::WallTime;
use crate::mqtt::Message;
use crate::topic::TopicName;
use crate::value::{write_json_text, write_json_value, write_plain_value};

/// Why a value is uncertain: the instrument itself says so, see `uncertain_when`.
const FLAGGED: &str = "flagged";

/// Calls `publish` with each message of a frame that arrived, or was given up, at `at`.
pub(super) fn messages(
    options: &InstrumentOptions,
    readings: &[FieldReading],
    at: WallTime,
    mut publish: impl FnMut(Message),
) {
    let mut send = |topic: &TopicName, payload: String| {
        publish(Message {
            topic: topic.clone(),
            payload: Bytes::from(payload),
            qos: options.qos,
            retain: options.retain,
            properties: None,
        });
    };
    let fields = &options.dialect.parse.fields;
    let singles = options.topics.iter().zip(readings);
    match &options.payload {
        Payload::Json(topic) => send(topic, json(fields, readings, at)),
        Payload::JsonPerTag => {
            for (topic, reading) in singles {
                send(topic, field_json(reading, at));
            }
        }
        Payload::Value => {
            for (topic, reading) in singles {
                let mut payload = String::new();
                match &reading.value {
                    Ok(value) if !reading.uncertain => write_plain_value(&mut payload, value),
                    // Empty and retained: the broker forgets the old value (MQTT 3.3.1.3).
                    _ if options.retain => {}
                    _ => continue,
                }
                send(topic, payload);
            }
        }
    }
}

fn json(fields: &[FieldOptions], readings: &[FieldReading], at: WallTime) -> String {
    let mut out = String::with_capacity(64 + fields.len() * 24);
    let named = || fields.iter().map(|field| &*field.name).zip(readings);
    open(&mut out, at);
    let values = named().filter_map(|(name, reading)| Some((name, reading.value.as_ref().ok()?)));
    object(&mut out, "values", true, values, |out, value| {
        write_json_value(out, value);
    });
    let bad = named().filter_map(|(name, reading)| Some((name, reading.value.as_ref().err()?)));
    object(&mut out, "bad", false, bad, |out, reason| {
        write_json_text(out, &reason.to_string());
    });
    let uncertain = named().filter(|(_, reading)| reading.uncertain);
    object(&mut out, "uncertain", false, uncertain, |out, _| {
        write_json_text(out, FLAGGED);
    });
    // Only units that a frame says: the others are known from the configuration, and per-tag JSON tells them.
    let units = fields.iter().zip(readings).filter_map(|(field, reading)| {
        field.unit_from.as_ref()?;
        Some((&*field.name, reading.unit.as_deref()?))
    });
    object(&mut out, "units", false, units, |out, unit| {
        write_json_text(out, unit);
    });
    out.push('}');
    out
}

/// `,"key":{...}`; where it would be empty, only if it `always` stands there.
fn object<'n, T>(
    out: &mut String,
    key: &str,
    always: bool,
    entries: impl Iterator<Item = (&'n str, T)>,
    write: impl Fn(&mut String, T),
) {
    let mut entries = entries.peekable();
    if entries.peek().is_none() && !always {
        return;
    }
    push(out, format_args!(",\"{key}\":{{"));
    let mut comma = "";
    for (name, entry) in entries {
        out.push_str(comma);
        comma = ",";
        write_json_text(out, name);
        out.push(':');
        write(out, entry);
    }
    out.push('}');
}

fn field_json(reading: &FieldReading, at: WallTime) -> String {
    let mut out = String::with_capacity(96);
    open(&mut out, at);
    out.push_str(",\"value\":");
    match &reading.value {
        Ok(value) => {
            write_json_value(&mut out, value);
            if reading.uncertain {
                push(
                    &mut out,
                    format_args!(",\"quality\":\"uncertain\",\"reason\":\"{FLAGGED}\""),
                );
            } else {
                out.push_str(",\"quality\":\"good\"");
            }
        }
        Err(reason) => push(
            &mut out,
            format_args!("null,\"quality\":\"bad\",\"reason\":\"{reason}\""),
        ),
    }
    if let Some(unit) = &reading.unit {
        out.push_str(",\"unit\":");
        write_json_text(&mut out, unit);
    }
    out.push('}');
    out
}
