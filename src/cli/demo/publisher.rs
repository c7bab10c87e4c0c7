//! The numbered publisher: an MQTT 5 client of the gateway on a real socket, as a PLC would be. It counts a message as
//! published when the gateway has acknowledged it (QoS 0: when it is written).

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::mqtt::{
    Acknowledge, Connect, DecodeError, Decoder, EncodeError, Message, Packet, ProtocolVersion, QoS,
    ReasonCode,
};
use crate::session::{Outbound, PacketIds, Received, Violation};
use crate::shutdown::{Shutdown, Stop};
use crate::topic::{TopicError, TopicName};

/// Messages in flight; with a commit every 100 ms and two of them for a QoS 2 message, enough for 10 a second.
const WINDOW: u16 = 100;
/// Between two messages.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long the last acknowledgements may take once it stops.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// Larger packets than an acknowledgement or a CONNACK do not come.
const PACKET_SIZE_MAX: u32 = 4096;

/// A running publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    shutdown: Shutdown,
    task: JoinHandle<Result<BTreeSet<u64>, PublisherError>>,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublisherError {
    #[error("the numbered publisher lost the gateway: {0}")]
    Io(#[from] io::Error),
    #[error("the gateway sent the numbered publisher what is no packet: {0}")]
    Decode(#[from] DecodeError),
    #[error("a packet of the numbered publisher cannot be written: {0}")]
    Encode(#[from] EncodeError),
    #[error("the gateway answered the numbered publisher with {0}")]
    Refused(ReasonCode),
    #[error("the gateway sent the numbered publisher an acknowledgement out of turn: {0}")]
    Violation(#[from] Violation),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error("the numbered publisher panicked")]
    Panicked,
}

impl Publisher {
    /// Connects and publishes until it is stopped.
    pub(super) async fn start(gateway: SocketAddr, qos: QoS) -> Result<Self, PublisherError> {
        let topic = TopicName::try_from("demo/plc/numbered")?;
        let socket = TcpStream::connect(gateway).await?;
        socket.set_nodelay(true)?;
        let shutdown = Shutdown::default();
        let mut client = Client {
            socket,
            decoder: Decoder::new(Some(ProtocolVersion::V5), PACKET_SIZE_MAX),
            outgoing: BytesMut::new(),
            outbound: Outbound::new(WINDOW),
            ids: PacketIds::default(),
            published: BTreeSet::new(),
            topic,
            qos,
        };
        client.connect().await?;
        let task = tokio::spawn(client.publish(shutdown.stop()));
        Ok(Self { shutdown, task })
    }

    /// Stops, waits for the acknowledgements that are missing, and returns the numbers that were published.
    pub(super) async fn stop(self) -> Result<BTreeSet<u64>, PublisherError> {
        self.shutdown.request();
        self.task.await.map_err(|_| PublisherError::Panicked)?
    }
}

struct Client {
    socket: TcpStream,
    decoder: Decoder,
    outgoing: BytesMut,
    outbound: Outbound<u64>,
    ids: PacketIds,
    published: BTreeSet<u64>,
    topic: TopicName,
    qos: QoS,
}

impl Client {
    async fn connect(&mut self) -> Result<(), PublisherError> {
        let connect = Connect::new(ProtocolVersion::V5, "demo-plc".into());
        self.queue(&Packet::Connect(Box::new(connect)))?;
        self.flush().await?;
        loop {
            for packet in self.read().await? {
                match packet {
                    Packet::Connack(connack) if connack.reason == ReasonCode::Success => {
                        self.outbound
                            .set_window(WINDOW.min(connack.receive_maximum));
                        return Ok(());
                    }
                    Packet::Connack(connack) => {
                        return Err(PublisherError::Refused(connack.reason));
                    }
                    _ => {}
                }
            }
        }
    }

    async fn publish(mut self, mut stop: Stop) -> Result<BTreeSet<u64>, PublisherError> {
        let mut tick = interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = 1;
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => break,
                _ = tick.tick(), if self.outbound.free() > 0 => {
                    self.send(next)?;
                    next += 1;
                }
                ready = self.socket.readable() => {
                    ready?;
                    let packets = self.read().await?;
                    self.answered(packets)?;
                }
            }
            self.flush().await?;
        }
        // An outcome that is not known in time is no publication: the verdict would call it lost or duplicated.
        let rest = async {
            while !self.outbound.is_empty() {
                let packets = self.read().await?;
                self.answered(packets)?;
                self.flush().await?;
            }
            Ok::<_, PublisherError>(())
        };
        if let Ok(ended) = timeout(LAST_ANSWERS, rest).await {
            ended?;
        }
        Ok(self.published)
    }

    fn send(&mut self, number: u64) -> Result<(), PublisherError> {
        let message = Message::new(
            self.topic.clone(),
            Bytes::from(number.to_string()),
            self.qos,
            false,
        );
        let mut packet_id = None;
        if self.qos == QoS::AtMostOnce {
            self.published.insert(number);
        } else if let Some(id) = self.ids.next(|id| self.outbound.contains(id)) {
            self.outbound.sent(id, self.qos, number)?;
            packet_id = Some(id);
        }
        self.queue(&Packet::Publish(message.into_publish(packet_id)))?;
        Ok(())
    }

    fn answered(&mut self, packets: Vec<Packet>) -> Result<(), PublisherError> {
        for packet in packets {
            match packet {
                Packet::Puback(ack) if !ack.reason.is_error() => {
                    self.published
                        .insert(self.outbound.acknowledged(ack.packet_id)?);
                }
                Packet::Pubrec(ack) => match self
                    .outbound
                    .received(ack.packet_id, ack.reason.is_error())?
                {
                    // From PUBREC on the gateway answers for the message.
                    Received::Release(number) => {
                        self.published.insert(*number);
                        self.outbound.released(ack.packet_id)?;
                        self.queue(&Packet::Pubrel(Acknowledge::new(
                            ack.packet_id,
                            ReasonCode::Success,
                        )))?;
                    }
                    Received::Again | Received::Pending => {}
                    Received::Refused(_) => return Err(PublisherError::Refused(ack.reason)),
                },
                Packet::Pubcomp(ack) => {
                    self.outbound.completed(ack.packet_id)?;
                }
                Packet::Puback(Acknowledge { reason, .. }) => {
                    return Err(PublisherError::Refused(reason));
                }
                Packet::Disconnect(disconnect) => {
                    return Err(PublisherError::Refused(disconnect.reason));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn queue(&mut self, packet: &Packet) -> Result<(), EncodeError> {
        packet.encode(ProtocolVersion::V5, &mut self.outgoing)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.socket.write_all_buf(&mut self.outgoing).await
    }

    /// Waits for bytes and returns the packets that they complete.
    async fn read(&mut self) -> Result<Vec<Packet>, PublisherError> {
        let mut buffer = BytesMut::with_capacity(4096);
        if self.socket.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.decoder.push(buffer.freeze());
        let mut packets = Vec::new();
        while let Some(packet) = self.decoder.next_packet()? {
            packets.push(packet);
        }
        Ok(packets)
    }
}
