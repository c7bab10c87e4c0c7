//! An MQTT 5 client on a blocking socket, which says what it is told to and nothing by itself.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fieldgate::mqtt::{
    Acknowledge, Connack, Connect, Decoder, Message, Packet, PacketId, ProtocolVersion, Publish,
    QoS, ReasonCode, RetainHandling, Subscribe, Subscription, Will,
};
use fieldgate::topic::TopicName;

const V5: ProtocolVersion = ProtocolVersion::V5;

/// Long enough for a loaded machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    stream: TcpStream,
    decoder: Decoder,
}

pub(crate) fn message(topic: &str, payload: &str) -> Message {
    let topic = TopicName::try_from(topic).unwrap();
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Message::new(topic, payload, QoS::AtLeastOnce, false)
}

impl Client {
    /// Connects; `login` is user and password. The second is what CONNACK says.
    pub(crate) fn connect(
        address: &str,
        client_id: &str,
        login: Option<(&str, &str)>,
        will: Option<Message>,
    ) -> (Self, ReasonCode) {
        Self::connect_as(
            address,
            Connect {
                user_name: login.map(|(user, _)| user.into()),
                password: login
                    .map(|(_, password)| Bytes::copy_from_slice(password.as_bytes()).into()),
                will: will.map(|message| Box::new(Will { message, delay: 0 })),
                ..Connect::new(V5, client_id.into())
            },
        )
    }

    /// The same with a session that outlives the connection, and with the one that is there.
    pub(crate) fn connect_kept(address: &str, client_id: &str) -> (Self, ReasonCode) {
        let connect = Connect {
            clean_start: false,
            session_expiry: 3600,
            ..Connect::new(V5, client_id.into())
        };
        Self::connect_as(address, connect)
    }

    fn connect_as(address: &str, connect: Connect) -> (Self, ReasonCode) {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self {
            stream,
            decoder: Decoder::new(Some(V5), u32::MAX),
        };
        client.send(Packet::Connect(Box::new(Connect {
            keep_alive: 0,
            ..connect
        })));
        let Packet::Connack(connack) = client.receive() else {
            panic!("no CONNACK");
        };
        (client, connack.reason)
    }

    /// The other side: an upstream that takes the next connection.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut upstream = Self {
            stream,
            decoder: Decoder::new(Some(V5), u32::MAX),
        };
        let connect = upstream.receive();
        assert!(matches!(connect, Packet::Connect(_)), "{connect:?}");
        let connack = Connack::new(ReasonCode::Success, false);
        upstream.send(Packet::Connack(Box::new(connack)));
        upstream
    }

    /// As an upstream: the next PUBLISH, acknowledged.
    pub(crate) fn take_up(&mut self) -> Publish {
        let Packet::Publish(publish) = self.receive() else {
            panic!("no PUBLISH");
        };
        if let Some(id) = publish.packet_id {
            let puback = Acknowledge::new(id, ReasonCode::Success);
            self.send(Packet::Puback(puback));
        }
        publish
    }

    /// Publishes at QoS 1 with RETAIN set; what PUBACK says.
    pub(crate) fn retain(&mut self, topic: &str, payload: &str) -> ReasonCode {
        self.send_retained(topic, payload);
        self.answered()
    }

    pub(crate) fn send_retained(&mut self, topic: &str, payload: &str) {
        let mut publish = message(topic, payload).into_publish(PacketId::new(2));
        publish.retain = true;
        self.send(Packet::Publish(publish));
    }

    /// What the next packet, a PUBACK, says.
    pub(crate) fn answered(&mut self) -> ReasonCode {
        let Packet::Puback(puback) = self.receive() else {
            panic!("no PUBACK");
        };
        puback.reason
    }

    pub(crate) fn send(&mut self, packet: Packet) {
        let mut frame = BytesMut::new();
        packet.encode(V5, &mut frame).unwrap();
        self.stream.write_all(&frame).unwrap();
    }

    /// The next packet, `None` where the broker has closed.
    pub(crate) fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.next_packet().unwrap() {
                return Some(packet);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).unwrap() {
                0 => return None,
                length => self.decoder.push(Bytes::copy_from_slice(&bytes[..length])),
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Packet {
        self.next().expect("the broker has closed")
    }

    /// What SUBACK says.
    pub(crate) fn subscribe(&mut self, filter: &str) -> u8 {
        self.subscribe_at(filter, QoS::AtMostOnce)
    }

    /// The same at this QoS.
    pub(crate) fn subscribe_at(&mut self, filter: &str, qos: QoS) -> u8 {
        self.send(Packet::Subscribe(Subscribe {
            packet_id: PacketId::new(1).unwrap(),
            subscriptions: vec![Subscription {
                filter: filter.into(),
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            }],
            subscription_id: None,
            user_properties: Vec::new(),
        }));
        let Packet::Suback(suback) = self.receive() else {
            panic!("no SUBACK");
        };
        suback.reasons[0].byte()
    }

    /// Publishes at QoS 1; what PUBACK says.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) -> ReasonCode {
        let publish = message(topic, payload).into_publish(PacketId::new(2));
        self.send(Packet::Publish(publish));
        let Packet::Puback(puback) = self.receive() else {
            panic!("no PUBACK");
        };
        puback.reason
    }

    /// The payload of the next PUBLISH.
    pub(crate) fn take(&mut self) -> String {
        let Packet::Publish(publish) = self.receive() else {
            panic!("no PUBLISH");
        };
        String::from_utf8(publish.payload.to_vec()).unwrap()
    }

    /// Sees that nothing else came before the answer to this.
    pub(crate) fn ping(&mut self) {
        self.send(Packet::Pingreq);
        assert_eq!(self.receive(), Packet::Pingresp);
    }
}
