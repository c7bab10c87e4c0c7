//! Opening a backlog after kill -9: how long it takes, and the RAM then and while all of it is read and ticked off. Neither may
//! grow with the backlog. Each opening is a process of its own, and each but the last is killed in its turn.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use fieldgate::clock;
use fieldgate::store::Log;
use tempfile::tempdir;

use super::meter::{Memory, median, met, since};
use super::{Part, backlog};

/// Openings of a backlog.
const ROUNDS: usize = 5;
const PER_COMMIT: u64 = 1000;
/// RAM above that of a process with an empty backlog.
const GOAL_BYTES: f64 = 12e6;

const FILL: &str = "fill-until-killed";
const OPEN: &str = "open-until-killed";
const EMPTY: &str = "open-and-drain";

/// What another process of this program does.
pub fn child(name: &str) -> Option<Part> {
    match name {
        FILL => Some(|arguments| fill(&arguments[0], arguments[1].parse().unwrap())),
        OPEN => Some(|arguments| open(&arguments[0], false)),
        EMPTY => Some(|arguments| open(&arguments[0], true)),
        _ => None,
    }
}

pub fn run(arguments: &[String]) {
    let mut sizes = vec![10_000, 1_000_000];
    if arguments.iter().any(|argument| argument == "--10m") {
        sizes.push(10_000_000);
    }
    let folder = tempdir().unwrap();
    let idle = Backlog(folder.path().join("idle")).measure();
    println!(
        "opening after kill -9                         open ms   RSS + KiB   drained: RSS peak + KiB"
    );
    let mut slowest: Vec<f64> = Vec::new();
    let mut highest = 0.0_f64;
    for size in sizes {
        let backlog = Backlog(folder.path().join(size.to_string()));
        backlog.fill(size);
        let opened = backlog.measure();
        assert!(
            opened.messages >= size as f64,
            "{} of {size}",
            opened.messages
        );
        assert!(
            opened.drained >= opened.messages,
            "{} of {}",
            opened.drained,
            opened.messages
        );
        let (rss, peak) = (opened.rss - idle.rss, opened.peak - idle.rss);
        println!(
            "  {:>12} messages, {:>7.1} MB{:>19.1}{:>12.0}{:>26.0}",
            opened.messages,
            opened.file_bytes / 1e6,
            opened.millis,
            rss / 1024.0,
            peak / 1024.0,
        );
        slowest.push(opened.millis);
        highest = highest.max(peak);
    }
    println!(
        "  {:>12} messages{:>31.1}   RSS {:.0} KiB",
        0,
        idle.millis,
        idle.rss / 1024.0
    );
    let growth = slowest.last().unwrap() / slowest[0];
    println!("    the largest takes {growth:.2} times as long to open as the smallest");
    println!(
        "    RSS at most {:.1} MB above idle, goal {:.0}: {}",
        highest / 1e6,
        GOAL_BYTES / 1e6,
        met(highest <= GOAL_BYTES)
    );
}

/// Its folder.
struct Backlog(PathBuf);

#[derive(Default)]
struct Opened {
    millis: f64,
    rss: f64,
    messages: f64,
    file_bytes: f64,
    drained: f64,
    peak: f64,
}

impl Backlog {
    fn fill(&self, messages: u64) {
        let mut filling = Process::start(FILL, &self.0, &messages.to_string());
        filling.figures();
        filling.kill();
    }

    fn measure(&self) -> Opened {
        let mut openings = Vec::new();
        for _ in 0..ROUNDS {
            let mut process = Process::start(OPEN, &self.0, "");
            openings.push(process.figures());
            process.kill();
        }
        let of = |column: usize| median(openings.iter().map(|figures| figures[column]));
        let mut process = Process::start(EMPTY, &self.0, "");
        let opened = process.figures();
        let drained = process.figures();
        Opened {
            millis: of(0),
            rss: of(1),
            messages: opened[2],
            file_bytes: opened[3],
            drained: drained[0],
            peak: drained[1],
        }
    }
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(what: &str, folder: &Path, more: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([what.as_ref(), folder, more.as_ref()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for its next line.
    fn figures(&mut self) -> Vec<f64> {
        let line = self.lines.next().unwrap().unwrap();
        line.split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    }

    /// With SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.wait());
    }
}

fn tell(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn fill(folder: &str, messages: u64) {
    let runtime = backlog::runtime();
    let log = Log::open(backlog::filled_options(folder.as_ref())).unwrap();
    backlog::fill(&runtime, &log, PER_COMMIT, messages / PER_COMMIT);
    tell(&messages.to_string());
    loop {
        backlog::fill(&runtime, &log, PER_COMMIT, 1);
    }
}

fn open(folder: &str, and_drain: bool) {
    let runtime = backlog::runtime();
    let started = clock::now();
    let log = Log::open(backlog::options(folder.as_ref())).unwrap();
    let millis = since(started) * 1000.0;
    let stats = log.stats();
    let rss = Memory::of_this().rss;
    tell(&format!(
        "{millis} {rss} {} {}",
        stats.messages, stats.file_bytes
    ));
    if and_drain {
        let drained = backlog::drain(&runtime, &log);
        tell(&format!("{drained} {}", Memory::of_this().peak));
        return log.close();
    }
    loop {
        thread::park();
    }
}
