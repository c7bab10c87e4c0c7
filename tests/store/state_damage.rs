//! A damaged state: put aside and salvaged, and it goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use fieldgate::mqtt::{Message, QoS};
use fieldgate::store::{Restored, SessionNumber, State, StateChange};
use redb::{Database, TableDefinition};
use tempfile::{TempDir, tempdir};

use crate::state::{Rig, begun, mark, message, open, options, session, subscription};

const SESSIONS: u64 = 40;
const FILTERS: u64 = 5;
const TOPICS: u64 = 300;

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("state.redb")
}

fn names(folder: &TempDir) -> Vec<String> {
    let files = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn value(number: u64, round: u64) -> Message {
    message(
        &format!("plant/line/{number}"),
        &format!("{round:05} {}", "x".repeat(60)),
    )
}

/// Sessions, subscriptions and retained messages, some of them put several times, in many commits; ended in order.
async fn filled(folder: &TempDir) -> SessionNumber {
    let (mut rig, restored) = open(folder);
    let first = restored.next_session;
    for number in 0..SESSIONS {
        let number = SessionNumber(first.0 + number);
        rig.put(begun(number, session(&format!("client-{}", number.0))));
        for filter in 0..FILTERS {
            let filter = format!("plant/+/{filter}").into();
            let granted = subscription(QoS::AtLeastOnce);
            rig.put(StateChange::Subscription(number, filter, granted));
        }
        rig.covered().await;
    }
    for round in 0..5 {
        for number in 0..TOPICS {
            let publisher = "publisher".into();
            rig.put(StateChange::Retained(value(number, round), publisher));
            if number % 100 == 99 {
                rig.covered().await;
            }
        }
    }
    rig.state.close();
    first
}

fn rows(restored: &Restored) -> u64 {
    let subscriptions = restored.sessions.iter().map(|session| session.2.len());
    let sessions = restored.sessions.len() + subscriptions.sum::<usize>();
    (sessions + restored.retained.len()) as u64
}

const ALL: u64 = SESSIONS * (1 + FILTERS) + TOPICS;

/// Everything is as it was put at some time.
fn assert_nothing_invented(restored: &Restored, first: SessionNumber) {
    for (number, found, subscriptions) in &restored.sessions {
        assert!((first.0..first.0 + SESSIONS).contains(&number.0));
        assert_eq!(*found, session(&format!("client-{}", number.0)));
        for (filter, found) in subscriptions {
            assert!(filter.starts_with("plant/+/"));
            assert_eq!(*found, subscription(QoS::AtLeastOnce));
        }
    }
    let mut topics = BTreeMap::new();
    for retained in &restored.retained {
        let topic = retained.message.topic.as_str();
        let number: u64 = topic.rsplit('/').next().unwrap().parse().unwrap();
        let is_known = (0..5).any(|round| value(number, round) == retained.message);
        assert!(is_known, "{retained:?}");
        assert_eq!(topics.insert(topic, ()), None, "once");
    }
}

async fn assert_goes_on(mut rig: Rig, folder: &TempDir) {
    rig.put(StateChange::Retained(message("after", "1"), "p".into()));
    rig.covered().await;
    drop(rig);
    let (_rig, restored) = open(folder);
    assert_eq!(restored.lost, None);
    let after = message("after", "1");
    assert!(restored.retained.iter().any(|kept| kept.message == after));
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_salvaged() {
    let folder = tempdir().unwrap();
    let first = filled(&folder).await;
    // The first page says which tree is the current one.
    let mut bytes = fs::read(path(&folder)).unwrap();
    bytes[..4096].fill(0xee);
    fs::write(path(&folder), &bytes).unwrap();

    let (rig, restored) = open(&folder);
    assert_nothing_invented(&restored, first);
    assert_eq!((rows(&restored), restored.lost), (ALL, Some(0)));
    for (number, retained) in restored.retained.iter().enumerate() {
        assert!(
            retained.message.payload.starts_with(b"00004"),
            "{number}: the newest"
        );
    }
    assert!(restored.next_session.0 > first.0 + SESSIONS);
    let names = names(&folder);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[1].starts_with("state.redb.bad-"), "{names:?}");
    assert!(
        fs::read(folder.path().join(&names[1])).unwrap() == bytes,
        "kept as it was"
    );
    assert_goes_on(rig, &folder).await;
}

#[tokio::test]
async fn a_damaged_page_costs_only_what_was_on_it() {
    let folder = tempdir().unwrap();
    let first = filled(&folder).await;
    let whole = fs::read(path(&folder)).unwrap();
    let mut damaged = 0;
    for page in 1..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096 + 100..page * 4096 + 300].fill(0xee);
        if bytes == whole {
            continue;
        }
        fs::write(path(&folder), &bytes).unwrap();
        let (rig, restored) = open(&folder);
        assert_nothing_invented(&restored, first);
        let missing = ALL - rows(&restored);
        assert!(missing < 60, "{missing} rows of page {page}");
        assert_eq!(rig.state.stats().lost, restored.lost.unwrap_or(0));
        if let Some(lost) = restored.lost {
            damaged += 1;
            // A session that is lost takes along its subscriptions that are not.
            assert!(lost <= missing && lost * (FILTERS + 1) >= missing);
        } else {
            assert_eq!(missing, 0, "page {page} was free");
        }
    }
    assert!(damaged > 10, "{damaged}");
}

#[tokio::test]
async fn a_flipped_bit_is_never_a_wrong_row() {
    let folder = tempdir().unwrap();
    let first = filled(&folder).await;
    let whole = fs::read(path(&folder)).unwrap();
    let mut damaged = 0;
    for place in 0..200 {
        let mut bytes = whole.clone();
        let at = place * (bytes.len() / 200) + place;
        bytes[at] ^= 1 << (place % 8);
        fs::write(path(&folder), &bytes).unwrap();
        let (_rig, restored) = open(&folder);
        assert_nothing_invented(&restored, first);
        damaged += usize::from(restored.lost.is_some());
    }
    assert!(damaged > 10, "{damaged}");
}

#[tokio::test]
async fn what_is_no_database_is_put_aside() {
    for content in [&b""[..], b"garbage", &[0; 100_000]] {
        let folder = tempdir().unwrap();
        fs::write(path(&folder), content).unwrap();
        let (rig, restored) = open(&folder);
        assert_eq!((rows(&restored), restored.lost), (0, Some(0)));
        assert_eq!(names(&folder).len(), 2);
        assert_goes_on(rig, &folder).await;
    }
}

#[tokio::test]
async fn a_session_that_began_anew_does_not_come_back_twice() {
    let folder = tempdir().unwrap();
    let (mut rig, restored) = open(&folder);
    let old = restored.next_session;
    let new = SessionNumber(old.0 + 1);
    for number in [old, new] {
        rig.put(begun(number, session("same client")));
        let granted = subscription(QoS::AtLeastOnce);
        rig.put(StateChange::Subscription(number, "a".into(), granted));
        rig.covered().await;
        if number == old {
            rig.put(StateChange::SessionGone(old));
            rig.covered().await;
        }
    }
    rig.state.close();
    let mut bytes = fs::read(path(&folder)).unwrap();
    bytes[..4096].fill(0);
    fs::write(path(&folder), &bytes).unwrap();
    let (_rig, restored) = open(&folder);
    let kept: Vec<_> = restored.sessions.iter().map(|kept| kept.0).collect();
    assert_eq!(kept, [new]);
}

#[tokio::test]
async fn a_salvage_that_was_interrupted_is_finished() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    fs::rename(path(&folder), folder.path().join("state.redb.tmp")).unwrap();
    fs::write(folder.path().join("state.redb.bad-7"), b"damaged").unwrap();
    let (_rig, restored) = open(&folder);
    assert_eq!((rows(&restored), restored.lost), (ALL, None));
}

#[tokio::test]
async fn what_was_being_made_when_the_program_ended_is_removed() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    fs::write(folder.path().join("state.redb.tmp"), b"half").unwrap();
    let (_rig, restored) = open(&folder);
    assert_eq!(rows(&restored), ALL);
    assert_eq!(names(&folder), ["state.redb"]);
}

/// Changes the file as redb itself would.
fn edit(folder: &TempDir, table: &str, key: &[u8], value: &[u8]) {
    let database = Database::open(path(folder)).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = TableDefinition::<&[u8], &[u8]>::new(table);
    transaction
        .open_table(table)
        .unwrap()
        .insert(key, value)
        .unwrap();
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_row_that_was_written_wrong_costs_itself() {
    let folder = tempdir().unwrap();
    let first = filled(&folder).await;
    edit(&folder, "retained", b"plant/line/7", b"no row");
    let (rig, restored) = open(&folder);
    assert_nothing_invented(&restored, first);
    assert!(restored.lost.is_some());
    assert_goes_on(rig, &folder).await;
}

#[tokio::test]
async fn a_newer_format_is_refused_and_kept() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    edit(&folder, "meta", b"format", &3_u32.to_le_bytes());
    let bytes = fs::read(path(&folder)).unwrap();
    let error = State::open(options(&folder)).unwrap_err();
    assert!(error.to_string().contains("format 3"), "{error}");
    assert_eq!(names(&folder), ["state.redb"]);
    assert!(fs::read(path(&folder)).unwrap() == bytes, "kept as it was");
}

#[tokio::test]
async fn a_file_of_format_1_is_read_and_written_on() {
    let folder = tempdir().unwrap();
    let first = filled(&folder).await;
    edit(&folder, "meta", b"format", &1_u32.to_le_bytes());
    let database = Database::open(path(&folder)).unwrap();
    let transaction = database.begin_write().unwrap();
    let marks = TableDefinition::<&[u8], &[u8]>::new("marks");
    assert!(transaction.delete_table(marks).unwrap());
    transaction.commit().unwrap();
    drop(database);
    let (mut rig, restored) = open(&folder);
    assert_nothing_invented(&restored, first);
    assert_eq!((rows(&restored), restored.lost), (ALL, None));
    rig.put(StateChange::Marked(mark(first, 1)));
    rig.covered().await;
    drop(rig);
    assert_eq!(open(&folder).1.marks, [mark(first, 1)]);
}

#[tokio::test]
async fn a_mark_is_not_salvaged() {
    let folder = tempdir().unwrap();
    let (mut rig, restored) = open(&folder);
    let session_number = restored.next_session;
    rig.put(begun(session_number, session("a")));
    rig.put(StateChange::Marked(mark(session_number, 1)));
    rig.covered().await;
    rig.state.close();
    let mut bytes = fs::read(path(&folder)).unwrap();
    bytes[..4096].fill(0xee);
    fs::write(path(&folder), &bytes).unwrap();
    let (_rig, restored) = open(&folder);
    assert_eq!((rows(&restored), restored.lost), (1, Some(0)));
    assert_eq!(restored.marks, [], "it may have been removed since");
}

#[tokio::test]
async fn a_newer_row_is_refused_and_kept() {
    let folder = tempdir().unwrap();
    filled(&folder).await;
    edit(&folder, "retained", b"plant/line/7", b"FGROW\x03 and so on");
    let error = State::open(options(&folder)).unwrap_err();
    assert!(error.to_string().contains("format 3"), "{error}");
    assert_eq!(names(&folder), ["state.redb"]);
}
