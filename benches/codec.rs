//! Decode and encode of the packets that matter, one at a time, and a read that holds a hundred.
//!
//! `cargo bench --bench codec`. Times are per packet, except for `batch`, which is per hundred.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "criterion makes the functions"
)]

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fieldgate::mqtt::ProtocolVersion::{V5, V311};
use fieldgate::mqtt::{
    Acknowledge, Connect, EncodedPublish, Extra, Message, Packet, PacketId, PropertyBlock,
    ProtocolVersion, QoS, ReasonCode, Subscribe, Subscription, decode,
};
use fieldgate::topic::TopicName;

const PACKET_SIZE_MAX: u32 = 1 << 20;
const BATCH: usize = 100;

fn id() -> PacketId {
    PacketId::new(7).unwrap()
}

fn message(qos: QoS, payload: usize) -> Message {
    let topic = TopicName::try_from("site/line4/press/temperature").unwrap();
    Message::new(topic, Bytes::from(vec![b'x'; payload]), qos, false)
}

fn publish(qos: QoS, payload: usize) -> Packet {
    let id = Some(id()).filter(|_| qos != QoS::AtMostOnce);
    Packet::Publish(message(qos, payload).into_publish(id))
}

fn packets() -> Vec<(&'static str, Packet)> {
    let mut connect = Connect::new(V5, ByteString::from_static("line4-press"));
    connect.user_name = Some(ByteString::from_static("press"));
    connect.password = Some(Bytes::from_static(b"correct horse").into());
    let filter = ByteString::from_static("site/+/press/#");
    let subscribe = Subscribe {
        packet_id: id(),
        subscriptions: vec![Subscription::new(filter, QoS::AtLeastOnce)],
        subscription_id: None,
        user_properties: Vec::new(),
    };
    let puback = Acknowledge::new(id(), ReasonCode::Success);
    vec![
        ("connect", Packet::Connect(Box::new(connect))),
        ("publish_qos0_64B", publish(QoS::AtMostOnce, 64)),
        ("publish_qos1_64B", publish(QoS::AtLeastOnce, 64)),
        ("publish_qos1_4KiB", publish(QoS::AtLeastOnce, 4096)),
        ("subscribe", Packet::Subscribe(subscribe)),
        ("puback", Packet::Puback(puback)),
    ]
}

fn encoded(packet: &Packet, version: ProtocolVersion) -> Bytes {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out).unwrap();
    // As a read gives it: a slice of a shared buffer, not a vector of its own.
    let whole = out.freeze();
    drop(whole.clone());
    whole
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, packet) in packets() {
        let bytes = encoded(&packet, V5);
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(&mut black_box(&bytes).clone(), Some(V5), PACKET_SIZE_MAX));
        });
    }
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, packet) in packets() {
        let mut out = BytesMut::with_capacity(8192);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&packet).encode(V5, &mut out)
            });
        });
    }
    group.finish();
}

/// What the broker's thread does with a full read buffer: all frames out of one `Bytes`.
fn batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(BATCH as u64));
    for version in [V311, V5] {
        let mut stream = BytesMut::new();
        for _ in 0..BATCH {
            publish(QoS::AtMostOnce, 64)
                .encode(version, &mut stream)
                .unwrap();
        }
        let stream = stream.freeze();
        group.bench_function(format!("decode_100_publish_{version}"), |bencher| {
            bencher.iter_batched(
                || stream.clone(),
                |mut input| {
                    let mut bytes = 0;
                    while let Ok(Some(Packet::Publish(publish))) =
                        decode(&mut input, Some(version), PACKET_SIZE_MAX)
                    {
                        bytes += publish.payload.len();
                    }
                    bytes
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// One message to a hundred receivers: encoded once, a head and a small payload copied for each.
fn delivering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deliver");
    group.throughput(Throughput::Elements(BATCH as u64));
    let message = message(QoS::AtLeastOnce, 64);
    let ids = [5];
    let own = Extra {
        subscription_ids: &ids,
        ..Extra::default()
    };
    for (name, extra) in [("shared", Extra::default()), ("own_properties", own)] {
        let mut out = BytesMut::with_capacity(BATCH * 128);
        group.bench_function(format!("to_100_{name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                let properties = PropertyBlock::new(V5, black_box(&message)).unwrap();
                let encoded = EncodedPublish::new(&properties, &message, QoS::AtLeastOnce, false);
                for _ in 0..BATCH {
                    encoded
                        .write_head(false, Some(id()), &extra, &mut out)
                        .unwrap();
                    out.extend_from_slice(encoded.payload());
                }
            });
        });
    }
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

criterion_group! {
    name = benches;
    config = settings();
    targets = decoding, encoding, batch, delivering
}
criterion_main!(benches);
