//! Appending with 1, 10, 100 and 1000 messages a commit: the backlog, an append-only log with fdatasync, which is the floor,
//! and SQLite. The other two keep nothing but the payload, and the floor a length and a CRC with it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use fieldgate::store::Log;
use tempfile::tempdir;

use super::meter::{Cost, met, ratio};
use super::sqlite::Sqlite;
use super::{SIZE, backlog};

const ROUNDS: usize = 5;
/// Messages a commit, and commits of a round.
const SIZES: [(u64, u64); 4] = [(1, 500), (10, 500), (100, 300), (1000, 200)];
/// Bytes of the backlog in those of the floor, with 1000 messages a commit.
const GOAL: f64 = 1.15;

pub fn run() {
    let sqlite = Sqlite::build();
    Cost::header("appending 256 byte messages");
    for (per_commit, commits) in SIZES {
        println!("{per_commit} a commit");
        let (mut ours, mut floor, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let folder = tempdir().unwrap();
            ours.push(fill(folder.path(), per_commit, commits));
            floor.push(append_only(folder.path(), per_commit, commits));
            theirs.extend(
                sqlite
                    .as_ref()
                    .map(|sqlite| sqlite.fill(folder.path(), per_commit, commits)),
            );
        }
        Cost::median(&ours).print("backlog");
        Cost::median(&floor).print("append-only log, fdatasync (floor)");
        compare("floor", &ours, &floor, (per_commit == 1000).then_some(GOAL));
        if !theirs.is_empty() {
            Cost::median(&theirs).print("SQLite, WAL, synchronous=FULL");
            compare("SQLite", &ours, &theirs, None);
        }
    }
    drain();
}

fn compare(with: &str, ours: &[Cost], theirs: &[Cost], goal: Option<f64>) {
    let given = ratio(ours, theirs, |cost| cost.given);
    let goal = goal.map_or(String::new(), |goal| {
        format!(" (goal {goal}: {})", met(given <= goal))
    });
    println!(
        "    backlog / {with}: bytes given {given:.2}{goal}, pages {:.2}, syncs {:.2}, msg/s {:.2}",
        ratio(ours, theirs, |cost| cost.pages),
        ratio(ours, theirs, |cost| cost.syncs),
        ratio(ours, theirs, |cost| cost.messages_per_second),
    );
}

fn fill(folder: &Path, per_commit: u64, commits: u64) -> Cost {
    let runtime = backlog::runtime();
    let log = Log::open(backlog::filled_options(folder)).unwrap();
    let cost = Cost::of(
        || log.stats().syncs,
        || backlog::fill(&runtime, &log, per_commit, commits),
    );
    log.close();
    cost
}

fn append_only(folder: &Path, per_commit: u64, commits: u64) -> Cost {
    let mut file = File::create_new(folder.join("floor")).unwrap();
    let payload = [0x5a; SIZE];
    let mut cost = Cost::of(
        || 0,
        || {
            for _ in 0..commits {
                let mut records = Vec::new();
                for _ in 0..per_commit {
                    records.extend_from_slice(&(SIZE as u32).to_le_bytes());
                    records.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
                    records.extend_from_slice(&payload);
                }
                file.write_all(&records).unwrap();
                file.sync_data().unwrap();
            }
            per_commit * commits
        },
    );
    cost.syncs = 1.0 / per_commit as f64;
    cost
}

/// From the files, without a connection.
fn drain() {
    let folder = tempdir().unwrap();
    let runtime = backlog::runtime();
    let log = Log::open(backlog::filled_options(folder.path())).unwrap();
    backlog::fill(&runtime, &log, 1000, 500);
    log.close();
    drop(log);
    let log = Log::open(backlog::filled_options(folder.path())).unwrap();
    println!("reading 500 000 of them and ticking them off");
    Cost::of(|| log.stats().syncs, || backlog::drain(&runtime, &log)).print("backlog");
    log.close();
}
