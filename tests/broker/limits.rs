//! How many may come in, and how long they may take.

use std::time::Duration;

use fieldgate::mqtt::ReasonCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

/// Whether the broker has closed a connection that says nothing.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(soon(stream.read(&mut [0; 64])).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn an_address_has_only_so_many_connections_and_gets_them_back() {
    let gateway = Gateway::with(|options| options.limits.connections_per_address = 3);
    let mut clients = Vec::new();
    for name in ["a", "b", "c"] {
        clients.push(gateway.client(V5, name).await);
    }
    let mut fourth = soon(TcpStream::connect(gateway.address)).await.unwrap();
    assert!(is_closed(&mut fourth).await);
    for client in &mut clients {
        client.ping().await;
    }
    // A client that leaves makes room as soon as the broker has seen it go.
    drop(clients.pop());
    loop {
        let mut client = Client::open(gateway.address, V5).await;
        let packet = fieldgate::mqtt::Packet::Connect(Box::new(connect(V5, "d")));
        let mut frame = bytes::BytesMut::new();
        packet.encode(V5, &mut frame).unwrap();
        let sent = client.stream.write_all(&frame).await;
        if sent.is_ok() && client.next().await.is_some() {
            break;
        }
    }
}

#[tokio::test]
async fn connections_that_never_say_anything_are_closed_in_time() {
    let gateway = Gateway::with(|options| {
        options.limits.connect_timeout = Duration::from_millis(100);
        options.limits.connections_per_address = 50;
    });
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(soon(TcpStream::connect(gateway.address)).await.unwrap());
    }
    let mut half = soon(TcpStream::connect(gateway.address)).await.unwrap();
    half.write_all(b"\x10\xff\xff\xff\x7f\x00\x04MQ")
        .await
        .unwrap();
    for stream in &mut silent {
        assert!(is_closed(stream).await);
    }
    assert!(is_closed(&mut half).await);
    gateway.client(V5, "after").await.ping().await;
}

#[tokio::test]
async fn a_client_beyond_the_limit_of_all_is_told_that_the_server_is_busy() {
    let gateway = Gateway::with(|options| options.limits.connections = 2);
    let _present = [gateway.client(V5, "a").await, gateway.client(V5, "b").await];
    let mut third = Client::open(gateway.address, V5).await;
    let connack = third.connect(connect(V5, "c")).await;
    assert_eq!(connack.reason, ReasonCode::ServerBusy);
    assert_eq!(third.next().await, None);
}
