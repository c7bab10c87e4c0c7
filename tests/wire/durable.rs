//! Sessions over a `kill -9` of the broker: what was acknowledged is there, and goes on where it stopped.

use crate::gateway::Gateway;
use crate::packet::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Property, Publish, V5, V311, Version, Will, ack, id,
};

rules! {
    queued_messages_outlive_the_broker_in_5: queued_messages(V5);
    queued_messages_outlive_the_broker_in_3_1_1: queued_messages(V311);
    deliveries_go_on_with_their_identifiers_in_5: deliveries_go_on(V5);
    deliveries_go_on_with_their_identifiers_in_3_1_1: deliveries_go_on(V311);
    a_qos_2_message_is_taken_once_in_5: qos_2_in(V5);
    a_qos_2_message_is_taken_once_in_3_1_1: qos_2_in(V311);
    retained_messages_outlive_the_broker_in_5: retained(V5);
    retained_messages_outlive_the_broker_in_3_1_1: retained(V311);
    a_clean_session_does_not_outlive_the_broker_in_5: clean(V5);
    a_clean_session_does_not_outlive_the_broker_in_3_1_1: clean(V311);
    unsubscribed_stays_unsubscribed_in_5: unsubscribed(V5);
    unsubscribed_stays_unsubscribed_in_3_1_1: unsubscribed(V311);
    a_will_of_a_session_is_published_after_a_crash_in_5: a_will(V5);
    a_will_of_a_session_is_published_after_a_crash_in_3_1_1: a_will(V311);
}

fn queued_messages(version: Version) {
    let mut gateway = Gateway::start();
    let mut client = gateway.connect(&Connect::lasting(version, "a"));
    client.subscribe("t/+", 2);
    client.leave();
    let mut other = gateway.client(version, "b");
    for number in 0..50 {
        let publish = Publish::new(&format!("t/{}", number % 3), &number.to_string());
        other.tell(&publish.qos(1 + number % 2, 5));
    }
    gateway.kill_and_restart();
    let (mut client, connack) = gateway.try_connect(&Connect::lasting(version, "a"));
    assert!(connack.session_present);
    for number in 0..50 {
        let publish = client.take();
        assert_eq!(publish.text(), number.to_string());
        assert_eq!(publish.qos, 1 + number % 2);
    }
    client.ping();
    // The subscription is still there.
    gateway
        .client(version, "b")
        .tell(&Publish::new("t/1", "new").qos(1, 5));
    assert_eq!(client.take().text(), "new");
}

/// QoS 2 was sent, or released; what was done does not come again.
fn deliveries_go_on(version: Version) {
    let mut gateway = Gateway::start();
    let mut client = gateway.connect(&Connect::lasting(version, "a"));
    client.subscribe("t", 2);
    let mut other = gateway.client(version, "b");
    for text in ["done", "released", "sent"] {
        other.tell(&Publish::new("t", text).qos(2, 5));
    }
    let done = client.take();
    let released = client.publish();
    let sent = client.publish();
    assert_eq!(
        (done.text(), released.text(), sent.text()),
        ("done", "released", "sent")
    );
    client.send(&ack(PUBREC, released.id.unwrap()));
    client.ack_of(PUBREL, released.id.unwrap());
    gateway.kill_and_restart();
    let mut client = gateway.connect(&Connect::lasting(version, "a"));
    // That "done" was done need not have been stored yet: then its PUBREL comes again.
    let mut next = client.receive();
    if let crate::packet::Packet::Pubrel(pubrel) = &next
        && Some(pubrel.id) == done.id
    {
        client.send(&ack(PUBCOMP, pubrel.id));
        next = client.receive();
    }
    match next {
        crate::packet::Packet::Pubrel(pubrel) => assert_eq!(Some(pubrel.id), released.id),
        other => panic!("{other:?}"),
    }
    client.send(&ack(PUBCOMP, released.id.unwrap()));
    let again = client.publish();
    assert_eq!((again.id, again.dup, again.text()), (sent.id, true, "sent"));
    client.acknowledge(&again);
    client.ping();
}

/// A publisher that does not know whether its PUBREL came sends it again; one that does not know about its PUBLISH, that.
fn qos_2_in(version: Version) {
    let mut gateway = Gateway::start();
    let mut watcher = gateway.connect(&Connect::lasting(version, "w"));
    watcher.subscribe("t", 2);
    watcher.leave();
    let publish = |text: &str, number| Publish::new("t", text).qos(2, number);
    let mut client = gateway.connect(&Connect::lasting(version, "a"));
    client.send(&publish("1", 1).bytes(version));
    client.ack_of(PUBREC, 1);
    client.send(&publish("2", 2).bytes(version));
    client.ack_of(PUBREC, 2);
    client.send(&ack(PUBREL, 2));
    client.ack_of(PUBCOMP, 2);
    gateway.kill_and_restart();
    let mut client = gateway.connect(&Connect::lasting(version, "a"));
    client.send(&publish("1", 1).dup().bytes(version));
    client.ack_of(PUBREC, 1);
    client.send(&ack(PUBREL, 1));
    assert_eq!(client.ack_of(PUBCOMP, 1).code, 0);
    client.tell(&publish("3", 2)); // a new message: the identifier was free again
    let mut watcher = gateway.connect(&Connect::lasting(version, "w"));
    for text in ["1", "2", "3"] {
        assert_eq!(watcher.take().text(), text);
    }
    watcher.ping();
}

fn retained(version: Version) {
    let mut gateway = Gateway::start();
    let mut client = gateway.client(version, "a");
    client.tell(&Publish::new("kept", "1").qos(1, 1).retain());
    client.tell(&Publish::new("kept", "2").qos(2, 1).retain());
    client.tell(&Publish::new("gone", "1").qos(1, 1).retain());
    client.tell(&Publish::new("gone", "").qos(1, 1).retain());
    gateway.kill_and_restart();
    let mut client = gateway.client(version, "a");
    client.subscribe("+", 2);
    let publish = client.take();
    assert_eq!((&*publish.topic, publish.text()), ("kept", "2"));
    assert_eq!((publish.qos, publish.retain), (2, true));
    client.ping();
}

fn clean(version: Version) {
    let mut gateway = Gateway::start();
    let mut client = gateway.client(version, "a");
    client.subscribe("t", 1);
    gateway.kill_and_restart();
    let (_, connack) = gateway.try_connect(&Connect::lasting(version, "a"));
    assert!(!connack.session_present);
}

fn unsubscribed(version: Version) {
    let mut gateway = Gateway::start();
    let mut client = gateway.connect(&Connect::lasting(version, "a"));
    client.subscribe("t", 1);
    client.unsubscribe("t");
    gateway.kill_and_restart();
    let mut client = gateway.connect(&Connect::lasting(version, "a"));
    gateway
        .client(version, "b")
        .tell(&Publish::new("t", "x").qos(1, 5));
    client.ping();
}

/// As if its connection had broken at the start.
fn a_will(version: Version) {
    let mut gateway = Gateway::start();
    let mut watcher = gateway.connect(&Connect::lasting(version, "w"));
    watcher.subscribe("gone/#", 1);
    let will = |name: &str| Will::new(&format!("gone/{name}"), name);
    let mut left = Connect::lasting(version, "left").will(will("left"));
    if version == V5 {
        left = left.with(Property::Four(id::SESSION_EXPIRY, 3600));
    }
    gateway.connect(&left).leave();
    let mut there = gateway.connect(&Connect::lasting(version, "there").will(will("there")));
    there.ping();
    gateway.kill_and_restart();
    let mut watcher = gateway.connect(&Connect::lasting(version, "w"));
    assert_eq!(watcher.take().text(), "there");
    watcher.ping();
}

/// Packet identifiers of a session count on from 1.
#[test]
fn the_first_identifier_of_a_session_is_1() {
    let gateway = Gateway::start();
    let mut client = gateway.connect(&Connect::lasting(V311, "a"));
    client.subscribe("t", 1);
    let mut other = gateway.client(V311, "b");
    for number in 1..=3 {
        other.tell(&Publish::new("t", "x").qos(1, 5));
        let publish = client.publish();
        assert_eq!(publish.id, Some(number));
        client.send(&ack(PUBACK, number));
    }
}
