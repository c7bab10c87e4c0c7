//! Counters, gauges and histograms. Instances handed in, never globals: the demo runs two brokers in one process.
//!
//! A room that counts defines a struct of these; whoever shows figures reads that struct.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bounds of a [`Histogram`], in milliseconds: from a quick device in the same network, or a good disk, to a device behind a
/// radio link, or a card that stalls.
const BOUNDS_MS: [u64; 11] = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];

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

/// How long things took since the program started. All have the same bounds. A plain value: who counts keeps it, and gives copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Each is counted once: at the lowest bound that it kept, or behind all of them.
    counts: [u64; BOUNDS_MS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// One more.
    pub fn observe(&mut self, took: Duration) {
        let place = BOUNDS_MS.partition_point(|bound| Duration::from_millis(*bound) < took);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(took);
    }

    /// Takes in what another has.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them one after the other.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Each bound, the lowest first, and how many took no longer.
    pub fn within(&self) -> impl Iterator<Item = (Duration, u64)> {
        let bounds = BOUNDS_MS.into_iter().map(Duration::from_millis);
        let so_far = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.zip(so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(histogram: &Histogram, milliseconds: u64) -> u64 {
        let bound = Duration::from_millis(milliseconds);
        let mut bounds = histogram.within();
        bounds.find(|(known, _)| *known == bound).unwrap().1
    }

    #[test]
    fn what_takes_as_long_as_a_bound_has_kept_it_and_what_is_beyond_all_is_counted() {
        let mut times = Histogram::default();
        for micros in [0, 1000, 1001, 10_000_000, 10_000_001] {
            times.observe(Duration::from_micros(micros));
        }
        assert_eq!(within(&times, 1), 2);
        assert_eq!(within(&times, 5), 3);
        assert_eq!(within(&times, 2500), 3);
        assert_eq!(within(&times, 10_000), 4);
        assert_eq!(times.count(), 5);
        assert_eq!(times.sum(), Duration::from_micros(20_002_002));
    }

    #[test]
    fn two_together_are_as_one_that_saw_all() {
        let [mut one, mut other, mut all] = [Histogram::default(); 3];
        for millis in 0..3000 {
            let took = Duration::from_millis(millis);
            all.observe(took);
            if millis % 3 == 0 {
                &mut one
            } else {
                &mut other
            }
            .observe(took);
        }
        one.add(&other);
        assert_eq!(one, all);
    }

    #[test]
    fn the_longest_that_there_is_is_counted() {
        let mut times = Histogram::default();
        times.observe(Duration::MAX);
        times.observe(Duration::MAX);
        assert_eq!((times.count(), times.sum()), (2, Duration::MAX));
    }
}
