//! SUBSCRIBE and SUBACK.

use crate::packet::{Codes, Packet, Publish, V5, V311, Version, subscribe};
use crate::server::Server;

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;

rules! {
    /// Shows also [MQTT-3.8.4-2], [MQTT-2.2.1-6].
    mqtt_3_8_4_1_subscribe_is_answered_with_its_identifier: subscribe_is_answered(V5);
    /// Shows also [MQTT311-3.8.4-2], [MQTT311-2.3.1-7].
    mqtt311_3_8_4_1_subscribe_is_answered_with_its_identifier: subscribe_is_answered(V311);
    /// Shows also [MQTT-3.8.4-7], [MQTT-3.9.3-1], [MQTT-3.9.3-2].
    mqtt_3_8_4_6_each_filter_has_its_code_in_order: each_filter_has_its_code(V5, 0x8F);
    /// Shows also [MQTT311-3.9.3-1], [MQTT311-3.9.3-2].
    mqtt311_3_8_4_5_each_filter_has_its_code_in_order: each_filter_has_its_code(V311, 0x80);
    mqtt_3_8_4_5_several_filters_are_several_subscriptions: several_filters(V5);
    mqtt311_3_8_4_4_several_filters_are_several_subscriptions: several_filters(V311);
    mqtt_3_8_4_8_a_delivery_has_the_lower_qos: the_lower_qos(V5);
    mqtt311_3_8_4_6_a_delivery_has_the_lower_qos: the_lower_qos(V311);
    mqtt_3_8_4_3_the_same_filter_replaces_the_subscription: a_filter_is_replaced(V5);
    mqtt311_3_8_4_3_the_same_filter_replaces_the_subscription: a_filter_is_replaced(V311);
    too_many_subscriptions_are_refused_in_5: too_many_subscriptions(V5, 0x97);
    too_many_subscriptions_are_refused_in_3_1_1: too_many_subscriptions(V311, 0x80);
}

fn subscribe_is_answered(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    for id in [1, 0x0100, u16::MAX] {
        client.send(&subscribe(version, id, &[], &[("t", 1)]));
        let suback = Codes {
            id,
            codes: vec![1],
            properties: Vec::new(),
        };
        assert_eq!(client.receive(), Packet::Suback(suback));
    }
    client.ping();
}

fn each_filter_has_its_code(version: Version, refused: u8) {
    let server = Server::with(|limits| limits.topic_levels = 3);
    let mut client = server.client(version, "a");
    let filters = [
        ("a", 2),
        ("a/b/c/d", 1),
        ("b", 0),
        ("+/+/+/#", 0),
        ("///", 2),
        ("#", 1),
    ];
    client.send(&subscribe(version, 9, &[], &filters));
    let suback = client.suback();
    assert_eq!(suback.codes, [2, refused, 0, refused, refused, 1]);
}

/// Also where the same filter comes twice: the later one counts.
fn several_filters(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    let filters = [("a", 2), ("b", 0), ("a", 1)];
    client.send(&subscribe(version, 9, &[], &filters));
    assert_eq!(client.suback().codes, [2, 0, 1]);
    let mut other = server.client(version, "b");
    for (topic, qos) in [("a", 1), ("b", 0)] {
        other.tell(&Publish::new(topic, "x").qos(2, 5));
        assert_eq!(client.take().qos, qos);
    }
    client.ping();
}

fn the_lower_qos(version: Version) {
    let server = Server::start();
    let mut other = server.client(version, "b");
    for granted in 0..3 {
        let mut client = server.client(version, "a");
        client.subscribe("t", granted);
        for published in 0..3 {
            other.tell(&Publish::new("t", "x").qos(published, 5));
            assert_eq!(client.take().qos, granted.min(published));
        }
    }
}

/// And nothing is delivered twice or lost by it.
fn a_filter_is_replaced(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    let mut other = server.client(version, "b");
    other.tell(&Publish::new("t", "kept").qos(2, 5).retain());
    for qos in [0, 2, 1] {
        client.subscribe("t", qos);
        let kept = client.take();
        assert_eq!((kept.text(), kept.retain, kept.qos), ("kept", true, qos));
        other.tell(&Publish::new("t", "new").qos(2, 5));
        let new = client.take();
        assert_eq!((new.text(), new.retain, new.qos), ("new", false, qos));
        client.ping();
    }
}

fn too_many_subscriptions(version: Version, code: u8) {
    let server = Server::with(|limits| limits.subscriptions_per_client = 2);
    let mut client = server.client(version, "a");
    let filters = [("a", 0), ("b", 1), ("c", 2), ("b", 0)];
    client.send(&subscribe(version, 9, &[], &filters));
    assert_eq!(client.suback().codes, [0, 1, code, 0]);
    client.unsubscribe("a");
    client.subscribe("c", 2);
}

#[test]
fn mqtt_3_8_4_4_nothing_is_lost_while_a_subscription_is_replaced() {
    const COUNT: usize = 200;
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.subscribe("t", 1);
    let mut burst = Vec::new();
    for number in 0..COUNT {
        burst.extend(Publish::new("t", &number.to_string()).bytes(V5));
        if number % 10 == 0 {
            burst.extend(subscribe(V5, 7, &[], &[("t", 0x20 | (number % 3) as u8)]));
        }
    }
    client.send(&burst);
    let mut expected = 0..COUNT;
    while !expected.is_empty() {
        match client.receive() {
            Packet::Publish(publish) => {
                assert_eq!(publish.text(), expected.next().unwrap().to_string());
            }
            Packet::Suback(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn mqtt_3_8_3_3_no_local_keeps_a_clients_own_messages_from_it() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.subscribe("t", NO_LOCAL);
    let mut other = server.client(V5, "b");
    other.subscribe("t", 0);
    client.tell(&Publish::new("t", "of a"));
    assert_eq!(other.publish().text(), "of a");
    client.ping();
    other.send(&Publish::new("t", "of b").bytes(V5));
    assert_eq!(other.publish().text(), "of b");
    assert_eq!(client.publish().text(), "of b");
}

/// Shows also [MQTT-3.3.1-13].
#[test]
fn mqtt_3_3_1_12_retain_of_a_forwarded_message_is_as_the_subscription_wants_it() {
    let server = Server::start();
    let mut plain = server.client(V5, "plain");
    plain.subscribe("t", 0);
    let mut as_published = server.client(V5, "as published");
    as_published.subscribe("t", RETAIN_AS_PUBLISHED);
    let mut other = server.client(V5, "b");
    for retain in [true, false] {
        let mut publish = Publish::new("t", "x");
        publish.retain = retain;
        other.tell(&publish);
        assert!(!plain.publish().retain);
        assert_eq!(as_published.publish().retain, retain);
    }
}

#[test]
fn mqtt311_3_3_1_9_an_established_subscription_gets_no_retain_flag() {
    let server = Server::start();
    let mut client = server.client(V311, "a");
    client.subscribe("t", 1);
    let mut other = server.client(V311, "b");
    other.tell(&Publish::new("t", "x").qos(1, 5).retain());
    assert!(!client.take().retain);
}
