//! A medium that is full, read only, or fails to sync: nothing is covered that is not kept, the reader goes on, what it
//! takes away makes room, and all is well again by itself.

use std::time::Duration;

use fieldgate::mqtt::QoS;
use fieldgate::store::{Log, LogOptions, Seq, SessionNumber, State, StateChange};
use tempfile::tempdir;

use crate::faulty::FaultyFolder;
use crate::state::{self, Rig};
use crate::support::{
    PATIENCE, append, append_many, assert_intact, assert_run, committed, covered, done, options,
    read_all,
};

const SIZE: usize = 1000;

/// A log in small generations, which keeps next to nothing in RAM.
fn open(folder: &FaultyFolder) -> Log {
    let unused = tempdir().unwrap();
    let options = LogOptions {
        hold_bytes: 64 << 10,
        max_bytes: 2 << 20,
        ..options(&unused)
    };
    Log::open_in(options, Box::new(folder.clone())).unwrap()
}

async fn fill(log: &Log, count: u64) {
    // In many commits: one that takes all that a slow machine lets pile up would go into one file.
    for number in 0..count {
        append(log, QoS::AtLeastOnce, SIZE);
        if number % 20 == 19 {
            covered(log, Seq(log.next_seq().0 - 1)).await;
        }
    }
    covered(log, Seq(log.next_seq().0 - 1)).await;
}

/// Waits until the log says that its files are out of use, or in use.
async fn told(log: &Log, is_out_of_use: bool) {
    let look = async {
        while log.error().is_some() != is_out_of_use {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("in time");
}

/// Waits until a file is gone.
async fn gone(folder: &FaultyFolder, name: &str) {
    let look = async {
        while folder.names().iter().any(|there| there == name) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("in time");
}

#[tokio::test]
async fn a_full_medium_is_drained_and_what_is_drained_makes_room() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    fill(&log, 1000).await;
    let files = folder.names();
    assert!(files.len() > 3, "{files:?}");
    // That something is done cannot be committed. And nothing waits to be written, so nothing is dropped.
    folder.fill_until_a_file_goes();
    done(&log, 1..=10);
    told(&log, true).await;
    done(&log, 11..=900);
    gone(&folder, &files[0]).await;
    told(&log, false).await;
    gone(&folder, &files[1]).await;
    assert_eq!(log.stats().dropped, 0);
    drop(log);

    let log = open(&folder.after_power_cut());
    assert_eq!(log.stats().dropped, 0);
    assert_run(&read_all(&log).await, 901, 1000);
}

#[tokio::test]
async fn below_the_free_space_minimum_a_log_grows_no_more() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    fill(&log, 1000).await;
    let files = folder.names();
    folder.say_free((64 << 20) - 1);
    fill(&log, 200).await;
    let dropped = log.stats().dropped;
    assert!((1..900).contains(&dropped), "{dropped}");
    assert!(!folder.names().contains(&files[0]));
    assert!(folder.names().len() <= files.len());
    assert_eq!(log.error(), None);
    folder.say_free(64 << 20);
    fill(&log, 100).await;
    assert_eq!(log.stats().dropped, dropped);
    assert_run(&read_all(&log).await, dropped + 1, 1300);
}

#[tokio::test]
async fn below_it_with_nothing_to_drop_nothing_is_covered_and_the_reader_goes_on() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    fill(&log, 20).await;
    folder.say_free(0);
    append_many(&log, 10, SIZE);
    told(&log, true).await;
    assert!(log.error().unwrap().contains("free_space_minimum"));
    assert_run(&read_all(&log).await, 1, 30);
    // What the reader has to have committed is committed all the same.
    let received = log.received(fieldgate::clock::now(), Seq(5));
    committed(&log, received).await;
    assert_eq!(log.progress().borrow().covered, Seq(20));
    folder.say_free(u64::MAX);
    covered(&log, Seq(30)).await;
    told(&log, false).await;
}

#[tokio::test]
async fn the_oldest_gives_way_to_the_newest_and_is_counted() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    fill(&log, 1000).await;
    folder.fill_up(8);
    let last = append_many(&log, 40, SIZE);
    covered(&log, last).await;
    told(&log, false).await;
    let dropped = log.stats().dropped;
    assert!((1..=900).contains(&dropped), "{dropped}");
    drop(log);
    let entries = read_all(&open(&folder.after_power_cut())).await;
    assert_run(&entries, dropped + 1, 1040);
    assert_intact(&entries, SIZE);
}

#[tokio::test]
async fn where_nothing_can_go_nothing_is_covered_and_all_can_be_read() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    fill(&log, 50).await;
    folder.fill_up(0);
    append_many(&log, 300, SIZE);
    told(&log, true).await;
    assert!(!log.has_room());
    // From the files and from RAM, while the medium takes nothing.
    let entries = read_all(&log).await;
    assert_run(&entries, 1, 350);
    assert!(log.error().is_some());
    assert_eq!(log.progress().borrow().covered, Seq(50));
    folder.empty();
    covered(&log, Seq(350)).await;
    told(&log, false).await;
    assert_eq!(log.stats().dropped, 0);
}

#[tokio::test]
async fn a_read_only_medium_is_read_and_is_written_when_it_can_be() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    fill(&log, 200).await;
    folder.fail_writes(true);
    append(&log, QoS::AtLeastOnce, SIZE);
    told(&log, true).await;
    folder.fail_writes(false);
    covered(&log, Seq(201)).await;
    told(&log, false).await;
    assert_run(&read_all(&log).await, 1, 201);
}

#[tokio::test]
async fn a_sealed_file_that_cannot_be_read_now_does_not_keep_the_others_from_being_written() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    fill(&log, 1000).await;
    let first = folder.names()[0].clone();
    folder.fail_reads(Some(&first));
    let error = log.read(Seq(0), 10, SIZE).await.unwrap_err();
    assert!(error.to_string().contains("input/output error"), "{error}");
    fill(&log, 10).await;
    assert_eq!(log.error(), None);
    folder.fail_reads(None);
    let entries = read_all(&log).await;
    assert_run(&entries, 1, 1010);
    assert!(
        folder.names().contains(&first),
        "what cannot be read is not damaged"
    );
}

#[tokio::test]
async fn a_panic_in_the_logs_thread_is_told_and_costs_nothing() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    fill(&log, 1000).await;
    let first = folder.names()[0].clone();
    folder.panic_once();
    done(&log, 1..=500);
    told(&log, true).await;
    let error = log.error().unwrap_or_default();
    assert!(error.contains("panicked"), "{error}");
    append(&log, QoS::AtLeastOnce, SIZE);
    covered(&log, Seq(1001)).await;
    gone(&folder, &first).await;
    told(&log, false).await;
    assert_run(&read_all(&log).await, 501, 1001);
}

#[tokio::test]
async fn what_a_failed_sync_gave_up_is_written_again_before_it_counts() {
    let folder = FaultyFolder::default();
    let log = open(&folder);
    fill(&log, 20).await;
    // The file grows here, and not where the sync fails: a growth is synced by itself, before anything is written.
    covered(&log, append_many(&log, 10, 8)).await;
    folder.fail_syncs(true);
    append_many(&log, 10, 8);
    told(&log, true).await;
    assert_eq!(log.progress().borrow().covered, Seq(30));
    folder.fail_syncs(false);
    covered(&log, Seq(40)).await;
    let found = folder.after_power_cut();
    assert_run(&read_all(&open(&found)).await, 1, 40);
    assert_whole(&found);
    // Nor does what is written later stand on what is not there.
    covered(&log, append_many(&log, 10, 8)).await;
    let found = folder.after_power_cut();
    assert_run(&read_all(&open(&found)).await, 1, 50);
    assert_whole(&found);
}

/// Nothing was damaged, so nothing was put aside.
fn assert_whole(folder: &FaultyFolder) {
    let names = folder.names();
    let is_aside = |name: &String| name.contains(".bad-");
    assert!(!names.iter().any(is_aside), "{names:?}");
}

#[tokio::test]
async fn the_state_builds_on_nothing_that_a_failed_sync_gave_up() {
    let folder = FaultyFolder::default();
    let unused = tempdir().unwrap();
    let open = |folder: &FaultyFolder| {
        let folder = Box::new(folder.clone());
        let (state, restored, _) = State::open_in(state::options(&unused), folder).unwrap();
        let rig = Rig {
            state,
            last: Seq(0),
        };
        (rig, restored)
    };
    let (mut rig, _) = open(&folder);
    let put = |rig: &mut Rig, number| {
        let session = Box::new(state::session(&format!("client-{number}")));
        rig.put(StateChange::Session(SessionNumber(number), session))
    };
    for number in 1..=30 {
        put(&mut rig, number);
        rig.covered().await;
    }
    folder.fail_syncs(true);
    put(&mut rig, 31);
    let look = async {
        while rig.state.error().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("in time");
    folder.fail_syncs(false);
    rig.covered().await;
    put(&mut rig, 32);
    rig.covered().await;
    let found = folder.after_power_cut();
    let (_, restored) = open(&found);
    assert_eq!(restored.lost, None);
    assert_eq!(restored.sessions.len(), 32);
    assert_whole(&found);
}
