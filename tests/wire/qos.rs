//! The delivery protocols of QoS 0, 1 and 2, both ways.

use crate::packet::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Publish, V5, V311, Version, ack, ack_with,
};
use crate::server::Server;

rules! {
    /// Shows also [MQTT-2.2.1-5], [MQTT-4.3.2-4], [MQTT-4.3.3-8], [MQTT-4.3.3-11].
    mqtt_3_3_4_1_a_publish_is_answered_as_its_qos_asks: answers(V5);
    /// Shows also [MQTT311-2.3.1-6].
    mqtt311_3_3_4_1_a_publish_is_answered_as_its_qos_asks: answers(V311);
    mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message: identifiers_are_free_after_puback(V5);
    mqtt311_4_3_2_2_after_puback_the_identifier_is_a_new_message: identifiers_are_free_after_puback(V311);
    /// Shows also [MQTT-4.3.3-12].
    mqtt_4_3_3_10_until_pubrel_a_repeated_publish_is_not_delivered_again: qos_2_is_delivered_once(V5);
    mqtt311_4_3_3_2_until_pubrel_a_repeated_publish_is_not_delivered_again: qos_2_is_delivered_once(V311);
    /// Shows also [MQTT-4.3.2-1], [MQTT-4.3.2-2], [MQTT-4.3.3-1], [MQTT-4.3.3-2].
    mqtt_2_2_1_4_each_delivery_has_an_identifier_that_is_not_in_use: identifiers_of_deliveries(V5);
    /// Shows also [MQTT311-2.3.1-4].
    mqtt311_4_3_2_1_each_delivery_has_an_identifier_that_is_not_in_use: identifiers_of_deliveries(V311);
    mqtt_4_3_3_4_pubrec_is_answered_by_pubrel: pubrec_is_answered(V5);
    mqtt311_4_3_3_1_pubrec_is_answered_by_pubrel: pubrec_is_answered(V311);
    qos_2_survives_a_reconnect_of_its_publisher_in_5: qos_2_over_a_reconnect(V5);
    qos_2_survives_a_reconnect_of_its_publisher_in_3_1_1: qos_2_over_a_reconnect(V311);
    acknowledgements_of_what_is_unknown_do_no_harm_in_5: unknown_acknowledgements(V5, 0x92);
    acknowledgements_of_what_is_unknown_do_no_harm_in_3_1_1: unknown_acknowledgements(V311, 0);
}

/// Shows also [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]: every answer in these tests is read
/// strictly, and here is one of each.
#[test]
fn mqtt_2_1_3_1_the_answers_of_the_broker_are_well_formed() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.subscribe("t", 2);
    client.send(&Publish::new("t", "x").qos(1, 1).bytes(V5));
    client.send(&Publish::new("t", "y").qos(2, 2).bytes(V5));
    client.send(&ack(PUBREL, 2));
    let mut kinds = [false; 4];
    while kinds.contains(&false) {
        match client.receive() {
            Packet::Publish(publish) => client.send(&ack(
                if publish.qos == 1 { PUBACK } else { PUBREC },
                publish.id.unwrap(),
            )),
            Packet::Puback(_) => kinds[0] = true,
            Packet::Pubrec(_) => kinds[1] = true,
            Packet::Pubrel(_) => kinds[2] = true,
            Packet::Pubcomp(_) => kinds[3] = true,
            other => panic!("{other:?}"),
        }
    }
}

fn answers(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.send(&Publish::new("t", "x").bytes(version));
    client.ping();
    for number in [1, 0x1234, u16::MAX] {
        client.send(&Publish::new("t", "x").qos(1, number).bytes(version));
        client.ack_of(PUBACK, number);
        client.send(&Publish::new("t", "x").qos(2, number).bytes(version));
        client.ack_of(PUBREC, number);
        client.send(&ack(PUBREL, number));
        client.ack_of(PUBCOMP, number);
    }
    client.ping();
}

fn identifiers_are_free_after_puback(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("t", 1);
    let mut client = server.client(version, "a");
    let publish = Publish::new("t", "x").qos(1, 7);
    for publish in [publish.clone(), publish.clone(), publish.dup()] {
        client.tell(&publish);
        assert_eq!(watcher.take().text(), "x");
    }
}

fn qos_2_is_delivered_once(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("t", 2);
    let mut client = server.client(version, "a");
    let publish = Publish::new("t", "x").qos(2, 7);
    for publish in [
        publish.clone(),
        publish.clone().dup(),
        publish.clone().dup(),
    ] {
        client.send(&publish.bytes(version));
        client.ack_of(PUBREC, 7);
    }
    assert_eq!(watcher.take().text(), "x");
    watcher.ping();
    client.send(&ack(PUBREL, 7));
    client.ack_of(PUBCOMP, 7);
    client.tell(&publish);
    assert_eq!(watcher.take().text(), "x");
    watcher.ping();
}

fn identifiers_of_deliveries(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("t", 2);
    let mut other = server.client(version, "b");
    let mut in_flight = Vec::new();
    for round in 0..60 {
        let qos = 1 + round % 2;
        other.tell(&Publish::new("t", "x").qos(qos, 5));
        let publish = client.publish();
        assert_eq!((publish.qos, publish.dup), (qos, false));
        assert!(
            in_flight
                .iter()
                .all(|other: &Publish| other.id != publish.id)
        );
        in_flight.push(publish);
        if in_flight.len() == 15 {
            let done = in_flight.swap_remove(usize::from(round) % 15);
            client.acknowledge(&done);
        }
    }
}

fn pubrec_is_answered(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("t", 2);
    server
        .client(version, "b")
        .tell(&Publish::new("t", "x").qos(2, 5));
    let number = client.publish().id.unwrap();
    client.ping(); // not before PUBREC
    client.send(&ack(PUBREC, number));
    client.ack_of(PUBREL, number);
    client.ping(); // and once
    client.send(&ack(PUBREC, number));
    client.ack_of(PUBREL, number);
    client.send(&ack(PUBCOMP, number));
    client.ping();
}

fn qos_2_over_a_reconnect(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("t", 2);
    let publish = Publish::new("t", "x").qos(2, 7);
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.send(&publish.bytes(version));
    client.ack_of(PUBREC, 7);
    client.vanish();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.send(&publish.dup().bytes(version));
    client.ack_of(PUBREC, 7);
    client.send(&ack(PUBREL, 7));
    assert_eq!(client.ack_of(PUBCOMP, 7).code, 0);
    assert_eq!(watcher.take().text(), "x");
    watcher.ping();
}

fn unknown_acknowledgements(version: Version, code: u8) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.send(&ack(PUBACK, 9));
    client.send(&ack(PUBCOMP, 9));
    client.ping();
    client.send(&ack(PUBREC, 9));
    assert_eq!(client.ack_of(PUBREL, 9).code, code);
    client.send(&ack(PUBREL, 9));
    assert_eq!(client.ack_of(PUBCOMP, 9).code, code);
    client.ping();
}

/// With a store of retained messages that is full, the broker refuses.
#[test]
fn mqtt_4_3_3_9_after_a_refusing_pubrec_the_identifier_is_a_new_message() {
    let server = Server::with(|limits| limits.retained_messages = 1);
    let mut client = server.client(V5, "a");
    client.fill_retained();
    let mut watcher = server.client(V5, "w");
    watcher.subscribe("t", 0);
    client.send(&Publish::new("t", "x").qos(2, 7).retain().bytes(V5));
    assert_eq!(client.ack_of(PUBREC, 7).code, 0x97);
    watcher.ping();
    client.tell(&Publish::new("t", "y").qos(2, 7));
    assert_eq!(watcher.take().text(), "y");
}

#[test]
fn a_refused_delivery_is_over() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.subscribe("t", 2);
    let mut other = server.client(V5, "b");
    for qos in [1, 2] {
        other.tell(&Publish::new("t", "x").qos(qos, 5));
        let number = client.publish().id.unwrap();
        let first = if qos == 1 { PUBACK } else { PUBREC };
        client.send(&ack_with(first, number, 0x80));
        client.ping();
    }
}
