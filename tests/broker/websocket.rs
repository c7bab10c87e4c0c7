//! MQTT over WebSocket, seen by a client that makes its frames by hand.

use std::time::Duration;

use fieldgate::auth::Users;
use fieldgate::broker::BrokerOptions;
use fieldgate::listener::{ListenerOptions, Origins, WebSocketOptions};
use fieldgate::mqtt::{Packet, ReasonCode};
use fieldgate::net::ClientCertificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;
use crate::tls::Authority;

const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
/// CONNECT of MQTT 3.1.1, client id "ws", keep alive 0; and its CONNACK.
const CONNECT: &[u8] = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02ws";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const PINGREQ: &[u8] = b"\xc0\x00";
const PINGRESP: &[u8] = b"\xd0\x00";

fn options() -> ListenerOptions {
    ListenerOptions {
        anonymous: true,
        websocket: Some(WebSocketOptions {
            path: "/mqtt".to_owned(),
            origins: Origins::OwnAddress,
        }),
        ..listener()
    }
}

fn gateway(change: impl FnOnce(&mut BrokerOptions)) -> Gateway {
    Gateway::full(change, Vec::new(), Users::default(), options())
}

fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n{more}\r\n"
    )
}

/// A client's frame; its mask is all that changes.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
        middle @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    let mask = u32::try_from(payload.len())
        .unwrap()
        .wrapping_mul(0x9E37_79B9);
    let mask = mask.to_be_bytes();
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

/// The client's end, below MQTT.
struct Socket(Box<dyn Bytestream>);

impl Socket {
    async fn open(gateway: &Gateway) -> Self {
        let stream = soon(TcpStream::connect(gateway.address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::upgraded(Box::new(stream)).await
    }

    async fn upgraded(stream: Box<dyn Bytestream>) -> Self {
        let mut socket = Self(stream);
        socket.write(request("/mqtt", "").as_bytes()).await;
        let answer = socket.head().await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"));
        socket
    }

    async fn write(&mut self, bytes: &[u8]) {
        soon(self.0.write_all(bytes)).await.unwrap();
        soon(self.0.flush()).await.unwrap();
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.write(&masked(first, payload)).await;
    }

    /// The head of the answer to a handshake.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(self.0.read_u8()).await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// The next frame, `None` at the end of the connection. None of ours is masked.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = soon(self.0.read_u8()).await.ok()?;
        let length = match soon(self.0.read_u8()).await.unwrap() {
            126 => u64::from(soon(self.0.read_u16()).await.unwrap()),
            127 => soon(self.0.read_u64()).await.unwrap(),
            short @ 0..126 => u64::from(short),
            other => panic!("a masked frame: {other:#x}"),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        soon(self.0.read_exact(&mut payload)).await.unwrap();
        Some((first, payload))
    }

    async fn expect(&mut self, first: u8, payload: &[u8]) {
        assert_eq!(self.frame().await, Some((first, payload.to_vec())));
    }

    async fn expect_close(&mut self, code: u16) {
        self.expect(CLOSE, &code.to_be_bytes()).await;
        assert_eq!(self.frame().await, None);
    }

    /// An MQTT client above it: `cut` bytes go into a frame.
    fn client(self, version: fieldgate::mqtt::ProtocolVersion, cut: usize) -> Client {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (mut from_client, mut to_client) = tokio::io::split(far);
        let (mut from_broker, mut to_broker) = tokio::io::split(self.0);
        tokio::spawn(async move {
            let mut bytes = vec![0; cut];
            while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
                let frame = masked(BINARY, &bytes[..count]);
                if to_broker.write_all(&frame).await.is_err() || to_broker.flush().await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            while let Ok(first) = from_broker.read_u8().await {
                let length = match from_broker.read_u8().await.unwrap() {
                    126 => from_broker.read_u16().await.unwrap().into(),
                    127 => from_broker.read_u64().await.unwrap(),
                    short => short.into(),
                };
                bytes.resize(usize::try_from(length).unwrap(), 0);
                from_broker.read_exact(&mut bytes).await.unwrap();
                if first == BINARY {
                    to_client.write_all(&bytes).await.unwrap();
                }
            }
        });
        Client::over(Box::new(near), version)
    }
}

#[tokio::test]
async fn mqtt_6_0_0_2_packets_may_be_cut_into_frames_anywhere() {
    let gateway = gateway(|_| ());
    for version in [V311, V5] {
        for cut in [1, 7, 1000, 1 << 20] {
            let mut client = Socket::open(&gateway).await.client(version, cut);
            let connack = client.connect(connect(version, "ws")).await;
            assert_eq!(connack.reason, ReasonCode::Success);
            client.subscribe("a/#", QOS1).await;
            for length in [0, 100, 3000, 5000] {
                let payload = vec![7; length];
                client
                    .send_publish(message("a/b", payload.clone(), QOS0), 0)
                    .await;
                assert!(client.take_payload().await == payload, "{length} cut {cut}");
            }
        }
    }
}

#[tokio::test]
async fn several_packets_in_one_frame_are_all_taken_and_each_answer_has_its_own() {
    let gateway = gateway(|_| ());
    let mut socket = Socket::open(&gateway).await;
    let together = [CONNECT, PINGREQ, PINGREQ].concat();
    socket.send(BINARY, &together).await;
    for answer in [CONNACK, PINGRESP, PINGRESP] {
        socket.expect(BINARY, answer).await;
    }
}

#[tokio::test]
async fn a_large_payload_arrives_whole_and_in_order() {
    let gateway = gateway(|_| ());
    let mut reader = Socket::open(&gateway).await.client(V5, 1 << 20);
    reader.connect(connect(V5, "reader")).await;
    reader.subscribe("big", QOS1).await;
    let mut writer = Socket::open(&gateway).await.client(V5, 1 << 20);
    writer.connect(connect(V5, "writer")).await;
    let payload: Vec<u8> = (0..250_000_u32).map(|n| (n % 251) as u8).collect();
    for number in 1..=8 {
        writer
            .send_publish(message("big", payload.clone(), QOS1), number)
            .await;
    }
    for _ in 0..8 {
        assert!(reader.take_payload().await == payload);
    }
}

#[tokio::test]
async fn the_handshake_and_the_first_frame_may_come_together() {
    let gateway = gateway(|_| ());
    let stream = soon(TcpStream::connect(gateway.address)).await.unwrap();
    let mut socket = Socket(Box::new(stream));
    let mut bytes = request("/mqtt", "").into_bytes();
    bytes.extend(masked(BINARY, CONNECT));
    socket.write(&bytes).await;
    assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
    socket.expect(BINARY, CONNACK).await;
}

#[tokio::test]
async fn ping_is_answered_also_in_the_middle_of_a_packet() {
    let gateway = gateway(|_| ());
    let mut socket = Socket::open(&gateway).await;
    socket.send(PING, b"before CONNECT").await;
    socket.expect(PONG, b"before CONNECT").await;
    let (first, rest) = CONNECT.split_at(5);
    socket.send(0x02, first).await;
    socket.send(PING, b"between").await;
    socket.expect(PONG, b"between").await;
    socket.send(0x80, rest).await;
    socket.expect(BINARY, CONNACK).await;
    socket.send(PONG, b"nobody asked").await;
    socket.send(BINARY, PINGREQ).await;
    socket.expect(BINARY, PINGRESP).await;
}

#[tokio::test]
async fn mqtt_6_0_0_1_text_is_closed_with_1003_at_any_time() {
    let gateway = gateway(|_| ());
    let mut early = Socket::open(&gateway).await;
    early.send(0x81, CONNECT).await;
    early.expect_close(1003).await;
    let mut late = Socket::open(&gateway).await;
    late.send(BINARY, CONNECT).await;
    late.expect(BINARY, CONNACK).await;
    late.send(0x81, b"hello").await;
    late.expect_close(1003).await;
}

#[tokio::test]
async fn frames_against_the_rules_are_closed_with_1002() {
    let gateway = gateway(|_| ());
    let unmasked = [b"\x82\x10", CONNECT].concat();
    let compressed = masked(0xC2, CONNECT);
    let fragmented_ping = masked(0x09, b"");
    let beginless = masked(0x80, CONNECT);
    let huge = [
        0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0,
    ]
    .to_vec();
    for bytes in [unmasked, compressed, fragmented_ping, beginless, huge] {
        let mut socket = Socket::open(&gateway).await;
        socket.write(&bytes).await;
        socket.expect_close(1002).await;
    }
}

#[tokio::test]
async fn a_close_frame_is_answered_and_is_the_end() {
    let gateway = gateway(|_| ());
    let mut watcher = Socket::open(&gateway).await.client(V5, 1 << 20);
    watcher.connect(connect(V5, "watcher")).await;
    watcher.subscribe("will", QOS1).await;

    let mut leaving = connect(V5, "leaving");
    leaving.will = will("will");
    let mut frame = bytes::BytesMut::new();
    let packet = Packet::Connect(Box::new(leaving));
    packet.encode(V5, &mut frame).unwrap();
    let mut socket = Socket::open(&gateway).await;
    socket.send(BINARY, &frame).await;
    assert_eq!(socket.frame().await.unwrap().0, BINARY);
    socket.send(CLOSE, &1001_u16.to_be_bytes()).await;
    socket.expect_close(1001).await;
    // It left without a DISCONNECT.
    assert_eq!(watcher.take_payload().await, "gone");
}

#[tokio::test]
async fn after_a_disconnect_the_closing_handshake_is_ours_to_begin() {
    let gateway = gateway(|_| ());
    let mut socket = Socket::open(&gateway).await;
    socket.send(BINARY, CONNECT).await;
    socket.expect(BINARY, CONNACK).await;
    socket.send(BINARY, b"\xe0\x00").await;
    socket.expect(CLOSE, &1000_u16.to_be_bytes()).await;
    socket.send(CLOSE, &1000_u16.to_be_bytes()).await;
    assert_eq!(socket.frame().await, None);
}

#[tokio::test]
async fn a_broker_that_ends_says_so_inside_and_outside_of_mqtt() {
    let gateway = gateway(|_| ());
    let mut socket = Socket::open(&gateway).await;
    socket.send(BINARY, CONNECT).await;
    socket.expect(BINARY, CONNACK).await;
    gateway.shutdown.request();
    socket.expect_close(1000).await;
    soon(gateway.shutdown.finished()).await;
}

#[tokio::test]
async fn who_asks_for_something_else_is_told_what_this_is() {
    let gateway = gateway(|_| ());
    let plain = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let page = "GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n";
    let foreign = request("/mqtt", "Origin: http://evil.example\r\n");
    let endless = format!(
        "GET /mqtt HTTP/1.1\r\nCookie: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    for (request, status) in [
        (plain.to_owned(), "404"),
        (page.to_owned(), "426"),
        (page.replace("GET", "PUT"), "405"),
        (request("/other", ""), "404"),
        (foreign, "403"),
        (endless, "431"),
    ] {
        let mut stream = soon(TcpStream::connect(gateway.address)).await.unwrap();
        soon(stream.write_all(request.as_bytes())).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(status == "431" || answer.contains("This is MQTT over WebSocket"));
    }
    // Who speaks no HTTP at all is closed at once and without a word.
    let mut stream = soon(TcpStream::connect(gateway.address)).await.unwrap();
    soon(stream.write_all(CONNECT)).await.unwrap();
    let mut answer = Vec::new();
    drop(soon(stream.read_to_end(&mut answer)).await);
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let gateway = gateway(|options| options.limits.connect_timeout = Duration::from_millis(200));
    for slow in ["", "GET /mqtt HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = soon(TcpStream::connect(gateway.address)).await.unwrap();
        soon(stream.write_all(slow.as_bytes())).await.unwrap();
        let mut answer = Vec::new();
        drop(soon(stream.read_to_end(&mut answer)).await);
        assert_eq!(answer, b"");
    }
    // Likewise one that is through and then sends nothing, or only pings.
    let mut socket = Socket::open(&gateway).await;
    socket.send(PING, b"").await;
    socket.expect(PONG, b"").await;
    assert_eq!(socket.frame().await, None);
}

#[tokio::test]
async fn a_flood_of_pings_is_one_clients_own_trouble() {
    let gateway = gateway(|_| ());
    let mut flood = Socket::open(&gateway).await;
    flood.send(BINARY, CONNECT).await;
    flood.expect(BINARY, CONNACK).await;
    let pings = masked(PING, &[7; 125]).repeat(500);
    // It reads nothing, so that its pongs pile up on its own side.
    let flooding = tokio::spawn(async move {
        for _ in 0..500 {
            if flood.0.write_all(&pings).await.is_err() {
                break;
            }
        }
        flood
    });
    let mut other = Socket::open(&gateway).await.client(V5, 1 << 20);
    other.connect(connect(V5, "other")).await;
    for _ in 0..50 {
        other.ping().await;
    }
    flooding.abort();
}

#[tokio::test]
async fn secure_websocket_is_the_same_above_tls() {
    let authority = Authority::new();
    let gateway = authority.gateway_with_listener(
        |tls| tls.client_certificate = ClientCertificate::Required,
        options(),
    );
    let identity = Some(authority.issue(Some("plc-7")));
    for version in [V311, V5] {
        let stream = authority.connect(&gateway, identity.clone()).await;
        let mut client = Socket::upgraded(stream).await.client(version, 1000);
        let connack = client.connect(connect(version, "wss")).await;
        assert_eq!(connack.reason, ReasonCode::Success);
        client.subscribe("a/#", QOS1).await;
        for length in [0, 1, 4086, 4087, 100_000, 250_000] {
            let payload: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
            client
                .send_publish(message("a/b", payload.clone(), QOS0), 0)
                .await;
            assert!(client.take_payload().await == payload, "{length}");
        }
    }
}
