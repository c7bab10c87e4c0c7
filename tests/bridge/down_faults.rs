//! The way down, cut or killed at every step: a scripted upstream above, the core, and a local broker that keeps its marks.
//! QoS 1 comes at least once, QoS 2 once, first copies in order.

use std::collections::{HashSet, VecDeque};

use fieldgate::bridge::{BridgeOptions, ReceiveRoute};
use fieldgate::broker::{InletAnswer, RetainPolicy};
use fieldgate::mqtt::{Packet, Publish, QoS, ReasonCode};
use fieldgate::topic::{Template, TopicFilter};

use crate::sim::{Sim, acknowledge, message, options, topic};

const QOS: [QoS; 5] = [
    QoS::AtLeastOnce,
    QoS::ExactlyOnce,
    QoS::ExactlyOnce,
    QoS::AtLeastOnce,
    QoS::ExactlyOnce,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Cut,
    Kill,
}

/// A message that the upstream has not seen the end of; its id is its number and one.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    number: u16,
    qos: QoS,
    is_sent: bool,
    is_received: bool,
}

struct World {
    sim: Sim,
    /// Of the upstream's session.
    unfinished: Vec<Unfinished>,
    wire: VecDeque<Packet>,
    /// What the local broker keeps: the ids between PUBLISH and PUBREL.
    marks: HashSet<u16>,
    answers: VecDeque<InletAnswer>,
    delivered: Vec<String>,
    /// Messages come before the local broker is there.
    is_early: bool,
    steps: usize,
}

impl World {
    fn new(is_early: bool) -> Self {
        let route = ReceiveRoute {
            filter: TopicFilter::try_from("site/#").unwrap(),
            topic: Template::parse("{2..}", &[], true).unwrap(),
            qos: QoS::ExactlyOnce,
            retain: RetainPolicy::Keep,
        };
        let unfinished = (0..).zip(QOS).map(|(number, qos)| Unfinished {
            number,
            qos,
            is_sent: false,
            is_received: false,
        });
        let mut world = Self {
            sim: Sim::new(BridgeOptions {
                receive: vec![route],
                ..options()
            }),
            unfinished: unfinished.collect(),
            wire: VecDeque::new(),
            marks: HashSet::new(),
            answers: VecDeque::new(),
            delivered: Vec::new(),
            is_early,
            steps: 0,
        };
        world.connect();
        world
    }

    /// The session goes on: what is unfinished is sent again, in order.
    fn connect(&mut self) {
        self.sim.run();
        for one in &mut self.unfinished {
            let id = one.number + 1;
            self.wire.push_back(if one.is_received {
                Packet::Pubrel(acknowledge(id, ReasonCode::Success))
            } else {
                Packet::Publish(Publish {
                    topic: Some(topic("site/a")),
                    dup: std::mem::replace(&mut one.is_sent, true),
                    ..message(&format!("m{}", one.number), one.qos)
                        .into_publish(Some(acknowledge(id, ReasonCode::Success).packet_id))
                })
            });
        }
        if self.is_early {
            while let Some(packet) = self.wire.pop_front() {
                self.sim.say(packet);
            }
        }
        self.sim.open_inlet();
        self.sim.run();
    }

    fn inflict(&mut self, fault: Fault) {
        self.wire.clear();
        self.answers.clear();
        match fault {
            Fault::Cut => self.sim.cut(),
            Fault::Kill => self.sim.restart(),
        }
        // What was on its way to the local broker, and to the upstream, is gone.
        self.sim.passed.clear();
        drop(self.sim.sent());
        self.connect();
    }

    fn broker_takes(&mut self, packet: Packet) {
        match packet {
            Packet::Publish(publish) => {
                let id = publish.packet_id.unwrap();
                let is_new = publish.qos == QoS::AtLeastOnce || self.marks.insert(id.get());
                if is_new {
                    let text = String::from_utf8(publish.payload.to_vec()).unwrap();
                    self.delivered.push(text);
                }
                let answer = acknowledge(id.get(), ReasonCode::Success);
                self.answers.push_back(match publish.qos {
                    QoS::ExactlyOnce => InletAnswer::Pubrec(answer),
                    _ => InletAnswer::Puback(answer),
                });
            }
            Packet::Pubrel(pubrel) => {
                let id = pubrel.packet_id.get();
                let reason = match self.marks.remove(&id) {
                    true => ReasonCode::Success,
                    false => ReasonCode::PacketIdentifierNotFound,
                };
                let answer = acknowledge(id, reason);
                self.answers.push_back(InletAnswer::Pubcomp(answer));
            }
            other => panic!("{other:?} for the local broker"),
        }
    }

    fn upstream_takes(&mut self, packet: Packet) {
        let (Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubcomp(ack)) = &packet else {
            panic!("{packet:?} for the upstream");
        };
        let number = ack.packet_id.get() - 1;
        let at = self.unfinished.iter().position(|one| one.number == number);
        let at = at.expect("an answer to what is unfinished");
        if let Packet::Pubrec(_) = packet {
            self.unfinished[at].is_received = true;
            let pubrel = acknowledge(number + 1, ReasonCode::Success);
            self.wire.push_back(Packet::Pubrel(pubrel));
        } else {
            self.unfinished.remove(at);
        }
    }

    /// One thing happens; false: nothing is left to happen.
    fn step(&mut self) -> bool {
        self.steps += 1;
        for turn in 0..4 {
            match (self.steps + turn) % 4 {
                0 => {
                    if let Some(packet) = self.wire.pop_front() {
                        self.sim.say(packet);
                        return true;
                    }
                }
                1 if !self.sim.passed.is_empty() => {
                    let packet = self.sim.passed.remove(0);
                    self.broker_takes(packet);
                    return true;
                }
                2 => {
                    if let Some(answer) = self.answers.pop_front() {
                        self.sim.answer(&answer);
                        return true;
                    }
                }
                _ => {
                    let sent = self.sim.sent();
                    if !sent.is_empty() {
                        sent.into_iter()
                            .for_each(|packet| self.upstream_takes(packet));
                        return true;
                    }
                }
            }
        }
        false
    }

    fn run(&mut self, faults: &[(usize, Fault)]) {
        for &(at, fault) in faults {
            while self.steps < at && self.step() {}
            self.inflict(fault);
        }
        while self.step() {
            assert!(self.steps < 1000, "it never comes to rest");
        }
    }

    fn check(&self, what: &str) {
        assert!(self.unfinished.is_empty(), "{what}: {:?}", self.unfinished);
        assert!(self.marks.is_empty(), "{what}: a mark is left");
        let mut firsts = Vec::new();
        for text in &self.delivered {
            if !firsts.contains(text) {
                firsts.push(text.clone());
            }
        }
        assert_eq!(firsts, ["m0", "m1", "m2", "m3", "m4"], "{what}");
        for (number, qos) in QOS.into_iter().enumerate() {
            let is = |text: &&String| **text == format!("m{number}");
            let times = self.delivered.iter().filter(is).count();
            assert!(
                qos != QoS::ExactlyOnce || times == 1,
                "{what}: m{number} came {times} times"
            );
        }
    }
}

fn steps() -> usize {
    let mut world = World::new(false);
    world.run(&[]);
    world.check("no fault");
    assert_eq!(world.delivered.len(), QOS.len());
    world.steps
}

#[test]
fn a_cut_or_a_kill_at_every_step_loses_nothing_and_doubles_no_qos_2() {
    for at in 0..=steps() {
        for fault in [Fault::Cut, Fault::Kill] {
            for is_early in [false, true] {
                let mut world = World::new(is_early);
                world.run(&[(at, fault)]);
                world.check(&format!("{fault:?} before step {at}, early: {is_early}"));
            }
        }
    }
}

#[test]
fn faults_at_every_pair_of_steps_lose_nothing_and_double_no_qos_2() {
    let last = steps() + 8;
    for first in 0..last {
        for second in first..last {
            for faults in [
                [(first, Fault::Cut), (second, Fault::Cut)],
                [(first, Fault::Cut), (second, Fault::Kill)],
                [(first, Fault::Kill), (second, Fault::Cut)],
            ] {
                let mut world = World::new(second % 2 == 0);
                world.run(&faults);
                world.check(&format!("{faults:?}"));
            }
        }
    }
}
