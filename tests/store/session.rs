//! The name of the session at the upstream: kept as long as nothing was lost, and never with the marks of another one.

use std::fs;
use std::time::Instant;

use fieldgate::mqtt::QoS;
use fieldgate::store::{Log, SESSION_NAME_MAX};
use tempfile::{TempDir, tempdir};

use crate::support::{append, append_many, committed, covered, files, open, options, read_all};

async fn keep(log: &Log, name: Option<&str>) {
    committed(log, log.keep_session(Instant::now(), name)).await;
}

/// A log with messages, a mark and a session, ended without a close.
async fn filled(folder: &TempDir) {
    let log = open(folder);
    keep(&log, Some("cloud:8883 gw")).await;
    let last = append(&log, QoS::ExactlyOnce, 400);
    covered(&log, last).await;
    committed(&log, log.received(Instant::now(), last)).await;
}

#[tokio::test]
async fn a_new_log_has_no_session_and_a_kept_one_outlives_a_restart() {
    let folder = tempdir().unwrap();
    assert_eq!(open(&folder).session(), None);
    filled(&folder).await;
    let log = open(&folder);
    assert_eq!(log.session().as_deref(), Some("cloud:8883 gw"));
    assert!(read_all(&log).await[0].received);
    keep(&log, None).await;
    drop(log);
    assert_eq!(open(&folder).session(), None);
}

#[tokio::test]
async fn the_session_is_carried_over_to_the_next_generation() {
    let folder = tempdir().unwrap();
    let mut small = options(&folder);
    small.max_bytes = 1 << 20;
    let log = Log::open(small).unwrap();
    keep(&log, Some("cloud:8883 gw")).await;
    for _ in 0..5 {
        covered(&log, append_many(&log, 100, 1000)).await;
    }
    drop(log);
    assert!(files(&folder).len() > 1);
    assert_eq!(open(&folder).session().as_deref(), Some("cloud:8883 gw"));
}

#[tokio::test]
async fn the_marks_of_one_session_are_void_in_another() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    let log = open(&folder);
    let before = log.progress().borrow().commits;
    let same = log.keep_session(Instant::now(), Some("cloud:8883 gw"));
    assert!(
        same <= before,
        "nothing changes, so nothing is to be committed"
    );
    assert!(read_all(&log).await[0].received);
    keep(&log, Some("elsewhere:8883 gw")).await;
    assert!(!read_all(&log).await[0].received);
    drop(log);
    let log = open(&folder);
    assert_eq!(log.session().as_deref(), Some("elsewhere:8883 gw"));
    assert!(!read_all(&log).await[0].received);
}

#[tokio::test]
async fn a_name_of_no_use_is_not_kept() {
    let folder = tempdir().unwrap();
    let log = open(&folder);
    let longest = "x".repeat(SESSION_NAME_MAX);
    keep(&log, Some(&longest)).await;
    assert_eq!(log.session(), Some(longest.clone()));
    for name in [format!("{longest}x"), String::new()] {
        keep(&log, Some(&name)).await;
        assert_eq!(log.session(), None);
    }
}

#[tokio::test]
async fn after_a_salvage_there_is_no_session() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    let path = folder.path().join("cloud/q-00000001.redb");
    let mut bytes = fs::read(&path).unwrap();
    // The first page says which tree is the current one.
    bytes[..4096].fill(0xee);
    fs::write(&path, &bytes).unwrap();
    let log = open(&folder);
    assert_eq!(read_all(&log).await.len(), 1, "the message was found");
    assert_eq!(log.session(), None);
    drop(log);
    assert_eq!(open(&folder).session(), None);
}

#[tokio::test]
async fn a_sealed_file_that_lost_messages_ends_the_session() {
    let folder = tempdir().unwrap();
    let mut small = options(&folder);
    small.max_bytes = 1 << 20;
    small.hold_bytes = 16 << 10;
    let log = Log::open(small.clone()).unwrap();
    keep(&log, Some("cloud:8883 gw")).await;
    for _ in 0..5 {
        covered(&log, append_many(&log, 100, 1000)).await;
    }
    log.close();
    let first = folder.path().join("cloud").join(&files(&folder)[0]);
    fs::write(&first, b"nothing of it is left").unwrap();
    let log = Log::open(small).unwrap();
    assert_eq!(log.session().as_deref(), Some("cloud:8883 gw"));
    assert!(read_all(&log).await.len() < 500);
    assert_eq!(log.session(), None);
    log.close();
    assert_eq!(open(&folder).session(), None);
}
