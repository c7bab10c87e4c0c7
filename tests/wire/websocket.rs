//! MQTT through WebSocket (section 6 of both standards; RFC 6455 by hand).

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::client::{Bytestream, Client};
use crate::gateway::Gateway;
use crate::packet::{Connect, PINGREQ, Packet, Publish, V5, V311, Version};
use crate::server::PATIENCE;

const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
/// Without the bit that says that a message ends.
const BINARY_GOES_ON: u8 = 0x02;
const CONTINUATION: u8 = 0x80;

fn gateway() -> Gateway {
    Gateway::with(&["anonymous: true, websocket: { path: /mqtt }"], "")
}

/// A connection whose handshake is done; a write is one binary frame, unless it is split.
struct WebSocket {
    stream: TcpStream,
    /// Payload of binary frames that was not read yet.
    payload: Vec<u8>,
    /// Bytes of a frame's payload at most.
    piece: usize,
    pongs: usize,
}

/// The answer to a handshake, and the connection.
fn shake_hands(gateway: &Gateway, path: &str, protocols: &str) -> (String, TcpStream) {
    let mut stream = gateway.socket(0);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let protocols = if protocols.is_empty() {
        String::new()
    } else {
        format!("Sec-WebSocket-Protocol: {protocols}\r\n")
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocols}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            _ => break,
        }
    }
    (String::from_utf8(answer).unwrap(), stream)
}

impl WebSocket {
    fn open(gateway: &Gateway) -> Self {
        let (answer, stream) = shake_hands(gateway, "/mqtt", "mqtt");
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        Self {
            stream,
            payload: Vec::new(),
            piece: usize::MAX,
            pongs: 0,
        }
    }

    fn client(self, version: Version) -> Client {
        Client::through(Box::new(self), version)
    }

    /// A frame of a client, which is masked.
    fn send(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len @ 126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(
            payload
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        self.stream.write_all(&frame)
    }

    /// The next frame of the server, which is not masked.
    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len)?;
                usize::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len)?;
                u64::from_be_bytes(len) as usize
            }
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload)?;
        Ok((head[0], payload))
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.chunks(self.piece) {
            self.send(BINARY, piece)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Read for WebSocket {
    /// The end of the stream is a close frame or that of the socket.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.payload.is_empty() {
            match self.receive() {
                Ok((BINARY | BINARY_GOES_ON | CONTINUATION | 0, payload)) => self.payload = payload,
                Ok((PONG, _)) => self.pongs += 1,
                Ok((CLOSE, _)) => return Ok(0),
                Ok((other, _)) => panic!("a frame of {other:#04x}"),
                Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(fault) => return Err(fault),
            }
        }
        let len = bytes.len().min(self.payload.len());
        bytes[..len].copy_from_slice(&self.payload[..len]);
        self.payload.drain(..len);
        Ok(len)
    }
}

impl Bytestream for WebSocket {
    fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).ok();
    }
}

rules! {
    mqtt_6_0_0_1_only_binary_frames_are_taken: only_binary_frames(V5);
    mqtt311_6_0_0_1_only_binary_frames_are_taken: only_binary_frames(V311);
    mqtt_6_0_0_2_packets_need_not_be_aligned_with_frames: unaligned(V5);
    mqtt311_6_0_0_2_packets_need_not_be_aligned_with_frames: unaligned(V311);
}

fn only_binary_frames(version: Version) {
    let gateway = gateway();
    let connect = Connect::new(version, "a").bytes();
    let mut first = WebSocket::open(&gateway);
    first.send(TEXT, &connect).unwrap();
    first.client(version).closed();
    let mut later = WebSocket::open(&gateway);
    later.send(BINARY, &connect).unwrap();
    let (_, connack) = later.receive().unwrap();
    assert_eq!(connack.first(), Some(&0x20));
    later.send(TEXT, &PINGREQ).unwrap();
    // It may be told why before it is closed, but has no answer.
    let mut client = later.client(version);
    while let Some(packet) = client.next() {
        assert!(matches!(packet, Packet::Disconnect { .. }));
    }
}

/// A byte a frame, a message of several frames with a ping between them, and many packets in one.
fn unaligned(version: Version) {
    let gateway = gateway();
    for piece in [1, 2, 7, usize::MAX] {
        let mut socket = WebSocket::open(&gateway);
        socket.piece = piece;
        let mut client = socket.client(version);
        let mut bytes = Connect::new(version, "a").bytes();
        bytes.extend(crate::packet::subscribe(version, 1, &[], &[("t", 1)]));
        for _ in 0..3 {
            bytes.extend(Publish::new("t", "x").bytes(version));
        }
        client.send(&bytes);
        assert_eq!(client.connack().code, 0);
        assert_eq!(client.suback().codes, [1]);
        for _ in 0..3 {
            assert_eq!(client.publish().text(), "x");
        }
        client.ping();
    }
    let mut socket = WebSocket::open(&gateway);
    let connect = Connect::new(version, "a").bytes();
    socket.send(BINARY_GOES_ON, &connect[..5]).unwrap();
    socket.send(PING, b"between").unwrap();
    socket.send(0, &connect[5..8]).unwrap();
    socket.send(CONTINUATION, &connect[8..]).unwrap();
    let mut client = socket.client(version);
    assert_eq!(client.connack().code, 0);
    client.ping();
}

/// Shows also [MQTT311-6.0.0-4].
#[test]
fn mqtt_6_0_0_4_the_sub_protocol_is_mqtt() {
    let gateway = gateway();
    for offered in ["mqtt", "chat, mqtt", "mqtt, mqttv3.1"] {
        let (answer, _) = shake_hands(&gateway, "/mqtt", offered);
        assert!(answer.starts_with("HTTP/1.1 101"), "{offered}: {answer}");
        let answer = answer.to_ascii_lowercase();
        assert!(
            answer.contains("\r\nsec-websocket-protocol: mqtt\r\n"),
            "{answer}"
        );
        // The key of the example in RFC 6455.
        assert!(answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    }
    for refused in ["", "chat"] {
        let (answer, _) = shake_hands(&gateway, "/mqtt", refused);
        assert!(!answer.starts_with("HTTP/1.1 101"), "{refused}: {answer}");
    }
    let (answer, _) = shake_hands(&gateway, "/other", "mqtt");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

/// 70 000 bytes: a length of eight bytes in a frame.
#[test]
fn large_packets_go_through_a_websocket_both_ways() {
    let gateway = gateway();
    let mut client = WebSocket::open(&gateway).client(V311);
    client.send(&Connect::new(V311, "a").bytes());
    assert_eq!(client.connack().code, 0);
    client.subscribe("t", 0);
    let payload = "x".repeat(70_000);
    client.send(&Publish::new("t", &payload).bytes(V311));
    assert!(client.publish().text() == payload);
}
