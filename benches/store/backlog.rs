//! A backlog to measure: filled commit by commit, read as a bridge reads it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fieldgate::clock;
use fieldgate::mqtt::{Message, QoS};
use fieldgate::store::{LinkHealth, Log, LogOptions, Outcome, Record, Seq};
use fieldgate::topic::TopicName;
use tokio::runtime::{Builder, Runtime};

use super::SIZE;

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Large enough for whatever is measured.
pub fn options(folder: &Path) -> LogOptions {
    LogOptions {
        max_bytes: 16 << 30,
        ..LogOptions::new(folder.join("cloud"))
    }
}

/// The same, for [`fill`]: what is in a commit is decided there.
pub fn filled_options(folder: &Path) -> LogOptions {
    LogOptions {
        commit_interval: Duration::ZERO,
        hold_for_upstream: Duration::from_secs(3600),
        ..options(folder)
    }
}

pub fn message(qos: QoS) -> Message {
    let topic = TopicName::try_from("plant/press-line-3/temperature").unwrap();
    Message::new(topic, Bytes::from(vec![0x5a; SIZE]), qos, false)
}

pub fn append(log: &Log, message: &Message) -> Seq {
    let seq = log.next_seq();
    let record = Record {
        message: message.compact(),
        stamped: clock::wall(),
    };
    log.append(clock::now(), seq, record, None);
    seq
}

/// Each round is one commit: what was held becomes due at once when the link is said to be down.
pub fn fill(runtime: &Runtime, log: &Log, per_commit: u64, commits: u64) -> u64 {
    let message = message(QoS::AtLeastOnce);
    let mut progress = log.progress();
    for _ in 0..commits {
        log.link(clock::now(), LinkHealth::Up);
        let mut last = Seq(0);
        for _ in 0..per_commit {
            last = append(log, &message);
        }
        log.link(clock::now(), LinkHealth::Down);
        runtime
            .block_on(progress.wait_for(|progress| progress.covered >= last))
            .unwrap();
    }
    per_commit * commits
}

/// Reads and ticks off all there is.
pub fn drain(runtime: &Runtime, log: &Log) -> u64 {
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
            log.done(clock::now(), [(entry.seq, Outcome::Delivered)]);
        }
    }
}
