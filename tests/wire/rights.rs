//! Rights as a client meets them: what it may not do is answered as its version can.

use crate::gateway::Gateway;
use crate::packet::{Connect, PUBACK, PUBREC, Publish, V5, V311, Version, Will, subscribe};

/// Anonymous clients write to `in/` and read `out/`, each its own part of `own/`.
const ACCESS: &str = "\
access:
  - anonymous: true
    publish: [\"in/#\", \"out/#\", \"own/{client_id}/#\"]
    subscribe: [\"out/#\", \"own/{client_id}/#\"]
";

fn gateway() -> Gateway {
    Gateway::with(&["anonymous: true"], ACCESS)
}

rules! {
    a_subscription_that_is_not_allowed_is_refused_in_5: subscriptions(V5, 0x87);
    a_subscription_that_is_not_allowed_is_refused_in_3_1_1: subscriptions(V311, 0x80);
    a_will_that_is_not_allowed_is_refused_in_5: a_will(V5, 0x87);
    a_will_that_is_not_allowed_is_refused_in_3_1_1: a_will(V311, 5);
    a_name_that_nothing_can_verify_comes_in_as_anonymous_in_5: an_unverified_name(V5);
    a_name_that_nothing_can_verify_comes_in_as_anonymous_in_3_1_1: an_unverified_name(V311);
    a_wildcard_delivers_only_what_may_be_read_in_5: a_wildcard(V5);
    a_wildcard_delivers_only_what_may_be_read_in_3_1_1: a_wildcard(V311);
}

fn subscriptions(version: Version, refused: u8) {
    let gateway = gateway();
    let mut client = gateway.client(version, "c1");
    let filters = [
        ("out/a", 1),
        ("in/a", 1),
        ("own/c1/x", 0),
        ("own/c2/x", 0),
        ("in/#", 2),
    ];
    client.send(&subscribe(version, 9, &[], &filters));
    let suback = client.suback();
    assert_eq!(suback.codes, [1, refused, 0, refused, refused]);
}

/// It would be published in the client's name.
fn a_will(version: Version, refused: u8) {
    let gateway = gateway();
    let connect = Connect::new(version, "c1");
    let allowed = connect.clone().will(Will::new("in/gone", "x"));
    gateway.connect(&allowed).leave();
    let (mut client, connack) = gateway.try_connect(&connect.will(Will::new("other", "x")));
    assert_eq!((connack.code, connack.session_present), (refused, false));
    client.closed();
}

/// Many clients and suites give a name whether it is asked for or not.
fn an_unverified_name(version: Version) {
    let gateway = Gateway::with(
        &["anonymous: true"],
        &format!("{ACCESS}  - {{ user: boss, publish: [\"#\"], subscribe: [\"#\"] }}\n"),
    );
    let connect = Connect::new(version, "c1").user("boss", "x");
    let mut client = gateway.connect(&connect);
    client.subscribe("out/a", 0);
    let refused = if version == V5 { 0x87 } else { 0x80 };
    client.send(&subscribe(version, 9, &[], &[("in/a", 0)]));
    assert_eq!(client.suback().codes, [refused]);
}

fn a_wildcard(version: Version) {
    let gateway = gateway();
    let mut client = gateway.client(version, "c1");
    client.subscribe("#", 1);
    let mut publisher = gateway.client(version, "c2");
    publisher.tell(&Publish::new("in/a", "secret").qos(1, 1));
    publisher.tell(&Publish::new("in/b", "secret").qos(1, 2).retain());
    publisher.tell(&Publish::new("own/c2/a", "secret").qos(1, 3));
    publisher.tell(&Publish::new("out/a", "open").qos(1, 4));
    let publish = client.take();
    assert_eq!((&*publish.topic, publish.text()), ("out/a", "open"));
    // Nor does what is retained reach it.
    client.subscribe("+/b", 1);
    client.ping();
}

/// Not delivered; acknowledged, or closed: a client of 3.1.1 cannot be told.
#[test]
fn mqtt311_3_3_5_2_a_publish_that_is_not_allowed_is_acknowledged_or_closed() {
    let gateway = gateway();
    let mut watcher = gateway.client(V311, "w");
    watcher.subscribe("#", 1);
    for qos in 1..3 {
        let mut client = gateway.client(V311, "c1");
        client.send(&Publish::new("other", "x").qos(qos, 7).bytes(V311));
        if let Some(packet) = client.next() {
            use crate::packet::Packet::{Puback, Pubrec};
            assert!(matches!(packet, Puback(ack) | Pubrec(ack) if ack.id == 7));
            client.ping();
        }
    }
    watcher.ping();
}

#[test]
fn a_publish_that_is_not_allowed_is_told_so_in_5() {
    let gateway = gateway();
    let mut client = gateway.client(V5, "c1");
    client.send(&Publish::new("other", "x").qos(1, 7).bytes(V5));
    assert_eq!(client.ack_of(PUBACK, 7).code, 0x87);
    client.send(&Publish::new("own/c2/x", "x").qos(2, 8).bytes(V5));
    assert_eq!(client.ack_of(PUBREC, 8).code, 0x87);
    client.send(&Publish::new("other", "x").bytes(V5));
    client.tell(&Publish::new("own/c1/x", "x").qos(2, 9));
    client.ping();
}
