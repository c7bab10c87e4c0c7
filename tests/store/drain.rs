//! A backlog that is longer than what RAM holds: read from the files, drained, and gone from the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fieldgate::mqtt::QoS;
use fieldgate::store::{LinkHealth, Log, LogOptions, Outcome, Seq};
use tempfile::{TempDir, tempdir};

use crate::support::{
    PATIENCE, append, append_many, assert_intact, assert_run, covered, done, files, open, options,
    read_all, seqs, wait,
};

/// Generations of 2 MiB and a tail of 64 KiB.
fn small(folder: &TempDir) -> LogOptions {
    LogOptions {
        hold_bytes: 64 << 10,
        max_bytes: 16 << 20,
        ..options(folder)
    }
}

async fn fill(log: &Log, count: u64, size: usize) {
    for _ in 0..count {
        log.room().await;
        append(log, QoS::AtLeastOnce, size);
    }
    covered(log, Seq(count)).await;
}

#[tokio::test]
async fn a_backlog_beyond_ram_is_read_from_the_files_in_order() {
    let folder = tempdir().unwrap();
    let log = Log::open(small(&folder)).unwrap();
    fill(&log, 4500, 1000).await;
    assert!(files(&folder).len() > 2, "{:?}", files(&folder));
    let entries = read_all(&log).await;
    assert_run(&entries, 1, 4500);
    assert_intact(&entries, 1000);
    assert!(entries.iter().all(|entry| !entry.maybe_sent));
    drop(log);

    let log = Log::open(small(&folder)).unwrap();
    assert_eq!(log.stats().messages, 4500);
    let entries = read_all(&log).await;
    assert_run(&entries, 1, 4500);
    assert_intact(&entries, 1000);
}

#[tokio::test]
async fn a_read_keeps_to_what_was_asked_for() {
    let folder = tempdir().unwrap();
    let log = Log::open(small(&folder)).unwrap();
    fill(&log, 300, 1000).await;
    for from in [1, 290] {
        let by_count = log.read(Seq(from), 5, 1 << 20).await.unwrap();
        assert_eq!(seqs(&by_count), (from..from + 5).collect::<Vec<_>>());
        let by_bytes = log.read(Seq(from), 100, 3500).await.unwrap();
        assert_eq!(seqs(&by_bytes), (from..from + 3).collect::<Vec<_>>());
        let one_at_least = log.read(Seq(from), 0, 0).await.unwrap();
        assert_eq!(seqs(&one_at_least), [from]);
    }
    assert_eq!(log.read(Seq(301), 5, 5).await.unwrap(), []);
}

#[tokio::test]
async fn a_drained_generation_is_unlinked() {
    let folder = tempdir().unwrap();
    let log = Log::open(small(&folder)).unwrap();
    fill(&log, 4500, 1000).await;
    let mut from = Seq(0);
    loop {
        let entries = log.read(from, 50, 1 << 20).await.unwrap();
        let Some(last) = entries.last() else { break };
        from = Seq(last.seq.0 + 1);
        // As acknowledgements come: not in order.
        let (even, odd): (Vec<_>, Vec<_>) =
            seqs(&entries).into_iter().partition(|seq| seq % 2 == 0);
        done(&log, even);
        done(&log, odd);
    }
    wait(&log, |progress| progress.cursor == Seq(4500)).await;
    assert_eq!(log.stats().messages, 0);
    log.close();
    let left = files(&folder);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].as_str() >= "q-00000003.redb", "{left:?}");
    drop(log);
    let log = Log::open(small(&folder)).unwrap();
    assert!(read_all(&log).await.is_empty());
    assert_eq!(log.next_seq(), Seq(4501));
}

#[tokio::test]
async fn the_cursor_passes_what_was_never_written() {
    let folder = tempdir().unwrap();
    let log = Log::open(LogOptions {
        hold_for_upstream: Duration::from_millis(1),
        ..small(&folder)
    })
    .unwrap();
    log.link(Instant::now(), LinkHealth::Up);
    for number in 0..600 {
        log.room().await;
        let qos = if number % 3 == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        append(&log, qos, 1000);
    }
    covered(&log, Seq(600)).await;
    drop(log);

    let log = Log::open(small(&folder)).unwrap();
    let entries = read_all(&log).await;
    let kept: Vec<_> = (1..=600).filter(|seq| seq % 3 != 1).collect();
    assert_eq!(seqs(&entries), kept);
    done(&log, kept);
    wait(&log, |progress| progress.cursor == Seq(600)).await;
}

#[tokio::test]
async fn a_full_tail_holds_its_appender_up_until_a_commit() {
    let folder = tempdir().unwrap();
    let log = Log::open(LogOptions {
        commit_interval: Duration::from_secs(3600),
        ..small(&folder)
    })
    .unwrap();
    // Half the tail waits: committed at once, whatever the interval.
    let last = append_many(&log, 200, 1000);
    assert!(!log.has_room());
    log.room().await;
    covered(&log, last).await;
    assert!(log.has_room());
}

#[tokio::test]
async fn an_old_message_is_dropped_by_the_reader_and_counted() {
    let folder = tempdir().unwrap();
    let log = Log::open(LogOptions {
        max_age: Duration::from_secs(60),
        ..options(&folder)
    })
    .unwrap();
    let now = fieldgate::clock::wall();
    for age in [120_000, 0, 90_000] {
        let seq = log.next_seq();
        let mut record = crate::support::record(QoS::AtLeastOnce, seq.0, 20);
        record.stamped = fieldgate::clock::WallTime(now.0 - age);
        log.append(Instant::now(), seq, record, None);
    }
    covered(&log, Seq(3)).await;
    assert_eq!(seqs(&read_all(&log).await), [2]);
    assert_eq!(log.stats().dropped, 2);
    log.done(Instant::now(), [(Seq(2), Outcome::Delivered)]);
    wait(&log, |progress| progress.cursor == Seq(3)).await;
}

#[tokio::test]
async fn a_log_opens_and_closes_with_nothing_in_it() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    assert!(read_all(&log).await.is_empty());
    log.close();
    log.close();
    assert!(log.error().is_none());
}

#[tokio::test]
async fn a_reader_is_served_and_files_are_rolled_while_the_commits_never_end() {
    let folder = tempdir().unwrap();
    let log = Log::open(LogOptions {
        commit_interval: Duration::ZERO,
        ..small(&folder)
    })
    .unwrap();
    fill(&log, 200, 1000).await;
    let appender = log.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let busy = std::thread::spawn(move || {
        // As fast as there is room: a commit is always due.
        while !stopped.load(Ordering::Relaxed) {
            if appender.has_room() {
                append(&appender, QoS::AtLeastOnce, 1000);
            }
        }
    });
    let served = async {
        while files(&folder).len() < 2 {
            let entries = log.read(Seq(0), 10, 1 << 20).await.unwrap();
            assert_run(&entries, 1, 10);
        }
    };
    let served = tokio::time::timeout(PATIENCE, served).await;
    stop.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    assert!(served.is_ok(), "starved");
}
