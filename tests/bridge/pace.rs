//! A bridge with a rate, step by step in simulated time.

use std::time::Duration;

use fieldgate::bridge::{BridgeOptions, Rate};
use fieldgate::mqtt::QoS;

use crate::sim::{Sim, message, options};

fn paced(messages_per_second: u64, bytes_per_second: u64) -> Sim {
    let mut sim = Sim::new(BridgeOptions {
        rate: Rate {
            messages_per_second,
            bytes_per_second,
        },
        ..options()
    });
    sim.run();
    sim
}

/// Lets time pass until the log is empty; gives how long that took.
fn drain(sim: &mut Sim) -> Duration {
    let start = sim.now;
    while !sim.log.is_empty() {
        let next = sim.core.next_timeout().unwrap();
        assert!(next > sim.now, "it would be woken for nothing");
        sim.pass(next - sim.now);
        sim.run();
    }
    sim.now - start
}

#[test]
fn each_message_leaves_when_its_time_has_come() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut sim = paced(10, 0);
        for number in 0..30 {
            sim.log.append(message(&number.to_string(), qos));
        }
        sim.settle();
        sim.run();
        assert_eq!(sim.delivered_texts(), ["0", "1"]);
        assert_eq!(drain(&mut sim), Duration::from_millis(2800));
        let all: Vec<_> = (0..30).map(|number| number.to_string()).collect();
        assert_eq!(sim.delivered_texts(), all);
    }
}

#[test]
fn bytes_are_limited_too() {
    let mut sim = paced(0, 10_000);
    let text = "x".repeat(1000);
    for _ in 0..10 {
        sim.log.append(message(&text, QoS::AtLeastOnce));
    }
    sim.settle();
    sim.run();
    // Ten kilobytes and the packets' own bytes.
    let took = drain(&mut sim);
    assert!(
        (Duration::from_millis(800)..Duration::from_millis(1200)).contains(&took),
        "{took:?}"
    );
}

#[test]
fn what_is_sent_again_counts_and_a_reconnect_buys_nothing() {
    let mut sim = paced(10, 0);
    for number in 0..10 {
        sim.log
            .append(message(&number.to_string(), QoS::AtLeastOnce));
    }
    sim.settle();
    sim.cut();
    sim.run();
    // Two were sent before the cut.
    assert_eq!(sim.delivered_texts(), Vec::<String>::new());
    assert_eq!(drain(&mut sim), Duration::from_millis(1000));
}

#[test]
fn without_something_to_send_nothing_wakes_it() {
    let mut sim = paced(1, 0);
    let idle = sim.core.next_timeout();
    sim.log.append(message("a", QoS::AtLeastOnce));
    sim.settle();
    sim.run();
    assert!(sim.log.is_empty());
    assert_eq!(sim.core.next_timeout(), idle);
}
