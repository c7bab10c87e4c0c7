//! Scalars as they stand in the file: quantities with their unit, and words out of a short list.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::config::excerpt::quoted;
use crate::config::suggest;
use crate::config::units::{self, UnitError};
use crate::config::wording::PART;
use crate::value;

/// `500ms`, `2s`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Time(pub(in crate::config) Duration);

/// A duration, or `auto` for what fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct AutoTime(pub(in crate::config) Option<Duration>);

/// `40B`, `64KiB`, `2GiB`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Size(pub(in crate::config) u64);

/// `0.2`, `"2%"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct Deadband(pub(in crate::config) value::Deadband);

/// One of the words that stand for values of `T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct OneOf<T>(pub(in crate::config) T);

/// The words of a key and what they stand for.
pub(in crate::config) trait Words: Copy + 'static {
    /// All of them, in the order they are listed in.
    const WORDS: &'static [(&'static str, Self)];
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| units::duration(text).map(Self);
        deserializer.deserialize_any(Read("a duration such as 500ms, 2s, 10min or 7d", read))
    }
}

impl<'de> Deserialize<'de> for AutoTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| match text {
            "auto" => Ok(Self(None)),
            text => units::duration(text).map(|time| Self(Some(time))),
        };
        deserializer.deserialize_any(Read("`auto` or a duration such as 5ms", read))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| units::size(text).map(Self);
        deserializer.deserialize_any(Read("a size such as 64KiB or 2GiB", read))
    }
}

impl<'de> Deserialize<'de> for Deadband {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read(
            "a number such as 0.2, or a percentage such as 2%",
            deadband,
        ))
    }
}

fn deadband(text: &str) -> Result<Deadband, UnitError> {
    let (number, form): (_, fn(f64) -> value::Deadband) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), value::Deadband::Percent),
        None => (text, value::Deadband::Absolute),
    };
    match number.parse::<f64>() {
        Ok(size) if size.is_finite() && size >= 0.0 => Ok(Deadband(form(size))),
        _ => Err(UnitError {
            message: format!("`{}` is no size of a change", quoted(text)),
            remedy: "write a number from 0, such as 0.2, or a percentage, such as 2%".to_owned(),
        }),
    }
}

impl<'de, T: Words> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| choose(text).map(Self);
        deserializer.deserialize_any(Read("one of a few words", read))
    }
}

/// The value that a word stands for.
pub(in crate::config) fn choose<T: Words>(text: &str) -> Result<T, UnitError> {
    if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words = T::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>();
    Err(UnitError {
        message: format!("`{}` is none of {}", quoted(text), words.join(", ")),
        remedy: match suggest::nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", words.join(", ")),
        },
    })
}

/// Reads a scalar from its text; numbers are written out first, because `protocol: 5` and `keep_alive: 60` are numbers.
struct Read<F>(&'static str, F);

impl<T, F: Fn(&str) -> Result<T, UnitError>> Visitor<'_> for Read<F> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text)
            .map_err(|error| E::custom(format!("{}{PART}{}", error.message, error.remedy)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
}
