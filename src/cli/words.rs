//! Sizes, times and texts of others as commands print them. No I/O.

use crate::clock::WallTime;

/// Longer texts of others are cut: a line stays a line.
const TEXT_CHARS_MAX: usize = 240;

/// In the largest unit of which there is one.
pub(super) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut name = "B";
    for unit in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        name = unit;
    }
    if name == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {name}")
    }
}

/// The two largest units.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `1 client`, `2 clients`.
pub(super) fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

/// `2026-11-29`, UTC.
pub(super) fn date(at: WallTime) -> String {
    let (year, month, day) = calendar(at.0 / 86_400_000);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `14:08:01.112`, UTC.
pub(super) fn time_of_day(at: WallTime) -> String {
    let millis = at.0 % 86_400_000;
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let (seconds, millis) = (millis / 1000 % 60, millis % 1000);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}")
}

/// Year, month and day, so many days after 1970-01-01. Counted in years that begin in March, so that the leap day is the last
/// of a year, and in eras of 400 years, all of which are equally long.
fn calendar(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0: March
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * era + year + next, month, day_of_month)
}

/// A text that came from elsewhere, for a line on a terminal: nothing in it moves the cursor, and it has an end.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(TEXT_CHARS_MAX)
        .map(|it| if it.is_control() { ' ' } else { it })
        .collect();
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_a_unit_that_suits_them() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(61), "1 min 1 s");
        assert_eq!(duration(90_061), "1 d 1 h");
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(counted(1, "client"), "1 client");
        assert_eq!(counted(0, "client"), "0 clients");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let date_of = |seconds: u64| date(WallTime(seconds * 1000));
        assert_eq!(date_of(0), "1970-01-01");
        assert_eq!(date_of(951_782_400), "2000-02-29");
        assert_eq!(date_of(951_868_800), "2000-03-01");
        assert_eq!(date_of(1_795_392_000 - 1), "2026-11-22");
        assert_eq!(date(crate::clock::PROGRAM_MADE), "2026-11-23");
        assert_eq!(date_of(4_107_542_400), "2100-03-01");
        assert_eq!(
            time_of_day(WallTime(1_795_392_000_000 + 51_681_112)),
            "14:21:21.112"
        );
        date(WallTime(u64::MAX));
    }

    #[test]
    fn texts_of_others_stay_on_their_line() {
        assert_eq!(shown("a\nb\u{1b}[2J"), "a b [2J");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), 241);
    }
}
