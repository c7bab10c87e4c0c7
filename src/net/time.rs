//! UTCTime and GeneralizedTime, as certificates and revocation lists carry them (RFC 5280 section 4.1.2.5).

use super::der::{Der, GENERALIZED_TIME, UTC_TIME};
use crate::clock::WallTime;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`: the forms that RFC 5280 allows, always UTC.
pub(super) fn time(signed: &mut Der<'_>) -> Option<WallTime> {
    let (tag, content) = signed.next()?;
    let digits = content.bytes().strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let &[m1, m2, d1, d2, h1, h2, i1, i2, s1, s2] = rest else {
        return None;
    };
    let [month, day] = [number(&[m1, m2])?, number(&[d1, d2])?];
    let [hour, minute, second] = [number(&[h1, h2])?, number(&[i1, i2])?, number(&[s1, s2])?];
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !is_time || year < 1970 {
        return None;
    }
    let seconds = days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Some(WallTime(seconds * 1000))
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = str::from_utf8(digits).ok()?;
    text.bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years are counted from March, so that the leap day is
/// their last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    const BEFORE_1970: u64 = 719_468;
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::super::der::INTEGER;
    use super::*;

    #[test]
    fn what_is_no_time_is_none() {
        let read = |tag: u8, text: &str| {
            let mut bytes = vec![tag, u8::try_from(text.len()).unwrap()];
            bytes.extend(text.bytes());
            time(&mut Der::new(&bytes))
        };
        assert_eq!(read(UTC_TIME, "700101000001Z"), Some(WallTime(1000)));
        assert_eq!(
            read(GENERALIZED_TIME, "19700102000000Z"),
            Some(WallTime(DAY_SECONDS * 1000))
        );
        for text in [
            "",
            "Z",
            "700101000001",
            "701301000000Z",
            "700100000000Z",
            "7001010000+1Z",
        ] {
            assert_eq!(read(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(read(GENERALIZED_TIME, "00000101000000Z"), None);
        assert_eq!(read(INTEGER, "700101000001Z"), None);
    }
}
