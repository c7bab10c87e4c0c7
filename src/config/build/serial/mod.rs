//! `serial:` of a device: how an instrument speaks.

mod framing;
mod parse;

use std::time::Duration;

use serde_yaml::Value;

use super::write::ages;
use super::{below, is_name, time};
use crate::adapter::WriteOptions;
use crate::adapter::serial::{CommandOptions, Dialect, Mode, Pattern};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;

/// Without a `stale_after`, silence is a failure after this.
const STALE_AFTER: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
/// The longest text that is sent.
const SEND_BYTES_MAX: usize = 1024;

/// Reads `serial:`; `None` where something of it is at fault.
pub(in crate::config) fn dialect(
    context: &mut Context<'_>,
    section: &Section<raw::Serial>,
) -> Option<Dialect> {
    let mode = mode(context, section);
    let framing = framing::framing(context, section);
    let checksum = framing::checksum(context, section, framing.as_ref());
    if let Some(framing) = &framing {
        framing::check_beginning(context, section, framing);
    }
    let parse = parse::parse(context, section);
    let commands = commands(context, section);
    Some(Dialect {
        framing: framing?,
        checksum: checksum?,
        mode: mode?,
        parse: parse?,
        commands,
    })
}

fn mode(context: &mut Context<'_>, section: &Section<raw::Serial>) -> Option<Mode> {
    let range = Duration::ZERO..=Duration::from_secs(7 * 86_400);
    let raw = section.raw.stale_after;
    let stale_after = time(context, section, "stale_after", raw, range);
    if !section.has("poll") {
        let stale_after = stale_after.unwrap_or(STALE_AFTER);
        return Some(Mode::Listen {
            stale_after: (!stale_after.is_zero()).then_some(stale_after),
        });
    }
    if section.has("stale_after") {
        let message = "an instrument that is asked is never stale: `poll` has a `timeout`";
        let place = section.at("stale_after");
        context.error_at_key(Code::Contradiction, &place, message, "remove it");
    }
    let poll = below::<raw::Poll>(context, section, "poll", section.raw.poll.as_ref());
    let send = send(context, &poll, poll.raw.send.as_ref());
    let range = Duration::from_millis(10)..=Duration::from_secs(86_400);
    let interval = time(context, &poll, "interval", poll.raw.interval, range);
    let timeout = time(context, &poll, "timeout", poll.raw.timeout, timeouts());
    Some(Mode::Poll {
        send: send?,
        interval: interval.unwrap_or(INTERVAL),
        timeout: timeout.unwrap_or(TIMEOUT),
    })
}

fn commands(context: &mut Context<'_>, section: &Section<raw::Serial>) -> Vec<CommandOptions> {
    let place = section.at("commands");
    let mut commands = Vec::new();
    for (name, value) in section.raw.commands.iter().flatten() {
        let Some(name) = name.as_str() else { continue };
        let place = place.key(name);
        is_name(context, name, &place);
        let command = Section::<raw::Command>::read(context, value, place);
        let send = send(context, &command, command.raw.send.as_ref());
        let expect = pattern(context, command.raw.expect.as_ref(), &command.at("expect"));
        let timeout = time(
            context,
            &command,
            "timeout",
            command.raw.timeout,
            timeouts(),
        );
        let max_age = command.raw.max_age;
        let max_age = time(context, &command, "max_age", max_age, ages());
        commands.extend(send.map(|send| CommandOptions {
            name: name.to_owned(),
            send,
            expect,
            timeout: timeout.unwrap_or(TIMEOUT),
            max_age: max_age.unwrap_or(WriteOptions::MAX_AGE),
            takes_undated: raw::Undated::is_taken(command.raw.undated),
        }));
    }
    commands
}

fn timeouts() -> std::ops::RangeInclusive<Duration> {
    Duration::from_millis(10)..=Duration::from_secs(60)
}

fn send<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    value: Option<&Value>,
) -> Option<Vec<u8>> {
    let value = section.required(context, "send", value, "\"SI\\r\\n\"")?;
    bytes(context, value, &section.at("send"), SEND_BYTES_MAX)
}

/// A pattern; what is wrong with it is noted with the place in it.
fn pattern(context: &mut Context<'_>, text: Option<&String>, place: &Place) -> Option<Pattern> {
    let text = text?;
    match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(fault) => {
            let message = match fault.column {
                Some(column) => format!("at character {column} of the pattern: {}", fault.message),
                None => fault.message,
            };
            let remedy = "correct the pattern; its syntax is that of https://docs.rs/regex";
            context.error(Code::BadFrame, place, message, remedy);
            None
        }
    }
}

/// Bytes as text, as one number or as a list of both: `"\r\n"`, `0x02`, `[0x10, "A"]`.
fn bytes(context: &mut Context<'_>, value: &Value, place: &Place, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let whole = match value {
        Value::Sequence(list) => list
            .iter()
            .enumerate()
            .all(|(index, value)| append(context, value, &place.index(index), &mut bytes)),
        value => append(context, value, place, &mut bytes),
    };
    if whole && !(1..=most).contains(&bytes.len()) {
        let message = format!("these are {} bytes", bytes.len());
        context.error(
            Code::OutOfRange,
            place,
            message,
            format!("write 1 to {most} bytes"),
        );
        return None;
    }
    whole.then_some(bytes)
}

fn append(context: &mut Context<'_>, value: &Value, place: &Place, bytes: &mut Vec<u8>) -> bool {
    if value.is_number() {
        let byte = context.scalar::<u8>(value, place);
        bytes.extend(byte);
        return byte.is_some();
    }
    let Some(text) = context.scalar::<String>(value, place) else {
        return false;
    };
    let (message, remedy) = if ["\\r", "\\n", "\\x", "\\t", "\\0"]
        .iter()
        .any(|escape| text.contains(escape))
    {
        (
            "only between double quotes is `\\r` one byte; here it is two characters",
            "put it between double quotes: \"\\r\\n\"",
        )
    } else if !text.is_ascii() {
        (
            "a letter beyond ASCII is more than one byte",
            "write its bytes as a list: [0xB0]",
        )
    } else {
        bytes.extend(text.bytes());
        return true;
    };
    context.error(Code::BadFrame, place, message, remedy);
    false
}
