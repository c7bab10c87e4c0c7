//! PUBLISH: from one client to the others, as it was, or answered why not.

use crate::packet::{
    Connect, PUBACK, PUBREC, Packet, Property, Publish, V5, V311, Version, frame, id, text,
};
use crate::server::Server;

rules! {
    /// Shows also [MQTT-2.2.1-2], [MQTT-4.3.1-1], [MQTT-3.3.2-1].
    mqtt_2_2_2_1_a_delivery_is_its_bytes_and_no_more: exact_bytes(V5);
    /// Shows also [MQTT311-4.3.1-1], [MQTT311-3.3.2-1].
    mqtt311_2_3_1_5_a_delivery_is_its_bytes_and_no_more: exact_bytes(V311);
    mqtt_3_3_1_3_dup_of_the_publisher_is_not_passed_on: dup_is_not_passed_on(V5);
    mqtt311_3_3_1_3_dup_of_the_publisher_is_not_passed_on: dup_is_not_passed_on(V311);
    /// Shows also [MQTT-4.6.0-5].
    mqtt_4_6_0_6_order_is_kept: order_is_kept(V5);
    /// Shows also [MQTT311-4.6.0-5].
    mqtt311_4_6_0_6_order_is_kept: order_is_kept(V311);
    mqtt_3_3_4_2_overlapping_subscriptions_give_the_highest_qos: overlapping(V5);
    mqtt311_3_3_5_1_overlapping_subscriptions_give_the_highest_qos: overlapping(V311);
    messages_of_any_size_arrive_whole_in_5: any_size(V5);
    messages_of_any_size_arrive_whole_in_3_1_1: any_size(V311);
}

fn exact_bytes(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("some/topic", 1);
    let mut body = text("some/topic");
    if version == V5 {
        body.push(0); // no properties
    }
    body.extend(b"payload");
    let publish = frame(0x30, &body);
    client.send(&publish);
    assert_eq!(client.bytes(publish.len()), publish);
    client.ping();
}

fn dup_is_not_passed_on(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("t", 2);
    let mut other = server.client(version, "b");
    for qos in [1, 2] {
        other.tell(&Publish::new("t", "x").qos(qos, 5).dup());
        let publish = client.take();
        assert_eq!((publish.qos, publish.dup), (qos, false));
    }
}

/// Of each client and QoS, whatever else is going on.
fn order_is_kept(version: Version) {
    const COUNT: usize = 300;
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("+", 2);
    for qos in 0..3 {
        let mut other = server.client(version, &format!("b{qos}"));
        for number in 0..COUNT {
            other.tell(&Publish::new("t", &number.to_string()).qos(qos, number as u16 + 1));
            assert_eq!(client.take().text(), number.to_string());
        }
        let burst: Vec<u8> = (0..90)
            .flat_map(|number| {
                let publish = Publish::new("t", &number.to_string());
                publish.qos(qos, number + 1).bytes(version)
            })
            .collect();
        other.send(&burst);
        for number in 0..90 {
            assert_eq!(client.take().text(), number.to_string());
        }
    }
}

/// One copy, too.
fn overlapping(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    for (filter, qos) in [("a/b", 0), ("a/+", 2), ("#", 1)] {
        client.subscribe(filter, qos);
    }
    let mut other = server.client(version, "b");
    for qos in [0, 1, 2] {
        other.tell(&Publish::new("a/b", "x").qos(qos, 5));
        assert_eq!(client.take().qos, qos);
        client.ping();
    }
}

fn any_size(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("t", 1);
    for size in [0, 1, 100, 127, 128, 16_383, 16_384, 70_000, 250_000] {
        let payload: String = ('a'..='z').cycle().take(size).collect();
        client.send(&Publish::new("t", &payload).bytes(version));
        assert!(client.take().text() == payload, "{size} bytes");
    }
}

/// Shows also [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-20].
#[test]
fn mqtt_3_3_2_4_the_properties_of_a_message_are_passed_on_unaltered() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.subscribe("t", 2);
    let all = [
        Property::Byte(id::PAYLOAD_FORMAT, 1),
        Property::text(id::CONTENT_TYPE, "text/\u{e4}"),
        Property::text(id::RESPONSE_TOPIC, "answers/here"),
        Property::Binary(id::CORRELATION_DATA, vec![0, 1, 254, 255]),
        Property::pair("", "empty"),
        Property::pair("n\u{fc}", "\u{1F600}"),
    ];
    let mut other = server.client(V5, "b");
    for qos in 0..3 {
        for property in &all {
            let publish = Publish::new("t", "x").qos(qos, 5).with(property.clone());
            other.tell(&publish);
            assert_eq!(client.take().properties, publish.properties);
        }
        let mut publish = Publish::new("t", "x").qos(qos, 5);
        publish.properties = all.to_vec();
        other.tell(&publish);
        let mut got = client.take().properties;
        got.sort_by_key(Property::id);
        publish.properties.sort_by_key(Property::id);
        assert_eq!(got, publish.properties);
    }
}

#[test]
fn mqtt_3_3_2_18_user_properties_keep_their_order() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.subscribe("t", 0);
    let mut publish = Publish::new("t", "x");
    for number in 0..20 {
        publish = publish.with(Property::pair(
            &(number * 7 % 5).to_string(),
            &number.to_string(),
        ));
    }
    client.send(&publish.bytes(V5));
    assert_eq!(client.publish().properties, publish.properties);
}

/// Shows also [MQTT-3.3.4-4].
#[test]
fn mqtt_3_3_4_3_the_identifiers_of_all_matching_subscriptions_come() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    let number = |number| Property::Variable(id::SUBSCRIPTION_ID, number);
    client.subscribe_with("a/b", 1, &[number(1)]);
    client.subscribe_with("a/+", 1, &[number(268_435_455)]);
    client.subscribe_with("c", 1, &[number(3)]);
    client.subscribe("#", 1);
    client.send(&Publish::new("a/b", "x").bytes(V5));
    let mut got = client.publish().properties;
    got.sort_by_key(|property| matches!(property, Property::Variable(_, 1)));
    assert_eq!(got, [number(268_435_455), number(1)]);
    client.send(&Publish::new("d", "x").bytes(V5));
    assert_eq!(client.publish().properties, []);
}

#[test]
fn a_publisher_is_told_that_nobody_subscribes() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.send(&Publish::new("t", "x").qos(1, 1).bytes(V5));
    assert_eq!(client.ack_of(PUBACK, 1).code, 0x10);
    client.send(&Publish::new("t", "x").qos(2, 2).bytes(V5));
    assert_eq!(client.ack_of(PUBREC, 2).code, 0x10);
}

/// The expiry of what is retained goes down while it waits.
#[test]
fn mqtt_3_3_2_6_the_expiry_is_less_by_the_time_waited() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    let expiry = Property::Four(id::MESSAGE_EXPIRY, 3600);
    client.tell(&Publish::new("t", "x").retain().with(expiry.clone()));
    server.let_pass();
    client.subscribe("t", 0);
    match client.publish().property(id::MESSAGE_EXPIRY) {
        Some(Property::Four(_, left)) => assert!((3000..3600).contains(left), "{left}"),
        other => panic!("{other:?}"),
    }
    // At once it is as it was.
    client.send(&Publish::new("t", "y").with(expiry.clone()).bytes(V5));
    assert_eq!(client.publish().properties, [expiry]);
}

#[test]
fn mqtt_3_3_2_5_an_expired_message_is_not_delivered() {
    let server = Server::start();
    let mut away = server.connect(&Connect::lasting(V5, "a"));
    away.subscribe("t", 1);
    away.leave();
    let mut other = server.client(V5, "b");
    let short = Publish::new("t", "short").with(Property::Four(id::MESSAGE_EXPIRY, 1));
    other.tell(&short.qos(1, 1));
    let long = Publish::new("t", "long").with(Property::Four(id::MESSAGE_EXPIRY, 3600));
    other.tell(&long.qos(1, 2));
    server.let_pass();
    let mut back = server.connect(&Connect::lasting(V5, "a"));
    assert_eq!(back.take().text(), "long");
    back.ping();
}

/// Shows also [MQTT-4.3.3-13].
#[test]
fn mqtt_4_3_3_7_a_message_that_was_sent_does_not_expire() {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    client.subscribe("t", 2);
    let mut other = server.client(V5, "b");
    let short = Publish::new("t", "x").with(Property::Four(id::MESSAGE_EXPIRY, 1));
    other.tell(&short.qos(2, 1));
    let first = client.publish();
    client.vanish();
    server.let_pass();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    let again = client.publish();
    assert_eq!((again.id, again.dup), (first.id, true));
    client.acknowledge(&again);
    client.ping();
}

/// Shows also [MQTT311-3.3.2-3], [MQTT-4.7.0-1], [MQTT311-4.7.1-1].
#[test]
fn mqtt_3_3_2_3_a_delivery_has_the_topic_that_was_published() {
    for version in [V5, V311] {
        let server = Server::start();
        let mut client = server.client(version, "a");
        client.subscribe("+/b/#", 0);
        for topic in ["a/b", "/b/", "a/b/c/d", "\u{e4}/b//"] {
            client.send(&Publish::new(topic, "x").bytes(version));
            assert_eq!(client.publish().topic, topic);
        }
        client.send(&Publish::new("a/c", "x").bytes(version));
        client.ping();
    }
}

/// Both ways between the versions; what one of them does not have is left out.
#[test]
fn messages_pass_between_the_versions() {
    let server = Server::start();
    let mut new = server.client(V5, "new");
    let mut old = server.client(V311, "old");
    new.subscribe("t", 2);
    old.subscribe("t", 2);
    let publish = Publish::new("t", "x").with(Property::pair("a", "b"));
    new.send(&publish.bytes(V5));
    assert_eq!(new.publish().properties, publish.properties);
    assert_eq!(old.publish().text(), "x");
    old.send(&Publish::new("t", "y").qos(2, 1).bytes(V311));
    assert!(matches!(
        old.receive(),
        Packet::Pubrec(_) | Packet::Publish(_)
    ));
    let publish = new.publish();
    assert_eq!((publish.text(), publish.qos), ("y", 2));
    assert_eq!(publish.properties, []);
}
