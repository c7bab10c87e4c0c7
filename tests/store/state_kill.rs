//! Kill -9 while the state is being changed: a child process says what was covered, and dies.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fieldgate::store::{Seq, SessionNumber, State, StateChange, StateOptions};
use tempfile::tempdir;

use crate::state::{begun, message, open, session};

const FOLDER: &str = "FIELDGATE_TEST_KILL_STATE";
const TOPICS: u64 = 20;
const ROUNDS: u64 = 5;
const CHANGES: u64 = 300;

/// Not a test by itself: the child runs it, for ever. Each change is a new value of a topic in turn, and each twentieth a
/// session too.
#[test]
fn child_changes_until_it_is_killed() {
    let Some(folder) = env::var_os(FOLDER) else {
        return;
    };
    let options = StateOptions {
        commit_interval: Duration::from_millis(1),
        ..StateOptions::new(PathBuf::from(folder))
    };
    let (state, restored, _) = State::open(options).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "first {}", restored.next_session.0).unwrap();
    let mut told = Seq(0);
    let mut seq = Seq(0);
    loop {
        if state.has_room() && seq.0 < told.0 + 1000 {
            seq.0 += 1;
            let change = if seq.0.is_multiple_of(TOPICS) {
                let number = SessionNumber(restored.next_session.0 + seq.0);
                begun(number, session(&format!("client-{}", number.0)))
            } else {
                let topic = format!("topic/{}", seq.0 % TOPICS);
                let value = message(&topic, &seq.0.to_string());
                StateChange::Retained(value, "p".into())
            };
            state.put(Instant::now(), seq, change, true);
        }
        let covered = state.progress().borrow().covered;
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
    let mut sessions = 0;
    for _ in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "state_kill::child_changes_until_it_is_killed",
                "--nocapture",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut covered, mut first) = (0, 0);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            let number = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
            if line.contains("first ") {
                first = number(&line);
            } else if line.contains("covered ") {
                covered = number(&line);
                if covered >= CHANGES {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(covered >= CHANGES, "the child ended early, at {covered}");

        let (_rig, restored) = open(&folder);
        assert_eq!(restored.lost, None);
        sessions += covered / TOPICS;
        let found = restored.sessions.len() as u64;
        assert!(found >= sessions, "{found} of {sessions}");
        sessions = found;
        assert!(restored.next_session.0 > first + covered);
        for retained in &restored.retained {
            let text = std::str::from_utf8(&retained.message.payload).unwrap();
            let value: u64 = text.parse().unwrap();
            let topic = format!("topic/{}", value % TOPICS);
            assert_eq!(retained.message.topic.as_str(), topic);
            assert!(value + TOPICS > covered, "{topic} is {value} of {covered}");
        }
        assert_eq!(restored.retained.len() as u64, TOPICS - 1);
    }
}
