//! Registers to values. No I/O.

use super::decimal::Decimal;
use super::{ByteOrder, Meaning, TagType, Value};

/// Why registers are no value of the tag's type. The text is the reason in payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not as many registers as the type spans: a fault of the caller.
    #[error("wrong_count")]
    WrongCount,
    /// A float that is NaN or infinite: how devices say "no measurement".
    #[error("not_a_number")]
    NotANumber,
    /// Bytes that are no UTF-8.
    #[error("not_text")]
    NotText,
    /// A digit of a BCD number above 9.
    #[error("bad_bcd")]
    BadBcd,
    /// A number that has no name where names are expected.
    #[error("not_in_enum")]
    NotInEnum,
    /// One of the numbers by which the device says that it has no value.
    #[error("invalid")]
    Invalid,
}

/// How the registers of one tag are read: made once from the options, used for every reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Interpretation {
    pub(super) kind: TagType,
    pub(super) byte_order: ByteOrder,
    /// `None`: the raw number itself.
    pub(super) scale: Option<Scale>,
    decimals: Option<u8>,
    /// Raw numbers that are no values.
    pub(super) invalid: Vec<Value>,
    pub(super) meaning: Meaning,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) factor: f64,
    /// As a decimal; `None` where the factor is not finite.
    decimal: Option<Decimal>,
}

impl Interpretation {
    /// `scale` 1 leaves the raw number as it is, an integer staying one; any other makes a 64 bit float. The scale is
    /// taken as the decimal number that it prints as, so 75 at 0.1 is exactly 7.5. `decimals` rounds to at most so many
    /// digits after the point, halves away from zero; 0 makes an integer. Neither touches bits and text.
    #[must_use]
    #[allow(clippy::float_cmp, reason = "1.0 is exactly what options say for none")]
    pub fn new(kind: TagType, byte_order: ByteOrder, scale: f64, decimals: Option<u8>) -> Self {
        Self {
            kind,
            byte_order,
            scale: (scale != 1.0).then(|| Scale {
                factor: scale,
                decimal: Decimal::from_f64(scale),
            }),
            decimals,
            invalid: Vec::new(),
            meaning: Meaning::Number,
        }
    }

    /// These raw numbers, written as the type has them, are no values.
    #[must_use]
    pub fn without(self, invalid: Vec<Value>) -> Self {
        Self { invalid, ..self }
    }

    /// Bits and integers stand for this.
    #[must_use]
    pub fn meaning(self, meaning: Meaning) -> Self {
        Self { meaning, ..self }
    }

    /// How many registers it takes.
    #[must_use]
    pub fn registers(&self) -> u16 {
        self.kind.registers()
    }

    /// The value of `words`, which are the registers in the order of their addresses.
    ///
    /// # Errors
    /// Says why they are none.
    pub fn value(&self, words: &[u16]) -> Result<Value, Unfit> {
        self.value_with_power(words, None)
    }

    /// The same, times so many powers of ten, which makes a 64 bit float.
    ///
    /// # Errors
    /// Says why they are none.
    pub fn value_with_power(&self, words: &[u16], power: Option<i8>) -> Result<Value, Unfit> {
        if words.len() != usize::from(self.registers()) {
            return Err(Unfit::WrongCount);
        }
        let raw = match self.kind {
            TagType::Text(_) => return text(words, self.byte_order).map(Value::Text),
            TagType::Bool => return self.bit(words.iter().any(|word| *word != 0)),
            TagType::Float32 => Value::Float32(f32::from_bits(self.low_half(words))),
            TagType::Float64 => Value::Float64(f64::from_bits(self.bits(words))),
            TagType::Uint16 | TagType::Uint32 | TagType::Uint64 => {
                Value::Integer(i128::from(self.bits(words)))
            }
            TagType::Int16 => {
                let bytes = self.low_half(words).to_be_bytes();
                Value::Integer(i128::from(i16::from_be_bytes([bytes[2], bytes[3]])))
            }
            TagType::Int32 => Value::Integer(i128::from(self.low_half(words).cast_signed())),
            TagType::Int64 => Value::Integer(i128::from(self.bits(words).cast_signed())),
            TagType::Bcd16 | TagType::Bcd32 => Value::Integer(bcd(self.low_half(words))?),
        };
        if self.invalid.contains(&raw) {
            return Err(Unfit::Invalid);
        }
        let stands_for = match raw {
            Value::Integer(integer) => self.meaning.of(integer),
            _ => None,
        };
        stands_for.unwrap_or_else(|| self.scaled(raw, power.map(i32::from)))
    }

    /// The value of a coil or a discrete input.
    ///
    /// # Errors
    /// Where it should have a name and has none.
    pub fn bit(&self, bit: bool) -> Result<Value, Unfit> {
        let stands_for = self.meaning.of(i128::from(bit));
        stands_for.unwrap_or(Ok(Value::Bool(bit)))
    }

    /// The bits in the standard's order, right-aligned.
    fn bits(&self, words: &[u16]) -> u64 {
        let join = |bits: u64, word: &u16| {
            let word = if self.byte_order.swaps_bytes() {
                word.swap_bytes()
            } else {
                *word
            };
            (bits << 16) | u64::from(word)
        };
        if self.byte_order.swaps_words() {
            words.iter().rev().fold(0, join)
        } else {
            words.iter().fold(0, join)
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "at most two registers were joined"
    )]
    fn low_half(&self, words: &[u16]) -> u32 {
        self.bits(words) as u32
    }

    fn scaled(&self, raw: Value, power: Option<i32>) -> Result<Value, Unfit> {
        let (decimal, number) = match raw {
            Value::Integer(integer) => (
                Some(Decimal::from_integer(integer)),
                #[allow(
                    clippy::cast_precision_loss,
                    reason = "only where the decimal does not fit"
                )]
                {
                    integer as f64
                },
            ),
            Value::Float32(number) if number.is_finite() => {
                (Decimal::from_f32(number), f64::from(number))
            }
            Value::Float64(number) if number.is_finite() => (Decimal::from_f64(number), number),
            _ => return Err(Unfit::NotANumber),
        };
        let as_it_is = self.scale.is_none() && power.is_none();
        if as_it_is && (self.decimals.is_none() || matches!(raw, Value::Integer(_))) {
            return Ok(raw);
        }
        let factor = self.scale.as_ref().map_or(1.0, |scale| scale.factor);
        let factor_decimal = match &self.scale {
            Some(scale) => scale.decimal,
            None => Some(Decimal::ONE),
        };
        let product = decimal
            .zip(factor_decimal)
            .and_then(|(raw, factor)| raw.times(factor))
            .and_then(|product| product.times(Decimal::power_of_ten(power.unwrap_or(0))));
        let Some(product) = product else {
            return finite(number * factor * 10_f64.powi(power.unwrap_or(0)));
        };
        let product = match self.decimals {
            Some(decimals) => product.rounded(decimals),
            None => product,
        };
        match (self.decimals, product.to_integer()) {
            (Some(0), Some(integer)) => Ok(Value::Integer(integer)),
            _ => finite(product.to_f64()),
        }
    }
}

/// The number that the digits of 4 bits each print.
fn bcd(bits: u32) -> Result<i128, Unfit> {
    (0..8).rev().try_fold(0, |number, place| {
        let digit = (bits >> (place * 4)) & 0xF;
        if digit > 9 {
            return Err(Unfit::BadBcd);
        }
        Ok(number * 10 + i128::from(digit))
    })
}

fn finite(number: f64) -> Result<Value, Unfit> {
    if number.is_finite() {
        Ok(Value::Float64(number))
    } else {
        Err(Unfit::NotANumber)
    }
}

fn text(words: &[u16], order: ByteOrder) -> Result<String, Unfit> {
    let mut bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| {
            if order.swaps_bytes() {
                word.to_le_bytes()
            } else {
                word.to_be_bytes()
            }
        })
        .collect();
    let kept = bytes
        .iter()
        .rposition(|byte| *byte != 0 && *byte != b' ')
        .map_or(0, |last| last + 1);
    bytes.truncate(kept);
    String::from_utf8(bytes).map_err(|_| Unfit::NotText)
}

#[cfg(test)]
mod tests {
    use super::super::write_json_value;
    use super::*;
    use ByteOrder::{ABCD, BADC, CDAB, DCBA};

    fn words(hex: &str) -> Vec<u16> {
        hex.split_whitespace()
            .map(|word| u16::from_str_radix(word, 16).unwrap())
            .collect()
    }

    /// What is published for these registers.
    fn printed(kind: TagType, order: ByteOrder, scale: f64, hex: &str) -> String {
        let value = Interpretation::new(kind, order, scale, None)
            .value(&words(hex))
            .unwrap();
        let mut out = String::new();
        write_json_value(&mut out, &value);
        out
    }

    #[test]
    fn the_registers_of_an_eastron_sdm() {
        for (hex, expected) in [
            ("4366 6666", "230.4"),
            ("40A3 D70A", "5.12"),
            ("4493 5000", "1178.5"),
            ("C493 5000", "-1178.5"),
            ("4248 147B", "50.02"),
        ] {
            assert_eq!(printed(TagType::Float32, ABCD, 1.0, hex), expected);
        }
    }

    #[test]
    fn the_registers_of_a_carlo_gavazzi_em340() {
        for (hex, scale, expected) in [
            ("0901 0000", 0.1, "230.5"),
            ("CFC7 FFFF", 0.1, "-1234.5"),
            ("1403 0000", 0.001, "5.123"),
            ("D687 0012", 0.1, "123456.7"),
        ] {
            assert_eq!(printed(TagType::Int32, CDAB, scale, hex), expected);
        }
    }

    #[test]
    fn the_registers_of_a_schneider_iem3000() {
        let energy = "0000 001C BE99 1A14";
        assert_eq!(printed(TagType::Int64, ABCD, 1.0, energy), "123456789012");
        assert_eq!(
            printed(TagType::Int64, ABCD, 0.001, energy),
            "123456789.012"
        );
        // kW as the meter has it, W as the plant wants it
        assert_eq!(
            printed(TagType::Float32, ABCD, 1000.0, "3F93 3333"),
            "1150.0"
        );
    }

    #[test]
    fn the_registers_of_a_sunspec_inverter() {
        assert_eq!(
            printed(TagType::Text(2), ABCD, 1.0, "5375 6E53"),
            "\"SunS\""
        );
        assert_eq!(
            printed(TagType::Text(4), ABCD, 1.0, "4672 6F6E 6975 7300"),
            "\"Fronius\""
        );
        assert_eq!(printed(TagType::Uint32, ABCD, 1.0, "0001 E240"), "123456");
        assert_eq!(printed(TagType::Int16, ABCD, 0.1, "FF9C"), "-10.0");
        let not_implemented = Interpretation::new(TagType::Float32, ABCD, 1.0, None);
        assert_eq!(
            not_implemented.value(&words("7FC0 0000")),
            Err(Unfit::NotANumber)
        );
    }

    #[test]
    fn every_order_of_bytes_finds_the_same_number() {
        for (order, hex) in [
            (ABCD, "0102 0304"),
            (CDAB, "0304 0102"),
            (BADC, "0201 0403"),
            (DCBA, "0403 0201"),
        ] {
            assert_eq!(
                printed(TagType::Uint32, order, 1.0, hex),
                0x0102_0304_u32.to_string()
            );
        }
        for (order, hex) in [
            (ABCD, "0102 0304 0506 0708"),
            (CDAB, "0708 0506 0304 0102"),
            (BADC, "0201 0403 0605 0807"),
            (DCBA, "0807 0605 0403 0201"),
        ] {
            let expected = 0x0102_0304_0506_0708_u64.to_string();
            assert_eq!(printed(TagType::Uint64, order, 1.0, hex), expected);
        }
        for (order, hex) in [
            (ABCD, "0102"),
            (CDAB, "0102"),
            (BADC, "0201"),
            (DCBA, "0201"),
        ] {
            assert_eq!(printed(TagType::Uint16, order, 1.0, hex), "258");
        }
        for (order, hex) in [
            (ABCD, "4142 4320"),
            (CDAB, "4142 4320"),
            (BADC, "4241 2043"),
            (DCBA, "4241 2043"),
        ] {
            assert_eq!(printed(TagType::Text(2), order, 1.0, hex), "\"ABC\"");
        }
        assert_eq!(
            printed(TagType::Float64, DCBA, 1.0, "0000 0000 0000 F03F"),
            "1.0"
        );
    }

    #[test]
    fn integers_keep_every_digit() {
        assert_eq!(
            printed(TagType::Uint64, ABCD, 1.0, "FFFF FFFF FFFF FFFF"),
            u64::MAX.to_string()
        );
        assert_eq!(
            printed(TagType::Int64, ABCD, 1.0, "8000 0000 0000 0000"),
            i64::MIN.to_string()
        );
        assert_eq!(
            printed(TagType::Int32, ABCD, 1.0, "8000 0000"),
            i32::MIN.to_string()
        );
        assert_eq!(printed(TagType::Int16, ABCD, 1.0, "8000"), "-32768");
        assert_eq!(printed(TagType::Uint16, ABCD, 1.0, "8000"), "32768");
        assert_eq!(printed(TagType::Bool, ABCD, 1.0, "0100"), "true");
    }

    #[test]
    fn decimals_round_and_never_pad() {
        let value = |kind, scale, decimals, hex| {
            Interpretation::new(kind, ABCD, scale, Some(decimals))
                .value(&words(hex))
                .unwrap()
        };
        assert_eq!(
            value(TagType::Float32, 1.0, 1, "4248 147B"),
            Value::Float64(50.0)
        );
        assert_eq!(
            value(TagType::Float32, 1.0, 0, "4248 147B"),
            Value::Integer(50)
        );
        assert_eq!(value(TagType::Int16, 0.01, 1, "04D2"), Value::Float64(12.3));
        assert_eq!(value(TagType::Uint16, 1.0, 1, "04D2"), Value::Integer(1234));
        assert_eq!(value(TagType::Uint16, 0.1, 0, "04D7"), Value::Integer(124));
    }

    #[test]
    fn digits_of_four_bits_are_a_number() {
        assert_eq!(printed(TagType::Bcd16, ABCD, 1.0, "1234"), "1234");
        assert_eq!(printed(TagType::Bcd16, BADC, 1.0, "3412"), "1234");
        assert_eq!(printed(TagType::Bcd16, ABCD, 0.1, "0235"), "23.5");
        assert_eq!(printed(TagType::Bcd32, ABCD, 1.0, "9999 9999"), "99999999");
        assert_eq!(printed(TagType::Bcd32, CDAB, 1.0, "5678 0012"), "125678");
        for hex in ["A000", "0A00", "00B0", "000F"] {
            let bcd = Interpretation::new(TagType::Bcd16, ABCD, 1.0, None);
            assert_eq!(bcd.value(&words(hex)), Err(Unfit::BadBcd), "{hex}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_bcd_number_reads_as_its_hexadecimal_digits(bits: u32) {
            let words = [(bits >> 16) as u16, (bits & 0xFFFF) as u16];
            let read = Interpretation::new(TagType::Bcd32, ABCD, 1.0, None).value(&words);
            let expected = format!("{bits:x}").parse().map(Value::Integer);
            proptest::prop_assert_eq!(read.ok(), expected.ok());
        }
    }

    #[test]
    fn a_device_says_that_it_has_no_value_by_a_raw_number() {
        let sensor = |kind, invalid| Interpretation::new(kind, ABCD, 0.1, None).without(invalid);
        let signed = sensor(
            TagType::Int16,
            vec![Value::Integer(-32768), Value::Integer(32767)],
        );
        for hex in ["8000", "7FFF"] {
            assert_eq!(signed.value(&words(hex)), Err(Unfit::Invalid));
        }
        assert_eq!(signed.value(&words("7FFE")), Ok(Value::Float64(3276.6)));
        let float = sensor(TagType::Float32, vec![Value::Float32(-9999.9)]);
        assert_eq!(float.value(&words("C61C 3F9A")), Err(Unfit::Invalid));
        assert_eq!(float.value(&words("7FC0 0000")), Err(Unfit::NotANumber));
        let bcd = sensor(TagType::Bcd16, vec![Value::Integer(9999)]);
        assert_eq!(bcd.value(&words("9999")), Err(Unfit::Invalid));
    }

    #[test]
    fn an_integer_may_stand_for_a_name_and_a_bit_too() {
        let names = [(0, "off"), (1, "cool")].map(|(number, name)| (number, name.to_owned()));
        let names = || Meaning::Names(names.clone().into());
        let mode = Interpretation::new(TagType::Uint16, ABCD, 1.0, None)
            .without(vec![Value::Integer(0xFFFF)])
            .meaning(names());
        assert_eq!(mode.value(&words("0001")), Ok(Value::Text("cool".into())));
        assert_eq!(mode.value(&words("0002")), Err(Unfit::NotInEnum));
        assert_eq!(mode.value(&words("FFFF")), Err(Unfit::Invalid));
        let valve = Interpretation::new(TagType::Bool, ABCD, 1.0, None).meaning(names());
        assert_eq!(valve.bit(true), Ok(Value::Text("cool".into())));
        assert_eq!(valve.value(&words("0000")), Ok(Value::Text("off".into())));
        let alarms = Interpretation::new(TagType::Int16, BADC, 1.0, None)
            .meaning(Meaning::Bits([(15, "fault".into())].into()));
        let fault = Value::Bits(vec![("fault".into(), true)]);
        assert_eq!(alarms.value(&words("0080")), Ok(fault));
    }

    #[test]
    fn a_power_of_ten_moves_the_point_and_nothing_else() {
        let value = |kind, scale, decimals, hex, power| {
            Interpretation::new(kind, ABCD, scale, decimals)
                .value_with_power(&words(hex), Some(power))
                .unwrap()
        };
        let float = Value::Float64;
        assert_eq!(value(TagType::Int16, 1.0, None, "08FD", -1), float(230.1));
        assert_eq!(value(TagType::Int16, 1.0, None, "FC19", -2), float(-9.99));
        assert_eq!(value(TagType::Uint16, 1.0, None, "0005", 0), float(5.0));
        assert_eq!(value(TagType::Uint16, 1.0, None, "0005", 10), float(5e10));
        assert_eq!(value(TagType::Int16, 0.5, None, "0007", -1), float(0.35));
        let rounded = value(TagType::Int16, 1.0, Some(0), "08FD", -1);
        assert_eq!(rounded, Value::Integer(230));
    }

    #[test]
    fn what_is_no_value_is_said() {
        let unfit = |kind, hex| {
            Interpretation::new(kind, ABCD, 1.0, None)
                .value(&words(hex))
                .unwrap_err()
        };
        assert_eq!(unfit(TagType::Uint32, "0001"), Unfit::WrongCount);
        assert_eq!(unfit(TagType::Uint16, "0001 0002"), Unfit::WrongCount);
        assert_eq!(unfit(TagType::Float32, "7F80 0000"), Unfit::NotANumber);
        assert_eq!(
            unfit(TagType::Float64, "FFF0 0000 0000 0000"),
            Unfit::NotANumber
        );
        assert_eq!(unfit(TagType::Text(1), "FF41"), Unfit::NotText);
        let huge = Interpretation::new(TagType::Float64, ABCD, 1e10, None);
        assert_eq!(
            huge.value(&words("7FEF FFFF FFFF FFFF")),
            Err(Unfit::NotANumber)
        );
        let hopeless = Interpretation::new(TagType::Uint16, ABCD, f64::NAN, None);
        assert_eq!(hopeless.value(&words("0001")), Err(Unfit::NotANumber));
        assert_eq!(printed(TagType::Text(2), ABCD, 1.0, "0000 2020"), "\"\"");
    }
}
