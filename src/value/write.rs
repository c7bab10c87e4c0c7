//! Values to registers: what a command asks for, as the device has it. No I/O.
//!
//! Invariant: registers are made only where they read as the value that was asked for. What the device cannot hold is
//! refused, never clipped, and what lies between two of its steps is not rounded to one.

use super::decimal::Decimal;
use super::registers::Interpretation;
use super::{ByteOrder, Meaning, TagType, Value};

/// So much of a step may be the noise of floats, such as that of 0.1 + 0.2.
const STEP_NOISE: f64 = 1e-6;
/// Integers beyond have no float of their own.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// What somebody wants a tag to be, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number.
    Number(f64),
    /// A name, a text, or anything else that was written out.
    Text(String),
}

/// Why a value cannot be written. The text is the error in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// It is of another kind than the tag, or between two steps of the register.
    #[error("bad_value")]
    BadValue,
    /// The registers do not reach so far.
    #[error("out_of_range")]
    OutOfRange,
}

impl Interpretation {
    /// The registers that read as `wanted`, in the order of their addresses.
    ///
    /// # Errors
    /// Says why there are none.
    pub fn words(&self, wanted: &Wanted) -> Result<Vec<u16>, Unwritable> {
        let raw = self.raw(wanted)?;
        if self.invalid.contains(&raw) {
            return Err(Unwritable::BadValue);
        }
        match (self.kind, raw) {
            (TagType::Text(registers), Value::Text(text)) => {
                text_words(&text, registers, self.byte_order)
            }
            (TagType::Float32, Value::Float32(number)) => {
                Ok(self.split(u64::from(number.to_bits()), 2))
            }
            (TagType::Float64, Value::Float64(number)) => Ok(self.split(number.to_bits(), 4)),
            (kind, Value::Integer(integer)) => {
                let registers = kind.registers();
                let bits = match kind {
                    TagType::Bcd16 | TagType::Bcd32 => bcd(integer),
                    _ => integer,
                };
                // Two's complement: the low half of any integer that fits.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                Ok(self.split(bits as u64, registers))
            }
            _ => Err(Unwritable::BadValue),
        }
    }

    /// The coil that reads as `wanted`.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn coil(&self, wanted: &Wanted) -> Result<bool, Unwritable> {
        Ok(self.raw(wanted)? == Value::Integer(1))
    }

    /// The value that `wanted` is, before scaling and as the type has it. Of bools 0 or 1.
    fn raw(&self, wanted: &Wanted) -> Result<Value, Unwritable> {
        match (&self.meaning, self.kind) {
            (Meaning::Names(names), _) => named(names, wanted).map(Value::Integer),
            // Of a register with named bits, single bits are written.
            (Meaning::Bits(_), _) => Err(Unwritable::BadValue),
            (Meaning::Number, TagType::Bool) => {
                flag(wanted).map(|flag| Value::Integer(flag.into()))
            }
            (Meaning::Number, TagType::Text(_)) => Ok(Value::Text(text(wanted))),
            (Meaning::Number, TagType::Float32) => {
                let number = self.unscaled(wanted)?;
                #[allow(clippy::cast_possible_truncation, reason = "checked below")]
                let narrow = number as f32;
                if narrow.is_finite() {
                    Ok(Value::Float32(narrow))
                } else {
                    Err(Unwritable::OutOfRange)
                }
            }
            (Meaning::Number, TagType::Float64) => self.unscaled(wanted).map(Value::Float64),
            (Meaning::Number, kind) => {
                let integer = self.step(wanted)?;
                let (least, most) = kind.integers().ok_or(Unwritable::BadValue)?;
                if (least..=most).contains(&integer) {
                    Ok(Value::Integer(integer))
                } else {
                    Err(Unwritable::OutOfRange)
                }
            }
        }
    }

    /// The number over the scale.
    fn unscaled(&self, wanted: &Wanted) -> Result<f64, Unwritable> {
        let number = wanted.number().ok_or(Unwritable::BadValue)?;
        let raw = self
            .scale
            .as_ref()
            .map_or(number, |scale| number / scale.factor);
        if raw.is_finite() {
            Ok(raw)
        } else {
            Err(Unwritable::OutOfRange)
        }
    }

    /// The whole number of steps that `wanted` is.
    fn step(&self, wanted: &Wanted) -> Result<i128, Unwritable> {
        if self.scale.is_none()
            && let Some(integer) = wanted.integer()
        {
            return Ok(integer);
        }
        let steps = self.unscaled(wanted)?;
        let nearest = steps.round();
        if nearest.abs() > EXACT_INTEGER_MAX {
            return Err(Unwritable::OutOfRange);
        }
        if (steps - nearest).abs() > STEP_NOISE {
            return Err(Unwritable::BadValue);
        }
        #[allow(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        Ok(nearest as i128)
    }

    /// The inverse of joining: right-aligned bits to so many registers.
    fn split(&self, bits: u64, registers: u16) -> Vec<u16> {
        let word = |place: u16| {
            #[allow(clippy::cast_possible_truncation, reason = "16 bits of them")]
            let word = (bits >> (16 * place)) as u16;
            if self.byte_order.swaps_bytes() {
                word.swap_bytes()
            } else {
                word
            }
        };
        if self.byte_order.swaps_words() {
            (0..registers).map(word).collect()
        } else {
            (0..registers).rev().map(word).collect()
        }
    }
}

impl Wanted {
    /// The number that it is, also where it is written out as text: so are integers that JSON readers cannot hold.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Bool(_) => None,
            #[allow(clippy::cast_precision_loss, reason = "as a float it is asked for")]
            Self::Integer(integer) => Some(*integer as f64),
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
        }
        .filter(|number: &f64| number.is_finite())
    }

    fn integer(&self) -> Option<i128> {
        match self {
            Self::Bool(_) => None,
            Self::Integer(integer) => Some(*integer),
            Self::Number(number) => Decimal::from_f64(*number)?.to_integer(),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }
}

impl TagType {
    /// The least and the largest integer of an integer type; of a bool 0 and 1.
    #[must_use]
    pub fn integers(self) -> Option<(i128, i128)> {
        Some(match self {
            Self::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Self::Uint16 => (0, u16::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Uint32 => (0, u32::MAX.into()),
            Self::Int64 => (i64::MIN.into(), i64::MAX.into()),
            Self::Uint64 => (0, u64::MAX.into()),
            Self::Bcd16 => (0, 9_999),
            Self::Bcd32 => (0, 99_999_999),
            Self::Bool => (0, 1),
            Self::Float32 | Self::Float64 | Self::Text(_) => return None,
        })
    }
}

/// The number with this name; one of the numbers itself will do.
fn named(
    names: &std::collections::BTreeMap<i128, String>,
    wanted: &Wanted,
) -> Result<i128, Unwritable> {
    let by_number = |number: i128| names.contains_key(&number).then_some(number);
    let found = match wanted {
        Wanted::Text(text) => {
            let mut entries = names.iter();
            let named = entries.find(|(_, name)| *name == text);
            named.map(|(number, _)| *number).or_else(|| {
                let number = wanted.integer()?;
                by_number(number)
            })
        }
        Wanted::Bool(flag) => by_number((*flag).into()),
        Wanted::Integer(_) | Wanted::Number(_) => wanted.integer().and_then(by_number),
    };
    found.ok_or(Unwritable::BadValue)
}

fn flag(wanted: &Wanted) -> Result<bool, Unwritable> {
    let found = match wanted {
        Wanted::Bool(flag) => Some(*flag),
        Wanted::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => Some(true),
            "false" | "off" | "0" => Some(false),
            _ => None,
        },
        Wanted::Integer(_) | Wanted::Number(_) => match wanted.integer() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
    };
    found.ok_or(Unwritable::BadValue)
}

/// Text as it was written; a scalar that happened to look like a number is text all the same.
fn text(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Bool(flag) => flag.to_string(),
        Wanted::Integer(integer) => integer.to_string(),
        Wanted::Number(number) => number.to_string(),
        Wanted::Text(text) => text.clone(),
    }
}

/// Two bytes a register, filled up with NULs.
fn text_words(text: &str, registers: u16, order: ByteOrder) -> Result<Vec<u16>, Unwritable> {
    let mut bytes = text.as_bytes().to_vec();
    let room = usize::from(registers) * 2;
    if bytes.len() > room {
        return Err(Unwritable::OutOfRange);
    }
    // Registers read without them, so such a text would read back as another.
    if text.ends_with([' ', '\0']) {
        return Err(Unwritable::BadValue);
    }
    bytes.resize(room, 0);
    let word = |pair: &[u8]| match pair {
        [first, second] if order.swaps_bytes() => u16::from_le_bytes([*first, *second]),
        [first, second] => u16::from_be_bytes([*first, *second]),
        _ => 0,
    };
    Ok(bytes.chunks(2).map(word).collect())
}

/// Four bits a digit, of a number that is in range.
fn bcd(integer: i128) -> i128 {
    let digit = |place: u32| (integer / 10_i128.pow(place)) % 10;
    (0..8).fold(0, |bits, place| bits | (digit(place) << (4 * place)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use ByteOrder::{ABCD, BADC, CDAB, DCBA};

    const ORDERS: [ByteOrder; 4] = [ABCD, CDAB, BADC, DCBA];
    const KINDS: [TagType; 8] = [
        TagType::Int16,
        TagType::Uint16,
        TagType::Int32,
        TagType::Uint32,
        TagType::Int64,
        TagType::Uint64,
        TagType::Bcd16,
        TagType::Bcd32,
    ];

    fn plain(kind: TagType) -> Interpretation {
        Interpretation::new(kind, ABCD, 1.0, None)
    }

    #[test]
    fn scaled_values_are_written_as_steps_and_nothing_between_them_is() {
        let setpoint = Interpretation::new(TagType::Int16, ABCD, 0.1, Some(1));
        for (wanted, words) in [
            (Wanted::Number(7.5), Ok(vec![75])),
            (Wanted::Number(0.1 + 0.2), Ok(vec![3])),
            (Wanted::Integer(-1), Ok(vec![0xFFF6])),
            (Wanted::Text("7.5".to_owned()), Ok(vec![75])),
            (Wanted::Number(7.55), Err(Unwritable::BadValue)),
            (Wanted::Number(3276.8), Err(Unwritable::OutOfRange)),
            (Wanted::Number(1e300), Err(Unwritable::OutOfRange)),
            (Wanted::Number(f64::NAN), Err(Unwritable::BadValue)),
            (Wanted::Bool(true), Err(Unwritable::BadValue)),
            (Wanted::Text("warm".to_owned()), Err(Unwritable::BadValue)),
        ] {
            assert_eq!(setpoint.words(&wanted), words, "{wanted:?}");
        }
    }

    #[test]
    fn what_the_registers_cannot_hold_is_refused_and_never_clipped() {
        for kind in KINDS {
            let (least, most) = kind.integers().unwrap();
            for (integer, fits) in [
                (least, true),
                (most, true),
                (least - 1, false),
                (most + 1, false),
            ] {
                let words = plain(kind).words(&Wanted::Integer(integer));
                let expected = if fits {
                    Ok(Value::Integer(integer))
                } else {
                    Err(Unwritable::OutOfRange)
                };
                let read = words.map(|words| plain(kind).value(&words).unwrap());
                assert_eq!(read, expected, "{kind:?} {integer}");
            }
        }
        let beyond = Wanted::Number(1e39);
        assert_eq!(
            plain(TagType::Float32).words(&beyond),
            Err(Unwritable::OutOfRange)
        );
        let long = Wanted::Text("12345".to_owned());
        assert_eq!(
            plain(TagType::Text(2)).words(&long),
            Err(Unwritable::OutOfRange)
        );
        let blank = Wanted::Text("1 ".to_owned());
        assert_eq!(
            plain(TagType::Text(2)).words(&blank),
            Err(Unwritable::BadValue)
        );
    }

    #[test]
    fn integers_that_no_float_holds_are_written_exactly() {
        let text = Wanted::Text(u64::MAX.to_string());
        assert_eq!(plain(TagType::Uint64).words(&text), Ok(vec![0xFFFF; 4]));
        let odd = Wanted::Integer((1 << 53) + 1);
        assert_eq!(plain(TagType::Int64).words(&odd), Ok(vec![0x20, 0, 0, 1]));
    }

    #[test]
    fn names_are_written_as_their_number_and_nothing_else_is() {
        let names =
            [(0, "off"), (1, "cool"), (2, "1")].map(|(number, name)| (number, name.to_owned()));
        let mode = plain(TagType::Uint16).meaning(Meaning::Names(BTreeMap::from(names)));
        let text = |text: &str| Wanted::Text(text.to_owned());
        assert_eq!(mode.words(&text("cool")), Ok(vec![1]));
        assert_eq!(
            mode.words(&text("1")),
            Ok(vec![2]),
            "the name, not the number"
        );
        assert_eq!(mode.words(&Wanted::Integer(1)), Ok(vec![1]));
        assert_eq!(mode.words(&text("heat")), Err(Unwritable::BadValue));
        assert_eq!(mode.words(&Wanted::Integer(7)), Err(Unwritable::BadValue));
    }

    #[test]
    fn yes_and_no_have_several_words() {
        let run = plain(TagType::Bool);
        for yes in [
            Wanted::Bool(true),
            Wanted::Integer(1),
            Wanted::Text("ON".to_owned()),
        ] {
            assert_eq!(run.coil(&yes), Ok(true));
            assert_eq!(run.words(&yes), Ok(vec![1]));
        }
        assert_eq!(run.coil(&Wanted::Integer(2)), Err(Unwritable::BadValue));
        assert_eq!(
            run.coil(&Wanted::Text(String::new())),
            Err(Unwritable::BadValue)
        );
    }

    #[test]
    fn a_number_that_means_no_value_is_not_written() {
        let level = plain(TagType::Int16).without(vec![Value::Integer(-1)]);
        assert_eq!(level.words(&Wanted::Integer(-1)), Err(Unwritable::BadValue));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_what_was_wanted(
            kind in proptest::sample::select(&KINDS[..]),
            order in proptest::sample::select(&ORDERS[..]),
            at in any::<u64>(),
        ) {
            let (least, most) = kind.integers().unwrap();
            let integer = least + i128::from(at) % (most - least + 1);
            let tag = Interpretation::new(kind, order, 1.0, None);
            let words = tag.words(&Wanted::Integer(integer)).unwrap();
            prop_assert_eq!(tag.value(&words), Ok(Value::Integer(integer)));
        }

        #[test]
        fn floats_read_as_they_were_written(
            number in any::<f32>().prop_filter("finite", |number| number.is_finite()),
            order in proptest::sample::select(&ORDERS[..]),
        ) {
            let tag = Interpretation::new(TagType::Float32, order, 1.0, None);
            let words = tag.words(&Wanted::Number(f64::from(number))).unwrap();
            prop_assert_eq!(tag.value(&words), Ok(Value::Float32(number)));
        }

        #[test]
        fn text_reads_as_it_was_written(
            text in "[a-zA-Z0-9äß ]{0,7}[a-z0-9]",
            order in proptest::sample::select(&ORDERS[..]),
        ) {
            let tag = Interpretation::new(TagType::Text(8), order, 1.0, None);
            let words = tag.words(&Wanted::Text(text.clone())).unwrap();
            prop_assert_eq!(tag.value(&words), Ok(Value::Text(text)));
        }
    }
}
