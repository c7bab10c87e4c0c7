//! A client that publishes with so many messages in flight, each from RAM, and keeps nothing.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use fieldgate::clock;
use fieldgate::mqtt::{
    Connect, Decoder, Message, Packet, PacketId, PacketType, ProtocolVersion, ReasonCode,
    write_acknowledge,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Client {
    version: ProtocolVersion,
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
    out: BytesMut,
    next: u16,
}

/// When a client ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// So many are sent.
    Sent(u64),
    /// So late.
    At(Instant),
}

impl Client {
    /// Connects to `port` as soon as something listens there, within ten seconds.
    pub async fn connect(port: u16, version: ProtocolVersion) -> Self {
        let end = clock::now() + Duration::from_secs(10);
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => break stream,
                Err(error) => assert!(clock::now() < end, "nothing listens: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            version,
            stream,
            decoder: Decoder::new(Some(version), 1 << 20),
            input: BytesMut::new(),
            out: BytesMut::new(),
            next: 0,
        };
        let connect = Connect::new(version, "bench".into());
        let connect = Packet::Connect(Box::new(connect));
        connect.encode(version, &mut client.out).unwrap();
        client.stream.write_all_buf(&mut client.out).await.unwrap();
        while client.receive().await == 0 {}
        client
    }

    /// Publishes `message` again and again, with `window` in flight; gives the number of those that were acknowledged, all.
    pub async fn publish(&mut self, message: &Message, window: u64, until: Until) -> u64 {
        let (mut sent, mut answered) = (0, 0);
        loop {
            while sent - answered < window && until.is_ahead(sent) {
                let id = self.next_id();
                let publish = message.clone().into_publish(Some(id));
                let packet = Packet::Publish(publish);
                packet.encode(self.version, &mut self.out).unwrap();
                sent += 1;
            }
            if sent == answered {
                return answered;
            }
            self.stream.write_all_buf(&mut self.out).await.unwrap();
            answered += self.receive().await;
        }
    }

    fn next_id(&mut self) -> PacketId {
        self.next = self.next % u16::MAX + 1;
        PacketId::new(self.next).unwrap()
    }

    /// One read; gives the number of packets that end something: CONNACK, PUBACK, PUBCOMP.
    async fn receive(&mut self) -> u64 {
        self.input.reserve(64 << 10);
        let read = self.stream.read_buf(&mut self.input).await.unwrap();
        assert!(read > 0, "the connection was closed");
        self.decoder.push(self.input.split().freeze());
        let mut ended = 0;
        while let Some(packet) = self.decoder.next_packet().unwrap() {
            match packet {
                Packet::Pubrec(pubrec) => write_acknowledge(
                    PacketType::Pubrel,
                    pubrec.packet_id,
                    ReasonCode::Success,
                    self.version,
                    &mut self.out,
                ),
                Packet::Connack(_) | Packet::Puback(_) | Packet::Pubcomp(_) => ended += 1,
                _ => {}
            }
        }
        ended
    }
}

impl Until {
    fn is_ahead(self, sent: u64) -> bool {
        match self {
            Self::Sent(messages) => sent < messages,
            Self::At(end) => clock::now() < end,
        }
    }
}
