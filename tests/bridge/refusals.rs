//! Messages that the upstream refuses for good, with a reason or by closing the connection; and good ones on a bad link, which are
//! not taken for such.

use std::time::Duration;

use fieldgate::bridge::{DEAD_LETTER_PROPERTY, ID_PROPERTY};
use fieldgate::mqtt::{Connack, Disconnect, Message, Packet, QoS, ReasonCode};

use crate::sim::{ModelLog, Sim, message, options, topic, up, v311};

const QOS0: QoS = QoS::AtMostOnce;
const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

fn clean_starts(sim: &Sim) -> usize {
    let clean =
        |packet: &&Packet| matches!(packet, Packet::Connect(connect) if connect.clean_start);
    sim.upstream.seen.iter().filter(clean).count()
}

// With a reason

#[test]
fn a_dead_letter_is_the_message_with_its_id_and_the_reason() {
    for options in [options(), v311()] {
        let mut sim = up(options);
        sim.upstream.connack.maximum_packet_size = Some(60);
        sim.cut();
        sim.run();
        sim.log.append(message(&"x".repeat(60), QOS1));
        sim.run();
        let (_, letter) = &sim.log.dead[0];
        assert_eq!(letter.message.payload.len(), 60);
        let pairs = &letter.message.properties.as_ref().unwrap().user_properties;
        let (id, reason) = (&pairs[0], &pairs[1]);
        assert_eq!((&*id.0, &*id.1), (ID_PROPERTY, "gw/cloud/0/1"));
        assert_eq!(reason.0, DEAD_LETTER_PROPERTY);
        assert!(reason.1.contains("60 bytes"), "{}", reason.1);
    }
}

#[test]
fn a_refused_message_stays_in_the_backlog_until_the_dead_letter_is_committed() {
    let mut sim = up(options());
    let refused = sim.log.append(message("refused", QOS1));
    sim.upstream.refusals.push_back(ReasonCode::NotAuthorized);
    sim.settle();
    while sim.upstream_reads() || sim.bridge_reads() {}
    assert!(!sim.log.is_empty() && !sim.log.is_dead(refused));
    sim.commit();
    assert!(sim.log.is_empty() && sim.log.is_dead(refused));
}

#[test]
fn a_kill_at_every_step_leaves_a_refused_message_in_the_backlog_or_in_the_dead_letter() {
    let run = |kill_at: Option<usize>| {
        let mut sim = Sim::new(options());
        for text in ["before", "refused", "after"] {
            for qos in [QOS1, QOS2] {
                sim.log.append(message(text, qos));
            }
        }
        sim.log.commit();
        sim.upstream.refuses = Some(("refused", ReasonCode::PayloadFormatInvalid));
        if let Some(at) = kill_at {
            while sim.steps < at && sim.step() {}
            sim.restart();
        }
        sim.run();
        assert!(sim.log.is_empty(), "{kill_at:?}");
        assert_eq!(sim.times_delivered("refused"), 0, "{kill_at:?}");
        assert_eq!(sim.log.dead_texts(), ["refused"], "{kill_at:?}");
        assert!(sim.times_delivered("before") >= 2 && sim.times_delivered("after") >= 2);
        sim.steps
    };
    for at in 0..run(None) + 2 {
        run(Some(at));
    }
}

#[test]
fn no_more_is_sent_while_the_dead_letter_does_not_keep_up() {
    let mut sim = up(options());
    sim.upstream.refuses = Some(("x", ReasonCode::NotAuthorized));
    for _ in 0..1000 {
        sim.log.append(message("x", QOS1));
    }
    sim.settle();
    while sim.upstream_reads() || sim.bridge_reads() {}
    let sent = sim.publishes().len();
    assert!((64..=64 + 100).contains(&sent), "{sent} were sent");
    sim.run();
    assert_eq!(sim.log.dead.len(), 1000);
}

#[test]
fn nothing_of_qos_0_goes_to_the_dead_letter() {
    let mut sim = Sim::new(options());
    sim.upstream.connack.maximum_packet_size = Some(60);
    sim.run();
    let large = sim.log.append(message(&"x".repeat(60), QOS0));
    sim.run();
    assert_eq!(
        (sim.log.dropped.as_slice(), sim.log.dead.len()),
        (&[large][..], 0)
    );
}

// By closing

#[test]
fn a_message_on_which_the_upstream_closes_is_given_up_after_three_times_alone_and_the_others_arrive()
 {
    for options in [options(), v311()] {
        for qos in [QOS1, QOS2] {
            let mut sim = up(options.clone());
            sim.upstream.closes_on = Some("bad");
            for text in ["m0", "bad", "m1", "m2"] {
                sim.log.append(message(text, qos));
            }
            sim.run();
            assert_eq!(sim.log.dead_texts(), ["bad"]);
            for text in ["m0", "m1", "m2"] {
                assert!(sim.times_delivered(text) >= 1, "{text}");
                assert!(qos == QOS1 || sim.times_delivered(text) == 1, "{text}");
            }
            assert!(sim.log.is_empty());
            assert!(sim.hang_ups <= 5, "{} connections", sim.hang_ups);
            assert!(sim.core.is_up());
        }
    }
}

#[test]
fn a_message_that_was_alone_already_is_sent_three_times_more() {
    let mut sim = up(options());
    sim.upstream.closes_on = Some("bad");
    sim.log.append(message("bad", QOS1));
    sim.run();
    assert_eq!((sim.hang_ups, sim.publishes().len()), (4, 4));
    assert_eq!(sim.log.dead_texts(), ["bad"]);
    let (_, letter) = &sim.log.dead[0];
    let pairs = &letter.message.properties.as_ref().unwrap().user_properties;
    assert!(
        pairs[1].1.contains("closed the connection"),
        "{}",
        pairs[1].1
    );
}

#[test]
fn the_id_of_a_qos_2_message_is_freed_by_a_new_session_before_it_is_given_up() {
    let mut sim = up(options());
    sim.upstream.closes_on = Some("bad");
    sim.log.append(message("bad", QOS2));
    sim.run();
    assert_eq!(sim.log.dead_texts(), ["bad"]);
    assert_eq!(clean_starts(&sim), 1);
}

#[test]
fn a_reset_at_once_counts_like_a_close() {
    let mut sim = up(options());
    sim.log.append(message("bad", QOS1));
    for _ in 0..4 {
        sends_alone(&mut sim);
        sim.hang_up(false);
    }
    sim.run();
    assert_eq!(sim.log.dead_texts(), ["bad"]);
}

/// Goes on until the message is under way and nothing else.
fn sends_alone(sim: &mut Sim) {
    let sent = sim.publishes().len();
    while sim.publishes().len() == sent {
        assert!(sim.step(), "it is never sent");
    }
}

#[test]
fn a_disconnect_that_speaks_of_a_packet_counts_and_one_that_does_not_does_not() {
    let run = |reason: ReasonCode, times: usize| {
        let mut sim = up(options());
        sim.log.append(message("m", QOS1));
        for _ in 0..times {
            sends_alone(&mut sim);
            sim.say(Packet::Disconnect(Disconnect::new(reason)));
        }
        sim.run();
        sim
    };
    for reason in [
        ReasonCode::PacketTooLarge,
        ReasonCode::PayloadFormatInvalid,
        ReasonCode::ProtocolError,
        ReasonCode::NotAuthorized,
    ] {
        assert_eq!(run(reason, 4).log.dead_texts(), ["m"], "{reason:?}");
    }
    for reason in [
        ReasonCode::ServerShuttingDown,
        ReasonCode::ServerBusy,
        ReasonCode::SessionTakenOver,
        ReasonCode::QuotaExceeded,
        ReasonCode::AdministrativeAction,
    ] {
        let sim = run(reason, 20);
        assert_eq!(sim.log.dead_texts(), [""; 0], "{reason:?}");
        assert_eq!(sim.delivered_texts(), vec!["m"; 21]);
    }
}

#[test]
fn a_bad_link_never_makes_a_dead_letter() {
    type Ending = fn(&mut Sim);
    let endings: [(&str, Ending); 4] = [
        ("silence", Sim::cut),
        ("a reset much later", |sim| {
            sim.now += Duration::from_secs(6);
            sim.hang_up(false);
        }),
        ("no PINGRESP", |sim| {
            sim.pass(Duration::from_secs(60));
            sim.pass(Duration::from_secs(30));
        }),
        ("a close before CONNACK", |sim| {
            sim.cut();
            sim.connect();
            sim.core.handle_hang_up(sim.now, true);
            sim.cut();
        }),
    ];
    for (name, end) in endings {
        let mut sim = up(options());
        sim.upstream.keeps_back = Some(|answer| !matches!(answer, Packet::Connack(_)));
        sim.log.append(message("good", QOS1));
        for _ in 0..20 {
            sends_alone(&mut sim);
            end(&mut sim);
        }
        sim.upstream.keeps_back = None;
        sim.run();
        assert!(sim.log.dead.is_empty(), "{name}");
        assert!(
            sim.times_delivered("good") >= 1 && sim.log.is_empty(),
            "{name}"
        );
    }
}

/// Two clients with one client id throw each other out in good order (3.1.1), with messages under way.
#[test]
fn a_close_before_the_upstream_has_answered_anything_makes_no_dead_letter() {
    let mut sim = up(v311());
    sim.log.append(message("good", QOS1));
    sim.settle();
    for _ in 0..20 {
        sim.hang_up(true);
        sim.connect();
        assert!(sim.upstream_reads() && sim.bridge_reads(), "CONNACK");
    }
    sim.run();
    assert!(sim.log.dead.is_empty());
    assert_eq!(sim.delivered_texts(), ["good"]);
}

#[test]
fn closes_between_which_messages_get_through_make_no_dead_letter() {
    let mut sim = up(options());
    for number in 0..40 {
        sim.log.append(message(&format!("m{number}"), QOS1));
    }
    while !sim.log.is_empty() {
        for _ in 0..14 {
            sim.step();
        }
        sim.hang_up(true);
    }
    assert!(sim.log.dead.is_empty());
    assert!((0..40).all(|number| sim.times_delivered(&format!("m{number}")) >= 1));
}

#[test]
fn after_a_close_with_many_under_way_all_of_them_go_out_at_once_again() {
    let mut sim = up(options());
    for number in 0..50 {
        sim.log.append(message(&format!("m{number}"), QOS1));
    }
    sim.settle();
    sim.hang_up(true);
    sim.connect();
    assert!(sim.upstream_reads() && sim.bridge_reads(), "CONNACK");
    assert_eq!(sim.sent().len(), 50);
}

#[test]
fn a_topic_of_the_gateways_own_on_which_the_upstream_closes_is_said_no_more_and_the_backlog_goes_on()
 {
    for options in [options(), v311()] {
        let mut sim = Sim::new(options);
        sim.upstream.closes_on = Some("status");
        let own = |name: &str, text: &str| Message {
            topic: topic(name),
            ..message(text, QOS1)
        };
        sim.newest = vec![own("gw/$status", "status"), own("gw/other", "fine")];
        sim.log.append(message("m", QOS1));
        sim.run();
        assert!(sim.core.is_up() && sim.hang_ups <= 5);
        assert_eq!(sim.told, ["gw/$status refused"]);
        assert!(sim.log.is_empty() && sim.log.dead.is_empty());
        assert!(sim.times_delivered("m") >= 1 && sim.times_delivered("fine") >= 1);
        sim.cut();
        sim.run();
        assert_eq!(sim.hang_ups, 5, "it is not said any more");
    }
}

#[test]
fn a_kill_at_every_step_neither_loses_nor_sends_twice_beside_a_message_that_is_closed_upon() {
    let run = |kill_at: Option<usize>| {
        let mut sim = Sim::new(options());
        sim.log = ModelLog::default();
        sim.upstream.closes_on = Some("bad");
        for text in ["m0", "bad", "m1", "m2"] {
            sim.log.append(message(text, QOS2));
        }
        sim.log.commit();
        if let Some(at) = kill_at {
            while sim.steps < at && sim.step() {}
            sim.restart();
        }
        sim.run();
        assert!(sim.log.is_empty(), "{kill_at:?}");
        assert_eq!(sim.log.dead_texts(), ["bad"], "{kill_at:?}");
        for text in ["m0", "m1", "m2"] {
            assert!(sim.times_delivered(text) >= 1, "{text} {kill_at:?}");
        }
        sim.steps
    };
    for at in 0..run(None) + 2 {
        run(Some(at));
    }
}

#[test]
fn a_refused_connection_is_no_ones_fault() {
    let mut sim = up(options());
    sim.log.append(message("m", QOS1));
    sim.settle();
    sim.cut();
    for _ in 0..10 {
        sim.connect();
        let refusal = Connack::new(ReasonCode::NotAuthorized, false);
        sim.say(Packet::Connack(Box::new(refusal)));
    }
    sim.run();
    assert!(sim.log.dead.is_empty());
    assert_eq!(sim.delivered_texts(), ["m"]);
}
