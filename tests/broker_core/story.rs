//! A core, a clock that stands still until told, and effects as text.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fieldgate::auth::Principal;
use fieldgate::broker::core::{ConnId, Core, Effect, Expressed, LogId, Restored};
use fieldgate::broker::{BrokerOptions, ForwardRoute, Limits, Origin, RetainPolicy, WhenQueueFull};
use fieldgate::clock::WallTime;
use fieldgate::mqtt::{
    Acknowledge, Connect, Decoder, Disconnect, Message, Packet, PacketId, PacketType, PlainPacket,
    ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling, Subscribe, Subscription,
    SubscriptionIds, Unsubscribe, Will,
};
use fieldgate::store::{Mark, Seq, StateChange, StoredPresence};
use fieldgate::topic::{Template, TopicFilter, TopicName};

pub const QOS0: QoS = QoS::AtMostOnce;
pub const QOS1: QoS = QoS::AtLeastOnce;
pub const QOS2: QoS = QoS::ExactlyOnce;
pub const SUCCESS: ReasonCode = ReasonCode::Success;

pub struct Story {
    pub core: Core,
    pub now: Instant,
    pub wall: WallTime,
    limits: Limits,
    next_conn: usize,
    packet_ids: HashMap<ConnId, u16>,
    /// Effects that were looked at and not taken.
    seen: Vec<Effect>,
    state_told: Seq,
    pauses: Vec<String>,
    /// Plain packets go the short way where they can.
    pub express: bool,
    /// How many did.
    pub expressed: usize,
}

impl Story {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let options = BrokerOptions {
            limits: limits.clone(),
            ..BrokerOptions::default()
        };
        let mut core = Core::new(options, 7);
        let (now, wall) = (fieldgate::clock::now(), WallTime(1_800_000_000_000));
        core.tell_time(now, wall);
        Self {
            core,
            now,
            wall,
            limits,
            next_conn: 0,
            packet_ids: HashMap::new(),
            seen: Vec::new(),
            state_told: Seq(0),
            pauses: Vec::new(),
            express: true,
            expressed: 0,
        }
    }

    /// The program starts again: a new core, no connection.
    pub fn restart(&mut self, when_queue_full: WhenQueueFull) {
        self.restart_as(|options| options.when_queue_full = when_queue_full);
    }

    /// With other options.
    pub fn restart_as(&mut self, change: impl FnOnce(&mut BrokerOptions)) {
        let mut options = BrokerOptions {
            limits: self.limits.clone(),
            ..BrokerOptions::default()
        };
        change(&mut options);
        self.core = Core::new(options, 7);
        self.core.tell_time(self.now, self.wall);
        self.packet_ids.clear();
    }

    /// What a store knew; everybody may still do what they could.
    pub fn restore(&mut self, restored: Restored) {
        let mut judge = |principal: &Principal, _: &str| Some(principal.clone());
        self.core.restore(self.now, restored, &mut judge);
    }

    pub fn new_conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn)
    }

    /// Sends a CONNECT on a new connection; nothing of what follows is taken.
    pub fn connect_with(&mut self, connect: Connect) -> ConnId {
        self.connect_as(Origin::Client, connect)
    }

    pub fn connect_as(&mut self, origin: Origin, connect: Connect) -> ConnId {
        self.log_in(origin, Principal::default(), connect)
    }

    pub fn log_in(&mut self, origin: Origin, principal: Principal, connect: Connect) -> ConnId {
        let conn = self.new_conn();
        self.core
            .connect(self.now, conn, origin, |_| Ok(principal), connect);
        conn
    }

    /// A client of MQTT 5 with a session of an hour, whose CONNACK was taken.
    pub fn client(&mut self, id: &str) -> ConnId {
        let conn = self.connect_with(v5(id));
        self.told();
        conn
    }

    pub fn packet(&mut self, conn: ConnId, packet: Packet) {
        if !self.goes_express(conn, &packet) {
            self.core.receive(self.now, self.wall, conn, packet);
        }
    }

    /// The short way, as the shell tries it for each packet. What comes of it is told like any effects.
    fn goes_express(&mut self, conn: ConnId, packet: &Packet) -> bool {
        let version = self.core.version(conn);
        let mut bytes = BytesMut::new();
        if !self.express || packet.encode(version, &mut bytes).is_err() {
            return false;
        }
        let mut decoder = Decoder::new(Some(version), 1 << 20);
        decoder.push(bytes.freeze());
        let Some(plain) = decoder.plain() else {
            return false;
        };
        self.seen.extend(self.core.effects());
        let mut expressed = Expressed::default();
        // A lane is found when its topic has come twice; a packet that does not go changes nothing, so it may come thrice.
        let is_done = (0..3).any(|_| self.core.express(self.now, conn, &plain, &mut expressed));
        if is_done {
            self.expressed += 1;
            let effects = effects_of(conn, &plain.packet, &expressed);
            self.seen.extend(effects);
        }
        is_done
    }

    /// The socket breaks.
    pub fn cut(&mut self, conn: ConnId) {
        self.core.closed(self.now, self.wall, conn);
    }

    /// The shell reads nothing from the client for now, or reads it again.
    pub fn unread(&mut self, conn: ConnId, unread: bool) {
        self.core.unread(self.now, conn, unread);
    }

    pub fn disconnect(&mut self, conn: ConnId, reason: ReasonCode) {
        self.packet(conn, Packet::Disconnect(Disconnect::new(reason)));
        self.cut(conn);
    }

    /// Publishes, at QoS 1 and 2 with the next packet id of the connection, which is returned.
    pub fn publish(&mut self, conn: ConnId, topic: &str, payload: &str, qos: QoS) -> u16 {
        let id = self.packet_ids.entry(conn).or_default();
        *id += 1;
        let id = *id;
        self.packet(conn, Packet::Publish(publish(topic, payload, qos, id)));
        id
    }

    pub fn retain(&mut self, conn: ConnId, topic: &str, payload: &str) {
        let publish = Publish {
            retain: true,
            ..publish(topic, payload, QOS0, 0)
        };
        self.packet(conn, Packet::Publish(publish));
    }

    pub fn subscribe(&mut self, conn: ConnId, filter: &str, qos: QoS) {
        self.subscribe_with(conn, subscription(filter, qos), None);
    }

    pub fn subscribe_with(&mut self, conn: ConnId, subscription: Subscription, id: Option<u32>) {
        let subscribe = Subscribe {
            packet_id: pid(9),
            subscriptions: vec![subscription],
            subscription_id: id,
            user_properties: Vec::new(),
        };
        self.packet(conn, Packet::Subscribe(subscribe));
    }

    pub fn unsubscribe(&mut self, conn: ConnId, filter: &str) {
        let unsubscribe = Unsubscribe {
            packet_id: pid(9),
            filters: vec![filter.into()],
            user_properties: Vec::new(),
        };
        self.packet(conn, Packet::Unsubscribe(unsubscribe));
    }

    pub fn puback(&mut self, conn: ConnId, id: u16) {
        self.packet(conn, Packet::Puback(Acknowledge::new(pid(id), SUCCESS)));
    }

    pub fn pubrec(&mut self, conn: ConnId, id: u16) {
        self.packet(conn, Packet::Pubrec(Acknowledge::new(pid(id), SUCCESS)));
    }

    pub fn pubrel(&mut self, conn: ConnId, id: u16) {
        self.packet(conn, Packet::Pubrel(Acknowledge::new(pid(id), SUCCESS)));
    }

    pub fn pubcomp(&mut self, conn: ConnId, id: u16) {
        self.packet(conn, Packet::Pubcomp(Acknowledge::new(pid(id), SUCCESS)));
    }

    pub fn covered(&mut self, log: usize, upto: u64) {
        self.core.covered(self.now, LogId::Bridge(log), Seq(upto));
    }

    /// Time passes; what becomes due happens when it does.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.core.next_timeout().filter(|due| *due <= end) {
            let step = due.saturating_duration_since(self.now);
            self.advance(step);
            self.core.timeout(self.now, self.wall);
        }
        self.advance(end - self.now);
    }

    pub fn secs(&mut self, secs: u64) {
        self.pass(Duration::from_secs(secs));
    }

    fn advance(&mut self, step: Duration) {
        self.now += step;
        self.wall.0 += step.as_millis() as u64;
    }

    /// What the core wanted done since the last call.
    pub fn told(&mut self) -> Vec<String> {
        let told = self.effects();
        let (pauses, told) = told.iter().partition::<Vec<_>, _>(|effect| {
            matches!(effect, Effect::Pause { .. } | Effect::Resume { .. })
        });
        self.pauses.extend(pauses.into_iter().map(tell));
        told.into_iter().map(tell).collect()
    }

    /// Who is not to be read, and who again, as far as [`Self::told`] went; it leaves that out.
    pub fn pauses(&mut self) -> Vec<String> {
        std::mem::take(&mut self.pauses)
    }

    pub fn effects(&mut self) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.seen);
        effects.extend(self.core.effects());
        for effect in &effects {
            if let Effect::State { seq, .. } = effect {
                self.state_told = *seq;
            }
        }
        effects
    }

    /// All changes of the state that the core has told of are written.
    pub fn state_covered(&mut self) {
        self.seen = self.effects();
        self.core.covered(self.now, LogId::State, self.state_told);
    }
}

/// What the long way would have said.
fn effects_of(conn: ConnId, plain: &PlainPacket<'_>, expressed: &Expressed) -> Vec<Effect> {
    let mut effects = Vec::new();
    if let PlainPacket::Publish(publish) = plain {
        let topic = std::str::from_utf8(publish.topic).unwrap();
        let message = Rc::new(Message {
            payload: Bytes::copy_from_slice(publish.payload),
            ..message(topic, "", publish.qos)
        });
        let deliveries = expressed.deliveries.iter();
        effects.extend(deliveries.map(|delivery| Effect::Deliver {
            conn: delivery.conn,
            message: Rc::clone(&message),
            qos: delivery.qos,
            retain: false,
            dup: false,
            packet_id: delivery.packet_id,
            subscription_ids: SubscriptionIds::default(),
        }));
    }
    if let Some((packet, id, reason)) = expressed.answer {
        let answer = Acknowledge::new(id, reason);
        let packet = match packet {
            PacketType::Puback => Packet::Puback(answer),
            PacketType::Pubrec => Packet::Pubrec(answer),
            PacketType::Pubrel => Packet::Pubrel(answer),
            PacketType::Pubcomp => Packet::Pubcomp(answer),
            other => panic!("{other} answers nothing"),
        };
        effects.push(Effect::Send { conn, packet });
    }
    effects
}

pub fn pid(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

/// CONNECT of MQTT 5, resuming a session of an hour.
pub fn v5(id: &str) -> Connect {
    Connect {
        clean_start: false,
        session_expiry: 3600,
        ..Connect::new(ProtocolVersion::V5, id.into())
    }
}

/// CONNECT of 3.1.1 as the decoder gives it.
pub fn v311(id: &str, clean_session: bool) -> Connect {
    Connect {
        version: ProtocolVersion::V311,
        clean_start: clean_session,
        session_expiry: if clean_session { 0 } else { u32::MAX },
        ..v5(id)
    }
}

pub fn with_will(connect: Connect, topic: &str, delay: u32) -> Connect {
    let will = Will {
        message: message(topic, "gone", QOS1),
        delay,
    };
    Connect {
        will: Some(Box::new(will)),
        ..connect
    }
}

pub fn message(topic: &str, payload: &str, qos: QoS) -> Message {
    Message {
        topic: TopicName::try_from(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        retain: false,
        properties: None,
    }
}

pub fn publish(topic: &str, payload: &str, qos: QoS, id: u16) -> Publish {
    Publish {
        dup: false,
        packet_id: (qos != QOS0).then(|| pid(id)),
        qos,
        retain: false,
        topic: Some(TopicName::try_from(topic).unwrap()),
        topic_alias: None,
        subscription_ids: Vec::new(),
        properties: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

pub fn subscription(filter: &str, qos: QoS) -> Subscription {
    Subscription {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    }
}

/// A route that takes `filter` as `up/...` at any QoS.
pub fn route(filter: &str) -> ForwardRoute {
    ForwardRoute {
        filter: TopicFilter::try_from(filter).unwrap(),
        except: Vec::new(),
        topic: Template::parse("up/{topic}", &[], true).unwrap(),
        qos: QOS2,
        raise_qos0: false,
        live_first: false,
        retain: RetainPolicy::Keep,
    }
}

fn tell(effect: &Effect) -> String {
    match effect {
        Effect::Send { conn, packet } => format!("{} {}", conn.0, tell_packet(packet)),
        Effect::Deliver {
            conn,
            message,
            qos,
            retain,
            dup,
            packet_id,
            subscription_ids,
        } => {
            let mut told = format!("{} PUBLISH {}", conn.0, tell_message(message, *qos));
            if let Some(id) = packet_id {
                told += &format!(" #{}", id.get());
            }
            if *retain {
                told += " retained";
            }
            if *dup {
                told += " dup";
            }
            if !subscription_ids.is_empty() {
                told += &format!(" ids {:?}", subscription_ids.as_slice());
            }
            told
        }
        Effect::Close { conn, cause } => format!("{} closed {cause:?}", conn.0),
        Effect::Append {
            log,
            seq,
            record,
            mark,
        } => {
            let Message { qos, retain, .. } = record.message;
            let retained = if retain { " retained" } else { "" };
            let told = tell_message(&record.message, qos);
            let mark = tell_mark(mark.as_ref());
            format!("{} @{} {told}{retained}{mark}", tell_log(*log), seq.0)
        }
        Effect::NotTaken { log, is_lost } => {
            let lost = if *is_lost { ", lost" } else { "" };
            format!("{} not taken{lost}", tell_log(*log))
        }
        Effect::Refused(refused) => {
            let user = refused.user.as_deref().unwrap_or("nobody");
            let untold = match refused.untold {
                0 => String::new(),
                untold => format!(" and {untold} before"),
            };
            format!(
                "{} as {user} may not {:?}{untold}",
                refused.client_id, refused.act
            )
        }
        Effect::Latest { log, message } => {
            let told = tell_message(message, message.qos);
            format!("{} latest {told}", tell_log(*log))
        }
        other => tell_store(other),
    }
}

/// What is for the store: `s1` is the session of number 1.
fn tell_store(effect: &Effect) -> String {
    match effect {
        Effect::Keep {
            seq,
            message,
            wants,
            mark,
            hold,
        } => {
            let mut told = format!("keep @{} {}", seq.0, tell_message(message, message.qos));
            for want in wants {
                let (session, id, qos) = (want.session.0, want.packet_id.get(), want.qos as u8);
                told += &format!(" s{session}#{id}q{qos}");
            }
            told += &tell_mark(mark.as_ref());
            told + if *hold { " hold" } else { "" }
        }
        Effect::Done {
            session,
            seq,
            outcome,
        } => format!("s{} done @{} {outcome:?}", session.0, seq.0),
        Effect::Received { session, seq } => format!("s{} received @{}", session.0, seq.0),
        Effect::Sent { session, seq } => format!("s{} sent @{}", session.0, seq.0),
        Effect::Skip { session, count } => format!("s{} skip {count}", session.0),
        Effect::Unmark { log, mark } => {
            format!("{} unmark{}", tell_log(*log), tell_mark(Some(mark)))
        }
        Effect::Forget { session } => format!("s{} forget", session.0),
        Effect::Fetch { session, after } => format!("s{} fetch after @{}", session.0, after.0),
        Effect::State {
            seq,
            change,
            urgent,
        } => {
            let urgent = if *urgent { " urgent" } else { "" };
            format!("state @{} {}{urgent}", seq.0, tell_change(change))
        }
        Effect::Pause { conn } => format!("{} paused", conn.0),
        Effect::Resume { conn } => format!("{} resumed", conn.0),
        other => format!("{other:?}"),
    }
}

fn tell_change(change: &StateChange) -> String {
    match change {
        StateChange::Session(number, session) => {
            let presence = match session.presence {
                StoredPresence::Connected => "there".to_owned(),
                StoredPresence::Away {
                    expires_in,
                    will_in,
                } => {
                    let secs = |left: Option<Duration>| left.map(|left| left.as_secs());
                    format!("away {:?} {:?}", secs(expires_in), secs(will_in))
                }
            };
            let will = if session.will.is_some() { " will" } else { "" };
            format!("s{} {} {presence}{will}", number.0, session.client_id)
        }
        StateChange::SessionGone(number) => format!("s{} gone", number.0),
        StateChange::Subscription(number, filter, stored) => {
            let replaying = if stored.replaying { " replaying" } else { "" };
            format!("s{} {filter} q{}{replaying}", number.0, stored.qos as u8)
        }
        StateChange::SubscriptionGone(number, filter) => format!("s{} {filter} gone", number.0),
        StateChange::Retained(message, publisher) => {
            format!("{} of {publisher}", tell_message(message, message.qos))
        }
        StateChange::RetainedGone(topic) => format!("{topic} cleared"),
        StateChange::Marked(mark) => tell_mark(Some(mark)).trim().to_owned(),
        StateChange::MarkGone(mark) => format!("{} gone", tell_mark(Some(mark)).trim()),
    }
}

fn tell_log(log: LogId) -> String {
    match log {
        LogId::Bridge(number) => format!("log{number}"),
        LogId::Sessions => "sessions".to_owned(),
        LogId::State => "state".to_owned(),
    }
}

fn tell_mark(mark: Option<&Mark>) -> String {
    let mark = mark.map(|mark| format!(" mark s{}#{}", mark.session.0, mark.packet_id.get()));
    mark.unwrap_or_default()
}

fn tell_message(message: &Message, qos: QoS) -> String {
    let payload = String::from_utf8_lossy(&message.payload);
    format!("{}={payload} q{}", message.topic, qos as u8)
}

fn tell_packet(packet: &Packet) -> String {
    let acknowledge = |name: &str, acknowledge: &Acknowledge| {
        let (id, reason) = (acknowledge.packet_id.get(), acknowledge.reason);
        if reason == SUCCESS {
            format!("{name} {id}")
        } else {
            format!("{name} {id} {reason:?}")
        }
    };
    match packet {
        Packet::Connack(connack) => {
            let present = if connack.session_present {
                " present"
            } else {
                ""
            };
            format!("CONNACK {:?}{present}", connack.reason)
        }
        Packet::Puback(packet) => acknowledge("PUBACK", packet),
        Packet::Pubrec(packet) => acknowledge("PUBREC", packet),
        Packet::Pubrel(packet) => acknowledge("PUBREL", packet),
        Packet::Pubcomp(packet) => acknowledge("PUBCOMP", packet),
        Packet::Suback(suback) => format!("SUBACK {:?}", suback.reasons),
        Packet::Unsuback(unsuback) => format!("UNSUBACK {:?}", unsuback.reasons),
        Packet::Pingresp => "PINGRESP".to_owned(),
        Packet::Disconnect(disconnect) => format!("DISCONNECT {:?}", disconnect.reason),
        other => format!("{other:?}"),
    }
}
