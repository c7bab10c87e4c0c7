//! What an upstream is known to take, although it does not say so.

use fieldgate::bridge::{BridgeOptions, Ceilings};
use fieldgate::mqtt::{Message, Packet, QoS};

use crate::sim::{Sim, message, options, topic};

fn below(ceilings: Ceilings) -> Sim {
    let mut sim = Sim::new(BridgeOptions {
        will: Some(Message {
            retain: true,
            ..message("offline", QoS::ExactlyOnce)
        }),
        ceilings,
        ..options()
    });
    sim.run();
    sim
}

#[test]
fn qos_and_retain_are_lowered_also_of_the_will() {
    let mut sim = below(Ceilings {
        maximum_qos: QoS::AtLeastOnce,
        retain: false,
        ..Ceilings::default()
    });
    sim.log.append(Message {
        retain: true,
        ..message("a", QoS::ExactlyOnce)
    });
    sim.run();
    let publish = sim.publishes().remove(0);
    assert_eq!((publish.qos, publish.retain), (QoS::AtLeastOnce, false));
    let wills = sim.upstream.seen.iter().filter_map(|packet| match packet {
        Packet::Connect(connect) => connect.will.as_ref(),
        _ => None,
    });
    let wills: Vec<_> = wills
        .map(|will| (will.message.qos, will.message.retain))
        .collect();
    assert_eq!(wills, [(QoS::AtLeastOnce, false)]);
    let figures = sim.core.figures();
    assert_eq!((figures.qos_lowered, figures.retain_cleared), (1, 1));
}

#[test]
fn what_is_too_large_goes_to_the_dead_letter_and_the_rest_goes_on() {
    let mut sim = below(Ceilings {
        packet_size: 100,
        topic_levels: 2,
        topic_bytes: 10,
        ..Ceilings::default()
    });
    let on = |name: &str, text: &str| Message {
        topic: topic(name),
        ..message(text, QoS::AtLeastOnce)
    };
    sim.log.append(on("a/b/c", "deep"));
    sim.log.append(on("abcdefghijk", "long"));
    sim.log.append(on("a/b", &"x".repeat(100)));
    sim.log.append(on("a/b", "fits"));
    sim.run();
    assert_eq!(sim.delivered_texts(), ["fits"]);
    assert_eq!(sim.log.dead.len(), 3);
    assert_eq!(sim.core.figures().too_large, 3);
}

#[test]
fn the_smaller_of_both_counts() {
    let mut sim = Sim::new(BridgeOptions {
        ceilings: Ceilings {
            packet_size: 100,
            ..Ceilings::default()
        },
        ..options()
    });
    sim.upstream.connack.maximum_packet_size = Some(60);
    sim.run();
    sim.log.append(message(&"x".repeat(50), QoS::AtLeastOnce));
    sim.log.append(message("x", QoS::AtLeastOnce));
    sim.run();
    assert_eq!(sim.delivered_texts(), ["x"]);
}
