//! Kill -9 in the middle of appending: a child process says what was covered, and dies.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use fieldgate::mqtt::QoS;
use fieldgate::store::{Log, LogOptions};
use tempfile::tempdir;

use crate::support::{append, assert_intact, options, read_all, seqs};

const FOLDER: &str = "FIELDGATE_TEST_KILL_FOLDER";

/// Not a test by itself: the child runs it, for ever.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(folder) = env::var_os(FOLDER) else {
        return;
    };
    let log = Log::open(LogOptions {
        commit_interval: Duration::from_millis(1),
        max_bytes: 8 << 20,
        ..LogOptions::new(PathBuf::from(folder).join("cloud"))
    })
    .unwrap();
    let mut out = std::io::stdout();
    let mut told = log.progress().borrow().covered;
    loop {
        if log.has_room() {
            append(&log, QoS::AtLeastOnce, 300);
        }
        let covered = log.progress().borrow().covered;
        if covered > told {
            told = covered;
            writeln!(out, "covered {}", covered.0).unwrap();
            out.flush().unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_covered_survives_kill_9() {
    let folder = tempdir().unwrap();
    let mut covered = 0;
    for round in 1..=5 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "kill::child_appends_until_it_is_killed",
                "--nocapture",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines
            .map_while(Result::ok)
            .filter(|line| line.contains("covered "))
        {
            covered = line.rsplit(' ').next().unwrap().parse().unwrap();
            if covered >= round * 400 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(
            covered >= round * 400,
            "the child ended early, at {covered}"
        );

        let log = Log::open(options(&folder)).unwrap();
        let entries = read_all(&log).await;
        assert_intact(&entries, 300);
        let found = seqs(&entries);
        assert!(
            found.len() as u64 >= covered,
            "{} of {covered}",
            found.len()
        );
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
        log.close();
    }
}
