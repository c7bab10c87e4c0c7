//! Shared subscriptions (MQTT 5 section 4.8.2).

use fieldgate::broker::core::ConnId;
use fieldgate::mqtt::{
    Acknowledge, Connect, Packet, ProtocolVersion, Publish, PublishProperties, ReasonCode,
};

use crate::story::{QOS0, QOS1, QOS2, Story, pid, publish, route, subscription, v5, v311};
use fieldgate::broker::core::LogId;
use fieldgate::store::Seq;

/// Members `a`, `b`, ... of `$share/g/t` on connections 1, 2, ...; sessions of an hour.
fn group(story: &mut Story, members: usize) -> Vec<ConnId> {
    let names = ["a", "b", "c", "d"];
    let conns = names.iter().take(members).map(|name| {
        let conn = story.client(name);
        story.subscribe(conn, "$share/g/t", QOS2);
        conn
    });
    let conns = conns.collect();
    story.told();
    conns
}

/// A member whose session ends with its connection.
fn passing_member(story: &mut Story, name: &str) -> ConnId {
    let conn = story.connect_with(Connect::new(ProtocolVersion::V5, name.into()));
    story.subscribe(conn, "$share/g/t", QOS2);
    story.told();
    conn
}

fn deliveries(story: &mut Story) -> Vec<String> {
    let told = story.told().into_iter();
    told.filter(|line| line.contains(" PUBLISH ")).collect()
}

#[test]
fn mqtt_4_8_2_each_message_goes_to_one_member_in_turn() {
    let mut story = Story::new();
    group(&mut story, 3);
    let publisher = story.client("p");
    for number in 0..6 {
        story.publish(publisher, "t", &number.to_string(), QOS0);
    }
    assert_eq!(
        deliveries(&mut story),
        [
            "1 PUBLISH t=0 q0",
            "2 PUBLISH t=1 q0",
            "3 PUBLISH t=2 q0",
            "1 PUBLISH t=3 q0",
            "2 PUBLISH t=4 q0",
            "3 PUBLISH t=5 q0"
        ]
    );
}

#[test]
fn mqtt_4_8_2_each_group_and_each_ordinary_subscription_gets_its_own_copy() {
    let mut story = Story::new();
    let conn = story.client("a");
    for filter in ["$share/g/t", "$share/g/+", "$share/h/t", "t", "#"] {
        story.subscribe(conn, filter, QOS0);
    }
    story.told();
    story.publish(conn, "t", "x", QOS0);
    assert_eq!(
        story.told(),
        ["1 PUBLISH t=x q0"; 4],
        "three groups, and one copy for the two ordinary ones"
    );
    assert_eq!(story.core.stats().subscriptions, 5);
}

#[test]
fn mqtt_4_8_2_3_the_qos_and_the_identifier_are_those_of_the_member() {
    let mut story = Story::new();
    for (name, qos, id) in [("a", QOS0, 3), ("b", QOS1, 5), ("c", QOS2, 7)] {
        let conn = story.client(name);
        story.subscribe_with(conn, subscription("$share/g/t", qos), Some(id));
    }
    let publisher = story.client("p");
    story.told();
    for _ in 0..3 {
        story.publish(publisher, "t", "x", QOS2);
    }
    assert_eq!(
        deliveries(&mut story),
        [
            "1 PUBLISH t=x q0 ids [3]",
            "2 PUBLISH t=x q1 #1 ids [5]",
            "3 PUBLISH t=x q2 #1 ids [7]"
        ]
    );
}

#[test]
fn mqtt_3_3_1_12_retain_as_published_is_that_of_the_member() {
    let mut story = Story::new();
    let plain = story.client("a");
    story.subscribe(plain, "$share/g/t", QOS0);
    let keeps = story.client("b");
    let mut as_published = subscription("$share/g/t", QOS0);
    as_published.retain_as_published = true;
    story.subscribe_with(keeps, as_published, None);
    story.told();
    story.retain(plain, "t", "x");
    story.retain(plain, "t", "y");
    assert_eq!(
        story.told(),
        ["1 PUBLISH t=x q0", "2 PUBLISH t=y q0 retained"]
    );
}

#[test]
fn mqtt_4_8_2_no_retained_message_is_sent_to_a_new_shared_subscription() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.retain(conn, "t", "old");
    story.subscribe(conn, "$share/g/t", QOS1);
    story.subscribe(conn, "t", QOS1);
    assert_eq!(
        story.told(),
        [
            "1 SUBACK [GrantedQoS1]",
            "1 SUBACK [GrantedQoS1]",
            "1 PUBLISH t=old q0 retained"
        ]
    );
}

#[test]
fn a_shared_subscription_leaves_the_retained_messages_of_an_ordinary_one_alone() {
    let mut story = Story::with(|limits| limits.inflight = 1);
    let conn = story.client("a");
    for topic in ["t/1", "t/2"] {
        let packet = Publish {
            retain: true,
            ..publish(topic, "x", QOS1, 1)
        };
        story.packet(conn, Packet::Publish(packet));
    }
    story.subscribe(conn, "t/+", QOS1);
    story.subscribe(conn, "$share/g/t/+", QOS1);
    story.unsubscribe(conn, "$share/g/t/+");
    story.told();
    story.puback(conn, 1);
    assert_eq!(story.told(), ["1 PUBLISH t/2=x q1 #2 retained"]);
}

#[test]
fn mqtt_4_8_2_1_a_share_name_has_at_least_one_character_and_no_wildcard() {
    let mut story = Story::new();
    for filter in [
        "$share/g",
        "$share//t",
        "$share/g+/t",
        "$share/#/t",
        "$share/g/",
        "$share/g/t#",
    ] {
        let conn = story.client("a");
        story.told();
        story.subscribe(conn, filter, QOS1);
        let told = story.told();
        assert!(told[0].contains("DISCONNECT MalformedPacket"), "{told:?}");
    }
    assert_eq!(story.core.stats().subscriptions, 0);
}

#[test]
fn mqtt_3_10_4_a_shared_subscription_ends_by_its_whole_filter() {
    let mut story = Story::new();
    let members = group(&mut story, 2);
    for filter in ["t", "$share/h/t", "$share/g/t", "$share/g/t"] {
        story.unsubscribe(members[0], filter);
    }
    assert_eq!(
        story.told(),
        [
            "1 UNSUBACK [NoSubscriptionExisted]",
            "1 UNSUBACK [NoSubscriptionExisted]",
            "1 UNSUBACK [Success]",
            "1 UNSUBACK [NoSubscriptionExisted]"
        ]
    );
    for _ in 0..2 {
        story.publish(members[0], "t", "x", QOS0);
    }
    assert_eq!(story.told(), ["2 PUBLISH t=x q0"; 2]);
    story.unsubscribe(members[1], "$share/g/t");
    assert_eq!(story.core.stats().subscriptions, 0);
}

#[test]
fn clients_of_3_1_1_share_too() {
    let mut story = Story::new();
    let old = story.connect_with(v311("old", true));
    story.subscribe(old, "$share/g/t", QOS1);
    let new = story.client("new");
    story.subscribe(new, "$share/g/t", QOS1);
    story.told();
    story.publish(old, "t", "1", QOS0);
    story.publish(old, "t", "2", QOS0);
    assert_eq!(story.told(), ["1 PUBLISH t=1 q0", "2 PUBLISH t=2 q0"]);
}

#[test]
fn those_come_first_who_are_there_and_keep_up() {
    let mut story = Story::with(|limits| limits.inflight = 1);
    let members = group(&mut story, 4);
    story.cut(members[0]);
    story.core.congested(members[1], true);
    let publisher = story.client("p");
    story.told();
    // c and d are open, once each; then b and c and d would all have to let it wait.
    for number in 0..6 {
        story.publish(publisher, "t", &number.to_string(), QOS1);
    }
    assert_eq!(
        deliveries(&mut story),
        ["3 PUBLISH t=0 q1 #1", "4 PUBLISH t=1 q1 #1"]
    );
    story.core.congested(members[1], false);
    assert_eq!(story.told(), ["2 PUBLISH t=2 q1 #1"]);
    story.puback(members[1], 1);
    assert_eq!(story.told(), ["2 PUBLISH t=5 q1 #2"]);
    story.puback(members[2], 1);
    story.puback(members[3], 1);
    assert_eq!(
        story.told(),
        ["3 PUBLISH t=3 q1 #2", "4 PUBLISH t=4 q1 #2"],
        "nothing waits for the one who is away"
    );
}

#[test]
fn a_session_whose_client_is_away_gets_what_nobody_else_is_there_for() {
    let mut story = Story::new();
    let members = group(&mut story, 2);
    let publisher = story.client("p");
    story.told();
    story.cut(members[0]);
    story.cut(members[1]);
    story.publish(publisher, "t", "lost", QOS0);
    story.publish(publisher, "t", "1", QOS1);
    story.publish(publisher, "t", "2", QOS1);
    assert_eq!(
        story.told(),
        ["3 PUBACK 2", "3 PUBACK 3"],
        "that is a matching subscriber"
    );
    story.connect_with(v5("a"));
    story.connect_with(v5("b"));
    assert_eq!(
        deliveries(&mut story),
        ["4 PUBLISH t=1 q1 #1", "5 PUBLISH t=2 q1 #1"]
    );
}

#[test]
fn mqtt_4_8_2_5_a_session_that_ends_hands_on_what_it_did_not_acknowledge() {
    let mut story = Story::with(|limits| limits.inflight = 2);
    let first = passing_member(&mut story, "first");
    let publisher = story.client("p");
    story.told();
    story.publish(publisher, "t", "acknowledged", QOS1);
    story.puback(first, 1);
    story.publish(publisher, "t", "sent at 2", QOS2);
    story.publish(publisher, "t", "sent", QOS1);
    story.publish(publisher, "t", "waits at 2", QOS2);
    story.publish(publisher, "t", "waits", QOS1);
    let second = passing_member(&mut story, "second");
    story.cut(first);
    assert_eq!(
        story.told(),
        ["3 PUBLISH t=sent q1 #1", "3 PUBLISH t=waits at 2 q2 #2"]
    );
    story.puback(second, 1);
    assert_eq!(story.told(), ["3 PUBLISH t=waits q1 #3"]);
}

#[test]
fn what_is_handed_on_comes_before_what_arrived_later() {
    let mut story = Story::with(|limits| limits.inflight = 1);
    let first = passing_member(&mut story, "first");
    let second = passing_member(&mut story, "second");
    let publisher = story.client("p");
    for number in 1..=6 {
        story.secs(1);
        story.publish(publisher, "t", &number.to_string(), QOS1);
    }
    assert_eq!(
        deliveries(&mut story),
        ["1 PUBLISH t=1 q1 #1", "2 PUBLISH t=2 q1 #1"]
    );
    story.cut(first);
    let mut came = Vec::new();
    for id in 1..=5 {
        story.puback(second, id);
        came.extend(deliveries(&mut story));
    }
    assert_eq!(
        came,
        [
            "2 PUBLISH t=1 q1 #2",
            "2 PUBLISH t=3 q1 #3",
            "2 PUBLISH t=4 q1 #4",
            "2 PUBLISH t=5 q1 #5",
            "2 PUBLISH t=6 q1 #6"
        ]
    );
}

#[test]
fn mqtt_4_8_2_5_a_session_that_goes_on_keeps_what_it_was_sent() {
    let mut story = Story::new();
    let first = story.connect_with(Connect {
        session_expiry: 20,
        ..v5("first")
    });
    story.subscribe(first, "$share/g/t", QOS2);
    let second = passing_member(&mut story, "second");
    story.publish(second, "t", "x", QOS1);
    story.told();
    story.cut(first);
    story.secs(19);
    assert!(story.told().is_empty());
    story.secs(1);
    assert_eq!(story.told(), ["2 PUBLISH t=x q1 #1"], "until it ends");
}

#[test]
fn a_clean_start_hands_on_what_the_old_session_had() {
    let mut story = Story::new();
    let members = group(&mut story, 2);
    story.publish(members[1], "t", "x", QOS1);
    story.told();
    story.connect_with(Connect {
        clean_start: true,
        ..v5("a")
    });
    assert_eq!(deliveries(&mut story), ["2 PUBLISH t=x q1 #1"]);
}

#[test]
fn the_last_member_takes_what_waits_with_it_and_the_group_begins_anew() {
    let mut story = Story::new();
    let first = passing_member(&mut story, "first");
    story.publish(first, "t", "x", QOS1);
    story.cut(first);
    story.told();
    let second = passing_member(&mut story, "second");
    story.publish(second, "t", "y", QOS1);
    assert_eq!(deliveries(&mut story), ["2 PUBLISH t=y q1 #1"]);
}

#[test]
fn mqtt_4_8_2_6_what_a_member_refuses_is_sent_to_nobody_else() {
    let mut story = Story::new();
    let members = group(&mut story, 2);
    story.publish(members[1], "t", "x", QOS1);
    story.publish(members[1], "t", "y", QOS2);
    story.told();
    let refused = ReasonCode::ImplementationSpecificError;
    story.packet(
        members[0],
        Packet::Puback(Acknowledge::new(pid(1), refused)),
    );
    story.packet(
        members[1],
        Packet::Pubrec(Acknowledge::new(pid(1), refused)),
    );
    assert!(story.told().is_empty());
    story.disconnect(members[0], ReasonCode::Success);
    story.secs(3600);
    assert!(deliveries(&mut story).is_empty());
}

#[test]
fn what_expired_is_not_handed_on() {
    let mut story = Story::with(|limits| limits.inflight = 1);
    let first = passing_member(&mut story, "first");
    let publisher = story.client("p");
    story.publish(publisher, "t", "blocks", QOS1);
    let expires = Publish {
        properties: Some(Box::new(PublishProperties {
            message_expiry: Some(5),
            ..PublishProperties::default()
        })),
        ..publish("t", "stale", QOS1, 2)
    };
    story.packet(publisher, Packet::Publish(expires));
    let second = passing_member(&mut story, "second");
    story.puback(second, 1);
    story.secs(5);
    story.cut(first);
    assert_eq!(
        deliveries(&mut story).last().unwrap(),
        "3 PUBLISH t=blocks q1 #1"
    );
    story.puback(second, 1);
    assert!(story.told().is_empty());
    assert_eq!(story.core.stats().expired, 1);
}

#[test]
fn a_publisher_learns_whether_a_group_has_somebody() {
    let mut story = Story::new();
    let publisher = story.client("p");
    let member = passing_member(&mut story, "a");
    story.publish(publisher, "t", "x", QOS1);
    story.cut(member);
    story.publish(publisher, "t", "x", QOS1);
    assert_eq!(
        story.told(),
        [
            "2 PUBLISH t=x q1 #1",
            "1 PUBACK 1",
            "1 PUBACK 2 NoMatchingSubscribers"
        ]
    );
}

#[test]
fn a_group_takes_nothing_from_a_bridge() {
    let mut story = Story::new();
    story
        .core
        .attach_log(LogId::Bridge(0), Seq(1), vec![route("t")]);
    let members = group(&mut story, 1);
    story.publish(members[0], "t", "x", QOS1);
    assert_eq!(
        story.told(),
        ["log0 @1 up/t=x q1", "1 PUBLISH t=x q1 #1"],
        "and the publisher waits for the log"
    );
}
