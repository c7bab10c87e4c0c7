//! Retained messages (sections 3.3.1.3 and 3.8.3.1).

use std::collections::BTreeSet;

use fieldgate::broker::core::ConnId;
use fieldgate::mqtt::{Connect, Packet, Publish, PublishProperties, RetainHandling};

use crate::story::{QOS0, QOS1, QOS2, Story, publish, subscription, v5, v311};

fn stored(topics: &[&str]) -> (Story, ConnId) {
    let mut story = Story::new();
    let conn = story.client("p");
    for topic in topics {
        story.retain(conn, topic, "x");
    }
    story.told();
    (story, conn)
}

#[test]
fn mqtt_3_3_1_8_a_new_subscription_gets_retained_messages_marked_as_such() {
    let (mut story, conn) = stored(&["t/a", "t/b", "u"]);
    story.subscribe(conn, "t/#", QOS1);
    assert_eq!(
        story.told(),
        [
            "1 SUBACK [GrantedQoS1]",
            "1 PUBLISH t/a=x q0 retained",
            "1 PUBLISH t/b=x q0 retained"
        ]
    );
}

#[test]
fn mqtt_3_3_1_6_an_empty_payload_removes_the_retained_message() {
    let (mut story, conn) = stored(&["t"]);
    story.publish(conn, "t", "", QOS0);
    assert_eq!(
        story.core.stats().retained_messages,
        1,
        "only with the retain flag"
    );
    story.retain(conn, "t", "");
    assert_eq!(story.core.stats().retained_messages, 0);
    assert_eq!(story.core.stats().retained_bytes, 0);
    story.subscribe(conn, "t", QOS0);
    assert_eq!(story.told(), ["1 SUBACK [Success]"]);
}

#[test]
fn mqtt_3_3_1_5_the_newest_message_is_retained() {
    let (mut story, conn) = stored(&["t"]);
    story.retain(conn, "t", "y");
    story.publish(conn, "t", "not retained", QOS0);
    story.subscribe(conn, "t", QOS0);
    assert_eq!(story.told()[1], "1 PUBLISH t=y q0 retained");
}

#[test]
fn mqtt_3_3_1_9_retain_handling_chooses() {
    let (mut story, conn) = stored(&["t"]);
    let handling = |retain_handling| {
        let mut subscription = subscription("t", QOS0);
        subscription.retain_handling = retain_handling;
        subscription
    };
    let count = |story: &mut Story, retain_handling| {
        story.subscribe_with(conn, handling(retain_handling), None);
        story.told().len() - 1
    };
    assert_eq!(count(&mut story, RetainHandling::DoNotSend), 0);
    assert_eq!(count(&mut story, RetainHandling::SendIfNew), 0);
    story.unsubscribe(conn, "t");
    story.told();
    assert_eq!(count(&mut story, RetainHandling::SendIfNew), 1);
    assert_eq!(count(&mut story, RetainHandling::SendIfNew), 0);
    assert_eq!(count(&mut story, RetainHandling::Send), 1);
}

#[test]
fn no_local_holds_for_retained_messages() {
    let (mut story, own) = stored(&["t"]);
    let other = story.client("o");
    let mut no_local = subscription("t", QOS0);
    no_local.no_local = true;
    story.subscribe_with(own, no_local.clone(), None);
    story.subscribe_with(other, no_local, Some(4));
    assert_eq!(
        story.told(),
        [
            "1 SUBACK [Success]",
            "2 SUBACK [Success]",
            "2 PUBLISH t=x q0 retained ids [4]"
        ]
    );
}

#[test]
fn a_long_replay_goes_in_steps_and_lets_others_between() {
    let mut story = Story::new();
    let conn = story.client("a");
    for number in 0..1000 {
        story.retain(conn, &format!("t/{number}"), "x");
    }
    story.subscribe(conn, "t/#", QOS0);
    let first = story.told();
    assert_eq!(first.len(), 129, "SUBACK and one step");
    let mut seen: BTreeSet<_> = first[1..].iter().cloned().collect();
    assert_eq!(story.core.next_timeout(), Some(story.now));
    story.packet(conn, Packet::Pingreq);
    assert_eq!(story.told(), ["1 PINGRESP"]);
    story.core.timeout(story.now, story.wall);
    let step = story.told();
    assert_eq!(step.len(), 128);
    seen.extend(step);
    while story.core.proceed(conn) {
        let step = story.told();
        assert_eq!(step.len(), 128);
        seen.extend(step);
    }
    seen.extend(story.told());
    assert_eq!(seen.len(), 1000);
    assert!(story.core.next_timeout() > Some(story.now));
}

#[test]
fn replays_of_several_clients_take_turns() {
    let mut story = Story::new();
    let publisher = story.client("p");
    for number in 0..300 {
        story.retain(publisher, &format!("t/{number}"), "x");
    }
    let clients = [story.client("a"), story.client("b")];
    for conn in clients {
        story.subscribe(conn, "#", QOS0);
    }
    story.told();
    let mut turns = Vec::new();
    for _ in 0..4 {
        story.core.timeout(story.now, story.wall);
        turns.push(story.told()[0].chars().next().unwrap());
    }
    assert_eq!(turns, ['2', '3', '2', '3']);
}

#[test]
fn a_replay_at_qos_1_waits_for_the_window_and_loses_nothing() {
    let mut story = Story::with(|limits| limits.queued_messages = 1);
    let conn = story.client("a");
    for number in 0..50 {
        let packet = Publish {
            retain: true,
            ..publish(&format!("t/{number}"), "x", QOS1, 1)
        };
        story.packet(conn, Packet::Publish(packet));
    }
    story.told();
    story.subscribe(conn, "t/+", QOS1);
    let mut seen = story.told().len() - 1;
    assert_eq!(seen, 20, "inflight");
    for id in 1..=50 {
        story.puback(conn, id);
        seen += story.told().len();
    }
    assert_eq!(seen, 50);
    assert_eq!(story.core.stats().dropped, 0);
}

#[test]
fn a_replay_stops_for_a_congested_client_and_goes_on() {
    let mut story = Story::new();
    let conn = story.client("a");
    for number in 0..200 {
        story.retain(conn, &format!("t/{number}"), "x");
    }
    story.subscribe(conn, "#", QOS0);
    story.core.congested(conn, true);
    story.told();
    story.pass(std::time::Duration::ZERO);
    assert!(story.told().is_empty());
    story.core.congested(conn, false);
    assert_eq!(story.told().len(), 72);
    assert_eq!(story.core.stats().dropped, 0);
}

#[test]
fn unsubscribe_ends_a_replay() {
    let mut story = Story::new();
    let conn = story.client("a");
    for number in 0..200 {
        story.retain(conn, &format!("t/{number}"), "x");
    }
    story.subscribe(conn, "#", QOS0);
    story.unsubscribe(conn, "#");
    story.told();
    story.pass(std::time::Duration::ZERO);
    assert!(story.told().is_empty());
}

#[test]
fn a_full_retained_store_refuses_in_5_and_is_counted_in_3_1_1() {
    let mut story = Story::with(|limits| limits.retained_messages = 1);
    let conn = story.client("a");
    story.retain(conn, "t", "x");
    let old = story.connect_with(v311("b", true));
    story.subscribe(old, "u", QOS1);
    story.told();
    let packet = |qos| {
        Packet::Publish(Publish {
            retain: true,
            ..publish("u", "y", qos, 1)
        })
    };
    story.packet(conn, packet(QOS2));
    assert_eq!(story.told(), ["1 PUBREC 1 QuotaExceeded"]);
    story.packet(old, packet(QOS1));
    story.packet(conn, packet(QOS0));
    assert_eq!(
        story.told(),
        ["2 PUBLISH u=y q1 #1", "2 PUBACK 1", "2 PUBLISH u=y q0"]
    );
    let stats = story.core.stats();
    assert_eq!((stats.retained_messages, stats.dropped), (1, 2));
}

#[test]
fn without_retained_messages_3_1_1_clients_still_publish() {
    let mut story = Story::with(|limits| limits.retained_messages = 0);
    let conn = story.connect_with(v311("a", true));
    story.subscribe(conn, "t", QOS0);
    story.told();
    story.retain(conn, "t", "x");
    assert_eq!(story.told(), ["1 PUBLISH t=x q0"]);
    assert_eq!(story.core.stats().retained_messages, 0);
}

#[test]
fn expired_retained_messages_are_not_sent_and_their_room_comes_back() {
    let mut story = Story::new();
    let conn = story.connect_with(Connect {
        keep_alive: 0,
        ..v311("a", true)
    });
    let properties = PublishProperties {
        message_expiry: Some(10),
        ..PublishProperties::default()
    };
    let packet = Publish {
        retain: true,
        properties: Some(Box::new(properties)),
        ..publish("t", "x", QOS0, 0)
    };
    story.packet(conn, Packet::Publish(packet));
    story.told();
    story.secs(9);
    story.subscribe(conn, "t", QOS0);
    assert_eq!(story.told().len(), 2);
    story.secs(2);
    assert_eq!(story.core.stats().retained_messages, 0);
    assert_eq!(story.core.next_timeout(), None, "an idle broker sleeps");
    story.subscribe(conn, "t", QOS0);
    assert_eq!(story.told().len(), 1);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_replay_gets_the_rest_later() {
    let mut story = Story::new();
    let conn = story.client("a");
    for number in 0..130 {
        story.retain(conn, &format!("t/{number}"), "x");
    }
    story.subscribe(conn, "#", QOS0);
    story.cut(conn);
    story.pass(std::time::Duration::ZERO);
    story.told();
    story.connect_with(v5("a"));
    assert_eq!(story.told().len(), 3);
}
