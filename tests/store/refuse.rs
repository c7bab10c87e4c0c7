//! A backlog that refuses what it has no room for: nothing in it gives way, not even on a full medium, and the drain ends it.

use fieldgate::mqtt::QoS;
use fieldgate::store::{Log, LogOptions, Seq, WhenFull};
use tempfile::tempdir;

use crate::faulty::FaultyFolder;
use crate::support::{append, append_many, assert_run, covered, done, options, read_all, wait};

const SIZE: usize = 1000;
const MAX_BYTES: u64 = 4 << 20;

/// Generations of 512 KiB, a handful of them.
fn open(folder: &FaultyFolder) -> Log {
    let unused = tempdir().unwrap();
    let options = LogOptions {
        hold_bytes: 64 << 10,
        max_bytes: MAX_BYTES,
        when_full: WhenFull::Refuse,
        ..options(&unused)
    };
    Log::open_in(options, Box::new(folder.clone())).unwrap()
}

/// Appends until it is full, at most `count` messages; gives the last position.
async fn fill(log: &Log, count: u64) -> u64 {
    for _ in 0..count {
        if log.is_full() {
            break;
        }
        let seq = append(log, QoS::AtLeastOnce, SIZE);
        if seq.0.is_multiple_of(20) {
            covered(log, seq).await;
        }
    }
    let last = log.next_seq().0 - 1;
    covered(log, Seq(last)).await;
    last
}

#[tokio::test]
async fn all_that_was_taken_is_there_and_room_comes_by_the_drain() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    let last = fill(&log, 5000).await;
    assert!((1000..5000).contains(&last), "{last}");
    assert!(log.is_full());
    assert!(log.stats().file_bytes < MAX_BYTES + (1 << 20));
    drop(log);

    let log = open(&folder.after_power_cut());
    assert!(log.is_full(), "it is known from the start on");
    assert_eq!(log.stats().dropped, 0);
    assert_run(&read_all(&log).await, 1, last);
    done(&log, 1..=last / 2);
    wait(&log, |progress| !progress.is_full).await;
    let more = fill(&log, 5000).await;
    assert!(more > last, "{more}");
    assert_run(&read_all(&log).await, last / 2 + 1, more);
    assert_eq!(log.stats().dropped, 0);
}

#[tokio::test]
async fn it_gives_nothing_up_below_the_free_space_minimum() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    assert_eq!(fill(&log, 1200).await, 1200);
    let files = folder.names();
    folder.say_free(0);
    append(&log, QoS::AtLeastOnce, SIZE);
    wait(&log, |progress| progress.is_full).await;
    assert_eq!(log.progress().borrow().covered, Seq(1200));
    assert_eq!(folder.names(), files);
    assert_run(&read_all(&log).await, 1, 1201);
    // What is delivered makes room for what waits.
    done(&log, 1..=1100);
    covered(&log, Seq(1201)).await;
    wait(&log, |progress| !progress.is_full).await;
    assert_eq!(log.stats().dropped, 0);
    assert_run(&read_all(&log).await, 1101, 1201);
}

#[tokio::test]
async fn it_gives_nothing_up_on_a_full_medium() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    assert_eq!(fill(&log, 1200).await, 1200);
    let files = folder.names();
    folder.fill_up(0);
    let last = append_many(&log, 100, SIZE);
    wait(&log, |progress| progress.is_full).await;
    assert_eq!(folder.names(), files);
    done(&log, 1..=1100);
    covered(&log, last).await;
    wait(&log, |progress| !progress.is_full).await;
    assert_eq!(log.stats().dropped, 0);
    assert_run(&read_all(&log).await, 1101, 1300);
}
