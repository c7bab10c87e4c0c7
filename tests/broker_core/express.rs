//! The short way beside the long one: two cores live through the same, one of them takes plain packets the short way where
//! it can. Nobody may be able to tell them apart.

use std::time::Duration;

use fieldgate::auth::{Principal, Rights};
use fieldgate::broker::Origin;
use fieldgate::broker::core::{ConnId, LogId};
use fieldgate::mqtt::{Acknowledge, Connect, Packet, ProtocolVersion, QoS, Subscription};
use fieldgate::store::Seq;
use fieldgate::topic::TopicFilter;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::story::{QOS0, QOS1, QOS2, SUCCESS, Story, pid, publish, route, subscription, v5, v311};

const CLIENTS: usize = 4;
const TOPICS: [&str; 4] = ["a", "a/b", "b", "up/b"];
const FILTERS: [&str; 7] = ["a", "a/+", "a/#", "#", "+/b", "$share/g/a/b", "b"];

#[derive(Clone, Debug)]
enum Step {
    Connect {
        client: usize,
        kind: u8,
    },
    Cut {
        client: usize,
    },
    Subscribe {
        client: usize,
        filter: usize,
        qos: QoS,
        options: u8,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish {
        client: usize,
        topic: usize,
        qos: QoS,
        id: u16,
        flags: u8,
    },
    Acknowledge {
        client: usize,
        packet: u8,
        id: u16,
    },
    Congest {
        client: usize,
        congested: bool,
    },
    /// Rules that let everybody read and publish `a` and below, or nothing, or all.
    Revise {
        may: u8,
    },
    Pass,
}

fn steps() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    let qos = || (0..3u8).prop_map(|bits| QoS::from_bits(bits).unwrap());
    prop_oneof![
        3 => (client(), 0..4u8).prop_map(|(client, kind)| Step::Connect { client, kind }),
        1 => client().prop_map(|client| Step::Cut { client }),
        3 => (client(), 0..FILTERS.len(), qos(), 0..8u8).prop_map(|(client, filter, qos, options)| {
            Step::Subscribe { client, filter, qos, options }
        }),
        1 => (client(), 0..FILTERS.len())
            .prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        16 => (client(), 0..TOPICS.len(), qos(), 1..4u16, 0..16u8).prop_map(
            |(client, topic, qos, id, flags)| Step::Publish { client, topic, qos, id, flags }
        ),
        16 => (client(), 0..4u8, 1..5u16)
            .prop_map(|(client, packet, id)| Step::Acknowledge { client, packet, id }),
        1 => (client(), any::<bool>())
            .prop_map(|(client, congested)| Step::Congest { client, congested }),
        1 => (0..4u8).prop_map(|may| Step::Revise { may }),
        1 => Just(Step::Pass),
    ]
}

struct World {
    story: Story,
    conns: [Option<ConnId>; CLIENTS],
}

impl World {
    fn new(express: bool) -> Self {
        let mut story = Story::with(|limits| {
            limits.inflight = 3;
            limits.queued_messages = 4;
        });
        story.express = express;
        story
            .core
            .attach_log(LogId::Bridge(0), Seq(1), vec![route("up/#")]);
        Self {
            story,
            conns: [None; CLIENTS],
        }
    }

    fn connect(&mut self, client: usize, kind: u8) {
        let id = format!("client{client}");
        let connect = match kind {
            0 => v311(&id, true),
            1 => Connect {
                session_expiry: 0,
                ..v5(&id)
            },
            2 => Connect {
                session_expiry: 0,
                topic_alias_maximum: 2,
                maximum_packet_size: Some(40),
                ..v5(&id)
            },
            _ => v5(&id),
        };
        let conn = self
            .story
            .log_in(Origin::Client, Principal::default(), connect);
        if let Some(taken_over) = self.conns[client].replace(conn) {
            self.story.cut(taken_over);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Connect { client, kind } => self.connect(client, kind),
            Step::Revise { may } => self.revise(may),
            Step::Pass => self.story.pass(Duration::from_secs(20)),
            Step::Cut { client }
            | Step::Subscribe { client, .. }
            | Step::Unsubscribe { client, .. }
            | Step::Publish { client, .. }
            | Step::Acknowledge { client, .. }
            | Step::Congest { client, .. } => {
                if let Some(conn) = self.conns[client] {
                    self.step_of(client, conn, step);
                }
            }
        }
    }

    fn step_of(&mut self, client: usize, conn: ConnId, step: &Step) {
        let story = &mut self.story;
        match *step {
            Step::Cut { .. } => {
                self.conns[client] = None;
                story.cut(conn);
            }
            Step::Subscribe {
                filter,
                qos,
                options,
                ..
            } => {
                let is_v5 = story.core.version(conn) == ProtocolVersion::V5;
                let subscription = Subscription {
                    no_local: options & 1 > 0 && is_v5 && !FILTERS[filter].starts_with('$'),
                    retain_as_published: options & 2 > 0,
                    ..subscription(FILTERS[filter], qos)
                };
                let id = (options == 7 && is_v5).then_some(5);
                story.subscribe_with(conn, subscription, id);
            }
            Step::Unsubscribe { filter, .. } => story.unsubscribe(conn, FILTERS[filter]),
            Step::Publish {
                topic,
                qos,
                id,
                flags,
                ..
            } => {
                let mut publish = publish(TOPICS[topic], "payload", qos, id);
                publish.retain = flags == 1;
                publish.dup = flags == 2 && qos > QOS0;
                if flags == 3 {
                    publish.payload = vec![b'x'; 30].into();
                }
                story.packet(conn, Packet::Publish(publish));
            }
            Step::Acknowledge { packet, id, .. } => {
                let acknowledge = Acknowledge::new(pid(id), SUCCESS);
                let packet = match packet {
                    0 => Packet::Puback(acknowledge),
                    1 => Packet::Pubrec(acknowledge),
                    2 => Packet::Pubrel(acknowledge),
                    _ => Packet::Pubcomp(acknowledge),
                };
                story.packet(conn, packet);
            }
            Step::Congest { congested, .. } => story.core.congested(conn, congested),
            Step::Connect { .. } | Step::Revise { .. } | Step::Pass => {}
        }
    }

    fn revise(&mut self, may: u8) {
        let a = [TopicFilter::try_from("a/#").unwrap()];
        let rights = match may {
            0 => Some(Rights::allowing(&a, &a)),
            1 => Some(Rights::allowing(&a, &[])),
            _ => None,
        };
        let rights = rights.map(std::sync::Arc::new);
        let now = self.story.now;
        self.story
            .core
            .revise(now, 0, usize::MAX, &mut |principal, _| {
                Some(Principal {
                    rights: rights.clone(),
                    ..principal.clone()
                })
            });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_can_tell_the_short_way_from_the_long_one(steps in vec(steps(), 1..200)) {
        let (mut short, mut long) = (World::new(true), World::new(false));
        long.story.now = short.story.now;
        for world in [&mut short, &mut long] {
            for client in 0..CLIENTS {
                world.connect(client, client as u8);
            }
        }
        for step in &steps {
            short.step(step);
            long.step(step);
            prop_assert_eq!(short.story.told(), long.story.told(), "{:?}", step);
            prop_assert_eq!(short.story.pauses(), long.story.pauses());
        }
        prop_assert_eq!(short.story.core.stats(), long.story.core.stats());
        let rows = |world: &World| {
            world.story.core.sessions(world.story.now, 0, usize::MAX).0
        };
        prop_assert_eq!(rows(&short), rows(&long));
    }
}

/// A publisher and a subscriber whose sessions end with their connections.
fn pair(qos: QoS) -> (Story, ConnId, ConnId) {
    let mut story = Story::new();
    let publisher = story.connect_with(v311("publisher", true));
    let subscriber = story.connect_with(v311("subscriber", true));
    story.subscribe(subscriber, "a/+", qos);
    story.told();
    (story, publisher, subscriber)
}

#[test]
fn a_message_and_its_acknowledgements_go_the_short_way_at_every_qos() {
    for (qos, packets) in [(QOS0, 1), (QOS1, 2), (QOS2, 4)] {
        let (mut story, publisher, subscriber) = pair(qos);
        let id = story.publish(publisher, "a/b", "payload", qos);
        if qos == QOS1 {
            story.puback(subscriber, 1);
        } else if qos == QOS2 {
            story.pubrec(subscriber, 1);
            story.pubrel(publisher, id);
            story.pubcomp(subscriber, 1);
        }
        assert_eq!(story.expressed, packets, "{qos:?}");
    }
}

#[test]
fn what_changes_who_gets_a_message_ends_the_lane() {
    let (mut story, publisher, subscriber) = pair(QOS1);
    story.publish(publisher, "a/b", "1", QOS1);
    let other = story.connect_with(v311("other", true));
    story.subscribe(other, "#", QOS0);
    story.told();
    story.publish(publisher, "a/b", "2", QOS1);
    assert_eq!(story.expressed, 2);
    assert_eq!(
        story.told(),
        ["3 PUBLISH a/b=2 q0", "2 PUBLISH a/b=2 q1 #2", "1 PUBACK 2"]
    );
    story.unsubscribe(other, "#");
    story.cut(subscriber);
    story.told();
    story.publish(publisher, "a/b", "3", QOS1);
    assert_eq!(story.told(), ["1 PUBACK 3"]);
}
