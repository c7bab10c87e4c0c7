//! How fast a backlog grows and drains, and what follows from it: when it will be empty, when it will be full. No I/O.
//!
//! Smoothed over about half a minute: people look at these figures, and a burst or a pause of a second is no news.

use std::time::{Duration, Instant};

use crate::status::Flow;

/// The weight of what was seen falls to a third in this time.
const MEMORY: Duration = Duration::from_secs(30);
/// Shorter than this nothing is measured: one message would look like hundreds a second.
const SHORTEST: Duration = Duration::from_millis(500);

/// What is counted at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Messages appended so far.
    pub(super) appended: u64,
    /// Messages that the upstream acknowledged so far.
    pub(super) delivered: u64,
    /// Messages that wait now.
    pub(super) waiting: u64,
    /// Size of the files now.
    pub(super) file_bytes: u64,
    /// The size at which something has to give way.
    pub(super) bytes_max: u64,
}

/// The rates so far.
#[derive(Debug, Default)]
pub(super) struct Rates {
    last: Option<(Instant, Counts)>,
    /// `None`: nothing was measured yet.
    smoothed: Option<PerSecond>,
}

#[derive(Clone, Copy, Debug)]
struct PerSecond {
    appended: f64,
    delivered: f64,
    /// Growth of the files; negative while they shrink.
    bytes: f64,
}

impl Rates {
    /// Takes the counts of this moment.
    pub(super) fn take(&mut self, now: Instant, counts: Counts) -> Flow {
        let Some((then, before)) = self.last else {
            self.last = Some((now, counts));
            return self.flow(&counts);
        };
        let elapsed = now.saturating_duration_since(then);
        if elapsed >= SHORTEST {
            let seconds = elapsed.as_secs_f64();
            let each = |now: u64, before: u64| (now as f64 - before as f64) / seconds;
            let measured = PerSecond {
                appended: each(counts.appended, before.appended),
                delivered: each(counts.delivered, before.delivered),
                bytes: each(counts.file_bytes, before.file_bytes),
            };
            let kept = (-seconds / MEMORY.as_secs_f64()).exp();
            let last = self.smoothed.unwrap_or(measured);
            let mix = |new: f64, old: f64| new * (1.0 - kept) + old * kept;
            self.smoothed = Some(PerSecond {
                appended: mix(measured.appended, last.appended),
                delivered: mix(measured.delivered, last.delivered),
                bytes: mix(measured.bytes, last.bytes),
            });
            self.last = Some((now, counts));
        }
        self.flow(&counts)
    }

    fn flow(&self, counts: &Counts) -> Flow {
        let Some(rates) = self.smoothed else {
            return Flow::default();
        };
        let room = counts.bytes_max.saturating_sub(counts.file_bytes);
        Flow {
            messages_in: tenths(rates.appended),
            messages_out: tenths(rates.delivered),
            drained_in_s: reached(counts.waiting, rates.delivered - rates.appended),
            full_in_s: reached(room, rates.bytes),
        }
    }
}

/// Seconds until `distance` is covered at `speed` a second; `None`: never, at this speed.
fn reached(distance: u64, speed: f64) -> Option<u64> {
    let seconds = distance as f64 / speed;
    (distance > 0 && tenths(speed) > 0.0 && seconds < f64::from(u32::MAX))
        .then(|| Duration::from_secs_f64(seconds.ceil()).as_secs())
}

/// Rounded, so that what has come to rest stays the same.
fn tenths(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0 + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(rates: &mut Rates, start: Instant, second: u64, counts: Counts) -> Flow {
        rates.take(start + Duration::from_secs(second), counts)
    }

    #[test]
    fn a_steady_flow_is_measured_and_tells_when_the_backlog_is_empty() {
        let start = crate::clock::now();
        let mut rates = Rates::default();
        let mut flow = Flow::default();
        for second in 0..100 {
            let counts = Counts {
                appended: 10 * second,
                delivered: 60 * second,
                waiting: 5000,
                ..Counts::default()
            };
            flow = after(&mut rates, start, second, counts);
        }
        assert_eq!((flow.messages_in, flow.messages_out), (10.0, 60.0));
        assert_eq!((flow.drained_in_s, flow.full_in_s), (Some(100), None));
    }

    #[test]
    fn a_growing_backlog_tells_when_it_is_full_and_never_when_it_is_empty() {
        let start = crate::clock::now();
        let mut rates = Rates::default();
        let counts = |second: u64| Counts {
            appended: 1000 * second,
            waiting: 1000 * second,
            file_bytes: 300_000 * second,
            bytes_max: 30_000_000,
            ..Counts::default()
        };
        after(&mut rates, start, 0, counts(0));
        let flow = after(&mut rates, start, 1, counts(1));
        assert_eq!((flow.drained_in_s, flow.full_in_s), (None, Some(99)));
    }

    #[test]
    fn an_outage_shows_within_a_minute_and_rest_is_zero() {
        let start = crate::clock::now();
        let mut rates = Rates::default();
        let counts = |delivered: u64| Counts {
            delivered,
            waiting: 10,
            ..Counts::default()
        };
        for second in 0..60 {
            after(&mut rates, start, second, counts(100 * second));
        }
        let flow = after(&mut rates, start, 120, counts(5900));
        assert!(flow.messages_out < 20.0, "{flow:?}");
        let flow = after(&mut rates, start, 1200, counts(5900));
        assert_eq!(flow, Flow::default());
    }

    #[test]
    fn moments_that_are_too_close_measure_nothing() {
        let start = crate::clock::now();
        let mut rates = Rates::default();
        let counts = |appended| Counts {
            appended,
            ..Counts::default()
        };
        rates.take(start, counts(0));
        let flow = rates.take(start + Duration::from_millis(1), counts(5));
        assert_eq!(flow.messages_in, 0.0);
        let flow = rates.take(start + Duration::from_secs(1), counts(5));
        assert_eq!(flow.messages_in, 5.0);
    }
}
