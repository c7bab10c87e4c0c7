//! One bridge core, a log and an upstream, in one thread and without time: every packet and every commit is a step, so
//! that a fault can be put between any two.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

use fieldgate::bridge::core::{Cause, Core, Effect, Lane};
use fieldgate::bridge::{Address, Backoff, BridgeOptions, Ceilings, Rate};
use fieldgate::broker::InletAnswer;
use fieldgate::clock::WallTime;
use fieldgate::mqtt::{
    Acknowledge, Connack, Message, Packet, PacketId, ProtocolVersion, Publish, QoS, ReasonCode,
    Suback, Unsuback,
};
use fieldgate::store::{CommitNumber, Entry, Gap, LogOptions, Outcome, Progress, Record, Seq};
use fieldgate::topic::TopicName;

/// 2030; any wall clock that was set.
pub const WALL: WallTime = WallTime(1_900_000_000_000);

pub fn options() -> BridgeOptions {
    BridgeOptions {
        name: "cloud".to_owned(),
        gateway: "gw".to_owned(),
        addresses: vec![Address {
            host: "localhost".to_owned(),
            port: 1883,
            tls: false,
        }],
        protocol: ProtocolVersion::V5,
        client_id: "gw".to_owned(),
        user: None,
        password: None,
        keep_alive: Duration::from_secs(60),
        session_expiry: Duration::from_secs(3600),
        tls: None,
        forward: Vec::new(),
        receive: Vec::new(),
        will: None,
        gap: None,
        inflight: 100,
        packet_size: 1 << 20,
        ceilings: Ceilings::default(),
        late_share: 50,
        rate: Rate::default(),
        dead_letter: LogOptions::new("unused".into()),
        backoff: Backoff {
            min: Duration::from_millis(1),
            max: Duration::from_millis(5),
        },
        stage_timeout: Duration::from_secs(10),
    }
}

/// The same over MQTT 3.1.1.
pub fn v311() -> BridgeOptions {
    BridgeOptions {
        protocol: ProtocolVersion::V311,
        ..options()
    }
}

/// A bridge whose link is up, with nothing to send.
pub fn up(options: BridgeOptions) -> Sim {
    let mut sim = Sim::new(options);
    sim.run();
    assert!(sim.core.is_up());
    sim
}

pub fn topic(name: &str) -> TopicName {
    TopicName::try_from(name).unwrap()
}

pub fn message(text: &str, qos: QoS) -> Message {
    Message::new(
        topic("t"),
        Bytes::copy_from_slice(text.as_bytes()),
        qos,
        false,
    )
}

pub fn acknowledge(id: u16, reason: ReasonCode) -> Acknowledge {
    Acknowledge::new(PacketId::new(id).unwrap(), reason)
}

/// What a log keeps, without its files: what is in RAM, and what a restart finds.
#[derive(Default)]
pub struct ModelLog {
    ram: BTreeMap<Seq, Entry>,
    disk: BTreeMap<Seq, Entry>,
    appended: Seq,
    committed: Seq,
    /// As a restart would find it.
    cursor: Seq,
    commits: u64,
    epoch: u32,
    /// A commit number was handed out.
    promised: bool,
    /// In RAM, and as a restart would find it.
    pub session: Option<String>,
    stored_session: Option<String>,
    pub dropped: Vec<Seq>,
    /// In the dead-letter, durably.
    pub dead: Vec<(Seq, Record)>,
    /// On the way there.
    burying: Vec<(Seq, Record)>,
    /// A hole that is committed as it is.
    pub gap: Option<Gap>,
    /// The last one that the upstream knows of; in RAM, and as a restart would find it.
    told: u64,
    pub stored_told: u64,
}

impl ModelLog {
    pub fn append(&mut self, message: Message) -> Seq {
        self.append_stamped(message, WALL)
    }

    pub fn append_stamped(&mut self, message: Message, stamped: WallTime) -> Seq {
        self.appended = Seq(self.appended.0 + 1);
        let entry = Entry {
            seq: self.appended,
            epoch: self.epoch,
            record: Record { message, stamped },
            received: false,
            maybe_sent: false,
        };
        self.ram.insert(self.appended, entry);
        self.appended
    }

    /// The next message will be at this position: the ones before are done.
    pub fn skip_to(&mut self, seq: Seq) {
        self.appended = Seq(seq.0 - 1);
    }

    pub fn commit(&mut self) {
        self.disk = self.ram.clone();
        self.disk
            .retain(|_, entry| entry.record.message.qos != QoS::AtMostOnce);
        self.committed = self.appended;
        let first = self.disk.keys().next();
        self.cursor = first.map_or(self.appended, |first| Seq(first.0 - 1));
        self.commits += 1;
        self.promised = false;
        self.stored_session.clone_from(&self.session);
        self.stored_told = self.told;
    }

    /// What a kill would lose.
    pub fn not_on_disk(&self) -> Vec<String> {
        let lost = self
            .ram
            .iter()
            .filter(|(seq, _)| !self.disk.contains_key(seq));
        lost.map(|(_, entry)| String::from_utf8(entry.record.message.payload.to_vec()).unwrap())
            .collect()
    }

    /// The marks of another session are void; of the same one they stay, and a commit that is under way with it counts.
    fn keep_session(&mut self, name: Option<String>) -> CommitNumber {
        let named = |text: &Option<String>| {
            let name = text.as_ref().map(|text| text.split('\0').next());
            name.map(|name| name.map(str::to_owned))
        };
        if self.session != name {
            if named(&self.session) != named(&name) {
                self.ram.values_mut().for_each(|e| e.received = false);
            }
            self.session = name;
            return self.promise();
        }
        let is_stored = self.session == self.stored_session;
        CommitNumber(self.commits + u64::from(!is_stored))
    }

    /// A log of an earlier start, with the session at the first of these addresses.
    pub fn with_session(options: &BridgeOptions) -> Self {
        let address = &options.addresses[0];
        let session = format!("{}:{} {}", address.host, address.port, options.client_id);
        Self {
            session: Some(session.clone()),
            stored_session: Some(session),
            ..Self::default()
        }
    }

    fn promise(&mut self) -> CommitNumber {
        self.promised = true;
        CommitNumber(self.commits + 1)
    }

    /// Whether a commit would change what a restart finds.
    fn is_clean(&self) -> bool {
        let is_written = self.committed == self.appended && self.ram == self.disk;
        is_written && !self.promised && self.burying.is_empty()
    }

    pub fn progress(&self) -> Progress {
        Progress {
            appended: self.appended,
            covered: self.committed,
            committed: self.committed,
            cursor: self.cursor,
            commits: CommitNumber(self.commits),
            gap: self.gap.filter(|gap| gap.number > self.told),
            ..Progress::default()
        }
    }

    pub fn read(&self, from: Seq, messages: usize) -> Vec<Entry> {
        self.ram
            .range(from..)
            .take(messages)
            .map(|(seq, entry)| Entry {
                // A mark counts when it is committed.
                received: entry.received && self.disk.get(seq).is_some_and(|e| e.received),
                ..entry.clone()
            })
            .collect()
    }

    /// A kill: what was not committed is gone, and the commits are counted anew.
    pub fn crash(&mut self) {
        self.ram = self.disk.clone();
        self.ram
            .values_mut()
            .for_each(|entry| entry.maybe_sent = true);
        self.disk = self.ram.clone();
        self.appended = self.committed;
        self.epoch += 1;
        self.commits = 0;
        self.burying.clear();
        self.promised = false;
        self.session.clone_from(&self.stored_session);
        self.told = self.stored_told;
    }

    /// Damage was found at a start: nothing is known of the session.
    pub fn salvaged(&mut self) {
        self.session = None;
        self.stored_session = None;
        self.ram.values_mut().for_each(|e| e.received = false);
        self.disk = self.ram.clone();
    }

    pub fn is_empty(&self) -> bool {
        self.ram.is_empty()
    }

    /// Messages that are not done.
    pub fn len(&self) -> usize {
        self.ram.len()
    }

    /// Whether the dead-letter has it.
    pub fn is_dead(&self, seq: Seq) -> bool {
        self.dead.iter().any(|(dead, _)| *dead == seq)
    }

    /// What is in the dead-letter, without what a crash put there twice.
    pub fn dead_texts(&self) -> Vec<String> {
        let dead = self.dead.iter();
        let texts = dead.map(|(_, dead)| dead.message.payload.to_vec());
        let mut texts: Vec<_> = texts.map(|text| String::from_utf8(text).unwrap()).collect();
        texts.dedup();
        texts
    }
}

/// A server that keeps every rule, and panics where the client breaks one.
pub struct Upstream {
    pub connack: Connack,
    /// QoS 2: received and not released, with what was received.
    held: HashMap<u16, Bytes>,
    has_session: bool,
    /// Passes a QoS 2 message on when it is released, not when it arrives; the standard allows both.
    pub delivers_on_release: bool,
    /// Unfinished on this connection.
    unfinished: HashMap<u16, QoS>,
    pub delivered: Vec<(Bytes, QoS)>,
    /// Topics behind the aliases of this connection.
    aliases: HashMap<u16, TopicName>,
    /// The topics of all PUBLISHes, in order.
    pub topics: Vec<TopicName>,
    /// Bytes of all PUBLISHes.
    pub publish_bytes: usize,
    /// Every packet of the client, for stories that look.
    pub seen: Vec<Packet>,
    /// Answers of the next PUBACKs and PUBRECs, before Success.
    pub refusals: VecDeque<ReasonCode>,
    /// Closes the connection at a PUBLISH whose payload begins so, before it looks at it.
    pub closes_on: Option<&'static str>,
    /// Refuses PUBLISHes whose payload is this one.
    pub refuses: Option<(&'static str, ReasonCode)>,
    /// Answers of the next SUBSCRIBEs, before what was asked for.
    pub subacks: VecDeque<ReasonCode>,
    /// Answers that it never sends.
    pub keeps_back: Option<fn(&Packet) -> bool>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            connack: Connack::new(ReasonCode::Success, false),
            held: HashMap::new(),
            has_session: false,
            delivers_on_release: false,
            unfinished: HashMap::new(),
            delivered: Vec::new(),
            aliases: HashMap::new(),
            topics: Vec::new(),
            publish_bytes: 0,
            seen: Vec::new(),
            refusals: VecDeque::new(),
            closes_on: None,
            refuses: None,
            subacks: VecDeque::new(),
            keeps_back: None,
        }
    }
}

impl Upstream {
    pub fn lose_session(&mut self) {
        self.has_session = false;
        self.held.clear();
    }

    /// Loses what it received in it, and will say that it has the session.
    pub fn lie_about_session(&mut self) {
        self.held.clear();
    }

    fn handle(&mut self, packet: Packet) -> Option<Packet> {
        self.seen.push(packet.clone());
        match packet {
            Packet::Connect(connect) => {
                if connect.clean_start {
                    self.lose_session();
                }
                self.aliases.clear();
                self.unfinished = self.counted_from_before();
                let session_present = self.has_session;
                self.has_session = connect.session_expiry > 0;
                Some(Packet::Connack(Box::new(Connack {
                    session_present,
                    ..self.connack.clone()
                })))
            }
            Packet::Publish(publish) => self.publish(&publish),
            Packet::Pubrel(pubrel) => {
                let id = pubrel.packet_id.get();
                self.unfinished.remove(&id);
                let reason = match self.held.remove(&id) {
                    Some(payload) => {
                        if self.delivers_on_release {
                            self.delivered.push((payload, QoS::ExactlyOnce));
                        }
                        ReasonCode::Success
                    }
                    None => ReasonCode::PacketIdentifierNotFound,
                };
                Some(Packet::Pubcomp(acknowledge(id, reason)))
            }
            Packet::Pingreq => Some(Packet::Pingresp),
            Packet::Puback(_) | Packet::Pubrec(_) | Packet::Pubcomp(_) | Packet::Disconnect(_) => {
                None
            }
            Packet::Subscribe(subscribe) => {
                let reason = self.subacks.pop_front().unwrap_or(ReasonCode::Success);
                Some(Packet::Suback(Suback {
                    packet_id: subscribe.packet_id,
                    reasons: vec![reason],
                    reason_string: None,
                    user_properties: Vec::new(),
                }))
            }
            Packet::Unsubscribe(unsubscribe) => Some(Packet::Unsuback(Unsuback {
                packet_id: unsubscribe.packet_id,
                reasons: vec![ReasonCode::Success],
                reason_string: None,
                user_properties: Vec::new(),
            })),
            other => panic!("{other:?} from a client"),
        }
    }

    /// Counts unfinished QoS 2 messages across connections, as strict servers do. Where there is room for one message
    /// in all that leaves no way to go on in order, so then it does not.
    fn counted_from_before(&self) -> HashMap<u16, QoS> {
        let is_strict = self.connack.receive_maximum > 1;
        let held = self.held.keys().filter(|_| is_strict);
        held.map(|id| (*id, QoS::ExactlyOnce)).collect()
    }

    /// MQTT-3.3.2-8 to 3.3.2-12.
    fn resolve(&mut self, publish: &Publish) -> TopicName {
        let Some(alias) = publish.topic_alias else {
            return publish.topic.clone().expect("a topic or an alias");
        };
        assert!((1..=self.connack.topic_alias_maximum).contains(&alias));
        if let Some(topic) = &publish.topic {
            self.aliases.insert(alias, topic.clone());
        }
        self.aliases
            .get(&alias)
            .expect("the alias was never told")
            .clone()
    }

    fn publish(&mut self, publish: &Publish) -> Option<Packet> {
        let topic = self.resolve(publish);
        self.topics.push(topic);
        let version = if publish.properties.is_some() {
            ProtocolVersion::V5
        } else {
            ProtocolVersion::V311
        };
        self.publish_bytes += Packet::Publish(publish.clone())
            .encoded_len(version)
            .unwrap();
        let Some(id) = publish.packet_id.map(PacketId::get) else {
            self.delivered.push((publish.payload.clone(), publish.qos));
            return None;
        };
        self.unfinished.insert(id, publish.qos);
        assert!(
            self.unfinished.len() <= usize::from(self.connack.receive_maximum),
            "more in flight than the Receive Maximum"
        );
        assert!(publish.qos <= self.connack.maximum_qos);
        let refused = self.refuses.filter(|(text, _)| publish.payload == *text);
        let refused = refused.map(|(_, reason)| reason);
        let reason = refused.or_else(|| self.refusals.pop_front());
        let reason = reason.unwrap_or(ReasonCode::Success);
        let answer = acknowledge(id, reason);
        if reason.is_error() {
            self.unfinished.remove(&id);
        }
        if publish.qos == QoS::AtLeastOnce {
            self.unfinished.remove(&id);
            if !reason.is_error() {
                self.delivered.push((publish.payload.clone(), publish.qos));
            }
            return Some(Packet::Puback(answer));
        }
        match self.held.get(&id) {
            Some(held) => assert_eq!(
                held, &publish.payload,
                "id {id} of an unfinished message was given to another one: it is swallowed"
            ),
            None if reason.is_error() => {}
            None => {
                self.held.insert(id, publish.payload.clone());
                if !self.delivers_on_release {
                    self.delivered.push((publish.payload.clone(), publish.qos));
                }
            }
        }
        Some(Packet::Pubrec(answer))
    }
}

/// All three, and the wire between.
pub struct Sim {
    pub now: Instant,
    pub wall: WallTime,
    pub options: Arc<BridgeOptions>,
    pub core: Core,
    pub log: ModelLog,
    /// The live lane, where there is one.
    pub live: Option<ModelLog>,
    /// The gateway's own topics, said on each connection.
    pub newest: Vec<Message>,
    pub upstream: Upstream,
    /// Another one, for bridges that move.
    pub elsewhere: Upstream,
    up: VecDeque<Packet>,
    down: VecDeque<Packet>,
    connected: bool,
    pub address: usize,
    pub closed: Vec<Cause>,
    /// Inlets that were asked for: with Clean Start or not.
    pub opened: Vec<bool>,
    /// What the local broker was handed.
    pub passed: Vec<Packet>,
    /// What is said of messages and subscriptions that came to nothing.
    pub told: Vec<String>,
    /// Connections that the upstream ended.
    pub hang_ups: usize,
    pub steps: usize,
}

impl Sim {
    pub fn new(options: BridgeOptions) -> Self {
        let options = Arc::new(options);
        Self {
            now: fieldgate::clock::now(),
            wall: WALL,
            core: Core::new(Arc::clone(&options)),
            log: ModelLog::with_session(&options),
            live: None,
            options,
            newest: Vec::new(),
            upstream: Upstream::default(),
            elsewhere: Upstream::default(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            connected: false,
            address: 0,
            closed: Vec::new(),
            opened: Vec::new(),
            passed: Vec::new(),
            told: Vec::new(),
            hang_ups: 0,
            steps: 0,
        }
    }

    /// One with a live lane, whose log is new.
    pub fn with_live_lane(options: BridgeOptions) -> Self {
        let mut sim = Self::new(options);
        sim.live = Some(ModelLog::default());
        sim.core = sim.new_core();
        sim
    }

    fn new_core(&self) -> Core {
        match self.live {
            None => Core::new(Arc::clone(&self.options)),
            Some(_) => Core::with_live_lane(Arc::clone(&self.options)),
        }
    }

    fn lane(&mut self, lane: Lane) -> &mut ModelLog {
        match lane {
            Lane::Backlog => &mut self.log,
            Lane::Live => self.live.as_mut().unwrap(),
        }
    }

    fn lanes(&self) -> Vec<Lane> {
        let live = self.live.iter().map(|_| Lane::Live);
        [Lane::Backlog].into_iter().chain(live).collect()
    }

    fn tell_progress(&mut self) {
        for lane in self.lanes() {
            let progress = self.lane(lane).progress();
            self.core.handle_progress(self.now, lane, progress);
        }
    }

    /// Everything that needs neither the wire nor a commit.
    pub fn settle(&mut self) {
        loop {
            self.carry_out();
            self.tell_progress();
            self.core.pump(self.now, self.wall, usize::MAX);
            self.carry_out();
            let Some(demand) = self.core.demand() else {
                return;
            };
            let log = self.lane(demand.lane);
            let entries = log.read(demand.from, demand.messages);
            self.core.handle_entries(demand, entries);
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Send(packet) => {
                    self.check(&packet);
                    self.up.push_back(packet);
                }
                Effect::Done { lane, seq, outcome } => {
                    let log = self.lane(lane);
                    let known = log.ram.remove(&seq);
                    assert!(known.is_some(), "{lane:?} {seq:?} was done twice");
                    match outcome {
                        Outcome::Dropped => log.dropped.push(seq),
                        Outcome::DeadLettered => assert!(log.is_dead(seq)),
                        Outcome::Delivered => {}
                    }
                }
                Effect::GapTold(lane, number) => self.lane(lane).told = number,
                Effect::Received(lane, seq) => {
                    let log = self.lane(lane);
                    log.ram.get_mut(&seq).unwrap().received = true;
                    let commit = log.promise();
                    self.core.handle_received(lane, seq, commit);
                }
                Effect::ForgetReceived => {
                    for lane in self.lanes() {
                        let log = self.lane(lane);
                        log.ram.values_mut().for_each(|e| e.received = false);
                        let commit = log.promise();
                        self.core.handle_kept(lane, commit);
                    }
                }
                Effect::KeepSession(name) => {
                    for lane in self.lanes() {
                        let commit = self.lane(lane).keep_session(name.clone());
                        self.core.handle_kept(lane, commit);
                    }
                }
                Effect::Up { .. } => self.core.handle_latest(self.newest.clone()),
                Effect::Dropped { .. } => {}
                Effect::DeadLetter {
                    lane, seq, letter, ..
                } => self.lane(lane).burying.push((seq, *letter)),
                Effect::OwnTopicRefused(topic) => self.told.push(format!("{topic} refused")),
                Effect::OpenInlet { clean_start } => self.opened.push(clean_start),
                Effect::Pass(packet) => self.passed.push(packet),
                Effect::NotReceived { topic, why } => self.told.push(format!("{topic}: {why}")),
                Effect::SubscriptionRefused { filter, reason } => {
                    self.told.push(format!("{}: {reason:?}", filter.as_str()));
                }
                Effect::Close(cause) => {
                    self.closed.push(cause);
                    // Written before the close, so the upstream may read it.
                    while let Some(packet) = self.up.pop_front() {
                        self.upstream.handle(packet);
                    }
                    self.cut();
                }
            }
        }
    }

    /// The rules about stable storage.
    fn check(&self, packet: &Packet) {
        let logs = [(1, Some(&self.log)), (32_501, self.live.as_ref())];
        let on_disk = |id: u16| {
            logs.iter().find_map(|(first, log)| {
                let mut entries = log.iter().flat_map(|log| log.disk.values());
                entries.find(|e| first + e.seq.0 % 32_500 == u64::from(id))
            })
        };
        match packet {
            Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => {
                let id = publish.packet_id.unwrap().get();
                assert!(on_disk(id).is_some(), "QoS 2 sent before it was committed");
                for log in logs.iter().filter_map(|(_, log)| *log) {
                    assert_eq!(
                        log.session, log.stored_session,
                        "QoS 2 sent before its session was committed"
                    );
                }
            }
            Packet::Pubrel(pubrel) if pubrel.reason == ReasonCode::Success => {
                let entry = on_disk(pubrel.packet_id.get()).unwrap();
                assert!(entry.received, "PUBREL sent before PUBREC was committed");
            }
            _ => {}
        }
    }

    pub fn connect(&mut self) {
        self.connected = true;
        self.tell_progress();
        let kept = self.log.session.as_deref();
        let live = self.live.as_ref().and_then(|log| log.session.as_deref());
        self.core.connect(self.now, self.address, kept, live);
        self.settle();
    }

    /// The connection is lost with all that is on its way.
    pub fn cut(&mut self) {
        self.up.clear();
        self.down.clear();
        self.connected = false;
        self.core.handle_closed();
        self.settle();
    }

    /// The upstream closes the connection, after what it said; or resets it.
    pub fn hang_up(&mut self, in_good_order: bool) {
        while in_good_order && self.bridge_reads() {}
        self.core.handle_hang_up(self.now, in_good_order);
        self.hang_ups += 1;
        self.cut();
    }

    /// The program is killed and starts again.
    pub fn restart(&mut self) {
        self.up.clear();
        self.down.clear();
        self.connected = false;
        self.log.crash();
        if let Some(live) = &mut self.live {
            live.crash();
        }
        self.core = self.new_core();
        self.settle();
    }

    /// The program is killed, and starts again with the other upstream as its only address.
    pub fn move_elsewhere(&mut self) {
        std::mem::swap(&mut self.upstream, &mut self.elsewhere);
        let options = Arc::make_mut(&mut self.options);
        options.addresses[0].port ^= 1;
        self.restart();
    }

    /// The core fails and is made anew; the log goes on.
    pub fn fail(&mut self) {
        self.up.clear();
        self.down.clear();
        self.connected = false;
        let live = self.live.as_ref().map(|log| log.progress().appended);
        self.core = self.core.anew(self.log.progress().appended, live);
        self.settle();
    }

    /// The logs commit; each by itself, one after the other.
    pub fn commit(&mut self) {
        let lane = match &mut self.live {
            Some(live) if self.log.is_clean() => {
                live.commit();
                Lane::Live
            }
            _ => {
                self.log.commit();
                Lane::Backlog
            }
        };
        let log = self.lane(lane);
        for (seq, record) in std::mem::take(&mut log.burying) {
            self.lane(lane).dead.push((seq, record));
            self.core.handle_dead_letter(lane, seq);
        }
        self.settle();
    }

    fn is_clean(&self) -> bool {
        self.log.is_clean() && self.live.as_ref().is_none_or(ModelLog::is_clean)
    }

    /// The upstream says something by itself.
    pub fn say(&mut self, packet: Packet) {
        self.core.heard(self.now);
        self.core.handle_packet(self.now, packet);
        self.settle();
    }

    /// The local broker has the session.
    pub fn open_inlet(&mut self) {
        self.core.handle_inlet(self.now, QoS::ExactlyOnce);
        self.settle();
    }

    /// The local broker answers.
    pub fn answer(&mut self, answer: &InletAnswer) {
        self.core.handle_inlet_answer(self.now, answer);
        self.settle();
    }

    /// What the bridge has sent and the upstream not read.
    pub fn sent(&mut self) -> Vec<Packet> {
        self.up.drain(..).collect()
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.handle_timeout(self.now);
        self.settle();
    }

    pub fn upstream_reads(&mut self) -> bool {
        let Some(packet) = self.up.pop_front() else {
            return false;
        };
        if let (Some(text), Packet::Publish(publish)) = (self.upstream.closes_on, &packet)
            && publish.payload.starts_with(text.as_bytes())
        {
            self.upstream.seen.push(packet);
            self.hang_up(true);
            return true;
        }
        let answer = self.upstream.handle(packet);
        let is_kept_back = self.upstream.keeps_back.unwrap_or(|_| false);
        self.down
            .extend(answer.filter(|answer| !is_kept_back(answer)));
        true
    }

    /// What the upstream has said and the bridge not read comes the other way round.
    pub fn reverse_answers(&mut self) {
        self.down.make_contiguous().reverse();
    }

    pub fn bridge_reads(&mut self) -> bool {
        let Some(packet) = self.down.pop_front() else {
            return false;
        };
        self.core.heard(self.now);
        self.core.handle_packet(self.now, packet);
        self.settle();
        true
    }

    /// One thing happens; false where nothing is left to happen.
    pub fn step(&mut self) -> bool {
        self.steps += 1;
        if !self.connected {
            self.connect();
            return true;
        }
        for turn in 0..3 {
            let happened = match (self.steps + turn) % 3 {
                0 => self.upstream_reads(),
                1 => self.bridge_reads(),
                _ if self.is_clean() => false,
                _ => {
                    self.commit();
                    true
                }
            };
            if happened {
                return true;
            }
        }
        false
    }

    pub fn run(&mut self) {
        while self.step() {
            assert!(self.steps < 100_000, "it never comes to rest");
        }
    }

    pub fn times_delivered(&self, text: &str) -> usize {
        let elsewhere = self.elsewhere.delivered.iter();
        self.upstream
            .delivered
            .iter()
            .chain(elsewhere)
            .filter(|(payload, _)| payload == text.as_bytes())
            .count()
    }

    pub fn delivered_texts(&self) -> Vec<String> {
        self.upstream
            .delivered
            .iter()
            .map(|(payload, _)| String::from_utf8(payload.to_vec()).unwrap())
            .collect()
    }

    /// Whether each CONNECT so far asked for Clean Start.
    pub fn clean_starts(&self) -> Vec<bool> {
        let connect = |packet: &Packet| match packet {
            Packet::Connect(connect) => Some(connect.clean_start),
            _ => None,
        };
        self.upstream.seen.iter().filter_map(connect).collect()
    }

    /// The PUBLISH packets the upstream has seen.
    pub fn publishes(&self) -> Vec<Publish> {
        let publish = |packet: &Packet| match packet {
            Packet::Publish(publish) => Some(publish.clone()),
            _ => None,
        };
        self.upstream.seen.iter().filter_map(publish).collect()
    }
}

pub fn user_property(publish: &Publish, name: &str) -> Option<ByteString> {
    let properties = publish.properties.as_ref()?;
    properties
        .user_properties
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.clone())
}
