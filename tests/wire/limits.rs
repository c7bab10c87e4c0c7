//! Limits of packets, both ways.

use crate::client::Client;
use crate::packet::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Property, Publish, V5, V311, ack, id,
    subscribe, unsubscribe,
};
use crate::server::Server;

/// A QoS 0 delivery of `payload` bytes on topic `t` takes 6 more.
fn limited(name: &str, maximum: u32) -> Connect {
    Connect::lasting(V5, name).with(Property::Four(id::MAXIMUM_PACKET_SIZE, maximum))
}

#[test]
fn mqtt_3_1_2_24_no_packet_above_the_clients_maximum_is_sent() {
    let server = Server::start();
    let mut client = server.connect(&limited("a", 60));
    client.limit_packets(60);
    client.subscribe("t", 2);
    let mut other = server.client(V5, "b");
    for len in [0, 10, 53, 54, 55, 60, 1000, 200_000] {
        other.tell(&Publish::new("t", &"x".repeat(len)));
        if len <= 54 {
            assert_eq!(client.take().payload.len(), len);
        }
        client.ping();
    }
}

/// With one place in the window the next one could not come otherwise.
#[test]
fn mqtt_3_1_2_25_what_is_too_large_counts_as_sent() {
    let server = Server::start();
    let connect = limited("a", 60).with(Property::Two(id::RECEIVE_MAXIMUM, 1));
    let mut client = server.connect(&connect);
    client.limit_packets(60);
    client.subscribe("t", 2);
    let mut other = server.client(V5, "b");
    let mut tell = |qos, payload: &str| other.tell(&Publish::new("t", payload).qos(qos, 5));
    for qos in [1, 2] {
        tell(qos, &"x".repeat(100));
        tell(qos, "fits");
        assert_eq!(client.take().text(), "fits");
    }
    // Neither does it come when the client is back with room for it.
    tell(1, "waits");
    let waits = client.publish();
    client.vanish();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    assert_eq!(client.publish().id, waits.id);
    client.ping();
}

/// What was in flight when the client came back with a smaller maximum.
#[test]
fn a_smaller_maximum_packet_size_holds_for_what_is_sent_again() {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    client.subscribe("t", 1);
    let mut other = server.client(V5, "b");
    other.tell(&Publish::new("t", &"x".repeat(100)).qos(1, 5));
    other.tell(&Publish::new("t", "fits").qos(1, 5));
    assert_eq!(client.publish().payload.len(), 100);
    assert_eq!(client.publish().text(), "fits");
    client.vanish();
    let mut client = server.connect(&limited("a", 60));
    client.limit_packets(60);
    assert_eq!(client.take().text(), "fits");
    client.ping();
}

#[test]
fn mqtt_3_2_2_15_a_packet_above_the_servers_maximum_closes() {
    for version in [V5, V311] {
        let server = Server::with(|limits| limits.packet_size = 2000);
        let mut client = server.client(version, "a");
        let rest = if version == V5 { 7 } else { 6 };
        let mut publish = |len: usize| {
            let bytes = Publish::new("t", &"x".repeat(len)).bytes(version);
            client.send(&bytes);
            bytes.len()
        };
        assert_eq!(publish(2000 - rest), 2000);
        assert_eq!(publish(2001 - rest), 2001);
        client.closed_for(0x95);
    }
}

/// Nothing of the body has to be there for that, so nobody can make the broker wait for it.
#[test]
fn a_length_above_the_maximum_closes_at_once() {
    let server = Server::with(|limits| limits.packet_size = 2000);
    for version in [V5, V311] {
        let mut client = server.client(version, "a");
        client.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
        client.closed_for(0x95);
    }
}

/// Shows also [MQTT-3.2.2-14].
#[test]
fn mqtt_3_2_2_11_what_the_connack_ruled_out_closes() {
    let server = Server::with(|limits| {
        limits.maximum_qos = fieldgate::mqtt::QoS::AtLeastOnce;
        limits.retained_messages = 0;
    });
    let mut client = server.client(V5, "a");
    client.send(&Publish::new("t", "x").qos(2, 1).bytes(V5));
    client.closed_for(0x9B);
    let mut client = server.client(V5, "a");
    client.send(&Publish::new("t", "x").retain().bytes(V5));
    client.closed_for(0x9A);
}

#[test]
fn mqtt_3_1_2_29_no_problem_information_where_it_is_not_wanted() {
    let server = Server::with(|limits| {
        limits.subscriptions_per_client = 1;
        limits.retained_messages = 1;
        limits.topic_levels = 3;
    });
    let connect = Connect::new(V5, "a").with(Property::Byte(id::REQUEST_PROBLEM, 0));
    let mut client = server.connect(&connect);
    client.fill_retained();
    let mut nothing_beside = |bytes: &[u8]| {
        client.send(bytes);
        let (codes, properties) = match client.receive() {
            Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubcomp(ack) => {
                (vec![ack.code], ack.properties)
            }
            Packet::Suback(codes) | Packet::Unsuback(codes) => (codes.codes, codes.properties),
            other => panic!("{other:?}"),
        };
        assert_eq!(properties, []);
        codes
    };
    let refused = subscribe(V5, 1, &[], &[("a/b/c/d", 0), ("ok", 0), ("more", 0)]);
    assert_eq!(nothing_beside(&refused), [0x8F, 0, 0x97]);
    let deep = Publish::new("a/b/c/d", "x").qos(1, 2);
    assert_eq!(nothing_beside(&deep.bytes(V5)), [0x90]);
    let full = Publish::new("s", "x").qos(2, 3).retain();
    assert_eq!(nothing_beside(&full.bytes(V5)), [0x97]);
    let unknown = ack(PUBREL, 9);
    assert_eq!(nothing_beside(&unknown), [0x92]);
    let both = unsubscribe(V5, 4, &["none", "ok"]);
    assert_eq!(nothing_beside(&both), [0x11, 0]);
}

/// The smallest Maximum Packet Size with which a client can be let in, and that client.
fn smallest(server: &Server) -> (Client, usize) {
    for maximum in 1..100 {
        let mut client = server.open(V5);
        client.send(&limited("small", maximum).bytes());
        client.limit_packets(maximum as usize);
        if client.next().is_some() {
            return (client, maximum as usize);
        }
    }
    panic!("no CONNACK fits 100 bytes");
}

/// Whatever an answer has to say beside its code, it fits. One of each, refusals above all.
///
/// Shows also [MQTT-3.4.2-3], [MQTT-3.5.2-2], [MQTT-3.5.2-3], [MQTT-3.6.2-2], [MQTT-3.6.2-3], [MQTT-3.7.2-2],
/// [MQTT-3.7.2-3], [MQTT-3.9.2-1], [MQTT-3.9.2-2], [MQTT-3.11.2-1], [MQTT-3.11.2-2], [MQTT-3.14.2-3], [MQTT-3.14.2-4].
#[test]
fn mqtt_3_4_2_2_answers_fit_the_client() {
    let server = Server::with(|limits| {
        limits.subscriptions_per_client = 1;
        limits.retained_messages = 1;
        limits.topic_levels = 3;
    });
    let (mut client, maximum) = smallest(&server);
    client.fill_retained();
    for number in [1, 2] {
        client.send(&Publish::new("a/b/c/d", "x").qos(number, 2).bytes(V5));
        let first = if number == 1 { PUBACK } else { PUBREC };
        assert_eq!(client.ack_of(first, 2).code, 0x90);
    }
    client.send(&Publish::new("s", "x").qos(1, 3).retain().bytes(V5));
    assert_eq!(client.ack_of(PUBACK, 3).code, 0x97);
    client.send(&ack(PUBREC, 9));
    assert_eq!(client.ack_of(PUBREL, 9).code, 0x92);
    client.send(&ack(PUBREL, 9));
    assert_eq!(client.ack_of(PUBCOMP, 9).code, 0x92);
    for (filter, code) in [("a/b/c/d", 0x8F), ("ok", 0), ("more", 0x97)] {
        client.send(&subscribe(V5, 4, &[], &[(filter, 0)]));
        assert_eq!(client.suback().codes, [code]);
    }
    client.send(&unsubscribe(V5, 5, &["none"]));
    assert!(matches!(client.receive(), Packet::Unsuback(codes) if codes.codes == [0x11]));
    let mut again = server.connect(&limited("small", maximum as u32));
    assert_eq!(client.disconnected().0, 0x8E);
    again.limit_packets(maximum);
    again.send(&Publish::new("", "x").bytes(V5));
    assert_eq!(again.disconnected().0, 0x82);
}
