//! A broker with a listener, and a client that speaks packets.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fieldgate::auth::{Authenticator, Credentials, Users};
use fieldgate::broker::{Broker, BrokerHandle, BrokerOptions, Stores};
use fieldgate::listener::{Bind, Listener, ListenerOptions, PreparedListener};
use fieldgate::mqtt::{
    Acknowledge, Connack, Connect, Decoder, Disconnect, Message, Packet, PacketId, ProtocolVersion,
    Publish, QoS, ReasonCode, RetainHandling, Subscribe, Subscription, Will,
};
use fieldgate::net::TlsTime;
use fieldgate::shutdown::Shutdown;
use fieldgate::topic::TopicName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const V311: ProtocolVersion = ProtocolVersion::V311;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::V5;
pub(crate) const QOS0: QoS = QoS::AtMostOnce;
pub(crate) const QOS1: QoS = QoS::AtLeastOnce;
pub(crate) const QOS2: QoS = QoS::ExactlyOnce;

/// Long enough for a loaded machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("what is waited for does not happen")
}

/// A broker that runs, and its first listener.
pub(crate) struct Gateway {
    pub(crate) broker: BrokerHandle,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    stop_listener: Shutdown,
    listener: Listener,
    options: ListenerOptions,
}

impl Gateway {
    /// Has the listener read its files again.
    pub(crate) fn renew(&self) {
        let prepared = PreparedListener::new(self.options.clone(), &TlsTime::default()).unwrap();
        assert!(self.listener.renew(&prepared));
    }

    pub(crate) fn start() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut BrokerOptions)) -> Self {
        Self::with_logs(change, Vec::new())
    }

    pub(crate) fn with_logs(
        change: impl FnOnce(&mut BrokerOptions),
        stores: impl Into<Stores>,
    ) -> Self {
        let anonymous = ListenerOptions {
            anonymous: true,
            ..listener()
        };
        Self::full(change, stores, Users::default(), anonymous)
    }

    pub(crate) fn full(
        change: impl FnOnce(&mut BrokerOptions),
        stores: impl Into<Stores>,
        credentials: impl Into<Credentials>,
        listener: ListenerOptions,
    ) -> Self {
        let mut options = BrokerOptions::default();
        change(&mut options);
        let shutdown = Shutdown::default();
        let authenticator = Authenticator::new(credentials);
        let broker = Broker::start(options, stores, authenticator, shutdown.stop()).unwrap();
        let kept = listener.clone();
        let listener = PreparedListener::new(listener, &TlsTime::default()).unwrap();
        let stop_listener = Shutdown::default();
        let listener = listener.start(broker.clone(), stop_listener.stop());
        Self {
            stop_listener,
            broker,
            address: listener.local_addr().unwrap(),
            shutdown,
            listener,
            options: kept,
        }
    }

    /// A client whose CONNACK has come.
    pub(crate) async fn client(&self, version: ProtocolVersion, client_id: &str) -> Client {
        let mut client = Client::open(self.address, version).await;
        let connack = client.connect(connect(version, client_id)).await;
        assert_eq!(connack.reason, ReasonCode::Success);
        client
    }

    /// Nobody comes in any more.
    pub(crate) async fn end_listener(&self) {
        self.stop_listener.request();
        soon(self.stop_listener.finished()).await;
    }

    /// Ends the broker and waits until it has.
    pub(crate) async fn stop(self) {
        self.end_listener().await;
        self.shutdown.request();
        soon(self.shutdown.finished()).await;
    }
}

/// Options of a listener on loopback that takes nobody without a name.
pub(crate) fn listener() -> ListenerOptions {
    ListenerOptions {
        name: "test".to_owned(),
        bind: Bind::Tcp("127.0.0.1:0".parse().unwrap()),
        anonymous: false,
        tls: None,
        websocket: None,
        user_from_common_name: false,
    }
}

/// A clean CONNECT without keep alive.
pub(crate) fn connect(version: ProtocolVersion, client_id: &str) -> Connect {
    Connect {
        keep_alive: 0,
        ..Connect::new(version, client_id.into())
    }
}

pub(crate) fn message(topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Message {
    Message {
        topic: TopicName::try_from(topic).unwrap(),
        payload: payload.into(),
        qos,
        retain: false,
        properties: None,
    }
}

pub(crate) fn will(topic: &str) -> Option<Box<Will>> {
    Some(Box::new(Will {
        message: message(topic, "gone", QOS1),
        delay: 0,
    }))
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn done(number: u16) -> Acknowledge {
    Acknowledge::new(id(number), ReasonCode::Success)
}

/// Success, or that nobody subscribes.
fn accepted(ack: &Acknowledge, packet_id: u16) {
    assert_eq!(ack.packet_id, id(packet_id));
    assert!(!ack.reason.is_error(), "{ack:?}");
}

/// A byte stream of any kind.
pub(crate) trait Bytestream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytestream for T {}

/// A client that says what it is told to and nothing by itself.
pub(crate) struct Client {
    pub(crate) stream: Box<dyn Bytestream>,
    decoder: Decoder,
    version: ProtocolVersion,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr, version: ProtocolVersion) -> Self {
        let stream = soon(TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(Box::new(stream), version)
    }

    pub(crate) fn over(stream: Box<dyn Bytestream>, version: ProtocolVersion) -> Self {
        Self {
            stream,
            decoder: Decoder::new(Some(version), u32::MAX),
            version,
        }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let mut frame = BytesMut::new();
        packet.encode(self.version, &mut frame).unwrap();
        self.send_bytes(&frame).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    /// The next packet, `None` where the broker has closed.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.next_packet().unwrap() {
                return Some(packet);
            }
            let mut bytes = BytesMut::with_capacity(64 << 10);
            match soon(self.stream.read_buf(&mut bytes)).await {
                Ok(1..) => self.decoder.push(bytes.freeze()),
                Ok(0) | Err(_) => return None,
            }
        }
    }

    pub(crate) async fn receive(&mut self) -> Packet {
        self.next().await.expect("the broker has closed")
    }

    pub(crate) async fn connect(&mut self, connect: Connect) -> Connack {
        self.send(Packet::Connect(Box::new(connect))).await;
        match self.receive().await {
            Packet::Connack(connack) => *connack,
            other => panic!("{other:?}"),
        }
    }

    /// Subscribes and sees it granted.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.send(Packet::Subscribe(Subscribe {
            packet_id: id(65_000),
            subscriptions: vec![Subscription {
                filter: filter.into(),
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            }],
            subscription_id: None,
            user_properties: Vec::new(),
        }))
        .await;
        match self.receive().await {
            Packet::Suback(suback) => assert_eq!(suback.reasons[0].byte(), qos as u8),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a PUBLISH and waits for nothing.
    pub(crate) async fn send_publish(&mut self, message: Message, packet_id: u16) {
        let packet_id = (message.qos != QOS0).then(|| id(packet_id));
        let publish = message.into_publish(packet_id);
        self.send(Packet::Publish(publish)).await;
    }

    /// Publishes with everything that the QoS asks for.
    pub(crate) async fn publish(&mut self, message: Message, packet_id: u16) {
        let qos = message.qos;
        self.send_publish(message, packet_id).await;
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                let Packet::Puback(puback) = self.receive().await else {
                    panic!("no PUBACK");
                };
                accepted(&puback, packet_id);
            }
            QoS::ExactlyOnce => {
                let Packet::Pubrec(pubrec) = self.receive().await else {
                    panic!("no PUBREC");
                };
                accepted(&pubrec, packet_id);
                self.send(Packet::Pubrel(done(packet_id))).await;
                assert_eq!(self.receive().await, Packet::Pubcomp(done(packet_id)));
            }
        }
    }

    /// The next PUBLISH, acknowledged as its QoS asks for.
    pub(crate) async fn take(&mut self) -> Publish {
        let publish = match self.receive().await {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        };
        if let Some(packet_id) = publish.packet_id {
            let ack = Acknowledge::new(packet_id, ReasonCode::Success);
            if publish.qos == QOS1 {
                self.send(Packet::Puback(ack)).await;
            } else {
                self.send(Packet::Pubrec(ack.clone())).await;
                assert_eq!(self.receive().await, Packet::Pubrel(ack.clone()));
                self.send(Packet::Pubcomp(ack)).await;
            }
        }
        publish
    }

    /// Takes the payload of the next PUBLISH.
    pub(crate) async fn take_payload(&mut self) -> Bytes {
        self.take().await.payload
    }

    /// Proves that the broker still serves this client.
    pub(crate) async fn ping(&mut self) {
        self.send(Packet::Pingreq).await;
        assert_eq!(self.receive().await, Packet::Pingresp);
    }

    /// Sees the broker close, with or without a DISCONNECT before it.
    pub(crate) async fn closed(&mut self) -> Option<ReasonCode> {
        match self.next().await {
            None => None,
            Some(Packet::Disconnect(Disconnect { reason, .. })) => {
                assert_eq!(self.next().await, None);
                Some(reason)
            }
            Some(other) => panic!("{other:?}"),
        }
    }
}
