//! Cuts and kills at every step: nothing that was committed is lost, and QoS 2 arrives once as long as the upstream
//! keeps its session.

use proptest::prelude::*;

use fieldgate::mqtt::QoS;
use fieldgate::store::Seq;

use crate::sim::{ModelLog, Sim, message, options};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Cut,
    Kill,
    /// The bridge's task panics.
    Fail,
    LoseSession,
    /// The upstream loses its session and says that it has it.
    Lie,
    /// A kill, and the next start has another address.
    Move,
    /// A kill, and the next start finds damage.
    Salvage,
}

/// The messages of a run and which QoS each has.
const QOS: [QoS; 6] = [
    QoS::AtLeastOnce,
    QoS::ExactlyOnce,
    QoS::ExactlyOnce,
    QoS::AtLeastOnce,
    QoS::ExactlyOnce,
    QoS::AtLeastOnce,
];

fn filled(inflight: u16, receive_maximum: u16, on_release: bool) -> Sim {
    let mut sim = Sim::new(fieldgate::bridge::BridgeOptions {
        inflight,
        ..options()
    });
    // A new log: the first session is begun by Clean Start.
    sim.log = ModelLog::default();
    sim.upstream.connack.receive_maximum = receive_maximum;
    sim.upstream.delivers_on_release = on_release;
    for (number, qos) in QOS.into_iter().enumerate() {
        sim.log.append(message(&format!("m{number}"), qos));
    }
    // What a publisher was told is kept; only that is promised.
    sim.log.commit();
    sim
}

pub fn inflict(sim: &mut Sim, fault: Fault) {
    match fault {
        Fault::Cut => sim.cut(),
        Fault::Kill => sim.restart(),
        Fault::Fail => sim.fail(),
        Fault::Move => sim.move_elsewhere(),
        Fault::Salvage => {
            sim.restart();
            sim.log.salvaged();
        }
        Fault::LoseSession => {
            sim.cut();
            sim.upstream.lose_session();
        }
        Fault::Lie => {
            sim.cut();
            sim.upstream.lie_about_session();
        }
    }
}

/// Runs with faults before the given steps.
pub fn run(sim: &mut Sim, faults: &[(usize, Fault)]) {
    let mut faults = faults.to_vec();
    faults.sort_by_key(|(at, _)| *at);
    for (at, fault) in faults {
        while sim.steps < at && sim.step() {}
        inflict(sim, fault);
    }
    sim.run();
}

fn check(sim: &Sim, session_kept: bool, what: &str) {
    assert!(sim.log.is_empty(), "{what}: something is left");
    for (number, qos) in QOS.into_iter().enumerate() {
        let times = sim.times_delivered(&format!("m{number}"));
        assert!(times >= 1, "{what}: m{number} is lost");
        if qos == QoS::ExactlyOnce && session_kept {
            assert_eq!(times, 1, "{what}: m{number} came more than once");
        }
    }
}

/// Steps of a run without faults.
fn steps(inflight: u16) -> usize {
    let mut sim = filled(inflight, 65_535, false);
    run(&mut sim, &[]);
    check(&sim, true, "no fault");
    assert_eq!(sim.core.figures().delivered, QOS.len() as u64);
    assert_eq!(sim.core.figures().maybe_duplicated, 0);
    sim.steps
}

#[test]
fn without_faults_all_arrive_once_in_order() {
    let mut sim = filled(100, 65_535, false);
    run(&mut sim, &[]);
    assert_eq!(sim.delivered_texts(), ["m0", "m1", "m2", "m3", "m4", "m5"]);
}

#[test]
fn a_cut_at_every_step_loses_nothing_and_doubles_no_qos_2() {
    for inflight in [1, 2, 100] {
        for at in 0..steps(inflight) + 2 {
            for on_release in [false, true] {
                let mut sim = filled(inflight, 65_535, on_release);
                run(&mut sim, &[(at, Fault::Cut)]);
                check(
                    &sim,
                    true,
                    &format!("window {inflight}, cut before step {at}"),
                );
            }
        }
    }
}

#[test]
fn a_kill_at_every_step_loses_nothing_and_doubles_no_qos_2() {
    for inflight in [1, 2, 100] {
        for at in 0..steps(inflight) + 2 {
            for on_release in [false, true] {
                let mut sim = filled(inflight, 65_535, on_release);
                run(&mut sim, &[(at, Fault::Kill)]);
                check(
                    &sim,
                    true,
                    &format!("window {inflight}, kill before step {at}"),
                );
            }
        }
    }
}

#[test]
fn a_failure_at_every_pair_of_steps_loses_nothing_and_doubles_no_qos_2() {
    let last = steps(2) + 12;
    for first in 0..last {
        for second in first..last {
            for fault in [Fault::Fail, Fault::Kill, Fault::Cut] {
                for on_release in [false, true] {
                    let mut sim = filled(2, 65_535, on_release);
                    let faults = [(first, Fault::Fail), (second, fault)];
                    run(&mut sim, &faults);
                    check(&sim, true, &format!("{faults:?}"));
                }
            }
        }
    }
}

/// Sends until all ids have come round: a stale one at the upstream would swallow a message, and the upstream panics.
fn send_one_more_round(sim: &mut Sim) {
    sim.log.skip_to(Seq(65_001));
    for (number, _) in QOS.iter().enumerate() {
        sim.log
            .append(message(&format!("next{number}"), QoS::ExactlyOnce));
    }
    sim.run();
    for (number, _) in QOS.iter().enumerate() {
        assert!(sim.times_delivered(&format!("next{number}")) >= 1);
    }
}

#[test]
fn a_move_there_and_back_or_a_salvage_at_every_pair_of_steps_loses_nothing() {
    let last = steps(2) + 12;
    for first in 0..last {
        for second in first..last {
            for faults in [
                [(first, Fault::Move), (second, Fault::Kill)],
                [(first, Fault::Move), (second, Fault::Move)],
                [(first, Fault::Salvage), (second, Fault::Kill)],
                [(first, Fault::Salvage), (second, Fault::Move)],
            ] {
                for on_release in [false, true] {
                    let mut sim = filled(2, 65_535, on_release);
                    sim.elsewhere.delivers_on_release = on_release;
                    run(&mut sim, &faults);
                    check(&sim, false, &format!("{faults:?}"));
                    send_one_more_round(&mut sim);
                }
            }
        }
    }
}

#[test]
fn two_faults_at_every_pair_of_steps() {
    let last = steps(2) + 12;
    for first in 0..last {
        for second in first..last {
            for faults in [
                [(first, Fault::Cut), (second, Fault::Kill)],
                [(first, Fault::Kill), (second, Fault::Cut)],
                [(first, Fault::Kill), (second, Fault::Kill)],
                [(first, Fault::Cut), (second, Fault::Cut)],
            ] {
                for on_release in [false, true] {
                    let mut sim = filled(2, 65_535, on_release);
                    run(&mut sim, &faults);
                    check(&sim, true, &format!("{faults:?}"));
                }
            }
        }
    }
}

#[test]
fn a_lost_session_at_every_step_loses_nothing_and_is_counted() {
    for at in 0..steps(100) + 2 {
        let mut sim = filled(100, 65_535, at % 2 == 0);
        run(&mut sim, &[(at, Fault::LoseSession)]);
        check(&sim, false, &format!("session lost before step {at}"));
        let copies = sim.upstream.delivered.len() - QOS.len();
        assert!(
            copies as u64 <= sim.core.figures().maybe_duplicated,
            "step {at}: {copies} copies, {} counted",
            sim.core.figures().maybe_duplicated
        );
    }
}

/// Nothing on the wire tells such an upstream from an honest one but a PUBCOMP that does not know the id (0x92), which an honest one
/// says too where its PUBCOMP was lost. So what it had received is in doubt, and is counted.
#[test]
fn a_session_that_is_said_to_be_there_and_is_not_at_every_step_costs_no_more_than_is_in_doubt() {
    let mut lost_in_all = 0;
    for at in 0..steps(100) + 2 {
        for on_release in [false, true] {
            let what =
                format!("session lost in silence before step {at}, on release: {on_release}");
            let mut sim = filled(100, 65_535, on_release);
            run(&mut sim, &[(at, Fault::Lie)]);
            assert!(sim.log.is_empty(), "{what}: something is left");
            let mut lost = 0;
            for (number, qos) in QOS.into_iter().enumerate() {
                let times = sim.times_delivered(&format!("m{number}"));
                lost += u64::from(times == 0);
                if qos == QoS::AtLeastOnce {
                    assert!(times >= 1, "{what}: m{number} is lost");
                } else {
                    assert!(times <= 2, "{what}: m{number} came {times} times");
                }
            }
            let in_doubt = sim.core.figures().in_doubt;
            assert!(lost <= in_doubt, "{what}: {lost} lost, {in_doubt} in doubt");
            lost_in_all += lost;
        }
    }
    assert!(lost_in_all > 0, "the oracle has seen what it is for");
}

/// An upstream that accepts messages (PUBREC), loses its session and with it those messages, because it passes them on at
/// PUBREL only; and a fault of ours between its next CONNACK and the commit that voids our marks. The new session then
/// looks like the old one, and nothing on the wire tells them apart.
fn beyond_the_promise(faults: &[(usize, Fault)]) -> bool {
    let lost = faults.iter().position(|(_, f)| *f == Fault::LoseSession);
    lost.is_some_and(|lost| {
        faults
            .iter()
            .skip(lost + 1)
            .any(|(_, f)| *f != Fault::LoseSession)
    })
}

#[test]
fn a_lost_session_and_a_kill_at_every_pair_of_steps() {
    let last = steps(2) + 12;
    for first in 0..last {
        for second in first..last {
            for faults in [
                [(first, Fault::LoseSession), (second, Fault::Kill)],
                [(first, Fault::Kill), (second, Fault::LoseSession)],
            ] {
                for on_release in [false, true] {
                    if on_release && beyond_the_promise(&faults) {
                        continue;
                    }
                    let mut sim = filled(2, 65_535, on_release);
                    run(&mut sim, &faults);
                    check(&sim, false, &format!("{faults:?}"));
                }
            }
        }
    }
}

pub fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![Just(Fault::Cut), Just(Fault::Kill), Just(Fault::Fail)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn many_faults_anywhere(
        inflight in 1_u16..8,
        receive_maximum in 1_u16..8,
        on_release: bool,
        faults in prop::collection::vec((0_usize..120, fault()), 0..8),
    ) {
        let mut sim = filled(inflight, receive_maximum, on_release);
        run(&mut sim, &faults);
        check(&sim, true, "random faults");
    }

    #[test]
    fn many_faults_and_lost_sessions(
        inflight in 1_u16..8,
        on_release: bool,
        faults in prop::collection::vec(
            (0_usize..120, prop_oneof![fault(), Just(Fault::LoseSession)]), 0..8),
    ) {
        let mut faults = faults;
        faults.sort_by_key(|(at, _)| *at);
        let mut sim = filled(inflight, 65_535, on_release && !beyond_the_promise(&faults));
        run(&mut sim, &faults);
        check(&sim, false, "random faults and lost sessions");
    }
}

/// What may happen to a bridge in service.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Message(QoS),
    Steps(usize),
    Commit,
    Fault(Fault),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => Just(Happening::Message(QoS::AtLeastOnce)),
        2 => Just(Happening::Message(QoS::ExactlyOnce)),
        1 => Just(Happening::Message(QoS::AtMostOnce)),
        4 => (1_usize..12).prop_map(Happening::Steps),
        1 => Just(Happening::Commit),
        1 => fault().prop_map(Happening::Fault),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A position that was never committed is given to another message after a kill; what was acknowledged to its
    /// publisher, which is what was committed, arrives all the same.
    #[test]
    fn messages_that_come_between_faults_arrive_if_they_were_committed(
        inflight in 1_u16..8,
        on_release: bool,
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut sim = filled(inflight, 65_535, on_release);
        let mut sent: Vec<(String, QoS)> = Vec::new();
        for (number, happening) in happenings.into_iter().enumerate() {
            match happening {
                Happening::Message(qos) => {
                    let text = format!("n{number}");
                    sim.log.append(message(&text, qos));
                    sim.settle();
                    sent.push((text, qos));
                }
                Happening::Steps(steps) => {
                    for _ in 0..steps {
                        sim.step();
                    }
                }
                Happening::Commit => sim.commit(),
                Happening::Fault(Fault::Kill) => {
                    let gone = sim.log.not_on_disk();
                    sent.retain(|(text, _)| !gone.contains(text));
                    sim.restart();
                }
                Happening::Fault(fault) => inflict(&mut sim, fault),
            }
        }
        sim.run();
        check(&sim, true, "what was there from the start");
        for (text, qos) in sent {
            let times = sim.times_delivered(&text);
            match qos {
                // Lost with a connection, by its nature.
                QoS::AtMostOnce => prop_assert!(times <= 1),
                QoS::AtLeastOnce => prop_assert!(times >= 1, "{text} is lost"),
                QoS::ExactlyOnce => prop_assert_eq!(times, 1, "{}", text),
            }
        }
    }
}
