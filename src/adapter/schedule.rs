//! When which group is read: absolute deadlines on one wire. No I/O; `now` and the seed are arguments.
//!
//! - A group is due at `anchor + k * interval`, never "interval after the last one ended", so it does not drift. The
//!   anchors are spread over the interval, so that groups of the same interval do not come in bursts. The first reading
//!   comes within a second of the start whatever the interval.
//! - Among the groups that are due, the one whose next deadline is earliest goes first. The caller may ask again after
//!   each request of a group: a quick group then goes between the requests of a slow one.
//! - No bursts to catch up: of the deadlines that passed while a group could not be read, one is kept and the others
//!   are counted as overruns of the device.
//! - A suspended (offline) device has single probes, which go before polls but never twice in a row while a group of
//!   another device is due. Its groups come around only to say that they are bad: at once, then every minute or at
//!   their interval if that is longer.

use std::time::{Duration, Instant};

/// How often a group of an offline device says so.
const OFFLINE_INTERVAL: Duration = Duration::from_secs(60);
/// The first reading of every group is due within this.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// Longer intervals are taken as this: sums with them stay within what an `Instant` can hold.
const INTERVAL_MAX: Duration = Duration::from_secs(366 * 86_400);
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// 2^64 divided by the golden ratio: multiples of it, modulo 2^64, spread evenly for any count.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A group of a device: indices into the options of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which device of the connection.
    pub device: usize,
    /// Which group of the device.
    pub group: usize,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One request of this group; [`Schedule::finished`] after its last.
    Poll(Job),
    /// One request to this offline device; then [`Schedule::suspend`] or [`Schedule::resume`].
    Probe(usize),
    /// Nothing before then.
    Wait(Instant),
    /// Nothing ever.
    Idle,
}

/// The deadlines of one wire.
#[derive(Debug)]
pub struct Schedule {
    entries: Vec<Entry>,
    devices: Vec<Pace>,
    /// Whether the last request was a probe.
    probed: bool,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    interval: Duration,
    /// One point of the grid of deadlines.
    anchor: Instant,
    due: Instant,
}

#[derive(Clone, Debug, Default)]
struct Pace {
    /// When to probe next; `None` while the device is not suspended.
    probe_at: Option<Instant>,
    overruns: u64,
}

impl Schedule {
    /// `intervals[device][group]`.
    #[must_use]
    pub fn new(intervals: &[Vec<Duration>], now: Instant, seed: u64) -> Self {
        let mut entries = Vec::new();
        let mut phase = seed;
        for (device, groups) in intervals.iter().enumerate() {
            for (group, interval) in groups.iter().enumerate() {
                let interval = (*interval).clamp(INTERVAL_MIN, INTERVAL_MAX);
                entries.push(Entry {
                    job: Job { device, group },
                    interval,
                    anchor: now + part(interval, phase),
                    due: now + part(interval.min(FIRST_WITHIN), phase),
                });
                phase = phase.wrapping_add(GOLDEN);
            }
        }
        Self {
            entries,
            devices: vec![Pace::default(); intervals.len()],
            probed: false,
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Instant) -> Step {
        let poll = self.most_urgent(now);
        let poll_is_asked = poll.is_some_and(|job| !self.is_suspended(job.device));
        if !(self.probed && poll_is_asked)
            && let Some(device) = self.probe_due(now)
        {
            self.probed = true;
            return Step::Probe(device);
        }
        if let Some(job) = poll {
            if poll_is_asked {
                self.probed = false;
            }
            return Step::Poll(job);
        }
        let polls = self.entries.iter().map(|entry| entry.due);
        let probes = self.devices.iter().filter_map(|device| device.probe_at);
        polls.chain(probes).min().map_or(Step::Idle, Step::Wait)
    }

    /// The group has been read, or has said why not.
    pub fn finished(&mut self, job: Job, now: Instant) {
        let suspended = self.is_suspended(job.device);
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.job == job) else {
            return;
        };
        if suspended {
            entry.due = now + entry.interval.max(OFFLINE_INTERVAL);
            return;
        }
        // The deadline after `due` on the grid; `due` itself is off the grid where it was the first or one made up.
        entry.due = entry.grid_after(entry.due);
        let late = now.saturating_duration_since(entry.due);
        let missed = late.as_nanos() / entry.interval.as_nanos();
        if missed > 0 {
            let missed = u32::try_from(missed).unwrap_or(u32::MAX);
            entry.due += entry.interval.saturating_mul(missed).min(late);
            if let Some(device) = self.devices.get_mut(job.device) {
                device.overruns += u64::from(missed);
            }
        }
    }

    /// The device is offline: it is probed at `probe_at` and its groups say so from now on.
    pub fn suspend(&mut self, device: usize, probe_at: Instant, now: Instant) {
        let Some(pace) = self.devices.get_mut(device) else {
            return;
        };
        if pace.probe_at.replace(probe_at).is_none() {
            self.all_due(device, now);
        }
    }

    /// The device has answered: its groups are read at once, then at their deadlines.
    pub fn resume(&mut self, device: usize, now: Instant) {
        let Some(pace) = self.devices.get_mut(device) else {
            return;
        };
        if pace.probe_at.take().is_some() {
            self.all_due(device, now);
        }
    }

    /// Every suspended device is probed now: something has changed for all of them.
    pub fn probe_all(&mut self, now: Instant) {
        for probe_at in self
            .devices
            .iter_mut()
            .filter_map(|pace| pace.probe_at.as_mut())
        {
            *probe_at = now;
        }
    }

    /// Whether the device is suspended.
    #[must_use]
    pub fn is_suspended(&self, device: usize) -> bool {
        self.devices
            .get(device)
            .is_some_and(|pace| pace.probe_at.is_some())
    }

    /// Deadlines that passed without a reading, since the start.
    #[must_use]
    pub fn overruns(&self, device: usize) -> u64 {
        self.devices.get(device).map_or(0, |pace| pace.overruns)
    }

    fn all_due(&mut self, device: usize, now: Instant) {
        for entry in &mut self.entries {
            if entry.job.device == device {
                entry.due = now;
            }
        }
    }

    fn most_urgent(&self, now: Instant) -> Option<Job> {
        self.entries
            .iter()
            .filter(|entry| entry.due <= now)
            .min_by_key(|entry| entry.due + entry.interval)
            .map(|entry| entry.job)
    }

    fn probe_due(&self, now: Instant) -> Option<usize> {
        let due = |device: &Pace| device.probe_at.filter(|at| *at <= now);
        self.devices
            .iter()
            .enumerate()
            .filter_map(|(index, device)| due(device).map(|at| (at, index)))
            .min()
            .map(|(_, index)| index)
    }
}

impl Entry {
    /// The first deadline of the grid after `instant`.
    fn grid_after(&self, instant: Instant) -> Instant {
        let Some(since) = instant.checked_duration_since(self.anchor) else {
            return self.anchor;
        };
        let into = since.as_nanos() % self.interval.as_nanos();
        let rest = self.interval.as_nanos() - into;
        instant + Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX))
    }
}

/// `phase / 2^64` of a duration.
fn part(of: Duration, phase: u64) -> Duration {
    let nanos = (of.as_nanos() * u128::from(phase >> 32)) >> 32;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn job(device: usize, group: usize) -> Job {
        Job { device, group }
    }

    /// Runs for `span` with every request taking `cost(job)`; returns when each group was finished, in ms.
    fn run(
        schedule: &mut Schedule,
        start: Instant,
        span: Duration,
        cost: impl Fn(Job) -> Duration,
    ) -> Vec<(Job, u128)> {
        let (mut now, mut done) = (start, Vec::new());
        while now < start + span {
            match schedule.next(now) {
                Step::Poll(job) => {
                    done.push((job, (now - start).as_millis()));
                    now += cost(job);
                    schedule.finished(job, now);
                }
                Step::Wait(until) => now = until,
                step => panic!("{step:?}"),
            }
        }
        done
    }

    #[test]
    fn deadlines_do_not_drift_with_the_cost_of_reading() {
        let start = crate::clock::now();
        let mut schedule = Schedule::new(&[vec![100 * MS]], start, 0);
        let done = run(&mut schedule, start, 1000 * MS, |_| 30 * MS);
        let at: Vec<_> = done.iter().map(|(_, at)| *at).collect();
        assert_eq!(at, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        assert_eq!(schedule.overruns(0), 0);
    }

    #[test]
    fn missed_deadlines_are_counted_and_not_caught_up() {
        let start = crate::clock::now();
        let mut schedule = Schedule::new(&[vec![100 * MS]], start, 0);
        assert_eq!(schedule.next(start), Step::Poll(job(0, 0)));
        schedule.finished(job(0, 0), start + 1050 * MS);
        // 100 to 900 are gone, 1000 is still worth reading; then 1100 as if nothing had been.
        assert_eq!(schedule.overruns(0), 9);
        assert_eq!(schedule.next(start + 1050 * MS), Step::Poll(job(0, 0)));
        schedule.finished(job(0, 0), start + 1060 * MS);
        assert_eq!(
            schedule.next(start + 1060 * MS),
            Step::Wait(start + 1100 * MS)
        );
        // Late by one and a half: one of them is gone.
        schedule.finished(job(0, 0), start + 1350 * MS);
        assert_eq!(schedule.overruns(0), 10);
    }

    #[test]
    fn a_group_that_takes_longer_than_its_interval_is_read_without_pause() {
        let start = crate::clock::now();
        let mut schedule = Schedule::new(&[vec![100 * MS]], start, 0);
        let done = run(&mut schedule, start, 2200 * MS, |_| 110 * MS);
        assert_eq!(done.len(), 20);
        assert_eq!(schedule.overruns(0), 2);
    }

    #[test]
    fn start_phases_are_spread_and_the_first_reading_is_soon() {
        let start = crate::clock::now();
        let minute = Duration::from_secs(60);
        let mut schedule = Schedule::new(&[vec![minute; 20]], start, 7);
        let done = run(&mut schedule, start, 3 * minute, |_| Duration::ZERO);
        for group in 0..20 {
            let at: Vec<_> = done
                .iter()
                .filter(|(j, _)| j.group == group)
                .map(|(_, at)| *at)
                .collect();
            assert!(at[0] <= 1000, "{at:?}");
            assert_eq!(at[2] - at[1], 60_000, "{at:?}");
        }
        let mut steady: Vec<_> = done
            .iter()
            .map(|(_, at)| *at)
            .filter(|at| (60_000..120_000).contains(at))
            .collect();
        steady.sort_unstable();
        let widest = steady
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap();
        assert!(
            widest < 6000,
            "20 groups a minute leave a hole of {widest} ms"
        );
    }

    #[test]
    fn the_earliest_deadline_goes_first_even_between_requests_of_another_group() {
        let start = crate::clock::now();
        let (slow, quick) = (job(0, 0), job(1, 0));
        let mut schedule = Schedule::new(&[vec![1000 * MS], vec![100 * MS]], start, 0);
        // Each request takes 50 ms; the slow group needs many. The quick one is due 61 ms after the start.
        assert_eq!(schedule.next(start), Step::Poll(slow));
        assert_eq!(schedule.next(start + 50 * MS), Step::Poll(slow));
        assert_eq!(schedule.next(start + 100 * MS), Step::Poll(quick));
        schedule.finished(quick, start + 150 * MS);
        assert_eq!(schedule.next(start + 150 * MS), Step::Poll(slow));
        assert_eq!(schedule.next(start + 200 * MS), Step::Poll(quick));
    }

    #[test]
    fn no_group_starves_on_a_wire_that_is_overbooked() {
        let start = crate::clock::now();
        let mut schedule = Schedule::new(&[vec![100 * MS, 5000 * MS]], start, 0);
        let done = run(&mut schedule, start, 60_000 * MS, |_| 120 * MS);
        let slow = done.iter().filter(|(job, _)| job.group == 1).count();
        assert!(slow >= 11, "{slow} of 12");
        assert!(schedule.overruns(0) > 0);
    }

    #[test]
    fn an_offline_device_is_probed_and_says_so_now_and_then() {
        let start = crate::clock::now();
        let mut schedule = Schedule::new(&[vec![100 * MS]], start, 0);
        schedule.suspend(0, start + 1000 * MS, start);
        assert_eq!(schedule.next(start), Step::Poll(job(0, 0)));
        schedule.finished(job(0, 0), start);
        assert_eq!(schedule.next(start), Step::Wait(start + 1000 * MS));
        let probe = start + 1000 * MS;
        assert_eq!(schedule.next(probe), Step::Probe(0));
        schedule.suspend(0, start + 70_000 * MS, probe);
        assert_eq!(schedule.next(probe), Step::Wait(start + 60_000 * MS));
        schedule.resume(0, probe);
        assert_eq!(schedule.next(probe), Step::Poll(job(0, 0)));
        schedule.finished(job(0, 0), probe);
        assert_eq!(schedule.next(probe), Step::Wait(start + 1100 * MS));
        assert_eq!(schedule.overruns(0), 0);
    }

    #[test]
    fn probes_of_dead_devices_take_turns_with_polls() {
        let start = crate::clock::now();
        let intervals = [vec![100 * MS], vec![100 * MS], vec![100 * MS]];
        let mut schedule = Schedule::new(&intervals, start, 0);
        let now = start + 500 * MS;
        for device in [1, 2] {
            schedule.suspend(device, now, start);
            schedule.finished(job(device, 0), now);
        }
        assert_eq!(schedule.next(now), Step::Probe(1));
        schedule.suspend(1, now + 1000 * MS, now);
        assert_eq!(schedule.next(now), Step::Poll(job(0, 0)));
        schedule.finished(job(0, 0), now);
        assert_eq!(schedule.next(now), Step::Probe(2));
        schedule.suspend(2, now + 1000 * MS, now);
        schedule.probe_all(now);
        schedule.finished(job(0, 0), now);
        assert_eq!(schedule.next(now), Step::Probe(1));
    }
}
