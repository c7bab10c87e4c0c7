//! Topic names and filters: what matches what.

use crate::packet::{Publish, V5, V311, Version, subscribe, unsubscribe};
use crate::server::Server;

rules! {
    mqtt_1_5_4_3_a_byte_order_mark_is_a_character: byte_order_mark(V5);
    mqtt311_1_5_3_3_a_byte_order_mark_is_a_character: byte_order_mark(V311);
    /// Shows also [MQTT-4.7.1-2].
    mqtt_4_7_1_1_wildcards_stand_where_they_may: wildcards(V5);
    /// Shows also [MQTT311-4.7.1-3].
    mqtt311_4_7_1_2_wildcards_stand_where_they_may: wildcards(V311);
    mqtt_4_7_2_1_leading_wildcards_do_not_match_dollar_topics: dollar_topics(V5);
    mqtt311_4_7_2_1_leading_wildcards_do_not_match_dollar_topics: dollar_topics(V311);
    mqtt_4_7_3_1_a_filter_has_a_character: an_empty_filter(V5);
    mqtt311_4_7_3_1_a_filter_has_a_character: an_empty_filter(V311);
    mqtt_4_7_3_3_the_longest_topic_works: the_longest_topic(V5);
    mqtt311_4_7_3_3_the_longest_topic_works: the_longest_topic(V311);
    mqtt_4_7_3_4_nothing_is_normalised: nothing_is_normalised(V5);
    mqtt311_4_7_3_4_nothing_is_normalised: nothing_is_normalised(V311);
}

fn byte_order_mark(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    client.subscribe("\u{FEFF}a/\u{FEFF}b", 0);
    client.tell(&Publish::new("a/b", "x"));
    client.send(&Publish::new("\u{FEFF}a/\u{FEFF}b", "\u{FEFF}").bytes(version));
    let publish = client.publish();
    assert_eq!(publish.topic, "\u{FEFF}a/\u{FEFF}b");
    assert_eq!(publish.text(), "\u{FEFF}");
}

/// What is no filter closes, alone or among others.
fn no_filter(server: &Server, version: Version, filter: &str) {
    for packet in [
        subscribe(version, 9, &[], &[("a", 0), (filter, 0)]),
        unsubscribe(version, 9, &[filter]),
    ] {
        let mut client = server.client(version, "a");
        client.send(&packet);
        client.closed_for(0x81);
    }
}

fn wildcards(version: Version) {
    let server = Server::start();
    for filter in [
        "sport/#/ranking",
        "sport#",
        "#/a",
        "sport+",
        "+sport/a",
        "a/+b",
        "a/b#",
        "##",
        "++",
    ] {
        no_filter(&server, version, filter);
    }
    let mut client = server.client(version, "a");
    let matching: [(&str, &[&str], &[&str]); 8] = [
        (
            "sport/#",
            &["sport", "sport/", "sport/a/b"],
            &["sports", "a/sport"],
        ),
        ("#", &["a", "/", "a/b/c"], &[]),
        ("+", &["a", "\u{1F600}"], &["/a", "a/", "a/b"]),
        ("/+", &["/a", "/"], &["a", "/a/b", "//"]),
        ("+/+", &["/a", "a/b", "/"], &["a", "a/b/c"]),
        ("sport/+", &["sport/", "sport/a"], &["sport", "sport/a/b"]),
        (
            "+/tennis/#",
            &["a/tennis", "/tennis/b/c"],
            &["tennis", "a/b/tennis"],
        ),
        ("a/+/c/#", &["a/b/c", "a//c/d"], &["a/c", "a/b/b/c"]),
    ];
    for (filter, yes, no) in matching {
        client.subscribe(filter, 0);
        for topic in no {
            client.tell(&Publish::new(topic, "x"));
        }
        for topic in yes {
            client.send(&Publish::new(topic, "x").bytes(version));
            assert_eq!(&client.publish().topic, topic, "{filter}");
        }
        client.unsubscribe(filter);
    }
}

fn dollar_topics(version: Version) {
    let server = Server::start();
    let mut client = server.client(version, "a");
    for filter in ["#", "+/#", "+/monitor/a", "+/+/+"] {
        client.subscribe(filter, 0);
    }
    client.tell(&Publish::new("$mine/monitor/a", "x"));
    client.subscribe("$mine/#", 0);
    client.send(&Publish::new("$mine/monitor/a", "x").bytes(version));
    assert_eq!(client.publish().topic, "$mine/monitor/a");
    // A $ further on is a character like others.
    client.send(&Publish::new("a/$b", "x").bytes(version));
    assert_eq!(client.publish().topic, "a/$b");
}

fn an_empty_filter(version: Version) {
    no_filter(&Server::start(), version, "");
}

fn the_longest_topic(version: Version) {
    let server = Server::start();
    let topic = "t".repeat(65_535);
    let mut client = server.client(version, "a");
    client.subscribe(&topic, 1);
    client.send(&Publish::new(&topic, "x").bytes(version));
    assert!(client.publish().topic == topic);
}

fn nothing_is_normalised(version: Version) {
    // Composed and decomposed, case, spaces, empty levels, dots.
    let topics = [
        "\u{e5}", "a\u{30a}", "A", "a", " a", "a/", "/a", "a//b", "a/b", "./a", "a/../b",
    ];
    let server = Server::start();
    for filter in topics {
        let mut client = server.client(version, "a");
        client.subscribe(filter, 0);
        for topic in topics {
            client.send(&Publish::new(topic, "x").bytes(version));
        }
        assert_eq!(client.publish().topic, filter);
        client.ping();
    }
}
