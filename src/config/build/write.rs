//! `write:` of a tag: what may be written to it.

use std::time::Duration;

use super::{below, time};
use crate::adapter::{Table, WRITTEN_REGISTERS_MAX, WriteFunction, WriteOptions};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::raw;
use crate::config::section::Section;
use crate::value::{Meaning, TagType};

/// The greatest age of a command, here and of an instrument.
pub(super) fn ages() -> std::ops::RangeInclusive<Duration> {
    Duration::from_millis(100)..=Duration::from_secs(86_400)
}

/// How the tag may be written; `None` where it may not.
pub(super) fn write(
    context: &mut Context<'_>,
    tag: &Section<raw::Tag>,
    table: Table,
    kind: TagType,
    meaning: &Meaning,
) -> Option<WriteOptions> {
    if !tag.has("write") {
        return None;
    }
    let section = below::<raw::Write>(context, tag, "write", tag.raw.write.as_ref());
    let raw = &section.raw;
    if let Table::DiscreteInputs | Table::InputRegisters = table {
        let message = "nobody can write to a discrete input or an input register";
        let remedy = "remove `write`, or correct `register`: coil and holding can be written";
        context.error_at_key(Code::BadRegister, &section.place, message, remedy);
        return None;
    }
    if tag.has("scale_from") {
        let message =
            "a tag with `scale_from` cannot be written: its factor is the device's and may change";
        context.error_at_key(Code::Contradiction, &section.place, message, "remove one");
    }
    if usize::from(kind.registers()) > WRITTEN_REGISTERS_MAX {
        let message = format!(
            "one request writes {WRITTEN_REGISTERS_MAX} registers, and the value has {}",
            kind.registers()
        );
        let remedy = "remove `write`, or shorten the value";
        context.error_at_key(Code::BadRegister, &section.place, message, remedy);
    }
    check_meaning(context, tag, &section, kind, meaning);
    check_limits(context, &section, kind, meaning);
    let function = raw.function.map(|word| word.0).unwrap_or_default();
    if function == WriteFunction::Single && kind.registers() > 1 {
        let message = format!(
            "`function: single` writes one register, and the value has {}",
            kind.registers()
        );
        let place = section.at("function");
        context.error(Code::Contradiction, &place, message, "write `multiple`");
    }
    let max_age = time(context, &section, "max_age", raw.max_age, ages());
    Some(WriteOptions {
        min: raw.min,
        max: raw.max,
        verify: raw.verify.unwrap_or(false),
        max_age: max_age.unwrap_or(WriteOptions::MAX_AGE),
        takes_undated: raw::Undated::is_taken(raw.undated),
        function,
    })
}

fn check_meaning(
    context: &mut Context<'_>,
    tag: &Section<raw::Tag>,
    section: &Section<raw::Write>,
    kind: TagType,
    meaning: &Meaning,
) {
    match meaning {
        Meaning::Number => {}
        Meaning::Bits(_) => {
            if kind.registers() > 1 {
                let message = "bits are written one by one in one register (function 22), and this value has more";
                let remedy = "remove `write`, or make a tag of each register";
                context.error_at_key(Code::BadRegister, &section.place, message, remedy);
            }
            if section.has("function") {
                let message = "bits are written by function 22, whatever `function` says";
                let place = section.at("function");
                context.error_at_key(Code::Contradiction, &place, message, "remove it");
            }
        }
        Meaning::Names(names) => {
            let mut seen = Vec::new();
            for name in names.values() {
                if seen.contains(&name) {
                    let message = format!(
                        "`{}` is the name of two numbers: which of them should be written?",
                        quoted(name)
                    );
                    let remedy = "give each number a name of its own, or remove `write`";
                    context.error(Code::DuplicateName, &tag.at("enum"), message, remedy);
                }
                seen.push(name);
            }
        }
    }
}

fn check_limits(
    context: &mut Context<'_>,
    section: &Section<raw::Write>,
    kind: TagType,
    meaning: &Meaning,
) {
    let has_numbers =
        *meaning == Meaning::Number && !matches!(kind, TagType::Bool | TagType::Text(_));
    for key in ["min", "max"] {
        if section.has(key) && !has_numbers {
            let message = format!("`{key}` is for numbers");
            context.error_at_key(Code::BadRegister, &section.at(key), message, "remove it");
        }
    }
    for (key, limit) in [("min", section.raw.min), ("max", section.raw.max)] {
        if limit.is_some_and(|limit| !limit.is_finite()) {
            let place = section.at(key);
            context.error(
                Code::OutOfRange,
                &place,
                format!("`{key}` is no number"),
                "write one",
            );
        }
    }
    if let (Some(min), Some(max)) = (section.raw.min, section.raw.max)
        && min > max
    {
        let message = format!("`min` ({min}) is above `max` ({max}): nothing could be written");
        context.error(
            Code::Contradiction,
            &section.at("min"),
            message,
            "exchange them",
        );
    }
}
