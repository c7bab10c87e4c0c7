//! The state: retained messages of 64 bytes, 1, 100 and 1000 a commit, over 10 000 topics; a million updates of the same
//! topics, after which the file must not have grown; opening it with 100 000 retained messages and 5000 sessions of 20
//! subscriptions each. Prints changes a second (the commit interval taken off), and per change the bytes given to the medium
//! and its syncs. `cargo bench --bench state`.
//!
//! Changes a second depend on the disk under the temporary folder (set TMPDIR); bytes and syncs do not.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench measures time, and stops where it cannot"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fieldgate::clock;
use fieldgate::mqtt::{Message, ProtocolVersion, QoS};
use fieldgate::store::{
    Restored, Seq, SessionNumber, State, StateChange, StateOptions, StoredPresence, StoredSession,
    StoredSubscription,
};
use fieldgate::topic::TopicName;
use tokio::runtime::{Builder, Runtime};

/// Long enough for all changes of one round to be put.
const INTERVAL: Duration = Duration::from_millis(4);
const TOPICS: u64 = 10_000;
const RETAINED: u64 = 100_000;
const SESSIONS: u64 = 5000;
const FILTERS: u64 = 20;

struct Bench {
    runtime: Runtime,
    state: State,
    last: Seq,
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    println!("64 byte retained messages        changes/s  bytes/change  syncs/change  file KiB");
    for per_commit in [1, 100, 1000] {
        let folder = folder.path().join(format!("updates-{per_commit}"));
        let (mut bench, _) = Bench::open(&folder);
        bench.retain(1000, TOPICS, TOPICS);
        let what = format!("updates of {TOPICS}, {per_commit} a commit");
        let count = (per_commit * 500).min(TOPICS * 10);
        bench.measure(&what, &folder, |bench| {
            bench.retain(per_commit, count, TOPICS);
            count
        });
        bench.state.close();
    }
    rewrite(&folder.path().join("rewritten"));
    fill(&folder.path().join("full"));
    for ended in ["in order", "by a crash"] {
        reopen(&folder.path().join("full"), ended);
    }
}

fn rewrite(folder: &Path) {
    let (mut bench, _) = Bench::open(folder);
    for _ in 0..10 {
        bench.measure("updates of 1000, 100 a commit", folder, |bench| {
            bench.retain(100, 100_000, 1000);
            100_000
        });
    }
    bench.measure("clearing 1000", folder, |bench| {
        bench.round((0..1000).map(|number| StateChange::RetainedGone(topic(number))));
        1000
    });
    bench.state.close();
}

fn fill(folder: &Path) {
    let (mut bench, restored) = Bench::open(folder);
    let first = restored.next_session.0;
    bench.measure("100 000 topics, 1000 a commit", folder, |bench| {
        bench.retain(1000, RETAINED, RETAINED);
        RETAINED
    });
    bench.measure("5000 sessions of 20 filters", folder, |bench| {
        for number in (first..first + SESSIONS).step_by(40) {
            let numbers = (number..number + 40).map(SessionNumber);
            bench.round(numbers.flat_map(begin));
        }
        SESSIONS * (FILTERS + 1)
    });
    bench.state.close();
}

fn reopen(folder: &Path, ended: &str) {
    let before = resident_kib();
    let started = Instant::now();
    let (bench, restored) = Bench::open(folder);
    println!(
        "open, ended {ended}: {} retained, {} sessions in {:?}; {} KiB of memory with them, {} KiB after",
        restored.retained.len(),
        restored.sessions.len(),
        started.elapsed(),
        resident_kib() - before,
        {
            drop(restored);
            resident_kib() - before
        },
    );
    drop(bench);
}

impl Bench {
    fn open(folder: &Path) -> (Self, Restored) {
        let options = StateOptions {
            commit_interval: INTERVAL,
            ..StateOptions::new(folder.to_path_buf())
        };
        let (state, restored, _) = State::open(options).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let last = Seq(0);
        let bench = Self {
            runtime,
            state,
            last,
        };
        (bench, restored)
    }

    /// `count` values for `topics` topics in an order that jumps about, `per_commit` at a time.
    fn retain(&mut self, per_commit: u64, count: u64, topics: u64) {
        for from in (0..count).step_by(usize::try_from(per_commit).unwrap()) {
            let numbers = from..(from + per_commit).min(count);
            self.round(numbers.map(|number| retained(number * 7919 % topics, number)));
        }
    }

    fn round(&mut self, changes: impl Iterator<Item = StateChange>) {
        for change in changes {
            self.last.0 += 1;
            self.state.put(clock::now(), self.last, change, true);
        }
        let mut progress = self.state.progress();
        let covered = progress.wait_for(|progress| progress.covered >= self.last);
        self.runtime.block_on(covered).unwrap();
    }

    fn measure(&mut self, what: &str, folder: &Path, work: impl FnOnce(&mut Self) -> u64) {
        let before = self.state.stats();
        let started = Instant::now();
        let changes = work(self) as f64;
        let after = self.state.stats();
        let commits = u32::try_from(after.commits.count() - before.commits.count()).unwrap();
        let busy = started.elapsed().saturating_sub(INTERVAL * commits);
        println!(
            "{what:<32} {:>9.0} {:>13.1} {:>13.4} {:>9}",
            changes / busy.as_secs_f64(),
            (after.bytes_written - before.bytes_written) as f64 / changes,
            (after.syncs - before.syncs) as f64 / changes,
            fs::metadata(folder.join("state.redb")).unwrap().len() / 1024,
        );
    }
}

fn topic(number: u64) -> TopicName {
    TopicName::try_from(format!(
        "plant/press-line-3/machine-{number:06}/temperature"
    ))
    .unwrap()
}

fn retained(number: u64, value: u64) -> StateChange {
    let mut payload = value.to_le_bytes().to_vec();
    payload.resize(64, b'.');
    let message = Message::new(topic(number), Bytes::from(payload), QoS::AtLeastOnce, true);
    StateChange::Retained(message, "press-line-3".into())
}

fn begin(number: SessionNumber) -> impl Iterator<Item = StateChange> {
    let session = StoredSession {
        client_id: format!("dashboard-{}", number.0).into(),
        user: Some("operator".into()),
        certified: false,
        version: ProtocolVersion::V5,
        expiry: 86_400,
        presence: StoredPresence::Connected,
        will: None,
    };
    let granted = StoredSubscription {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        id: None,
        replaying: false,
    };
    let filters = (0..FILTERS).map(move |filter| {
        let filter = format!("plant/press-line-{filter}/+/temperature");
        StateChange::Subscription(number, filter.into(), granted)
    });
    std::iter::once(StateChange::Session(number, Box::new(session))).chain(filters)
}

/// Memory of this process, on Linux.
fn resident_kib() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    figure.unwrap_or(0)
}
