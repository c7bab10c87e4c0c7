//! Sessions: what is kept for a client that is away, how long, and what it gets when it is back.

use crate::packet::{
    Connect, PUBACK, PUBREC, PUBREL, Property, Publish, V5, V311, Version, ack, disconnect_with, id,
};
use crate::server::Server;

rules! {
    /// Shows also [MQTT-4.5.0-1].
    mqtt_3_1_2_23_a_session_collects_messages_while_its_client_is_away: messages_wait(V5);
    /// Shows also [MQTT311-4.5.0-1].
    mqtt311_3_1_2_5_a_session_collects_messages_while_its_client_is_away: messages_wait(V311);
    /// Shows also [MQTT-3.3.1-1].
    mqtt_4_4_0_1_what_was_not_acknowledged_comes_again: unacknowledged_comes_again(V5);
    /// Shows also [MQTT311-3.3.1-1], [MQTT311-2.3.1-4].
    mqtt311_4_4_0_1_what_was_not_acknowledged_comes_again: unacknowledged_comes_again(V311);
    /// Shows also [MQTT-4.3.3-6].
    mqtt_4_3_3_5_after_pubrel_only_that_comes_again: only_pubrel_comes_again(V5);
    only_pubrel_comes_again_in_3_1_1: only_pubrel_comes_again(V311);
    mqtt311_3_1_2_7_retained_messages_outlive_sessions: retained_messages_stay(V311);
    retained_messages_outlive_sessions_in_5: retained_messages_stay(V5);
    mqtt311_4_1_0_1_a_session_lasts: a_session_lasts(V311);
    a_session_lasts_in_5: a_session_lasts(V5);
}

fn messages_wait(version: Version) {
    let server = Server::start();
    let mut away = server.connect(&Connect::lasting(version, "a"));
    away.subscribe("t", 2);
    away.leave();
    let mut other = server.client(version, "b");
    for qos in 0..3 {
        other.tell(&Publish::new("t", &qos.to_string()).qos(qos, 5));
    }
    let mut back = server.connect(&Connect::lasting(version, "a"));
    let first = back.take();
    let second = back.take();
    assert_eq!((first.text(), first.qos, first.dup), ("1", 1, false));
    assert_eq!((second.text(), second.qos, second.dup), ("2", 2, false));
    back.ping(); // QoS 0 promises nothing
}

/// In its order, with the same identifiers and DUP; and not before the client is back.
fn unacknowledged_comes_again(version: Version) {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.subscribe("t", 2);
    let mut other = server.client(version, "b");
    for (number, qos) in [1, 2, 1, 2].into_iter().enumerate() {
        other.tell(&Publish::new("t", &number.to_string()).qos(qos, 5));
    }
    let before: Vec<Publish> = (0..4).map(|_| client.publish()).collect();
    client.ping();
    client.send(&ack(PUBACK, before[2].id.unwrap()));
    client.ping();
    client.vanish();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    for place in [0, 1, 3] {
        let again = Publish {
            dup: true,
            ..before[place].clone()
        };
        assert_eq!(client.publish(), again);
    }
    client.ping();
}

fn only_pubrel_comes_again(version: Version) {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.subscribe("t", 2);
    let mut other = server.client(version, "b");
    other.tell(&Publish::new("t", "x").qos(2, 5));
    let number = client.publish().id.unwrap();
    client.send(&ack(PUBREC, number));
    client.ack_of(PUBREL, number);
    client.vanish();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.ack_of(PUBREL, number);
    client.send(&ack(crate::packet::PUBCOMP, number));
    client.ping();
    client.vanish();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.ping(); // it is done
}

fn retained_messages_stay(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.tell(&Publish::new("t", "x").qos(1, 1).retain());
    client.leave();
    let mut other = server.client(version, "b");
    other.subscribe("t", 1);
    assert_eq!(other.take().text(), "x");
}

/// Over several connections.
fn a_session_lasts(version: Version) {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.subscribe("t", 1);
    let mut other = server.client(version, "b");
    for round in 0..3 {
        client.vanish();
        other.tell(&Publish::new("t", &round.to_string()).qos(1, 5));
        client = server.connect(&Connect::lasting(version, "a"));
        assert_eq!(client.take().text(), round.to_string());
        client.ping();
    }
}

#[test]
fn mqtt_4_1_0_1_an_expiry_does_not_run_while_the_client_is_there() {
    let server = Server::start();
    let mut client = server.connect(&expiring("a", 1));
    client.subscribe("t", 1);
    server.let_pass();
    client.ping();
    server
        .client(V5, "b")
        .tell(&Publish::new("t", "x").qos(1, 1));
    assert_eq!(client.take().text(), "x");
}

#[test]
fn mqtt311_4_1_0_2_a_session_lasts_as_long_as_its_connection() {
    let server = Server::start();
    let mut client = server.client(V311, "a");
    client.subscribe("t", 1);
    server.let_pass();
    server
        .client(V311, "b")
        .tell(&Publish::new("t", "x").qos(1, 1));
    assert_eq!(client.take().text(), "x");
}

#[test]
fn mqtt_4_1_0_2_a_session_ends_with_its_expiry() {
    let server = Server::start();
    let long = server.connect(&Connect::lasting(V5, "long"));
    let short = server.connect(&expiring("short", 1));
    let none = server.connect(&expiring("none", 0));
    long.leave();
    short.leave();
    none.leave();
    server.let_pass();
    for (name, present) in [("long", true), ("short", false), ("none", false)] {
        let (_, connack) = server.try_connect(&Connect::lasting(V5, name));
        assert_eq!(connack.session_present, present, "{name}");
    }
}

fn expiring(name: &str, seconds: u32) -> Connect {
    Connect::lasting(V5, name).with(Property::Four(id::SESSION_EXPIRY, seconds))
}

#[test]
fn a_disconnect_can_end_a_session_and_cannot_found_one() {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    client.send(&disconnect_with(
        0,
        &[Property::Four(id::SESSION_EXPIRY, 0)],
    ));
    client.closed();
    let (mut client, connack) = server.try_connect(&expiring("a", 0));
    assert!(!connack.session_present);
    client.send(&disconnect_with(
        0,
        &[Property::Four(id::SESSION_EXPIRY, 9)],
    ));
    client.closed_for(0x82);
}

/// Shows also [MQTT-4.3.2-3], [MQTT-4.3.3-3].
#[test]
fn mqtt_4_4_0_2_a_refused_message_does_not_come_again() {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    client.subscribe("t", 2);
    let mut other = server.client(V5, "b");
    for qos in [1, 2, 1, 2] {
        other.tell(&Publish::new("t", "x").qos(qos, 5));
    }
    let got: Vec<Publish> = (0..4).map(|_| client.publish()).collect();
    for (publish, first) in got.iter().zip([PUBACK, PUBREC]) {
        client.send(&crate::packet::ack_with(first, publish.id.unwrap(), 0x83));
    }
    client.ping(); // no PUBREL for what was refused
    client.vanish();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    assert_eq!(client.publish().id, got[2].id);
    assert_eq!(client.publish().id, got[3].id);
    client.ping();
}
