//! The end of a connection: DISCONNECT both ways, PINGREQ before it.

use crate::packet::{Connect, Packet, Publish, V5, V311, Version, disconnect, frame, id};
use crate::server::Server;

rules! {
    mqtt_3_12_4_1_pingreq_is_answered: pingreq_is_answered(V5);
    mqtt311_3_12_4_1_pingreq_is_answered: pingreq_is_answered(V311);
    /// Shows also [MQTT-3.14.4-2].
    mqtt_3_14_4_1_nothing_is_processed_after_disconnect: nothing_after_disconnect(V5);
    nothing_is_processed_after_disconnect_in_3_1_1: nothing_after_disconnect(V311);
}

fn pingreq_is_answered(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.ping();
    client.send(&[0xC0, 0, 0xC0, 0, 0xC0, 0]);
    for _ in 0..3 {
        assert_eq!(client.receive(), Packet::Pingresp);
    }
}

/// The server closes and sends nothing more itself.
fn nothing_after_disconnect(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("#", 1);
    let mut client = server.client(version, "a");
    let mut bytes = Publish::new("t", "before").qos(1, 1).bytes(version);
    bytes.extend(disconnect());
    bytes.extend(Publish::new("t", "after").qos(1, 2).bytes(version));
    client.send(&bytes);
    client.ack_of(crate::packet::PUBACK, 1);
    client.closed();
    assert_eq!(watcher.take().text(), "before");
    watcher.ping();
}

/// Shows also [MQTT-3.14.2-1].
#[test]
fn mqtt_3_14_2_2_a_disconnect_of_the_server_has_no_session_expiry() {
    let server = Server::start();
    let mut taken_over = server.connect(&Connect::lasting(V5, "a"));
    let mut other = server.connect(&Connect::lasting(V5, "a"));
    let (code, properties) = taken_over.disconnected();
    assert_eq!(code, 0x8E);
    assert!(crate::packet::find(&properties, id::SESSION_EXPIRY).is_none());
    server.stop();
    let (code, properties) = other.disconnected();
    assert_eq!(code, 0x8B);
    assert!(crate::packet::find(&properties, id::SESSION_EXPIRY).is_none());
}

/// Before CONNACK there is nobody to say it to.
#[test]
fn mqtt_3_14_0_1_no_disconnect_comes_before_connack() {
    let server = Server::start();
    for bytes in [
        frame(0xE0, &[]),
        frame(0xF0, &[]),
        frame(0x10, &[0, 4, b'M', b'Q', b'T', b'T', 5, 1]),
        Connect::new(V5, "a").bytes_with_flags(0x03),
        vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    ] {
        let mut client = server.open(V5);
        client.send(&bytes);
        client.closed();
    }
}

#[test]
fn the_end_of_the_broker_closes_clients_of_3_1_1() {
    let server = Server::start();
    let mut client = server.client(V311, "a");
    server.stop();
    client.closed();
}
