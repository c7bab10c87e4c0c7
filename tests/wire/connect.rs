//! CONNECT: who is let in as whom, and what becomes of who was there before.

use crate::packet::{Connect, Property, Publish, V5, V31, V311, Version, Will, id};
use crate::server::Server;

rules! {
    /// Shows also [MQTT-3.2.0-2].
    mqtt_3_1_0_2_a_second_connect_closes: a_second_connect_closes(V5);
    mqtt311_3_1_0_2_a_second_connect_closes: a_second_connect_closes(V311);
    /// Shows also [MQTT-4.2.0-1].
    mqtt_3_1_4_5_a_connect_is_acknowledged: a_connect_is_acknowledged(V5);
    /// Shows also [MQTT311-7.0.0-2], [MQTT311-7.1.1-1].
    mqtt311_3_1_4_4_a_connect_is_acknowledged: a_connect_is_acknowledged(V311);
    a_client_of_mqtt_3_1_is_served: a_connect_is_acknowledged(V31);
    mqtt_3_1_3_2_the_client_identifier_tells_sessions_apart: identifiers_tell_sessions_apart(V5);
    mqtt311_3_1_3_2_the_client_identifier_tells_sessions_apart: identifiers_tell_sessions_apart(V311);
    mqtt_3_1_3_5_letters_and_digits_make_a_client_identifier: plain_identifiers_are_allowed(V5);
    mqtt311_3_1_3_5_letters_and_digits_make_a_client_identifier: plain_identifiers_are_allowed(V311);
    mqtt_3_1_3_8_a_rejected_client_identifier_is_told_and_closed: a_rejected_identifier(V5, 0x85);
    mqtt311_3_1_3_9_a_rejected_client_identifier_is_told_and_closed: a_rejected_identifier(V311, 2);
    /// Shows also [MQTT-3.1.2-17], [MQTT-3.1.2-19], [MQTT-3.1.2-9].
    mqtt_3_1_3_1_the_fields_of_the_payload_come_in_order: every_field(V5);
    /// Shows also [MQTT311-3.1.2-19], [MQTT311-3.1.2-21], [MQTT311-3.1.2-9].
    mqtt311_3_1_3_1_the_fields_of_the_payload_come_in_order: every_field(V311);
    mqtt_3_1_4_2_a_failed_login_closes: a_failed_login(V5, 0x86, 0x87);
    a_failed_login_closes_in_3_1_1: a_failed_login(V311, 4, 5);
    mqtt_3_1_4_3_a_second_connection_takes_over: a_second_connection_takes_over(V5);
    mqtt311_3_1_4_2_a_second_connection_takes_over: a_second_connection_takes_over(V311);
    mqtt_3_1_4_6_nothing_is_processed_after_a_rejected_connect: nothing_after_a_refusal(V5);
    mqtt311_3_1_4_5_nothing_is_processed_after_a_rejected_connect: nothing_after_a_refusal(V311);
    /// Shows also [MQTT-3.2.2-22].
    mqtt_3_1_2_22_silence_closes_as_if_the_network_had_failed: silence_closes(V5);
    mqtt311_3_1_2_24_silence_closes_as_if_the_network_had_failed: silence_closes(V311);
}

fn a_second_connect_closes(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.send(&Connect::new(version, "a").bytes());
    client.closed_for(0x82);
}

fn a_connect_is_acknowledged(version: Version) {
    let server = Server::start();
    let mut client = server.open(version);
    // Whatever pieces the stream comes in.
    for byte in Connect::new(version, "a").bytes() {
        client.send(&[byte]);
    }
    let connack = client.connack();
    assert_eq!((connack.code, connack.session_present), (0, false));
    client.ping();
}

fn identifiers_tell_sessions_apart(version: Version) {
    let server = Server::start();
    let mut a = server.connect(&Connect::lasting(version, "a"));
    a.subscribe("t", 1);
    a.leave();
    let (mut other, connack) = server.try_connect(&Connect::lasting(version, "A"));
    assert!(!connack.session_present);
    other.tell(&Publish::new("t", "x").qos(1, 1));
    other.ping();
    let (mut a, connack) = server.try_connect(&Connect::lasting(version, "a"));
    assert!(connack.session_present);
    assert_eq!(a.take().text(), "x");
}

fn plain_identifiers_are_allowed(version: Version) {
    let server = Server::start();
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for name in [
        "0",
        "z",
        &letters[..23],
        &letters[23..46],
        &letters[letters.len() - 23..],
    ] {
        server.client(version, name).ping();
    }
}

fn a_rejected_identifier(version: Version, code: u8) {
    let server = Server::start();
    let (mut client, connack) = server.try_connect(&Connect::new(version, "$mine"));
    assert_eq!((connack.code, connack.session_present), (code, false));
    client.closed();
}

/// Each field is where the others leave it: the login is checked and the will is published as it was given.
fn every_field(version: Version) {
    let server = Server::for_plant();
    let mut watcher = server.connect(&Connect::new(version, "w").user("plant", "secret"));
    watcher.subscribe("will/topic", 1);
    let mut connect = Connect::new(version, "a").user("plant", "secret");
    let mut will = Will::new("will/topic", "will payload");
    if version == V5 {
        connect = connect.with(Property::pair("connect", "property"));
        will = will.with(Property::text(id::CONTENT_TYPE, "text"));
    }
    server.connect(&connect.will(will)).vanish();
    let will = watcher.take();
    assert_eq!((&*will.topic, will.text()), ("will/topic", "will payload"));
    assert_eq!(will.properties.is_empty(), version != V5);
}

fn a_failed_login(version: Version, bad: u8, nobody: u8) {
    let server = Server::for_plant();
    let connect = Connect::new(version, "a");
    for (connect, code) in [
        (connect.clone().user("plant", "guess"), bad),
        (connect.clone().user("nobody", "secret"), bad),
        (connect, nobody),
    ] {
        let (mut client, connack) = server.try_connect(&connect);
        assert_eq!((connack.code, connack.session_present), (code, false));
        client.closed();
    }
}

fn a_second_connection_takes_over(version: Version) {
    let server = Server::start();
    let mut first = server.client(version, "a");
    let mut second = server.client(version, "a");
    first.closed_for(0x8E);
    second.ping();
}

fn nothing_after_a_refusal(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("#", 0);
    let mut client = server.open(version);
    let mut both = Connect::new(version, "$mine").bytes();
    both.extend(Publish::new("t", "x").bytes(version));
    client.send(&both);
    assert_ne!(client.connack().code, 0);
    client.closed();
    watcher.ping();
}

fn silence_closes(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("gone", 1);
    let connect = Connect::new(version, "a").keep_alive(1);
    let (mut client, connack) = server.try_connect(&connect.will(Will::new("gone", "a")));
    assert_eq!(connack.property(id::SERVER_KEEP_ALIVE), None);
    client.closed_for(0x8D);
    assert_eq!(watcher.take().text(), "a");
}

#[test]
fn mqtt_3_1_3_6_an_empty_client_identifier_is_given_a_unique_one() {
    let server = Server::start();
    let (mut first, one) = server.try_connect(&Connect::new(V5, ""));
    let (mut second, other) = server.try_connect(&Connect::new(V5, ""));
    assert_ne!(assigned(&one), assigned(&other));
    first.ping();
    second.ping();
}

/// Shows also [MQTT-3.2.2-16].
#[test]
fn mqtt_3_1_3_7_the_assigned_identifier_holds_as_if_the_client_had_sent_it() {
    let server = Server::start();
    let connect = Connect::new(V5, "").with(Property::Four(id::SESSION_EXPIRY, 3600));
    let (mut client, connack) = server.try_connect(&connect);
    let name = assigned(&connack);
    client.subscribe("t", 1);
    let (mut again, connack) = server.try_connect(&Connect::lasting(V5, &name));
    client.closed_for(0x8E);
    assert!(connack.session_present);
    assert_eq!(connack.property(id::ASSIGNED_CLIENT_ID), None);
    again.send(&Publish::new("t", "x").bytes(V5));
    assert_eq!(again.publish().text(), "x");
}

fn assigned(connack: &crate::packet::Connack) -> String {
    match connack.property(id::ASSIGNED_CLIENT_ID) {
        Some(Property::Text(_, name)) if !name.is_empty() => name.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mqtt311_3_1_3_6_an_empty_client_identifier_is_given_a_unique_one() {
    let server = Server::start();
    let mut first = server.client(V311, "");
    let mut second = server.client(V311, "");
    first.ping();
    second.ping();
}

/// Shows also [MQTT311-3.1.3-7].
#[test]
fn mqtt311_3_1_3_8_an_empty_client_identifier_needs_a_clean_session() {
    let server = Server::start();
    let (mut client, connack) = server.try_connect(&Connect::lasting(V311, ""));
    assert_eq!((connack.code, connack.session_present), (2, false));
    client.closed();
}

#[test]
fn mqtt_5_lets_a_password_come_without_a_user_name() {
    let server = Server::start();
    let mut connect = Connect::new(V5, "a");
    connect.password = Some(b"token".to_vec());
    assert_eq!(server.try_connect(&connect).1.code, 0);
}

/// Shows also [MQTT-4.12.0-4].
#[test]
fn mqtt_4_12_0_1_an_unknown_authentication_method_is_told_and_closed() {
    let server = Server::start();
    let connect = Connect::new(V5, "a").with(Property::text(id::AUTHENTICATION_METHOD, "SCRAM"));
    let data = Property::Binary(id::AUTHENTICATION_DATA, b"n,,n=a".to_vec());
    for connect in [connect.clone(), connect.with(data)] {
        let (mut client, connack) = server.try_connect(&connect);
        assert_eq!((connack.code, connack.session_present), (0x8C, false));
        client.closed();
    }
}

/// 3.1.1 has no better word than 3, server unavailable.
#[test]
fn mqtt311_4_8_0_2_a_transient_error_closes() {
    let server = Server::with(|limits| limits.connections = 1);
    let mut first = server.client(V311, "a");
    let (mut second, connack) = server.try_connect(&Connect::new(V311, "b"));
    assert_eq!((connack.code, connack.session_present), (3, false));
    second.closed();
    let (mut third, connack) = server.try_connect(&Connect::new(V5, "c"));
    assert_eq!(connack.code, 0x89);
    third.closed();
    first.ping();
}
