//! Topic aliases, both ways.

use crate::packet::{Connack, Connect, Property, Publish, V5, id};
use crate::server::Server;

fn alias(alias: u16) -> Property {
    Property::Two(id::TOPIC_ALIAS, alias)
}

/// How many the server grants.
fn granted(connack: &Connack) -> u16 {
    match connack.property(id::TOPIC_ALIAS_MAXIMUM) {
        Some(Property::Two(_, maximum)) => *maximum,
        _ => 0,
    }
}

#[test]
fn mqtt_3_3_2_12_every_alias_within_the_maximum_is_taken() {
    let server = Server::start();
    let (mut client, connack) = server.try_connect(&Connect::new(V5, "a"));
    client.subscribe("+", 0);
    let maximum = granted(&connack);
    assert_ne!(maximum, 0, "aliases are served");
    for number in 1..=maximum {
        let topic = number.to_string();
        let named = Publish::new(&topic, "x").with(alias(number));
        client.send(&named.bytes(V5));
        let publish = client.publish();
        assert_eq!(publish.topic, topic);
        assert_eq!(
            publish.properties,
            [],
            "an alias is of one connection and direction"
        );
    }
    for number in (1..=maximum).rev() {
        client.send(&Publish::new("", "y").with(alias(number)).bytes(V5));
        assert_eq!(client.publish().topic, number.to_string());
    }
    // It may be given another topic.
    client.send(&Publish::new("other", "x").with(alias(1)).bytes(V5));
    assert_eq!(client.publish().topic, "other");
    client.send(&Publish::new("", "x").qos(1, 1).with(alias(1)).bytes(V5));
    assert_eq!(client.publish().topic, "other");
    assert_eq!(client.ack_of(crate::packet::PUBACK, 1).code, 0);
}

#[test]
fn mqtt_3_3_2_7_an_alias_ends_with_its_connection() {
    let server = Server::start();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    client.tell(&Publish::new("t", "x").with(alias(1)));
    client.leave();
    let mut client = server.connect(&Connect::lasting(V5, "a"));
    client.send(&Publish::new("", "x").with(alias(1)).bytes(V5));
    client.closed_for(0x82);
}

/// The first one beyond what is granted, whether some are granted or none.
#[test]
fn mqtt_3_2_2_18_an_alias_that_was_not_granted_closes() {
    let server = Server::start();
    let (mut client, connack) = server.try_connect(&Connect::new(V5, "a"));
    let beyond = alias(granted(&connack) + 1);
    client.send(&Publish::new("t", "x").with(beyond).bytes(V5));
    client.closed_for(0x94);
}

#[test]
fn an_alias_that_stands_for_nothing_closes() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    client.send(&Publish::new("", "x").with(alias(2)).bytes(V5));
    client.closed_for(0x82);
}

#[test]
fn mqtt_3_1_2_27_no_alias_is_sent_to_a_client_that_takes_none() {
    let server = Server::start();
    let explicit = Connect::new(V5, "b").with(Property::Two(id::TOPIC_ALIAS_MAXIMUM, 0));
    for connect in [Connect::new(V5, "a"), explicit] {
        let mut client = server.connect(&connect);
        client.subscribe("t", 1);
        for _ in 0..50 {
            client.send(&Publish::new("t", "x").bytes(V5));
            let publish = client.publish();
            assert_eq!((&*publish.topic, publish.properties), ("t", Vec::new()));
        }
    }
}

/// Shows also [MQTT-3.3.2-11].
#[test]
fn mqtt_3_1_2_26_an_alias_for_the_client_is_within_its_maximum() {
    const MAXIMUM: u16 = 3;
    let server = Server::start();
    let connect = Connect::new(V5, "a").with(Property::Two(id::TOPIC_ALIAS_MAXIMUM, MAXIMUM));
    let mut client = server.connect(&connect);
    client.subscribe("#", 0);
    let mut known: Vec<Option<String>> = vec![None; usize::from(MAXIMUM)];
    for round in 0..200 {
        let topic = format!("t/{}", round % 7 * (round % 3));
        client.send(&Publish::new(&topic, "x").bytes(V5));
        let publish = client.publish();
        let Some(Property::Two(_, alias)) = publish.property(id::TOPIC_ALIAS) else {
            assert_eq!(publish.topic, topic);
            continue;
        };
        assert!((1..=MAXIMUM).contains(alias), "{alias}");
        let place = &mut known[usize::from(*alias) - 1];
        if !publish.topic.is_empty() {
            *place = Some(publish.topic.clone());
        }
        assert_eq!(place.as_deref(), Some(&*topic));
    }
}
