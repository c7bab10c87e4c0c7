//! An upstream that takes everything, answers, counts, and keeps nothing. It has a thread of its own.

use std::net::TcpListener as Bound;
use std::thread;
use std::time::Instant;

use bytes::BytesMut;
use fieldgate::clock;
use fieldgate::mqtt::{
    Connack, Decoder, Packet, PacketType, ProtocolVersion, Publish, QoS, ReasonCode,
    write_acknowledge,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{SIZE, backlog};

/// What came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// PUBLISH packets.
    pub messages: u64,
    /// When the first of them came, and the last.
    pub first: Option<Instant>,
    pub last: Option<Instant>,
}

impl Seen {
    /// Messages a second, from the first to the last.
    pub fn per_second(&self) -> f64 {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return 0.0;
        };
        (self.messages - 1) as f64 / last.duration_since(first).as_secs_f64()
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct Sink {
    pub port: u16,
    seen: watch::Receiver<Seen>,
}

impl Sink {
    /// Listens at `port` (0: at any that is free). Receive Maximum is `window`.
    pub fn open(port: u16, window: u16) -> Self {
        let bound = Bound::bind(("127.0.0.1", port)).unwrap();
        bound.set_nonblocking(true).unwrap();
        let port = bound.local_addr().unwrap().port();
        let (sender, seen) = watch::channel(Seen::default());
        thread::spawn(move || backlog::runtime().block_on(serve(bound, window, sender)));
        Self { port, seen }
    }

    /// Waits until `messages` came.
    pub async fn has(&mut self, messages: u64) -> Seen {
        let seen = self.seen.wait_for(|seen| seen.messages >= messages);
        *seen.await.unwrap()
    }

    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }
}

/// One connection after the other, until nobody looks any more.
async fn serve(bound: Bound, window: u16, sender: watch::Sender<Seen>) {
    let listener = TcpListener::from_std(bound).unwrap();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            () = sender.closed() => return,
        };
        tokio::select! {
            () = converse(stream, window, &sender) => {}
            () = sender.closed() => return,
        }
    }
}

async fn converse(mut stream: TcpStream, window: u16, sender: &watch::Sender<Seen>) {
    stream.set_nodelay(true).unwrap();
    let mut decoder = Decoder::new(None, 1 << 20);
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    loop {
        input.reserve(64 << 10);
        match stream.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => decoder.push(input.split().freeze()),
        }
        let mut messages = 0;
        while let Some(packet) = decoder.next_packet().unwrap() {
            // Not what a gateway says of itself.
            messages += u64::from(
                matches!(&packet, Packet::Publish(publish) if publish.payload.len() == SIZE),
            );
            answer(packet, window, decoder.version().unwrap(), &mut out);
        }
        if messages > 0 {
            let now = clock::now();
            sender.send_modify(|seen| {
                seen.messages += messages;
                seen.first.get_or_insert(now);
                seen.last = Some(now);
            });
        }
        if stream.write_all_buf(&mut out).await.is_err() {
            return;
        }
    }
}

fn answer(packet: Packet, window: u16, version: ProtocolVersion, out: &mut BytesMut) {
    let mut acknowledge =
        |packet, id| write_acknowledge(packet, id, ReasonCode::Success, version, out);
    let answer = match packet {
        Packet::Publish(Publish { packet_id, qos, .. }) => {
            return match (packet_id, qos) {
                (Some(id), QoS::ExactlyOnce) => acknowledge(PacketType::Pubrec, id),
                (Some(id), _) => acknowledge(PacketType::Puback, id),
                (None, _) => {}
            };
        }
        Packet::Pubrel(pubrel) => return acknowledge(PacketType::Pubcomp, pubrel.packet_id),
        Packet::Connect(_) => Packet::Connack(Box::new(Connack {
            receive_maximum: window,
            ..Connack::new(ReasonCode::Success, false)
        })),
        Packet::Pingreq => Packet::Pingresp,
        _ => return,
    };
    answer.encode(version, out).unwrap();
}
