//! PUBLISH and its answers (chapters 3.3 to 3.7 and 4.3).

use std::rc::Rc;

use bytes::Bytes;
use fieldgate::broker::core::Effect;
use fieldgate::mqtt::{Packet, Publish, QoS};

use crate::story::{QOS0, QOS1, QOS2, Story, pid, publish, subscription, v5, v311};

#[test]
fn a_message_reaches_its_subscribers_and_nobody_else() {
    let mut story = Story::new();
    let publisher = story.client("p");
    for (id, filter) in [("a", "x/+"), ("b", "x/#"), ("c", "y"), ("d", "x/y")] {
        let conn = story.client(id);
        story.subscribe(conn, filter, QOS2);
    }
    story.told();
    story.publish(publisher, "x/y", "1", QOS0);
    let mut told = story.told();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "2 PUBLISH x/y=1 q0",
            "3 PUBLISH x/y=1 q0",
            "5 PUBLISH x/y=1 q0"
        ]
    );
}

#[test]
fn mqtt_4_7_2_1_leading_wildcards_do_not_match_dollar_topics() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.subscribe(conn, "#", QOS0);
    story.subscribe(conn, "+/x", QOS0);
    story.told();
    story.publish(conn, "$own/x", "1", QOS0);
    assert!(story.told().is_empty());
    story.subscribe(conn, "$own/#", QOS0);
    story.told();
    story.publish(conn, "$own/x", "1", QOS0);
    assert_eq!(story.told(), ["1 PUBLISH $own/x=1 q0"]);
}

#[test]
fn mqtt_3_8_4_8_the_qos_of_a_delivery_is_the_lower_of_both() {
    let mut story = Story::new();
    let publisher = story.client("p");
    for (id, qos) in [("a", QOS0), ("b", QOS1), ("c", QOS2)] {
        let conn = story.client(id);
        story.subscribe(conn, "t", qos);
    }
    story.told();
    story.publish(publisher, "t", "x", QOS1);
    assert_eq!(
        story.told(),
        [
            "2 PUBLISH t=x q0",
            "3 PUBLISH t=x q1 #1",
            "4 PUBLISH t=x q1 #1",
            "1 PUBACK 1"
        ]
    );
}

#[test]
fn all_deliveries_of_a_publish_share_one_message_and_follow_each_other() {
    let mut story = Story::new();
    for (id, qos) in [("a", QOS0), ("b", QOS1), ("c", QOS2)] {
        let conn = story.client(id);
        story.subscribe(conn, "t", qos);
    }
    let publisher = story.client("p");
    story.told();
    let buffer = Bytes::from_static(b"payload in the read buffer");
    let payload = buffer.slice(..7);
    let packet = Publish {
        payload: payload.clone(),
        ..publish("t", "", QOS2, 1)
    };
    story.packet(publisher, Packet::Publish(packet));
    let effects = story.effects();
    let messages: Vec<_> = effects
        .iter()
        .take(3)
        .map(|effect| match effect {
            Effect::Deliver { message, .. } => message,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(Rc::ptr_eq(messages[0], messages[1]) && Rc::ptr_eq(messages[0], messages[2]));
    assert_eq!(messages[0].payload, payload);
    assert_ne!(
        messages[0].payload.as_ptr(),
        payload.as_ptr(),
        "what is kept does not pin the buffer that was read"
    );
}

#[test]
fn mqtt_4_3_2_qos_1_is_acknowledged_and_says_when_nobody_listens() {
    let mut story = Story::new();
    let conn = story.client("a");
    let old = story.connect_with(v311("b", true));
    story.told();
    story.publish(conn, "t", "x", QOS1);
    story.publish(old, "t", "x", QOS1);
    assert_eq!(
        story.told(),
        ["1 PUBACK 1 NoMatchingSubscribers", "2 PUBACK 1"]
    );
}

#[test]
fn mqtt_4_3_3_qos_2_is_published_once_however_often_it_is_sent() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.subscribe(conn, "t", QOS0);
    story.told();
    story.publish(conn, "t", "x", QOS2);
    assert_eq!(story.told(), ["1 PUBLISH t=x q0", "1 PUBREC 1"]);
    let again = Publish {
        dup: true,
        ..publish("t", "x", QOS2, 1)
    };
    story.packet(conn, Packet::Publish(again));
    assert_eq!(story.told(), ["1 PUBREC 1"]);
    story.pubrel(conn, 1);
    story.pubrel(conn, 1);
    assert_eq!(
        story.told(),
        ["1 PUBCOMP 1", "1 PUBCOMP 1 PacketIdentifierNotFound"]
    );
    story.packet(conn, Packet::Publish(publish("t", "y", QOS2, 1)));
    assert_eq!(
        story.told(),
        ["1 PUBLISH t=y q0", "1 PUBREC 1"],
        "after PUBREL the id is free"
    );
}

#[test]
fn mqtt_3_3_4_9_more_in_flight_than_the_receive_maximum_closes() {
    let mut story = Story::with(|limits| limits.receive_maximum = 2);
    let conn = story.client("a");
    story.publish(conn, "t", "x", QOS2);
    story.publish(conn, "t", "x", QOS2);
    story.told();
    story.publish(conn, "t", "x", QOS2);
    assert_eq!(
        story.told(),
        [
            "1 DISCONNECT ReceiveMaximumExceeded",
            "1 closed Violated(ReceiveMaximumExceeded)"
        ]
    );
}

fn closes(packet: Publish, reason: &str) {
    let mut story = Story::with(|limits| {
        limits.maximum_qos = QOS1;
        limits.retained_messages = 0;
    });
    let bystander = story.client("b");
    story.subscribe(bystander, "#", QOS2);
    let conn = story.client("a");
    story.told();
    story.packet(conn, Packet::Publish(packet));
    assert_eq!(
        story.told(),
        [
            format!("2 DISCONNECT {reason}"),
            format!("2 closed Violated({reason})")
        ]
    );
}

#[test]
fn mqtt_3_2_2_what_was_not_offered_closes() {
    closes(publish("t", "x", QOS2, 1), "QoSNotSupported");
    let retain = Publish {
        retain: true,
        ..publish("t", "x", QOS0, 1)
    };
    closes(retain, "RetainNotSupported");
    let alias = Publish {
        topic_alias: Some(17),
        ..publish("t", "x", QOS0, 1)
    };
    closes(alias, "TopicAliasInvalid");
    let ids = Publish {
        subscription_ids: vec![1],
        ..publish("t", "x", QOS0, 1)
    };
    closes(ids, "ProtocolError");
}

#[test]
fn mqtt_2_2_1_2_a_packet_id_stands_with_qos_1_and_2_only() {
    let without = Publish {
        packet_id: None,
        ..publish("t", "x", QOS1, 1)
    };
    closes(without, "ProtocolError");
    let with = Publish {
        packet_id: Some(pid(1)),
        ..publish("t", "x", QOS0, 1)
    };
    closes(with, "ProtocolError");
}

#[test]
fn a_topic_with_too_many_levels_is_refused() {
    let mut story = Story::with(|limits| limits.topic_levels = 2);
    let conn = story.client("a");
    story.subscribe(conn, "#", QOS2);
    let old = story.connect_with(v311("b", true));
    story.told();
    story.publish(conn, "a/b/c", "x", QOS1);
    story.publish(conn, "a/b/c", "x", QOS2);
    story.publish(conn, "a/b/c", "x", QOS0);
    assert_eq!(
        story.told(),
        ["1 PUBACK 1 TopicNameInvalid", "1 PUBREC 2 TopicNameInvalid"]
    );
    assert_eq!(story.core.stats().dropped, 1);
    story.packet(conn, Packet::Publish(publish("a/b", "y", QOS2, 2)));
    assert_eq!(
        story.told(),
        ["1 PUBLISH a/b=y q2 #1", "1 PUBREC 2"],
        "the refused id is free"
    );
    story.publish(old, "a/b/c", "x", QOS2);
    assert_eq!(
        story.told(),
        ["2 closed Violated(TopicNameInvalid)"],
        "3.1.1 cannot be told otherwise"
    );
}

#[test]
fn the_highest_qos_of_overlapping_subscriptions_wins_with_all_their_ids() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.subscribe_with(conn, subscription("t/#", QOS0), Some(3));
    story.subscribe_with(conn, subscription("t/+", QOS2), Some(7));
    story.subscribe_with(conn, subscription("+/x", QOS1), None);
    story.told();
    story.publish(conn, "t/x", "1", QOS2);
    let told = story.told();
    assert_eq!(told.len(), 2, "[MQTT-3.3.4-2] one copy: {told:?}");
    assert!(told[0].starts_with("1 PUBLISH t/x=1 q2 #1 ids"), "{told:?}");
    assert!(told[0].contains('3') && told[0].contains('7'));
}

#[test]
fn mqtt_3_8_3_3_no_local_keeps_a_clients_own_messages_from_it() {
    let mut story = Story::new();
    let own = story.client("a");
    let other = story.client("b");
    let mut no_local = subscription("t", QOS1);
    no_local.no_local = true;
    story.subscribe_with(own, no_local.clone(), None);
    story.subscribe_with(other, no_local, None);
    story.told();
    story.publish(own, "t", "x", QOS0);
    assert_eq!(story.told(), ["2 PUBLISH t=x q0"]);
}

#[test]
fn mqtt_3_3_1_12_the_retain_flag_is_cleared_unless_it_is_asked_for() {
    let mut story = Story::new();
    let plain = story.client("a");
    let keeps = story.client("b");
    story.subscribe(plain, "t", QOS0);
    let mut as_published = subscription("t", QOS0);
    as_published.retain_as_published = true;
    story.subscribe_with(keeps, as_published, None);
    story.told();
    story.retain(plain, "t", "x");
    story.publish(plain, "t", "y", QOS0);
    assert_eq!(
        story.told(),
        [
            "1 PUBLISH t=x q0",
            "2 PUBLISH t=x q0 retained",
            "1 PUBLISH t=y q0",
            "2 PUBLISH t=y q0"
        ]
    );
}

#[test]
fn a_client_that_breaks_a_rule_leaves_the_others_alone() {
    let mut story = Story::new();
    let good = story.client("good");
    story.subscribe(good, "t", QOS1);
    let bad = story.client("bad");
    story.publish(bad, "t", "before", QOS1);
    story.told();
    story.packet(bad, Packet::Pingresp);
    story.publish(bad, "t", "after", QOS1);
    story.puback(good, 1);
    story.publish(good, "t", "x", QOS1);
    assert_eq!(
        story.told(),
        [
            "2 DISCONNECT ProtocolError",
            "2 closed Violated(ProtocolError)",
            "1 PUBLISH t=x q1 #2",
            "1 PUBACK 1"
        ]
    );
}

#[test]
fn figures_count_messages_and_subscriptions() {
    let mut story = Story::new();
    let conn = story.connect_with(v5("a"));
    story.subscribe(conn, "t", QoS::AtMostOnce);
    story.subscribe(conn, "u", QoS::AtMostOnce);
    story.publish(conn, "t", "x", QOS1);
    story.publish(conn, "v", "x", QOS1);
    let stats = story.core.stats();
    assert_eq!(stats.received.counts(), [0, 2, 0]);
    assert_eq!((stats.sent.counts(), stats.sent.total()), ([1, 0, 0], 1));
    assert_eq!(
        (stats.connections, stats.clients, stats.sessions),
        (1, 1, 1)
    );
    assert_eq!(stats.subscriptions, 2);
}
