//! Retained messages.

use crate::gateway::Gateway;
use crate::packet::{Connect, Publish, V5, V311, Version, subscribe};
use crate::server::Server;

rules! {
    mqtt_3_3_1_5_the_newest_message_of_a_topic_is_retained: the_newest_is_retained(V5);
    /// Shows also [MQTT311-3.3.1-7].
    mqtt311_3_3_1_5_the_newest_message_of_a_topic_is_retained: the_newest_is_retained(V311);
    /// Shows also [MQTT-3.3.1-7].
    mqtt_3_3_1_6_an_empty_message_removes_what_is_retained: an_empty_message_removes(V5);
    /// Shows also [MQTT311-3.3.1-11].
    mqtt311_3_3_1_10_an_empty_message_removes_what_is_retained: an_empty_message_removes(V311);
    mqtt_3_3_1_8_without_retain_nothing_is_stored_or_removed: without_retain(V5);
    mqtt311_3_3_1_12_without_retain_nothing_is_stored_or_removed: without_retain(V311);
    mqtt_3_3_1_9_retain_handling_0_sends_what_is_retained: a_new_subscription(V5);
    /// Shows also [MQTT311-3.3.1-8].
    mqtt311_3_3_1_6_a_new_subscription_gets_what_is_retained: a_new_subscription(V311);
    a_resumed_session_gets_no_retained_messages_again_in_5: a_resumed_session(V5);
    a_resumed_session_gets_no_retained_messages_again_in_3_1_1: a_resumed_session(V311);
}

fn the_newest_is_retained(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    for (payload, qos) in [("1", 1), ("2", 0), ("3", 2)] {
        client.tell(&Publish::new("t", payload).qos(qos, 5).retain());
        let mut late = server.client(version, "l");
        late.subscribe("t", 2);
        let kept = late.take();
        assert_eq!((kept.text(), kept.qos, kept.retain), (payload, qos, true));
        late.ping();
    }
}

fn an_empty_message_removes(version: Version) {
    let server = Server::start();
    let mut watcher = server.client(version, "w");
    watcher.subscribe("t", 1);
    let mut client = server.client(version, "a");
    for qos in 0..3 {
        client.tell(&Publish::new("t", "x").qos(1, 5).retain());
        assert_eq!(watcher.take().text(), "x");
        client.tell(&Publish::new("t", "").qos(qos, 6).retain());
        let empty = watcher.take();
        assert_eq!((empty.text(), empty.retain), ("", false));
        let mut late = server.client(version, "l");
        late.subscribe("t", 1);
        late.ping();
    }
}

fn without_retain(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.tell(&Publish::new("none", "x").qos(1, 5));
    client.tell(&Publish::new("kept", "x").qos(1, 5).retain());
    client.tell(&Publish::new("kept", "y").qos(1, 5));
    client.tell(&Publish::new("kept", "").qos(1, 5));
    client.subscribe("#", 0);
    let kept = client.publish();
    assert_eq!((&*kept.topic, kept.text()), ("kept", "x"));
    client.ping();
}

/// One of each matching topic, at the lower QoS.
fn a_new_subscription(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    for (number, topic) in ["a/1", "a/2", "a", "b", "a/1/2", "$a/1"].iter().enumerate() {
        let qos = number as u8 % 3;
        client.tell(&Publish::new(topic, topic).qos(qos, 5).retain());
    }
    for (filter, topics) in [
        ("a/+", &["a/1", "a/2"][..]),
        ("a/#", &["a", "a/1", "a/1/2", "a/2"]),
        ("b", &["b"]),
        ("+/1", &["a/1"]),
        ("c/#", &[]),
    ] {
        let mut late = server.client(version, "l");
        late.subscribe(filter, 1);
        let mut got: Vec<Publish> = topics.iter().map(|_| late.take()).collect();
        late.ping();
        got.sort_by(|a, b| a.topic.cmp(&b.topic));
        let names: Vec<&str> = got.iter().map(|publish| &*publish.topic).collect();
        assert_eq!(names, topics, "{filter}");
        for publish in got {
            assert!(publish.retain && publish.qos < 2 && publish.text() == publish.topic);
        }
    }
}

fn a_resumed_session(version: Version) {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.tell(&Publish::new("t", "x").qos(1, 5).retain());
    client.subscribe("t", 1);
    client.take();
    client.leave();
    let mut client = server.connect(&Connect::lasting(version, "a"));
    client.ping();
}

/// Retain Handling 1.
#[test]
fn mqtt_3_3_1_10_only_a_new_subscription_gets_what_is_retained() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.tell(&Publish::new("t", "x").qos(1, 5).retain());
    for new in [true, false, false] {
        client.send(&subscribe(V5, 9, &[], &[("t", 0x10)]));
        assert_eq!(client.suback().codes, [0]);
        if new {
            assert_eq!(client.publish().text(), "x");
        }
        client.ping();
    }
    client.unsubscribe("t");
    client.send(&subscribe(V5, 9, &[], &[("t", 0x10)]));
    assert_eq!(client.suback().codes, [0]);
    assert_eq!(client.publish().text(), "x");
}

/// Retain Handling 2.
#[test]
fn mqtt_3_3_1_11_nothing_retained_is_sent_where_it_is_not_wanted() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.tell(&Publish::new("t", "x").qos(1, 5).retain());
    for _ in 0..2 {
        client.send(&subscribe(V5, 9, &[], &[("t", 0x20)]));
        assert_eq!(client.suback().codes, [0]);
        client.ping();
    }
}

/// More than one step, and more than the window.
#[test]
fn all_that_is_retained_comes_however_much_it_is() {
    const COUNT: usize = 700;
    let server = Server::start();
    let mut client = server.client(V311, "a");
    for number in 0..COUNT {
        let publish = Publish::new(&format!("t/{number}"), "x").qos(1, 5);
        client.tell(&publish.retain());
    }
    client.subscribe("t/+", 1);
    let mut topics: Vec<String> = (0..COUNT).map(|_| client.take().topic).collect();
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), COUNT);
    client.ping();
}

/// Suites and other people's programs subscribe to `#` and `+/+`, and count what comes.
#[test]
fn a_broker_alone_publishes_nothing_but_sys() {
    let gateway = Gateway::nameless(
        "access: [{ anonymous: true, publish: [\"#\"], subscribe: [\"#\", \"$SYS/#\"] }]",
    );
    let mut client = gateway.client(V5, "c");
    client.subscribe("$SYS/broker/version", 0);
    let version = client.publish();
    assert_eq!(version.topic, "$SYS/broker/version");
    client.subscribe("#", 2);
    // A gateway with a status says at its end that it is offline, before clients are told to go.
    gateway.terminate();
    client.closed_for(0x8B);
}
