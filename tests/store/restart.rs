//! What a start finds of what the last one left.

use std::time::{Duration, Instant};

use fieldgate::mqtt::{PacketId, QoS};
use fieldgate::store::{
    LinkHealth, Log, LogOptions, Mark, Outcome, Seq, SessionNumber, StoreError,
};
use tempfile::tempdir;

use crate::support::{
    PATIENCE, append, append_many, assert_intact, assert_run, committed, covered, done, files,
    open, options, read_all, record, seqs, wait,
};

#[tokio::test]
async fn what_is_covered_is_there_after_an_end_without_close() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    let last = append_many(&log, 1000, 100);
    covered(&log, last).await;
    drop(log);

    let log = open(&folder);
    let entries = read_all(&log).await;
    assert_run(&entries, 1, 1000);
    assert_intact(&entries, 100);
    assert!(
        entries
            .iter()
            .all(|entry| entry.maybe_sent && !entry.received)
    );
    assert_eq!(log.stats().messages, 1000);
    assert_eq!(log.next_seq(), Seq(1001));
}

#[tokio::test]
async fn the_epoch_grows_with_every_start_and_stays_with_its_messages() {
    let folder = tempdir().unwrap();
    for start in 1..=3 {
        let log = open(&folder);
        let seq = append(&log, QoS::ExactlyOnce, 10);
        assert_eq!(seq, Seq(start));
        covered(&log, seq).await;
        let entries = read_all(&log).await;
        assert_eq!(entries.len() as u64, start);
        let epochs: Vec<_> = entries.iter().map(|entry| entry.epoch).collect();
        assert!(
            epochs.windows(2).all(|pair| pair[0] < pair[1]),
            "{epochs:?}"
        );
        let (present, earlier) = entries.split_last().unwrap();
        assert!(!present.maybe_sent && earlier.iter().all(|entry| entry.maybe_sent));
    }
}

#[tokio::test]
async fn what_is_done_stays_done() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    let last = append_many(&log, 100, 50);
    covered(&log, last).await;
    done(&log, (1..=40).chain([60, 61, 99]));
    wait(&log, |progress| progress.cursor >= Seq(40)).await;
    drop(log);

    let log = open(&folder);
    let left: Vec<_> = (41..=100)
        .filter(|seq| ![60, 61, 99].contains(seq))
        .collect();
    assert_eq!(seqs(&read_all(&log).await), left);
    assert_eq!(log.stats().messages, left.len() as u64);
}

#[tokio::test]
async fn a_close_commits_what_is_held() {
    let folder = tempdir().unwrap();
    let log = Log::open(LogOptions {
        hold_for_upstream: Duration::from_secs(3600),
        ..options(&folder)
    })
    .unwrap();
    log.link(Instant::now(), LinkHealth::Up);
    append_many(&log, 10, 50);
    assert_eq!(log.progress().borrow().covered, Seq(0));
    log.close();
    assert_eq!(log.progress().borrow().covered, Seq(10));
    assert_eq!(
        log.read(Seq(0), 10, 1000).await.unwrap().len(),
        10,
        "what is in RAM can still be read"
    );
    drop(log);
    assert_eq!(read_all(&open(&folder)).await.len(), 10);
}

#[tokio::test]
async fn what_is_acknowledged_while_held_never_touches_the_disk() {
    let folder = tempdir().unwrap();
    let log = Log::open(LogOptions {
        hold_for_upstream: Duration::from_secs(3600),
        ..options(&folder)
    })
    .unwrap();
    log.link(Instant::now(), LinkHealth::Up);
    let before = log.stats();
    append_many(&log, 1000, 256);
    assert_eq!(read_all(&log).await.len(), 1000);
    done(&log, 1..=1000);
    assert_eq!(log.progress().borrow().covered, Seq(1000));
    log.close();
    let after = log.stats();
    assert_eq!(after.commits, before.commits);
    assert_eq!(after.messages, 0);
}

#[tokio::test]
async fn received_marks_stay_until_their_message_is_done() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    for _ in 0..4 {
        append(&log, QoS::ExactlyOnce, 20);
    }
    covered(&log, Seq(4)).await;
    let first = log.received(Instant::now(), Seq(2));
    let second = log.received(Instant::now(), Seq(3));
    committed(&log, first.max(second)).await;
    drop(log);

    let log = open(&folder);
    let marks = |entries: &[fieldgate::store::Entry]| -> Vec<_> {
        entries.iter().map(|entry| entry.received).collect()
    };
    assert_eq!(marks(&read_all(&log).await), [false, true, true, false]);
    log.done(Instant::now(), [(Seq(1), Outcome::Delivered)]);
    log.done(Instant::now(), [(Seq(2), Outcome::Delivered)]);
    wait(&log, |progress| progress.cursor >= Seq(2)).await;
    drop(log);

    let log = open(&folder);
    let entries = read_all(&log).await;
    assert_eq!(seqs(&entries), [3, 4]);
    assert_eq!(marks(&entries), [true, false]);
    committed(&log, log.forget_received(Instant::now())).await;
    drop(log);
    assert_eq!(marks(&read_all(&open(&folder)).await), [false, false]);
}

#[tokio::test]
async fn files_that_were_being_made_are_removed() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    covered(&log, append_many(&log, 3, 10)).await;
    drop(log);
    std::fs::write(folder.path().join("cloud/q-00000002.redb.tmp"), b"half").unwrap();
    let log = open(&folder);
    assert_eq!(files(&folder), ["q-00000001.redb"]);
    assert_eq!(read_all(&log).await.len(), 3);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    let second = Log::open(options(&folder));
    assert!(
        matches!(second, Err(StoreError::InUse { .. })),
        "{second:?}"
    );
    log.close();
    assert!(Log::open(options(&folder)).is_ok());
}

#[tokio::test]
async fn a_newer_format_is_refused_and_kept() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    covered(&log, append_many(&log, 3, 10)).await;
    log.close();
    drop(log);
    let path = folder.path().join("cloud/q-00000001.redb");
    {
        let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("meta");
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(table)
            .unwrap()
            .insert(b"format".as_slice(), 4_u32.to_le_bytes().as_slice())
            .unwrap();
        transaction.commit().unwrap();
    }
    let before = std::fs::read(&path).unwrap();
    let refused = Log::open(options(&folder)).unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::NewerFormat {
                found: 4,
                known: 3,
                ..
            }
        ),
        "{refused}"
    );
    assert!(refused.to_string().contains("q-00000001.redb"));
    assert_eq!(files(&folder), ["q-00000001.redb"]);
    assert!(
        before == std::fs::read(&path).unwrap(),
        "not a byte was changed"
    );
}

#[tokio::test]
async fn marks_come_back_until_they_are_removed_whatever_files_there_are() {
    let folder = tempdir().unwrap();
    let small = LogOptions {
        max_bytes: 1 << 20,
        ..options(&folder)
    };
    let mark = |id| Mark {
        session: SessionNumber(3),
        packet_id: PacketId::new(id).unwrap(),
    };
    let log = Log::open(small.clone()).unwrap();
    for id in 1..=300 {
        let seq = log.next_seq();
        let record = record(QoS::ExactlyOnce, seq.0, 1000);
        log.append(Instant::now(), seq, record, Some(mark(id)));
    }
    covered(&log, Seq(300)).await;
    done(&log, 1..=300);
    committed(&log, log.unmark(Instant::now(), mark(1))).await;
    // The commit is told of before the file goes.
    let unlinked = async {
        while files(&folder).contains(&"q-00000001.redb".to_owned()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, unlinked)
        .await
        .expect("in time");
    drop(log);
    let log = Log::open(small.clone()).unwrap();
    assert_eq!(log.marks(), (2..=300).map(mark).collect::<Vec<_>>());
    let removed: Vec<_> = (2..=300)
        .map(|id| log.unmark(Instant::now(), mark(id)))
        .collect();
    committed(&log, removed[298]).await;
    drop(log);
    assert_eq!(Log::open(small).unwrap().marks(), []);
}

#[tokio::test]
async fn qos_0_is_never_written() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    log.link(Instant::now(), LinkHealth::Up);
    append(&log, QoS::AtMostOnce, 10);
    append(&log, QoS::ExactlyOnce, 10);
    append(&log, QoS::AtMostOnce, 10);
    covered(&log, Seq(3)).await;
    assert_eq!(
        seqs(&read_all(&log).await),
        [1, 2, 3],
        "in order with the others"
    );
    drop(log);
    let log = open(&folder);
    let entries = read_all(&log).await;
    assert_eq!(seqs(&entries), [2]);
    assert_eq!(entries[0].record, record(QoS::ExactlyOnce, 2, 10));
}
