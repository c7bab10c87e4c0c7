//! Counters, gauges, and how many lines of a kind the log may have. Instances handed in, never globals: the demo runs two brokers in one process.
//!
//! A room that counts defines a struct of these; whoever shows figures reads that struct.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts up from 0 since the program started.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A level that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// Sets the level.
    pub fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The level last set.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Room in the log for what strangers can cause: a flood of them must not wear out the disk. Twenty lines a minute.
#[derive(Debug, Default)]
pub struct LogBudget(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    began: Option<Instant>,
    lines: u64,
}

impl LogBudget {
    /// Lines a minute.
    pub const LINES: u64 = 20;
    const MINUTE: Duration = Duration::from_secs(60);

    /// `None`: say nothing now. `Some`: there is room for a line; so many had none in the minute before.
    pub fn spend(&self, now: Instant) -> Option<u64> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = minute
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= Self::MINUTE);
        let mut unsaid = 0;
        if is_over {
            unsaid = minute.lines.saturating_sub(Self::LINES);
            minute.began = Some(now);
            minute.lines = 0;
        }
        minute.lines += 1;
        (minute.lines <= Self::LINES).then_some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_twenty_lines_a_minute_and_a_count() {
        let budget = LogBudget::default();
        let start = tokio::time::Instant::now().into_std();
        let said = (0..50).filter_map(|_| budget.spend(start)).count();
        assert_eq!(said, 20);
        assert_eq!(budget.spend(start + LogBudget::MINUTE), Some(30));
        assert_eq!(budget.spend(start + LogBudget::MINUTE), Some(0));
        assert_eq!(budget.spend(start + LogBudget::MINUTE * 2), Some(0));
    }
}
