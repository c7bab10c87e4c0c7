//! How long to wait before the next attempt. Pure: the randomness is an argument.

use std::time::Duration;

use super::Backoff;

/// Decorrelated jitter: between `min` and three times the wait before, at most `max`. Many gateways that lost the same
/// upstream at the same instant so do not come back at the same instant. `random` is uniform over all 64 bits.
#[must_use]
pub fn next_wait(backoff: Backoff, previous: Duration, random: u64) -> Duration {
    let upper = previous
        .max(backoff.min)
        .saturating_mul(3)
        .min(backoff.max)
        .max(backoff.min);
    let span = upper.saturating_sub(backoff.min).as_millis();
    let share = (u128::from(random).saturating_mul(span.saturating_add(1))) >> 64;
    backoff.min + Duration::from_millis(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        min: Duration::from_secs(1),
        max: Duration::from_secs(120),
    };

    #[test]
    fn the_wait_is_never_below_min_nor_above_max() {
        let mut wait = Duration::ZERO;
        for random in [0, u64::MAX, 1 << 40, u64::MAX / 2, u64::MAX, u64::MAX] {
            wait = next_wait(BACKOFF, wait, random);
            assert!((BACKOFF.min..=BACKOFF.max).contains(&wait), "{wait:?}");
        }
        assert_eq!(next_wait(BACKOFF, BACKOFF.max, 0), BACKOFF.min);
        assert_eq!(next_wait(BACKOFF, BACKOFF.max, u64::MAX), BACKOFF.max);
    }

    #[test]
    fn the_wait_grows_up_to_threefold() {
        let first = next_wait(BACKOFF, Duration::ZERO, u64::MAX);
        assert_eq!(first, Duration::from_secs(3));
        assert_eq!(next_wait(BACKOFF, first, u64::MAX), Duration::from_secs(9));
        assert_eq!(
            next_wait(BACKOFF, first, u64::MAX / 2),
            Duration::from_secs(5)
        );
    }

    #[test]
    fn a_max_below_min_gives_min() {
        let odd = Backoff {
            min: Duration::from_secs(5),
            max: Duration::from_secs(1),
        };
        assert_eq!(next_wait(odd, Duration::ZERO, u64::MAX), odd.min);
    }
}
