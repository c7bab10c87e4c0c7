//! An upstream that does not answer, or not in order: the core against a scripted one. What ends the connection is named each time,
//! and nothing is lost by it.

use std::time::Duration;

use fieldgate::bridge::BridgeOptions;
use fieldgate::bridge::core::Cause;
use fieldgate::mqtt::{Packet, QoS};

use crate::sim::{Sim, message, options};

const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

/// With these in the backlog, committed.
fn filled(messages: &[(&str, QoS)]) -> Sim {
    let mut sim = Sim::new(options());
    for (text, qos) in messages {
        sim.log.append(message(text, *qos));
    }
    sim.log.commit();
    sim
}

/// Time passes, and what can be answered is, until the connection ends.
fn end_of_connection(sim: &mut Sim) -> Cause {
    let before = sim.closed.len();
    for _ in 0..40 {
        sim.run();
        sim.pass(Duration::from_secs(15));
        if sim.closed.len() > before {
            return sim.closed[before].clone();
        }
    }
    panic!("the connection never ended");
}

#[test]
fn an_answer_that_never_comes_ends_the_connection_by_its_name_and_loses_nothing() {
    type IsKeptBack = fn(&Packet) -> bool;
    let table: [(IsKeptBack, Cause); 5] = [
        (|p| matches!(p, Packet::Connack(_)), Cause::NoConnack),
        (|p| matches!(p, Packet::Puback(_)), Cause::Unacknowledged),
        (|p| matches!(p, Packet::Pubrec(_)), Cause::Unacknowledged),
        (|p| matches!(p, Packet::Pubcomp(_)), Cause::Unacknowledged),
        (|p| matches!(p, Packet::Pingresp), Cause::NoPingresp),
    ];
    for (kept_back, cause) in table {
        let mut sim = filled(&[("a", QOS1), ("b", QOS2), ("c", QOS1)]);
        sim.upstream.keeps_back = Some(kept_back);
        for _ in 0..3 {
            assert_eq!(end_of_connection(&mut sim), cause);
        }
        sim.upstream.keeps_back = None;
        sim.run();
        assert!(sim.log.is_empty(), "{cause}: something is left");
        assert!(sim.times_delivered("a") >= 1 && sim.times_delivered("c") >= 1);
        assert_eq!(sim.times_delivered("b"), 1, "{cause}");
    }
}

#[test]
fn an_upstream_that_never_answers_qos_2_gets_what_its_window_lets_past_and_the_rest_waits() {
    let mut sim = Sim::new(BridgeOptions {
        inflight: 2,
        ..options()
    });
    for (text, qos) in [("a", QOS2), ("b", QOS1), ("c", QOS2), ("d", QOS1)] {
        sim.log.append(message(text, qos));
    }
    sim.log.commit();
    sim.upstream.keeps_back = Some(|packet| matches!(packet, Packet::Pubrec(_)));
    for _ in 0..3 {
        assert_eq!(end_of_connection(&mut sim), Cause::Unacknowledged);
        // `c` waits for the place of `a`, and nothing overtakes it.
        assert_eq!(sim.delivered_texts(), ["a", "b"]);
    }
    assert_eq!(sim.log.dropped, []);
    sim.upstream.keeps_back = None;
    sim.run();
    assert_eq!(sim.delivered_texts(), ["a", "b", "c", "d"]);
    assert!(sim.log.is_empty());
}

#[test]
fn answers_in_any_order_are_taken_and_only_what_has_none_is_sent_again_in_order() {
    for qos in [QOS1, QOS2] {
        let texts = ["m0", "m1", "m2", "m3"];
        let mut sim = filled(&texts.map(|text| (text, qos)));
        sim.connect();
        sim.upstream_reads();
        sim.bridge_reads();
        sim.commit();
        while sim.upstream_reads() {}
        sim.reverse_answers();
        // Of m3 and m2.
        assert!(sim.bridge_reads() && sim.bridge_reads());
        sim.commit();
        sim.cut();
        sim.run();
        assert!(sim.log.is_empty());
        let again: Vec<_> = sim.publishes()[4..]
            .iter()
            .map(|publish| (publish.dup, publish.payload.clone()))
            .collect();
        assert_eq!(again, [(true, "m0".into()), (true, "m1".into())], "{qos:?}");
        assert!((0..4).all(|n| sim.times_delivered(texts[n]) <= 2));
        if qos == QOS2 {
            assert_eq!(sim.delivered_texts(), texts);
        }
    }
}
