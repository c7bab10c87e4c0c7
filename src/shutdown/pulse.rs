//! How a part shows that it is alive, to whoever must know: systemd is told so only while all are. No I/O.
//!
//! A part says when it will be here again at the latest ([`Pulse::rest_until`] before it waits, [`Pulse::beat`] before it
//! works). It is late when that time has passed by more than its limit, which is what its longest step may take. So a part
//! that has nothing to do for an hour is not late, and one that hangs in a step or was lost is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The pulse of one part. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    name: String,
    limit: Duration,
    origin: Instant,
    /// Milliseconds after the origin; `u64::MAX`: it has ended as it should.
    back_at: AtomicU64,
}

impl Pulse {
    /// Of a part with this name that begins now, and none of whose steps takes longer than `limit`.
    #[must_use]
    pub fn new(name: impl Into<String>, limit: Duration, now: Instant) -> Self {
        Self(Arc::new(Beats {
            name: name.into(),
            limit,
            origin: now,
            back_at: AtomicU64::new(0),
        }))
    }

    /// It is here, and begins its next step.
    pub fn beat(&self, now: Instant) {
        self.rest_until(now);
    }

    /// It waits, until then at the latest.
    pub fn rest_until(&self, at: Instant) {
        let millis = at.saturating_duration_since(self.0.origin).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.0
            .back_at
            .store(millis.min(u64::MAX - 1), Ordering::Relaxed);
    }

    /// It has ended, as it was asked to.
    pub fn end(&self) {
        self.0.back_at.store(u64::MAX, Ordering::Relaxed);
    }

    /// Which part.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How long ago it should have been here; `None` where that is within its limit, or it has ended.
    #[must_use]
    pub fn late(&self, now: Instant) -> Option<Duration> {
        let back_at = self.0.back_at.load(Ordering::Relaxed);
        if back_at == u64::MAX {
            return None;
        }
        let since = now.saturating_duration_since(self.0.origin);
        let late = since.saturating_sub(Duration::from_millis(back_at));
        (late > self.0.limit).then_some(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    fn pulse() -> (Pulse, Instant) {
        let now = tokio::time::Instant::now().into_std();
        (Pulse::new("wire", LIMIT, now), now)
    }

    #[test]
    fn a_part_that_never_beats_is_late_after_its_limit() {
        let (pulse, start) = pulse();
        assert_eq!(pulse.late(start), None);
        assert_eq!(pulse.late(start + LIMIT), None);
        assert_eq!(pulse.late(start + LIMIT + SECOND), Some(LIMIT + SECOND));
        assert_eq!(pulse.name(), "wire");
    }

    #[test]
    fn a_part_that_hangs_in_a_step_is_late_and_is_not_when_it_goes_on() {
        let (pulse, start) = pulse();
        pulse.beat(start + LIMIT * 2);
        assert_eq!(pulse.late(start + LIMIT * 3), None);
        let late = pulse.late(start + LIMIT * 4);
        assert_eq!(late, Some(LIMIT * 2));
        pulse.beat(start + LIMIT * 4);
        assert_eq!(pulse.late(start + LIMIT * 4), None);
    }

    #[test]
    fn a_part_may_rest_as_long_as_it_said_and_one_that_ended_for_ever() {
        let (pulse, start) = pulse();
        pulse.rest_until(start + LIMIT * 100);
        assert_eq!(pulse.late(start + LIMIT * 101), None);
        assert_eq!(pulse.late(start + LIMIT * 102), Some(LIMIT * 2));
        pulse.end();
        assert_eq!(pulse.late(start + LIMIT * 1000), None);
    }
}
