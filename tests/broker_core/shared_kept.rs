//! Shared subscriptions, and rights, of sessions that the store keeps.

use std::time::Duration;

use fieldgate::auth::{Principal, Rights};
use fieldgate::broker::core::{ConnId, LogId, Restored, RestoredSession};
use fieldgate::broker::{Origin, WhenQueueFull};
use fieldgate::mqtt::{Connect, ProtocolVersion, QoS, SubscriptionIds};
use fieldgate::store::{
    Seq, SessionEntry, SessionNumber, SessionStanding, StoredPresence, StoredSession,
    StoredSubscription, Want,
};
use fieldgate::topic::TopicFilter;

use crate::story::{QOS1, QOS2, Story, message, pid, v5};

const S1: SessionNumber = SessionNumber(1);

fn kept() -> Story {
    let mut story = Story::new();
    story.core.attach_store(Seq(1), S1);
    story
}

/// A client whose session is kept; it and what it subscribed to are committed.
fn member(story: &mut Story, name: &str, filters: &[&str]) -> ConnId {
    let conn = story.connect_with(v5(name));
    story.state_covered();
    for filter in filters {
        story.subscribe(conn, filter, QOS2);
    }
    story.state_covered();
    story.told();
    conn
}

/// Its session ends with the connection.
fn publisher(story: &mut Story) -> ConnId {
    let conn = story.connect_with(Connect::new(ProtocolVersion::V5, "p".into()));
    story.told();
    conn
}

/// The session of a client ends.
fn end(story: &mut Story, name: &str) {
    story.connect_with(Connect {
        clean_start: true,
        ..Connect::new(ProtocolVersion::V5, name.into())
    });
}

fn entry(seq: u64, payload: &str, qos: QoS) -> SessionEntry {
    SessionEntry {
        seq: Seq(seq),
        message: message("t", payload, qos),
        want: Want {
            session: S1,
            packet_id: pid(7),
            qos,
            retain: false,
            subscription_ids: SubscriptionIds::default(),
        },
        age: Duration::ZERO,
        received: false,
    }
}

/// What is told of the session log and of deliveries.
fn told(story: &mut Story) -> Vec<String> {
    let told = story.told().into_iter();
    told.filter(|line| !line.contains("state @") && !line.contains("CONNACK"))
        .collect()
}

#[test]
fn two_copies_for_one_session_have_positions_of_their_own() {
    let mut story = kept();
    member(&mut story, "a", &["t", "$share/g/t", "$share/h/t"]);
    member(&mut story, "b", &["t"]);
    let conn = publisher(&mut story);
    story.publish(conn, "t", "x", QOS1);
    assert_eq!(
        told(&mut story),
        [
            "keep @1 t=x q1 s1#1q1 s2#1q1 hold",
            "keep @2 t=x q1 s1#2q1 hold",
            "keep @3 t=x q1 s1#3q1 hold",
            "1 PUBLISH t=x q1 #1",
            "s1 sent @1",
            "2 PUBLISH t=x q1 #1",
            "s2 sent @1",
            "1 PUBLISH t=x q1 #2",
            "s1 sent @2",
            "1 PUBLISH t=x q1 #3",
            "s1 sent @3"
        ]
    );
    story.core.covered(story.now, LogId::Sessions, Seq(2));
    assert!(told(&mut story).is_empty(), "one copy is not covered");
    story.core.covered(story.now, LogId::Sessions, Seq(3));
    assert_eq!(told(&mut story), ["3 PUBACK 1"]);
}

#[test]
fn the_mark_of_a_qos_2_message_is_kept_with_the_last_copy() {
    let mut story = kept();
    let conn = member(&mut story, "a", &["t", "$share/g/t"]);
    story.publish(conn, "t", "x", QOS2);
    assert_eq!(
        told(&mut story),
        ["keep @1 t=x q2 s1#1q2", "keep @2 t=x q2 s1#2q2 mark s1#1"]
    );
}

#[test]
fn mqtt_4_8_2_5_what_the_log_has_for_a_member_that_is_gone_goes_to_another() {
    let mut story = kept();
    let first = member(&mut story, "a", &["$share/g/t"]);
    let conn = publisher(&mut story);
    story.publish(conn, "t", "sent", QOS1);
    story.publish(conn, "t", "sent at 2", QOS2);
    story.core.committed(story.now, Seq(2));
    story.cut(first);
    story.publish(conn, "t", "waits at 2", QOS2);
    member(&mut story, "b", &["$share/g/t"]);
    end(&mut story, "a");
    let read = told(&mut story);
    assert_eq!(read, ["s1 fetch after @0"], "and it is not forgotten yet");
    let entries = vec![
        entry(1, "sent", QOS1),
        entry(2, "sent at 2", QOS2),
        entry(3, "waits at 2", QOS2),
    ];
    story.core.fetched(story.now, S1, entries, true);
    assert_eq!(
        told(&mut story),
        [
            "keep @4 t=sent q1 s2#1q1 hold",
            "3 PUBLISH t=sent q1 #1",
            "s2 sent @4",
            "keep @5 t=waits at 2 q2 s2#2q2",
            "s1 forget"
        ],
        "what was sent at QoS 2 may have arrived"
    );
    story
        .core
        .fetched(story.now, S1, vec![entry(9, "late", QOS1)], true);
    assert!(told(&mut story).is_empty());
}

#[test]
fn an_estate_is_read_in_parts_to_its_end() {
    let mut story = kept();
    let first = member(&mut story, "a", &["$share/g/t"]);
    member(&mut story, "b", &["$share/g/t"]);
    let conn = publisher(&mut story);
    story.publish(conn, "t", "x", QOS1);
    story.cut(first);
    told(&mut story);
    end(&mut story, "a");
    assert_eq!(told(&mut story), ["s1 fetch after @0"]);
    story
        .core
        .fetched(story.now, S1, vec![entry(1, "x", QOS1)], false);
    assert_eq!(
        told(&mut story),
        [
            "keep @2 t=x q1 s2#1q1 hold",
            "2 PUBLISH t=x q1 #1",
            "s2 sent @2",
            "s1 fetch after @1"
        ]
    );
    story.core.fetched(story.now, S1, Vec::new(), true);
    assert_eq!(told(&mut story), ["s1 forget"]);
}

#[test]
fn a_read_that_the_session_had_asked_for_is_not_taken_for_its_estate() {
    let mut story = kept();
    let first = member(&mut story, "a", &["$share/g/t"]);
    member(&mut story, "b", &["$share/g/t"]);
    let conn = publisher(&mut story);
    story.publish(conn, "t", "x", QOS1);
    story.cut(first);
    story.connect_with(v5("a"));
    story.state_covered();
    assert!(told(&mut story).contains(&"s1 fetch after @0".to_owned()));
    end(&mut story, "a");
    let after = told(&mut story);
    assert!(
        !after.iter().any(|line| line.contains("fetch")),
        "{after:?}"
    );
    story.core.fetched(story.now, S1, Vec::new(), true);
    assert_eq!(told(&mut story), ["s1 fetch after @0"]);
}

#[test]
fn what_a_member_also_wanted_for_itself_ends_with_it() {
    let mut story = kept();
    let first = member(&mut story, "a", &["$share/g/#", "t"]);
    member(&mut story, "b", &["$share/g/#"]);
    let conn = publisher(&mut story);
    story.publish(conn, "t", "x", QOS1);
    story.cut(first);
    told(&mut story);
    end(&mut story, "a");
    assert_eq!(told(&mut story), ["s1 fetch after @0"]);
    story
        .core
        .fetched(story.now, S1, vec![entry(1, "x", QOS1)], true);
    assert_eq!(told(&mut story), ["s1 forget"]);
}

#[test]
fn without_an_heir_nothing_is_read() {
    let mut story = kept();
    let first = member(&mut story, "a", &["$share/g/t", "u"]);
    let conn = publisher(&mut story);
    story.publish(conn, "t", "x", QOS1);
    story.cut(first);
    told(&mut story);
    end(&mut story, "a");
    assert_eq!(told(&mut story), ["s1 forget"]);
}

#[test]
fn a_full_member_is_a_reason_to_refuse_only_where_all_are_full() {
    let mut story = Story::with(|limits| limits.queued_messages = 1);
    story.restart(WhenQueueFull::Refuse);
    let conn = publisher(&mut story);
    for name in ["a", "b"] {
        let member = story.client(name);
        story.subscribe(member, "$share/g/t", QOS1);
        story.cut(member);
    }
    story.told();
    for number in 0..3 {
        story.publish(conn, "t", &number.to_string(), QOS1);
    }
    assert_eq!(
        story.told(),
        ["1 PUBACK 1", "1 PUBACK 2", "1 PUBACK 3 QuotaExceeded"]
    );
}

fn restored(subscriptions: &[&str]) -> Restored {
    let stored = StoredSubscription {
        qos: QOS1,
        no_local: false,
        retain_as_published: false,
        id: None,
        replaying: false,
    };
    Restored {
        sessions: vec![RestoredSession {
            number: S1,
            session: StoredSession {
                client_id: "a".into(),
                user: Some("u".into()),
                certified: false,
                version: ProtocolVersion::V5,
                expiry: 3600,
                presence: StoredPresence::Connected,
                will: None,
            },
            subscriptions: subscriptions
                .iter()
                .map(|filter| ((*filter).into(), stored))
                .collect(),
            standing: SessionStanding::default(),
        }],
        ..Restored::default()
    }
}

#[test]
fn a_group_is_there_again_after_a_restart() {
    let mut story = Story::new();
    story.core.attach_store(Seq(1), SessionNumber(2));
    story.restore(restored(&["$share/g/t"]));
    member(&mut story, "b", &["$share/g/t"]);
    let conn = publisher(&mut story);
    story.publish(conn, "t", "x", QOS1);
    assert_eq!(
        told(&mut story),
        [
            "keep @1 t=x q1 s2#1q1 hold",
            "1 PUBLISH t=x q1 #1",
            "s2 sent @1"
        ],
        "it goes to the member that is there"
    );
    assert_eq!(story.core.stats().subscriptions, 2);
}

#[test]
fn a_restored_session_has_the_rights_of_its_user_from_the_start() {
    for rights in [Some(()), None] {
        let mut story = Story::new();
        story.core.attach_store(Seq(1), SessionNumber(2));
        let filter = TopicFilter::try_from("t").unwrap();
        let reader = Principal {
            user: Some("u".into()),
            rights: Some(Rights::allowing(&[], &[filter]).into()),
            ..Principal::default()
        };
        let now = story.now;
        story
            .core
            .restore(now, restored(&["#"]), &mut |known, name| {
                assert_eq!((known.user.as_deref(), name), (Some("u"), "a"));
                rights.map(|()| reader.clone())
            });
        story.told();
        let conn = publisher(&mut story);
        for topic in ["t", "u"] {
            story.publish(conn, topic, "x", QOS1);
        }
        let kept = told(&mut story);
        let kept = kept.iter().filter(|line| line.starts_with("keep"));
        assert_eq!(kept.count(), usize::from(rights.is_some()));
        // Of what was read before, too, only what may be read now is sent.
        story.log_in(Origin::Client, reader, v5("a"));
        story.state_covered();
        let old = |seq, topic| SessionEntry {
            message: message(topic, "old", QOS1),
            ..entry(seq, "", QOS1)
        };
        story.told();
        let entries = vec![old(1, "u"), old(2, "t")];
        story.core.fetched(story.now, S1, entries, true);
        let sent = told(&mut story);
        let sent: Vec<_> = sent
            .iter()
            .filter(|line| line.contains("PUBLISH"))
            .collect();
        assert_eq!(sent, ["2 PUBLISH t=old q1 #7"]);
    }
}
