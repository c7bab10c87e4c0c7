//! One publish through the broker's core, to 1 and to 100 subscribers, with 100 000 other subscriptions present.
//!
//! Measured: the decision alone, from packet to effects; no codec and no socket. At QoS 1 the PUBACKs of all subscribers
//! and the one to the publisher are part of it.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench that goes wrong shall stop"
)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fieldgate::auth::Principal;
use fieldgate::broker::core::{ConnId, Core, Effect};
use fieldgate::broker::{BrokerOptions, Origin};
use fieldgate::clock::{self, WallTime};
use fieldgate::mqtt::{
    Acknowledge, Connect, Packet, PacketId, ProtocolVersion, Publish, QoS, ReasonCode,
    RetainHandling, Subscribe, Subscription,
};
use fieldgate::topic::TopicName;

const OTHERS: usize = 100_000;
const OTHERS_PER_CLIENT: usize = 1000;

struct Bench {
    core: Core,
    now: Instant,
    next: usize,
    acknowledged: Vec<(ConnId, PacketId)>,
}

impl Bench {
    fn new(subscribers: usize, qos: QoS) -> Self {
        let mut bench = Self {
            core: Core::new(BrokerOptions::default(), 1),
            now: clock::now(),
            next: 0,
            acknowledged: Vec::new(),
        };
        for client in 0..OTHERS / OTHERS_PER_CLIENT {
            let conn = bench.client();
            for number in 0..OTHERS_PER_CLIENT {
                let filter = match number % 3 {
                    0 => format!("plant/line{client}/machine{number}/temperature"),
                    1 => format!("plant/line{client}/machine{number}/+"),
                    _ => format!("plant/line{client}/machine{number}/#"),
                };
                bench.subscribe(conn, &filter, QoS::AtMostOnce);
            }
        }
        for _ in 0..subscribers {
            let conn = bench.client();
            bench.subscribe(conn, "site/area/+/value", qos);
        }
        bench
    }

    fn client(&mut self) -> ConnId {
        let conn = ConnId(self.next);
        self.next += 1;
        let connect = Connect::new(ProtocolVersion::V5, format!("client-{}", conn.0).into());
        let principal = |_: &str| Ok(Principal::default());
        self.core
            .connect(self.now, conn, Origin::Client, principal, connect);
        conn
    }

    fn subscribe(&mut self, conn: ConnId, filter: &str, qos: QoS) {
        let subscribe = Subscribe {
            packet_id: PacketId::new(1).unwrap(),
            subscriptions: vec![Subscription {
                filter: filter.into(),
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            }],
            subscription_id: None,
            user_properties: Vec::new(),
        };
        self.receive(conn, Packet::Subscribe(subscribe));
        self.core.effects();
    }

    fn receive(&mut self, conn: ConnId, packet: Packet) {
        self.core.receive(self.now, WallTime(1), conn, packet);
    }

    /// One publish and all that it brings about; the number of deliveries.
    fn publish(&mut self, publisher: ConnId, publish: Publish) -> usize {
        self.receive(publisher, Packet::Publish(publish));
        let mut deliveries = 0;
        for effect in self.core.effects() {
            if let Effect::Deliver {
                conn, packet_id, ..
            } = &effect
            {
                deliveries += 1;
                self.acknowledged
                    .extend(packet_id.map(|packet_id| (*conn, packet_id)));
            }
            black_box(effect);
        }
        while let Some((conn, packet_id)) = self.acknowledged.pop() {
            let puback = Acknowledge::new(packet_id, ReasonCode::Success);
            self.receive(conn, Packet::Puback(puback));
        }
        deliveries
    }
}

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for subscribers in [1, 100] {
            let mut bench = Bench::new(subscribers, qos);
            let publisher = bench.client();
            bench.core.effects();
            let message = Publish {
                dup: false,
                packet_id: PacketId::new(1).filter(|_| qos != QoS::AtMostOnce),
                qos,
                retain: false,
                topic: TopicName::try_from("site/area/pump7/value").ok(),
                topic_alias: None,
                subscription_ids: Vec::new(),
                properties: None,
                payload: Bytes::from(vec![b'x'; 64]),
            };
            assert_eq!(bench.publish(publisher, message.clone()), subscribers);
            group.throughput(Throughput::Elements(u64::try_from(subscribers).unwrap()));
            let name = format!("qos{}", qos as u8);
            group.bench_function(BenchmarkId::new(name, subscribers), |bencher| {
                bencher.iter(|| bench.publish(publisher, message.clone()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
