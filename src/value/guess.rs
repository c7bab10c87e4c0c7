//! What registers could mean where nobody says: every type and byte order, the most plausible first. No I/O.
//!
//! A guess has points, 0 to 100: many where few registers chosen at random would look so.
//!
//! | what | points |
//! |---|---|
//! | 64 bit float from 0.001 to a million | 85 |
//! | 32 bit float from 0.001 to a million | 75; 10 more with five digits or less, 5 less where negative |
//! | text of eight printable characters and more; six; four; less | 90; 70; 55; 10 |
//! | 32 or 64 bits that are a number below a million; a counter | 65; 64 bits 70, 32 bits 40 |
//! | one register as it is; as a number from -2000 to -1 | 50, from 32768 on 35; 52 |
//! | BCD of five digits and more; of two to four | 45; 30 |
//! | anything else | 5 to 25 |
//!
//! Zero says little. `CDAB` costs 3, `DCBA` 6, `BADC` 8, bytes swapped in a number of one register 30; a register that is not the
//! first one point each; a signed type that says the same as the unsigned one point.

use std::cmp::Reverse;

use super::{ByteOrder, Interpretation, TagType, Value};

const ORDERS: [ByteOrder; 4] = [
    ByteOrder::ABCD,
    ByteOrder::CDAB,
    ByteOrder::DCBA,
    ByteOrder::BADC,
];
const NUMBERS: [TagType; 11] = [
    TagType::Float32,
    TagType::Uint16,
    TagType::Int16,
    TagType::Uint32,
    TagType::Int32,
    TagType::Float64,
    TagType::Uint64,
    TagType::Int64,
    TagType::Bcd16,
    TagType::Bcd32,
    TagType::Bool,
];
/// What meters and sensors measure lies within.
const MEASURED: std::ops::Range<f64> = 0.001..1e6;
/// What might be in units that are very small or very large.
const CONCEIVABLE: std::ops::Range<f64> = 1e-6..1e9;
const SMALL: i128 = 1_000_000;
const COUNTERS_32: i128 = 100_000_000;
const COUNTERS_64: i128 = 10_000_000_000_000;

/// One of the things that registers could mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// As what they are read.
    pub kind: TagType,
    /// In which order.
    pub byte_order: ByteOrder,
    /// Registers before the first of its own.
    pub offset: u16,
    /// What they mean then.
    pub value: Value,
    /// How plausible that is, 0 to 100.
    pub points: u8,
}

/// All that `words` could mean, from each of them on, the most plausible first; as text all of them together. What would be no
/// value (NaN, digits that are none) is left out.
#[must_use]
pub fn guesses(words: &[u16]) -> Vec<Guess> {
    let mut guesses = Vec::new();
    for (offset, _) in words.iter().enumerate() {
        for kind in NUMBERS {
            let end = offset + usize::from(kind.registers());
            let Some(own) = words.get(offset..end) else {
                continue;
            };
            for order in orders(kind) {
                guesses.extend(guess(kind, order, offset, own));
            }
        }
    }
    let text = TagType::Text(u16::try_from(words.len()).unwrap_or(u16::MAX));
    for order in orders(text) {
        guesses.extend(guess(text, order, 0, words));
    }
    guesses.sort_by_key(|guess| (Reverse(guess.points), guess.offset));
    guesses
}

/// The orders in which registers of `kind` differ.
fn orders(kind: TagType) -> impl Iterator<Item = ByteOrder> {
    let has_words = matches!(kind.registers(), 2 | 4) && !matches!(kind, TagType::Text(_));
    let has_bytes = kind != TagType::Bool;
    ORDERS.into_iter().filter(move |order| match order {
        ByteOrder::ABCD => true,
        ByteOrder::BADC => has_bytes,
        ByteOrder::CDAB | ByteOrder::DCBA => has_words,
    })
}

fn guess(kind: TagType, byte_order: ByteOrder, offset: usize, words: &[u16]) -> Option<Guess> {
    let value = Interpretation::new(kind, byte_order, 1.0, None)
        .value(words)
        .ok()?;
    let points = points(kind, &value)?;
    let order_costs = match byte_order {
        ByteOrder::ABCD => 0,
        ByteOrder::BADC if kind.registers() == 1 => 30,
        ByteOrder::CDAB => 3,
        ByteOrder::DCBA => 6,
        ByteOrder::BADC => 8,
    };
    let offset = u16::try_from(offset).ok()?;
    let offset_costs = u8::try_from(offset).unwrap_or(u8::MAX);
    Some(Guess {
        kind,
        byte_order,
        offset,
        value,
        points: points
            .saturating_sub(order_costs)
            .saturating_sub(offset_costs),
    })
}

/// Of a value in the standard's order; `None`: it is no value.
fn points(kind: TagType, value: &Value) -> Option<u8> {
    Some(match value {
        Value::Bool(_) => 10,
        Value::Float32(number) => float32(*number),
        Value::Float64(number) => magnitude(number.abs(), 85),
        Value::Integer(number) => integer(kind, *number),
        Value::Text(text) => return characters(text),
        Value::Bits(_) => return None,
    })
}

fn float32(number: f32) -> u8 {
    let points = magnitude(f64::from(number.abs()), 75);
    // `2.302e2`: 2302 are four digits, as many as a person set or a meter resolves.
    let shortest = format!("{number:e}");
    let digits = shortest.split('e').next().map_or(0, |mantissa| {
        mantissa.matches(|c: char| c.is_ascii_digit()).count()
    });
    match points {
        75 if digits <= 5 && number > 0.0 => 85,
        75 if digits <= 5 => 80,
        75 if number < 0.0 => 70,
        points => points,
    }
}

fn magnitude(number: f64, measured: u8) -> u8 {
    if MEASURED.contains(&number) {
        measured
    } else if number == 0.0 {
        20
    } else if CONCEIVABLE.contains(&number) {
        25
    } else {
        5
    }
}

fn integer(kind: TagType, number: i128) -> u8 {
    let size = number.abs();
    match (kind, number) {
        (TagType::Bcd16, 10..) => 30,
        (TagType::Bcd32, 10_000..) => 45,
        (TagType::Bcd16 | TagType::Bcd32, _) => 8,
        (_, 0) => 15,
        (TagType::Uint16, 1..0x8000) => 50,
        (TagType::Uint16, _) => 35,
        (TagType::Int16, 1..) => 49,
        (TagType::Int16, -2000..=-1) => 52,
        (TagType::Int16, _) => 25,
        (TagType::Uint32 | TagType::Uint64, _) if size < SMALL => 65,
        (_, _) if size < SMALL => 64,
        (TagType::Uint64, _) if size < COUNTERS_64 => 70,
        (TagType::Int64, _) if size < COUNTERS_64 => 69,
        (TagType::Uint32, _) if size < COUNTERS_32 => 40,
        (TagType::Int32, _) if size < COUNTERS_32 => 39,
        _ => 5,
    }
}

/// `None` where one of them cannot be printed, or there is none.
fn characters(text: &str) -> Option<u8> {
    let printable = |character: char| character == ' ' || character.is_ascii_graphic();
    let mostly_words =
        text.matches(|c: char| c.is_ascii_alphanumeric()).count() * 4 >= text.len() * 3;
    if text.is_empty() || !text.chars().all(printable) {
        return None;
    }
    Some(match text.len() {
        8.. if mostly_words => 90,
        6.. if mostly_words => 70,
        4.. if mostly_words => 55,
        _ => 10,
    })
}

#[cfg(test)]
mod tests {
    use super::ByteOrder::{ABCD, BADC, CDAB, DCBA};
    use super::*;
    use crate::value::write_plain_value;

    /// The best guess, as `float32 ABCD @0 230.2`.
    fn best(words: &[u16]) -> String {
        told(&guesses(words)[0])
    }

    fn told(guess: &Guess) -> String {
        let mut value = String::new();
        write_plain_value(&mut value, &guess.value);
        let Guess {
            kind,
            byte_order,
            offset,
            ..
        } = guess;
        format!("{kind:?} {byte_order:?} @{offset} {value}")
    }

    #[test]
    fn what_devices_say_is_guessed_first() {
        for (words, expected) in [
            // 230.2 V in each order
            (&[0x4366, 0x3333][..], "Float32 ABCD @0 230.2"),
            (&[0x3333, 0x4366], "Float32 CDAB @0 230.2"),
            (&[0x6643, 0x3333], "Float32 BADC @0 230.2"),
            (&[0x3333, 0x6643], "Float32 DCBA @0 230.2"),
            // beside others of its kind
            (&[0x4366, 0x3333, 0x4248, 0x0000], "Float32 ABCD @0 230.2"),
            // a meter with the low register first: 230.5 V in tenths
            (&[0x0901, 0x0000], "Uint32 CDAB @0 2305"),
            (&[0xFF9C], "Int16 ABCD @0 -100"),
            (&[0x00EB], "Uint16 ABCD @0 235"),
            // an energy in Wh
            (
                &[0x0000, 0x001C, 0xBE99, 0x1A14],
                "Uint64 ABCD @0 123456789012",
            ),
            // 230.2 with all the digits there are
            (&[0x406C, 0xC666, 0x6666, 0x6666], "Float64 ABCD @0 230.2"),
            (
                &[0x4672, 0x6F6E, 0x6975, 0x7321],
                "Text(4) ABCD @0 Fronius!",
            ),
        ] {
            assert_eq!(best(words), expected, "{words:04X?}");
        }
    }

    #[test]
    fn every_type_and_order_is_there_once_and_no_value_is_left_out() {
        let all = guesses(&[0x1234, 0x5678]);
        for (kind, orders) in [
            (TagType::Float32, &[ABCD, BADC, CDAB, DCBA][..]),
            (TagType::Int32, &[ABCD, BADC, CDAB, DCBA]),
            (TagType::Uint32, &[ABCD, BADC, CDAB, DCBA]),
            (TagType::Bcd32, &[ABCD, BADC, CDAB, DCBA]),
        ] {
            let mut found: Vec<_> = all.iter().filter(|guess| guess.kind == kind).collect();
            found.sort_by_key(|guess| format!("{:?}", guess.byte_order));
            let found: Vec<_> = found.iter().map(|guess| guess.byte_order).collect();
            assert_eq!(found, orders, "{kind:?}");
        }
        let uint16: Vec<_> = all
            .iter()
            .filter(|guess| guess.kind == TagType::Uint16)
            .map(told)
            .collect();
        assert_eq!(
            uint16,
            [
                "Uint16 ABCD @0 4660",
                "Uint16 ABCD @1 22136",
                "Uint16 BADC @0 13330",
                "Uint16 BADC @1 30806"
            ]
        );
        // Four registers are too many for these two.
        assert!(all.iter().all(|guess| guess.kind.registers() <= 2));
    }

    #[test]
    fn what_is_no_value_is_no_guess() {
        let all = guesses(&[0x7FC0, 0x0000]);
        let has = |kind, order| {
            all.iter()
                .any(|guess| guess.kind == kind && guess.byte_order == order)
        };
        assert!(!has(TagType::Float32, ABCD), "not a number");
        assert!(has(TagType::Float32, CDAB));
        assert!(!has(TagType::Bcd32, ABCD), "a digit of 15");
        assert_eq!(guesses(&[]), []);
    }

    #[test]
    fn the_most_plausible_come_first() {
        for words in [[0, 0], [0xFFFF, 0xFFFF], [0x8000, 0], [0x4366, 0x3333]] {
            let all = guesses(&words);
            assert!(
                all.iter()
                    .map(|guess| guess.points)
                    .is_sorted_by(|one, next| one >= next)
            );
        }
    }
}
