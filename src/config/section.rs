//! From a value to a raw struct, one section at a time and each key on its own, so that one typo does not hide the next.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde_yaml::{Mapping, Value};

use super::context::Context;
use super::error::Code;
use super::excerpt::quoted;
use super::place::Place;
use super::{later, suggest, wording};

/// A section as read: what was well formed of it.
pub(super) struct Section<T> {
    /// The well-formed keys.
    pub(super) raw: T,
    /// Where it stands.
    pub(super) place: Place,
    given: BTreeSet<String>,
}

impl<T: DeserializeOwned + Default> Section<T> {
    /// Reads the section at `place`; what is wrong in it is noted and left out.
    pub(super) fn read(context: &mut Context<'_>, value: &Value, place: Place) -> Self {
        let takes = |keys: Mapping| raw::<T>(keys).map(drop);
        let (sound, given) = sound(context, value, &place, shape::<T>(), &takes);
        Self {
            // Each key was read alone before, so the whole cannot fail.
            raw: raw(sound).unwrap_or_default(),
            place,
            given,
        }
    }
}

// Once for each section, and not at each call: with dozens of sections that is a part of the program's size.
#[inline(never)]
fn raw<T: DeserializeOwned>(keys: Mapping) -> Result<T, serde_yaml::Error> {
    serde_yaml::from_value(Value::Mapping(keys))
}

/// The keys of a section that are well, as they will be read, and the names of all that were given. `takes` says whether a
/// section of this `shape` takes some keys.
fn sound(
    context: &mut Context<'_>,
    value: &Value,
    place: &Place,
    shape: Shape,
    takes: &dyn Fn(Mapping) -> Result<(), serde_yaml::Error>,
) -> (Mapping, BTreeSet<String>) {
    let (mut sound, mut given) = (Mapping::new(), BTreeSet::new());
    let is_root = place.steps().is_empty();
    let Value::Mapping(mapping) = value else {
        // What is no configuration at all may be a secret that was named by mistake.
        let found = if is_root {
            wording::kind
        } else {
            wording::found
        };
        let message = format!("expected keys and values, found {}", found(value));
        let remedy = format!("keys here: {}", shape.fields.join(", "));
        context.error(Code::WrongType, place, message, remedy);
        return (sound, given);
    };
    for (key, value) in mapping {
        let Some(key) = key.as_str() else { continue };
        if is_root && value.is_null() && shape.fields.contains(&key) {
            continue; // an empty section of the file, all its keys commented out
        }
        given.insert(key.to_owned());
        let place = place.key(key);
        if shape.fields.contains(&key) {
            if let Some((message, remedy)) = later::value(shape.name, key, value) {
                context.error(Code::NotAvailable, &place, message, remedy);
                continue;
            }
            let alone = |value| takes(Mapping::from_iter([(Value::from(key), value)]));
            let value = context.settle(value, &place, &alone);
            sound.extend(value.map(|value| (Value::from(key), value)));
        } else if let Some(meant) = unknown(context, &shape, key, &place) {
            // What is misspelt is not missing as well.
            given.insert(meant.to_owned());
        }
    }
    (sound, given)
}

/// Notes a key that this section does not have; the key that was probably meant, if any.
fn unknown(
    context: &mut Context<'_>,
    shape: &Shape,
    key: &str,
    place: &Place,
) -> Option<&'static str> {
    let meant = suggest::nearest(key, shape.fields.iter().copied());
    let remedy = match meant {
        _ if key == "<<" => {
            "YAML's merge key is not applied; use `templates:` for what repeats".to_owned()
        }
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("keys here: {}", shape.fields.join(", ")),
    };
    let message = format!("unknown key `{}`", quoted(key));
    context.error_at_key(Code::UnknownKey, place, message, remedy);
    meant
}

impl<T> Section<T> {
    /// A section that the file does not have.
    pub(super) fn absent(place: Place) -> Self
    where
        T: Default,
    {
        Self {
            raw: T::default(),
            place,
            given: BTreeSet::new(),
        }
    }

    /// Where the value of `key` stands.
    pub(super) fn at(&self, key: &str) -> Place {
        self.place.key(key)
    }

    /// Whether the key was given, well formed or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.given.contains(key)
    }

    /// `value` of `key`; its absence is noted, unless it was there and is noted as wrong already.
    pub(super) fn required<V>(
        &self,
        context: &mut Context<'_>,
        key: &str,
        value: Option<V>,
        example: &str,
    ) -> Option<V> {
        if value.is_none() && !self.has(key) {
            missing(context, &self.place, key, example);
        }
        value
    }

    /// `value` of `key` where it is within `range`; else that is noted.
    pub(super) fn within<V: PartialOrd + Copy>(
        &self,
        context: &mut Context<'_>,
        key: &str,
        value: Option<V>,
        range: RangeInclusive<V>,
        show: impl Fn(V) -> String,
    ) -> Option<V> {
        #[cfg(test)]
        context.ranges.insert(
            (std::any::type_name::<T>(), key.to_owned()),
            (show(*range.start()), show(*range.end())),
        );
        let value = value?;
        if range.contains(&value) {
            return Some(value);
        }
        let range = (show(*range.start()), show(*range.end()));
        outside(context, &self.at(key), key, &show(value), &range);
        None
    }
}

fn missing(context: &mut Context<'_>, section: &Place, key: &str, example: &str) {
    let (message, remedy) = (
        format!("`{key}` is missing"),
        format!("add `{key}: {example}`"),
    );
    context.error_at_key(Code::MissingKey, section, message, remedy);
}

fn outside(
    context: &mut Context<'_>,
    place: &Place,
    key: &str,
    value: &str,
    (least, most): &(String, String),
) {
    let message = format!("`{key}` is {value}, outside its range");
    let remedy = if least == most {
        format!("write {least}, or remove it")
    } else {
        format!("write {least} to {most}")
    };
    context.error(Code::OutOfRange, place, message, remedy);
}

/// Name and keys of a raw struct, as serde knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) fields: &'static [&'static str],
}

/// The shape of `T`, a struct that derives `Deserialize`.
pub(super) fn shape<T: DeserializeOwned>() -> Shape {
    let mut shape = Shape::default();
    // The answer is in `shape`; the probe has no value to give, so the result is always its error.
    drop(T::deserialize(Probe(&mut shape)));
    shape
}

struct Probe<'a>(&'a mut Shape);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = Shape { name, fields };
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("no value"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}
