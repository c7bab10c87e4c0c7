//! What the raw integer of a tag stands for: a number, one of a few names, or bits with a name each. No I/O.
//!
//! Invariant: a number that has no name is never given one, nor passed on as a number where names are expected.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Unfit, Value};

/// What the raw integer of a tag stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Meaning {
    /// Itself, after scaling.
    #[default]
    Number,
    /// The name that it has here; false is 0, true is 1.
    Names(BTreeMap<i128, String>),
    /// The bits that have a name here, by their number; 0 is the lowest.
    Bits(BTreeMap<u8, Arc<str>>),
}

impl Meaning {
    /// What `raw` stands for; `None`: a number.
    pub(super) fn of(&self, raw: i128) -> Option<Result<Value, Unfit>> {
        match self {
            Self::Number => None,
            Self::Names(names) => {
                let name = names.get(&raw).cloned().map(Value::Text);
                Some(name.ok_or(Unfit::NotInEnum))
            }
            Self::Bits(names) => {
                let bit = |(bit, name): (&u8, &Arc<str>)| {
                    let shifted = raw.checked_shr(u32::from(*bit)).unwrap_or_default();
                    (Arc::clone(name), shifted & 1 == 1)
                };
                Some(Ok(Value::Bits(names.iter().map(bit).collect())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_name_is_no_value() {
        let names = [(0, "off".to_owned()), (-1, "fault".to_owned())];
        let meaning = Meaning::Names(BTreeMap::from(names));
        let text = |text: &str| Some(Ok(Value::Text(text.to_owned())));
        assert_eq!(meaning.of(0), text("off"));
        assert_eq!(meaning.of(-1), text("fault"));
        assert_eq!(meaning.of(1), Some(Err(Unfit::NotInEnum)));
        assert_eq!(Meaning::Number.of(1), None);
    }

    #[test]
    fn every_named_bit_is_told_and_no_other() {
        let names = [(0, "a"), (7, "b"), (63, "sign")].map(|(bit, name)| (bit, name.into()));
        let meaning = Meaning::Bits(BTreeMap::from(names));
        let told = |raw| match meaning.of(raw) {
            Some(Ok(Value::Bits(bits))) => bits.iter().map(|(_, set)| *set).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(0), [false, false, false]);
        assert_eq!(told(0b1000_0010), [false, true, false]);
        assert_eq!(told(i64::MIN.into()), [false, false, true]);
        assert_eq!(told(-1), [true, true, true]);
    }
}
