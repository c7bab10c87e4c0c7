//! How late requests came, as the devices saw it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::devices::Asked;

/// Of requests on grids of deadlines, one for each unit.
#[derive(Debug)]
pub struct Lateness {
    /// Ascending.
    late: Vec<Duration>,
    /// Deadlines without a request.
    missed: usize,
}

impl Lateness {
    /// Takes the grid of a unit from its requests: nobody asks before a deadline, so the request that is earliest on the
    /// grid was on time.
    pub fn of(requests: &[Asked], interval: Duration) -> Self {
        let mut units: BTreeMap<u8, Vec<Instant>> = BTreeMap::new();
        for asked in requests {
            units.entry(asked.unit).or_default().push(asked.at);
        }
        let mut all = Self {
            late: Vec::new(),
            missed: 0,
        };
        for times in units.values() {
            all.add(times, interval);
        }
        all.late.sort();
        all
    }

    /// `times` ascend.
    fn add(&mut self, times: &[Instant], interval: Duration) {
        // A grid somewhere, and where the requests are from its points, first to last.
        let grid = times[0] - interval / 2;
        let mut points = Vec::new();
        let mut offsets = Vec::new();
        for time in times {
            let since = time.duration_since(grid);
            let point = (since.as_nanos() / interval.as_nanos()) as u32;
            points.push(point);
            offsets.push(since - interval * point);
        }
        let earliest = *offsets.iter().min().unwrap();
        self.late
            .extend(offsets.iter().map(|offset| *offset - earliest));
        let deadlines = points[points.len() - 1] - points[0] + 1;
        points.dedup();
        self.missed += deadlines as usize - points.len();
    }

    /// In ms; 1.0 is the latest.
    fn quantile(&self, part: f64) -> f64 {
        let last = self.late.len() - 1;
        self.late[(part * last as f64).round() as usize].as_secs_f64() * 1e3
    }
}

impl fmt::Display for Lateness {
    /// The columns p50, p99, max, missed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [0.5, 0.99, 1.0] {
            write!(f, "{:>8.2}", self.quantile(part))?;
        }
        write!(f, "{:>8}", self.missed)
    }
}
