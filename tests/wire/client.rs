//! A client that says what it is told to and nothing by itself, with a step for what tests do often.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::packet::{
    Ack, Codes, Connack, PINGREQ, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Properties, Property,
    Publish, Version, ack, disconnect, read, subscribe, unsubscribe,
};
use crate::server::PATIENCE;

pub struct Client {
    stream: Box<dyn Bytestream>,
    pub version: Version,
    input: Vec<u8>,
    /// What came while something else was waited for.
    stash: VecDeque<Packet>,
    /// The Maximum Packet Size that it asked for.
    packet_size: usize,
}

/// What a client talks through.
pub trait Bytestream: Read + Write + Send {
    /// No more is sent.
    fn finish(&mut self);
}

impl Bytestream for TcpStream {
    fn finish(&mut self) {
        // Where the other side was faster there is nothing left to do.
        self.shutdown(Shutdown::Write).ok();
    }
}

impl Client {
    pub fn over(stream: TcpStream, version: Version) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::through(Box::new(stream), version)
    }

    /// `stream` gives up by itself after [`PATIENCE`].
    pub fn through(stream: Box<dyn Bytestream>, version: Version) -> Self {
        Self {
            stream,
            version,
            input: Vec::new(),
            stash: VecDeque::new(),
            packet_size: usize::MAX,
        }
    }

    /// Sends; a broker that has closed already does not mind.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Ok(()) => {}
            Err(fault) if is_closed(fault.kind()) => {}
            Err(fault) => panic!("cannot send: {fault}"),
        }
    }

    /// From now on a larger packet is a fault.
    pub fn limit_packets(&mut self, bytes: usize) {
        self.packet_size = bytes;
    }

    /// The next packet, `None` where the broker has closed.
    pub fn next(&mut self) -> Option<Packet> {
        self.stash.pop_front().or_else(|| self.read_packet())
    }

    fn read_packet(&mut self) -> Option<Packet> {
        loop {
            let before = self.input.len();
            if let Some(packet) = read(self.version, &mut self.input).unwrap() {
                let len = before - self.input.len();
                assert!(len <= self.packet_size, "{len} bytes: {packet:?}");
                return Some(packet);
            }
            if !self.read_more() {
                assert!(self.input.is_empty(), "closed within {:02x?}", self.input);
                return None;
            }
        }
    }

    fn read_more(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(len) => {
                self.input.extend(&bytes[..len]);
                len > 0
            }
            Err(fault) if is_closed(fault.kind()) => false,
            Err(fault) => panic!("what is waited for does not come: {fault}"),
        }
    }

    /// The next bytes as they are.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        while self.input.len() < len {
            assert!(self.read_more(), "the broker has closed");
        }
        self.input.drain(..len).collect()
    }

    pub fn receive(&mut self) -> Packet {
        self.next().expect("the broker has closed")
    }

    /// Sees the broker close without a word.
    pub fn closed(&mut self) {
        assert_eq!(self.next(), None);
    }

    /// Sees the broker close: in MQTT 5 it says why, in 3.1.1 it cannot.
    pub fn closed_for(&mut self, code: u8) {
        if self.version == Version::V5 {
            assert_eq!(self.disconnected().0, code);
        } else {
            self.closed();
        }
    }

    /// Sees a DISCONNECT and then the end.
    pub fn disconnected(&mut self) -> (u8, Properties) {
        match self.receive() {
            Packet::Disconnect { code, properties } => {
                assert_eq!(self.next(), None);
                (code, properties)
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn connack(&mut self) -> Connack {
        match self.receive() {
            Packet::Connack(connack) => connack,
            other => panic!("{other:?}"),
        }
    }

    pub fn suback(&mut self) -> Codes {
        match self.receive() {
            Packet::Suback(suback) => suback,
            other => panic!("{other:?}"),
        }
    }

    /// A PUBLISH, not acknowledged.
    pub fn publish(&mut self) -> Publish {
        match self.receive() {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    /// Subscribes to one filter at `options`, and sees it granted.
    pub fn subscribe(&mut self, filter: &str, options: u8) {
        self.subscribe_with(filter, options, &[]);
    }

    pub fn subscribe_with(&mut self, filter: &str, options: u8, properties: &[Property]) {
        let packet = subscribe(self.version, 60_000, properties, &[(filter, options)]);
        self.send(&packet);
        let suback = self.suback();
        assert_eq!((suback.id, suback.codes), (60_000, vec![options & 3]));
    }

    /// Unsubscribes, and sees it done.
    pub fn unsubscribe(&mut self, filter: &str) {
        self.send(&unsubscribe(self.version, 60_001, &[filter]));
        match self.receive() {
            Packet::Unsuback(Codes { id, codes, .. }) => {
                assert_eq!(id, 60_001);
                assert!(codes.is_empty() || codes == [0]);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Publishes and sees it through: success, or that nobody subscribes.
    pub fn tell(&mut self, publish: &Publish) {
        let id = publish.id.unwrap_or_default();
        self.send(&publish.bytes(self.version));
        match publish.qos {
            0 => self.ping(),
            1 => is_taken(&self.ack_of(PUBACK, id)),
            _ => {
                is_taken(&self.ack_of(PUBREC, id));
                self.send(&ack(PUBREL, id));
                assert_eq!(self.ack_of(PUBCOMP, id).code, 0);
            }
        }
    }

    /// Publishes retained messages until the broker has no place for more (MQTT 5).
    pub fn fill_retained(&mut self) {
        for number in 0..1000 {
            let publish = Publish::new(&format!("full/{number}"), "x").qos(1, 1);
            self.send(&publish.retain().bytes(self.version));
            if self.ack_of(PUBACK, 1).code == 0x97 {
                return;
            }
        }
        panic!("there is always a place");
    }

    /// Sees the acknowledgement of this kind and id.
    pub fn ack_of(&mut self, first: u8, id: u16) -> Ack {
        let (kind, ack) = match self.receive() {
            Packet::Puback(ack) => (PUBACK, ack),
            Packet::Pubrec(ack) => (PUBREC, ack),
            Packet::Pubrel(ack) => (PUBREL, ack),
            Packet::Pubcomp(ack) => (PUBCOMP, ack),
            other => panic!("{other:?}"),
        };
        assert_eq!((kind, ack.id), (first, id));
        ack
    }

    /// The next PUBLISH, acknowledged as its QoS asks for.
    pub fn take(&mut self) -> Publish {
        let publish = self.publish();
        self.acknowledge(&publish);
        publish
    }

    pub fn acknowledge(&mut self, publish: &Publish) {
        match (publish.qos, publish.id) {
            (1, Some(id)) => self.send(&ack(PUBACK, id)),
            (2, Some(id)) => {
                self.send(&ack(PUBREC, id));
                // Further messages may be on their way.
                loop {
                    match self.read_packet().expect("the broker has closed") {
                        Packet::Pubrel(pubrel) if (pubrel.id, pubrel.code) == (id, 0) => break,
                        other => self.stash.push_back(other),
                    }
                }
                self.send(&ack(PUBCOMP, id));
            }
            _ => {}
        }
    }

    /// Proves that the broker still serves this client, and that nothing else is on its way to it.
    pub fn ping(&mut self) {
        self.send(&PINGREQ);
        assert_eq!(self.receive(), Packet::Pingresp);
    }

    /// Breaks the connection off without a DISCONNECT, and waits until the broker has noticed.
    pub fn vanish(mut self) {
        self.stream.finish();
        while self.next().is_some() {}
    }

    /// Leaves with a DISCONNECT, and waits until the broker has closed.
    pub fn leave(mut self) {
        self.send(&disconnect());
        self.closed();
    }
}

fn is_taken(ack: &Ack) {
    assert!(ack.code < 0x80, "{ack:?}");
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}
