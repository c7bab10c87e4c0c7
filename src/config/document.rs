//! Text to a tree of values: the only place, with `locate`, that runs the YAML parser. A key given twice and a YAML tag
//! are noted on the way, because the parser would either stop at them or not tell.

use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_yaml::{Mapping, Number, Value};

use super::place::Place;

/// The most values a file may have, aliases expanded. A few kilobytes of nested aliases could otherwise fill the memory.
const VALUES_MAX: usize = 1_000_000;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The tree; of a key given twice it has the first value.
    pub(super) root: Value,
    /// Keys that were there already.
    pub(super) repeated: Vec<Place>,
    /// Values with a YAML tag (`!name`), which mean nothing here.
    pub(super) tagged: Vec<Place>,
}

/// Reads `text`, whose root is `root`.
pub(super) fn parse(text: &str, root: Place) -> Result<Document, serde_yaml::Error> {
    parse_within(text, root, &mut Allowance::default())
}

/// `text` without the byte order mark that some editors put first, so that columns are those that are seen.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The same for one of several texts, which have no more values together than one may have.
pub(super) fn parse_within(
    text: &str,
    root: Place,
    allowance: &mut Allowance,
) -> Result<Document, serde_yaml::Error> {
    let mut reading = Reading {
        values: allowance.0,
        repeated: Vec::new(),
        tagged: Vec::new(),
    };
    let seed = Node {
        path: root,
        reading: &mut reading,
    };
    let root = seed.deserialize(serde_yaml::Deserializer::from_str(text));
    allowance.0 = reading.values;
    let root = root?;
    Ok(Document {
        root,
        repeated: reading.repeated,
        tagged: reading.tagged,
    })
}

/// How many values may still be read.
#[derive(Debug)]
pub(super) struct Allowance(usize);

impl Default for Allowance {
    fn default() -> Self {
        Self(VALUES_MAX)
    }
}

struct Reading {
    repeated: Vec<Place>,
    tagged: Vec<Place>,
    /// How many more there may be.
    values: usize,
}

struct Node<'a> {
    path: Place,
    reading: &'a mut Reading,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.reading.values.checked_sub(1) else {
            let message = format!("there are more than {VALUES_MAX} values");
            return Err(de::Error::custom(message));
        };
        self.reading.values = left;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let seed = Node {
                path: self.path.index(values.len()),
                reading: &mut *self.reading,
            };
            match list.next_element_seed(seed)? {
                Some(value) => values.push(value),
                None => return Ok(Value::Sequence(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Mapping::new();
        let mut occurrences = std::collections::HashMap::<String, usize>::new();
        while let Some(key) = map.next_key_seed(KeyText)? {
            let nth = occurrences.get(&key).copied().unwrap_or_default();
            let path = self.path.repeated_key(&key, nth);
            let value = map.next_value_seed(Node {
                path: path.clone(),
                reading: &mut *self.reading,
            })?;
            if nth == 0 {
                values.insert(Value::String(key.clone()), value);
            } else {
                self.reading.repeated.push(path);
            }
            occurrences.insert(key, nth + 1);
        }
        Ok(Value::Mapping(values))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        self.reading.tagged.push(self.path.clone());
        let (_, content) = tagged.variant::<String>()?;
        content.newtype_variant_seed(self)
    }
}

/// A key as text; numbers and truth values are written out, so that `0: off` has the key `0`.
pub(super) struct KeyText;

impl<'de> DeserializeSeed<'de> for KeyText {
    type Value = String;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for KeyText {
    type Value = String;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the name of a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok("null".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_given_twice_are_noted_and_the_first_counts() {
        let document = parse("a: 1\nb: {c: 1, c: 2, c: 3}\na: 2\n", Place::default()).unwrap();
        let paths: Vec<_> = document.repeated.iter().map(ToString::to_string).collect();
        assert_eq!(paths, ["b.c", "b.c", "a"]);
        assert_eq!(document.root["a"], Value::from(1));
        assert_eq!(document.root["b"]["c"], Value::from(1));
    }

    #[test]
    fn a_tag_is_noted() {
        let document = parse("a: !thing 1\n", Place::default()).unwrap();
        assert_eq!(document.tagged.len(), 1);
        assert_eq!(document.tagged[0].to_string(), "a");
    }

    #[test]
    fn an_empty_file_is_an_empty_document() {
        for text in ["", "# nothing\n", "---\n"] {
            assert_eq!(
                parse(text, Place::default()).unwrap().root,
                Value::Null,
                "{text:?}"
            );
        }
    }

    #[test]
    fn bombs_do_not_go_off() {
        let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
        for (name, earlier) in [
            ('b', 'a'),
            ('c', 'b'),
            ('d', 'c'),
            ('e', 'd'),
            ('f', 'e'),
            ('g', 'f'),
        ] {
            let list = vec![format!("*{earlier}"); 10].join(", ");
            text.push_str(&format!("{name}: &{name} [{list}]\n"));
        }
        assert!(parse(&text, Place::default()).is_err());
        assert!(parse(&"[".repeat(20_000), Place::default()).is_err());
        assert!(parse("a: 1\n---\nb: 2\n", Place::default()).is_err());
    }
}
