//! Topic aliases towards the upstream: which topics are told a number, that the upstream understands them over resends and
//! reconnects, and what they save.

use fieldgate::bridge::BridgeOptions;
use fieldgate::mqtt::{Disconnect, Message, Packet, ProtocolVersion, QoS, ReasonCode};

use crate::sim::{Sim, message, options, topic};

const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

/// At an upstream that grants so many aliases.
fn granted(aliases: u16) -> Sim {
    let mut sim = Sim::new(options());
    sim.upstream.connack.topic_alias_maximum = aliases;
    sim.run();
    sim
}

fn on(name: &str, qos: QoS) -> Message {
    Message {
        topic: topic(name),
        ..message("21.5", qos)
    }
}

/// With a topic and with an alias, of each PUBLISH.
fn forms(sim: &Sim) -> Vec<(bool, Option<u16>)> {
    let publishes = sim.publishes().into_iter();
    { publishes }
        .map(|publish| (publish.topic.is_some(), publish.topic_alias))
        .collect()
}

#[test]
fn mqtt_3_3_2_12_a_topic_is_told_once_and_then_sent_by_its_number() {
    let mut sim = granted(2);
    for name in ["plant/a", "plant/b", "plant/a", "plant/c", "plant/b", "t"] {
        sim.log.append(on(name, QOS1));
    }
    sim.run();
    let known = |alias| (false, Some(alias));
    let told = |alias| (true, Some(alias));
    let expected = [
        told(1),
        told(2),
        known(1),
        (true, None),
        known(2),
        (true, None),
    ];
    assert_eq!(forms(&sim), expected);
    assert!(sim.log.is_empty());
}

#[test]
fn an_upstream_that_grants_none_and_mqtt_3_1_1_get_none() {
    for (protocol, aliases) in [(ProtocolVersion::V5, 0), (ProtocolVersion::V311, 9)] {
        let mut sim = Sim::new(BridgeOptions {
            protocol,
            ..options()
        });
        // What a server of 3.1.1 cannot say is empty in its packets.
        sim.upstream.connack.topic_alias_maximum = if protocol.is_v5() { aliases } else { 0 };
        sim.run();
        sim.log.append(on("plant/a", QOS1));
        sim.log.append(on("plant/a", QOS1));
        sim.run();
        assert_eq!(forms(&sim), [(true, None); 2]);
    }
}

#[test]
fn what_goes_out_again_has_the_aliases_of_its_own_connection() {
    for qos in [QOS1, QOS2] {
        let mut sim = granted(9);
        for _ in 0..3 {
            sim.log.append(on("plant/a", qos));
        }
        sim.commit();
        sim.sent();
        sim.cut();
        sim.run();
        assert_eq!(sim.upstream.topics, vec![topic("plant/a"); 3]);
        assert_eq!(
            forms(&sim),
            [(true, Some(1)), (false, Some(1)), (false, Some(1))]
        );
        assert!(sim.log.is_empty());
    }
}

#[test]
fn a_cut_at_every_step_leaves_no_alias_that_the_upstream_does_not_know() {
    let names = ["plant/a", "plant/b", "plant/a", "plant/b", "plant/a"];
    let run = |cut_at: Option<usize>| {
        let mut sim = granted(9);
        for (number, name) in names.into_iter().enumerate() {
            sim.log.append(on(name, [QOS1, QOS2][number % 2]));
        }
        let start = sim.steps;
        if let Some(at) = cut_at {
            while sim.steps < start + at && sim.step() {}
            sim.cut();
        }
        // The upstream panics at an alias that it was not told.
        sim.run();
        assert!(sim.log.is_empty());
        sim.steps - start
    };
    for at in 0..run(None) + 2 {
        run(Some(at));
    }
}

#[test]
fn mqtt_3_1_2_24_an_alias_makes_no_packet_too_large() {
    let mut sim = granted(9);
    sim.log.append(on("plant/a", QOS1));
    sim.run();
    let exact = sim.upstream.publish_bytes - 3;
    let mut sim = granted(9);
    sim.upstream.connack.maximum_packet_size = Some(u32::try_from(exact).unwrap());
    sim.cut();
    sim.run();
    sim.log.append(on("plant/a", QOS1));
    sim.run();
    assert_eq!(forms(&sim), [(true, None)]);
    assert!(sim.log.dead.is_empty());
}

#[test]
fn after_a_refusal_topics_are_told_anew() {
    let mut sim = granted(9);
    sim.upstream.refusals.push_back(ReasonCode::NotAuthorized);
    sim.log.append(on("plant/a", QOS1));
    sim.run();
    sim.log.append(on("plant/a", QOS1));
    sim.run();
    assert_eq!(forms(&sim), [(true, Some(1)); 2]);
}

#[test]
fn an_upstream_that_does_not_keep_to_its_aliases_gets_none_any_more() {
    let mut sim = granted(9);
    let invalid = Disconnect::new(ReasonCode::TopicAliasInvalid);
    sim.say(Packet::Disconnect(invalid));
    sim.run();
    sim.log.append(on("plant/a", QOS1));
    sim.run();
    assert_eq!(forms(&sim), [(true, None)]);
}

/// Eight tags of a device with names of the usual length, a thousand readings.
#[test]
fn readings_take_a_third_fewer_bytes_or_better() {
    let bytes = |aliases: u16| {
        let mut sim = granted(aliases);
        for number in 0..1000 {
            let name = format!("site/berlin/hall-1/press-line-3/status/tag-{}", number % 8);
            sim.log.append(on(&name, QOS1));
        }
        sim.run();
        assert_eq!(sim.upstream.delivered.len(), 1000);
        sim.upstream.publish_bytes
    };
    let (plain, short) = (bytes(0), bytes(65_535));
    println!("1000 readings: {plain} bytes as they are, {short} with aliases");
    assert!(3 * short < 2 * plain, "{short} bytes instead of {plain}");
}
