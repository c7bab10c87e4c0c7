//! The publish path without sockets, for counting its instructions: bytes to packet, the core's decision, packet to bytes.
//!
//! `benches/instructions` runs this under valgrind and compares the counts with those on record; by itself it prints how
//! many deliveries it made. Arguments: the name of a case and how often it is repeated.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a bench that goes wrong shall stop"
)]

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use fieldgate::auth::Principal;
use fieldgate::broker::core::{ConnId, Core, Effect, Expressed};
use fieldgate::broker::{BrokerOptions, Origin};
use fieldgate::clock::{self, WallTime};
use fieldgate::mqtt::{
    Connect, Decoder, EncodedPublish, Extra, Message, Packet, PacketId, PacketType, PlainPacket,
    PropertyBlock, ProtocolVersion, PublishProperties, QoS, ReasonCode, Subscribe, Subscription,
    write_acknowledge,
};
use fieldgate::topic::TopicName;

const VERSION: ProtocolVersion = ProtocolVersion::V5;
const PACKET_SIZE_MAX: u32 = 1 << 20;
const PUBLISHER: ConnId = ConnId(0);

/// (name, subscribers, QoS, whether the message is plain and so goes the short way)
const CASES: [(&str, usize, QoS, bool); 6] = [
    ("1-qos0", 1, QoS::AtMostOnce, true),
    ("100-qos0", 100, QoS::AtMostOnce, true),
    ("1-qos1", 1, QoS::AtLeastOnce, true),
    ("1-qos2", 1, QoS::ExactlyOnce, true),
    ("1-qos0-long", 1, QoS::AtMostOnce, false),
    ("1-qos1-long", 1, QoS::AtLeastOnce, false),
];

struct Bench {
    core: Core,
    now: Instant,
    /// By connection.
    decoders: Vec<Decoder>,
    /// The PUBLISH, as it is read again and again.
    publish: Bytes,
    /// What goes to the subscribers, and the room for it.
    out: BytesMut,
    expressed: Expressed,
    owed: Vec<(ConnId, PacketType, PacketId)>,
    deliveries: usize,
}

impl Bench {
    fn new(subscribers: usize, qos: QoS, plain: bool) -> Self {
        let mut bench = Self {
            core: Core::new(BrokerOptions::default(), 1),
            now: clock::now(),
            decoders: Vec::new(),
            publish: publish(qos, plain),
            out: BytesMut::with_capacity(64 << 10),
            expressed: Expressed::default(),
            owed: Vec::new(),
            deliveries: 0,
        };
        for number in 0..=subscribers {
            bench.connect(ConnId(number));
        }
        for number in 1..=subscribers {
            bench.subscribe(ConnId(number), qos);
        }
        bench
    }

    fn connect(&mut self, conn: ConnId) {
        let connect = Connect::new(VERSION, format!("client-{}", conn.0).into());
        let principal = |_: &str| Ok(Principal::default());
        self.core
            .connect(self.now, conn, Origin::Client, principal, connect);
        self.core.effects();
        self.decoders
            .push(Decoder::new(Some(VERSION), PACKET_SIZE_MAX));
    }

    fn subscribe(&mut self, conn: ConnId, qos: QoS) {
        let subscribe = Packet::Subscribe(Subscribe {
            packet_id: PacketId::new(1).unwrap(),
            subscriptions: vec![Subscription::new("plant/line4/+/temperature".into(), qos)],
            subscription_id: None,
            user_properties: Vec::new(),
        });
        let now = self.now;
        self.core.receive(now, WallTime(1), conn, subscribe);
        self.core.effects();
    }

    /// One publish and all that it brings about.
    fn publish(&mut self) {
        let publish = black_box(&self.publish).clone();
        self.read(PUBLISHER, publish);
        black_box(&self.out);
        self.out.clear();
        while let Some((conn, packet, id)) = self.owed.pop() {
            let mut bytes = BytesMut::with_capacity(8);
            write_acknowledge(packet, id, ReasonCode::Success, VERSION, &mut bytes);
            self.read(conn, bytes.freeze());
        }
    }

    /// As the shell does it: each packet the short way where it can go, else the long one.
    fn read(&mut self, conn: ConnId, bytes: Bytes) {
        let Self {
            decoders,
            core,
            now,
            expressed,
            ..
        } = self;
        let decoder = decoders.get_mut(conn.0).unwrap();
        decoder.push(bytes);
        if let Some(plain) = decoder.plain()
            && core.express(*now, conn, &plain, expressed)
        {
            let len = plain.len;
            if let PlainPacket::Publish(publish) = plain.packet {
                for delivery in &expressed.deliveries {
                    let (qos, id) = (delivery.qos, delivery.packet_id);
                    publish.write(VERSION, qos, id, &mut self.out);
                    let owed = id.map(|id| (delivery.conn, answer_to(qos), id));
                    self.owed.extend(owed);
                    self.deliveries += 1;
                }
            }
            if let Some((packet, id, reason)) = expressed.answer {
                write_acknowledge(packet, id, reason, VERSION, &mut self.out);
                self.owed
                    .extend(then(packet).map(|packet| (conn, packet, id)));
            }
            decoder.pass(len);
            return;
        }
        let packet = decoder.next_packet().unwrap().unwrap();
        core.receive(*now, WallTime(1), conn, packet);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for effect in self.core.effects() {
            match effect {
                Effect::Deliver {
                    conn,
                    message,
                    qos,
                    retain,
                    dup,
                    packet_id,
                    ..
                } => {
                    let properties = PropertyBlock::new(VERSION, &message).unwrap();
                    let encoded = EncodedPublish::new(&properties, &message, qos, retain);
                    let extra = Extra::default();
                    let head = encoded.write_head(dup, packet_id, &extra, &mut self.out);
                    head.unwrap();
                    self.out.extend_from_slice(encoded.payload());
                    self.owed
                        .extend(packet_id.map(|id| (conn, answer_to(qos), id)));
                    self.deliveries += 1;
                }
                Effect::Send { packet, .. } => packet.encode(VERSION, &mut self.out).unwrap(),
                other => {
                    black_box(other);
                }
            }
        }
    }
}

fn publish(qos: QoS, plain: bool) -> Bytes {
    let id = PacketId::new(1).filter(|_| qos != QoS::AtMostOnce);
    let topic = TopicName::try_from("plant/line4/press/temperature").unwrap();
    let mut message = Message::new(topic, Bytes::from(vec![b'x'; 64]), qos, false);
    if !plain {
        message.properties = Some(Box::new(PublishProperties {
            content_type: Some("text".into()),
            ..PublishProperties::default()
        }));
    }
    let mut bytes = BytesMut::new();
    let packet = Packet::Publish(message.into_publish(id));
    packet.encode(VERSION, &mut bytes).unwrap();
    bytes.freeze()
}

/// What a receiver answers to a PUBLISH.
fn answer_to(qos: QoS) -> PacketType {
    match qos {
        QoS::ExactlyOnce => PacketType::Pubrec,
        _ => PacketType::Puback,
    }
}

/// What a client answers to an answer.
fn then(packet: PacketType) -> Option<PacketType> {
    match packet {
        PacketType::Pubrec => Some(PacketType::Pubrel),
        PacketType::Pubrel => Some(PacketType::Pubcomp),
        _ => None,
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let (Some(name), Some(count)) = (arguments.next(), arguments.next()) else {
        println!("{}", CASES.map(|(name, ..)| name).join(" "));
        return;
    };
    let Some((_, subscribers, qos, plain)) = CASES.iter().find(|(it, ..)| *it == name) else {
        panic!("no case {name}");
    };
    let mut bench = Bench::new(*subscribers, *qos, *plain);
    for _ in 0..count.parse().unwrap() {
        bench.publish();
    }
    println!("{}", bench.deliveries);
}
