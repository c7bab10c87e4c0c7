//! Clients that send garbage, half a packet, too much, or nothing; nobody else notices.

use std::time::Duration;

use bytes::BytesMut;
use fieldgate::mqtt::{Packet, ReasonCode};

use crate::support::*;

/// Does `harm` while a publisher and a subscriber go on, and sees that they do.
async fn undisturbed(gateway: &Gateway, harm: impl AsyncFnOnce()) {
    let mut publisher = gateway.client(V311, "good publisher").await;
    let mut subscriber = gateway.client(V5, "good subscriber").await;
    subscriber.subscribe("good", QOS1).await;
    publisher.publish(message("good", "before", QOS1), 1).await;
    assert_eq!(subscriber.take_payload().await, "before");
    harm().await;
    publisher.publish(message("good", "after", QOS1), 2).await;
    assert_eq!(subscriber.take_payload().await, "after");
    assert_eq!(gateway.broker.stats().panics, 0);
}

#[tokio::test]
async fn garbage_before_connect_is_closed_without_a_word() {
    let gateway = Gateway::start();
    undisturbed(&gateway, async || {
        for garbage in [
            &b"GET / HTTP/1.1\r\nHost: plant\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x10\x02\x00\x00",
            b"\xc0\x00",
            b"\x00",
        ] {
            let mut client = Client::open(gateway.address, V5).await;
            client.send_bytes(garbage).await;
            assert_eq!(client.next().await, None, "{garbage:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn mqtt_3_1_2_2_an_unknown_version_is_told_so() {
    let gateway = Gateway::start();
    for level in [2, 6] {
        let mut client = Client::open(gateway.address, V311).await;
        let frame = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0, 0, 0];
        client.send_bytes(&frame).await;
        let Packet::Connack(connack) = client.receive().await else {
            panic!("no CONNACK");
        };
        assert_eq!(connack.reason, ReasonCode::UnsupportedProtocolVersion);
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test]
async fn garbage_after_connect_is_closed_with_its_reason() {
    let gateway = Gateway::start();
    undisturbed(&gateway, async || {
        let frames: [(&[u8], ReasonCode); 5] = [
            (b"\x00\x00", ReasonCode::MalformedPacket),
            (b"\x36\x05\x00\x01a\x00\x01", ReasonCode::MalformedPacket),
            (b"\x32\x06\x00\x01a\x00\x00\x00", ReasonCode::ProtocolError),
            (b"\x30\x04\x00\x02\xff\xff\x00", ReasonCode::MalformedPacket),
            (b"\x20\x03\x00\x00\x00", ReasonCode::ProtocolError),
        ];
        for (frame, reason) in frames {
            let mut client = gateway.client(V5, "bad").await;
            client.send_bytes(frame).await;
            assert_eq!(client.closed().await, Some(reason), "{frame:?}");
            let mut client = gateway.client(V311, "bad").await;
            client.send_bytes(frame).await;
            assert_eq!(client.closed().await, None, "{frame:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn mqtt_3_1_2_24_a_packet_over_the_limit_is_refused_by_its_header() {
    let gateway = Gateway::with(|options| options.limits.packet_size = 1000);
    undisturbed(&gateway, async || {
        let mut client = gateway.client(V5, "large").await;
        client.publish(message("a", vec![0; 900], QOS1), 1).await;
        client.send_bytes(b"\x30\xff\xff\xff\x7f").await;
        assert_eq!(client.closed().await, Some(ReasonCode::PacketTooLarge));
        let mut client = gateway.client(V311, "large").await;
        client.send_bytes(b"\x30\xff\xff\xff\x7f").await;
        assert_eq!(client.closed().await, None);
        let mut client = Client::open(gateway.address, V311).await;
        client.send_bytes(b"\x10\xff\xff\xff\x7f").await;
        assert_eq!(client.next().await, None);
    })
    .await;
}

#[tokio::test]
async fn silence_and_half_a_packet_before_connect_are_closed() {
    let gateway = Gateway::with(|options| {
        options.limits.connect_timeout = Duration::from_millis(300);
    });
    undisturbed(&gateway, async || {
        let mut frame = BytesMut::new();
        let whole = Packet::Connect(Box::new(connect(V311, "half")));
        whole.encode(V311, &mut frame).unwrap();
        for sent in [0, 1, 2, frame.len() - 1] {
            let mut client = Client::open(gateway.address, V311).await;
            client.send_bytes(&frame[..sent]).await;
            assert_eq!(client.next().await, None, "after {sent} bytes");
        }
    })
    .await;
}

#[tokio::test]
async fn half_a_packet_after_connect_keeps_nobody_waiting() {
    let gateway = Gateway::start();
    undisturbed(&gateway, async || {
        let mut client = gateway.client(V5, "slow").await;
        let mut frame = BytesMut::new();
        let publish = message("a", "payload", QOS1).into_publish(Some(id(9)));
        Packet::Publish(publish).encode(V5, &mut frame).unwrap();
        let (last, first) = frame.split_last().unwrap();
        for byte in first {
            client.send_bytes(&[*byte]).await;
        }
        let mut other = gateway.client(V5, "other").await;
        other.ping().await;
        client.send_bytes(&[*last]).await;
        assert!(matches!(client.receive().await, Packet::Puback(_)));
    })
    .await;
}

#[tokio::test]
async fn clients_beyond_the_limit_are_told_and_a_place_that_gets_free_is_given() {
    let gateway = Gateway::with(|options| options.limits.connections = 3);
    let mut first = gateway.client(V5, "first").await;
    let _second = gateway.client(V5, "second").await;
    let _silent = Client::open(gateway.address, V5).await;
    for (version, reason) in [
        (V5, ReasonCode::ServerBusy),
        (V311, ReasonCode::ServerUnavailable),
    ] {
        let mut client = Client::open(gateway.address, version).await;
        let connack = client.connect(connect(version, "beyond")).await;
        assert_eq!(connack.reason, reason);
        assert_eq!(client.next().await, None);
    }
    first.ping().await;
    drop(first);
    loop {
        let mut client = Client::open(gateway.address, V5).await;
        let connack = client.connect(connect(V5, "next")).await;
        if connack.reason == ReasonCode::Success {
            break;
        }
    }
}
