//! A purge takes what is old, for good, and nothing that the upstream may have.

use std::time::{Duration, Instant};

use fieldgate::clock;
use fieldgate::clock::WallTime;
use fieldgate::mqtt::QoS;
use fieldgate::store::{Log, LogOptions, Outcome, REACH, Record, Seq};
use tempfile::{TempDir, tempdir};

use crate::support::{committed, covered, open, options, read_all, record, seqs};

const HOUR: Duration = Duration::from_secs(3600);

/// Generations of 256 KiB.
fn small(folder: &TempDir) -> LogOptions {
    LogOptions {
        max_bytes: 2 << 20,
        ..options(folder)
    }
}

/// Appends messages that came two hours ago, or just now.
async fn append(log: &Log, qos: QoS, is_old: bool, count: u64, size: usize) -> Seq {
    let age = if is_old { 2 * HOUR } else { Duration::ZERO };
    let stamped = WallTime(clock::wall().0 - u64::try_from(age.as_millis()).unwrap());
    for _ in 0..count {
        log.room().await;
        let seq = log.next_seq();
        let record = Record {
            stamped,
            ..record(qos, seq.0, size)
        };
        log.append(Instant::now(), seq, record, None);
    }
    let last = Seq(log.next_seq().0 - 1);
    covered(log, last).await;
    last
}

#[tokio::test]
async fn old_messages_are_gone_with_their_files_and_stay_gone_after_a_crash() {
    let folder = tempdir().unwrap();
    let log = Log::open(small(&folder)).unwrap();
    append(&log, QoS::AtLeastOnce, true, 600, 1000).await;
    append(&log, QoS::ExactlyOnce, true, 100, 1000).await;
    append(&log, QoS::AtLeastOnce, false, 50, 1000).await;
    let in_hand = log.read(Seq(0), 10, 1 << 20).await.unwrap();
    assert_eq!(seqs(&in_hand), (1..=10).collect::<Vec<_>>());

    let done = log.purge(HOUR).await.unwrap();
    assert_eq!((done.purged, done.kept), (690, 10));
    let stats = log.stats();
    assert_eq!(
        (stats.purged, stats.dropped, stats.messages),
        (690, 690, 60)
    );
    // The reader lets go of what it has, and the files of what was purged go too.
    for entry in &in_hand {
        log.done(Instant::now(), [(entry.seq, Outcome::Delivered)]);
    }
    committed(&log, log.purge(HOUR).await.unwrap().commit).await;
    drop(log);

    let log = Log::open(small(&folder)).unwrap();
    assert_eq!(seqs(&read_all(&log).await), (701..=750).collect::<Vec<_>>());
    log.close();
    let oldest = folder.path().join("cloud/q-00000001.redb");
    assert!(!oldest.exists(), "its file is gone");
}

#[tokio::test]
async fn who_only_looks_takes_nothing_in_hand() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    append(&log, QoS::ExactlyOnce, true, 20, 100).await;
    assert_eq!(log.look(Seq(0), 99, 1 << 20).await.unwrap().len(), 20);
    let done = log.purge(HOUR).await.unwrap();
    assert_eq!((done.purged, done.kept), (20, 0));
    let done = log.purge(Duration::ZERO).await.unwrap();
    assert_eq!((done.purged, done.kept), (0, 0), "nothing goes twice");
    log.close();
}

#[tokio::test]
async fn a_qos_2_message_whose_packet_id_the_upstream_may_hold_stays() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    committed(&log, log.keep_session(Instant::now(), Some("up"))).await;
    append(&log, QoS::AtLeastOnce, true, 10, 8).await;
    append(&log, QoS::ExactlyOnce, true, REACH, 8).await;
    log.close();
    // From here on it is of an earlier start: any within reach may have been sent.
    let log = open(&folder);
    let done = log.purge(HOUR).await.unwrap();
    assert_eq!((done.purged, done.kept), (10 + 11, REACH - 11));
    let left = log.look(Seq(0), 1, 1 << 20).await.unwrap();
    assert_eq!(seqs(&left), [11]);
    // At an upstream that is to begin anew no id is held.
    committed(&log, log.keep_session(Instant::now(), None)).await;
    let done = log.purge(HOUR).await.unwrap();
    assert_eq!((done.purged, done.kept), (REACH - 11, 0));
    assert_eq!(log.stats().messages, 0);
    log.close();
}
