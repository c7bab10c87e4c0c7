//! Counters and gauges. Instances handed in, never globals: the demo runs two brokers in one process.
//!
//! A room that counts defines a struct of these; whoever shows figures reads that struct.

use std::sync::atomic::{AtomicU64, Ordering};

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
