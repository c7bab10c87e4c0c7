//! The session log: messages to clients that are away, to one and to a hundred that want the same.

use std::collections::BTreeSet;
use std::time::Duration;

use fieldgate::clock::{self, Timeline};
use fieldgate::mqtt::{PacketId, QoS, SubscriptionIds};
use fieldgate::store::{Outcome, Seq, SessionLog, SessionLogOptions, SessionNumber, Want};
use tempfile::tempdir;
use tokio::runtime::Runtime;

use super::backlog;
use super::meter::{Cost, since};

pub fn run() {
    let runtime = backlog::runtime();
    Cost::header("256 byte messages to sessions that are away");
    for sessions in [1, 100] {
        for (per_commit, commits) in [(1, 500), (100, 200), (1000, 100)] {
            session_log(&runtime, sessions, per_commit, commits);
        }
    }
}

fn session_log(runtime: &Runtime, sessions: u64, per_commit: u64, commits: u64) {
    let folder = tempdir().unwrap();
    let options = SessionLogOptions {
        commit_interval: Duration::ZERO,
        hold: Duration::from_secs(3600),
        hold_bytes: 8 << 20,
        queued_bytes_total: 2 << 30,
        ..SessionLogOptions::new(folder.path().join("bench"))
    };
    let known: BTreeSet<_> = (1..=sessions).map(SessionNumber).collect();
    let open = || {
        let timeline = Timeline::new(clock::now(), 0);
        SessionLog::open(options.clone(), timeline, &known)
            .unwrap()
            .0
    };
    let log = open();
    let what = format!("append for {sessions}, {per_commit} a commit");
    Cost::of(
        || log.stats().syncs,
        || fill_sessions(runtime, &log, sessions, per_commit, commits),
    )
    .print(&what);
    log.close();
    drop(log);
    let started = clock::now();
    let log = open();
    let opened = since(started) * 1000.0;
    let what = format!("open in {opened:.1} ms, drain by one");
    Cost::of(
        || log.stats().syncs,
        || drain_session(runtime, &log, SessionNumber(1)),
    )
    .print(&what);
    log.close();
}

/// Each round is one commit: what was held becomes due with the last message, which may not wait.
fn fill_sessions(
    runtime: &Runtime,
    log: &SessionLog,
    sessions: u64,
    per_commit: u64,
    commits: u64,
) -> u64 {
    let message = backlog::message(QoS::AtLeastOnce);
    let mut progress = log.progress();
    let mut id = 0_u16;
    for _ in 0..commits {
        let mut last = Seq(0);
        for number in 1..=per_commit {
            last = log.next_seq();
            id = id % 65_535 + 1;
            let want = |session| Want {
                session: SessionNumber(session),
                packet_id: PacketId::new(id).unwrap(),
                qos: QoS::AtLeastOnce,
                retain: false,
                subscription_ids: SubscriptionIds::default(),
            };
            let wants = (1..=sessions).map(want).collect();
            let may_wait = number < per_commit;
            log.append(clock::now(), last, message.compact(), wants, None, may_wait);
        }
        runtime
            .block_on(progress.wait_for(|progress| progress.covered >= last))
            .unwrap();
    }
    per_commit * commits
}

fn drain_session(runtime: &Runtime, log: &SessionLog, session: SessionNumber) -> u64 {
    let mut drained = 0;
    let mut after = Seq(0);
    loop {
        let read = log.read(session, after, 128, 256 << 10);
        let (entries, is_all) = runtime.block_on(read).unwrap();
        for entry in &entries {
            log.done(clock::now(), session, entry.seq, Outcome::Delivered);
            after = entry.seq;
        }
        drained += entries.len() as u64;
        if is_all {
            return drained;
        }
    }
}
