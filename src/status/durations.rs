//! How long things took, as it is shown. Plain data.

use serde::{Deserialize, Serialize};

use crate::metrics::Histogram;

/// Since the start of the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// How many.
    pub count: u64,
    /// All of them one after the other, in seconds.
    pub sum_s: f64,
    /// Seconds, ascending, and how many took no longer.
    pub within_s: Vec<(f64, u64)>,
}

impl From<&Histogram> for Durations {
    fn from(histogram: &Histogram) -> Self {
        let within = histogram.within();
        Self {
            count: histogram.count(),
            sum_s: histogram.sum().as_secs_f64(),
            within_s: within
                .map(|(bound, count)| (bound.as_secs_f64(), count))
                .collect(),
        }
    }
}
