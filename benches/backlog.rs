//! The backlog and the session log: appending with 1, 100 and 1000 messages a commit, and draining from the files. Prints
//! messages a second, bytes given to the medium and syncs, both per message, for QoS 1 messages of 256 bytes: to a bridge,
//! to one session that is away, and to a hundred that want the same. `cargo bench --bench backlog`.
//!
//! Messages per second depend on the disk under the temporary folder (set TMPDIR); bytes and syncs do not.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench measures time, and stops where it cannot"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fieldgate::clock::{self, Timeline};
use fieldgate::mqtt::{Message, PacketId, QoS, SubscriptionIds};
use fieldgate::store::{
    LinkHealth, Log, LogOptions, LogStats, Outcome, Record, Seq, SessionLog, SessionLogOptions,
    SessionNumber, Want,
};
use fieldgate::topic::TopicName;
use tokio::runtime::{Builder, Runtime};

const PAYLOAD: [u8; 256] = [0x5a; 256];

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    println!("256 byte messages                  msg/s   bytes/msg   syncs/msg");
    for (per_commit, commits) in [(1, 1000), (100, 500), (1000, 500)] {
        println!("to a bridge");
        backlog(&runtime, per_commit, commits);
    }
    for sessions in [1, 100] {
        for (per_commit, commits) in [(1, 1000), (100, 200), (1000, 100)] {
            println!("to sessions that are away: {sessions}");
            session_log(&runtime, sessions, per_commit, commits);
        }
    }
}

fn backlog(runtime: &Runtime, per_commit: u64, commits: u64) {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions {
        commit_interval: Duration::ZERO,
        hold_for_upstream: Duration::from_secs(3600),
        ..LogOptions::new(folder.path().join("bench"))
    };
    let log = Log::open(options.clone()).unwrap();
    measure(
        &format!("append, {per_commit} a commit"),
        || log.stats(),
        || fill(runtime, &log, per_commit, commits),
    );
    log.close();
    drop(log);
    let started = Instant::now();
    let log = Log::open(options).unwrap();
    let messages = per_commit * commits;
    println!("open with {messages} messages took {:?}", started.elapsed());
    measure(
        "drain from the files",
        || log.stats(),
        || drain(runtime, &log),
    );
}

fn session_log(runtime: &Runtime, sessions: u64, per_commit: u64, commits: u64) {
    let folder = tempfile::tempdir().unwrap();
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
    measure(
        &format!("append, {per_commit} a commit"),
        || log.stats(),
        || fill_sessions(runtime, &log, sessions, per_commit, commits),
    );
    log.close();
    drop(log);
    let started = Instant::now();
    let log = open();
    let messages = per_commit * commits;
    println!("open with {messages} messages took {:?}", started.elapsed());
    measure(
        "drain by one from the files",
        || log.stats(),
        || drain_session(runtime, &log, SessionNumber(1)),
    );
}

fn measure(what: &str, stats: impl Fn() -> LogStats, work: impl FnOnce() -> u64) {
    let before = stats();
    let started = Instant::now();
    let messages = work() as f64;
    let elapsed = started.elapsed().as_secs_f64();
    let after = stats();
    let each = |figure: fn(&LogStats) -> u64| (figure(&after) - figure(&before)) as f64 / messages;
    println!(
        "{what:<28} {:>11.0} {:>11.1} {:>11.5}",
        messages / elapsed,
        each(|stats| stats.bytes_written),
        each(|stats| stats.syncs),
    );
}

/// Each round is one commit: what was held becomes due at once when the link is said to be down.
fn fill(runtime: &Runtime, log: &Log, per_commit: u64, commits: u64) -> u64 {
    let topic = TopicName::try_from("plant/press-line-3/temperature").unwrap();
    let mut progress = log.progress();
    for _ in 0..commits {
        log.link(clock::now(), LinkHealth::Up);
        let mut last = Seq(0);
        for _ in 0..per_commit {
            last = log.next_seq();
            let payload = bytes::Bytes::copy_from_slice(&PAYLOAD);
            let record = Record {
                message: Message::new(topic.clone(), payload, QoS::AtLeastOnce, false),
                stamped: clock::wall(),
            };
            log.append(clock::now(), last, record, None);
        }
        log.link(clock::now(), LinkHealth::Down);
        runtime
            .block_on(progress.wait_for(|progress| progress.covered >= last))
            .unwrap();
    }
    per_commit * commits
}

fn drain(runtime: &Runtime, log: &Log) -> u64 {
    let mut drained = 0;
    let mut from = Seq(0);
    loop {
        let entries = runtime.block_on(log.read(from, 200, 1 << 20)).unwrap();
        let Some(last) = entries.last() else {
            return drained;
        };
        from = Seq(last.seq.0 + 1);
        drained += entries.len() as u64;
        for entry in entries {
            log.done(clock::now(), entry.seq, Outcome::Delivered);
        }
    }
}

/// Each round is one commit: what was held becomes due with the last message, which may not wait.
fn fill_sessions(
    runtime: &Runtime,
    log: &SessionLog,
    sessions: u64,
    per_commit: u64,
    commits: u64,
) -> u64 {
    let topic = TopicName::try_from("plant/press-line-3/temperature").unwrap();
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
            let payload = bytes::Bytes::copy_from_slice(&PAYLOAD);
            let message = Message::new(topic.clone(), payload, QoS::AtLeastOnce, false);
            let wants = (1..=sessions).map(want).collect();
            log.append(
                clock::now(),
                last,
                message,
                wants,
                None,
                number < per_commit,
            );
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
