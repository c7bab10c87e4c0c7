//! The backlog: appending with 1, 100 and 1000 messages a commit, and draining from the files. Prints messages a second,
//! bytes given to the medium and syncs, both per message, for messages of 256 bytes. `cargo bench --bench backlog`.
//!
//! Messages per second depend on the disk under the temporary folder (set TMPDIR); bytes and syncs do not.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench measures time, and stops where it cannot"
)]

use std::time::{Duration, Instant};

use fieldgate::clock;
use fieldgate::mqtt::{Message, QoS};
use fieldgate::store::{LinkHealth, Log, LogOptions, LogStats, Outcome, Record, Seq};
use fieldgate::topic::TopicName;
use tokio::runtime::{Builder, Runtime};

const PAYLOAD: [u8; 256] = [0x5a; 256];

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    println!("256 byte messages              msg/s   bytes/msg   syncs/msg");
    for (per_commit, commits) in [(1, 1000), (100, 500), (1000, 500)] {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions {
            commit_interval: Duration::ZERO,
            hold_for_upstream: Duration::from_secs(3600),
            ..LogOptions::new(folder.path().join("bench"))
        };
        let log = Log::open(options.clone()).unwrap();
        measure(&format!("append, {per_commit} a commit"), &log, || {
            fill(&runtime, &log, per_commit, commits)
        });
        log.close();
        drop(log);
        let started = Instant::now();
        let log = Log::open(options).unwrap();
        println!(
            "open with {} messages took {:?}",
            per_commit * commits,
            started.elapsed()
        );
        measure("drain from the files", &log, || drain(&runtime, &log));
    }
}

fn measure(what: &str, log: &Log, work: impl FnOnce() -> u64) {
    let before = log.stats();
    let started = Instant::now();
    let messages = work() as f64;
    let elapsed = started.elapsed().as_secs_f64();
    let after = log.stats();
    let each = |figure: fn(&LogStats) -> u64| (figure(&after) - figure(&before)) as f64 / messages;
    println!(
        "{what:<28} {:>9.0} {:>11.1} {:>11.5}",
        messages / elapsed,
        each(|stats| stats.bytes_written),
        each(|stats| stats.syncs),
    );
}

/// Each round is one commit: what was held becomes due at once when the link is said to be down.
fn fill(runtime: &Runtime, log: &Log, per_commit: u64, commits: u64) -> u64 {
    let topic = TopicName::try_from("plant/press-line-3/temperature").unwrap();
    let mut progress = log.progress();
    for _ in 0..commits {
        log.link(clock::now(), LinkHealth::Up);
        let mut last = Seq(0);
        for _ in 0..per_commit {
            last = log.next_seq();
            let payload = bytes::Bytes::copy_from_slice(&PAYLOAD);
            let record = Record {
                message: Message::new(topic.clone(), payload, QoS::AtLeastOnce, false),
                stamped: clock::wall(),
            };
            log.append(clock::now(), last, record, None);
        }
        log.link(clock::now(), LinkHealth::Down);
        runtime
            .block_on(progress.wait_for(|progress| progress.covered >= last))
            .unwrap();
    }
    per_commit * commits
}

fn drain(runtime: &Runtime, log: &Log) -> u64 {
    let mut drained = 0;
    let mut from = Seq(0);
    loop {
        let entries = runtime.block_on(log.read(from, 200, 1 << 20)).unwrap();
        let Some(last) = entries.last() else {
            return drained;
        };
        from = Seq(last.seq.0 + 1);
        drained += entries.len() as u64;
        for entry in entries {
            log.done(clock::now(), entry.seq, Outcome::Delivered);
        }
    }
}
