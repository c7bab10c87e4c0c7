//! Random clients against the core and a store that commits late and crashes, beside a model that knows only what was
//! promised: what was acknowledged reaches every kept session that was subscribed, in order, at QoS 2 once; sessions,
//! subscriptions and retained messages are there as acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fieldgate::broker::WhenQueueFull;
use fieldgate::broker::core::{ConnId, Effect};
use fieldgate::mqtt::{Acknowledge, Connect, Message, Packet, PacketId, Publish, QoS};
use fieldgate::topic::{TopicFilter, TopicName};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fake_store::FakeStore;
use crate::story::{QOS0, QOS1, QOS2, SUCCESS, Story, pid, publish, route, subscription, v5};

const CLIENTS: usize = 4;
const TOPICS: [&str; 3] = ["a", "a/b", "b"];
const FILTERS: [&str; 5] = ["a", "a/+", "a/#", "#", "+/b"];

#[derive(Clone, Debug)]
enum Step {
    Connect {
        client: usize,
        clean: bool,
        window: u16,
    },
    Cut(usize),
    /// SUBSCRIBE, or UNSUBSCRIBE.
    Filter {
        client: usize,
        filter: usize,
        qos: Option<QoS>,
    },
    Publish {
        client: usize,
        topic: usize,
        qos: QoS,
        retain: bool,
        times: usize,
    },
    /// The client sends the oldest acknowledgements that it owes.
    Acknowledge {
        client: usize,
        times: usize,
    },
    Congest {
        client: usize,
        congested: bool,
    },
    CommitLog,
    CommitState,
    CommitBridge,
    Read,
    Answer,
    Crash,
}

fn steps() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    let qos = || (0..3u8).prop_map(|bits| QoS::from_bits(bits).unwrap());
    let times = || prop_oneof![20 => 1..4usize, 1 => Just(200usize)];
    prop_oneof![
        6 => (client(), 0..8u8, 1..4u16).prop_map(|(client, dice, window)| Step::Connect {
            client,
            clean: dice == 0,
            window
        }),
        2 => client().prop_map(Step::Cut),
        5 => (client(), 0..FILTERS.len(), qos(), 0..4u8).prop_map(|(client, filter, qos, dice)| {
            Step::Filter { client, filter, qos: (dice > 0).then_some(qos) }
        }),
        10 => (client(), 0..TOPICS.len(), qos(), 0..4u8, times()).prop_map(
            |(client, topic, qos, dice, times)| Step::Publish {
                client, topic, qos, retain: dice == 0, times
            }
        ),
        10 => (client(), times()).prop_map(|(client, times)| Step::Acknowledge { client, times }),
        1 => (client(), any::<bool>())
            .prop_map(|(client, congested)| Step::Congest { client, congested }),
        3 => Just(Step::CommitLog),
        3 => Just(Step::CommitState),
        3 => Just(Step::CommitBridge),
        4 => Just(Step::Read),
        4 => Just(Step::Answer),
        1 => Just(Step::Crash),
    ]
}

/// What a client knows, and what it is due.
#[derive(Default)]
struct Client {
    conn: Option<ConnId>,
    /// The CONNACK has come.
    greeted: bool,
    congested: bool,
    /// Nothing is read from it; what it would send, it does later or not at all.
    paused: bool,
    /// Whether there is a session; `None`: the client cannot know.
    session: Option<bool>,
    /// This connection asked for a clean start.
    clean: bool,
    /// So many messages had been published when this connection began, and so much had happened.
    began: u32,
    began_at: u32,
    /// What it last asked of each filter, and whether that was acknowledged.
    filters: BTreeMap<usize, (Option<QoS>, bool)>,
    /// Filters whose SUBACK or UNSUBACK is due, in order.
    asked: VecDeque<usize>,
    /// Messages that may come, by number: whether they must, once acknowledged, and since when.
    due: BTreeMap<u32, (bool, u32)>,
    /// Those that came, in order.
    came: Vec<u32>,
    came_set: BTreeSet<u32>,
    /// Those of them that came at QoS 2 in this session: not again, at whatever QoS. One that came at QoS 1 went out
    /// before it was committed, so after a crash it may come again, and at QoS 2 where the client has asked for that.
    came_once: BTreeSet<u32>,
    /// Of each message, live or retained, the ids that it came with. A retained one comes once for each subscription.
    ids_seen: BTreeMap<(u32, bool), BTreeSet<PacketId>>,
    /// QoS 2 ids between PUBLISH and PUBREL.
    taken: BTreeSet<PacketId>,
    owes: VecDeque<Packet>,
    /// Its own QoS 1 and 2 messages that are not done: number, and whether PUBREC came.
    sent: BTreeMap<PacketId, (Publish, u32, bool)>,
    ids: u16,
}

/// What is known of a message.
struct Told {
    publisher: usize,
    topic: usize,
    qos: QoS,
    retain: bool,
    /// When it was handed in first and last, and when it was acknowledged; in ticks.
    first: u32,
    sent: u32,
    acknowledged: Option<u32>,
    /// When a crash found it retained, or that it had been: it is not retained again.
    stored: Option<u32>,
}

struct World {
    story: Story,
    store: FakeStore,
    clients: Vec<Client>,
    /// By number, from 1.
    told: Vec<Told>,
    tick: u32,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            story: Story::with(|limits| limits.inflight = 3),
            store: FakeStore::default(),
            clients: (0..CLIENTS).map(|_| Client::new()).collect(),
            told: Vec::new(),
            tick: 0,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let routes = vec![route("a/#")];
        let (core, now) = (&mut self.story.core, self.story.now);
        self.store.open(core, now, routes);
        core.timeout(now, self.story.wall);
        self.absorb();
    }

    fn step(&mut self, step: Step) {
        self.tick += 1;
        let now = self.story.now;
        match step {
            Step::Connect {
                client,
                clean,
                window,
            } => self.connect(client, clean, window),
            Step::Cut(client) => {
                if let Some(conn) = self.clients[client].conn {
                    self.story.cut(conn);
                    self.clients[client].hang_up(client);
                }
            }
            Step::Filter {
                client,
                filter,
                qos,
            } => self.ask(client, filter, qos),
            Step::Publish {
                client,
                topic,
                qos,
                retain,
                times,
            } => {
                for _ in 0..times {
                    self.publish(client, topic, qos, retain);
                    self.absorb();
                }
            }
            Step::Acknowledge { client, times } => {
                for _ in 0..times {
                    if let Some(conn) = self.clients[client].conn
                        && !self.clients[client].paused
                        && let Some(packet) = self.clients[client].owes.pop_front()
                    {
                        self.story.packet(conn, packet);
                        self.absorb();
                    }
                }
            }
            Step::Congest { client, congested } => {
                if let Some(conn) = self.clients[client].conn {
                    self.story.core.congested(conn, congested);
                    self.clients[client].congested = congested;
                }
            }
            Step::CommitLog => self.store.commit_log(&mut self.story.core, now),
            Step::CommitState => self.store.commit_state(&mut self.story.core, now),
            Step::CommitBridge => self.store.commit_bridge(&mut self.story.core, now),
            Step::Read => {
                self.store.read(now);
            }
            Step::Answer => {
                self.store.answer(&mut self.story.core, now);
            }
            Step::Crash => self.crash(),
        }
        self.absorb();
        self.store.cover(&mut self.story.core, now);
        self.absorb();
        // Replays go in steps.
        if self.story.core.next_timeout() == Some(now) {
            self.story.core.timeout(now, self.story.wall);
            self.absorb();
        }
    }

    fn crash(&mut self) {
        for (number, told) in (1_u32..).zip(&mut self.told) {
            if told.stored.is_none() && self.store.was_retained(&number.to_string()) {
                told.stored = Some(self.tick);
            }
        }
        self.story.restart(WhenQueueFull::DropOldest);
        for (number, client) in self.clients.iter_mut().enumerate() {
            client.crash(number);
        }
        self.open();
    }

    fn connect(&mut self, number: usize, clean: bool, window: u16) {
        let client = &mut self.clients[number];
        client.hang_up(number);
        client.began = u32::try_from(self.told.len()).unwrap();
        client.began_at = self.tick;
        client.clean = clean;
        if clean {
            client.start_clean();
        }
        let conn = self.story.connect_with(Connect {
            clean_start: clean,
            session_expiry: if persistent(number) { 3600 } else { 0 },
            receive_maximum: window,
            ..v5(&format!("client-{number}"))
        });
        self.clients[number].conn = Some(conn);
        self.absorb();
    }

    /// The CONNACK has come.
    fn greeted(&mut self, number: usize, present: bool) {
        let client = &mut self.clients[number];
        assert!(!client.greeted);
        client.greeted = true;
        client.paused = false;
        if client.clean {
            assert!(!present);
        } else if let Some(known) = client.session {
            assert_eq!(known, present, "session present of client {number}");
        }
        if !present {
            client.forget();
        }
        client.session = Some(true);
        let (conn, began) = (client.conn.unwrap(), client.began);
        for (id, (publish, message, received)) in client.sent.clone() {
            if message > began {
                continue; // sent on this connection
            }
            let packet = if received {
                Packet::Pubrel(Acknowledge::new(id, SUCCESS))
            } else {
                self.due(message, false);
                Packet::Publish(Publish {
                    dup: true,
                    ..publish
                })
            };
            self.story.packet(conn, packet);
        }
        let unsure = self.clients[number].filters.iter();
        let unsure = unsure.filter(|(_, (_, sure))| !sure);
        let unsure: Vec<_> = unsure.map(|(filter, (qos, _))| (*filter, *qos)).collect();
        for (filter, qos) in unsure {
            if !self.clients[number].asked.contains(&filter) {
                self.ask(number, filter, qos);
            }
        }
    }

    fn ask(&mut self, number: usize, filter: usize, qos: Option<QoS>) {
        let client = &mut self.clients[number];
        let Some(conn) = client.conn.filter(|_| !client.paused) else {
            return;
        };
        client.filters.insert(filter, (qos, false));
        client.asked.push_back(filter);
        match qos {
            Some(qos) => {
                let subscription = subscription(FILTERS[filter], qos);
                self.story.subscribe_with(conn, subscription, None);
            }
            None => self.story.unsubscribe(conn, FILTERS[filter]),
        }
    }

    fn publish(&mut self, number: usize, topic: usize, qos: QoS, retain: bool) {
        let publisher = &mut self.clients[number];
        let Some(conn) = publisher.conn.filter(|_| !publisher.paused) else {
            return;
        };
        if publisher.sent.len() >= 90 {
            return; // below the Receive Maximum
        }
        self.told.push(Told {
            publisher: number,
            topic,
            qos,
            retain: retain && qos != QOS0,
            first: self.tick,
            sent: self.tick,
            acknowledged: None,
            stored: None,
        });
        let message = u32::try_from(self.told.len()).unwrap();
        publisher.ids += 1;
        let packet = Publish {
            retain: retain && qos != QOS0,
            ..publish(TOPICS[topic], &message.to_string(), qos, publisher.ids)
        };
        if qos != QOS0 {
            let id = pid(publisher.ids);
            publisher.sent.insert(id, (packet.clone(), message, false));
        }
        self.due(message, true);
        self.story.packet(conn, Packet::Publish(packet));
    }

    /// A message is handed in: who may get it, and who must.
    fn due(&mut self, message: u32, is_new: bool) {
        self.tick += 1;
        let told = &mut self.told[message as usize - 1];
        told.sent = self.tick;
        let topic = TopicName::try_from(TOPICS[told.topic]).unwrap();
        for (number, client) in self.clients.iter_mut().enumerate() {
            let matching = client.filters.iter().filter(|(filter, _)| {
                let filter = TopicFilter::try_from(FILTERS[**filter]).unwrap();
                filter.matches(&topic)
            });
            let (mut may, mut must) = (false, false);
            for (_, (qos, sure)) in matching {
                may |= qos.is_some() || !sure;
                must |= *sure && qos.is_some_and(|qos| qos.min(told.qos) > QOS0);
            }
            must &= persistent(number) && client.session == Some(true);
            if is_new && may {
                client.due.insert(message, (must, told.sent));
            } else if let Some((before, at)) = client.due.get_mut(&message) {
                *before &= must;
                *at = told.sent;
            } else if may {
                client.due.insert(message, (false, told.sent));
            }
        }
    }

    fn absorb(&mut self) {
        loop {
            let effects = self.story.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                if let Some(effect) = self.store.take(self.story.now, effect) {
                    self.carry_out(effect);
                }
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Deliver {
                conn,
                message,
                qos,
                dup,
                retain,
                packet_id,
                ..
            } => {
                let number = number(&message);
                let is_retained = self.told[number as usize - 1].retain;
                let client = self.client(conn);
                assert!(self.clients[client].greeted, "before the CONNACK");
                let client = &mut self.clients[client];
                // Retained messages are not published with the flag set, so it tells a replay.
                client.deliver(number, qos, dup, retain && is_retained, packet_id);
            }
            Effect::Send { conn, packet } => {
                if !matches!(packet, Packet::Disconnect(_)) {
                    let client = self.client(conn);
                    self.control(client, packet);
                }
            }
            Effect::Close { conn, cause } => {
                let current = self.clients.iter().any(|client| client.conn == Some(conn));
                assert!(!current, "closed for {cause}");
            }
            Effect::Pause { conn } => {
                let client = self.client(conn);
                self.clients[client].paused = true;
            }
            Effect::Resume { conn } => {
                let client = self.client(conn);
                self.clients[client].paused = false;
            }
            other => panic!("{other:?}"),
        }
    }

    fn control(&mut self, number: usize, packet: Packet) {
        if let Packet::Connack(connack) = packet {
            return self.greeted(number, connack.session_present);
        }
        let client = &mut self.clients[number];
        assert!(client.greeted, "before the CONNACK: {packet:?}");
        match packet {
            Packet::Puback(puback) => {
                let (_, message, _) = client.sent.remove(&puback.packet_id).unwrap();
                self.told[message as usize - 1].acknowledged = Some(self.tick);
            }
            Packet::Pubrec(pubrec) => {
                let (_, message, received) = client.sent.get_mut(&pubrec.packet_id).unwrap();
                if !std::mem::replace(received, true) {
                    self.told[*message as usize - 1].acknowledged = Some(self.tick);
                }
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
            Packet::Suback(_) | Packet::Unsuback(_) => {
                let filter = client.asked.pop_front().unwrap();
                if !client.asked.contains(&filter) {
                    client.filters.get_mut(&filter).unwrap().1 = true;
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn client(&self, conn: ConnId) -> usize {
        let mut clients = self.clients.iter();
        clients
            .position(|client| client.conn == Some(conn))
            .expect("sent to a connection that is gone")
    }

    /// Everybody comes back, everything is committed, read and acknowledged: then what must come has come.
    fn settle(&mut self) {
        for client in 0..CLIENTS {
            if self.clients[client].conn.is_none() {
                self.step(Step::Connect {
                    client,
                    clean: false,
                    window: 3,
                });
            }
            self.step(Step::Congest {
                client,
                congested: false,
            });
        }
        let mut idle = 0;
        while idle < 3 {
            idle += 1;
            for step in [Step::CommitLog, Step::CommitState, Step::CommitBridge] {
                self.step(step);
            }
            while self.store.is_asked() {
                self.step(Step::Read);
                self.step(Step::Answer);
            }
            for client in 0..CLIENTS {
                if !self.clients[client].owes.is_empty() {
                    idle = 0;
                    self.step(Step::Acknowledge { client, times: 500 });
                }
            }
        }
        for number in 0..CLIENTS {
            self.check(number);
        }
        self.check_retained();
    }

    fn check(&self, number: usize) {
        let client = &self.clients[number];
        assert!(client.sent.is_empty(), "{number} is still owed an answer");
        for (message, (must, _)) in &client.due {
            let told = &self.told[*message as usize - 1];
            if *must && told.acknowledged.is_some() {
                assert!(
                    client.came_set.contains(message),
                    "{message} never came to {number}"
                );
            }
        }
        for publisher in 0..CLIENTS {
            for qos in [QOS1, QOS2] {
                let of = client.came.iter().filter(|message| {
                    let told = &self.told[**message as usize - 1];
                    let is_sure = client.due.get(message).is_some_and(|(must, _)| *must);
                    told.publisher == publisher && told.qos == qos && is_sure
                });
                let of: Vec<_> = of.collect();
                assert!(
                    of.is_sorted(),
                    "to {number} from {publisher} at {qos:?}: {of:?}"
                );
            }
        }
    }

    /// What is retained in the end is no older than what was acknowledged, in memory and in the store.
    fn check_retained(&mut self) {
        for (topic, name) in TOPICS.iter().enumerate() {
            let kept = self.store.committed_retained(name).map(number);
            let of = |told: &&Told| told.topic == topic && told.retain;
            for told in self.told.iter().filter(of) {
                if told.acknowledged.is_some() {
                    let kept = kept.expect("acknowledged and not retained");
                    let kept = &self.told[kept as usize - 1];
                    let over = kept.acknowledged.unwrap_or(kept.sent);
                    let over = kept.stored.map_or(over, |stored| stored.min(over));
                    assert!(over >= told.first, "an older one is retained at {name}");
                }
            }
        }
    }
}

impl Client {
    fn new() -> Self {
        Self {
            session: Some(false),
            ..Self::default()
        }
    }

    fn deliver(
        &mut self,
        number: u32,
        qos: QoS,
        dup: bool,
        is_retained: bool,
        id: Option<PacketId>,
    ) {
        assert!(!self.congested);
        if !is_retained {
            assert!(self.due.contains_key(&number), "{number} is not for it");
        }
        let Some(id) = id else {
            assert_eq!(qos, QOS0);
            return;
        };
        let acknowledge = Acknowledge::new(id, SUCCESS);
        let seen = self.ids_seen.entry((number, is_retained)).or_default();
        let is_again = !seen.insert(id);
        assert!(
            !dup || is_again || seen.len() == 1,
            "the id of {number} has changed"
        );
        if qos == QOS2 {
            self.owes.push_back(Packet::Pubrec(acknowledge));
            if !self.taken.insert(id) {
                assert!(is_again, "{number} would be swallowed");
                return;
            }
        } else {
            self.owes.push_back(Packet::Puback(acknowledge));
        }
        if is_retained {
            return;
        }
        if self.came_set.insert(number) {
            self.came.push(number);
        }
        assert!(!self.came_once.contains(&number), "{number} came twice");
        if qos == QOS2 {
            self.came_once.insert(number);
        }
    }

    /// It forgets its session [MQTT-3.1.2-4]; so does the broker, but a crash before the CONNACK may bring that back.
    fn start_clean(&mut self) {
        self.came_once.clear();
        self.due.values_mut().for_each(|(must, _)| *must = false);
        for asked in self.filters.values_mut() {
            *asked = (None, false);
        }
        self.session = self.session.and_then(|known| (!known).then_some(false));
        self.taken.clear();
        self.ids_seen.clear();
        self.sent.clear();
    }

    /// What a broken connection costs.
    fn hang_up(&mut self, number: usize) {
        if self.conn.take().is_some() && !self.greeted && self.session != Some(true) {
            // The broker has it, but a crash may take it.
            self.session = None;
        }
        self.greeted = false;
        self.congested = false;
        self.paused = false;
        self.owes.clear();
        self.asked.clear();
        // A QoS 1 message would be a new one when sent again, so this publisher lets it be.
        self.sent.retain(|_, (publish, ..)| publish.qos == QOS2);
        if !persistent(number) {
            self.session = Some(false);
            self.began = u32::MAX;
            self.began_at = u32::MAX;
            self.forget();
        }
    }

    fn crash(&mut self, number: usize) {
        self.hang_up(number);
    }

    /// There is a new session: what was asked of it on this connection is all there is.
    fn forget(&mut self) {
        let began = self.began;
        let began_at = self.began_at;
        self.due.retain(|_, (_, at)| *at > began_at);
        self.sent.retain(|_, (_, message, _)| *message > began);
        self.filters.retain(|filter, _| self.asked.contains(filter));
        self.taken.clear();
        self.ids_seen.clear();
        self.came_once.clear();
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
    fn what_was_acknowledged_survives_crashes(steps in vec(steps(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}
