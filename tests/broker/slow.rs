//! Clients that read slowly or not at all.

use std::time::Duration;

use fieldgate::mqtt::QoS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::support::*;

#[tokio::test]
async fn a_subscriber_that_does_not_read_costs_only_itself() {
    let gateway = Gateway::with(|options| options.limits.queued_bytes = 256 << 10);
    let mut stuck = gateway.client(V5, "stuck").await;
    stuck.subscribe("flood", QOS0).await;
    let mut reader = gateway.client(V5, "reader").await;
    reader.subscribe("flood", QOS0).await;
    let mut publisher = gateway.client(V5, "publisher").await;
    let (rounds, batch) = (400, 20);
    for _ in 0..rounds {
        for _ in 0..batch {
            publisher
                .send_publish(message("flood", vec![7; 8000], QOS0), 1)
                .await;
        }
        for _ in 0..batch {
            assert_eq!(reader.take_payload().await.len(), 8000);
        }
    }
    let stats = gateway.broker.stats();
    assert!(stats.dropped > 0, "64 MB fit nowhere: {stats:?}");

    // When it reads again, what it gets is whole, and new messages reach it.
    publisher.publish(message("other", "x", QOS1), 1).await;
    let drain = async {
        loop {
            let got = stuck.take().await;
            if got.payload == "last" {
                break;
            }
            assert_eq!(got.payload.len(), 8000);
        }
    };
    let publish = async {
        loop {
            publisher
                .publish(message("flood", "last", QoS::AtLeastOnce), 2)
                .await;
            assert_eq!(reader.take_payload().await, "last");
        }
    };
    tokio::select! {
        () = drain => {}
        () = publish => {}
    }
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_not_read_without_end() {
    let gateway = Gateway::with(|options| options.limits.queued_bytes = 256 << 10);
    // Small buffers on its side, or the test would be about those of the system.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    socket.set_send_buffer_size(8 << 10).unwrap();
    let stream = socket.connect(gateway.address).await.unwrap();
    let mut deaf = Client::over(Box::new(stream), V311);
    deaf.connect(connect(V311, "deaf")).await;
    let pings = [0xC0, 0x00].repeat(32 << 10);
    // As much as the buffers of both sides take; then the broker takes no more, instead of keeping the answers.
    let mut sent = 0;
    let patience = Duration::from_millis(500);
    // A write may end in the middle of a packet.
    while let Ok(written) = timeout(patience, deaf.stream.write(&pings[sent % 2..])).await {
        sent += written.unwrap();
        assert!(sent < 64 << 20, "the broker reads on");
    }
    gateway.client(V5, "other").await.ping().await;
    // Every answer is there as soon as it reads.
    sent -= sent % 2;
    let mut answers = 0;
    let mut bytes = vec![0; 1 << 20];
    while answers < sent {
        let read = soon(deaf.stream.read(&mut bytes)).await.unwrap();
        assert!(read > 0, "closed after {answers} of {sent} bytes");
        let expected = if answers % 2 == 0 {
            [0xD0, 0]
        } else {
            [0, 0xD0]
        };
        let mut pairs = bytes[..read].chunks(2);
        assert!(pairs.all(|pair| expected.starts_with(pair)));
        answers += read;
    }
}

#[tokio::test]
async fn qos_1_waits_for_a_slow_reader_up_to_the_limits() {
    let gateway = Gateway::start();
    let mut slow = gateway.client(V5, "slow").await;
    slow.subscribe("data", QOS1).await;
    let mut publisher = gateway.client(V5, "publisher").await;
    for n in 0..500_u32 {
        publisher
            .publish(message("data", n.to_be_bytes().to_vec(), QOS1), 1)
            .await;
    }
    for n in 0..500_u32 {
        assert_eq!(slow.take_payload().await[..], n.to_be_bytes());
    }
    assert_eq!(gateway.broker.stats().dropped, 0);
}
