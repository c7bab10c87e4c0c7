//! What is no queue: it is there after a restart, as it was put last.

use std::time::{Duration, Instant};

use fieldgate::mqtt::{Message, PacketId, ProtocolVersion, QoS, Will};
use fieldgate::store::{
    Mark, Restored, Seq, SessionNumber, State, StateChange, StateOptions, StoredPresence,
    StoredSession, StoredSubscription,
};
use fieldgate::topic::TopicName;
use tempfile::{TempDir, tempdir};

use crate::support::PATIENCE;

/// A state, and the position of its last change.
pub struct Rig {
    pub state: State,
    pub last: Seq,
}

pub fn options(folder: &TempDir) -> StateOptions {
    StateOptions {
        commit_interval: Duration::from_millis(2),
        ..StateOptions::new(folder.path().to_path_buf())
    }
}

pub fn open(folder: &TempDir) -> (Rig, Restored) {
    let (state, restored, _) = State::open(options(folder)).unwrap();
    let rig = Rig {
        state,
        last: Seq(0),
    };
    (rig, restored)
}

impl Rig {
    pub fn put(&mut self, change: StateChange) -> Seq {
        self.last.0 += 1;
        self.state.put(Instant::now(), self.last, change, true);
        self.last
    }

    pub async fn covered(&self) {
        let mut progress = self.state.progress();
        let covered = progress.wait_for(|progress| progress.covered >= self.last);
        tokio::time::timeout(PATIENCE, covered)
            .await
            .expect("in time")
            .unwrap();
    }
}

pub fn session(client_id: &str) -> StoredSession {
    StoredSession {
        client_id: client_id.into(),
        user: Some("operator".into()),
        certified: false,
        version: ProtocolVersion::V5,
        expiry: 3600,
        presence: StoredPresence::Connected,
        will: None,
    }
}

pub fn subscription(qos: QoS) -> StoredSubscription {
    StoredSubscription {
        qos,
        no_local: true,
        retain_as_published: false,
        id: Some(9),
        replaying: false,
    }
}

pub fn message(topic: &str, payload: &str) -> Message {
    let topic = TopicName::try_from(topic).unwrap();
    Message::new(topic, payload.to_owned().into(), QoS::AtLeastOnce, true)
}

pub fn mark(session: SessionNumber, packet_id: u16) -> Mark {
    Mark {
        session,
        packet_id: PacketId::new(packet_id).unwrap(),
    }
}

pub fn begun(number: SessionNumber, session: StoredSession) -> StateChange {
    StateChange::Session(number, Box::new(session))
}

#[tokio::test]
async fn what_was_covered_is_there_after_a_crash() {
    let folder = tempdir().unwrap();
    let (mut rig, restored) = open(&folder);
    assert_eq!(restored.sessions, []);
    let first = restored.next_session;
    let second = SessionNumber(first.0 + 1);
    let will = Will {
        message: message("lamp/1/state", "gone"),
        delay: 30,
    };
    let with_will = StoredSession {
        will: Some(will),
        ..session("lamp-1")
    };
    rig.put(begun(first, with_will.clone()));
    rig.put(begun(second, session("lamp-2")));
    for (number, filter) in [(first, "a/+"), (second, "$share/g/b/#"), (first, "c")] {
        let granted = subscription(QoS::ExactlyOnce);
        rig.put(StateChange::Subscription(number, filter.into(), granted));
    }
    rig.put(StateChange::Retained(
        message("a/1", "old"),
        "lamp-1".into(),
    ));
    rig.put(StateChange::Retained(
        message("a/1", "new"),
        "lamp-2".into(),
    ));
    rig.put(StateChange::Retained(
        message("a/2", "short"),
        "lamp-1".into(),
    ));
    rig.put(StateChange::RetainedGone(
        TopicName::try_from("a/2").unwrap(),
    ));
    rig.put(StateChange::SubscriptionGone(first, "c".into()));
    rig.covered().await;
    drop(rig);

    let (rig, restored) = open(&folder);
    let granted = subscription(QoS::ExactlyOnce);
    assert_eq!(
        restored.sessions,
        [
            (first, with_will, vec![("a/+".into(), granted)]),
            (
                second,
                session("lamp-2"),
                vec![("$share/g/b/#".into(), granted)]
            ),
        ]
    );
    assert_eq!(restored.retained.len(), 1);
    assert_eq!(restored.retained[0].message, message("a/1", "new"));
    assert_eq!(restored.retained[0].publisher, "lamp-2");
    assert_eq!(restored.lost, None);
    let stats = rig.state.stats();
    assert_eq!(
        (stats.sessions, stats.subscriptions, stats.retained),
        (2, 2, 1)
    );
}

#[tokio::test]
async fn a_session_that_ended_takes_its_subscriptions_with_it() {
    let folder = tempdir().unwrap();
    let (mut rig, restored) = open(&folder);
    let numbers: Vec<_> = (0..3)
        .map(|more| SessionNumber(restored.next_session.0 + more))
        .collect();
    for number in &numbers {
        rig.put(begun(*number, session(&format!("client-{}", number.0))));
        for filter in ["a", "b", "c"] {
            let granted = subscription(QoS::AtLeastOnce);
            rig.put(StateChange::Subscription(*number, filter.into(), granted));
        }
    }
    rig.covered().await;
    // One that is on the disk, and one that still waits.
    rig.put(StateChange::Subscription(
        numbers[1],
        "d".into(),
        subscription(QoS::AtLeastOnce),
    ));
    rig.put(StateChange::SessionGone(numbers[1]));
    rig.covered().await;
    drop(rig);
    let (rig, restored) = open(&folder);
    let kept: Vec<_> = restored.sessions.iter().map(|kept| kept.0).collect();
    assert_eq!(kept, [numbers[0], numbers[2]]);
    assert!(restored.sessions.iter().all(|kept| kept.2.len() == 3));
    assert_eq!(rig.state.stats().subscriptions, 6);
}

#[tokio::test]
async fn marks_are_there_until_they_are_gone() {
    let folder = tempdir().unwrap();
    let (mut rig, restored) = open(&folder);
    let marks = [1, 258, 65_535].map(|id| mark(restored.next_session, id));
    for mark in marks {
        rig.put(StateChange::Retained(message("a", "1"), "c".into()));
        rig.put(StateChange::Marked(mark));
    }
    rig.covered().await;
    drop(rig);
    let (mut rig, restored) = open(&folder);
    assert_eq!(restored.marks, marks);
    rig.put(StateChange::MarkGone(marks[1]));
    rig.covered().await;
    drop(rig);
    assert_eq!(open(&folder).1.marks, [marks[0], marks[2]]);
}

#[tokio::test]
async fn no_number_of_a_session_is_given_out_twice() {
    let folder = tempdir().unwrap();
    let mut highest = SessionNumber(0);
    for round in 0..4 {
        let (mut rig, restored) = open(&folder);
        assert!(restored.next_session > highest, "round {round}");
        highest = SessionNumber(restored.next_session.0 + 100);
        if round % 2 == 0 {
            rig.put(begun(highest, session("a")));
            rig.covered().await;
            rig.put(StateChange::SessionGone(highest));
            rig.state.close();
        }
    }
}

#[tokio::test]
async fn closing_commits_what_is_not_urgent() {
    let folder = tempdir().unwrap();
    let (rig, _) = open(&folder);
    let kept = StateChange::Retained(message("a", "1"), "c".into());
    rig.state.put(Instant::now(), Seq(1), kept, false);
    assert_eq!(rig.state.progress().borrow().committed, Seq(0));
    rig.state.close();
    assert_eq!(rig.state.progress().borrow().committed, Seq(1));
    drop(rig);
    assert_eq!(open(&folder).1.retained.len(), 1);
}

#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    let folder = tempdir().unwrap();
    let (_rig, _) = open(&folder);
    let error = State::open(options(&folder)).unwrap_err();
    assert!(error.to_string().contains("already running"), "{error}");
}
