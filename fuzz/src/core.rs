//! What must hold of the broker's core whatever several clients do, in whatever order. Shared by the fuzz target and an
//! ordinary, seeded test.
//!
//! Bytes are read as a choice, with a store or without, and then as steps: connect, subscribe, publish, acknowledge rightly and wrongly, break a rule, go away, let time
//! pass. Beside the core stands a model of what it may say to whom. Nothing panics; effects go to connections that are
//! open; a delivery takes an id that is free and a place in the window; each request gets its answer, and one; an
//! acknowledgement waits for the log; with a store, too, everything ends once that has done its part.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use fieldgate::auth::Principal;
use fieldgate::broker::core::{ConnId, Core, Effect, LogId};
use fieldgate::broker::{BrokerOptions, ForwardRoute, Limits, Origin, RetainPolicy};
use fieldgate::clock::WallTime;
use fieldgate::mqtt::{
    Acknowledge, Auth, Connect, Disconnect, Message, Packet, PacketId, ProtocolVersion,
    PublishProperties, QoS, ReasonCode, RetainHandling, Subscribe, Subscription, Unsubscribe, Will,
};
use fieldgate::store::{Seq, SessionNumber, StateChange};
use fieldgate::topic::{Template, TopicFilter, TopicName};

use crate::fake_store::FakeStore;

const LOG: LogId = LogId::Bridge(0);
/// Connections that may be open at a time.
const CONNECTIONS: usize = 6;
const NAMES: [&str; 4] = ["a", "b", "c", ""];
const TOPICS: [&str; 6] = ["a", "a/b", "b", "$c/b", "a/b/c/d", "/"];
const FILTERS: [&str; 12] = [
    "a",
    "a/+",
    "a/#",
    "#",
    "+/b",
    "$c/#",
    "$share/g/a/#",
    "$share/g/#",
    "$share/h/+/b",
    "a/#/b",
    "+",
    "",
];
const SUCCESS: ReasonCode = ReasonCode::Success;

/// Runs the steps that `data` spells, then ends everything in order.
pub fn check(data: &[u8]) {
    let mut steps = Steps(data);
    let mut world = World::new(steps.flag());
    while let Some(step) = steps.next() {
        world.step(step, &mut steps);
    }
    world.settle();
}

/// The bytes that are left; when they end, every number is 0.
struct Steps<'a>(&'a [u8]);

impl Steps<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % end
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn qos(&mut self) -> QoS {
        QoS::from_bits(self.below(3) as u8).expect("below 3")
    }

    /// Few, so that they meet.
    fn id(&mut self) -> PacketId {
        PacketId::new(self.below(5) as u16 + 1).expect("above 0")
    }
}

/// What the model knows of a connection.
struct Peer {
    name: String,
    version: ProtocolVersion,
    receive_maximum: usize,
    /// CONNACK came.
    greeted: bool,
    /// Not to be read for now.
    paused: bool,
    /// The core closed it, the shell has not yet said that it is gone.
    closing: bool,
    /// PUBLISHes above QoS 0 that came on this connection and are not done.
    window: BTreeSet<PacketId>,
    /// Answers that it is owed: PUBACKs with the position that each waits for; of PUBREC at least one and at most as many.
    pubacks: BTreeMap<PacketId, VecDeque<u64>>,
    pubrecs: BTreeMap<PacketId, u32>,
    unanswered: BTreeSet<PacketId>,
    /// Without a store these come at once.
    subacks: u32,
    unsubacks: u32,
    pings: u32,
    pubrels: u32,
    /// Ids whose PUBREL came on this connection.
    released: BTreeSet<PacketId>,
    pubcomps: u32,
    unreleased: BTreeSet<PacketId>,
}

/// What the model knows of a session: deliveries that are not done.
type InFlight = BTreeMap<PacketId, (QoS, Stage)>;

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Sent,
    /// The client sent PUBREC, and no PUBREL has come yet.
    Received,
    Released,
}

struct World {
    core: Core,
    store: Option<FakeStore>,
    now: Instant,
    wall: WallTime,
    peers: BTreeMap<usize, Peer>,
    sessions: BTreeMap<String, InFlight>,
    /// What the store calls them.
    numbers: BTreeMap<String, SessionNumber>,
    limits: Limits,
    appended: u64,
    covered: u64,
    /// What the PUBREC for (client, id) waits for.
    tickets: BTreeMap<(String, PacketId), u64>,
    next: usize,
}

impl World {
    fn new(with_store: bool) -> Self {
        let mut options = BrokerOptions::default();
        let limits = &mut options.limits;
        limits.connections = 5;
        limits.sessions = 3;
        limits.inflight = 3;
        limits.receive_maximum = 4;
        limits.queued_messages = 6;
        limits.queued_bytes = 600;
        limits.retained_messages = 3;
        limits.topic_levels = 3;
        limits.subscriptions_per_client = 5;
        let limits = limits.clone();
        let mut core = Core::new(options, 7);
        let (now, wall) = (fieldgate::clock::now(), WallTime(1_800_000_000_000));
        core.tell_time(now, wall);
        let mut store = with_store.then(FakeStore::default);
        match &mut store {
            Some(store) => store.open(&mut core, now, vec![route()]),
            None => core.attach_log(LOG, Seq(1), vec![route()]),
        }
        Self {
            core,
            store,
            now,
            wall,
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            numbers: BTreeMap::new(),
            limits,
            appended: 0,
            covered: 0,
            tickets: BTreeMap::new(),
            next: 0,
        }
    }

    fn step(&mut self, step: u8, steps: &mut Steps<'_>) {
        match step % 32 {
            0..4 => self.connect(steps),
            4..7 => self.subscribe(steps),
            7 => self.unsubscribe(steps),
            8..15 => self.publish(steps),
            15..20 => self.acknowledge(steps),
            20..22 => self.acknowledge_anything(steps),
            22 => self.release(steps),
            23 => self.ping(steps),
            24 => self.disconnect(steps),
            25 => self.break_a_rule(steps),
            26 => self.cut(steps),
            27 => self.pass(steps),
            28..30 => self.cover(steps),
            30 => {
                if let Some(conn) = self.pick(steps) {
                    self.core.congested(ConnId(conn), steps.flag());
                    self.absorb();
                }
            }
            _ => {
                if let Some(conn) = self.pick(steps) {
                    self.core.proceed(ConnId(conn));
                    self.absorb();
                }
            }
        }
        self.agree();
    }

    /// An open connection that is read.
    fn pick(&self, steps: &mut Steps<'_>) -> Option<usize> {
        let open = self.peers.iter();
        let open = open.filter(|(_, peer)| !peer.closing && !peer.paused);
        let open: Vec<usize> = open.map(|(conn, _)| *conn).collect();
        (!open.is_empty()).then(|| open[steps.below(open.len())])
    }

    fn send(&mut self, conn: usize, packet: Packet) {
        self.core.receive(self.now, self.wall, ConnId(conn), packet);
        self.absorb();
    }

    fn peer(&mut self, conn: usize) -> &mut Peer {
        let peer = self.peers.get_mut(&conn).expect("to nobody");
        assert!(!peer.closing, "after the end");
        peer
    }

    fn connect(&mut self, steps: &mut Steps<'_>) {
        if self.peers.len() >= CONNECTIONS {
            return self.cut(steps);
        }
        // Numbers are used again, as those of sockets are.
        let conn = (0..)
            .find(|conn| !self.peers.contains_key(conn))
            .expect("one is free");
        self.next += 1;
        let version = [
            ProtocolVersion::V5,
            ProtocolVersion::V311,
            ProtocolVersion::V31,
        ][steps.below(3)];
        let v5 = version == ProtocolVersion::V5;
        let mut connect = Connect::new(version, NAMES[steps.below(NAMES.len())].into());
        connect.clean_start = steps.flag();
        connect.session_expiry = match (v5, connect.clean_start) {
            (true, _) => [0, 2, u32::MAX][steps.below(3)],
            (false, true) => 0,
            (false, false) => u32::MAX,
        };
        connect.keep_alive = [0, 2, 600][steps.below(3)];
        connect.receive_maximum = if v5 {
            [1, 2, u16::MAX][steps.below(3)]
        } else {
            u16::MAX
        };
        connect.maximum_packet_size = (v5 && steps.flag()).then_some(30);
        if steps.flag() {
            let message = message(steps);
            let delay = if v5 { [0, 1, 5][steps.below(3)] } else { 0 };
            connect.will = Some(Box::new(Will { message, delay }));
        }
        if v5 && steps.below(16) == 15 {
            connect.authentication_method = Some("SCRAM".into());
        }
        let name = match &*connect.client_id {
            "" => format!("unnamed {}", self.next),
            name => name.to_owned(),
        };
        let receive_maximum = usize::from(connect.receive_maximum.min(self.limits.inflight));
        self.peers
            .insert(conn, Peer::new(name, version, receive_maximum));
        let principal = |_: &str| Ok(Principal::default());
        self.core
            .connect(self.now, ConnId(conn), Origin::Client, principal, connect);
        self.absorb();
    }

    fn subscribe(&mut self, steps: &mut Steps<'_>) {
        let Some(conn) = self.pick(steps) else {
            return;
        };
        let v5 = self.peers[&conn].version == ProtocolVersion::V5;
        let subscriptions: Vec<Subscription> = (0..=steps.below(3))
            .map(|_| {
                let filter = FILTERS[steps.below(FILTERS.len())];
                let mut subscription = Subscription::new(filter.into(), steps.qos());
                if v5 {
                    subscription.no_local = steps.flag() && !filter.starts_with("$share");
                    subscription.retain_as_published = steps.flag();
                    subscription.retain_handling = [
                        RetainHandling::Send,
                        RetainHandling::SendIfNew,
                        RetainHandling::DoNotSend,
                    ][steps.below(3)];
                }
                subscription
            })
            .collect();
        self.peer(conn).subacks += 1;
        let subscribe = Subscribe {
            packet_id: steps.id(),
            subscriptions,
            subscription_id: (v5 && steps.flag()).then_some(7),
            user_properties: Vec::new(),
        };
        self.send(conn, Packet::Subscribe(subscribe));
        self.answered_at_once(conn);
    }

    fn unsubscribe(&mut self, steps: &mut Steps<'_>) {
        let Some(conn) = self.pick(steps) else {
            return;
        };
        self.peer(conn).unsubacks += 1;
        let unsubscribe = Unsubscribe {
            packet_id: steps.id(),
            filters: vec![FILTERS[steps.below(FILTERS.len())].into()],
            user_properties: Vec::new(),
        };
        self.send(conn, Packet::Unsubscribe(unsubscribe));
        self.answered_at_once(conn);
    }

    fn publish(&mut self, steps: &mut Steps<'_>) {
        let Some(conn) = self.pick(steps) else {
            return;
        };
        let message = message(steps);
        let id = (message.qos > QoS::AtMostOnce).then(|| steps.id());
        let mut publish = message.into_publish(id);
        publish.dup = publish.qos > QoS::AtMostOnce && steps.flag();
        let before = self.appended;
        let qos = publish.qos;
        let Some(id) = id else {
            return self.send(conn, Packet::Publish(publish));
        };
        let effects = self.receive(conn, Packet::Publish(publish));
        // Known before the answer, which may be among them.
        let appended = effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Append { .. }))
            .count() as u64;
        // A message that ends its connection was not taken; what was appended then is a will.
        let taken = !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Close { .. }));
        let ticket = if taken && appended > 0 {
            before + appended
        } else {
            0
        };
        let peer = self.peer(conn);
        if qos == QoS::AtLeastOnce {
            peer.pubacks.entry(id).or_default().push_back(ticket);
        } else {
            *peer.pubrecs.entry(id).or_default() += 1;
            peer.unanswered.insert(id);
            let name = peer.name.clone();
            let known = self.tickets.entry((name, id)).or_default();
            *known = ticket.max(*known);
        }
        effects.into_iter().for_each(|effect| self.take(effect));
    }

    fn receive(&mut self, conn: usize, packet: Packet) -> Vec<Effect> {
        self.core.receive(self.now, self.wall, ConnId(conn), packet);
        self.core.effects().collect()
    }

    /// As a client should: the oldest delivery.
    fn acknowledge(&mut self, steps: &mut Steps<'_>) {
        let Some(conn) = self.pick(steps) else {
            return;
        };
        let peer = &self.peers[&conn];
        let in_flight = self.sessions.get(&peer.name);
        let Some((&id, &(qos, stage))) = in_flight.and_then(BTreeMap::first_key_value) else {
            return;
        };
        // What did not come on this connection (yet) is not acknowledged.
        let came = match stage {
            Stage::Sent => peer.window.contains(&id),
            Stage::Received => false,
            Stage::Released => peer.released.contains(&id),
        };
        if came {
            self.done(conn, id, qos, stage, SUCCESS);
        }
    }

    /// A client's answer that fits.
    fn done(&mut self, conn: usize, id: PacketId, qos: QoS, stage: Stage, reason: ReasonCode) {
        let acknowledge = Acknowledge::new(id, reason);
        let name = self.peer(conn).name.clone();
        let in_flight = self.sessions.entry(name).or_default();
        let packet = match (qos, stage) {
            (QoS::ExactlyOnce, Stage::Sent) if !reason.is_error() => {
                in_flight.insert(id, (qos, Stage::Received));
                return self.send(conn, Packet::Pubrec(acknowledge));
            }
            (QoS::ExactlyOnce, Stage::Sent) => Packet::Pubrec(acknowledge),
            (QoS::ExactlyOnce, _) => Packet::Pubcomp(acknowledge),
            _ => Packet::Puback(acknowledge),
        };
        in_flight.remove(&id);
        self.peer(conn).window.remove(&id);
        self.send(conn, packet);
    }

    /// Any acknowledgement for any id, refusals too.
    fn acknowledge_anything(&mut self, steps: &mut Steps<'_>) {
        let Some(conn) = self.pick(steps) else {
            return;
        };
        let v5 = self.peers[&conn].version == ProtocolVersion::V5;
        let id = steps.id();
        let reason = if v5 && steps.flag() {
            ReasonCode::QuotaExceeded
        } else {
            SUCCESS
        };
        let acknowledge = Acknowledge::new(id, reason);
        let name = self.peers[&conn].name.clone();
        let known = self
            .sessions
            .get(&name)
            .and_then(|flight| flight.get(&id))
            .copied();
        // What is in the store is not known to be in flight before it was read again.
        let peer = &self.peers[&conn];
        let came = peer.window.contains(&id) || peer.released.contains(&id);
        if known.is_some() && !came && self.store.is_some() {
            return;
        }
        match (steps.below(3), known) {
            (0, Some((QoS::AtLeastOnce, stage))) => {
                self.done(conn, id, QoS::AtLeastOnce, stage, reason)
            }
            (1, Some((QoS::ExactlyOnce, stage @ Stage::Sent))) => {
                self.done(conn, id, QoS::ExactlyOnce, stage, reason)
            }
            (2, Some((QoS::ExactlyOnce, stage @ Stage::Released))) => {
                self.done(conn, id, QoS::ExactlyOnce, stage, SUCCESS)
            }
            // Out of step or for nothing: harmless, or the end of this connection.
            (0, _) => self.send(conn, Packet::Puback(acknowledge)),
            (1, _) => {
                self.peer(conn).pubrels += 1;
                self.send(conn, Packet::Pubrec(acknowledge));
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.pubrels = 0; // a refusal for nothing has no answer
                }
            }
            _ => self.send(conn, Packet::Pubcomp(Acknowledge::new(id, SUCCESS))),
        }
    }

    fn release(&mut self, steps: &mut Steps<'_>) {
        if let Some(conn) = self.pick(steps) {
            let id = steps.id();
            let peer = self.peer(conn);
            peer.pubcomps += 1;
            peer.unreleased.insert(id);
            self.send(conn, Packet::Pubrel(Acknowledge::new(id, SUCCESS)));
            self.answered_at_once(conn);
        }
    }

    fn ping(&mut self, steps: &mut Steps<'_>) {
        if let Some(conn) = self.pick(steps) {
            self.peer(conn).pings += 1;
            self.send(conn, Packet::Pingreq);
            self.answered_at_once(conn);
        }
    }

    fn disconnect(&mut self, steps: &mut Steps<'_>) {
        if let Some(conn) = self.pick(steps) {
            let mut disconnect = Disconnect::new(SUCCESS);
            if self.peers[&conn].version == ProtocolVersion::V5 {
                disconnect.reason = [SUCCESS, ReasonCode::DisconnectWithWill][steps.below(2)];
                disconnect.session_expiry = [None, Some(0), Some(3)][steps.below(3)];
            }
            self.send(conn, Packet::Disconnect(disconnect));
            assert!(self.peers[&conn].closing, "DISCONNECT ends a connection");
        }
    }

    fn break_a_rule(&mut self, steps: &mut Steps<'_>) {
        let Some(conn) = self.pick(steps) else {
            return;
        };
        match steps.below(4) {
            0 => self.send(conn, Packet::Pingresp),
            1 => {
                let second = Connect::new(self.peers[&conn].version, "a".into());
                self.send(conn, Packet::Connect(Box::new(second)));
            }
            2 => self.send(conn, Packet::Auth(Auth::new(SUCCESS))),
            _ => {
                let reason = ReasonCode::MalformedPacket;
                self.core.violated(self.now, ConnId(conn), reason);
                self.absorb();
            }
        }
        assert!(self.peers[&conn].closing, "a broken rule ends a connection");
    }

    /// The socket is gone, whoever wanted that.
    fn cut(&mut self, steps: &mut Steps<'_>) {
        let conns: Vec<usize> = self.peers.keys().copied().collect();
        if !conns.is_empty() {
            self.gone(conns[steps.below(conns.len())]);
        }
    }

    fn gone(&mut self, conn: usize) {
        self.peers.remove(&conn);
        self.core.closed(self.now, self.wall, ConnId(conn));
        self.absorb();
    }

    fn pass(&mut self, steps: &mut Steps<'_>) {
        let passed = Duration::from_millis([1, 900, 2500, 100_000][steps.below(4)]);
        let end = self.now + passed;
        for _ in 0..10_000 {
            let Some(due) = self.core.next_timeout().filter(|due| *due <= end) else {
                self.now = end;
                self.wall.0 += passed.as_millis() as u64;
                return;
            };
            self.now = self.now.max(due);
            self.core.timeout(self.now, self.wall);
            self.absorb();
        }
        panic!("there is always something due");
    }

    /// The store does a part of its work.
    fn cover(&mut self, steps: &mut Steps<'_>) {
        let (now, core) = (self.now, &mut self.core);
        match &mut self.store {
            None => {
                let missing = self.appended - self.covered;
                self.covered += missing.min(steps.below(4) as u64);
                core.covered(now, LOG, Seq(self.covered));
            }
            Some(store) => match steps.below(9) {
                0 => store.commit_log(core, now),
                1 => store.commit_state(core, now),
                2 => {
                    self.covered = self.appended;
                    store.commit_bridge(core, now);
                }
                3 => store.cover(core, now),
                4 => {
                    store.read(now);
                }
                5 => {
                    store.answer(core, now);
                }
                _ => return self.cover_all(),
            },
        }
        self.absorb();
    }

    /// The store does all of its work.
    fn cover_all(&mut self) {
        self.covered = self.appended;
        let Some(store) = &mut self.store else {
            self.core.covered(self.now, LOG, Seq(self.covered));
            return self.absorb();
        };
        let (now, core) = (self.now, &mut self.core);
        store.commit_state(core, now);
        store.commit_log(core, now);
        store.commit_bridge(core, now);
        while store.read(now) {}
        while store.answer(core, now) {}
        self.absorb();
    }

    fn absorb(&mut self) {
        let effects: Vec<Effect> = self.core.effects().collect();
        effects.into_iter().for_each(|effect| self.take(effect));
    }

    fn take(&mut self, effect: Effect) {
        if let Effect::Append { seq, .. } = &effect {
            self.appended += 1;
            assert_eq!(*seq, Seq(self.appended), "positions have no gap");
        }
        if let Effect::State { change, .. } = &effect
            && let StateChange::Session(number, session) = &**change
            && self.numbers.insert(session.client_id.to_string(), *number) != Some(*number)
        {
            // A new session, of which a client that loses its connection before the CONNACK never hears.
            self.forget(&session.client_id);
        }
        let effect = match &mut self.store {
            Some(store) => store.take(self.now, effect),
            None => Some(effect),
        };
        let Some(effect) = effect else {
            return;
        };
        match effect {
            Effect::Send { conn, packet } => self.sent(conn.0, &packet),
            Effect::Deliver {
                conn,
                qos,
                dup,
                packet_id,
                ..
            } => self.delivered(conn.0, qos, dup, packet_id),
            Effect::Close { conn, .. } => self.peer(conn.0).closing = true,
            Effect::Pause { conn } => self.peer(conn.0).paused = true,
            Effect::Resume { conn } => self.peer(conn.0).paused = false,
            _ => {}
        }
    }

    fn forget(&mut self, name: &str) {
        self.sessions.remove(name);
        self.tickets.retain(|(other, _), _| other != name);
    }

    fn delivered(&mut self, conn: usize, qos: QoS, dup: bool, id: Option<PacketId>) {
        let peer = self.peer(conn);
        assert!(peer.greeted, "before CONNACK");
        assert_eq!(id.is_some(), qos > QoS::AtMostOnce);
        let Some(id) = id else {
            return assert!(!dup, "DUP at QoS 0");
        };
        assert!(
            peer.window.insert(id),
            "the id is in flight on this connection"
        );
        assert!(
            peer.window.len() <= peer.receive_maximum,
            "beyond the window"
        );
        let name = peer.name.clone();
        let in_flight = self.sessions.entry(name).or_default();
        let known = in_flight.insert(id, (qos, Stage::Sent));
        assert_eq!(known.is_some(), dup, "DUP is for what was sent before");
        if let Some((before, stage)) = known {
            assert_eq!(before, qos);
            assert_ne!(stage, Stage::Released, "PUBLISH after PUBREL");
        }
    }

    fn sent(&mut self, conn: usize, packet: &Packet) {
        let covered = self.covered;
        let name = self.peer(conn).name.clone();
        let peer = self.peer(conn);
        assert!(
            peer.greeted || matches!(packet, Packet::Connack(_)),
            "before CONNACK"
        );
        match packet {
            Packet::Connack(connack) => {
                assert!(
                    !std::mem::replace(&mut peer.greeted, true),
                    "a second CONNACK"
                );
                if !connack.session_present && !connack.reason.is_error() {
                    self.forget(&name);
                }
            }
            Packet::Puback(ack) => {
                let owed = peer.pubacks.entry(ack.packet_id).or_default();
                let ticket = owed.pop_front().expect("a PUBACK that nobody asked for");
                assert!(ticket <= covered, "too early");
            }
            Packet::Pubrec(ack) => {
                one_less(peer.pubrecs.entry(ack.packet_id).or_default());
                peer.unanswered.remove(&ack.packet_id);
                let ticket = self.tickets.get(&(name, ack.packet_id));
                assert!(ticket.is_none_or(|seq| *seq <= covered), "too early");
            }
            Packet::Pubrel(ack) => {
                peer.released.insert(ack.packet_id);
                // Asked for, or again at the begin of a connection.
                let flight = self.sessions.get_mut(&name);
                match flight.and_then(|flight| flight.get_mut(&ack.packet_id)) {
                    Some((QoS::ExactlyOnce, stage)) if *stage != Stage::Sent => {
                        *stage = Stage::Released;
                    }
                    _ => one_less(&mut self.peer(conn).pubrels),
                }
            }
            Packet::Pubcomp(ack) => {
                one_less(&mut peer.pubcomps);
                peer.unreleased.remove(&ack.packet_id);
            }
            Packet::Suback(_) => one_less(&mut peer.subacks),
            Packet::Unsuback(_) => one_less(&mut peer.unsubacks),
            Packet::Pingresp => one_less(&mut peer.pings),
            Packet::Disconnect(_) => assert_eq!(peer.version, ProtocolVersion::V5),
            other => panic!("not for a client: {other:?}"),
        }
    }

    /// Whoever is still there has its answer.
    fn answered_at_once(&self, conn: usize) {
        if self.store.is_some() {
            return;
        }
        if let Some(peer) = self.peers.get(&conn).filter(|peer| !peer.closing) {
            let owed = peer.subacks + peer.unsubacks + peer.pings + peer.pubcomps;
            assert_eq!(owed, 0, "no answer");
        }
    }

    /// The core and the model see the same connections.
    fn agree(&self) {
        let open = self.peers.values().filter(|peer| !peer.closing);
        assert_eq!(self.core.stats().clients, open.count());
    }

    /// The store has done its part: who is still there has every answer. Then all leave, and nothing is left.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.cover_all(); // what one part lets go may ask something of another
        }
        for peer in self.peers.values().filter(|peer| !peer.closing) {
            assert!(!peer.paused, "never read again");
            assert!(
                peer.pubacks.values().all(VecDeque::is_empty),
                "a PUBACK is missing"
            );
            assert!(peer.unanswered.is_empty(), "a PUBREC is missing");
            assert!(peer.unreleased.is_empty(), "a PUBCOMP is missing");
            assert_eq!(
                (peer.subacks, peer.unsubacks, peer.pings),
                (0, 0, 0),
                "an answer is missing"
            );
        }
        while let Some((&conn, _)) = self.peers.first_key_value() {
            self.gone(conn);
        }
        self.core.shutdown(self.now);
        self.absorb();
        let stats = self.core.stats();
        assert_eq!(stats.connections, 0);
        if self.store.is_none() {
            assert_eq!((stats.sessions, stats.subscriptions), (0, 0));
        }
    }
}

impl Peer {
    fn new(name: String, version: ProtocolVersion, receive_maximum: usize) -> Self {
        Self {
            name,
            version,
            receive_maximum,
            greeted: false,
            paused: false,
            closing: false,
            window: BTreeSet::new(),
            pubacks: BTreeMap::new(),
            pubrecs: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            subacks: 0,
            unsubacks: 0,
            pings: 0,
            pubrels: 0,
            released: BTreeSet::new(),
            pubcomps: 0,
            unreleased: BTreeSet::new(),
        }
    }
}

fn one_less(owed: &mut u32) {
    *owed = owed
        .checked_sub(1)
        .expect("an answer that nobody asked for");
}

fn message(steps: &mut Steps<'_>) -> Message {
    let topic = TOPICS[steps.below(TOPICS.len())];
    let name = TopicName::try_from(topic).expect("a topic name");
    let payload = vec![b'x'; [0, 1, 40][steps.below(3)]];
    let mut message = Message::new(name, payload.into(), steps.qos(), steps.flag());
    let expiry = [None, None, Some(1), Some(0)][steps.below(4)];
    message.properties = expiry.map(|seconds| {
        Box::new(PublishProperties {
            message_expiry: Some(seconds),
            ..PublishProperties::default()
        })
    });
    message
}

fn route() -> ForwardRoute {
    ForwardRoute {
        filter: TopicFilter::try_from("a/#").expect("a filter"),
        except: Vec::new(),
        topic: Template::parse("up/{topic}", &[], true).expect("a template"),
        qos: QoS::ExactlyOnce,
        raise_qos0: false,
        live_first: false,
        retain: RetainPolicy::Keep,
    }
}
