//! Options, a sink in place of the broker, and waiting for messages.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fieldgate::adapter::{
    Adapter, CommandSource, ConnectionOptions, DeviceOptions, GroupOptions, NoCommands, Parity,
    Payload, ProbeBackoff, PublishOptions, RtuOptions, SerialOptions, Sink, Table, TagOptions,
    TagType, TcpOptions, UnitId, WireOptions,
};
use fieldgate::broker::LinkClosed;
use fieldgate::mqtt::{Message, QoS};
use fieldgate::shutdown::Shutdown;
use fieldgate::simulator::{FaultyDevice, Framing, Terminal};
use fieldgate::topic::TopicName;
use fieldgate::value::{ByteOrder, Meaning};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Nothing here takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Stands where the broker's link would.
pub struct Channel(pub mpsc::Sender<Message>);

impl Sink for Channel {
    async fn publish(&mut self, message: Message) -> Result<(), LinkClosed> {
        self.0.send(message).await.map_err(|_| LinkClosed)
    }
}

/// An adapter and what it published.
pub struct Running {
    pub adapter: Adapter,
    pub messages: mpsc::Receiver<Message>,
    pub shutdown: Shutdown,
}

pub fn start(options: ConnectionOptions) -> Running {
    start_with(options, NoCommands)
}

pub fn start_with(options: ConnectionOptions, commands: impl CommandSource) -> Running {
    let (sender, messages) = mpsc::channel(1);
    let shutdown = Shutdown::default();
    let adapter = Adapter::start(options, Channel(sender), commands, shutdown.stop()).unwrap();
    Running {
        adapter,
        messages,
        shutdown,
    }
}

impl Running {
    /// The next message to `topic`, whatever comes to others.
    pub async fn next(&mut self, topic: &str) -> Json {
        self.until(topic, |_| true).await
    }

    /// The first message to `topic` that `accept` takes.
    pub async fn until(&mut self, topic: &str, accept: impl Fn(&Json) -> bool) -> Json {
        let found = self.find(|to, json| to == topic && accept(json));
        let found = tokio::time::timeout(PATIENCE, found).await;
        found
            .unwrap_or_else(|_| panic!("no such message to {topic}"))
            .1
    }

    /// The next message to a topic that `accept` takes, and that topic.
    pub async fn next_to(&mut self, accept: impl Fn(&str) -> bool) -> (String, Json) {
        let found = self.find(|to, _| accept(to));
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("no such message")
    }

    async fn find(&mut self, accept: impl Fn(&str, &Json) -> bool) -> (String, Json) {
        loop {
            let message = self.messages.recv().await.expect("the adapter has ended");
            let topic = message.topic.as_str();
            // A bare value may be empty.
            let json = serde_json::from_slice(&message.payload).unwrap_or_default();
            if accept(topic, &json) {
                return (topic.to_owned(), json);
            }
        }
    }
}

pub fn topic(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

pub fn tag(name: &str, table: Table, address: u16, kind: TagType) -> TagOptions {
    TagOptions {
        name: name.to_owned(),
        table,
        address,
        kind,
        byte_order: ByteOrder::ABCD,
        scale: 1.0,
        scale_from: None,
        atomic: false,
        decimals: None,
        invalid: Vec::new(),
        quoted: false,
        deadband: None,
        meaning: Meaning::Number,
        write: None,
        unit: None,
        topic: topic(&format!("g/tag/{name}")),
    }
}

pub fn word(name: &str, address: u16) -> TagOptions {
    tag(name, Table::HoldingRegisters, address, TagType::Uint16)
}

/// Published to `g/DEVICE/GROUP`.
pub fn group(device: &str, name: &str, interval_ms: u64, tags: Vec<TagOptions>) -> GroupOptions {
    GroupOptions {
        name: name.to_owned(),
        interval: Duration::from_millis(interval_ms),
        payload: Payload::Json(topic(&format!("g/{device}/{name}"))),
        qos: QoS::AtLeastOnce,
        retain: false,
        publish: PublishOptions::default(),
        tags,
    }
}

/// A patient device: nothing on loopback comes late by itself.
pub fn device(name: &str, unit: u8, groups: Vec<GroupOptions>) -> DeviceOptions {
    DeviceOptions {
        name: name.to_owned(),
        unit_id: UnitId(unit),
        response_timeout: Duration::from_secs(10),
        retries: 0,
        request_delay: Duration::ZERO,
        offline_after: 3,
        probe_backoff: ProbeBackoff {
            min: Duration::from_millis(100),
            max: Duration::from_millis(200),
        },
        max_registers: 125,
        max_gap: 0,
        status_topic: topic(&format!("g/{name}/$status")),
        set_topic: topic(&format!("g/{name}/set")),
        groups,
    }
}

/// The same that gives up soon, for devices that will not answer.
pub fn hasty(device: DeviceOptions) -> DeviceOptions {
    DeviceOptions {
        response_timeout: Duration::from_millis(200),
        ..device
    }
}

pub fn connection(address: SocketAddr, devices: Vec<DeviceOptions>) -> ConnectionOptions {
    ConnectionOptions {
        name: "line".to_owned(),
        wire: WireOptions::ModbusTcp(tcp(address)),
        devices,
        splits_file: None,
    }
}

/// The wires that the same device is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Tcp,
    RtuOverTcp,
    /// On a pseudo terminal.
    Rtu,
}

pub const WIRES: [Wire; 3] = [Wire::Tcp, Wire::RtuOverTcp, Wire::Rtu];

/// A device that answers wrongly on demand, and the way to it.
pub struct Wired {
    pub faulty: FaultyDevice,
    pub wire: WireOptions,
    _folder: TempDir,
}

impl Wired {
    pub async fn new(wire: Wire) -> Self {
        let folder = TempDir::new().unwrap();
        let (faulty, wire) = match wire {
            Wire::Tcp => {
                let (address, faulty) = FaultyDevice::bind(LOOPBACK, Framing::Tcp).await.unwrap();
                (faulty, WireOptions::ModbusTcp(tcp(address)))
            }
            Wire::RtuOverTcp => {
                let (address, faulty) = FaultyDevice::bind(LOOPBACK, Framing::Rtu).await.unwrap();
                let rtu = RtuOptions::default();
                (faulty, WireOptions::ModbusRtuOverTcp(tcp(address), rtu))
            }
            Wire::Rtu => {
                let name = folder.path().join("adapter");
                let faulty = FaultyDevice::on_line(Terminal::plug_in(&name).unwrap());
                (faulty, line(&name))
            }
        };
        Self {
            faulty,
            wire,
            _folder: folder,
        }
    }

    pub fn connection(&self, devices: Vec<DeviceOptions>) -> ConnectionOptions {
        ConnectionOptions {
            name: "line".to_owned(),
            wire: self.wire.clone(),
            devices,
            splits_file: None,
        }
    }
}

/// RTU on a serial port.
pub fn line(port: &Path) -> WireOptions {
    let serial = SerialOptions {
        port: port.to_owned(),
        baud_rate: 115_200,
        data_bits: 8,
        parity: Parity::None,
        stop_bits: 1,
        rs485: None,
    };
    WireOptions::ModbusRtu(serial, RtuOptions::default())
}

pub fn tcp(address: SocketAddr) -> TcpOptions {
    TcpOptions {
        host: address.ip().to_string(),
        port: address.port(),
        connect_timeout: Duration::from_secs(5),
        tls: None,
    }
}
