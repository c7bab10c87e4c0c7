//! UNSUBSCRIBE and UNSUBACK.

use crate::packet::{Codes, Packet, Publish, V5, V311, Version, unsubscribe};
use crate::server::Server;

rules! {
    mqtt_3_10_4_4_unsubscribe_is_answered: unsubscribe_is_answered(V5);
    mqtt311_3_10_4_4_unsubscribe_is_answered: unsubscribe_is_answered(V311);
    mqtt_3_10_4_5_unsuback_has_the_identifier_though_nothing_was_deleted: nothing_to_delete(V5);
    mqtt311_3_10_4_5_unsuback_has_the_identifier_though_nothing_was_deleted: nothing_to_delete(V311);
    mqtt_3_10_4_1_filters_are_compared_character_by_character: filters_are_compared(V5);
    mqtt311_3_10_4_1_filters_are_compared_character_by_character: filters_are_compared(V311);
    mqtt_3_10_4_2_nothing_new_comes: nothing_new_comes(V5);
    mqtt311_3_10_4_2_nothing_new_comes: nothing_new_comes(V311);
    mqtt_3_10_4_3_what_has_begun_is_completed: what_has_begun_is_completed(V5);
    mqtt311_3_10_4_3_what_has_begun_is_completed: what_has_begun_is_completed(V311);
    mqtt_3_10_4_6_several_filters_have_one_answer: several_filters(V5);
    mqtt311_3_10_4_6_several_filters_have_one_answer: several_filters(V311);
}

fn answer(version: Version, id: u16, codes: &[u8]) -> Packet {
    let codes = if version == V5 { codes } else { &[] };
    Packet::Unsuback(Codes {
        id,
        codes: codes.to_vec(),
        properties: Vec::new(),
    })
}

fn unsubscribe_is_answered(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    for id in [1, 0x0100, u16::MAX] {
        client.subscribe("t", 0);
        client.send(&unsubscribe(version, id, &["t"]));
        assert_eq!(client.receive(), answer(version, id, &[0]));
    }
}

fn nothing_to_delete(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.send(&unsubscribe(version, 9, &["t"]));
    assert_eq!(client.receive(), answer(version, 9, &[0x11]));
}

fn filters_are_compared(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("a/+", 0);
    let others = ["a/#", "#", "a/b", "A/+", "a/+/", "+/+"];
    client.send(&unsubscribe(version, 9, &others));
    assert_eq!(client.receive(), answer(version, 9, &[0x11; 6]));
    client.send(&Publish::new("a/b", "x").bytes(version));
    assert_eq!(client.publish().text(), "x");
    client.unsubscribe("a/+");
    client.tell(&Publish::new("a/b", "x"));
}

fn nothing_new_comes(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("t", 2);
    let mut other = server.client(version, "b");
    other.tell(&Publish::new("t", "before").qos(2, 5));
    assert_eq!(client.take().text(), "before");
    client.unsubscribe("t");
    for qos in 0..3 {
        other.tell(&Publish::new("t", "after").qos(qos, 5));
    }
    client.ping();
}

fn what_has_begun_is_completed(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("t", 2);
    let mut other = server.client(version, "b");
    for qos in [1, 2] {
        other.tell(&Publish::new("t", "x").qos(qos, 5));
    }
    let begun = [client.publish(), client.publish()];
    client.unsubscribe("t");
    begun.iter().for_each(|publish| client.acknowledge(publish));
    client.ping();
}

/// Shows also [MQTT-3.11.3-2].
#[test]
fn mqtt_3_11_3_1_the_codes_are_in_the_order_of_the_filters() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.subscribe("a", 0);
    client.subscribe("c", 0);
    client.send(&unsubscribe(V5, 9, &["a", "b", "c", "a"]));
    assert_eq!(client.receive(), answer(V5, 9, &[0, 0x11, 0, 0x11]));
}

fn several_filters(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    for filter in ["a", "b", "c"] {
        client.subscribe(filter, 0);
    }
    client.send(&unsubscribe(version, 9, &["c", "a"]));
    assert_eq!(client.receive(), answer(version, 9, &[0, 0]));
    for topic in ["a", "b", "c"] {
        client.send(&Publish::new(topic, "x").bytes(version));
    }
    assert_eq!(client.publish().topic, "b");
    client.ping();
}
