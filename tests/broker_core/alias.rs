//! Topic aliases from clients (MQTT 5 section 3.3.2.3.4).

use fieldgate::broker::core::{ConnId, Effect};
use fieldgate::mqtt::{Packet, Publish};
use fieldgate::topic::TopicName;

use crate::story::{QOS0, QOS1, Story, publish, v5};

/// A client that hears all, with aliases.
fn client(story: &mut Story) -> ConnId {
    let conn = story.client("a");
    story.subscribe(conn, "#", QOS0);
    story.told();
    conn
}

fn aliased(topic: Option<&str>, alias: u16, payload: &str) -> Packet {
    Packet::Publish(Publish {
        topic: topic.map(|topic| TopicName::try_from(topic).unwrap()),
        topic_alias: Some(alias),
        ..publish("t", payload, QOS0, 0)
    })
}

fn closed(reason: &str) -> [String; 2] {
    [
        format!("1 DISCONNECT {reason}"),
        format!("1 closed Violated({reason})"),
    ]
}

#[test]
fn mqtt_3_3_2_3_4_an_alias_stands_for_the_topic_it_was_set_with() {
    let mut story = Story::new();
    let conn = client(&mut story);
    story.packet(conn, aliased(Some("a/b"), 1, "1"));
    story.packet(conn, aliased(Some("c"), 16, "2"));
    story.packet(conn, aliased(None, 1, "3"));
    story.packet(conn, aliased(None, 16, "4"));
    story.packet(conn, aliased(Some("d"), 1, "5"));
    story.packet(conn, aliased(None, 1, "6"));
    assert_eq!(
        story.told(),
        [
            "1 PUBLISH a/b=1 q0",
            "1 PUBLISH c=2 q0",
            "1 PUBLISH a/b=3 q0",
            "1 PUBLISH c=4 q0",
            "1 PUBLISH d=5 q0",
            "1 PUBLISH d=6 q0"
        ]
    );
}

#[test]
fn mqtt_3_2_2_17_the_connack_says_how_many_are_granted() {
    for granted in [0, 16, u16::MAX] {
        let mut story = Story::with(|limits| limits.topic_alias_maximum = granted);
        story.connect_with(v5("a"));
        let [
            Effect::Send {
                packet: Packet::Connack(connack),
                ..
            },
        ] = &story.effects()[..]
        else {
            panic!("no CONNACK");
        };
        assert_eq!(connack.topic_alias_maximum, granted);
    }
}

#[test]
fn mqtt_3_3_2_8_and_9_an_alias_of_0_or_above_the_maximum_closes() {
    for (granted, alias) in [(16, 0), (16, 17), (0, 1)] {
        let mut story = Story::with(|limits| limits.topic_alias_maximum = granted);
        let conn = client(&mut story);
        story.packet(conn, aliased(Some("t"), alias, "x"));
        assert_eq!(
            story.told(),
            closed("TopicAliasInvalid"),
            "{alias} of {granted}"
        );
    }
}

#[test]
fn mqtt_3_3_2_3_4_an_alias_that_stands_for_nothing_closes() {
    for alias in [1, 3] {
        let mut story = Story::new();
        let conn = client(&mut story);
        story.packet(conn, aliased(Some("t"), 2, "x"));
        story.told();
        story.packet(conn, aliased(None, alias, "x"));
        assert_eq!(story.told(), closed("ProtocolError"));
    }
}

#[test]
fn mqtt_3_3_2_7_an_alias_does_not_outlive_its_connection() {
    let mut story = Story::new();
    let conn = client(&mut story);
    story.packet(conn, aliased(Some("t"), 1, "x"));
    story.cut(conn);
    let conn = story.connect_with(v5("a"));
    story.told();
    story.packet(conn, aliased(None, 1, "x"));
    assert_eq!(story.told()[0], "2 DISCONNECT ProtocolError");
}

#[test]
fn an_alias_is_set_by_a_message_that_nobody_takes() {
    let mut story = Story::with(|limits| limits.topic_levels = 2);
    let conn = client(&mut story);
    let Packet::Publish(deep) = aliased(Some("a/b/c"), 1, "x") else {
        unreachable!();
    };
    let deep = Publish {
        qos: QOS1,
        packet_id: publish("t", "", QOS1, 1).packet_id,
        ..deep
    };
    story.packet(conn, Packet::Publish(deep));
    story.packet(conn, aliased(None, 1, "dropped, not a fault"));
    assert_eq!(story.told(), ["1 PUBACK 1 TopicNameInvalid"]);
}

#[test]
fn what_stands_behind_the_aliases_is_bounded() {
    let mut story = Story::with(|limits| limits.topic_alias_maximum = 2);
    let conn = client(&mut story);
    story.packet(conn, aliased(Some(&"x".repeat(2000)), 1, "x"));
    story.packet(conn, aliased(Some(&"y".repeat(2000)), 1, "x"));
    assert_eq!(
        story.told().len(),
        2,
        "a new topic takes the place of the old"
    );
    story.packet(conn, aliased(Some(&"z".repeat(49)), 2, "x"));
    assert_eq!(story.told(), closed("QuotaExceeded"));
}
