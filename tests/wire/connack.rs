//! CONNACK: what the broker promises a client, and that it comes first.

use crate::packet::{Connect, Property, Publish, V5, V311, Version, Will, id, subscribe};
use crate::server::Server;

rules! {
    mqtt_3_2_0_1_nothing_comes_before_connack: connack_comes_first(V5);
    mqtt311_3_2_0_1_nothing_comes_before_connack: connack_comes_first(V311);
    /// Shows also [MQTT-3.1.4-4], [MQTT-3.1.2-4].
    mqtt_3_2_2_2_a_clean_start_has_no_session: a_clean_start(V5);
    /// Shows also [MQTT311-3.1.4-3], [MQTT311-3.1.2-6].
    mqtt311_3_2_2_1_a_clean_session_has_no_session: a_clean_start(V311);
    /// Shows also [MQTT-3.1.2-5], [MQTT-3.2.2-1].
    mqtt_3_2_2_3_a_session_that_goes_on_is_told: a_session_goes_on(V5);
    /// Shows also [MQTT311-3.1.2-4].
    mqtt311_3_2_2_2_a_session_that_goes_on_is_told: a_session_goes_on(V311);
    mqtt_3_1_2_6_without_a_session_a_new_one_is_made: a_new_session(V5);
    mqtt311_3_2_2_3_without_a_session_a_new_one_is_made: a_new_session(V311);
    /// Shows also [MQTT-3.2.2-7], [MQTT-3.2.2-8].
    mqtt_3_2_2_6_a_refusal_has_no_session_and_closes: a_refusal(V5, 0x9B);
    /// Shows also [MQTT311-3.2.2-5].
    mqtt311_3_2_2_4_a_refusal_has_no_session_and_closes: a_refusal(V311, 3);
}

/// Even where messages wait for the client.
fn connack_comes_first(version: Version) {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.subscribe("t", 1);
    client.leave();
    let mut other = server.client(version, "b");
    other.tell(&Publish::new("t", "x").qos(1, 1));
    let (mut client, connack) = server.try_connect(&Connect::lasting(version, "a"));
    assert_eq!(connack.code, 0);
    assert_eq!(client.take().text(), "x");
}

fn a_clean_start(version: Version) {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.subscribe("t", 1);
    client.leave();
    let mut clean = Connect::lasting(version, "a");
    clean.clean = true;
    let (mut client, connack) = server.try_connect(&clean);
    assert_eq!((connack.code, connack.session_present), (0, false));
    server
        .client(version, "b")
        .tell(&Publish::new("t", "x").qos(1, 1));
    client.ping(); // its subscription is gone
}

fn a_session_goes_on(version: Version) {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.subscribe("t", 1);
    client.leave();
    let (mut client, connack) = server.try_connect(&Connect::lasting(version, "a"));
    assert_eq!((connack.code, connack.session_present), (0, true));
    client.send(&Publish::new("t", "x").bytes(version));
    assert_eq!(client.publish().text(), "x");
}

fn a_new_session(version: Version) {
    let server = Server::start();
    let (client, connack) = server.try_connect(&Connect::lasting(version, "a"));
    assert_eq!((connack.code, connack.session_present), (0, false));
    client.leave();
    let (_, connack) = server.try_connect(&Connect::lasting(version, "a"));
    assert!(connack.session_present, "it was made to stay");
}

/// A client with a session is refused because of its will.
fn a_refusal(version: Version, code: u8) {
    let server = Server::with(|limits| limits.maximum_qos = fieldgate::mqtt::QoS::AtMostOnce);
    server.connect(&Connect::lasting(version, "a")).leave();
    let connect = Connect::lasting(version, "a").will(Will::new("t", "x"));
    let (mut client, connack) = server.try_connect(&connect);
    assert_eq!((connack.code, connack.session_present), (code, false));
    client.closed();
}

#[test]
fn mqtt_3_2_2_9_a_server_with_less_than_qos_2_says_so() {
    for (qos, said) in [(0, Some(0)), (1, Some(1)), (2, None)] {
        let server = Server::with(|limits| {
            limits.maximum_qos = fieldgate::mqtt::QoS::from_bits(qos).unwrap();
        });
        let (_, connack) = server.try_connect(&Connect::new(V5, "a"));
        let said = said.map(|qos| Property::Byte(id::MAXIMUM_QOS, qos));
        assert_eq!(connack.property(id::MAXIMUM_QOS), said.as_ref());
    }
}

#[test]
fn mqtt_3_2_2_10_and_still_accepts_subscriptions_that_ask_for_more() {
    let server = Server::with(|limits| limits.maximum_qos = fieldgate::mqtt::QoS::AtLeastOnce);
    let mut client = server.client(V5, "a");
    client.send(&subscribe(V5, 1, &[], &[("a", 0), ("b", 1), ("c", 2)]));
    assert_eq!(client.suback().codes, [0, 1, 1]);
}

#[test]
fn mqtt_3_2_2_12_a_will_above_the_maximum_qos_is_refused() {
    let server = Server::with(|limits| limits.maximum_qos = fieldgate::mqtt::QoS::AtLeastOnce);
    let mut will = Will::new("t", "x");
    will.qos = 2;
    let (mut client, connack) = server.try_connect(&Connect::new(V5, "a").will(will));
    assert_eq!(connack.code, 0x9B);
    client.closed();
}

#[test]
fn mqtt_3_2_2_13_a_retained_will_is_refused_where_nothing_is_retained() {
    let server = Server::with(|limits| limits.retained_messages = 0);
    let mut will = Will::new("t", "x");
    will.retain = true;
    let (mut client, connack) = server.try_connect(&Connect::new(V5, "a").will(will));
    assert_eq!(connack.code, 0x9A);
    client.closed();
    let (_, connack) = server.try_connect(&Connect::new(V5, "a"));
    let unavailable = Property::Byte(id::RETAIN_AVAILABLE, 0);
    assert_eq!(connack.property(id::RETAIN_AVAILABLE), Some(&unavailable));
}

#[test]
fn mqtt_3_1_2_28_no_response_information_is_sent_unasked() {
    let server = Server::start();
    let (_, connack) = server.try_connect(&Connect::new(V5, "a"));
    assert_eq!(connack.property(id::RESPONSE_INFORMATION), None);
    let unasked = Connect::new(V5, "a").with(Property::Byte(id::REQUEST_RESPONSE, 0));
    let (_, connack) = server.try_connect(&unasked);
    assert_eq!(connack.property(id::RESPONSE_INFORMATION), None);
}

#[test]
fn mqtt_4_12_0_6_without_an_authentication_method_none_is_answered() {
    let server = Server::start();
    let (mut client, connack) = server.try_connect(&Connect::new(V5, "a"));
    assert_eq!(connack.property(id::AUTHENTICATION_METHOD), None);
    assert_eq!(connack.property(id::AUTHENTICATION_DATA), None);
    client.ping(); // and no AUTH follows
}

/// Shows also [MQTT-3.2.2-20].
#[test]
fn mqtt_3_2_2_19_a_connack_fits_the_client_or_is_not_sent() {
    let server = Server::start();
    for maximum in 1..=64 {
        let connect = Connect::new(V5, "").with(Property::Four(id::MAXIMUM_PACKET_SIZE, maximum));
        let mut client = server.open(V5);
        client.send(&connect.bytes());
        client.limit_packets(maximum as usize);
        // With no room for it there is nothing to be said: then it is closed.
        if client.next().is_some() {
            client.ping();
        }
    }
}

/// Limits that a client has to keep are said, so that it can.
#[test]
fn the_connack_says_what_is_served() {
    let server = Server::with(|limits| {
        limits.receive_maximum = 7;
        limits.packet_size = 5000;
        limits.session_expiry_maximum = std::time::Duration::from_secs(60);
        limits.keep_alive_maximum = std::time::Duration::from_secs(30);
    });
    let connect = Connect::lasting(V5, "a").keep_alive(31);
    let (_, connack) = server.try_connect(&connect);
    for property in [
        Property::Four(id::SESSION_EXPIRY, 60),
        Property::Two(id::RECEIVE_MAXIMUM, 7),
        Property::Four(id::MAXIMUM_PACKET_SIZE, 5000),
        Property::Two(id::SERVER_KEEP_ALIVE, 30),
    ] {
        assert_eq!(connack.property(property.id()), Some(&property));
    }
    // What is said to be available is; to say nothing says it.
    for id in [id::WILDCARD_AVAILABLE, id::SUBSCRIPTION_IDS_AVAILABLE] {
        assert_eq!(connack.property(id), None);
    }
}
