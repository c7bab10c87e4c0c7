//! By how much a number must differ from another to count as changed. No I/O.
//!
//! Invariant: compared are the numbers as they print, so 0.3 and 0.1 differ by exactly 0.2, whatever their binary forms do.

use super::Value;
use super::decimal::Decimal;

/// A change that is no larger counts as none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deadband {
    /// In the unit of the value.
    Absolute(f64),
    /// Of the former value, in hundredths.
    Percent(f64),
}

impl Deadband {
    /// Whether `value` differs from `former` by more than this; whether it differs at all where one of them is no number.
    #[must_use]
    pub fn is_exceeded(self, former: &Value, value: &Value) -> bool {
        let (Some(former_number), Some(number)) = (Number::of(former), Number::of(value)) else {
            return former != value;
        };
        let limit = match self {
            Self::Absolute(limit) => limit,
            Self::Percent(percent) => former_number.percent(percent),
        };
        number.distance(former_number) > limit
    }
}

/// A number exactly, where its digits fit, and nearly.
#[derive(Clone, Copy)]
struct Number(Option<Decimal>, f64);

impl Number {
    fn of(value: &Value) -> Option<Self> {
        let decimal = match value {
            Value::Integer(integer) => Some(Decimal::from_integer(*integer)),
            Value::Float32(number) => Decimal::from_f32(*number),
            Value::Float64(number) => Decimal::from_f64(*number),
            Value::Bool(_) | Value::Bits(_) | Value::Text(_) => return None,
        };
        decimal.map(|decimal| Self(Some(decimal), decimal.to_f64()))
    }

    fn distance(self, other: Self) -> f64 {
        let exact = self.0.zip(other.0).and_then(|(a, b)| a.minus(b));
        exact.map_or(self.1 - other.1, Decimal::to_f64).abs()
    }

    fn percent(self, percent: f64) -> f64 {
        let hundredth =
            Decimal::from_f64(percent).and_then(|percent| percent.times(Decimal::power_of_ten(-2)));
        let exact = self.0.zip(hundredth).and_then(|(a, b)| a.times(b));
        exact
            .map_or(self.1 * percent / 100.0, Decimal::to_f64)
            .abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_just_the_deadband_is_none() {
        let exceeded = |former, value| Deadband::Absolute(0.2).is_exceeded(&former, &value);
        let float = Value::Float64;
        assert!(!exceeded(float(0.1), float(0.3)));
        assert!(!exceeded(float(230.6), float(230.4)));
        assert!(exceeded(float(0.1), float(0.300_000_1)));
        assert!(exceeded(float(0.1), float(-0.11)));
        assert!(!exceeded(Value::Float32(230.4), Value::Float32(230.6)));
        assert!(exceeded(Value::Float32(230.4), Value::Float32(230.7)));
        assert!(exceeded(Value::Integer(5), Value::Integer(6)));
        assert!(!exceeded(Value::Integer(5), Value::Integer(5)));
        assert!(exceeded(float(1e300), float(-1e300)));
    }

    #[test]
    fn a_percentage_is_one_of_the_former_value() {
        let exceeded = |former, value| {
            Deadband::Percent(2.0).is_exceeded(&Value::Float64(former), &Value::Float64(value))
        };
        assert!(!exceeded(50.0, 51.0));
        assert!(exceeded(50.0, 51.01));
        assert!(!exceeded(-50.0, -49.0));
        assert!(exceeded(0.0, 1e-9), "of nothing, anything is more");
        assert!(!exceeded(0.0, 0.0));
    }

    #[test]
    fn what_is_no_number_has_no_distance() {
        let text = |text: &str| Value::Text(text.to_owned());
        let deadband = Deadband::Absolute(9.0);
        assert!(deadband.is_exceeded(&text("a"), &text("b")));
        assert!(!deadband.is_exceeded(&text("a"), &text("a")));
        assert!(deadband.is_exceeded(&text("1"), &Value::Integer(1)));
    }
}
