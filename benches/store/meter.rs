//! What the kernel counts of a process, medians, and verdicts.

use std::fs;
use std::time::Instant;

use fieldgate::clock;

/// What a process has written since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Bytes of its write calls.
    pub given: u64,
    /// Bytes of the pages that these dirtied, of files on a disk.
    pub pages: u64,
}

impl Written {
    /// Of process `pid`, or `self`.
    pub fn of(pid: &str) -> Self {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        Self {
            given: field(&io, "wchar:"),
            pages: field(&io, "write_bytes:"),
        }
    }
}

/// What a process takes of RAM, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub rss: u64,
    /// Highest so far.
    pub peak: u64,
}

impl Memory {
    pub fn of_this() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        Self {
            rss: field(&status, "VmRSS:") << 10,
            peak: field(&status, "VmHWM:") << 10,
        }
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.map_or(0, |number| number.parse().unwrap())
}

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub messages_per_second: f64,
    /// These are of one message.
    pub given: f64,
    pub pages: f64,
    pub syncs: f64,
}

impl Cost {
    pub fn new(messages: u64, seconds: f64, written: Written, syncs: u64) -> Self {
        let each = |figure: u64| figure as f64 / messages as f64;
        Self {
            messages_per_second: messages as f64 / seconds,
            given: each(written.given),
            pages: each(written.pages),
            syncs: each(syncs),
        }
    }

    /// Of `work`, done in this process, which tells of how many messages it was; `syncs` counts those so far.
    pub fn of(syncs: impl Fn() -> u64, work: impl FnOnce() -> u64) -> Self {
        let (before, synced) = (Written::of("self"), syncs());
        let started = clock::now();
        let messages = work();
        let seconds = since(started);
        let after = Written::of("self");
        let written = Written {
            given: after.given - before.given,
            pages: after.pages - before.pages,
        };
        Self::new(messages, seconds, written, syncs() - synced)
    }

    /// Of several runs, figure by figure.
    pub fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure));
        Self {
            messages_per_second: of(|run| run.messages_per_second),
            given: of(|run| run.given),
            pages: of(|run| run.pages),
            syncs: of(|run| run.syncs),
        }
    }

    pub fn header(title: &str) {
        println!(
            "{title:<42} {:>11} {:>11} {:>11} {:>9}",
            "msg/s", "given/msg", "pages/msg", "syncs/msg"
        );
    }

    pub fn print(&self, what: &str) {
        println!(
            "  {what:<40} {:>11.0} {:>11.1} {:>11.1} {:>9.5}",
            self.messages_per_second, self.given, self.pages, self.syncs
        );
    }
}

pub fn since(started: Instant) -> f64 {
    clock::now().duration_since(started).as_secs_f64()
}

pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Median of the ratios of runs that were neighbours.
pub fn ratio(ours: &[Cost], theirs: &[Cost], figure: fn(&Cost) -> f64) -> f64 {
    let pairs = ours.iter().zip(theirs);
    median(pairs.map(|(ours, theirs)| figure(ours) / figure(theirs)))
}

pub fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}
