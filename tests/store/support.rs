//! A log in a temporary folder, and the waiting for its progress.

use std::time::{Duration, Instant};

use fieldgate::clock::WallTime;
use fieldgate::mqtt::{Message, QoS};
use fieldgate::store::{CommitNumber, Entry, Log, LogOptions, Outcome, Progress, Record, Seq};
use fieldgate::topic::TopicName;
use tempfile::TempDir;

/// Waits are bounded only so that a failed test ends.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn options(folder: &TempDir) -> LogOptions {
    LogOptions {
        commit_interval: Duration::from_millis(2),
        ..LogOptions::new(folder.path().join("cloud"))
    }
}

pub fn open(folder: &TempDir) -> Log {
    Log::open(options(folder)).unwrap()
}

/// A message whose payload tells its position.
pub fn record(qos: QoS, seq: u64, size: usize) -> Record {
    let mut payload = seq.to_le_bytes().to_vec();
    payload.resize(size.max(8), 0x33);
    let topic = TopicName::try_from(format!("press/{}", seq % 5)).unwrap();
    Record {
        message: Message::new(topic, payload.into(), qos, false),
        stamped: WallTime(1_800_000_000_000 + seq),
    }
}

pub fn append(log: &Log, qos: QoS, size: usize) -> Seq {
    let seq = log.next_seq();
    log.append(Instant::now(), seq, record(qos, seq.0, size), None);
    seq
}

pub fn append_many(log: &Log, count: u64, size: usize) -> Seq {
    let mut last = Seq(0);
    for _ in 0..count {
        last = append(log, QoS::AtLeastOnce, size);
    }
    last
}

pub async fn wait(log: &Log, reached: impl FnMut(&Progress) -> bool) {
    let mut progress = log.progress();
    tokio::time::timeout(PATIENCE, progress.wait_for(reached))
        .await
        .expect("in time")
        .unwrap();
}

pub async fn covered(log: &Log, seq: Seq) {
    wait(log, |progress| progress.covered >= seq).await;
}

pub async fn committed(log: &Log, number: CommitNumber) {
    wait(log, |progress| progress.commits >= number).await;
}

pub fn done(log: &Log, seqs: impl IntoIterator<Item = u64>) {
    log.done(
        Instant::now(),
        seqs.into_iter().map(|seq| (Seq(seq), Outcome::Delivered)),
    );
}

/// Reads to the end, in small portions, without marking anything as done.
pub async fn read_all(log: &Log) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut from = Seq(0);
    loop {
        let entries = log.read(from, 97, 64 << 10).await.unwrap();
        let Some(last) = entries.last() else {
            return all;
        };
        from = Seq(last.seq.0 + 1);
        all.extend(entries);
    }
}

pub fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq.0).collect()
}

/// The entries are those from `first` to `last`, none missing.
pub fn assert_run(entries: &[Entry], first: u64, last: u64) {
    let found = seqs(entries);
    let is_run = found.iter().copied().eq(first..=last);
    let ends = (found.first(), found.last(), found.len());
    assert!(is_run, "{ends:?} instead of {first} to {last}");
}

/// Every entry is what was appended at its position.
pub fn assert_intact(entries: &[Entry], size: usize) {
    for entry in entries {
        let expected = record(entry.record.message.qos, entry.seq.0, size);
        assert_eq!(entry.record, expected, "position {}", entry.seq.0);
    }
}

/// Names of the log's files, sorted.
pub fn files(folder: &TempDir) -> Vec<String> {
    let path = folder.path().join("cloud");
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
