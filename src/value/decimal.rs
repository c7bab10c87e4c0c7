//! Decimal arithmetic for scaled values. No I/O, no allocation on the usual path.
//!
//! A scale of 0.1 is meant as one tenth, but no binary float is one tenth: 75 * 0.1 is 7.500000000000001. So a number is
//! taken by its shortest decimal form (what its owner wrote or would read), multiplied and rounded as a decimal, and
//! only the result becomes a float: the float nearest to 7.5, which prints as `7.5`.

use std::fmt::Write;

/// `mantissa * 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    mantissa: i128,
    exponent: i32,
}

/// Powers of ten up to here are exact in a 64 bit float.
const EXACT_POWER_MAX: u32 = 22;
/// Integers up to here are exact in a 64 bit float.
const EXACT_INTEGER_MAX: u128 = 1 << 53;

impl Decimal {
    pub(super) const ONE: Self = Self {
        mantissa: 1,
        exponent: 0,
    };

    /// `10^exponent`.
    pub(super) fn power_of_ten(exponent: i32) -> Self {
        Self {
            mantissa: 1,
            exponent,
        }
    }

    pub(super) fn from_integer(integer: i128) -> Self {
        Self {
            mantissa: integer,
            exponent: 0,
        }
    }

    /// `None` for NaN and infinities.
    pub(super) fn from_f64(number: f64) -> Option<Self> {
        Self::parse(format_args!("{number:e}"))
    }

    /// The shortest digits that mean this 32 bit float: 230.4, not 230.39999389648438. `None` for NaN and infinities.
    pub(super) fn from_f32(number: f32) -> Option<Self> {
        Self::parse(format_args!("{number:e}"))
    }

    /// Reads what `{:e}` writes: `-1.25e-3`.
    fn parse(scientific: std::fmt::Arguments<'_>) -> Option<Self> {
        let mut text = Scratch::default();
        text.write_fmt(scientific).ok()?;
        let (digits, exponent) = text.as_str().split_once('e')?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut mantissa: i128 = whole.parse().ok()?;
        let negative = whole.starts_with('-');
        for digit in fraction.chars() {
            let digit = i128::from(digit.to_digit(10)?);
            mantissa =
                mantissa
                    .checked_mul(10)?
                    .checked_add(if negative { -digit } else { digit })?;
        }
        Some(Self {
            mantissa,
            exponent: exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?,
        })
    }

    /// `None` where the digits do not fit.
    pub(super) fn times(self, other: Self) -> Option<Self> {
        Some(Self {
            mantissa: self.mantissa.checked_mul(other.mantissa)?,
            exponent: self.exponent.checked_add(other.exponent)?,
        })
    }

    /// `None` where the digits do not fit.
    pub(super) fn minus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let mantissa = |number: Self| {
            let zeros = number.exponent.checked_sub(exponent)?;
            number
                .mantissa
                .checked_mul(10_i128.checked_pow(u32::try_from(zeros).ok()?)?)
        };
        Some(Self {
            mantissa: mantissa(self)?.checked_sub(mantissa(other)?)?,
            exponent,
        })
    }

    /// With at most `decimals` digits after the point; a half is rounded away from zero, as on paper.
    pub(super) fn rounded(self, decimals: u8) -> Self {
        let surplus = -i64::from(self.exponent) - i64::from(decimals);
        let Ok(surplus) = u32::try_from(surplus) else {
            return self;
        };
        if surplus == 0 {
            return self;
        }
        let exponent = -i32::from(decimals);
        // More digits to drop than 10^38 has: nothing is left of any mantissa.
        let mantissa = 10_i128.checked_pow(surplus).map_or(0, |unit| {
            let (quotient, rest) = (self.mantissa / unit, self.mantissa % unit);
            if rest.abs() >= unit - rest.abs() {
                quotient + self.mantissa.signum()
            } else {
                quotient
            }
        });
        Self { mantissa, exponent }
    }

    /// The integer, where it is one and fits.
    pub(super) fn to_integer(self) -> Option<i128> {
        if let Ok(zeros) = u32::try_from(self.exponent) {
            return self.mantissa.checked_mul(10_i128.checked_pow(zeros)?);
        }
        let unit = 10_i128.checked_pow(self.exponent.unsigned_abs())?;
        (self.mantissa % unit == 0).then(|| self.mantissa / unit)
    }

    /// The nearest 64 bit float; an infinity where it is beyond them.
    pub(super) fn to_f64(self) -> f64 {
        let power = self.exponent.unsigned_abs();
        if self.mantissa.unsigned_abs() <= EXACT_INTEGER_MAX && power <= EXACT_POWER_MAX {
            // Both sides are exact, so the one operation rounds correctly.
            #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
            let mantissa = self.mantissa as f64;
            let unit = 10_f64.powi(i32::try_from(power).unwrap_or(0));
            return if self.exponent < 0 {
                mantissa / unit
            } else {
                mantissa * unit
            };
        }
        let mut text = Scratch::default();
        match write!(text, "{}e{}", self.mantissa, self.exponent) {
            Ok(()) => text.as_str().parse().unwrap_or(f64::NAN),
            Err(_) => f64::NAN,
        }
    }
}

/// Text on the stack: the longest number, an i128 with a sign and an exponent, has 52 characters.
struct Scratch {
    bytes: [u8; 64],
    length: usize,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            bytes: [0; 64],
            length: 0,
        }
    }
}

impl Scratch {
    fn as_str(&self) -> &str {
        self.bytes
            .get(..self.length)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

impl Write for Scratch {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let room = self
            .bytes
            .get_mut(self.length..end)
            .ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(raw: i128, scale: f64) -> f64 {
        Decimal::from_integer(raw)
            .times(Decimal::from_f64(scale).unwrap())
            .unwrap()
            .to_f64()
    }

    #[test]
    fn a_scaled_integer_has_the_digits_of_paper() {
        assert_eq!(format!("{:?}", product(75, 0.1)), "7.5");
        assert_eq!(format!("{:?}", product(5123, 0.001)), "5.123");
        assert_eq!(format!("{:?}", product(-12_345, 0.1)), "-1234.5");
        assert_eq!(format!("{:?}", product(3, 2.5)), "7.5");
        assert_eq!(format!("{:?}", product(7, 1000.0)), "7000.0");
        assert_eq!(
            format!("{:?}", product(i128::from(u64::MAX), 0.001)),
            "1.844674407370955e16"
        );
        for raw in -40_000..40_000 {
            for (scale, decimals) in [(0.1, 1), (0.01, 2), (0.001, 3)] {
                let text = product(raw, scale).to_string();
                let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
                assert!(digits <= decimals, "{raw} * {scale} = {text}");
            }
        }
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        let rounded = |number: f64, decimals| {
            Decimal::from_f64(number)
                .unwrap()
                .rounded(decimals)
                .to_f64()
        };
        assert_eq!(rounded(2.345, 2), 2.35);
        assert_eq!(rounded(-2.345, 2), -2.35);
        assert_eq!(rounded(0.05, 1), 0.1);
        assert_eq!(rounded(0.04, 1), 0.0);
        assert_eq!(rounded(1234.0, 0), 1234.0);
        assert_eq!(rounded(1e-300, 3), 0.0);
        assert_eq!(rounded(1e300, 3), 1e300);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(Decimal::from_f64(f64::NAN), None);
        assert_eq!(Decimal::from_f64(f64::INFINITY), None);
        let large = Decimal::from_integer(i128::MAX);
        assert_eq!(large.times(large), None);
        assert_eq!(Decimal::from_f64(2.5).unwrap().to_integer(), None);
        assert_eq!(Decimal::from_f64(2500.0).unwrap().to_integer(), Some(2500));
        assert_eq!(Decimal::from_f64(1e300).unwrap().to_integer(), None);
        assert_eq!(Decimal::from_f64(f64::MAX).unwrap().to_f64(), f64::MAX);
        assert_eq!(Decimal::from_f64(5e-324).unwrap().to_f64(), 5e-324);
    }
}
