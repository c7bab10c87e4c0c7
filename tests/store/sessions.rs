//! The session log on real files: kept through restarts and kill -9, salvaged where a file is damaged, bounded on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fieldgate::clock::Timeline;
use fieldgate::mqtt::{Message, PacketId, QoS, SubscriptionIds};
use fieldgate::store::{
    Mark, Outcome, Seq, SessionEntry, SessionLog, SessionLogOptions, SessionNumber,
    SessionStanding, StoreError, Want,
};
use fieldgate::topic::TopicName;
use tempfile::{TempDir, tempdir};

use crate::support::PATIENCE;

fn options(folder: &TempDir) -> SessionLogOptions {
    SessionLogOptions {
        commit_interval: Duration::from_millis(2),
        // Little, so that readers go to the files.
        hold_bytes: 32 << 10,
        ..SessionLogOptions::new(folder.path().join("sessions"))
    }
}

fn number(session: u64) -> SessionNumber {
    SessionNumber(session)
}

type Standings = BTreeMap<SessionNumber, SessionStanding>;

fn open_with(options: SessionLogOptions, sessions: &[u64]) -> (SessionLog, Standings) {
    let known: BTreeSet<_> = sessions.iter().copied().map(SessionNumber).collect();
    SessionLog::open(options, Timeline::new(Instant::now(), 0), &known).unwrap()
}

fn open(folder: &TempDir, sessions: &[u64]) -> (SessionLog, Standings) {
    open_with(options(folder), sessions)
}

fn message(seq: u64) -> Message {
    let mut payload = seq.to_le_bytes().to_vec();
    payload.resize(1000, 0x33);
    let topic = TopicName::try_from(format!("press/{}", seq % 5)).unwrap();
    Message::new(topic, payload.into(), QoS::ExactlyOnce, false)
}

/// A message whose packet id is its position.
fn append(log: &SessionLog, sessions: &[u64], mark: Option<Mark>) -> Seq {
    let seq = log.next_seq();
    let id = u16::try_from(seq.0 % 65_535 + 1).unwrap();
    let wants = sessions.iter().map(|session| Want {
        session: number(*session),
        packet_id: PacketId::new(id).unwrap(),
        qos: QoS::ExactlyOnce,
        retain: false,
        subscription_ids: SubscriptionIds::default(),
    });
    let wants = wants.collect();
    log.append(Instant::now(), seq, message(seq.0), wants, mark, false);
    seq
}

async fn covered(log: &SessionLog, seq: Seq) {
    let mut progress = log.progress();
    let reached = progress.wait_for(|progress| progress.covered >= seq);
    tokio::time::timeout(PATIENCE, reached)
        .await
        .unwrap()
        .unwrap();
}

async fn fill(log: &SessionLog, sessions: &[u64], count: u64) -> Seq {
    let mut last = Seq(0);
    for _ in 0..count {
        log.room().await;
        last = append(log, sessions, None);
    }
    covered(log, last).await;
    last
}

async fn read_all(log: &SessionLog, session: u64) -> Vec<SessionEntry> {
    let mut all: Vec<SessionEntry> = Vec::new();
    loop {
        let after = all.last().map_or(Seq(0), |entry| entry.seq);
        let read = log.read(number(session), after, 128, 256 << 10);
        let (entries, is_all) = read.await.unwrap();
        for entry in &entries {
            assert_eq!(entry.message, message(entry.seq.0));
            assert_eq!(
                u64::from(entry.want.packet_id.get()),
                entry.seq.0 % 65_535 + 1
            );
        }
        all.extend(entries);
        if is_all {
            return all;
        }
    }
}

async fn seqs(log: &SessionLog, session: u64) -> Vec<u64> {
    let entries = read_all(log, session).await;
    entries.iter().map(|entry| entry.seq.0).collect()
}

fn done(log: &SessionLog, session: u64, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        log.done(
            Instant::now(),
            number(session),
            Seq(seq),
            Outcome::Delivered,
        );
    }
}

fn path(folder: &TempDir, number: u32) -> std::path::PathBuf {
    folder.path().join(format!("sessions/q-{number:08}.redb"))
}

fn files(folder: &TempDir) -> Vec<String> {
    let files = std::fs::read_dir(folder.path().join("sessions")).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn break_first_page(folder: &TempDir, number: u32) {
    let mut bytes = std::fs::read(path(folder, number)).unwrap();
    bytes[..4096].fill(0xee);
    std::fs::write(path(folder, number), &bytes).unwrap();
}

#[tokio::test]
async fn what_was_covered_is_there_for_each_session_after_a_crash() {
    let folder = tempdir().unwrap();
    let (log, standings) = open(&folder, &[1, 2]);
    assert_eq!(standings[&number(1)], SessionStanding::default());
    fill(&log, &[1, 2], 100).await;
    let last = fill(&log, &[2], 100).await;
    log.sent(number(1), Seq(30));
    done(&log, 1, (1..=20).chain([25]));
    let received = log.received(Instant::now(), number(1), Seq(22));
    let mut progress = log.progress();
    progress
        .wait_for(|progress| progress.commits >= received)
        .await
        .unwrap();
    drop(log);

    let (log, standings) = open(&folder, &[1, 2]);
    let one = &standings[&number(1)];
    assert_eq!((one.messages, one.sent), (79, Seq(30)));
    assert_eq!(one.last_packet_id, PacketId::new(101));
    assert_eq!(standings[&number(2)].messages, 200);
    let entries = read_all(&log, 1).await;
    assert_eq!(entries.len(), 79);
    assert!(
        entries
            .iter()
            .all(|entry| entry.received == (entry.seq == Seq(22)))
    );
    assert_eq!(seqs(&log, 2).await, (1..=last.0).collect::<Vec<_>>());
    assert_eq!(append(&log, &[1], None), Seq(last.0 + 1));
}

#[tokio::test]
async fn a_long_queue_is_counted_at_a_start_and_read_in_portions() {
    let folder = tempdir().unwrap();
    let (log, _) = open(&folder, &[1]);
    fill(&log, &[1], 20_000).await;
    log.close();
    drop(log);
    let (log, standings) = open(&folder, &[1]);
    assert_eq!(standings[&number(1)].messages, 20_000);
    assert!(files(&folder).len() > 2);
    let (first, is_all) = log.read(number(1), Seq(0), 128, 1 << 20).await.unwrap();
    assert_eq!((first.len(), is_all), (128, false));
}

#[tokio::test]
async fn marks_come_back_until_they_are_removed() {
    let folder = tempdir().unwrap();
    let mark = |id| Mark {
        session: number(7),
        packet_id: PacketId::new(id).unwrap(),
    };
    let (log, _) = open(&folder, &[1, 7]);
    append(&log, &[1], Some(mark(1)));
    let seq = append(&log, &[1], Some(mark(2)));
    covered(&log, seq).await;
    drop(log);
    let (log, standings) = open(&folder, &[1, 7]);
    assert_eq!(log.marks(), [mark(1), mark(2)]);
    assert_eq!(standings[&number(7)].marks.len(), 2);
    let gone = log.unmark(Instant::now(), mark(1));
    let mut progress = log.progress();
    progress
        .wait_for(|progress| progress.commits >= gone)
        .await
        .unwrap();
    drop(log);
    assert_eq!(open(&folder, &[1, 7]).0.marks(), [mark(2)]);
    assert_eq!(open(&folder, &[1]).0.marks(), [], "its session has ended");
}

#[tokio::test]
async fn a_drained_log_leaves_only_its_active_file() {
    let folder = tempdir().unwrap();
    let (log, _) = open(&folder, &[1, 2]);
    let last = fill(&log, &[1, 2], 16_000).await;
    assert!(files(&folder).len() > 2);
    for session in [1, 2] {
        let mut after = Seq(0);
        while after < last {
            let (entries, _) = log
                .read(number(session), after, 500, 1 << 20)
                .await
                .unwrap();
            after = entries.last().unwrap().seq;
            done(&log, session, entries.iter().map(|entry| entry.seq.0));
        }
    }
    assert_eq!(log.stats().messages, 0);
    log.close();
    assert_eq!(files(&folder).len(), 1, "{:?}", files(&folder));
}

#[tokio::test]
async fn a_damaged_active_file_is_salvaged_and_every_session_finds_its_messages() {
    let folder = tempdir().unwrap();
    let (log, _) = open(&folder, &[1, 2]);
    for _ in 0..5 {
        fill(&log, &[1, 2], 20).await;
    }
    done(&log, 1, 1..=40);
    log.close();
    drop(log);
    break_first_page(&folder, 1);

    let (log, standings) = open(&folder, &[1, 2]);
    let found = seqs(&log, 1).await;
    let all: Vec<_> = (1..=100).collect();
    assert!(
        found.ends_with(&all[40..]),
        "what was done may come back: {found:?}"
    );
    assert_eq!(standings[&number(1)].messages, found.len() as u64);
    assert_eq!(seqs(&log, 2).await, all);
    assert!(files(&folder).iter().any(|name| name.contains(".bad-")));
    assert_eq!(log.stats().lost, 0);
    // It goes on.
    let next = append(&log, &[1], None);
    covered(&log, next).await;
    drop(log);
    let (log, _) = open(&folder, &[1, 2]);
    assert_eq!(seqs(&log, 1).await.len(), found.len() + 1);
    assert_eq!(seqs(&log, 2).await, all);
}

#[tokio::test]
async fn sessions_whose_rows_are_lost_find_all_that_they_wanted() {
    let folder = tempdir().unwrap();
    let (log, _) = open(&folder, &[1, 2]);
    let last = fill(&log, &[1, 2], 10_000).await;
    log.close();
    drop(log);
    assert_eq!(files(&folder).len(), 2);
    // Nothing can be found in the active file, and the older one knows nothing of the sessions' rows at the end.
    std::fs::write(path(&folder, 2), b"garbage").unwrap();
    let (log, standings) = open(&folder, &[1, 2]);
    let found = seqs(&log, 1).await;
    assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
    assert!(found.len() > 5000, "{}", found.len());
    assert_eq!(seqs(&log, 2).await, found);
    assert_eq!(standings[&number(2)].messages, found.len() as u64);
    assert!(standings[&number(2)].last_packet_id.is_some());
    let next = append(&log, &[1], None);
    assert!(next.0 > found.len() as u64 && next <= Seq(last.0 + 1));
}

#[tokio::test]
async fn a_damaged_sealed_file_costs_what_cannot_be_found_in_it_and_is_counted() {
    let folder = tempdir().unwrap();
    let (log, _) = open(&folder, &[1]);
    fill(&log, &[1], 16_000).await;
    log.close();
    drop(log);
    let mut bytes = std::fs::read(path(&folder, 1)).unwrap();
    bytes[..4096].fill(0xee);
    // And two segments somewhere in the middle.
    bytes[3_000_000..3_100_000].fill(0xee);
    std::fs::write(path(&folder, 1), &bytes).unwrap();
    let (log, _) = open(&folder, &[1]);
    let found = seqs(&log, 1).await;
    let missing = 16_000 - found.len() as u64;
    assert!((50..400).contains(&missing), "{missing}");
    assert_eq!(log.stats().lost, missing);
    assert_eq!(log.stats().messages, found.len() as u64);
}

#[tokio::test]
async fn the_files_stay_within_their_limit_and_what_is_dropped_is_told() {
    let folder = tempdir().unwrap();
    let limit = 2 << 20;
    let small = SessionLogOptions {
        queued_bytes_total: limit,
        ..options(&folder)
    };
    let (log, _) = open_with(small.clone(), &[1, 2]);
    let mut progress = log.progress();
    let last = fill(&log, &[1, 2], 5000).await;
    let told = progress.wait_for(|progress| progress.dropped > 0);
    tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
    log.close();
    let dropped = log.take_dropped();
    assert_eq!(dropped.len(), 2);
    let (session, messages, bytes) = dropped[0];
    assert_eq!(session, number(1));
    assert!(bytes >= messages * 1000);
    let size: u64 = files(&folder)
        .iter()
        .map(|name| {
            std::fs::metadata(folder.path().join("sessions").join(name))
                .unwrap()
                .len()
        })
        .sum();
    assert!(size < 2 * limit, "{size}");
    drop(log);
    let (log, _) = open_with(small, &[1, 2]);
    assert_eq!(
        seqs(&log, 1).await,
        (messages + 1..=last.0).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn one_old_message_does_not_keep_a_generation() {
    let folder = tempdir().unwrap();
    let small = SessionLogOptions {
        queued_bytes_total: 16 << 20,
        ..options(&folder)
    };
    let (log, _) = open_with(small, &[1, 2]);
    fill(&log, &[1, 2], 1).await;
    let last = fill(&log, &[1], 6000).await;
    let whole = std::fs::metadata(path(&folder, 1)).unwrap().len();
    let mut after = Seq(0);
    while after < last {
        let (entries, _) = log.read(number(1), after, 500, 1 << 20).await.unwrap();
        after = entries.last().unwrap().seq;
        done(&log, 1, entries.iter().map(|entry| entry.seq.0));
    }
    // The commits that follow make room for the rewrite.
    let started = Instant::now();
    while std::fs::metadata(path(&folder, 1)).unwrap().len() >= whole / 4 {
        assert!(
            started.elapsed() < PATIENCE,
            "the first file is as big as ever"
        );
        fill(&log, &[1], 1).await;
    }
    assert_eq!(seqs(&log, 2).await, [1]);
    drop(log);
    assert_eq!(seqs(&open(&folder, &[1, 2]).0, 2).await, [1]);
}

#[tokio::test]
async fn a_second_process_is_refused_the_session_log() {
    let folder = tempdir().unwrap();
    let (log, _) = open(&folder, &[1]);
    let known = BTreeSet::new();
    let again = SessionLog::open(options(&folder), Timeline::new(Instant::now(), 0), &known);
    assert!(matches!(again, Err(StoreError::InUse { .. })));
    log.close();
}

#[tokio::test]
async fn a_newer_session_log_is_refused_and_kept() {
    let folder = tempdir().unwrap();
    let (log, _) = open(&folder, &[1]);
    fill(&log, &[1], 3).await;
    log.close();
    drop(log);
    let path = options(&folder).dir.join("q-00000001.redb");
    let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("meta");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut meta = transaction.open_table(table).unwrap();
    meta.insert(b"format".as_slice(), 4_u32.to_le_bytes().as_slice())
        .unwrap();
    drop(meta);
    transaction.commit().unwrap();
    drop(database);
    let before = std::fs::read(&path).unwrap();
    let known = BTreeSet::from([number(1)]);
    let timeline = Timeline::new(Instant::now(), 0);
    let refused = SessionLog::open(options(&folder), timeline, &known).unwrap_err();
    let is_newer = matches!(
        refused,
        StoreError::NewerFormat {
            found: 4,
            known: 3,
            ..
        }
    );
    assert!(is_newer, "{refused:?}");
    assert!(std::fs::read(&path).unwrap() == before, "kept as it was");
    let files = std::fs::read_dir(options(&folder).dir).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.filter(|name| name.ends_with(".redb")).collect();
    assert_eq!(names, ["q-00000001.redb"]);
}
