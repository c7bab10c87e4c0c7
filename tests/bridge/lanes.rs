//! Two lanes: what overtakes, what follows, and that all rules of one lane hold in both, whatever fails.

use fieldgate::bridge::BridgeOptions;
use fieldgate::bridge::core::Lane;
use fieldgate::mqtt::{QoS, ReasonCode};
use proptest::prelude::*;

use crate::faults::{Fault, fault, inflict, run};
use crate::sim::{ModelLog, Sim, message, options, user_property};

const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

fn texts(sim: &Sim, prefix: &str) -> Vec<String> {
    let all = sim.delivered_texts().into_iter();
    all.filter(|text| text.starts_with(prefix)).collect()
}

fn live(sim: &mut Sim) -> &mut ModelLog {
    sim.live.as_mut().unwrap()
}

/// A backlog `b0`, `b1`, ... and a live lane `l0`, `l1`, ...
fn waiting(options: BridgeOptions, backlog: usize, live_ones: usize, qos: QoS) -> Sim {
    let mut sim = Sim::with_live_lane(options);
    for number in 0..backlog {
        sim.log.append(message(&format!("b{number}"), qos));
    }
    for number in 0..live_ones {
        live(&mut sim).append(message(&format!("l{number}"), qos));
    }
    sim.commit();
    sim.commit();
    sim
}

#[test]
fn new_messages_overtake_the_backlog_which_gets_its_share() {
    for share in [1, 25, 50, 75] {
        let mut sim = waiting(
            BridgeOptions {
                late_share: share,
                inflight: 4,
                ..options()
            },
            200,
            200,
            QOS1,
        );
        sim.run();
        let all = sim.delivered_texts();
        // The live lane is read first, and fills the window.
        assert_eq!(all[..4], ["l0", "l1", "l2", "l3"]);
        let of_backlog = all[4..104].iter().filter(|text| text.starts_with('b'));
        assert_eq!(of_backlog.count(), usize::from(share), "{share} per cent");
        for prefix in ["b", "l"] {
            let expected: Vec<_> = (0..200).map(|number| format!("{prefix}{number}")).collect();
            assert_eq!(texts(&sim, prefix), expected, "order within a lane");
        }
    }
}

#[test]
fn what_comes_while_the_backlog_fills_the_window_goes_next() {
    let mut sim = waiting(
        BridgeOptions {
            inflight: 3,
            ..options()
        },
        1000,
        0,
        QOS1,
    );
    while sim.delivered_texts().len() < 100 {
        sim.step();
    }
    live(&mut sim).append(message("l0", QOS1));
    sim.settle();
    let before = sim.delivered_texts().len();
    while texts(&sim, "l").is_empty() {
        sim.step();
    }
    let between = sim.delivered_texts().len() - before;
    assert!(between <= 8, "{between} messages went first");
}

#[test]
fn a_backlog_drains_beside_a_live_stream_that_never_ends() {
    let mut sim = waiting(
        BridgeOptions {
            inflight: 4,
            late_share: 10,
            ..options()
        },
        50,
        0,
        QOS1,
    );
    let mut number = 0;
    while texts(&sim, "b").len() < 50 {
        // There is always more than may be in flight.
        while live(&mut sim).len() < 10 {
            live(&mut sim).append(message(&format!("l{number}"), QOS1));
            number += 1;
        }
        sim.step();
        assert!(sim.steps < 20_000, "the backlog starves");
    }
    assert!(texts(&sim, "l").len() >= 400, "a tenth was its share");
}

#[test]
fn ids_and_stable_ids_of_the_lanes_are_different_ones() {
    let mut sim = waiting(options(), 2, 2, QOS1);
    sim.run();
    let publishes = sim.publishes();
    let mut seen: Vec<_> = publishes
        .iter()
        .map(|publish| {
            let id = publish.packet_id.unwrap().get();
            (
                id,
                user_property(publish, "fieldgate-id").unwrap().to_string(),
            )
        })
        .collect();
    seen.sort();
    let expected = [
        (2, "gw/cloud/0/1"),
        (3, "gw/cloud/0/2"),
        (32_502, "gw/cloud/0/live-1"),
        (32_503, "gw/cloud/0/live-2"),
    ];
    assert_eq!(seen, expected.map(|(id, text)| (id, text.to_owned())));
}

#[test]
fn an_empty_live_lane_leaves_the_whole_window_to_the_backlog() {
    let mut sim = waiting(
        BridgeOptions {
            inflight: 10,
            ..options()
        },
        20,
        0,
        QOS1,
    );
    sim.restart();
    sim.run();
    for number in 0..20 {
        sim.log.append(message(&format!("c{number}"), QOS1));
    }
    sim.settle();
    assert_eq!(sim.core.in_flight(), 10);
}

#[test]
fn a_new_live_lane_keeps_the_session_and_one_of_another_session_gives_it_up() {
    let mut sim = waiting(options(), 1, 0, QOS1);
    sim.run();
    assert_eq!(sim.clean_starts(), [false], "it has used no id");
    live(&mut sim).append(message("l", QOS1));
    sim.commit();
    sim.restart();
    sim.run();
    assert_eq!(
        sim.clean_starts(),
        [false, false],
        "both logs have the session"
    );
    live(&mut sim).salvaged();
    sim.restart();
    sim.run();
    assert_eq!(sim.clean_starts(), [false, false, true]);
    assert_eq!(sim.times_delivered("l"), 1);
}

#[test]
fn a_qos_2_message_waits_until_both_logs_have_the_session() {
    let mut sim = waiting(options(), 1, 1, QOS2);
    sim.log.salvaged();
    sim.connect();
    while sim.upstream_reads() || sim.bridge_reads() {}
    sim.log.commit();
    sim.settle();
    assert!(sim.publishes().is_empty() && sim.core.in_flight() == 0);
    live(&mut sim).commit();
    sim.settle();
    assert_eq!(sim.core.in_flight(), 2);
    sim.run();
    assert_eq!(sim.delivered_texts().len(), 2);
}

#[test]
fn a_lane_that_was_in_the_session_and_is_gone_gives_it_up() {
    let mut sim = waiting(options(), 0, 1, QOS1);
    sim.run();
    *live(&mut sim) = ModelLog::default();
    sim.restart();
    sim.run();
    assert_eq!(sim.clean_starts(), [false, true]);
    sim.restart();
    sim.run();
    assert_eq!(sim.clean_starts(), [false, true, false]);
}

#[test]
fn a_lane_that_joins_a_session_doubles_nothing_wherever_kills_come() {
    for joins in 0..30 {
        for killed in 0..20 {
            let mut sim = Sim::new(BridgeOptions {
                inflight: 4,
                ..options()
            });
            sim.run(); // the upstream has a session
            for number in 0..4 {
                sim.log.append(message(&format!("b{number}"), QOS2));
            }
            sim.commit();
            let at = sim.steps + joins;
            while sim.steps < at && sim.step() {}
            let mut lane = ModelLog::default();
            for number in 0..3 {
                lane.append(message(&format!("l{number}"), QOS2));
            }
            lane.commit();
            sim.live = Some(lane);
            sim.restart();
            let at = sim.steps + killed;
            while sim.steps < at && sim.step() {}
            sim.restart();
            sim.run();
            let mut all = sim.delivered_texts();
            all.sort();
            let expected = ["b0", "b1", "b2", "b3", "l0", "l1", "l2"];
            assert_eq!(all, expected, "{joins} {killed}");
            assert!(!sim.clean_starts().contains(&true), "{joins} {killed}");
        }
    }
}

#[test]
fn a_lane_that_is_lost_or_salvaged_leaves_no_stale_id() {
    for at in 0..steps(2) + 2 {
        for is_lost in [false, true] {
            let mut sim = filled(2, 65_535, at % 2 == 0);
            while sim.steps < at && sim.step() {}
            sim.restart();
            if is_lost {
                *live(&mut sim) = ModelLog::default();
            } else {
                live(&mut sim).salvaged();
                live(&mut sim).skip_to(fieldgate::store::Seq(32_501));
            }
            sim.step(); // connects
            for number in 0..6 {
                live(&mut sim).append(message(&format!("new{number}"), QOS2));
            }
            sim.run();
            for number in 0..6 {
                let times = sim.times_delivered(&format!("new{number}"));
                assert_eq!(times, 1, "{at} {is_lost}: new{number}");
            }
        }
    }
}

#[test]
fn a_refused_message_ends_in_its_own_lane_wherever_a_kill_comes() {
    let run = |refused: &'static str, kill_at: Option<usize>| {
        // The same positions in both lanes.
        let mut sim = waiting(options(), 3, 3, QOS2);
        sim.upstream.refuses = Some((refused, ReasonCode::PayloadFormatInvalid));
        if let Some(at) = kill_at {
            while sim.steps < at && sim.step() {}
            sim.restart();
        }
        sim.run();
        let what = format!("{refused} {kill_at:?}");
        let of_live = refused.starts_with('l');
        let (live, log) = (sim.live.as_ref().unwrap(), &sim.log);
        assert!(live.is_empty() && log.is_empty(), "{what}");
        let (with, without) = if of_live { (live, log) } else { (log, live) };
        assert_eq!(with.dead_texts(), [refused], "{what}");
        assert!(without.dead.is_empty(), "{what}");
        assert_eq!(sim.delivered_texts().len(), 5, "{what}");
        let id = &with.dead[0]
            .1
            .message
            .properties
            .as_ref()
            .unwrap()
            .user_properties[0]
            .1;
        let expected = if of_live { "/live-2" } else { "/2" };
        assert!(id.ends_with(expected), "{what}: {id}");
        sim.steps
    };
    for refused in ["l1", "b1"] {
        for at in 0..run(refused, None) + 2 {
            run(refused, Some(at));
        }
    }
}

#[test]
fn a_message_on_which_the_upstream_closes_holds_up_neither_lane() {
    for bad in ["l1", "b1"] {
        for qos in [QOS1, QOS2] {
            let mut sim = waiting(options(), 3, 3, qos);
            sim.upstream.closes_on = Some(bad);
            sim.run();
            let live = sim.live.as_ref().unwrap();
            assert!(live.is_empty() && sim.log.is_empty(), "{bad}");
            let dead = [live.dead_texts(), sim.log.dead_texts()].concat();
            assert_eq!(dead, [bad]);
            for text in ["l0", "l2", "b0", "b2"] {
                assert!(sim.times_delivered(text) >= 1, "{bad}: {text}");
            }
        }
    }
}

#[test]
fn a_good_message_is_not_blamed_for_what_the_other_lane_sends_at_qos_0() {
    let options = BridgeOptions {
        late_share: 1,
        ..options()
    };
    let mut sim = waiting(options, 0, 0, QOS1);
    sim.upstream.closes_on = Some("poison");
    sim.log.append(message("good", QOS1));
    for _ in 0..6 {
        let before = sim.hang_ups;
        live(&mut sim).append(message("poison", QoS::AtMostOnce));
        while sim.hang_ups == before && sim.step() {}
        sim.upstream.lose_session();
    }
    sim.run();
    assert!(sim.hang_ups >= 4, "{}", sim.hang_ups);
    assert!(sim.log.dead.is_empty() && sim.log.is_empty());
    assert!(sim.times_delivered("good") >= 1);
}

/// The messages of a run: which lane and which QoS.
const BOTH: [(Lane, QoS); 8] = [
    (Lane::Backlog, QOS1),
    (Lane::Live, QOS2),
    (Lane::Backlog, QOS2),
    (Lane::Live, QOS1),
    (Lane::Live, QOS2),
    (Lane::Backlog, QOS2),
    (Lane::Live, QOS1),
    (Lane::Backlog, QOS1),
];

fn filled(inflight: u16, receive_maximum: u16, on_release: bool) -> Sim {
    let mut sim = Sim::with_live_lane(BridgeOptions {
        inflight,
        ..options()
    });
    sim.log = ModelLog::default();
    sim.upstream.connack.receive_maximum = receive_maximum;
    sim.upstream.delivers_on_release = on_release;
    for (number, (lane, qos)) in BOTH.into_iter().enumerate() {
        let message = message(&format!("m{number}"), qos);
        match lane {
            Lane::Backlog => sim.log.append(message),
            Lane::Live => live(&mut sim).append(message),
        };
    }
    sim.commit();
    sim.commit();
    sim
}

fn check(sim: &Sim, session_kept: bool, what: &str) {
    let is_empty = sim.log.is_empty() && sim.live.as_ref().unwrap().is_empty();
    assert!(is_empty, "{what}: something is left");
    for (number, (_, qos)) in BOTH.into_iter().enumerate() {
        let times = sim.times_delivered(&format!("m{number}"));
        assert!(times >= 1, "{what}: m{number} is lost");
        if qos == QOS2 && session_kept {
            assert_eq!(times, 1, "{what}: m{number} came more than once");
        }
    }
}

fn steps(inflight: u16) -> usize {
    let mut sim = filled(inflight, 65_535, false);
    run(&mut sim, &[]);
    check(&sim, true, "no fault");
    assert_eq!(sim.core.figures().maybe_duplicated, 0);
    sim.steps
}

#[test]
fn two_faults_at_every_pair_of_steps_lose_nothing_and_double_no_qos_2() {
    use Fault::{Cut, Fail, Kill};
    let last = steps(2) + 12;
    for first in 0..last {
        for second in first..last {
            for faults in [
                [Cut, Kill],
                [Kill, Cut],
                [Kill, Kill],
                [Fail, Kill],
                [Kill, Fail],
            ] {
                let on_release = (first + second) % 2 == 0;
                let faults = [(first, faults[0]), (second, faults[1])];
                let mut sim = filled(2, 65_535, on_release);
                run(&mut sim, &faults);
                check(&sim, true, &format!("{faults:?}"));
            }
        }
    }
}

#[test]
fn lost_sessions_moves_and_salvages_lose_nothing_and_leave_no_stale_id() {
    let last = steps(2) + 12;
    for first in 0..last {
        for second in first..last {
            for faults in [
                [Fault::Kill, Fault::LoseSession],
                [Fault::Move, Fault::Kill],
                [Fault::Move, Fault::Move],
                [Fault::Salvage, Fault::Kill],
            ] {
                let faults = [(first, faults[0]), (second, faults[1])];
                let mut sim = filled(2, 65_535, false);
                run(&mut sim, &faults);
                check(&sim, false, &format!("{faults:?}"));
                // All ids come round: a stale one would swallow a message, and the upstream panics.
                sim.log.skip_to(fieldgate::store::Seq(32_501));
                live(&mut sim).skip_to(fieldgate::store::Seq(32_501));
                for number in 0..6 {
                    sim.log.append(message(&format!("next{number}"), QOS2));
                    live(&mut sim).append(message(&format!("new{number}"), QOS2));
                }
                sim.run();
                for number in 0..6 {
                    assert!(sim.times_delivered(&format!("next{number}")) >= 1);
                    assert!(sim.times_delivered(&format!("new{number}")) >= 1);
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Message(Lane, QoS),
    Steps(usize),
    Commit,
    Fault(Fault),
}

fn happening() -> impl Strategy<Value = Happening> {
    let lane = || prop_oneof![Just(Lane::Backlog), Just(Lane::Live)];
    prop_oneof![
        2 => lane().prop_map(|lane| Happening::Message(lane, QOS1)),
        2 => lane().prop_map(|lane| Happening::Message(lane, QOS2)),
        4 => (1_usize..12).prop_map(Happening::Steps),
        1 => Just(Happening::Commit),
        1 => fault().prop_map(Happening::Fault),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn messages_of_both_lanes_that_come_between_faults_arrive_in_the_order_of_their_lane(
        inflight in 1_u16..8,
        receive_maximum in 2_u16..8,
        on_release: bool,
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut sim = filled(inflight, receive_maximum, on_release);
        let mut sent: Vec<(Lane, String, QoS)> = Vec::new();
        for (number, happening) in happenings.into_iter().enumerate() {
            match happening {
                Happening::Message(lane, qos) => {
                    let text = format!("n{number}");
                    let message = message(&text, qos);
                    match lane {
                        Lane::Backlog => sim.log.append(message),
                        Lane::Live => live(&mut sim).append(message),
                    };
                    sim.settle();
                    sent.push((lane, text, qos));
                }
                Happening::Steps(steps) => {
                    for _ in 0..steps {
                        sim.step();
                    }
                }
                Happening::Commit => sim.commit(),
                Happening::Fault(Fault::Kill) => {
                    let mut gone = sim.log.not_on_disk();
                    gone.extend(live(&mut sim).not_on_disk());
                    sent.retain(|(_, text, _)| !gone.contains(text));
                    sim.restart();
                }
                Happening::Fault(fault) => inflict(&mut sim, fault),
            }
        }
        sim.run();
        check(&sim, true, "what was there from the start");
        let delivered = sim.delivered_texts();
        for lane in [Lane::Backlog, Lane::Live] {
            let mut last = None;
            for (_, text, qos) in sent.iter().filter(|(of, ..)| *of == lane) {
                let times = sim.times_delivered(text);
                match qos {
                    QoS::ExactlyOnce => prop_assert_eq!(times, 1, "{}", text),
                    _ => prop_assert!(times >= 1, "{text} is lost"),
                }
                if *qos == QOS1 {
                    let first = delivered.iter().position(|it| it == text);
                    prop_assert!(first > last, "{text} came before an older one");
                    last = first;
                }
            }
        }
    }
}
