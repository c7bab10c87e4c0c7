//! Random clients against the core, beside a model that knows only what the standard promises them: who gets what, in
//! which order, how often, and when a publisher may be told so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fieldgate::broker::core::{ConnId, Effect, LogId};
use fieldgate::mqtt::{Acknowledge, Connect, Message, Packet, PacketId, Publish, QoS};
use fieldgate::store::Seq;
use fieldgate::topic::{TopicFilter, TopicName};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::story::{QOS0, QOS2, SUCCESS, Story, pid, publish, route, v5};

const CLIENTS: usize = 4;
const TOPICS: [&str; 4] = ["a", "a/b", "b", "$c/b"];
const FILTERS: [&str; 6] = ["a", "a/+", "a/#", "#", "+/b", "$c/#"];

#[derive(Clone, Debug)]
enum Step {
    Connect {
        client: usize,
        clean: bool,
    },
    Cut {
        client: usize,
    },
    Subscribe {
        client: usize,
        filter: usize,
        qos: QoS,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish {
        client: usize,
        topic: usize,
        qos: QoS,
    },
    /// The client sends the oldest acknowledgement that it owes.
    Acknowledge {
        client: usize,
    },
    Congest {
        client: usize,
        congested: bool,
    },
    Cover,
}

fn steps() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let qos = || (0..3u8).prop_map(|bits| QoS::from_bits(bits).unwrap());
    prop_oneof![
        3 => (client.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(client, one, other)| Step::Connect { client, clean: one && other }),
        1 => client.clone().prop_map(|client| Step::Cut { client }),
        3 => (client.clone(), 0..FILTERS.len(), qos())
            .prop_map(|(client, filter, qos)| Step::Subscribe { client, filter, qos }),
        1 => (client.clone(), 0..FILTERS.len())
            .prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        8 => (client.clone(), 0..TOPICS.len(), qos())
            .prop_map(|(client, topic, qos)| Step::Publish { client, topic, qos }),
        8 => client.clone().prop_map(|client| Step::Acknowledge { client }),
        1 => (client, any::<bool>())
            .prop_map(|(client, congested)| Step::Congest { client, congested }),
        3 => Just(Step::Cover),
    ]
}

/// A client that keeps the rules, and what the standard promises it.
#[derive(Default)]
struct Client {
    conn: Option<ConnId>,
    congested: bool,
    session: bool,
    filters: BTreeMap<usize, QoS>,
    /// Numbers of the messages due at QoS 1 and 2, in order, and those that came.
    due: Vec<u32>,
    came: Vec<u32>,
    due_at_qos_0: Vec<u32>,
    came_at_qos_0: Vec<u32>,
    /// QoS 2 ids between PUBLISH and PUBREL.
    taken: BTreeSet<PacketId>,
    owes: VecDeque<Packet>,
    /// Its own QoS 1 and 2 messages that are not done: number, and whether PUBREC came.
    sent: BTreeMap<PacketId, (Publish, u32, bool)>,
    ids: u16,
    /// What the last CONNACK said.
    present: Option<bool>,
}

struct World {
    story: Story,
    clients: Vec<Client>,
    published: u32,
    /// Where each message stands in the log, by number.
    seqs: BTreeMap<u32, u64>,
    appended: u64,
    covered: u64,
    /// At QoS 0 to congested clients.
    dropped: u64,
}

impl World {
    fn new() -> Self {
        let mut story = Story::with(|limits| limits.inflight = 2);
        let routes = vec![route("a/#"), route("$c/#")];
        story.core.attach_log(LogId::Bridge(0), Seq(1), routes);
        Self {
            story,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            published: 0,
            seqs: BTreeMap::new(),
            appended: 0,
            covered: 0,
            dropped: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect { client, clean } => self.connect(client, clean),
            Step::Cut { client } => {
                if let Some(conn) = self.clients[client].conn {
                    self.story.cut(conn);
                    self.clients[client].hang_up(persistent(client));
                }
            }
            Step::Subscribe {
                client,
                filter,
                qos,
            } => {
                if let Some(conn) = self.clients[client].conn {
                    self.story.subscribe(conn, FILTERS[filter], qos);
                    self.clients[client].filters.insert(filter, qos);
                }
            }
            Step::Unsubscribe { client, filter } => {
                if let Some(conn) = self.clients[client].conn {
                    self.story.unsubscribe(conn, FILTERS[filter]);
                    self.clients[client].filters.remove(&filter);
                }
            }
            Step::Publish { client, topic, qos } => self.publish(client, TOPICS[topic], qos),
            Step::Acknowledge { client } => {
                if let Some(conn) = self.clients[client].conn
                    && let Some(packet) = self.clients[client].owes.pop_front()
                {
                    self.story.packet(conn, packet);
                }
            }
            Step::Congest { client, congested } => {
                if let Some(conn) = self.clients[client].conn {
                    self.story.core.congested(conn, congested);
                    self.clients[client].congested = congested;
                }
            }
            Step::Cover => {
                self.covered = self.appended;
                self.story.covered(0, self.covered);
            }
        }
        self.absorb();
    }

    fn connect(&mut self, number: usize, clean: bool) {
        let client = &mut self.clients[number];
        client.hang_up(persistent(number));
        if clean {
            client.forget();
        }
        let present = std::mem::replace(&mut client.session, true);
        let conn = self.story.connect_with(Connect {
            clean_start: clean,
            session_expiry: if persistent(number) { 3600 } else { 0 },
            ..v5(&format!("client-{number}"))
        });
        client.conn = Some(conn);
        self.absorb();
        let connacks = self.story.effects();
        assert!(connacks.is_empty());
        let client = &mut self.clients[number];
        assert_eq!(client.present.take(), Some(present), "session present");
        for (id, (publish, _, received)) in client.sent.clone() {
            let packet = if received {
                Packet::Pubrel(Acknowledge::new(id, SUCCESS))
            } else {
                Packet::Publish(Publish {
                    dup: true,
                    ..publish
                })
            };
            self.story.packet(conn, packet);
        }
    }

    fn publish(&mut self, number: usize, topic: &str, qos: QoS) {
        let Some(conn) = self.clients[number].conn else {
            return;
        };
        self.published += 1;
        let message = self.published;
        let publisher = &mut self.clients[number];
        publisher.ids += 1;
        let packet = publish(topic, &message.to_string(), qos, publisher.ids);
        if qos != QOS0 {
            let id = pid(publisher.ids);
            publisher.sent.insert(id, (packet.clone(), message, false));
        }
        let name = TopicName::try_from(topic).unwrap();
        for client in &mut self.clients {
            let matching = client.filters.iter().filter(|(filter, _)| {
                TopicFilter::try_from(FILTERS[**filter])
                    .unwrap()
                    .matches(&name)
            });
            match matching.map(|(_, granted)| qos.min(*granted)).max() {
                Some(QOS0) if client.conn.is_some() && !client.congested => {
                    client.due_at_qos_0.push(message);
                }
                Some(QOS0) if client.conn.is_some() => self.dropped += 1,
                None | Some(QOS0) => {}
                Some(_) => client.due.push(message),
            }
        }
        self.story.packet(conn, Packet::Publish(packet));
    }

    fn absorb(&mut self) {
        for effect in self.story.effects() {
            match effect {
                Effect::Append { seq, record, .. } => {
                    self.appended += 1;
                    assert_eq!(seq.0, self.appended);
                    let fresh = self.seqs.insert(number(&record.message), seq.0);
                    assert_eq!(fresh, None, "appended twice");
                }
                Effect::Deliver {
                    conn,
                    message,
                    qos,
                    dup,
                    packet_id,
                    ..
                } => self
                    .client(conn)
                    .deliver(number(&message), qos, dup, packet_id),
                Effect::Send { conn, packet } => self.control(conn, packet),
                Effect::Close { conn, cause } => {
                    let current = self.clients.iter().any(|client| client.conn == Some(conn));
                    assert!(!current, "closed for {cause}");
                }
                other => panic!("without a store, and of clients: {other:?}"),
            }
        }
    }

    fn control(&mut self, conn: ConnId, packet: Packet) {
        let (seqs, covered) = (self.seqs.clone(), self.covered);
        let check = |number: &u32| {
            let seq = seqs.get(number).copied().unwrap_or(0);
            assert!(seq <= covered, "acknowledged before it was covered");
        };
        if matches!(packet, Packet::Disconnect(_)) {
            return; // to a connection that was taken over
        }
        let client = self.client(conn);
        match packet {
            Packet::Connack(connack) => client.present = Some(connack.session_present),
            Packet::Puback(puback) => {
                let (_, number, _) = client.sent.remove(&puback.packet_id).unwrap();
                check(&number);
            }
            Packet::Pubrec(pubrec) => {
                let (_, number, received) = client.sent.get_mut(&pubrec.packet_id).unwrap();
                *received = true;
                check(number);
                let pubrel = Acknowledge::new(pubrec.packet_id, SUCCESS);
                client.owes.push_back(Packet::Pubrel(pubrel));
            }
            Packet::Pubcomp(pubcomp) => {
                client.sent.remove(&pubcomp.packet_id);
            }
            Packet::Pubrel(pubrel) => {
                client.taken.remove(&pubrel.packet_id);
                client.owes.push_back(Packet::Pubcomp(pubrel));
            }
            Packet::Suback(_) | Packet::Unsuback(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn client(&mut self, conn: ConnId) -> &mut Client {
        let mut clients = self.clients.iter_mut();
        clients
            .find(|client| client.conn == Some(conn))
            .expect("sent to a connection that is gone")
    }

    /// Everybody comes back, everything is covered and acknowledged: then all that was due has come, once and in order.
    fn settle(&mut self) {
        for client in 0..CLIENTS {
            if self.clients[client].conn.is_none() {
                self.step(Step::Connect {
                    client,
                    clean: false,
                });
            }
            self.step(Step::Congest {
                client,
                congested: false,
            });
        }
        self.step(Step::Cover);
        while let Some(client) = (0..CLIENTS).find(|client| !self.clients[*client].owes.is_empty())
        {
            self.step(Step::Acknowledge { client });
        }
        for client in &self.clients {
            assert_eq!(client.came, client.due);
            assert_eq!(client.came_at_qos_0, client.due_at_qos_0);
            assert!(
                client.sent.is_empty(),
                "a publisher is still owed an answer"
            );
        }
        assert_eq!(self.story.core.stats().dropped, self.dropped);
    }
}

impl Client {
    fn deliver(&mut self, number: u32, qos: QoS, dup: bool, id: Option<PacketId>) {
        if qos == QOS0 {
            assert!(!self.congested);
            self.came_at_qos_0.push(number);
            return;
        }
        let id = id.unwrap();
        let acknowledge = Acknowledge::new(id, SUCCESS);
        if qos == QOS2 {
            self.owes.push_back(Packet::Pubrec(acknowledge));
            if !self.taken.insert(id) {
                assert!(dup);
                return;
            }
        } else {
            self.owes.push_back(Packet::Puback(acknowledge));
        }
        if self.came.contains(&number) {
            assert!(dup && qos != QOS2, "{number} came twice at {qos:?}");
        } else {
            self.came.push(number);
        }
    }

    /// What a broken connection costs.
    fn hang_up(&mut self, persistent: bool) {
        self.conn = None;
        self.congested = false;
        self.owes.clear();
        // A QoS 1 message would be a new one when sent again, so this publisher lets it be.
        self.sent.retain(|_, (publish, ..)| publish.qos == QOS2);
        if !persistent {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.session = false;
        self.filters.clear();
        self.taken.clear();
        self.sent.clear();
        self.due = self.came.clone();
    }
}

fn persistent(client: usize) -> bool {
    client != 0
}

fn number(message: &Message) -> u32 {
    std::str::from_utf8(&message.payload)
        .unwrap()
        .parse()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everybody_gets_what_is_due_once_and_in_order(steps in vec(steps(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}
