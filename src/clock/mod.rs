//! The only place that reads a clock.
//!
//! Cores take `now` as an argument. Schedules, timeouts and expiries run on [`now`] (monotonic); [`wall`] is for
//! stamping only, because it may jump. What must outlive a restart is counted on a [`Timeline`].

mod calendar;
mod timeline;

pub use timeline::{Boot, ClockMark, ClockReading, Timeline, resume};

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z, by the wall clock. May jump either way; never used to wait.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct WallTime(pub u64);

/// 2026-11-23T00:00:00Z; each release moves it on. A wall clock before the day this program was made has not been set:
/// boxes without a battery-backed clock boot in 1970.
pub const PROGRAM_MADE: WallTime = WallTime(1_795_392_000_000);

impl WallTime {
    /// Whether the clock had been set when this stamp was taken. A reading stamped before says so.
    #[must_use]
    pub fn is_plausible(self) -> bool {
        self >= PROGRAM_MADE
    }

    /// So much later.
    #[must_use]
    pub fn after(self, passed: Duration) -> Self {
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds since `earlier`, 0 if the clock went back.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The monotonic clock; that of tokio, so that it stands still where a test lets time stand still.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> WallTime {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    WallTime(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The wall clock, and how long the machine has been up where it says so (Linux).
#[must_use]
pub fn reading() -> ClockReading {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let uptime = fs::read_to_string("/proc/uptime");
    let boot = match (id, uptime) {
        (Ok(id), Ok(uptime)) => Boot::parse(&id, &uptime),
        _ => None,
    };
    ClockReading { wall: wall(), boot }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_not_plausible() {
        assert!(!WallTime(0).is_plausible());
        assert!(PROGRAM_MADE.is_plausible());
    }

    #[test]
    fn a_clock_that_went_back_gives_no_negative_age() {
        assert_eq!(WallTime(5).millis_since(WallTime(9)), 0);
    }
}
