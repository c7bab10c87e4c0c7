//! How often refusals are logged. Whoever floods the broker with what it may not do must not flood the journal as well.
//! No I/O: the time is an argument.

use std::time::{Duration, Instant};

/// Lines logged without a pause.
const BURST: u32 = 20;
/// After that, one each.
const INTERVAL: Duration = Duration::from_secs(5);

/// Refusals of one kind: [`BURST`](self) lines at once, then one every five seconds; what was left out is counted.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Lines that may still be written, and since when that has been so.
    left: Option<(u32, Instant)>,
    left_out: u64,
}

impl Refusals {
    /// Whether a refusal is to be logged; with how many were left out since the last that was.
    pub(super) fn log(&mut self, now: Instant) -> Option<u64> {
        let (left, since) = self.left.unwrap_or((BURST, now));
        let earned = now.saturating_duration_since(since).as_secs() / INTERVAL.as_secs();
        let left =
            u32::try_from(earned).map_or(BURST, |earned| left.saturating_add(earned).min(BURST));
        let since = if earned > 0 { now } else { since };
        let Some(remaining) = left.checked_sub(1) else {
            self.left = Some((0, since));
            self.left_out += 1;
            return None;
        };
        self.left = Some((remaining, since));
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_a_trickle_told() {
        let start = crate::clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut refusals = Refusals::default();
        let told = (0..100).filter(|_| refusals.log(at(0)).is_some()).count();
        assert_eq!(told, 20);
        assert_eq!(refusals.log(at(4)), None);
        assert_eq!(refusals.log(at(5)), Some(81));
        assert_eq!(refusals.log(at(5)), None);
        assert_eq!(refusals.log(at(1000)), Some(1));
        let told = (0..100)
            .filter(|_| refusals.log(at(1000)).is_some())
            .count();
        assert_eq!(told, 19, "no more than a burst is saved up");
    }
}
