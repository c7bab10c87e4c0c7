//! What the core does in each situation of a link, told one by one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fieldgate::bridge::BridgeOptions;
use fieldgate::bridge::core::{Cause, Lane};
use fieldgate::clock::WallTime;
use fieldgate::mqtt::{
    Connack, Connect, Disconnect, Message, Packet, ProtocolVersion, Publish, PublishProperties,
    QoS, ReasonCode,
};
use fieldgate::store::{SESSION_NAME_MAX, Seq};

use crate::sim::{Sim, WALL, acknowledge, message, options, topic, up, user_property, v311};

const QOS0: QoS = QoS::AtMostOnce;
const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

fn connects(sim: &Sim) -> Vec<Connect> {
    let connect = |packet: &Packet| match packet {
        Packet::Connect(connect) => Some((**connect).clone()),
        _ => None,
    };
    sim.upstream.seen.iter().filter_map(connect).collect()
}

fn disconnects(sim: &Sim) -> Vec<ReasonCode> {
    let disconnect = |packet: &Packet| match packet {
        Packet::Disconnect(disconnect) => Some(disconnect.reason),
        _ => None,
    };
    sim.upstream.seen.iter().filter_map(disconnect).collect()
}

fn last_publish(sim: &Sim) -> Publish {
    sim.publishes().pop().unwrap()
}

fn expiring(text: &str, qos: QoS, seconds: u32) -> Message {
    Message {
        properties: Some(Box::new(PublishProperties {
            message_expiry: Some(seconds),
            ..PublishProperties::default()
        })),
        ..message(text, qos)
    }
}

// Connecting

#[test]
fn connect_says_what_the_options_say() {
    let sim = up(BridgeOptions {
        user: Some("u".to_owned()),
        password: Some("p".to_owned().into()),
        will: Some(message("offline", QOS1)),
        ..options()
    });
    let connect = &connects(&sim)[0];
    assert!(!connect.clean_start);
    assert_eq!((connect.keep_alive, connect.session_expiry), (60, 3600));
    assert_eq!(connect.user_name.as_deref(), Some("u"));
    assert_eq!(connect.password, Some(Bytes::from("p").into()));
    assert_eq!(
        connect.will.as_ref().unwrap().message,
        message("offline", QOS1)
    );
    assert!(connect.request_problem_information);
}

#[test]
fn the_session_is_kept_at_one_address_and_begun_anew_at_another() {
    let mut sim = up(options());
    sim.cut();
    sim.run();
    sim.cut();
    sim.address = 1;
    sim.run();
    assert_eq!(clean_starts(&sim), [false, false, true]);
}

fn clean_starts(sim: &Sim) -> Vec<bool> {
    connects(sim).iter().map(|c| c.clean_start).collect()
}

#[test]
fn after_a_restart_the_session_is_kept_at_the_address_that_has_it_and_begun_anew_at_any_other() {
    let mut options = options();
    let mut second = options.addresses[0].clone();
    second.port += 1;
    options.addresses.push(second);
    let mut sim = up(options);
    for address in [0, 1, 1, 0] {
        sim.restart();
        sim.address = address;
        sim.run();
    }
    assert_eq!(clean_starts(&sim), [false, false, true, false, true]);
}

#[test]
fn an_edited_url_or_client_id_begins_a_new_session_after_the_restart() {
    let edits: [fn(&mut BridgeOptions); 3] = [
        |options| options.addresses[0].host = "cloud.example.com".to_owned(),
        |options| options.addresses[0].port = 8884,
        |options| options.client_id = "other".to_owned(),
    ];
    for edit in edits {
        let mut sim = up(options());
        edit(Arc::make_mut(&mut sim.options));
        for _ in 0..2 {
            sim.restart();
            sim.run();
        }
        assert_eq!(clean_starts(&sim), [false, true, false]);
    }
}

#[test]
fn a_new_or_salvaged_log_begins_a_new_session() {
    for options in [options(), v311()] {
        let mut sim = Sim::new(options);
        sim.log.salvaged();
        sim.run();
        let first = clean_starts(&sim);
        assert!(first[0]);
        sim.cut();
        sim.run();
        sim.restart();
        sim.run();
        let later = &clean_starts(&sim)[first.len()..];
        assert_eq!(later, [false, false]);
    }
}

#[test]
fn qos_2_waits_until_the_new_session_is_committed_and_qos_1_does_not() {
    for options in [options(), v311()] {
        let mut sim = Sim::new(options);
        sim.log.append(message("one", QOS1));
        sim.log.append(message("two", QOS2));
        sim.log.commit();
        sim.log.salvaged();
        while !sim.core.is_up() {
            sim.connect();
            while sim.upstream_reads() || sim.bridge_reads() {}
        }
        while sim.upstream_reads() || sim.bridge_reads() {}
        assert_eq!(sim.delivered_texts(), ["one"]);
        sim.commit();
        sim.upstream_reads();
        assert_eq!(sim.delivered_texts(), ["one", "two"]);
    }
}

#[test]
fn a_kill_before_the_new_session_is_committed_begins_it_once_more() {
    let mut sim = Sim::new(options());
    sim.log.salvaged();
    sim.connect();
    while sim.upstream_reads() || sim.bridge_reads() {}
    assert!(sim.core.is_up());
    sim.restart();
    sim.run();
    assert_eq!(clean_starts(&sim), [true, true]);
}

#[test]
fn names_of_sessions_that_are_too_long_still_differ() {
    let mut sim = up(BridgeOptions {
        client_id: format!("{}1", "ü".repeat(1000)),
        ..options()
    });
    let name = sim.log.session.clone().unwrap();
    assert!(name.len() <= SESSION_NAME_MAX);
    for (last, clean) in [('1', false), ('2', true)] {
        Arc::make_mut(&mut sim.options).client_id = format!("{}{last}", "ü".repeat(1000));
        sim.restart();
        sim.run();
        assert_eq!(clean_starts(&sim).last(), Some(&clean));
    }
}

#[test]
fn mqtt_3_1_1_clears_an_old_session_by_a_connection_of_its_own() {
    let mut sim = up(BridgeOptions {
        will: Some(message("offline", QOS1)),
        ..v311()
    });
    sim.cut();
    sim.address = 1;
    sim.log.append(message("a", QOS1));
    sim.run();
    let connects = connects(&sim);
    let clean: Vec<_> = connects.iter().map(|c| c.clean_start).collect();
    assert_eq!(clean, [false, true, false]);
    assert!(
        connects[1].will.is_none(),
        "nobody is told that we are offline"
    );
    assert_eq!(sim.closed, [Cause::SessionCleared]);
    assert_eq!(disconnects(&sim), [ReasonCode::Success]);
    assert_eq!(sim.delivered_texts(), ["a"]);
}

#[test]
fn mqtt_3_2_2_4_a_session_that_was_to_be_discarded_must_not_be_present() {
    let mut sim = up(options());
    sim.cut();
    sim.address = 1;
    sim.connect();
    sim.say(Packet::Connack(Box::new(Connack::new(
        ReasonCode::Success,
        true,
    ))));
    assert!(matches!(sim.closed[..], [Cause::Violation(_)]));
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let mut sim = Sim::new(options());
    sim.connect();
    sim.say(Packet::Connack(Box::new(Connack::new(
        ReasonCode::BadUserNameOrPassword,
        false,
    ))));
    assert!(
        sim.closed[0]
            .to_string()
            .contains("bad user name or password")
    );
    assert!(!sim.core.is_up());
}

#[test]
fn a_will_that_the_upstream_cannot_retain_is_sent_without_retain_next_time() {
    let will = Message {
        retain: true,
        ..message("offline", QOS1)
    };
    let mut sim = Sim::new(BridgeOptions {
        will: Some(will),
        ..options()
    });
    sim.connect();
    let refusal = Connack::new(ReasonCode::RetainNotSupported, false);
    sim.say(Packet::Connack(Box::new(refusal)));
    sim.run();
    assert!(
        !connects(&sim)
            .last()
            .unwrap()
            .will
            .as_ref()
            .unwrap()
            .message
            .retain
    );
}

#[test]
fn no_connack_in_time_closes() {
    let mut sim = Sim::new(options());
    sim.connect();
    sim.pass(Duration::from_secs(9));
    assert!(sim.closed.is_empty());
    sim.pass(Duration::from_secs(1));
    assert_eq!(sim.closed, [Cause::NoConnack]);
}

#[test]
fn mqtt_3_2_0_1_the_first_packet_of_the_upstream_is_connack() {
    let mut sim = Sim::new(options());
    sim.connect();
    sim.say(Packet::Pingresp);
    assert!(matches!(sim.closed[..], [Cause::Violation(_)]));
}

// Sending

#[test]
fn a_message_carries_its_id_over_resends_and_restarts() {
    let mut sim = up(options());
    sim.log.append(message("a", QOS1));
    sim.commit();
    sim.upstream_reads();
    sim.restart();
    sim.run();
    let ids: Vec<_> = sim
        .publishes()
        .iter()
        .map(|publish| user_property(publish, "fieldgate-id").unwrap())
        .collect();
    assert_eq!(ids, ["gw/cloud/0/1", "gw/cloud/0/1"]);
}

#[test]
fn mqtt_3_1_1_has_no_properties() {
    let mut sim = up(v311());
    sim.log.append(expiring("a", QOS1, 60));
    sim.run();
    assert_eq!(last_publish(&sim).properties, None);
}

#[test]
fn qos_1_leaves_before_it_is_committed_and_qos_2_only_after() {
    let mut sim = up(options());
    sim.log.append(message("one", QOS1));
    sim.log.append(message("two", QOS2));
    sim.settle();
    while sim.upstream_reads() {}
    assert_eq!(sim.delivered_texts(), ["one"]);
    sim.run();
    assert_eq!(sim.delivered_texts(), ["one", "two"]);
}

#[test]
fn nothing_overtakes_a_message_that_waits_for_its_commit() {
    let mut sim = up(options());
    sim.log.append(message("two", QOS2));
    sim.log.append(message("one", QOS1));
    sim.log.append(message("none", QOS0));
    sim.settle();
    while sim.upstream_reads() {}
    assert!(sim.delivered_texts().is_empty());
    sim.run();
    assert_eq!(sim.delivered_texts(), ["two", "one", "none"]);
}

#[test]
fn the_id_follows_from_the_position_and_is_in_flight_once() {
    let mut sim = up(options());
    sim.log.append(message("first", QOS1));
    sim.log.skip_to(Seq(65_001));
    sim.log.append(message("same id", QOS1));
    sim.settle();
    while sim.upstream_reads() {}
    assert_eq!(last_publish(&sim).packet_id.unwrap().get(), 2);
    assert_eq!(sim.delivered_texts(), ["first"]);
    sim.run();
    assert_eq!(last_publish(&sim).packet_id.unwrap().get(), 2);
    assert_eq!(sim.delivered_texts(), ["first", "same id"]);
}

#[test]
fn qos_2_is_not_sent_beyond_the_reach_of_the_ids() {
    let mut sim = up(options());
    sim.log.append(message("stuck", QOS1));
    sim.log.skip_to(Seq(65_001));
    sim.log.append(message("beyond", QOS2));
    sim.upstream
        .refusals
        .push_back(ReasonCode::UnspecifiedError);
    sim.run();
    assert_eq!(sim.publishes().len(), 1);
    sim.pass(Duration::from_secs(1));
    sim.run();
    assert_eq!(sim.delivered_texts(), ["stuck", "beyond"]);
}

#[test]
fn mqtt_3_3_4_7_the_receive_maximum_of_the_upstream_lowers_the_window() {
    let mut sim = Sim::new(options());
    sim.upstream.connack.receive_maximum = 2;
    sim.run();
    for number in 0..9 {
        sim.log.append(message(&format!("{number}"), QOS1));
    }
    sim.settle();
    assert_eq!(sim.core.in_flight(), 2);
    sim.run();
    assert_eq!(sim.core.figures().delivered, 9);
}

#[test]
fn mqtt_3_1_1_has_few_in_flight_beside_qos_2_because_a_server_cannot_tell_its_limit() {
    let mut sim = up(v311());
    for _ in 0..50 {
        sim.log.append(message("one", QOS1));
    }
    sim.settle();
    assert_eq!(sim.core.in_flight(), 50);
    sim.run();
    for _ in 0..50 {
        sim.log.append(message("two", QOS2));
        sim.log.append(message("one", QOS1));
    }
    sim.commit();
    assert_eq!(sim.core.in_flight(), 20);
    sim.run();
    assert_eq!(sim.core.figures().delivered, 150);
    for _ in 0..50 {
        sim.log.append(message("one", QOS1));
    }
    sim.settle();
    assert_eq!(sim.core.in_flight(), 50);
}

#[test]
fn while_the_upstream_takes_no_bytes_nothing_is_sent() {
    let mut sim = up(options());
    sim.log.append(message("a", QOS1));
    sim.core
        .handle_progress(sim.now, Lane::Backlog, sim.log.progress());
    let demand = sim.core.demand().unwrap();
    sim.core
        .handle_entries(demand, sim.log.read(demand.from, 9));
    sim.core.pump(sim.now, sim.wall, 0);
    assert_eq!(sim.core.poll_effect(), None);
    sim.run();
    assert_eq!(sim.delivered_texts(), ["a"]);
}

#[test]
fn mqtt_3_2_2_15_a_message_above_the_maximum_packet_size_is_not_sent_and_the_next_one_is() {
    let mut sim = Sim::new(options());
    sim.upstream.connack.maximum_packet_size = Some(100);
    sim.run();
    let large = sim.log.append(message(&"x".repeat(100), QOS2));
    sim.log.append(message("small", QOS2));
    sim.run();
    assert_eq!(sim.delivered_texts(), ["small"]);
    assert!(sim.log.is_dead(large) && sim.log.is_empty());
    assert_eq!(sim.core.figures().too_large, 1);
}

#[test]
fn mqtt_3_2_2_11_qos_and_retain_are_lowered_to_what_the_upstream_has() {
    let mut sim = Sim::new(options());
    sim.upstream.connack.maximum_qos = QOS1;
    sim.upstream.connack.retain_available = false;
    sim.run();
    sim.log.append(Message {
        retain: true,
        ..message("a", QOS2)
    });
    sim.settle();
    while sim.upstream_reads() {}
    let publish = last_publish(&sim);
    assert_eq!((publish.qos, publish.retain), (QOS1, false));
    sim.run();
    let figures = sim.core.figures();
    assert_eq!((figures.qos_lowered, figures.retain_cleared), (1, 1));
    assert!(sim.log.is_empty());
}

#[test]
fn an_upstream_with_qos_0_only_gets_everything_at_qos_0() {
    let mut sim = Sim::new(options());
    sim.upstream.connack.maximum_qos = QOS0;
    sim.run();
    sim.log.append(message("a", QOS2));
    sim.run();
    assert_eq!(last_publish(&sim).packet_id, None);
    assert!(sim.log.is_empty());
}

#[test]
fn mqtt_3_3_2_6_the_time_in_the_backlog_is_taken_off_the_expiry() {
    let mut sim = up(options());
    sim.log.append(expiring("fresh", QOS1, 60));
    sim.log.append(expiring("old", QOS2, 10));
    sim.log.append_stamped(
        expiring("before the clock was set", QOS1, 10),
        WallTime(1000),
    );
    sim.wall = WallTime(WALL.0 + 20_000);
    sim.run();
    assert_eq!(sim.delivered_texts(), ["fresh", "before the clock was set"]);
    let left = |publish: &Publish| publish.properties.as_ref().unwrap().message_expiry;
    let left: Vec<_> = sim.publishes().iter().map(left).collect();
    assert_eq!(left, [Some(40), Some(10)]);
    assert_eq!(sim.core.figures().expired, 1);
}

#[test]
fn a_qos_2_message_that_may_be_there_is_not_dropped_for_its_age() {
    let mut sim = up(options());
    sim.log.append(expiring("a", QOS2, 10));
    sim.commit();
    sim.upstream_reads();
    sim.cut();
    sim.wall = WallTime(WALL.0 + 20_000);
    sim.run();
    assert_eq!(sim.core.figures().expired, 0);
    assert_eq!(sim.times_delivered("a"), 1);
    assert!(sim.log.is_empty());
}

// After a lost connection

#[test]
fn mqtt_4_4_0_1_what_is_unfinished_goes_out_again_in_order_with_dup() {
    let mut sim = up(options());
    sim.log.append(message("a", QOS1));
    sim.log.append(message("b", QOS2));
    sim.commit();
    while sim.upstream_reads() {}
    sim.cut();
    sim.run();
    let resent: Vec<_> = sim
        .publishes()
        .iter()
        .map(|publish| (publish.packet_id.unwrap().get(), publish.dup))
        .collect();
    assert_eq!(resent, [(2, false), (3, false), (2, true), (3, true)]);
    assert_eq!(sim.core.figures().maybe_duplicated, 1, "QoS 1 alone");
}

#[test]
fn a_received_message_is_answered_by_pubrel_alone_after_a_restart() {
    let mut sim = up(options());
    sim.log.append(message("a", QOS2));
    sim.commit();
    sim.upstream_reads();
    sim.bridge_reads();
    sim.commit();
    sim.restart();
    sim.upstream.seen.clear();
    sim.run();
    assert!(sim.publishes().is_empty());
    assert!(sim.log.is_empty());
    assert_eq!(sim.core.figures().delivered, 1);
}

#[test]
fn a_lost_session_sends_everything_anew_and_counts_it() {
    let mut sim = up(options());
    sim.log.append(message("a", QOS2));
    sim.commit();
    sim.upstream_reads();
    sim.cut();
    sim.upstream.lose_session();
    sim.run();
    assert_eq!(sim.times_delivered("a"), 2);
    assert_eq!(sim.core.figures().maybe_duplicated, 1);
}

#[test]
fn what_the_upstream_no_longer_takes_begins_a_new_session() {
    let mut sim = up(options());
    sim.log.append(message("a", QOS2));
    sim.commit();
    sim.upstream_reads();
    sim.cut();
    sim.upstream.connack.maximum_qos = QOS1;
    sim.run();
    assert_eq!(sim.closed, [Cause::SessionMismatch]);
    assert!(connects(&sim).last().unwrap().clean_start);
    assert!(sim.log.is_empty());
}

#[test]
fn qos_0_that_was_read_and_not_sent_is_dropped_with_the_connection() {
    let mut sim = up(options());
    sim.log.append(message("waits for its commit", QOS2));
    let dropped = sim.log.append(message("a", QOS0));
    sim.settle();
    sim.cut();
    assert_eq!(sim.log.dropped, [dropped]);
    sim.run();
    assert_eq!(sim.delivered_texts(), ["waits for its commit"]);
}

#[test]
fn after_a_failure_of_the_bridge_what_may_have_been_sent_counts_as_sent() {
    let mut sim = up(options());
    sim.log.append(message("one", QOS1));
    sim.log.append(expiring("two", QOS2, 10));
    sim.commit();
    while sim.upstream_reads() {}
    sim.fail();
    sim.wall = WallTime(WALL.0 + 20_000);
    sim.log.append(message("later", QOS1));
    sim.run();
    let resent: Vec<_> = sim.publishes().iter().map(|publish| publish.dup).collect();
    assert_eq!(resent, [false, false, true, true, false]);
    assert_eq!(sim.core.figures().maybe_duplicated, 1, "QoS 1 alone");
    assert_eq!(sim.core.figures().expired, 0, "its id may be taken");
    assert_eq!(sim.core.figures().connects, 2, "figures go on");
    assert_eq!(sim.times_delivered("two"), 1);
    assert!(sim.log.is_empty());
}

// Refusals

#[test]
fn a_message_refused_for_good_goes_to_the_dead_letter_and_the_next_one_is_sent() {
    for reason in [
        ReasonCode::NotAuthorized,
        ReasonCode::TopicNameInvalid,
        ReasonCode::PacketTooLarge,
        ReasonCode::PayloadFormatInvalid,
    ] {
        for qos in [QOS1, QOS2] {
            let mut sim = up(options());
            sim.upstream.refusals.push_back(reason);
            let refused = sim.log.append(message("refused", qos));
            sim.log.append(message("next", qos));
            sim.run();
            assert_eq!(sim.delivered_texts(), ["next"]);
            assert!(sim.log.is_dead(refused) && sim.log.is_empty());
            assert!(sim.log.dropped.is_empty());
            assert_eq!(sim.core.figures().refused, 1);
            assert!(sim.closed.is_empty());
        }
    }
}

#[test]
fn a_message_refused_for_now_is_sent_again_later_and_less_and_less_often() {
    for qos in [QOS1, QOS2] {
        let mut sim = up(options());
        sim.upstream.refusals.extend([
            ReasonCode::UnspecifiedError,
            ReasonCode::ImplementationSpecificError,
        ]);
        sim.log.append(message("a", qos));
        sim.run();
        assert_eq!(sim.publishes().len(), 1);
        sim.pass(Duration::from_secs(1));
        sim.run();
        assert_eq!(sim.publishes().len(), 2);
        sim.pass(Duration::from_secs(1));
        sim.run();
        assert_eq!(sim.publishes().len(), 2, "the second wait is longer");
        sim.pass(Duration::from_secs(1));
        sim.run();
        assert_eq!(sim.delivered_texts(), ["a"]);
        assert_eq!(sim.core.figures().maybe_duplicated, 0);
    }
}

#[test]
fn a_used_up_quota_holds_up_all_messages() {
    let mut sim = up(BridgeOptions {
        inflight: 1,
        ..options()
    });
    sim.upstream.refusals.push_back(ReasonCode::QuotaExceeded);
    sim.log.append(message("a", QOS1));
    sim.log.append(message("b", QOS1));
    sim.run();
    assert_eq!(sim.publishes().len(), 1);
    sim.pass(Duration::from_secs(1));
    sim.run();
    assert_eq!(sim.delivered_texts(), ["a", "b"], "in order");
}

#[test]
fn a_pubrec_that_says_the_id_is_in_use_begins_a_new_session() {
    let mut sim = up(options());
    sim.upstream
        .refusals
        .push_back(ReasonCode::PacketIdentifierInUse);
    sim.log.append(message("a", QOS2));
    sim.run();
    assert_eq!(sim.closed, [Cause::SessionMismatch]);
    assert!(connects(&sim).last().unwrap().clean_start);
    assert_eq!(sim.delivered_texts(), ["a"]);
}

#[test]
fn mqtt_4_3_3_a_pubrec_for_nothing_is_answered_so_that_the_upstream_frees_the_id() {
    let mut sim = up(options());
    sim.say(Packet::Pubrec(acknowledge(7, ReasonCode::Success)));
    while sim.upstream_reads() {}
    assert_eq!(
        sim.upstream.seen.last(),
        Some(&Packet::Pubrel(acknowledge(
            7,
            ReasonCode::PacketIdentifierNotFound
        )))
    );
}

// Faults of the upstream

#[test]
fn packets_that_only_a_client_may_send_close() {
    for packet in [
        Packet::Pingreq,
        Packet::Connect(Box::new(Connect::new(ProtocolVersion::V5, "x".into()))),
        Packet::Connack(Box::new(Connack::new(ReasonCode::Success, false))),
    ] {
        let mut sim = up(options());
        sim.say(packet);
        assert!(matches!(sim.closed[..], [Cause::Violation(_)]));
        assert_eq!(disconnects(&sim), [ReasonCode::ProtocolError]);
    }
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_closes_and_loses_nothing() {
    for (qos, packet) in [
        (QOS1, Packet::Pubrec(acknowledge(2, ReasonCode::Success))),
        (QOS2, Packet::Puback(acknowledge(2, ReasonCode::Success))),
    ] {
        let mut sim = up(options());
        sim.log.append(message("a", qos));
        sim.commit();
        sim.say(packet);
        assert!(matches!(sim.closed[..], [Cause::Violation(_)]));
        sim.run();
        assert!(sim.times_delivered("a") >= 1);
        assert!(sim.log.is_empty());
    }
}

#[test]
fn a_disconnect_of_the_upstream_is_told_with_its_reason() {
    let mut sim = up(options());
    sim.say(Packet::Disconnect(Disconnect::new(
        ReasonCode::SessionTakenOver,
    )));
    assert!(sim.closed[0].to_string().contains("same client_id"));
    let mut sim = up(v311());
    sim.say(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    assert!(matches!(sim.closed[..], [Cause::Violation(_)]));
}

#[test]
fn a_message_that_nobody_asked_for_is_answered_and_goes_nowhere() {
    let mut sim = up(options());
    let id = acknowledge(9, ReasonCode::Success).packet_id;
    sim.say(Packet::Publish(message("x", QOS1).into_publish(Some(id))));
    while sim.upstream_reads() {}
    assert_eq!(
        sim.upstream.seen.last(),
        Some(&Packet::Puback(acknowledge(9, ReasonCode::Success)))
    );
    assert_eq!(sim.core.figures().unexpected, 1);
}

// Timers

#[test]
fn mqtt_3_1_2_20_an_idle_link_is_kept_alive_and_a_dead_one_noticed() {
    let mut sim = up(options());
    sim.pass(Duration::from_secs(59));
    assert!(!sim.upstream_reads());
    sim.pass(Duration::from_secs(1));
    assert!(sim.upstream_reads(), "PINGREQ");
    assert!(sim.bridge_reads());
    sim.pass(Duration::from_secs(60));
    sim.pass(Duration::from_secs(29));
    assert!(sim.closed.is_empty());
    sim.pass(Duration::from_secs(1));
    assert_eq!(sim.closed, [Cause::NoPingresp]);
}

#[test]
fn mqtt_3_2_2_21_the_keep_alive_of_the_server_counts() {
    let mut sim = Sim::new(options());
    sim.upstream.connack.server_keep_alive = Some(10);
    sim.run();
    sim.pass(Duration::from_secs(10));
    sim.upstream_reads();
    assert_eq!(sim.upstream.seen.last(), Some(&Packet::Pingreq));
}

#[test]
fn without_keep_alive_there_is_no_pingreq() {
    let mut sim = up(BridgeOptions {
        keep_alive: Duration::ZERO,
        ..options()
    });
    sim.pass(Duration::from_secs(100_000));
    assert!(!sim.upstream_reads());
}

#[test]
fn a_message_that_is_never_acknowledged_ends_the_connection() {
    let mut sim = up(options());
    sim.log.append(message("a", QOS1));
    sim.settle();
    while sim.upstream_reads() {}
    // PINGRESPs keep coming all the while.
    for _ in 0..6 {
        sim.pass(Duration::from_secs(30));
        sim.say(Packet::Pingresp);
    }
    assert_eq!(sim.closed, [Cause::Unacknowledged]);
    sim.run();
    assert!(sim.log.is_empty());
}

#[test]
fn what_waits_for_our_own_disk_does_not_end_the_connection() {
    let mut sim = up(options());
    sim.log.append(message("a", QOS2));
    sim.commit();
    sim.upstream_reads();
    sim.bridge_reads();
    for _ in 0..40 {
        sim.pass(Duration::from_secs(30));
        sim.say(Packet::Pingresp);
    }
    assert!(sim.closed.is_empty());
    sim.run();
    assert!(sim.log.is_empty());
}

// The gateway's own topics

fn status(text: &str) -> Message {
    Message {
        topic: topic("gw/$status"),
        retain: true,
        ..message(text, QOS1)
    }
}

#[test]
fn the_newest_value_is_sent_beside_the_backlog_with_ids_of_its_own() {
    let mut sim = up(options());
    sim.core
        .handle_latest(vec![status("online"), status("newer")]);
    sim.settle();
    let sent = sim.upstream_reads();
    assert!(sent && !sim.upstream_reads(), "one value of a topic");
    let publish = last_publish(&sim);
    assert!(publish.packet_id.unwrap().get() >= 65_001);
    assert!(publish.retain);
    assert_eq!(sim.delivered_texts(), ["newer"]);
    sim.run();
    assert_eq!(
        sim.core.figures().delivered,
        0,
        "it is no message of the log"
    );
}

/// Mosquitto counts unfinished QoS 2 messages across connections and closes on a message too many.
#[test]
fn after_a_crash_the_upstreams_unfinished_messages_leave_room_for_others() {
    let is_qos_1 = |number: usize| number > 40 && number.is_multiple_of(3);
    for restarts in [1, 2, 3] {
        let mut sim = Sim::new(BridgeOptions {
            inflight: 20,
            ..options()
        });
        sim.upstream.connack.receive_maximum = 20;
        for number in 0..60 {
            let qos = if is_qos_1(number) { QOS1 } else { QOS2 };
            sim.log.append(message(&format!("m{number}"), qos));
        }
        sim.log.commit();
        let connect = |sim: &mut Sim| {
            sim.connect();
            assert!(
                sim.upstream_reads() && sim.bridge_reads(),
                "CONNECT and CONNACK"
            );
            sim.commit();
        };
        for _ in 0..restarts {
            connect(&mut sim);
            while sim.upstream_reads() {}
            assert!(sim.publishes().len() >= 10, "many are unfinished");
            sim.restart();
        }
        sim.newest = (0..9).map(other_status).collect();
        connect(&mut sim);
        sim.run();
        for number in 0..60 {
            let times = sim.times_delivered(&format!("m{number}"));
            assert!(
                times == 1 || (is_qos_1(number) && times > 1),
                "m{number}: {times} times"
            );
        }
    }
}

fn other_status(number: usize) -> Message {
    Message {
        topic: topic(&format!("gw/device{number}/$status")),
        ..status("online")
    }
}

#[test]
fn an_unacknowledged_value_is_superseded_by_what_is_newest_on_reconnect() {
    let mut sim = up(options());
    sim.core.handle_latest(vec![status("old")]);
    sim.settle();
    sim.upstream_reads();
    sim.cut();
    sim.upstream.delivered.clear();
    sim.run();
    assert!(sim.delivered_texts().is_empty());
    sim.core.handle_latest(vec![status("new")]);
    sim.settle();
    sim.run();
    assert_eq!(sim.delivered_texts(), ["new"]);
}

// Stopping

#[test]
fn mqtt_5_stops_with_a_disconnect_that_publishes_the_will_after_what_is_in_flight() {
    let mut sim = up(BridgeOptions {
        will: Some(message("offline", QOS1)),
        inflight: 1,
        ..options()
    });
    sim.log.append(message("in flight", QOS1));
    sim.log.append(message("backlog", QOS1));
    sim.settle();
    sim.core.stop(sim.now, sim.now + Duration::from_secs(2));
    sim.settle();
    assert!(sim.closed.is_empty());
    while sim.upstream_reads() {}
    while sim.bridge_reads() {}
    assert_eq!(sim.closed, [Cause::Stopped]);
    assert_eq!(disconnects(&sim), [ReasonCode::DisconnectWithWill]);
    assert_eq!(
        sim.delivered_texts(),
        ["in flight"],
        "the backlog is not waited for"
    );
}

#[test]
fn mqtt_3_1_1_publishes_the_wills_message_itself_before_it_disconnects() {
    let mut sim = up(BridgeOptions {
        will: Some(message("offline", QOS1)),
        ..v311()
    });
    sim.core.stop(sim.now, sim.now + Duration::from_secs(2));
    sim.settle();
    while sim.upstream_reads() {}
    while sim.bridge_reads() {}
    assert_eq!(sim.delivered_texts(), ["offline"]);
    assert_eq!(disconnects(&sim), [ReasonCode::Success]);
}

#[test]
fn mqtt_3_1_1_leaves_the_word_to_the_will_where_its_message_is_not_acknowledged() {
    let mut sim = up(BridgeOptions {
        will: Some(message("offline", QOS1)),
        ..v311()
    });
    sim.core.stop(sim.now, sim.now + Duration::from_secs(2));
    sim.settle();
    sim.pass(Duration::from_secs(2));
    assert_eq!(sim.closed, [Cause::Stopped]);
    assert!(disconnects(&sim).is_empty());
}

#[test]
fn a_stop_does_not_wait_longer_than_its_deadline() {
    let mut sim = up(options());
    sim.log.append(message("a", QOS1));
    sim.settle();
    sim.core.stop(sim.now, sim.now + Duration::from_secs(2));
    sim.settle();
    assert!(sim.closed.is_empty());
    sim.pass(Duration::from_secs(2));
    assert_eq!(sim.closed, [Cause::Stopped]);
}
