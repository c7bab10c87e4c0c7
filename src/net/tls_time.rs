//! The time that certificates are judged by. Many boxes have no clock that runs while they are off: they boot in 1970, or
//! where they were switched off, and learn the time from a network that they may reach by TLS only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

use crate::clock::{self, PROGRAM_MADE, WallTime};

/// A time that is further ahead than this program may last was taken from a clock that was wrong.
const FURTHEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The latest of: the wall clock, when this program was made, and what was known before it started. So a box whose clock
/// is not set reaches its upstream, and one whose clock is set back does not take certificates that had expired. All
/// clones are one.
#[derive(Clone, Debug, Default)]
pub struct TlsTime {
    known: Arc<AtomicU64>,
}

impl TlsTime {
    /// It was this late already: no earlier time is believed from here on.
    pub fn know(&self, time: WallTime) {
        if time <= PROGRAM_MADE.after(FURTHEST) {
            self.known.fetch_max(time.0, Ordering::Relaxed);
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> WallTime {
        self.at(clock::wall())
    }

    fn at(&self, wall: WallTime) -> WallTime {
        let known = WallTime(self.known.load(Ordering::Relaxed));
        wall.max(known).max(PROGRAM_MADE)
    }
}

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since = Duration::from_millis(self.now().0);
        Some(UnixTime::since_unix_epoch(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_not_believed() {
        let time = TlsTime::default();
        assert_eq!(time.at(WallTime(5)), PROGRAM_MADE);
        let before = PROGRAM_MADE.after(Duration::from_secs(86_400));
        time.know(before);
        assert_eq!(time.at(WallTime(5)), before);
        // What is known never gets less.
        time.know(PROGRAM_MADE);
        assert_eq!(time.at(PROGRAM_MADE), before);
        let set = before.after(Duration::from_secs(1));
        assert_eq!(time.at(set), set);
    }

    #[test]
    fn what_a_wrong_clock_wrote_down_decades_ahead_does_not_count() {
        let time = TlsTime::default();
        time.know(WallTime(u64::MAX));
        assert_eq!(time.at(WallTime(5)), PROGRAM_MADE);
    }

    #[test]
    fn rustls_is_told_seconds() {
        let told = TlsTime::default().current_time().unwrap().as_secs();
        assert!((PROGRAM_MADE.0 / 1000..PROGRAM_MADE.0).contains(&told));
    }
}
