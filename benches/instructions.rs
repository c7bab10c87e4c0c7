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
use fieldgate::broker::core::{ConnId, Core, Effect};
use fieldgate::broker::{BrokerOptions, Origin};
use fieldgate::clock::{self, WallTime};
use fieldgate::mqtt::{
    Acknowledge, Connect, EncodedPublish, Extra, Message, Packet, PacketId, PropertyBlock,
    ProtocolVersion, QoS, ReasonCode, Subscribe, Subscription, decode,
};
use fieldgate::topic::TopicName;

const VERSION: ProtocolVersion = ProtocolVersion::V311;
const PACKET_SIZE_MAX: u32 = 1 << 20;
const PUBLISHER: ConnId = ConnId(0);

/// (name, subscribers, QoS)
const CASES: [(&str, usize, QoS); 3] = [
    ("1-qos0", 1, QoS::AtMostOnce),
    ("100-qos0", 100, QoS::AtMostOnce),
    ("1-qos1", 1, QoS::AtLeastOnce),
];

struct Bench {
    core: Core,
    now: Instant,
    /// The PUBLISH, as it is read again and again.
    publish: Bytes,
    /// What goes to the subscribers, and the room for it.
    out: BytesMut,
    owed: Vec<(ConnId, PacketId)>,
    deliveries: usize,
}

impl Bench {
    fn new(subscribers: usize, qos: QoS) -> Self {
        let id = PacketId::new(1).filter(|_| qos != QoS::AtMostOnce);
        let topic = TopicName::try_from("plant/line4/press/temperature").unwrap();
        let message = Message::new(topic, Bytes::from(vec![b'x'; 64]), qos, false);
        let mut publish = BytesMut::new();
        let packet = Packet::Publish(message.into_publish(id));
        packet.encode(VERSION, &mut publish).unwrap();
        let mut bench = Self {
            core: Core::new(BrokerOptions::default(), 1),
            now: clock::now(),
            publish: publish.freeze(),
            out: BytesMut::with_capacity(64 << 10),
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
        let principal = Ok(Principal::default());
        self.core
            .connect(self.now, conn, Origin::Client, principal, connect);
        self.core.effects();
    }

    fn subscribe(&mut self, conn: ConnId, qos: QoS) {
        let subscribe = Subscribe {
            packet_id: PacketId::new(1).unwrap(),
            subscriptions: vec![Subscription::new("plant/line4/+/temperature".into(), qos)],
            subscription_id: None,
            user_properties: Vec::new(),
        };
        self.receive(conn, Packet::Subscribe(subscribe));
        self.core.effects();
    }

    fn receive(&mut self, conn: ConnId, packet: Packet) {
        self.core.receive(self.now, WallTime(1), conn, packet);
    }

    /// One publish and all that it brings about.
    fn publish(&mut self) {
        let mut input = black_box(&self.publish).clone();
        let packet = decode(&mut input, Some(VERSION), PACKET_SIZE_MAX);
        self.receive(PUBLISHER, packet.unwrap().unwrap());
        self.out.clear();
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
                    self.owed.extend(packet_id.map(|id| (conn, id)));
                    self.deliveries += 1;
                }
                Effect::Send { packet, .. } => packet.encode(VERSION, &mut self.out).unwrap(),
                other => {
                    black_box(other);
                }
            }
        }
        black_box(&self.out);
        while let Some((conn, id)) = self.owed.pop() {
            let puback = Acknowledge::new(id, ReasonCode::Success);
            self.receive(conn, Packet::Puback(puback));
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let (Some(name), Some(count)) = (arguments.next(), arguments.next()) else {
        println!("{}", CASES.map(|(name, ..)| name).join(" "));
        return;
    };
    let Some((_, subscribers, qos)) = CASES.iter().find(|(it, ..)| *it == name) else {
        panic!("no case {name}");
    };
    let mut bench = Bench::new(*subscribers, *qos);
    for _ in 0..count.parse().unwrap() {
        bench.publish();
    }
    println!("{}", bench.deliveries);
}
