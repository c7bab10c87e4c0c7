//! How many may come in, and how long they may take.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fieldgate::broker::{IncomingConnection, Stream};
use fieldgate::mqtt::{Packet, ReasonCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
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
        let packet = Packet::Connect(Box::new(connect(V5, "d")));
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

/// A stream that has nothing to be read when it is looked at first, as a socket that was just registered on another runtime.
struct Late {
    inner: DuplexStream,
    looked: bool,
}

impl AsyncRead for Late {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !mem::replace(&mut self.looked, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Late {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl Stream for Late {
    fn rehome(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_client_whose_time_has_passed_while_it_waited_for_the_broker_is_read_all_the_same() {
    let gateway = Gateway::with(|options| options.limits.connect_timeout = Duration::ZERO);
    let (client, inner) = tokio::io::duplex(1 << 10);
    let mut client = Client::over(Box::new(client), V5);
    client
        .send(Packet::Connect(Box::new(connect(V5, "waited"))))
        .await;
    let connection = IncomingConnection {
        stream: Box::new(Late {
            inner,
            looked: false,
        }),
        listener: "test".into(),
        peer: None,
        certified: None,
        anonymous: true,
        accepted: fieldgate::clock::now() - Duration::from_secs(1),
        has_ended: Default::default(),
    };
    soon(gateway.broker.attach(connection)).await.unwrap();
    let Packet::Connack(connack) = client.receive().await else {
        panic!("no CONNACK");
    };
    assert_eq!(connack.reason, ReasonCode::Success);
}

#[tokio::test]
async fn who_has_not_come_in_when_the_listener_ends_does_not_come_in_on_its_terms() {
    let gateway = Gateway::start();
    let mut waiting = Client::open(gateway.address, V5).await;
    // It was accepted, and has not said who it is.
    waiting.send_bytes(&[0x10]).await;
    let mut there = gateway.client(V5, "there").await;
    there.ping().await;
    gateway.end_listener().await;
    let mut packet = bytes::BytesMut::new();
    Packet::Connect(Box::new(connect(V5, "late")))
        .encode(V5, &mut packet)
        .unwrap();
    waiting.send_bytes(&packet[1..]).await;
    let Packet::Connack(connack) = waiting.receive().await else {
        panic!("no CONNACK");
    };
    assert_eq!(connack.reason, ReasonCode::ServerBusy);
    there.ping().await;
    gateway.stop().await;
}
