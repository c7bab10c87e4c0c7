//! When events are written: soon after something happened, and ever more rarely while it goes on. No I/O.
//!
//! A write costs a page of the disk and one of its journal, whatever little is in it. So what happens within two seconds is
//! written at once, and the time to the next write doubles, up to five minutes, until it has been quiet for as long.

use std::time::{Duration, Instant};

/// What belongs together comes together: a link that is lost says several things.
const TOGETHER: Duration = Duration::from_secs(2);

/// So much may be lost at a power cut while something goes on.
pub(super) const GAP_MAX: Duration = Duration::from_secs(5 * 60);

/// The pace of one pair of files.
#[derive(Debug, Default)]
pub(super) struct Pace {
    written: Option<Instant>,
    gap: Duration,
}

impl Pace {
    /// Something happened at `now`, and nothing before it waits: when it is to be written.
    pub(super) fn due(&self, now: Instant) -> Instant {
        let soon = now + TOGETHER;
        self.written
            .map_or(soon, |written| soon.max(written + self.gap))
    }

    /// It was, or it failed.
    pub(super) fn written(&mut self, now: Instant) {
        let is_quiet = self
            .written
            .is_none_or(|written| now.saturating_duration_since(written) >= 2 * GAP_MAX);
        self.gap = if is_quiet {
            TOGETHER
        } else {
            (self.gap * 2).min(GAP_MAX)
        };
        self.written = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_once_is_written_soon_and_what_goes_on_ever_more_rarely() {
        let start = tokio::time::Instant::now().into_std();
        let (mut pace, mut now, mut writes) = (Pace::default(), start, 0);
        while now < start + Duration::from_secs(3600) {
            let due = pace.due(now);
            assert!(due - now <= GAP_MAX && due - now >= TOGETHER);
            pace.written(due);
            (now, writes) = (due, writes + 1);
        }
        assert!((15..25).contains(&writes), "{writes}");
        let later = now + 3 * GAP_MAX;
        assert_eq!(pace.due(later), later + TOGETHER);
        pace.written(later + TOGETHER);
        assert_eq!(pace.due(later + TOGETHER), later + TOGETHER * 2);
    }
}
