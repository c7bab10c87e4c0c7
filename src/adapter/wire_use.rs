//! How much of the time of a wire its requests take: all of it since the start, and which part of the last minute. What
//! `budget` plans, measured. No I/O.
//!
//! The part is smoothed like the load of a machine: what was a minute ago counts for a third of what is now. So it is the same
//! whoever looks, and however often.

use std::time::{Duration, Instant};

/// What was so long ago counts for a third.
const MEMORY: Duration = Duration::from_secs(60);

/// The time of a wire. It is in use, or not, one of them at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireUse {
    since: Instant,
    /// Up to then, the rest is known.
    at: Instant,
    is_used: bool,
    used: Duration,
    /// Not yet corrected for a start from nothing.
    share: f64,
}

/// How much it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Used {
    /// Since the start.
    pub time: Duration,
    /// Of about the last minute, 0 to 1; while there was none yet, of what there was.
    pub share: f64,
}

impl WireUse {
    /// Not in use.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            at: now,
            is_used: false,
            used: Duration::ZERO,
            share: 0.0,
        }
    }

    /// It is in use, or not, from now on.
    pub(super) fn turn(&mut self, now: Instant, is_used: bool) {
        let passed = now.saturating_duration_since(self.at);
        let kept = kept(passed);
        self.share *= kept;
        if self.is_used {
            self.used += passed;
            self.share += 1.0 - kept;
        }
        self.at = now;
        self.is_used = is_used;
    }

    /// Up to now, with a use that has not ended.
    pub(super) fn until(mut self, now: Instant) -> Used {
        self.turn(now, false);
        let all = 1.0 - kept(now.saturating_duration_since(self.since));
        let share = if all > 0.0 { self.share / all } else { 0.0 };
        Used {
            time: self.used,
            share: share.clamp(0.0, 1.0),
        }
    }
}

/// Which part of what was so long ago still counts.
fn kept(passed: Duration) -> f64 {
    (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Used for 300 of each 1000 ms, for so many seconds.
    fn three_tenths(wire: &mut WireUse, start: Instant, seconds: u32) -> Instant {
        for second in 0..seconds {
            let now = start + SECOND * second;
            wire.turn(now, true);
            wire.turn(now + SECOND * 3 / 10, false);
        }
        start + SECOND * seconds
    }

    #[test]
    fn the_share_is_right_from_the_first_second_on_and_the_time_is_exact() {
        let start = crate::clock::now();
        for seconds in [1, 5, 60, 7200] {
            let mut wire = WireUse::new(start);
            let now = three_tenths(&mut wire, start, seconds);
            let used = wire.until(now);
            assert_eq!(used.time, SECOND * 3 * seconds / 10);
            assert!((used.share - 0.3).abs() < 0.01, "{seconds}: {used:?}");
        }
    }

    #[test]
    fn what_has_not_ended_counts_and_who_looks_changes_nothing() {
        let start = crate::clock::now();
        let mut wire = WireUse::new(start);
        assert_eq!(wire.until(start).share, 0.0, "nothing was seen yet");
        wire.turn(start, true);
        for seconds in [1, 30, 300] {
            let used = wire.until(start + SECOND * seconds);
            assert_eq!(used.time, SECOND * seconds);
            assert!(used.share > 0.999, "{used:?}");
        }
    }

    #[test]
    fn a_change_is_seen_within_minutes() {
        let start = crate::clock::now();
        let mut wire = WireUse::new(start);
        wire.turn(start, true);
        let now = start + SECOND * 3600;
        wire.turn(now, false);
        let share = |minutes: u32| wire.until(now + SECOND * 60 * minutes).share;
        assert!((0.3..0.4).contains(&share(1)), "{}", share(1));
        assert!(share(3) < 0.06, "{}", share(3));
        let used = wire.until(now + SECOND * 3600);
        assert_eq!(used.time, SECOND * 3600);
        assert!(used.share < 0.001);
    }
}
