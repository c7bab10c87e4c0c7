//! Wills: kept, published, revoked.

use crate::packet::{Connect, Property, Publish, V5, V311, Version, Will, disconnect_with, id};
use crate::server::Server;

rules! {
    /// Shows also [MQTT-3.1.2-7].
    mqtt_3_1_2_8_a_connection_that_breaks_publishes_its_will: a_break_publishes_the_will(V5);
    mqtt311_3_1_2_8_a_connection_that_breaks_publishes_its_will: a_break_publishes_the_will(V311);
    mqtt_3_1_2_10_a_will_is_published_once: a_will_is_published_once(V5);
    mqtt311_3_1_2_10_a_will_is_published_once: a_will_is_published_once(V311);
    mqtt311_3_1_2_12_without_the_will_flag_no_will_is_published: no_will_is_published(V311);
    without_the_will_flag_no_will_is_published_in_mqtt_5: no_will_is_published(V5);
    mqtt_3_1_2_14_a_will_without_retain_is_not_retained: will_retain(V5, false);
    mqtt311_3_1_2_16_a_will_without_retain_is_not_retained: will_retain(V311, false);
    mqtt_3_1_2_15_a_will_with_retain_is_retained: will_retain(V5, true);
    mqtt311_3_1_2_17_a_will_with_retain_is_retained: will_retain(V311, true);
    mqtt_3_14_4_3_a_disconnect_discards_the_will: a_disconnect_discards_the_will(V5);
    mqtt311_3_14_4_3_a_disconnect_discards_the_will: a_disconnect_discards_the_will(V311);
    a_will_has_its_own_qos_in_5: will_qos(V5);
    a_will_has_its_own_qos_in_3_1_1: will_qos(V311);
    a_protocol_error_publishes_the_will_in_5: a_protocol_error_publishes_the_will(V5);
    a_protocol_error_publishes_the_will_in_3_1_1: a_protocol_error_publishes_the_will(V311);
}

fn a_break_publishes_the_will(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("gone/+", 1);
    let connect = Connect::new(version, "a").will(Will::new("gone/a", "bye"));
    let mut client = server.connect(&connect);
    client.ping();
    watcher.ping(); // not before the end
    client.vanish();
    let will = watcher.take();
    assert_eq!((&*will.topic, will.text()), ("gone/a", "bye"));
}

fn a_will_is_published_once(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("gone", 1);
    let connect = Connect::lasting(version, "a");
    server
        .connect(&connect.clone().will(Will::new("gone", "bye")))
        .vanish();
    assert_eq!(watcher.take().text(), "bye");
    let (client, connack) = server.try_connect(&connect);
    assert!(connack.session_present);
    client.vanish();
    watcher.ping();
}

fn no_will_is_published(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("#", 1);
    server.client(version, "a").vanish();
    watcher.ping();
}

fn will_retain(version: Version, retain: bool) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("gone", 1);
    let mut will = Will::new("gone", "bye");
    will.retain = retain;
    server
        .connect(&Connect::new(version, "a").will(will))
        .vanish();
    assert!(!watcher.take().retain, "the subscription was there before");
    let mut late = server.client(version, "l");
    late.subscribe("gone", 1);
    if retain {
        let will = late.take();
        assert_eq!((will.text(), will.retain), ("bye", true));
    }
    late.ping();
}

fn a_disconnect_discards_the_will(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("gone", 1);
    for connect in [Connect::new(version, "a"), Connect::lasting(version, "b")] {
        server
            .connect(&connect.will(Will::new("gone", "bye")))
            .leave();
    }
    watcher.ping();
}

fn will_qos(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("gone", 2);
    for qos in 0..3 {
        let mut will = Will::new("gone", "bye");
        will.qos = qos;
        server
            .connect(&Connect::new(version, "a").will(will))
            .vanish();
        assert_eq!(watcher.take().qos, qos);
    }
}

fn a_protocol_error_publishes_the_will(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("gone", 1);
    let connect = Connect::new(version, "a").will(Will::new("gone", "bye"));
    let mut client = server.connect(&connect);
    client.send(&connect.bytes());
    client.closed_for(0x82);
    assert_eq!(watcher.take().text(), "bye");
}

#[test]
fn a_disconnect_with_will_message_publishes_it() {
    let server = Server::start();
    let mut watcher = server.client(V5, "w");
    watcher.subscribe("gone", 1);
    let connect = Connect::new(V5, "a").will(Will::new("gone", "bye"));
    let mut client = server.connect(&connect);
    client.send(&disconnect_with(0x04, &[]));
    client.closed();
    assert_eq!(watcher.take().text(), "bye");
}

fn delayed(name: &str, delay: u32) -> Connect {
    let will = Will::new("gone", name).with(Property::Four(id::WILL_DELAY, delay));
    Connect::lasting(V5, name).will(will)
}

#[test]
fn a_will_waits_for_its_delay() {
    let server = Server::start();
    let mut watcher = server.client(V5, "w");
    watcher.subscribe("gone", 1);
    server.connect(&delayed("late", 1)).vanish();
    server.connect(&delayed("at once", 0)).vanish();
    assert_eq!(watcher.take().text(), "at once");
    assert_eq!(watcher.take().text(), "late");
}

/// The will of a second client, which left later with the same delay, tells that the time of the first has passed.
#[test]
fn mqtt_3_1_3_9_a_client_that_is_back_in_time_has_no_will_published() {
    let server = Server::start();
    let mut watcher = server.client(V5, "w");
    watcher.subscribe("gone", 1);
    server.connect(&delayed("back", 1)).vanish();
    server.connect(&delayed("away", 1)).vanish();
    let mut back = server.connect(&Connect::lasting(V5, "back"));
    assert_eq!(watcher.take().text(), "away");
    watcher.ping();
    back.ping();
}

#[test]
fn a_will_does_not_wait_longer_than_its_session() {
    let server = Server::start();
    let mut watcher = server.client(V5, "w");
    watcher.subscribe("gone", 1);
    let connect = delayed("a", 3600).with(Property::Four(id::SESSION_EXPIRY, 0));
    server.connect(&connect).vanish();
    assert_eq!(watcher.take().text(), "a");
    // A clean start ends the session, too.
    server.connect(&delayed("b", 3600)).vanish();
    watcher.ping();
    server.client(V5, "b");
    assert_eq!(watcher.take().text(), "b");
}

#[test]
fn mqtt_3_1_3_10_the_user_properties_of_a_will_keep_their_order() {
    let server = Server::start();
    let mut watcher = server.client(V5, "w");
    watcher.subscribe("gone", 1);
    let properties = vec![
        Property::Byte(id::PAYLOAD_FORMAT, 1),
        Property::text(id::CONTENT_TYPE, "text/plain"),
        Property::text(id::RESPONSE_TOPIC, "answers"),
        Property::Binary(id::CORRELATION_DATA, vec![0, 255]),
        Property::pair("b", "1"),
        Property::pair("a", "2"),
        Property::pair("b", "0"),
    ];
    let mut will = Will::new("gone", "bye");
    will.properties = properties.clone();
    server.connect(&Connect::new(V5, "a").will(will)).vanish();
    assert_same(&watcher.take(), &properties);
}

/// The same properties; only those of the user have an order.
fn assert_same(publish: &Publish, properties: &[Property]) {
    let sorted = |properties: &[Property]| {
        let mut sorted = properties.to_vec();
        sorted.sort_by_key(Property::id);
        sorted
    };
    assert_eq!(sorted(&publish.properties), sorted(properties));
}
