//! How fast messages leave: at most so many a second, and so many bytes a second.
//!
//! Each limit is a clock of its own: every message moves it on by its cost, and while it is ahead of the real one by more
//! than [`BURST`] nothing leaves. So what was not used is not saved up, and a message that costs more than a burst leaves
//! all the same, and is paid for afterwards.

use std::time::{Duration, Instant};

use super::Core;
use crate::bridge::Rate;

/// What may leave at once after a pause, as time at the full rate. Small, because providers count by the second.
const BURST: Duration = Duration::from_millis(100);

/// The limits of one bridge. They outlive connections: a reconnect buys nothing.
#[derive(Debug)]
pub(super) struct Pace {
    messages: Limit,
    bytes: Limit,
}

#[derive(Debug)]
struct Limit {
    /// 0: none.
    per_second: u64,
    /// When all that was sent is paid for.
    paid_at: Option<Instant>,
}

impl Limit {
    fn new(per_second: u64) -> Self {
        Self {
            per_second,
            paid_at: None,
        }
    }

    fn opens_at(&self) -> Option<Instant> {
        self.paid_at?.checked_sub(BURST)
    }

    fn charge(&mut self, now: Instant, amount: u64) {
        if self.per_second == 0 {
            return;
        }
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let from = self.paid_at.map_or(now, |at| at.max(now));
        self.paid_at = from.checked_add(cost).or(self.paid_at);
    }
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            messages: Limit::new(rate.messages_per_second),
            bytes: Limit::new(rate.bytes_per_second),
        }
    }

    /// When the next message may leave, if not now.
    pub(super) fn closed_until(&self, now: Instant) -> Option<Instant> {
        let opens = self.messages.opens_at().max(self.bytes.opens_at());
        opens.filter(|at| *at > now)
    }

    /// A message of so many bytes leaves.
    pub(super) fn charge(&mut self, now: Instant, bytes: usize) {
        self.messages.charge(now, 1);
        self.bytes.charge(now, bytes as u64);
    }
}

impl Core {
    /// Whether the pace lets a message leave now.
    pub(super) fn is_paced(&self, now: Instant) -> bool {
        self.pace.closed_until(now).is_some()
    }

    /// When [`Core::pump`] is to be called for what the pace holds back, if it does.
    pub(super) fn set_pace_timer(&mut self, now: Instant) {
        let waits = self.queues.has_pending() || !self.due.is_empty() || self.newest.has_waiting();
        self.timers.pace = self.pace.closed_until(now).filter(|_| waits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages of `bytes` leave within `seconds`, by a sender that always has more.
    fn leave(rate: Rate, bytes: usize, seconds: u64) -> u64 {
        let mut now = crate::clock::now();
        let end = now + Duration::from_secs(seconds);
        let mut pace = Pace::new(rate);
        let mut left = 0;
        loop {
            while let Some(until) = pace.closed_until(now) {
                now = until;
            }
            if now >= end {
                return left;
            }
            pace.charge(now, bytes);
            left += 1;
        }
    }

    fn rate(messages_per_second: u64, bytes_per_second: u64) -> Rate {
        Rate {
            messages_per_second,
            bytes_per_second,
        }
    }

    #[test]
    fn in_the_long_run_as_many_leave_as_the_rate_says() {
        for (messages, bytes, size, per_second) in [
            (100, 0, 10, 100),
            (1, 0, 10, 1),
            (0, 1000, 100, 10),
            (100, 1000, 100, 10),
            (5, 1_000_000, 100, 5),
        ] {
            let left = leave(rate(messages, bytes), size, 100);
            let burst = per_second / 10 + 2;
            let expected = per_second * 100;
            assert!((expected..=expected + burst).contains(&left), "{left}");
        }
    }

    #[test]
    fn a_message_above_the_rate_leaves_and_is_paid_for_afterwards() {
        let now = crate::clock::now();
        let mut pace = Pace::new(rate(0, 1000));
        assert_eq!(pace.closed_until(now), None);
        pace.charge(now, 10_000);
        let opens = now + Duration::from_secs(10) - BURST;
        assert_eq!(pace.closed_until(now), Some(opens));
        assert_eq!(pace.closed_until(opens), None);
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_burst() {
        let now = crate::clock::now();
        let mut pace = Pace::new(rate(100, 0));
        pace.charge(now, 1);
        let later = now + Duration::from_secs(3600);
        let mut left = 0;
        while pace.closed_until(later).is_none() {
            pace.charge(later, 1);
            left += 1;
        }
        assert_eq!(left, 11);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let now = crate::clock::now();
        let mut pace = Pace::new(Rate::default());
        (0..1000).for_each(|_| pace.charge(now, usize::MAX));
        assert_eq!(pace.closed_until(now), None);
    }
}
