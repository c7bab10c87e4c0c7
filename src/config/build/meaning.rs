//! What the raw number of a tag means: `scale`, `invalid`, `enum`, `bits`, and which keys say something of which type.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_yaml::Mapping;

use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::Place;
use crate::config::raw;
use crate::config::section::Section;
use crate::value::{Meaning, TagType, Value};

/// The factor; 1 where there is none.
pub(super) fn scale(context: &mut Context<'_>, section: &Section<raw::Tag>) -> f64 {
    let Some(scale) = section.raw.scale else {
        return 1.0;
    };
    if scale.is_normal() {
        return scale;
    }
    let message = format!("`scale` is {scale}: every value would be lost");
    context.error(
        Code::OutOfRange,
        &section.at("scale"),
        message,
        "write what one raw unit is worth, such as 0.1",
    );
    1.0
}

/// The numbers of `invalid`, as the type has them.
pub(super) fn invalid(
    context: &mut Context<'_>,
    section: &Section<raw::Tag>,
    kind: TagType,
) -> Vec<Value> {
    let place = section.at("invalid");
    let numbers = section.raw.invalid.iter().flatten().enumerate();
    let numbers = numbers.filter_map(|(index, number)| {
        let place = place.index(index);
        let number: serde_yaml::Number = context.scalar(number, &place)?;
        match raw_number(kind, &number) {
            Ok(number) => Some(number),
            Err((message, remedy)) => {
                context.error(Code::OutOfRange, &place, message, remedy);
                None
            }
        }
    });
    numbers.collect()
}

/// What the integer stands for, by `enum` or `bits`.
pub(super) fn meaning(
    context: &mut Context<'_>,
    section: &Section<raw::Tag>,
    kind: TagType,
) -> Meaning {
    let raw = &section.raw;
    if let Some(names) = &raw.r#enum {
        return Meaning::Names(self::names(context, section, kind, names));
    }
    let Some(names) = &raw.bits else {
        return Meaning::Number;
    };
    let Some(width) = width(kind) else {
        not_of_this_type(context, section, "bits", "whole numbers that are no BCD");
        return Meaning::Number;
    };
    let mut bits = BTreeMap::<u8, Arc<str>>::new();
    for (bit, name, place) in numbered(context, section, "bits", names) {
        let Some(bit) = u8::try_from(bit).ok().filter(|bit| *bit < width) else {
            let message = format!("a value of {width} bits has no bit {bit}");
            let remedy = format!("write 0, the lowest, to {}", width - 1);
            context.error_at_key(Code::OutOfRange, &place, message, remedy);
            continue;
        };
        if bits.values().any(|taken| **taken == *name) {
            let message = format!("`{}` is the name of another bit already", quoted(&name));
            let remedy = "give each bit a name of its own";
            context.error(Code::DuplicateName, &place, message, remedy);
            continue;
        }
        bits.insert(bit, name.into());
    }
    Meaning::Bits(bits)
}

/// The names of `enum`.
fn names(
    context: &mut Context<'_>,
    section: &Section<raw::Tag>,
    kind: TagType,
    names: &Mapping,
) -> BTreeMap<i128, String> {
    let Some(range) = kind.integers() else {
        not_of_this_type(context, section, "enum", "whole numbers and bools");
        return BTreeMap::new();
    };
    let mut named = BTreeMap::new();
    for (number, name, place) in numbered(context, section, "enum", names) {
        match within(range, number) {
            Ok(()) => drop(named.insert(number, name)),
            Err((message, remedy)) => {
                context.error_at_key(Code::OutOfRange, &place, message, remedy);
            }
        }
    }
    named
}

/// The entries of `enum` or `bits`, each with its place.
fn numbered(
    context: &mut Context<'_>,
    section: &Section<raw::Tag>,
    key: &str,
    names: &Mapping,
) -> Vec<(i128, String, Place)> {
    const REMEDY: &str = "write `NUMBER: name`, such as `0: off`";
    let place = section.at(key);
    if names.is_empty() {
        let message = "there are no names in it, so there would be no value either";
        context.error(Code::MissingKey, &place, message, REMEDY);
    }
    let mut entries = Vec::new();
    for (number, name) in names {
        // Keys arrive as text, numbers written out; see `document`.
        let Some(number) = number.as_str() else {
            continue;
        };
        let place = place.key(number);
        let parsed = match number {
            "false" => Some(0),
            "true" => Some(1),
            number => number.parse().ok(),
        };
        let Some(parsed) = parsed else {
            let message = format!("`{}` is no whole number", quoted(number));
            context.error_at_key(Code::WrongType, &place, message, REMEDY);
            continue;
        };
        let Some(name) = context.scalar::<String>(name, &place) else {
            continue;
        };
        if name.is_empty() {
            let message = "a name needs at least one character";
            context.error(Code::NoValue, &place, message, "write one");
            continue;
        }
        entries.push((parsed, name, place));
    }
    entries
}

fn not_of_this_type(context: &mut Context<'_>, section: &Section<raw::Tag>, key: &str, what: &str) {
    let message = format!("`{key}` is for {what}");
    let remedy = "remove it, or correct the type";
    context.error_at_key(Code::BadRegister, &section.at(key), message, remedy);
}

/// Notes keys that mean nothing for the type, or beside another key.
pub(super) fn check(context: &mut Context<'_>, section: &Section<raw::Tag>, kind: TagType) {
    let (what, keys): (_, &[&str]) = match kind {
        TagType::Bool => (
            "bool",
            &[
                "scale",
                "scale_from",
                "decimals",
                "unit",
                "byte_order",
                "invalid",
                "deadband",
            ],
        ),
        TagType::Text(_) => (
            "string",
            &["scale", "scale_from", "decimals", "invalid", "deadband"],
        ),
        _ => ("", &[]),
    };
    for key in keys.iter().filter(|key| section.has(key)) {
        let message = format!("`{key}` means nothing for a {what}");
        context.error_at_key(Code::BadRegister, &section.at(key), message, "remove it");
    }
    for (named, others) in [
        (
            "enum",
            [
                "bits",
                "scale",
                "scale_from",
                "decimals",
                "unit",
                "deadband",
            ]
            .as_slice(),
        ),
        (
            "bits",
            &["scale", "scale_from", "decimals", "unit", "deadband"],
        ),
    ] {
        let others = others.iter().filter(|key| !keys.contains(key));
        for key in others.filter(|key| section.has(named) && section.has(key)) {
            let message = format!("`{key}` means nothing with `{named}`");
            let remedy = "remove one of them";
            context.error_at_key(Code::Contradiction, &section.at(key), message, remedy);
        }
    }
}

/// `number` as a value of this type before scaling; else what is wrong with it, and the remedy.
fn raw_number(kind: TagType, number: &serde_yaml::Number) -> Result<Value, (String, String)> {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the float that the registers have"
    )]
    match kind {
        TagType::Float32 => {
            return Ok(Value::Float32(number.as_f64().unwrap_or_default() as f32));
        }
        TagType::Float64 => return Ok(Value::Float64(number.as_f64().unwrap_or_default())),
        _ => {}
    }
    let Some((least, most)) = kind.integers() else {
        return Err((
            "this type has no numbers".to_owned(),
            "remove it".to_owned(),
        ));
    };
    let integer = number.as_i64().map(i128::from);
    let Some(integer) = integer.or_else(|| number.as_u64().map(i128::from)) else {
        let message = format!("the registers hold a whole number, so never {number}");
        let remedy = "write the number as the device has it, before `scale`";
        return Err((message, remedy.to_owned()));
    };
    within((least, most), integer).map(|()| Value::Integer(integer))
}

/// Whether the registers can hold `integer`; else what is wrong with it, and the remedy.
fn within((least, most): (i128, i128), integer: i128) -> Result<(), (String, String)> {
    if (least..=most).contains(&integer) {
        return Ok(());
    }
    let message = format!("the registers hold {least} to {most}, so never {integer}");
    // 0x8000 in a manual is -32768 of an int16.
    let wrapped = integer - (most - least + 1);
    let remedy = if integer > most && least < 0 && wrapped < 0 && wrapped >= least {
        format!("write {wrapped}, which is how this type reads it")
    } else {
        "correct the number or the type".to_owned()
    };
    Err((message, remedy))
}

/// The bits of an integer type; BCD has digits.
fn width(kind: TagType) -> Option<u8> {
    Some(match kind {
        TagType::Int16 | TagType::Uint16 => 16,
        TagType::Int32 | TagType::Uint32 => 32,
        TagType::Int64 | TagType::Uint64 => 64,
        _ => return None,
    })
}
