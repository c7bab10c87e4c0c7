//! Time that counts for what is stored: milliseconds that only go forward, over restarts too. No I/O.
//!
//! While the program runs the timeline runs with the monotonic clock, whatever the wall clock does. Over a restart it goes
//! on by the time spent off, as far as that is known ([`resume`]); what is not known does not count. So a deadline may come
//! late on a box whose clock is not set, and never all at once because a clock was.

use std::time::{Duration, Instant};

use super::WallTime;

/// A box is not switched off for longer and then on again: a wall clock that says so is wrong.
const LONGEST_OFF: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Maps the monotonic clock of this start of the program to milliseconds that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    origin: Instant,
    at_origin: u64,
}

/// Where the timeline and the clocks stood at one moment. What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockMark {
    /// Milliseconds that count.
    pub timeline: u64,
    /// The clocks at that moment.
    pub reading: ClockReading,
}

/// What the clocks said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The wall clock, set or not.
    pub wall: WallTime,
    /// `None`: the system does not say.
    pub boot: Option<Boot>,
}

/// A start of the machine, and how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Another one for each start of the machine.
    pub id: u128,
    /// Milliseconds since it.
    pub uptime: u64,
}

impl Timeline {
    /// A timeline that stands at `at_origin` at `origin`.
    #[must_use]
    pub fn new(origin: Instant, at_origin: u64) -> Self {
        Self { origin, at_origin }
    }

    /// Milliseconds that count, at `instant`.
    #[must_use]
    pub fn at(&self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.origin) {
            Some(after) => self.at_origin.saturating_add(millis(after)),
            None => self.at_origin.saturating_sub(millis(self.origin - instant)),
        }
    }

    /// Time that counts since `stamp`; zero for a stamp that lies ahead.
    #[must_use]
    pub fn age(&self, stamp: u64, now: Instant) -> Duration {
        Duration::from_millis(self.at(now).saturating_sub(stamp))
    }

    /// What a reading taken at the origin has become by `now`, with the wall clock as it stands then.
    #[must_use]
    pub fn mark(&self, at_origin: ClockReading, now: Instant, wall: WallTime) -> ClockMark {
        let run = millis(now.saturating_duration_since(self.origin));
        let boot = at_origin.boot.map(|boot| Boot {
            uptime: boot.uptime.saturating_add(run),
            ..boot
        });
        ClockMark {
            timeline: self.at(now),
            reading: ClockReading { wall, boot },
        }
    }
}

impl Boot {
    /// From the contents of `/proc/sys/kernel/random/boot_id` and `/proc/uptime`. `None`: not as they should be.
    #[must_use]
    pub fn parse(id: &str, uptime: &str) -> Option<Self> {
        let id = id.trim().replace('-', "");
        let (seconds, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
        let seconds = seconds.parse::<u64>().ok()?.checked_mul(1000)?;
        if id.len() != 32 || hundredths.len() != 2 {
            return None;
        }
        Some(Self {
            id: u128::from_str_radix(&id, 16).ok()?,
            uptime: seconds.checked_add(hundredths.parse::<u64>().ok()? * 10)?,
        })
    }
}

/// Where the timeline goes on, given the last mark that was stored and the clocks at the start of the program.
///
/// In the same boot of the machine the uptime tells how long the program was off. In another one the wall clock does,
/// where it had been set at both ends and did not go back. Else no time has passed.
#[must_use]
pub fn resume(stored: Option<ClockMark>, now: ClockReading) -> u64 {
    let Some(stored) = stored else {
        return 0;
    };
    let off = off_by_uptime(stored.reading.boot, now.boot)
        .or_else(|| off_by_wall(stored.reading.wall, now.wall))
        .unwrap_or(0);
    stored.timeline.saturating_add(off)
}

/// A container may see the boot id of its host with an uptime of its own: one that went back says nothing.
fn off_by_uptime(stored: Option<Boot>, now: Option<Boot>) -> Option<u64> {
    let (stored, now) = (stored?, now?);
    if stored.id != now.id {
        return None;
    }
    now.uptime.checked_sub(stored.uptime)
}

fn off_by_wall(stored: WallTime, now: WallTime) -> Option<u64> {
    if !stored.is_plausible() || !now.is_plausible() {
        return None;
    }
    let off = now.0.checked_sub(stored.0)?;
    (off <= millis(LONGEST_OFF)).then_some(off)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: u64 = 1_800_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn reading(wall: u64, boot: Option<(u128, u64)>) -> ClockReading {
        ClockReading {
            wall: WallTime(wall),
            boot: boot.map(|(id, uptime)| Boot { id, uptime }),
        }
    }

    fn mark(timeline: u64, wall: u64, boot: Option<(u128, u64)>) -> Option<ClockMark> {
        Some(ClockMark {
            timeline,
            reading: reading(wall, boot),
        })
    }

    #[test]
    fn the_first_start_begins_at_zero() {
        assert_eq!(resume(None, reading(SET, Some((7, 500)))), 0);
    }

    #[test]
    fn in_the_same_boot_the_uptime_counts_whatever_the_wall_clock_says() {
        let stored = mark(1000, SET, Some((7, 500)));
        for wall in [0, SET - HOUR, SET, SET + 100 * HOUR] {
            assert_eq!(resume(stored, reading(wall, Some((7, 2500)))), 3000);
        }
    }

    #[test]
    fn in_another_boot_the_wall_clock_counts() {
        let stored = mark(1000, SET, Some((7, 5000)));
        assert_eq!(
            resume(stored, reading(SET + HOUR, Some((8, 9))),),
            1000 + HOUR
        );
    }

    #[test]
    fn without_a_boot_id_the_wall_clock_counts() {
        let after = reading(SET + HOUR, None);
        assert_eq!(resume(mark(1000, SET, None), after), 1000 + HOUR);
        assert_eq!(resume(mark(1000, SET, Some((7, 1))), after), 1000 + HOUR);
    }

    #[test]
    fn an_uptime_that_went_back_says_nothing() {
        let stored = mark(1000, SET, Some((7, 5000)));
        let after = reading(SET + HOUR, Some((7, 20)));
        assert_eq!(resume(stored, after), 1000 + HOUR);
    }

    #[test]
    fn a_wall_clock_that_went_back_counts_nothing() {
        let stored = mark(1000, SET, Some((7, 5000)));
        assert_eq!(resume(stored, reading(SET - 1, Some((8, 9)))), 1000);
    }

    #[test]
    fn a_wall_clock_that_was_not_set_at_either_end_counts_nothing() {
        let unset = HOUR;
        let after_boot = |wall| reading(wall, Some((8, 9)));
        assert_eq!(
            resume(mark(1000, unset, Some((7, 5))), after_boot(SET)),
            1000
        );
        assert_eq!(
            resume(mark(1000, SET, Some((7, 5))), after_boot(unset)),
            1000
        );
        assert_eq!(
            resume(mark(1000, unset, Some((7, 5))), after_boot(2 * HOUR)),
            1000
        );
    }

    #[test]
    fn a_wall_clock_that_says_decades_went_by_counts_nothing() {
        let decades = 20 * 365 * 24 * HOUR;
        let stored = mark(1000, SET, Some((7, 5)));
        assert_eq!(resume(stored, reading(SET + decades, Some((8, 9)))), 1000);
    }

    #[test]
    fn a_wall_clock_that_is_set_while_the_program_runs_expires_nothing() {
        let start = crate::clock::now();
        let booted = reading(HOUR, Some((7, 30_000)));
        let timeline = Timeline::new(start, resume(None, booted));
        let stamp = timeline.at(start + Duration::from_secs(1));
        // A minute later the time server answered: the wall clock jumps by 57 years.
        let later = start + Duration::from_secs(61);
        assert_eq!(timeline.age(stamp, later), Duration::from_secs(60));
        let stored = timeline.mark(booted, later, WallTime(SET));
        assert_eq!(stored.timeline, 61_000);
        // The program is started again, in the same boot and in another one.
        let same = reading(SET + 5000, Some((7, 96_000)));
        assert_eq!(resume(Some(stored), same), 66_000);
        let other = reading(SET + 5000, Some((8, 3000)));
        assert_eq!(resume(Some(stored), other), 66_000);
    }

    #[test]
    fn an_instant_before_the_origin_is_earlier() {
        let start = crate::clock::now() + Duration::from_secs(10);
        let timeline = Timeline::new(start, 3000);
        assert_eq!(timeline.at(start - Duration::from_secs(2)), 1000);
        assert_eq!(timeline.at(start - Duration::from_secs(9)), 0);
        assert_eq!(timeline.age(9000, start), Duration::ZERO);
    }

    #[test]
    fn the_kernel_s_files_are_read() {
        let id = "a6a8b1f0-11a2-4a90-9d5b-0123456789ab\n";
        assert_eq!(
            Boot::parse(id, "12345.67 23456.78\n"),
            Some(Boot {
                id: 0xa6a8_b1f0_11a2_4a90_9d5b_0123_4567_89ab,
                uptime: 12_345_670,
            })
        );
        for (id, uptime) in [
            ("", "1.00 2.00"),
            (id, ""),
            (id, "soon"),
            (id, "-1.00 2.00"),
            (id, "99999999999999999999.00 1.00"),
            ("zz", "1.00 2.00"),
        ] {
            assert_eq!(Boot::parse(id, uptime), None, "{id:?} {uptime:?}");
        }
    }
}
