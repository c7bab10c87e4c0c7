//! Flow control: Receive Maximum both ways.

use crate::packet::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Property, Publish, V5, V311, ack, id, subscribe,
};
use crate::server::Server;

fn with_receive_maximum(name: &str, maximum: u16) -> Connect {
    Connect::lasting(V5, name).with(Property::Two(id::RECEIVE_MAXIMUM, maximum))
}

/// Shows also [MQTT-4.9.0-1], [MQTT-4.9.0-2].
#[test]
fn mqtt_3_3_4_9_the_receive_maximum_of_the_client_is_kept() {
    let server = Server::start();
    for maximum in [1, 2, 5] {
        let mut client = server.connect(&with_receive_maximum("a", maximum));
        client.subscribe("t", 2);
        let mut other = server.client(V5, "b");
        for number in 0..12_u8 {
            other.tell(&Publish::new("t", &number.to_string()).qos(1 + number % 2, 5));
        }
        let mut open: Vec<Publish> = (0..maximum).map(|_| client.publish()).collect();
        for number in 0..12_u16 {
            client.ping(); // no more for now
            let first = open.remove(0);
            assert_eq!(first.text(), number.to_string());
            if first.qos == 2 {
                // A PUBREC makes no room, only the PUBCOMP does.
                client.send(&ack(PUBREC, first.id.unwrap()));
                client.ack_of(PUBREL, first.id.unwrap());
                client.ping();
                client.send(&ack(PUBCOMP, first.id.unwrap()));
            } else {
                client.send(&ack(PUBACK, first.id.unwrap()));
            }
            if number + maximum < 12 {
                open.push(client.publish());
            }
        }
        client.ping();
        client.leave();
    }
}

/// Shows also [MQTT-4.9.0-3].
#[test]
fn mqtt_3_3_4_10_other_packets_are_sent_at_the_receive_maximum() {
    let server = Server::start();
    let mut client = server.connect(&with_receive_maximum("a", 1));
    client.subscribe("t", 1);
    let mut other = server.client(V5, "b");
    other.tell(&Publish::new("t", "1").qos(1, 5));
    other.tell(&Publish::new("t", "2").qos(1, 5));
    let first = client.publish();
    client.ping();
    client.send(&subscribe(V5, 2, &[], &[("s", 0)]));
    assert_eq!(client.suback().codes, [0]);
    other.tell(&Publish::new("s", "at QoS 0"));
    assert_eq!(client.publish().text(), "at QoS 0");
    client.tell(&Publish::new("u", "x").qos(2, 9));
    client.unsubscribe("s");
    client.acknowledge(&first);
    assert_eq!(client.take().text(), "2");
}

/// A PUBREC that refuses makes room, too.
#[test]
fn a_refusing_pubrec_gives_its_place_back() {
    let server = Server::start();
    let mut client = server.connect(&with_receive_maximum("a", 1));
    client.subscribe("t", 2);
    let mut other = server.client(V5, "b");
    for text in ["1", "2"] {
        other.tell(&Publish::new("t", text).qos(2, 5));
    }
    let first = client.publish();
    client.ping();
    client.send(&crate::packet::ack_with(PUBREC, first.id.unwrap(), 0x97));
    assert_eq!(client.take().text(), "2");
}

/// The window has one place, so the others have not come again when they are acknowledged.
#[test]
fn what_is_acknowledged_before_it_comes_again_is_done() {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    client.subscribe("t", 1);
    let mut other = server.client(V5, "b");
    for number in 0..3 {
        other.tell(&Publish::new("t", &number.to_string()).qos(1, 5));
    }
    let got: Vec<Publish> = (0..3).map(|_| client.publish()).collect();
    client.vanish();
    let mut client = server.connect(&with_receive_maximum("a", 1));
    assert_eq!(client.publish().id, got[0].id);
    for publish in got.iter().rev() {
        client.send(&ack(PUBACK, publish.id.unwrap()));
    }
    other.tell(&Publish::new("t", "next").qos(1, 5));
    // What was in the store, and not read yet, may come once more.
    while client.take().text() != "next" {}
}

#[test]
fn mqtt_3_3_4_7_more_than_the_receive_maximum_of_the_server_closes() {
    let server = Server::with(|limits| limits.receive_maximum = 3);
    let mut client = server.client(V5, "a");
    for number in 1..=3 {
        client.send(&Publish::new("t", "x").qos(2, number).bytes(V5));
        client.ack_of(PUBREC, number);
    }
    client.send(&ack(PUBREL, 2));
    client.ack_of(PUBCOMP, 2);
    client.send(&Publish::new("t", "x").qos(2, 4).bytes(V5));
    client.ack_of(PUBREC, 4);
    client.send(&Publish::new("t", "x").bytes(V5)); // QoS 0 does not count
    client.ping();
    client.send(&Publish::new("t", "x").qos(2, 5).bytes(V5));
    client.closed_for(0x93);
}

/// 3.1.1 knows no such limit, so its clients cannot keep it.
#[test]
fn a_client_of_3_1_1_has_no_receive_maximum_to_keep() {
    let server = Server::with(|limits| limits.receive_maximum = 3);
    let mut client = server.client(V311, "a");
    for number in 1..=200 {
        client.send(&Publish::new("t", "x").qos(2, number).bytes(V311));
        client.ack_of(PUBREC, number);
    }
    client.ping();
}
