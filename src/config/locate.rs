//! Line and column of a path. The parser tells positions only with errors, so the text is read once more and an error
//! raised where the path ends. That costs one parse a fault, and nothing where there is none.

use serde::de::{
    self, DeserializeSeed, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::document::KeyText;
use super::place::{Place, Step};

/// What of a path is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// The key.
    Key,
    /// What the key has.
    Value,
}

/// Line and column, both from 1, of `path`, or of the nearest thing above it that the text has.
pub(super) fn position(text: &str, path: &Place, spot: Spot) -> (usize, usize) {
    let mut path = path.clone();
    let mut spot = spot;
    loop {
        if let Some(found) = exactly(text, &path, spot) {
            return found;
        }
        match path.parent() {
            Some(parent) => path = parent,
            None => return (1, 1),
        }
        spot = if path.has_key() {
            Spot::Key
        } else {
            Spot::Value
        };
    }
}

fn exactly(text: &str, path: &Place, spot: Spot) -> Option<(usize, usize)> {
    let mut arrived = false;
    let walk = Walk {
        steps: path.steps(),
        spot,
        arrived: &mut arrived,
    };
    let error = walk
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    let location = error.location().filter(|_| arrived)?;
    Some((location.line(), location.column()))
}

struct Walk<'a> {
    steps: &'a [Step],
    spot: Spot,
    arrived: &'a mut bool,
}

impl Walk<'_> {
    fn arrive<T, E: de::Error>(self) -> Result<T, E> {
        *self.arrived = true;
        Err(E::custom("here"))
    }

    /// For what has nothing below it: either this is the place, or there is none.
    fn end<E: de::Error>(self) -> Result<(), E> {
        if self.steps.is_empty() {
            return self.arrive();
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.end()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.end()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.end()
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<(), E> {
        self.end()
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<(), E> {
        self.end()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.end()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.end()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.end()
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.end()
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            return self.arrive();
        };
        let mut index = 0;
        loop {
            let found = if *step == Step::Index(index) {
                let walk = Walk {
                    steps: rest,
                    spot: self.spot,
                    arrived: &mut *self.arrived,
                };
                list.next_element_seed(walk)?.is_some()
            } else {
                list.next_element::<IgnoredAny>()?.is_some()
            };
            if !found {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.steps.split_first() else {
            return self.arrive();
        };
        let (wanted, mut before) = match step {
            Step::Key(name, nth) => (Some(name), *nth),
            Step::Index(_) => (None, 0),
        };
        let key_is_meant = rest.is_empty() && self.spot == Spot::Key;
        loop {
            let key = Key {
                wanted: wanted.map(|name| &**name),
                stop: key_is_meant && before == 0,
                arrived: &mut *self.arrived,
            };
            let Some(matches) = map.next_key_seed(key)? else {
                return Ok(());
            };
            if matches && before == 0 {
                map.next_value_seed(Walk {
                    steps: rest,
                    spot: self.spot,
                    arrived: &mut *self.arrived,
                })?;
            } else {
                before -= usize::from(matches);
                map.next_value::<IgnoredAny>()?;
            }
        }
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (_, content) = tagged.variant::<IgnoredAny>()?;
        content.newtype_variant_seed(self)
    }
}

/// A key; says whether it is the wanted one, and raises the error where it is itself the place.
struct Key<'a> {
    wanted: Option<&'a str>,
    stop: bool,
    arrived: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Key<'_> {
    fn compare<E: de::Error>(self, text: Result<String, E>) -> Result<bool, E> {
        let matches = self.wanted == Some(text?.as_str());
        if matches && self.stop {
            *self.arrived = true;
            return Err(E::custom("here"));
        }
        Ok(matches)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the name of a key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<bool, E> {
        self.compare(KeyText.visit_str(text))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<bool, E> {
        self.compare(KeyText.visit_bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<bool, E> {
        self.compare(KeyText.visit_i64(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<bool, E> {
        self.compare(KeyText.visit_u64(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<bool, E> {
        self.compare(KeyText.visit_f64(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<bool, E> {
        self.compare(KeyText.visit_unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
a: 1
list:
  - name: x   # ä
    on: {ö: [1, 2], key: v}
  -
    name: y
    name: z
    0: zero
";

    fn at(path: &Place, spot: Spot) -> (usize, usize) {
        position(TEXT, path, spot)
    }

    #[test]
    fn keys_and_values_are_found_exactly() {
        let root = Place::default();
        let second = root.key("list").index(1);
        assert_eq!(at(&root.key("a"), Spot::Key), (1, 1));
        assert_eq!(at(&root.key("a"), Spot::Value), (1, 4));
        assert_eq!(
            at(&root.key("list").index(0).key("on").key("key"), Spot::Value),
            (4, 26)
        );
        assert_eq!(
            at(
                &root.key("list").index(0).key("on").key("ö").index(1),
                Spot::Value
            ),
            (4, 17)
        );
        assert_eq!(at(&second, Spot::Value), (6, 5));
        assert_eq!(at(&second.repeated_key("name", 1), Spot::Key), (7, 5));
        assert_eq!(at(&second.repeated_key("name", 1), Spot::Value), (7, 11));
        assert_eq!(at(&second.key("0"), Spot::Key), (8, 5));
    }

    #[test]
    fn what_the_text_lacks_is_at_the_nearest_thing_above() {
        let root = Place::default();
        assert_eq!(at(&root.key("list").key("x"), Spot::Key), (2, 1));
        assert_eq!(at(&root.key("list").index(7), Spot::Value), (2, 1));
        assert_eq!(at(&root.key("no").key("such"), Spot::Key), (1, 1));
        assert_eq!(position("", &root, Spot::Value), (1, 1));
    }
}
