//! `500ms`, `2s`, `10min`, `7d`; `40B`, `64KiB`, `2GiB`. A number never stands without its unit.

use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Units of time with their nanoseconds, smallest first.
const TIMES: [(&str, u64); 5] = [
    ("ms", 1_000_000),
    ("s", NANOS_PER_SECOND),
    ("min", 60 * NANOS_PER_SECOND),
    ("h", 3600 * NANOS_PER_SECOND),
    ("d", 86_400 * NANOS_PER_SECOND),
];

/// Units of size with their bytes, smallest first.
const SIZES: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// What is wrong with a quantity, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnitError {
    /// What is wrong.
    pub(super) message: String,
    /// What to write.
    pub(super) remedy: String,
}

/// Reads a duration. At most 584 years, to the nanosecond.
pub(super) fn duration(text: &str) -> Result<Duration, UnitError> {
    quantity(text, &TIMES, "duration", time_hint).map(Duration::from_nanos)
}

/// Reads a size in bytes.
pub(super) fn size(text: &str) -> Result<u64, UnitError> {
    quantity(text, &SIZES, "size", size_hint)
}

/// A duration as it would be written in the file: in the largest unit that holds it whole.
pub(super) fn show_duration(value: Duration) -> String {
    show(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX), &TIMES)
}

/// A size as it would be written in the file.
pub(super) fn show_size(value: u64) -> String {
    show(value, &SIZES)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| value != 0 && value.is_multiple_of(*factor);
    match units.iter().rev().find(fits).or_else(|| units.first()) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => value.to_string(),
    }
}

fn quantity(
    text: &str,
    units: &[(&str, u64)],
    what: &str,
    hint: fn(&str, &str) -> Option<String>,
) -> Result<u64, UnitError> {
    let split = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim();
    let known = units.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let fault = |message: String| UnitError {
        message,
        remedy: hint(number, unit)
            .unwrap_or_else(|| format!("write a number and one of {}", known.join(", "))),
    };
    if number.is_empty() {
        return Err(fault(format!("this is no {what}")));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(fault(if unit.is_empty() {
            format!("a {what} needs its unit")
        } else {
            format!("`{unit}` is no unit of a {what}")
        }));
    };
    scaled(number, *factor).ok_or_else(|| fault(format!("this is no {what}, or too large for one")))
}

/// `number` (`12`, `1.5`) times `factor`; `None` where it is no number, is too large, or is no whole result.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.ends_with('.') || fraction.len() > 9 {
        return None;
    }
    let mut result = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if !fraction.is_empty() {
        let digits = u32::try_from(fraction.len()).ok()?;
        let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor);
        let divisor = 10_u128.pow(digits);
        if part % divisor != 0 {
            return None;
        }
        result = result.checked_add(u64::try_from(part / divisor).ok()?)?;
    }
    Some(result)
}

fn time_hint(number: &str, unit: &str) -> Option<String> {
    let meant = match unit {
        "" if !number.is_empty() => return Some(format!("write `{number}s` or `{number}ms`")),
        "m" | "minute" | "minutes" | "mins" | "Min" => "min",
        "sec" | "secs" | "second" | "seconds" | "S" => "s",
        "hour" | "hours" | "hr" | "H" => "h",
        "day" | "days" | "D" => "d",
        "msec" | "millis" | "MS" => "ms",
        _ => return None,
    };
    Some(format!("write `{number}{meant}`"))
}

fn size_hint(number: &str, unit: &str) -> Option<String> {
    let meant = match unit {
        "" if !number.is_empty() => return Some(format!("write `{number}B` or `{number}KiB`")),
        "k" | "K" | "kB" | "KB" | "kb" | "kib" | "kiB" => "KiB",
        "m" | "M" | "MB" | "mb" | "mib" => "MiB",
        "g" | "G" | "GB" | "gb" | "gib" => "GiB",
        "t" | "T" | "TB" | "tb" => "TiB",
        "b" | "byte" | "bytes" => "B",
        _ => return None,
    };
    Some(format!("write `{number}{meant}`; a KiB is 1024 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units() {
        let cases = [
            ("0ms", 0),
            ("500ms", 500),
            ("2s", 2000),
            ("1.5s", 1500),
            ("10min", 600_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("2 s", 2000),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn sizes_carry_units() {
        assert_eq!(size("40B"), Ok(40));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("0.5KiB"), Ok(512));
        assert_eq!(show_size(65_536), "64KiB");
        assert_eq!(show_size(0), "0B");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(show_duration(Duration::from_secs(604_800)), "7d");
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        let cases = [
            ("5", "a duration needs its unit", "write `5s` or `5ms`"),
            ("5m", "`m` is no unit of a duration", "write `5min`"),
            (
                "soon",
                "this is no duration",
                "write a number and one of ms, s, min, h, d",
            ),
            (
                "-1s",
                "this is no duration",
                "write a number and one of ms, s, min, h, d",
            ),
            (
                "999999999999d",
                "this is no duration, or too large for one",
                "write a number and one of ms, s, min, h, d",
            ),
        ];
        for (text, message, remedy) in cases {
            let error = duration(text).unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.remedy.as_str()),
                (message, remedy),
                "{text}"
            );
        }
        assert_eq!(
            size("64K").unwrap_err().remedy,
            "write `64KiB`; a KiB is 1024 bytes"
        );
        for bad in ["1.s", "1..5s", ".5s", "1.0000000001s", "0.3B", "1e3s", ""] {
            assert!(duration(bad).is_err() && size(bad).is_err(), "{bad}");
        }
    }
}
