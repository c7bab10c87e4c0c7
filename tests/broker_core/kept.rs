//! Sessions that are kept: what goes to the store, what waits for it, what comes back from it (promise P1).

use std::time::Duration;

use fieldgate::broker::core::{ConnId, Effect, LogId, Restored, RestoredRetained, RestoredSession};
use fieldgate::broker::{Durability, Origin, WhenQueueFull};
use fieldgate::mqtt::{
    Connect, Disconnect, Message, Packet, ProtocolVersion, Publish, PublishProperties, QoS,
    SubscriptionIds, Will,
};
use fieldgate::store::{
    Mark, Seq, SessionEntry, SessionNumber, SessionStanding, StoredPresence, StoredSession,
    StoredSubscription, Want,
};

use crate::fake_store::FakeStore;
use crate::story::{
    QOS0, QOS1, QOS2, SUCCESS, Story, message, pid, publish, route, v5, v311, with_will,
};

const S1: SessionNumber = SessionNumber(1);
const S2: SessionNumber = SessionNumber(2);

/// A story with a store.
fn kept() -> Story {
    with_store(Story::new())
}

fn with_store(mut story: Story) -> Story {
    story.core.attach_store(Seq(1), S1);
    story
}

/// A subscriber to `t` at QoS 2 (connection 1, session 1) and a publisher whose session is not kept (connection 2).
fn pair() -> (Story, ConnId, ConnId) {
    subscribed(kept())
}

fn subscribed(mut story: Story) -> (Story, ConnId, ConnId) {
    let subscriber = story.connect_with(v5("s"));
    story.subscribe(subscriber, "t", QOS2);
    let publisher = story.connect_with(unkept("p"));
    state_covered(&mut story);
    sessions_covered(&mut story, 0);
    story.told();
    (story, subscriber, publisher)
}

fn unkept(id: &str) -> Connect {
    Connect {
        session_expiry: 0,
        ..v5(id)
    }
}

/// Written: all changes that were told.
fn state_covered(story: &mut Story) {
    story.state_covered();
}

/// Written: everything up to here.
fn sessions_covered(story: &mut Story, upto: u64) {
    story.core.committed(story.now, Seq(upto));
    story.core.covered(story.now, LogId::Sessions, Seq(upto));
}

fn entry(seq: u64, payload: &str, id: u16, qos: QoS) -> SessionEntry {
    SessionEntry {
        seq: Seq(seq),
        message: message("t", payload, qos),
        want: Want {
            session: S1,
            packet_id: pid(id),
            qos,
            retain: false,
            subscription_ids: SubscriptionIds::default(),
        },
        age: Duration::ZERO,
        received: false,
    }
}

fn stored(client_id: &str, presence: StoredPresence, expiry: u32) -> StoredSession {
    StoredSession {
        client_id: client_id.into(),
        user: None,
        certified: false,
        version: ProtocolVersion::V5,
        expiry,
        presence,
        will: None,
    }
}

fn restored(number: SessionNumber, session: StoredSession) -> RestoredSession {
    RestoredSession {
        number,
        session,
        subscriptions: Vec::new(),
        standing: SessionStanding::default(),
    }
}

fn restore(story: &mut Story, sessions: Vec<RestoredSession>) {
    let restored = Restored {
        sessions,
        ..Restored::default()
    };
    story.restore(restored);
}

const AWAY: StoredPresence = StoredPresence::Away {
    expires_in: Some(Duration::from_secs(100)),
    will_in: None,
};

#[test]
fn the_connack_of_a_kept_session_waits_for_its_commit_and_everything_else_for_the_connack() {
    let mut story = kept();
    let conn = story.connect_with(v5("s"));
    story.subscribe(conn, "t", QOS0);
    story.packet(conn, Packet::Pingreq);
    story.publish(conn, "t", "dropped", QOS0);
    story.publish(conn, "x", "1", QOS1);
    assert_eq!(
        story.told(),
        ["state @1 s1 s there urgent", "state @2 s1 t q0 urgent"]
    );
    assert_eq!(
        story.pauses(),
        ["1 paused"],
        "what follows came before that"
    );
    story.core.covered(story.now, LogId::State, Seq(1));
    assert_eq!(story.told(), ["1 CONNACK Success"]);
    story.core.covered(story.now, LogId::State, Seq(2));
    assert_eq!(
        story.told(),
        [
            "1 SUBACK [Success]",
            "1 PINGRESP",
            "1 PUBACK 2 NoMatchingSubscribers"
        ]
    );
    assert_eq!(story.pauses(), ["1 resumed"]);
}

#[test]
fn a_session_that_ends_with_its_connection_waits_for_nothing() {
    let mut story = kept();
    for connect in [unkept("a"), v311("b", true)] {
        let conn = story.connect_with(connect);
        story.subscribe(conn, "t", QOS2);
        assert_eq!(story.told().len(), 2, "CONNACK and SUBACK");
        story.cut(conn);
        assert!(story.told().is_empty());
    }
    let link = story.connect_as(Origin::Device, v5("$link"));
    story.subscribe(link, "t", QOS1);
    assert_eq!(story.told().len(), 2, "nor is a part of fieldgate kept");
}

#[test]
fn mqtt_3_14_0_1_no_disconnect_goes_before_the_connack() {
    let mut story = kept();
    let conn = story.connect_with(v5("s"));
    story.packet(conn, Packet::Pingresp);
    assert_eq!(story.told()[1], "1 closed Violated(ProtocolError)");
}

#[test]
fn suback_and_unsuback_wait_and_retained_messages_follow_the_suback() {
    let mut story = kept();
    let publisher = story.connect_with(unkept("p"));
    story.retain(publisher, "t", "r");
    let conn = story.connect_with(v5("s"));
    state_covered(&mut story);
    story.told();
    story.subscribe(conn, "t", QOS0);
    assert_eq!(story.told(), ["state @3 s1 t q0 urgent"]);
    story.core.covered(story.now, LogId::State, Seq(3));
    assert_eq!(
        story.told(),
        ["2 SUBACK [Success]", "2 PUBLISH t=r q0 retained"]
    );
    story.unsubscribe(conn, "t");
    assert_eq!(story.told(), ["state @4 s1 t gone urgent"]);
    story.unsubscribe(conn, "t");
    story.core.covered(story.now, LogId::State, Seq(4));
    assert_eq!(
        story.told(),
        ["2 UNSUBACK [Success]", "2 UNSUBACK [NoSubscriptionExisted]"]
    );
}

#[test]
fn of_a_client_with_many_answers_waiting_nothing_is_read() {
    let mut story = kept();
    let conn = story.connect_with(v5("s"));
    state_covered(&mut story);
    story.told();
    assert_eq!(story.pauses(), ["1 paused", "1 resumed"], "for the CONNACK");
    for _ in 0..200 {
        story.subscribe(conn, "t", QOS1);
    }
    story.told();
    assert_eq!(story.pauses(), ["1 paused"]);
    state_covered(&mut story);
    story.told();
    assert_eq!(story.pauses(), ["1 resumed"]);
}

#[test]
fn qos_1_goes_out_at_once_and_may_be_held() {
    let (mut story, subscriber, publisher) = pair();
    story.publish(publisher, "t", "1", QOS1);
    assert_eq!(
        story.told(),
        [
            "keep @1 t=1 q1 s1#1q1 hold",
            "1 PUBLISH t=1 q1 #1",
            "s1 sent @1"
        ]
    );
    story.puback(subscriber, 1);
    assert_eq!(story.told(), ["s1 done @1 Delivered"]);
    sessions_covered(&mut story, 1);
    assert_eq!(story.told(), ["2 PUBACK 1"]);
}

#[test]
fn qos_2_goes_out_when_it_is_committed_and_its_pubrel_when_the_pubrec_is() {
    let (mut story, subscriber, publisher) = pair();
    story.publish(publisher, "t", "1", QOS2);
    story.publish(publisher, "t", "2", QOS1);
    assert_eq!(
        story.told(),
        ["keep @1 t=1 q2 s1#1q2", "keep @2 t=2 q1 s1#2q1"],
        "what comes later does not overtake"
    );
    sessions_covered(&mut story, 2);
    assert_eq!(
        story.told(),
        [
            "1 PUBLISH t=1 q2 #1",
            "s1 sent @1",
            "1 PUBLISH t=2 q1 #2",
            "s1 sent @2",
            "2 PUBREC 1",
            "2 PUBACK 2"
        ]
    );
    story.pubrec(subscriber, 1);
    story.pubrec(subscriber, 1);
    assert_eq!(story.told(), ["s1 received @1"]);
    story.core.committed_received(story.now, S1, Seq(1));
    assert_eq!(story.told(), ["1 PUBREL 1"]);
    story.pubrec(subscriber, 1);
    assert_eq!(story.told(), ["1 PUBREL 1"]);
    story.pubcomp(subscriber, 1);
    assert_eq!(story.told(), ["s1 done @1 Delivered"]);
}

#[test]
fn with_durability_interval_messages_are_acknowledged_at_once_and_nothing_else_is() {
    let mut story = Story::new();
    story.restart_as(|options| options.durability = Durability::Interval);
    let mut story = with_store(story);
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(1), vec![route("t")]);
    let publisher = story.connect_with(v5("p"));
    assert_eq!(
        story.told().len(),
        1,
        "its row is to be kept, and CONNACK waits for it"
    );
    state_covered(&mut story);
    story.told();
    story.publish(publisher, "t", "1", QOS1);
    story.publish(publisher, "t", "2", QOS2);
    assert_eq!(
        story.told(),
        [
            "log0 @1 up/t=1 q1",
            "1 PUBACK 1",
            "log0 @2 up/t=2 q2 mark s1#2",
            "1 PUBREC 2"
        ]
    );
    story.pubrel(publisher, 2);
    assert_eq!(story.told(), ["log0 unmark mark s1#2"]);
    let mark = Mark {
        session: S1,
        packet_id: pid(2),
    };
    story.core.unmarked(story.now, LogId::Bridge(0), mark);
    assert_eq!(story.told(), ["1 PUBCOMP 2"]);
}

#[test]
fn one_message_is_appended_once_with_all_that_want_it() {
    let (mut story, _, publisher) = pair();
    let other = story.connect_with(v5("o"));
    story.subscribe(other, "#", QOS1);
    state_covered(&mut story);
    story.cut(other);
    let unkept = story.connect_with(unkept("u"));
    story.subscribe(unkept, "t", QOS1);
    story.told();
    story.publish(publisher, "t", "1", QOS1);
    assert_eq!(
        story.told(),
        [
            "keep @1 t=1 q1 s2#1q1 s1#1q1",
            "1 PUBLISH t=1 q1 #1",
            "s1 sent @1",
            "4 PUBLISH t=1 q1 #1"
        ],
        "not held: one of them is away"
    );
}

#[test]
fn mqtt_4_4_0_1_a_client_that_comes_back_gets_what_was_in_flight_first_with_the_same_ids() {
    let (mut story, subscriber, publisher) = pair();
    for (payload, qos) in [("1", QOS2), ("2", QOS1), ("3", QOS2)] {
        story.publish(publisher, "t", payload, qos);
    }
    sessions_covered(&mut story, 3);
    story.pubrec(subscriber, 1);
    story.cut(subscriber);
    story.publish(publisher, "t", "4", QOS1);
    story.publish(publisher, "t", "0", QOS0);
    story.told();
    let subscriber = story.connect_with(v5("s"));
    story.told();
    state_covered(&mut story);
    assert_eq!(
        story.told(),
        ["3 CONNACK Success present", "s1 fetch after @0"]
    );
    let mut entries = vec![
        entry(1, "1", 1, QOS2),
        entry(2, "2", 2, QOS1),
        entry(3, "3", 3, QOS2),
        entry(4, "4", 4, QOS1),
    ];
    entries[0].received = true;
    sessions_covered(&mut story, 4);
    story.told();
    story.core.fetched(story.now, S1, entries, true);
    assert_eq!(
        story.told(),
        [
            "3 PUBREL 1",
            "3 PUBLISH t=2 q1 #2 dup",
            "3 PUBLISH t=3 q2 #3 dup",
            "3 PUBLISH t=4 q1 #4",
            "s1 sent @4"
        ]
    );
    story.pubcomp(subscriber, 1);
    story.publish(publisher, "t", "5", QOS1);
    assert_eq!(
        story.told(),
        [
            "s1 done @1 Delivered",
            "keep @5 t=5 q1 s1#5q1 hold",
            "3 PUBLISH t=5 q1 #5",
            "s1 sent @5"
        ],
        "it keeps up again"
    );
}

#[test]
fn what_was_read_for_a_connection_that_is_gone_is_read_again() {
    let (mut story, subscriber, publisher) = pair();
    story.cut(subscriber);
    story.publish(publisher, "t", "1", QOS1);
    story.connect_with(v5("s"));
    state_covered(&mut story);
    assert_eq!(story.told().last().unwrap(), "s1 fetch after @0");
    story.connect_with(v5("s"));
    state_covered(&mut story);
    story.told();
    let read = || vec![entry(1, "1", 1, QOS1)];
    story.core.fetched(story.now, S1, read(), true);
    assert_eq!(story.told(), ["s1 fetch after @0"]);
    story.core.fetched(story.now, S1, read(), true);
    assert_eq!(story.told(), ["4 PUBLISH t=1 q1 #1", "s1 sent @1"]);
}

#[test]
fn a_slow_client_falls_behind_and_reads_the_log_again() {
    let (mut story, subscriber, publisher) = pair();
    story.core.congested(subscriber, true);
    for number in 1..=150 {
        story.publish(publisher, "t", &number.to_string(), QOS0);
        story.packet(publisher, Packet::Publish(publish("t", "x", QOS1, 1)));
        sessions_covered(&mut story, number);
    }
    assert!(story.told().iter().all(|told| !told.contains("fetch")));
    story.core.congested(subscriber, false);
    for id in 1..=128 {
        story.puback(subscriber, id);
    }
    let told = story.told();
    let delivered = told.iter().filter(|told| told.contains("PUBLISH"));
    assert_eq!(delivered.count(), 128, "the rest is in the log");
    assert!(told.contains(&"s1 fetch after @128".to_owned()));
    let rest = (129..=150u16).map(|id| entry(u64::from(id), "x", id, QOS1));
    story.core.fetched(story.now, S1, rest.collect(), true);
    assert_eq!(story.told()[0], "1 PUBLISH t=x q1 #129");
}

#[test]
fn an_absent_session_costs_no_memory_per_message() {
    let story = Story::with(|limits| {
        limits.queued_messages = 1_000_000;
        limits.queued_bytes = 1 << 30;
    });
    let (mut story, subscriber, publisher) = subscribed(with_store(story));
    story.cut(subscriber);
    story.told();
    let mut size = 0;
    for number in 1..=100_000u64 {
        story.packet(publisher, Packet::Publish(publish("t", "payload", QOS1, 1)));
        sessions_covered(&mut story, number);
        assert_eq!(story.effects().len(), 2, "kept and acknowledged");
        if number == 10_000 {
            size = format!("{:?}", story.core).len();
        }
    }
    let grown = format!("{:?}", story.core).len() - size;
    assert!(grown < 100, "digits of counters, not {grown} characters");
}

#[test]
fn a_full_queue_drops_the_oldest_unread() {
    let story = Story::with(|limits| limits.queued_messages = 2);
    let (mut story, subscriber, publisher) = subscribed(with_store(story));
    story.cut(subscriber);
    story.told();
    for payload in ["1", "2", "3"] {
        story.publish(publisher, "t", payload, QOS1);
    }
    assert_eq!(
        story.told(),
        [
            "keep @1 t=1 q1 s1#1q1",
            "keep @2 t=2 q1 s1#2q1",
            "s1 skip 1",
            "keep @3 t=3 q1 s1#3q1"
        ]
    );
    assert_eq!(story.core.stats().dropped, 1);
}

#[test]
fn what_may_have_been_sent_is_not_dropped() {
    let story = Story::with(|limits| {
        limits.queued_messages = 2;
        limits.inflight = 1;
    });
    let (mut story, subscriber, publisher) = subscribed(with_store(story));
    for payload in ["1", "2", "3", "4"] {
        story.publish(publisher, "t", payload, QOS1);
    }
    let told = story.told();
    assert!(told.contains(&"s1 done @2 Dropped".to_owned()), "{told:?}");
    story.cut(subscriber);
    story.publish(publisher, "t", "5", QOS1);
    assert_eq!(story.told()[1], "s1 skip 1", "2 waited, and 1 was sent");
}

#[test]
fn a_queue_full_of_bytes_drops_by_their_average() {
    let story = Story::with(|limits| limits.queued_bytes = 100);
    let (mut story, subscriber, publisher) = subscribed(with_store(story));
    story.cut(subscriber);
    for _ in 0..4 {
        story.publish(publisher, "t", "twenty-four characters!!", QOS1);
    }
    story.told();
    let long = "x".repeat(60);
    story.publish(publisher, "t", &long, QOS1);
    assert_eq!(story.told()[0], "s1 skip 3");
    sessions_covered(&mut story, 5);
    story.told();
    story.publish(publisher, "t", &"x".repeat(100), QOS1);
    assert_eq!(
        story.told(),
        ["2 PUBACK 6"],
        "alone it is more than the queue may hold"
    );
    assert_eq!(story.core.stats().dropped, 4);
}

#[test]
fn what_the_log_drops_of_its_own_accord_is_counted_and_makes_room() {
    let story = Story::with(|limits| limits.queued_messages = 2);
    let (mut story, subscriber, publisher) = subscribed(with_store(story));
    story.cut(subscriber);
    for payload in ["1", "2"] {
        story.publish(publisher, "t", payload, QOS1);
    }
    story.core.dropped(story.now, S1, 1, 2);
    story.told();
    story.publish(publisher, "t", "3", QOS1);
    assert_eq!(story.told(), ["keep @3 t=3 q1 s1#3q1"]);
    assert_eq!(story.core.stats().dropped, 1);
}

#[test]
fn mqtt_3_3_2_5_a_message_counts_its_age_in_the_log() {
    let (mut story, subscriber, _) = pair();
    story.cut(subscriber);
    story.connect_with(v5("s"));
    state_covered(&mut story);
    story.told();
    let expiring = |seq, expiry| {
        let mut entry = entry(seq, "x", 1, QOS1);
        entry.message.properties = Some(Box::new(PublishProperties {
            message_expiry: Some(expiry),
            ..PublishProperties::default()
        }));
        entry.age = Duration::from_secs(30);
        entry
    };
    let entries = vec![expiring(1, 30), expiring(2, 100)];
    story.core.fetched(story.now, S1, entries, true);
    let effects = story.effects();
    let left = effects.iter().find_map(|effect| match effect {
        Effect::Deliver { message, .. } => message.properties.as_ref()?.message_expiry,
        _ => None,
    });
    assert_eq!(left, Some(70));
    assert!(matches!(effects[0], Effect::Done { seq: Seq(1), .. }));
    assert_eq!(story.core.stats().expired, 1);
}

#[test]
fn mqtt_3_1_2_25_what_is_too_large_for_the_client_is_done() {
    let mut story = kept();
    let small = story.connect_with(Connect {
        maximum_packet_size: Some(20),
        ..v5("s")
    });
    story.subscribe(small, "t", QOS1);
    let publisher = story.connect_with(unkept("p"));
    state_covered(&mut story);
    story.told();
    story.publish(publisher, "t", "1234567890123", QOS1);
    assert_eq!(story.told()[1..], ["s1 done @1 Dropped"]);
}

#[test]
fn a_clean_start_ends_the_session_and_its_connack_waits_for_that() {
    let (mut story, subscriber, _) = pair();
    story.cut(subscriber);
    story.told();
    story.connect_with(Connect {
        clean_start: true,
        ..unkept("s")
    });
    assert_eq!(story.told(), ["state @4 s1 gone urgent", "s1 forget"]);
    state_covered(&mut story);
    assert_eq!(story.told(), ["3 CONNACK Success"]);
    story.connect_with(Connect {
        clean_start: true,
        ..v5("s")
    });
    assert_eq!(
        story.told()[2..],
        ["state @5 s2 s there urgent"],
        "another session has another number"
    );
}

#[test]
fn disconnect_changes_the_expiry_and_0_ends_the_session() {
    let (mut story, subscriber, _) = pair();
    let disconnect = |expiry| {
        Packet::Disconnect(Disconnect {
            session_expiry: Some(expiry),
            ..Disconnect::new(SUCCESS)
        })
    };
    story.packet(subscriber, disconnect(60));
    assert_eq!(
        story.told(),
        [
            "1 closed Disconnected",
            "state @3 s1 s away Some(60) None urgent"
        ]
    );
    let subscriber = story.connect_with(v5("s"));
    state_covered(&mut story);
    story.told();
    story.packet(subscriber, disconnect(0));
    assert_eq!(
        story.told(),
        [
            "3 closed Disconnected",
            "state @5 s1 gone urgent",
            "s1 forget"
        ]
    );
}

#[test]
fn a_session_that_expires_is_forgotten() {
    let (mut story, subscriber, _) = pair();
    story.cut(subscriber);
    story.secs(3599);
    story.told();
    story.secs(1);
    assert_eq!(story.told(), ["state @4 s1 gone urgent", "s1 forget"]);
    assert_eq!(story.core.stats().sessions, 0);
}

#[test]
fn a_will_is_in_the_row_until_it_is_published() {
    let mut story = kept();
    let conn = story.connect_with(with_will(v5("s"), "will/a", 30));
    assert_eq!(story.told(), ["state @1 s1 s there will urgent"]);
    story.cut(conn);
    assert_eq!(
        story.told(),
        ["state @2 s1 s away Some(3600) Some(30) will urgent"]
    );
    story.secs(30);
    assert_eq!(story.told(), ["state @3 s1 s away Some(3570) None urgent"]);
}

#[test]
fn a_shutdown_leaves_kept_sessions_as_they_are() {
    let mut story = kept();
    let delayed = story.connect_with(with_will(v5("a"), "will/a", 30));
    story.connect_with(with_will(v5("b"), "will/b", 0));
    story.connect_with(v5("w"));
    state_covered(&mut story);
    let watcher = ConnId(3);
    story.subscribe(watcher, "will/#", QOS1);
    state_covered(&mut story);
    story.told();
    let _ = delayed;
    story.core.shutdown(story.now);
    let told = story.told();
    let away = "state @5 s1 a away Some(3600) Some(30) will urgent";
    assert!(told.contains(&away.to_owned()), "{told:?}");
    assert!(
        told.contains(&"keep @1 will/b=gone q1 s3#1q1 hold".to_owned()),
        "{told:?}"
    );
    assert!(!told.iter().any(|told| told.contains("forget")));
}

#[test]
fn a_qos_2_message_is_marked_in_every_log_and_its_pubcomp_waits_until_no_mark_is_left() {
    let mut story = kept();
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(1), vec![route("t")]);
    let subscriber = story.connect_with(v5("s"));
    story.subscribe(subscriber, "t", QOS1);
    let publisher = story.connect_with(v5("p"));
    state_covered(&mut story);
    story.told();
    story.publish(publisher, "t", "1", QOS2);
    assert_eq!(
        story.told(),
        [
            "log0 @1 up/t=1 q2 mark s2#1",
            "keep @1 t=1 q2 s1#1q1 mark s2#1",
            "1 PUBLISH t=1 q1 #1",
            "s1 sent @1"
        ]
    );
    story.covered(0, 1);
    sessions_covered(&mut story, 1);
    assert_eq!(story.told(), ["2 PUBREC 1"]);
    story.pubrel(publisher, 1);
    story.pubrel(publisher, 1);
    assert_eq!(
        story.told(),
        ["log0 unmark mark s2#1", "sessions unmark mark s2#1"]
    );
    let mark = Mark {
        session: S2,
        packet_id: pid(1),
    };
    story.core.unmarked(story.now, LogId::Sessions, mark);
    story.core.unmarked(story.now, LogId::Sessions, mark);
    assert!(story.told().is_empty());
    story.core.unmarked(story.now, LogId::Bridge(0), mark);
    assert_eq!(story.told(), ["2 PUBCOMP 1"]);
}

#[test]
fn only_kept_publishers_and_logs_that_keep_the_message_have_marks() {
    let mut story = kept();
    let mut low = route("low");
    low.qos = QOS0;
    let routes = vec![low, route("up")];
    story.core.attach_log(LogId::Bridge(0), Seq(1), routes);
    let kept = story.connect_with(v5("k"));
    let unkept = story.connect_with(unkept("u"));
    state_covered(&mut story);
    story.told();
    story.publish(kept, "low", "1", QOS2);
    story.publish(unkept, "up", "2", QOS2);
    story.publish(kept, "nowhere", "3", QOS2);
    assert_eq!(
        story.told(),
        [
            "log0 @1 up/low=1 q0",
            "1 PUBREC 1",
            "log0 @2 up/up=2 q2",
            "1 PUBREC 2 NoMatchingSubscribers"
        ]
    );
    story.pubrel(kept, 1);
    assert_eq!(story.told(), ["1 PUBCOMP 1"]);
}

/// After a crash: publisher 1 with a mark for its id 1 in the log of the bridge; subscriber 2 to `t`.
fn after_crash() -> Story {
    let mut story = Story::new();
    let core = &mut story.core;
    core.attach_log(LogId::Bridge(0), Seq(5), vec![route("t")]);
    core.attach_store(Seq(5), SessionNumber(9));
    let mut subscriber = restored(S2, stored("s", AWAY, 100));
    let subscription = StoredSubscription {
        qos: QOS2,
        no_local: false,
        retain_as_published: false,
        id: None,
        replaying: false,
    };
    subscriber.subscriptions = vec![("t".into(), subscription)];
    let mark = |session| {
        let packet_id = pid(1);
        (LogId::Bridge(0), Mark { session, packet_id })
    };
    let restored = Restored {
        sessions: vec![restored(S1, stored("p", AWAY, 100)), subscriber],
        retained: Vec::new(),
        marks: vec![mark(S1), mark(SessionNumber(7))],
    };
    story.restore(restored);
    story
}

#[test]
fn a_resend_after_a_restart_goes_only_to_the_logs_without_its_mark() {
    let mut story = after_crash();
    assert_eq!(
        story.told(),
        ["log0 unmark mark s7#1"],
        "of a session that is no more"
    );
    let publisher = story.connect_with(v5("p"));
    state_covered(&mut story);
    story.told();
    let resend = Publish {
        dup: true,
        ..publish("t", "1", QOS2, 1)
    };
    story.packet(publisher, Packet::Publish(resend.clone()));
    story.packet(publisher, Packet::Publish(resend));
    assert_eq!(story.told(), ["keep @5 t=1 q2 s2#1q2 mark s1#1"]);
    sessions_covered(&mut story, 5);
    assert_eq!(story.told(), ["1 PUBREC 1"]);
    story.pubrel(publisher, 1);
    assert_eq!(
        story.told(),
        ["log0 unmark mark s1#1", "sessions unmark mark s1#1"]
    );
}

#[test]
fn a_retained_qos_2_message_is_marked_behind_itself_and_its_pubcomp_waits_for_the_end_of_that() {
    let mut story = kept();
    let publisher = story.connect_with(v5("p"));
    state_covered(&mut story);
    story.told();
    let retain = |payload: &str, id| {
        Packet::Publish(Publish {
            retain: true,
            ..publish("t", payload, QOS2, id)
        })
    };
    story.packet(publisher, retain("1", 1));
    assert_eq!(
        story.told(),
        ["state @2 t=1 q2 of p urgent", "state @3 mark s1#1 urgent"]
    );
    story.core.covered(story.now, LogId::State, Seq(2));
    assert!(story.told().is_empty());
    story.core.covered(story.now, LogId::State, Seq(3));
    assert_eq!(story.told(), ["1 PUBREC 1 NoMatchingSubscribers"]);
    story.pubrel(publisher, 1);
    story.pubrel(publisher, 1);
    assert_eq!(story.told(), ["state @4 mark s1#1 gone urgent"]);
    state_covered(&mut story);
    assert_eq!(story.told(), ["1 PUBCOMP 1"]);
    // Nothing is there to be removed: also that is done once.
    for id in [2, 3] {
        story.packet(publisher, retain("", id));
    }
    assert_eq!(
        story.told(),
        [
            "state @5 t cleared urgent",
            "state @6 mark s1#2 urgent",
            "state @7 mark s1#3 urgent"
        ]
    );
}

#[test]
fn a_resend_after_a_crash_does_not_replace_what_was_retained_since() {
    for (payload, newer) in [("1", "2"), ("", "2"), ("1", "")] {
        let mut story = Story::new();
        let mut store = FakeStore::default();
        let settle = |story: &mut Story, store: &mut FakeStore| {
            for _ in 0..3 {
                for effect in story.effects() {
                    store.take(story.now, effect);
                }
                store.commit_state(&mut story.core, story.now);
            }
        };
        store.open(&mut story.core, story.now, vec![route("t")]);
        let one = story.connect_with(v5("one"));
        settle(&mut story, &mut store);
        let retain = |payload: &str| Publish {
            retain: true,
            ..publish("t", payload, QOS2, 1)
        };
        // The state has it, and the log of the bridge has not.
        story.packet(one, Packet::Publish(retain(payload)));
        settle(&mut story, &mut store);
        story.restart(WhenQueueFull::DropOldest);
        store.open(&mut story.core, story.now, vec![route("t")]);
        let other = story.connect_with(v5("other"));
        settle(&mut story, &mut store);
        story.packet(other, Packet::Publish(retain(newer)));
        settle(&mut story, &mut store);
        let one = story.connect_with(v5("one"));
        settle(&mut story, &mut store);
        let resend = Publish {
            dup: true,
            ..retain(payload)
        };
        story.packet(one, Packet::Publish(resend));
        settle(&mut story, &mut store);
        let retained = store.committed_retained("t");
        let retained = retained.map_or("", |message| str::from_utf8(&message.payload).unwrap());
        assert_eq!(retained, newer);
        store.commit_bridge(&mut story.core, story.now);
        assert_eq!(story.told(), ["2 PUBREC 1", "3 PUBREC 1"]);
    }
}

#[test]
fn a_pubrel_after_a_restart_removes_the_marks_that_are_there() {
    let mut story = after_crash();
    let publisher = story.connect_with(v5("p"));
    state_covered(&mut story);
    story.told();
    story.pubrel(publisher, 1);
    assert_eq!(story.told(), ["log0 unmark mark s1#1"]);
    story.pubrel(publisher, 2);
    assert_eq!(story.told(), ["1 PUBCOMP 2 PacketIdentifierNotFound"]);
}

#[test]
fn the_marks_of_a_session_go_with_it() {
    let mut story = after_crash();
    story.told();
    story.secs(100);
    let told = story.told();
    assert!(
        told.contains(&"log0 unmark mark s1#1".to_owned()),
        "{told:?}"
    );
}

#[test]
fn restored_sessions_go_on_with_their_ids_and_know_what_may_have_been_sent() {
    let mut story = Story::new();
    story.core.attach_store(Seq(9), SessionNumber(5));
    let mut session = restored(S1, stored("s", AWAY, 100));
    session.standing = SessionStanding {
        messages: 2,
        bytes: 4,
        last_packet_id: Some(pid(41)),
        sent: Seq(3),
        marks: Vec::new(),
    };
    restore(&mut story, vec![session]);
    assert!(story.told().is_empty());
    let conn = story.connect_with(v5("s"));
    state_covered(&mut story);
    let told = ["1 CONNACK Success present", "s1 fetch after @0"];
    assert_eq!(story.told()[1..], told);
    let entries = vec![entry(3, "1", 40, QOS2), entry(8, "2", 41, QOS2)];
    story.core.fetched(story.now, S1, entries, true);
    assert_eq!(
        story.told(),
        [
            "1 PUBLISH t=1 q2 #40 dup",
            "1 PUBLISH t=2 q2 #41",
            "s1 sent @8"
        ]
    );
    story.subscribe(conn, "t", QOS1);
    story.publish(conn, "t", "3", QOS1);
    assert!(story.told().contains(&"1 PUBLISH t=3 q1 #42".to_owned()));
    story.connect_with(v5("new"));
    assert!(story.told()[0].contains(" s5 new there"));
}

#[test]
fn a_client_that_was_there_at_a_crash_counts_as_having_left_just_now() {
    let mut story = Story::new();
    story.core.attach_store(Seq(1), SessionNumber(5));
    let will = Will {
        message: message("will/a", "gone", QOS1),
        delay: 10,
    };
    let session = |expiry, will| StoredSession {
        will,
        ..stored(
            if expiry == 0 { "e" } else { "s" },
            StoredPresence::Connected,
            expiry,
        )
    };
    let mut watcher = restored(SessionNumber(3), stored("w", AWAY, u32::MAX));
    watcher.session.presence = StoredPresence::Away {
        expires_in: None,
        will_in: None,
    };
    watcher.subscriptions = vec![(
        "will/#".into(),
        StoredSubscription {
            qos: QOS1,
            no_local: false,
            retain_as_published: false,
            id: None,
            replaying: false,
        },
    )];
    let sessions = vec![
        restored(S1, session(60, Some(will.clone()))),
        restored(S2, session(0, Some(will))),
        watcher,
    ];
    restore(&mut story, sessions);
    let told = story.told();
    assert_eq!(told[0], "state @1 s1 s away Some(60) Some(10) will urgent");
    story.core.timeout(story.now, story.wall);
    let told = story.told();
    assert_eq!(
        told[0], "keep @1 will/a=gone q1 s3#1q1",
        "e ended with its connection"
    );
    sessions_covered(&mut story, 1);
    assert!(story.told().contains(&"s2 forget".to_owned()));
    story.secs(10);
    assert_eq!(story.told()[0], "keep @2 will/a=gone q1 s3#2q1");
    sessions_covered(&mut story, 2);
    story.secs(50);
    assert!(story.told().contains(&"s1 forget".to_owned()));
    story.secs(1_000_000);
    assert_eq!(story.core.stats().sessions, 1, "one that never expires");
}

#[test]
fn retained_messages_of_clients_wait_for_their_commit_at_qos_1_and_2() {
    let mut story = kept();
    let conn = story.connect_with(unkept("p"));
    story.told();
    let retain = |payload: &str, qos, id| {
        Packet::Publish(Publish {
            retain: true,
            ..publish("t", payload, qos, id)
        })
    };
    story.packet(conn, retain("1", QOS1, 1));
    assert_eq!(story.told(), ["state @1 t=1 q1 of p urgent"]);
    story.core.covered(story.now, LogId::State, Seq(1));
    assert_eq!(story.told(), ["1 PUBACK 1 NoMatchingSubscribers"]);
    story.packet(conn, retain("0", QOS0, 0));
    assert_eq!(story.told(), ["state @2 t=0 q0 of p"]);
    story.packet(conn, retain("", QOS2, 2));
    story.packet(conn, retain("", QOS1, 3));
    assert_eq!(story.told(), ["state @3 t cleared urgent"]);
    story.core.covered(story.now, LogId::State, Seq(3));
    assert_eq!(story.told().len(), 2, "there is nothing left to clear");
    let device = story.connect_as(Origin::Device, v5("$device"));
    story.told();
    for (topic, expected) in [("d", "state @4 d=1 q1 of $device"), ("d/$status", "")] {
        let packet = Publish {
            retain: true,
            ..publish(topic, "1", QOS1, 1)
        };
        story.packet(device, Packet::Publish(packet));
        let told = story.told();
        let state = told.iter().find(|told| told.starts_with("state"));
        assert_eq!(state.map_or("", |told| told.as_str()), expected);
        assert!(told.contains(&"2 PUBACK 1 NoMatchingSubscribers".to_owned()));
    }
}

#[test]
fn retained_messages_come_back_with_their_age() {
    let mut story = Story::with(|limits| limits.retained_messages = 2);
    story.core.attach_store(Seq(1), S1);
    let retained = |topic: &str, age, expiry| RestoredRetained {
        message: Message {
            retain: true,
            properties: Some(Box::new(PublishProperties {
                message_expiry: Some(expiry),
                ..PublishProperties::default()
            })),
            ..message(topic, "r", QOS1)
        },
        publisher: "p".into(),
        age: Duration::from_secs(age),
    };
    let restored = Restored {
        retained: vec![
            retained("a", 0, 9),
            retained("b", 20, 10),
            retained("c", 0, 1),
        ],
        ..Restored::default()
    };
    story.restore(restored);
    assert_eq!(story.told(), ["state @1 c cleared"], "beyond the limit");
    let conn = story.connect_with(unkept("s"));
    story.subscribe(conn, "#", QOS1);
    let told = story.told();
    assert_eq!(told[2..], ["1 PUBLISH a=r q1 #1 retained"], "b has expired");
    story.secs(1);
    assert_eq!(story.told(), ["state @2 b cleared"]);
}

#[test]
fn a_replay_is_marked_until_all_of_it_is_committed_and_begins_anew_after_a_restart() {
    let mut story = kept();
    let publisher = story.connect_with(unkept("p"));
    for topic in ["a", "b"] {
        story.packet(
            publisher,
            Packet::Publish(Publish {
                retain: true,
                ..publish(topic, "r", QOS2, if topic == "a" { 1 } else { 2 })
            }),
        );
    }
    let conn = story.connect_with(v5("s"));
    story.subscribe(conn, "#", QOS2);
    let told = story.told();
    assert_eq!(told.last().unwrap(), "state @4 s1 # q2 replaying urgent");
    state_covered(&mut story);
    assert_eq!(
        story.told()[2..],
        [
            "2 CONNACK Success",
            "keep @1 a=r q2 s1#1q2",
            "keep @2 b=r q2 s1#2q2",
            "2 SUBACK [GrantedQoS2]"
        ]
    );
    sessions_covered(&mut story, 1);
    assert_eq!(story.told(), ["2 PUBLISH a=r q2 #1 retained", "s1 sent @1"]);
    sessions_covered(&mut story, 2);
    assert_eq!(
        story.told(),
        [
            "2 PUBLISH b=r q2 #2 retained",
            "s1 sent @2",
            "state @5 s1 # q2"
        ]
    );
}

#[test]
fn what_is_retained_after_a_subscription_is_not_replayed_to_it() {
    let mut story = kept();
    let conn = story.connect_with(v5("s"));
    let publisher = story.connect_with(unkept("p"));
    story.subscribe(conn, "t", QOS1);
    let packet = Publish {
        retain: true,
        ..publish("t", "1", QOS1, 1)
    };
    story.packet(publisher, Packet::Publish(packet));
    state_covered(&mut story);
    let told = story.told();
    let delivered: Vec<_> = told
        .iter()
        .filter(|told| told.contains("PUBLISH"))
        .collect();
    assert_eq!(delivered, ["1 PUBLISH t=1 q1 #1"]);
}

#[test]
fn an_id_that_comes_round_waits_for_its_first_message() {
    let (mut story, subscriber, publisher) = pair();
    let mut next = 1;
    story.publish(publisher, "t", "first", QOS1);
    for _ in 0..65_534u32 {
        next += 1;
        story.packet(publisher, Packet::Publish(publish("t", "x", QOS1, 1)));
        sessions_covered(&mut story, next);
        story.puback(subscriber, u16::try_from(next).unwrap());
        story.effects();
    }
    story.packet(publisher, Packet::Publish(publish("t", "x", QOS1, 1)));
    let told = story.told();
    assert_eq!(told[1], "1 PUBLISH t=x q1 #2", "1 is still in flight");
}

#[test]
fn an_unknown_session_or_position_does_no_harm() {
    let (mut story, _, _) = pair();
    let unknown = SessionNumber(77);
    let now = story.now;
    let core = &mut story.core;
    core.fetched(now, unknown, vec![entry(1, "x", 1, QOS1)], true);
    core.fetched(now, S1, vec![entry(1, "x", 1, QOS1)], true);
    core.committed_received(now, unknown, Seq(1));
    core.committed_received(now, S1, Seq(1));
    core.dropped(now, unknown, 0, 0);
    for session in [unknown, S1] {
        let packet_id = pid(1);
        core.unmarked(now, LogId::Sessions, Mark { session, packet_id });
    }
    assert!(story.told().is_empty());
    assert_eq!(story.core.stats().dropped, 0);
}

#[test]
fn without_a_store_nothing_is_kept() {
    let mut story = Story::new();
    let conn = story.client("s");
    story.subscribe(conn, "t", QOS2);
    story.cut(conn);
    let publisher = story.client("p");
    story.told();
    story.publish(publisher, "t", "1", QOS2);
    assert_eq!(story.told(), ["2 PUBREC 1"]);
}

/// A subscriber to `t` with a queue of two messages, full and away; then a publisher (connection 2) of this CONNECT.
fn refusing(store: bool, connect: Connect) -> (Story, ConnId) {
    let mut story = Story::with(|limits| limits.queued_messages = 2);
    story.restart(WhenQueueFull::Refuse);
    if store {
        story = with_store(story);
    }
    let subscriber = story.connect_with(v5("s"));
    story.subscribe(subscriber, "t", QOS1);
    story.state_covered();
    story.cut(subscriber);
    let publisher = story.connect_with(connect);
    story.publish(publisher, "t", "1", QOS1);
    story.publish(publisher, "t", "2", QOS2);
    sessions_covered(&mut story, 2);
    story.told();
    story.pauses();
    (story, publisher)
}

#[test]
fn a_full_queue_refuses_messages_of_mqtt_5_with_0x97() {
    for store in [false, true] {
        let (mut story, publisher) = refusing(store, unkept("p"));
        story.publish(publisher, "t", "3", QOS1);
        story.publish(publisher, "t", "4", QOS2);
        story.publish(publisher, "t", "0", QOS0);
        story.publish(publisher, "other", "5", QOS1);
        assert_eq!(
            story.told(),
            [
                "2 PUBACK 3 QuotaExceeded",
                "2 PUBREC 4 QuotaExceeded",
                "2 PUBACK 6 NoMatchingSubscribers"
            ]
        );
        assert_eq!(story.core.stats().dropped, 0);
        story.publish(publisher, "t", "6", QOS2);
        assert_eq!(story.told(), ["2 PUBREC 7 QuotaExceeded"]);
    }
}

#[test]
fn a_publisher_of_3_1_1_is_not_read_until_there_is_room() {
    for store in [false, true] {
        let (mut story, publisher) = refusing(store, v311("p", true));
        story.publish(publisher, "t", "3", QOS1);
        assert!(story.told().is_empty());
        assert_eq!(story.pauses(), ["2 paused"]);
        story.secs(29);
        let subscriber = story.connect_with(v5("s"));
        story.state_covered();
        if store {
            let entries = vec![entry(1, "1", 1, QOS1), entry(2, "2", 2, QOS1)];
            story.core.fetched(story.now, S1, entries, true);
        }
        story.puback(subscriber, 1);
        sessions_covered(&mut story, 3);
        let told = story.told();
        assert!(told.contains(&"3 PUBLISH t=3 q1 #3".to_owned()), "{told:?}");
        assert_eq!(told.last().unwrap(), "2 PUBACK 3");
        assert!(story.pauses().contains(&"2 resumed".to_owned()));
        story.secs(60);
        assert!(!story.told().contains(&"2 closed QueueFull".to_owned()));
    }
}

#[test]
fn a_publisher_of_3_1_1_is_closed_after_30_s_without_room() {
    let mut connect = v311("p", true);
    connect.keep_alive = 5;
    let (mut story, publisher) = refusing(true, connect);
    story.publish(publisher, "t", "3", QOS2);
    story.secs(29);
    assert!(story.told().is_empty(), "its silence is not its own");
    story.secs(1);
    assert_eq!(story.told(), ["2 closed QueueFull"]);
}

#[test]
fn what_cannot_be_refused_drops_the_oldest() {
    let (mut story, publisher) = refusing(true, with_will(unkept("p"), "t", 0));
    story.cut(publisher);
    assert_eq!(story.told(), ["s1 skip 1", "keep @3 t=gone q1 s1#3q1"]);
}

#[test]
fn the_end_of_a_full_session_lets_publishers_go_on() {
    let (mut story, publisher) = refusing(true, v311("p", true));
    story.publish(publisher, "t", "3", QOS1);
    story.connect_with(Connect {
        clean_start: true,
        ..unkept("s")
    });
    assert!(story.told().contains(&"2 PUBACK 3".to_owned()));
    assert!(story.pauses().contains(&"2 resumed".to_owned()));
}
