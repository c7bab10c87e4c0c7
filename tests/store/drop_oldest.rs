//! A full backlog drops its oldest file, and counts exactly what it dropped.

use std::time::Instant;

use fieldgate::mqtt::QoS;
use fieldgate::store::{Gap, GapReason, LinkHealth, Log, LogOptions, Seq};
use tempfile::{TempDir, tempdir};

use crate::support::{append, committed, covered, done, options, read_all, record, seqs, wait};

/// Generations of 128 KiB, about four of them.
fn small(folder: &TempDir) -> LogOptions {
    LogOptions {
        hold_bytes: 32 << 10,
        max_bytes: 1 << 20,
        ..options(folder)
    }
}

async fn append_slowly(log: &Log, qos: QoS, count: u64) {
    for _ in 0..count {
        log.room().await;
        append(log, qos, 1000);
    }
}

#[tokio::test]
async fn every_message_is_there_or_counted_as_dropped() {
    let folder = tempdir().unwrap();
    let log = Log::open(small(&folder)).unwrap();
    append_slowly(&log, QoS::AtLeastOnce, 10).await;
    covered(&log, Seq(10)).await;
    done(&log, [1, 2, 5]);
    append_slowly(&log, QoS::AtLeastOnce, 1990).await;
    covered(&log, Seq(2000)).await;
    log.close();
    let dropped = log.stats().dropped;
    assert!(dropped > 500, "{dropped}");
    let left = read_after_close(&folder).await;
    assert_eq!(left.len() as u64 + dropped + 3, 2000);
    assert_eq!(*left.last().unwrap(), 2000);
    let first = left[0];
    assert_eq!(left, (first..=2000).collect::<Vec<_>>(), "the oldest went");
}

async fn read_after_close(folder: &TempDir) -> Vec<u64> {
    let log = Log::open(small(folder)).unwrap();
    let left = seqs(&read_all(&log).await);
    assert_eq!(log.stats().messages, left.len() as u64);
    left
}

#[tokio::test]
async fn the_reader_goes_on_behind_what_was_dropped() {
    let folder = tempdir().unwrap();
    let log = Log::open(small(&folder)).unwrap();
    append_slowly(&log, QoS::AtLeastOnce, 20).await;
    let read = log.read(Seq(0), 10, 1 << 20).await.unwrap();
    assert_eq!(seqs(&read), (1..=10).collect::<Vec<_>>());
    append_slowly(&log, QoS::AtLeastOnce, 1980).await;
    covered(&log, Seq(2000)).await;
    wait(&log, |progress| progress.cursor > Seq(0)).await;
    let next = log.read(Seq(11), 10, 1 << 20).await.unwrap();
    assert!(next[0].seq > Seq(100), "{:?}", next[0].seq);
    // Its acknowledgement comes too late; it was counted as dropped.
    let before = log.stats();
    done(&log, [3]);
    assert_eq!(log.stats().messages, before.messages);
}

#[tokio::test]
async fn a_message_that_the_upstream_has_received_keeps_its_file() {
    let folder = tempdir().unwrap();
    let log = Log::open(small(&folder)).unwrap();
    append_slowly(&log, QoS::ExactlyOnce, 3).await;
    covered(&log, Seq(3)).await;
    let number = log.received(Instant::now(), Seq(2));
    committed(&log, number).await;
    append_slowly(&log, QoS::AtLeastOnce, 1997).await;
    covered(&log, Seq(2000)).await;
    log.close();
    assert!(log.stats().dropped > 500);
    drop(log);
    let log = Log::open(small(&folder)).unwrap();
    let entries = read_all(&log).await;
    let second = entries.iter().find(|entry| entry.seq == Seq(2)).unwrap();
    assert!(second.received);
}

#[tokio::test]
async fn a_file_that_vanished_is_counted_at_the_next_start() {
    let folder = tempdir().unwrap();
    // Generations of 2 MiB, none of which is dropped.
    let roomy = LogOptions {
        max_bytes: 16 << 20,
        ..small(&folder)
    };
    let log = Log::open(roomy.clone()).unwrap();
    append_slowly(&log, QoS::AtLeastOnce, 2500).await;
    covered(&log, Seq(2500)).await;
    assert_eq!(log.stats().dropped, 0);
    log.close();
    drop(log);
    std::fs::remove_file(folder.path().join("cloud/q-00000001.redb")).unwrap();
    let log = Log::open(roomy).unwrap();
    let left = read_all(&log).await;
    let dropped = log.stats().dropped;
    assert!(dropped > 1000);
    assert_eq!(left.len() as u64 + dropped, 2500);
    log.link(Instant::now(), LinkHealth::Up);
    let gap = shown(&log, 0).await;
    assert_eq!((gap.reason, gap.count), (GapReason::Unknown, dropped));
}

/// The hole after that of this number, once the log shows it.
async fn shown(log: &Log, after: u64) -> Gap {
    let is_next = |gap: &Gap| gap.number > after;
    wait(log, |progress| progress.gap.as_ref().is_some_and(is_next)).await;
    log.progress().borrow().gap.unwrap()
}

#[tokio::test]
async fn what_is_dropped_is_a_hole_that_is_shown_until_the_upstream_knows_of_it() {
    let folder = tempdir().unwrap();
    let log = Log::open(small(&folder)).unwrap();
    append_slowly(&log, QoS::AtLeastOnce, 2000).await;
    covered(&log, Seq(2000)).await;
    let first = shown(&log, 0).await;
    assert_eq!(
        (first.number, first.reason, first.first),
        (
            1,
            GapReason::DropOldest,
            record(QoS::AtLeastOnce, 1, 8).stamped
        )
    );
    assert!(first.count > 50 && first.last > first.first, "{first:?}");
    log.close();
    drop(log);

    let log = Log::open(small(&folder)).unwrap();
    assert_eq!(shown(&log, 0).await, first, "as it was");
    log.gap_told(Instant::now(), first.number);
    let second = shown(&log, 1).await;
    log.gap_told(Instant::now(), second.number);
    wait(&log, |progress| progress.gap.is_none()).await;
    log.close();
    drop(log);

    let log = Log::open(small(&folder)).unwrap();
    assert_eq!(log.progress().borrow().gap, None);
    let left = read_all(&log).await.len() as u64;
    assert_eq!(first.count + second.count + left, 2000);
    assert!(second.first >= first.first && second.last >= first.last);
}
