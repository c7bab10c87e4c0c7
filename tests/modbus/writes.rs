//! Commands: from a message on a set topic to the registers of a device, and to the answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use fieldgate::adapter::{
    CommandSource, DeviceOptions, RtuOptions, Table, TagOptions, TagType, WireOptions,
    WriteFunction, WriteOptions,
};
use fieldgate::auth::Principal;
use fieldgate::broker::{LinkClosed, Publisher};
use fieldgate::mqtt::{Message, PublishProperties, QoS};
use fieldgate::simulator::{DeviceMap, Signal, SimulatedTable, Simulator, SimulatorHandle};
use fieldgate::value::Meaning;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::{
    LOOPBACK, PATIENCE, Running, connection, device, group, hasty, start_with, tag, topic, word,
};

/// What comes to the set topics.
struct Desk(mpsc::Receiver<(Message, Option<Publisher>)>);

impl CommandSource for Desk {
    async fn receive(&mut self) -> Result<(Message, Option<Publisher>), LinkClosed> {
        self.0.recv().await.ok_or(LinkClosed)
    }
}

/// An adapter that can be told something.
struct Bench {
    running: Running,
    commands: mpsc::Sender<(Message, Option<Publisher>)>,
}

fn message(to: &str, payload: &str) -> Message {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Message::new(topic(&format!("g/{to}")), payload, QoS::AtLeastOnce, false)
}

impl Bench {
    fn new(wire: WireOptions, devices: Vec<DeviceOptions>) -> Self {
        let (commands, receiver) = mpsc::channel(1);
        let options = fieldgate::adapter::ConnectionOptions {
            wire,
            ..connection(LOOPBACK, devices)
        };
        let running = start_with(options, Desk(receiver));
        Self { running, commands }
    }

    async fn send(&self, message: Message) {
        self.send_with(message, false).await;
    }

    /// DUP set, or not.
    async fn send_with(&self, message: Message, dup: bool) {
        let publisher = Publisher {
            client_id: ByteString::from_static("hmi"),
            principal: Principal::default(),
            sends_again: dup,
        };
        self.commands
            .send((message, Some(publisher)))
            .await
            .unwrap();
    }

    /// What is told of it, without its stamp.
    async fn told(&mut self, at: &str) -> Json {
        let mut told = self.running.next(&format!("g/{at}")).await;
        assert!(told["ts"].is_u64(), "{told}");
        told.as_object_mut().unwrap().remove("ts");
        told
    }

    async fn ask(&mut self, to: &str, payload: &str) -> Json {
        self.send(message(to, payload)).await;
        self.told(&format!("{to}/result")).await
    }

    /// Reading, so that the device is known to be there.
    async fn reads(&mut self) {
        self.running
            .until("g/chiller/status", |json| json["bad"].is_null())
            .await;
    }
}

fn writable(tag: TagOptions, write: WriteOptions) -> TagOptions {
    TagOptions {
        write: Some(write),
        ..tag
    }
}

fn chiller() -> DeviceOptions {
    let plain = WriteOptions::default;
    let verified = || WriteOptions {
        verify: true,
        ..plain()
    };
    let multiple = || WriteOptions {
        function: WriteFunction::Multiple,
        ..plain()
    };
    let names = [(0, "off"), (1, "cool"), (2, "heat")];
    let names = names.map(|(number, name)| (number, name.to_owned()));
    let alarms = [(0, "high"), (9, "low")].map(|(bit, name)| (bit, name.into()));
    let setpoint = TagOptions {
        scale: 0.1,
        decimals: Some(1),
        unit: Some("degC".to_owned()),
        ..tag("setpoint", Table::HoldingRegisters, 12, TagType::Int16)
    };
    let tags = vec![
        writable(tag("run", Table::Coils, 0, TagType::Bool), verified()),
        writable(tag("fan", Table::Coils, 1, TagType::Bool), multiple()),
        writable(
            TagOptions {
                meaning: Meaning::Names(BTreeMap::from(names)),
                ..word("mode", 10)
            },
            verified(),
        ),
        writable(
            tag("speed", Table::HoldingRegisters, 13, TagType::Float32),
            verified(),
        ),
        writable(
            setpoint,
            WriteOptions {
                min: Some(5.0),
                max: Some(18.0),
                ..verified()
            },
        ),
        writable(
            TagOptions {
                meaning: Meaning::Bits(BTreeMap::from(alarms)),
                ..word("alarms", 20)
            },
            verified(),
        ),
        writable(word("level", 30), multiple()),
        word("supply", 31),
    ];
    device("chiller", 1, vec![group("chiller", "status", 20, tags)])
}

async fn chiller_at_work() -> (Bench, SimulatorHandle) {
    use SimulatedTable::{Coils, HoldingRegisters};
    let map = DeviceMap::new(1)
        .with(Coils, 0, Signal::Words(vec![0, 0]))
        .with(HoldingRegisters, 10, Signal::Words(vec![0; 5]))
        .with(HoldingRegisters, 20, Signal::Words(vec![0x0101]))
        .with(HoldingRegisters, 30, Signal::Words(vec![7, 8]));
    let (address, simulator) = Simulator::bind(LOOPBACK, vec![map]).await.unwrap();
    let mut bench = Bench::new(tcp(address), vec![chiller()]);
    bench.reads().await;
    (bench, simulator)
}

fn tcp(address: SocketAddr) -> WireOptions {
    connection(address, Vec::new()).wire
}

fn rtu_over_tcp(address: SocketAddr) -> WireOptions {
    match tcp(address) {
        WireOptions::ModbusTcp(tcp) => WireOptions::ModbusRtuOverTcp(tcp, RtuOptions::default()),
        other => other,
    }
}

#[tokio::test]
async fn every_function_writes_what_is_asked_and_what_the_device_holds_then_is_told() {
    let (mut bench, _simulator) = chiller_at_work().await;
    for (name, payload, result) in [
        (
            "run",
            "true",
            json!({"ok": true, "value": true, "read_back": true}),
        ),
        ("fan", "on", json!({"ok": true, "value": true})),
        (
            "mode",
            "cool",
            json!({"ok": true, "value": "cool", "read_back": "cool"}),
        ),
        (
            "setpoint",
            "7.5",
            json!({"ok": true, "value": 7.5, "read_back": 7.5}),
        ),
        (
            "speed",
            r#"{"value": 0.1, "id": "abc"}"#,
            json!({"ok": true, "id": "abc", "value": 0.1, "read_back": 0.1}),
        ),
        (
            "level",
            r#"{"value": 65535, "id": 9}"#,
            json!({"ok": true, "id": 9, "value": 65535}),
        ),
        (
            "alarms",
            r#"{"value": {"low": true, "high": false}}"#,
            json!({
                "ok": true, "value": {"low": true, "high": false},
                "read_back": {"high": false, "low": true},
            }),
        ),
        (
            "status",
            r#"{"values": {"speed": 2.5, "setpoint": 8}, "id": 1}"#,
            json!({
                "ok": true, "id": 1, "values": {"setpoint": 8.0, "speed": 2.5},
                "read_back": {"setpoint": 8.0, "speed": 2.5},
            }),
        ),
    ] {
        let told = bench.ask(&format!("chiller/set/{name}"), payload).await;
        assert_eq!(told, result, "{name} {payload}");
    }
    let read = bench
        .running
        .until("g/chiller/status", |json| json["values"]["speed"] == 2.5)
        .await;
    assert_eq!(
        read["values"],
        json!({
            "run": true, "fan": true, "mode": "cool", "setpoint": 8.0, "speed": 2.5, "level": 65535, "supply": 8,
            "alarms": {"high": false, "low": true},
        })
    );
}

#[tokio::test]
async fn what_must_not_be_done_is_refused_by_name_and_nothing_is_written() {
    let (mut bench, simulator) = chiller_at_work().await;
    for (name, payload, error) in [
        ("setpoint", "18.1", "out_of_range"),
        ("setpoint", "7.55", "bad_value"),
        ("setpoint", "\u{0}", "bad_value"),
        ("mode", "warm", "bad_value"),
        ("supply", "1", "read_only"),
        ("nothing", "1", "unknown"),
        (
            "status",
            r#"{"values": {"setpoint": 8, "level": 1}}"#,
            "bad_value",
        ),
        ("level", r#"{"value": 1, "ts": 1700000000000}"#, "expired"),
    ] {
        let told = bench.ask(&format!("chiller/set/{name}"), payload).await;
        assert_eq!(
            told,
            json!({"ok": false, "error": error}),
            "{name} {payload}"
        );
    }
    let mut retained = message("chiller/set/level", r#"{"value": 1, "id": "old"}"#);
    retained.retain = true;
    bench.send(retained.clone()).await;
    let told = bench.told("chiller/set/level/result").await;
    assert_eq!(told, json!({"id": "old", "ok": false, "error": "retained"}));
    let again = message("chiller/set/level", "1");
    bench.send_with(again, true).await;
    let told = bench.told("chiller/set/level/result").await;
    assert_eq!(told, json!({"ok": false, "error": "sent_again"}));
    let mut late = message("chiller/set/level", "1");
    let properties = PublishProperties {
        message_expiry: Some(0),
        ..PublishProperties::default()
    };
    late.properties = Some(Box::new(properties));
    bench.send(late).await;
    let told = bench.told("chiller/set/level/result").await;
    assert_eq!(told, json!({"ok": false, "error": "expired"}));
    // Only the removal of a retained message: nobody asks for anything.
    retained.payload = Bytes::new();
    bench.send(retained).await;
    let told = bench
        .ask("chiller/set/level", r#"{"value": 7, "id": "next"}"#)
        .await;
    assert_eq!(told["id"], "next");

    let maps = simulator.stop().await;
    let words = maps.into_iter().next().unwrap().read(
        SimulatedTable::HoldingRegisters,
        10,
        5,
        125,
        Duration::ZERO,
    );
    assert_eq!(words, Ok(vec![0; 5]));
    let told = bench
        .running
        .until("g/chiller/$status", |json| json["state"] == "offline")
        .await;
    assert_eq!(told["state"], "offline");
    let told = bench.ask("chiller/set/level", "1").await;
    assert_eq!(told, json!({"ok": false, "error": "offline"}));
}

#[tokio::test]
async fn the_answer_goes_to_the_response_topic_with_the_correlation_data() {
    let (mut bench, _simulator) = chiller_at_work().await;
    let properties = PublishProperties {
        response_topic: Some(topic("hmi/answers")),
        correlation_data: Some(Bytes::from_static(&[0, 0xFF])),
        ..PublishProperties::default()
    };
    let mut asked = message("chiller/set/level", "5");
    asked.properties = Some(Box::new(properties.clone()));
    bench.send(asked.clone()).await;
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let message = bench.running.messages.recv().await.unwrap();
        let to = message.topic.as_str();
        if to == "hmi/answers" || to.ends_with("/result") {
            answers.push(message);
        }
    }
    assert_eq!(answers[0].topic.as_str(), "g/chiller/set/level/result");
    for answer in &answers {
        let properties = answer.properties.as_ref().unwrap();
        assert_eq!(properties.correlation_data.as_deref(), Some(&[0, 0xFF][..]));
        assert!(!answer.retain && answer.qos == QoS::AtLeastOnce);
        let json: Json = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(json["value"], 5);
    }
    // One that is a set topic would make a command of the answer.
    let properties = PublishProperties {
        response_topic: Some(topic("g/chiller/set/mode")),
        ..properties
    };
    asked.properties = Some(Box::new(properties));
    bench.send(asked).await;
    bench.told("chiller/set/level/result").await;
    let told = bench.ask("chiller/set/mode", "off").await;
    assert_eq!(
        told["value"], "off",
        "the first and only answer on this topic"
    );
}

/// A device that speaks RTU as the test tells it.
struct Wire(TcpStream);

impl Wire {
    async fn with(options: DeviceOptions) -> (Bench, Self) {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        let bench = Bench::new(rtu_over_tcp(address), vec![options]);
        let (stream, _) = listener.accept().await.unwrap();
        (bench, Self(stream))
    }

    /// The next request; reads and single writes are all as long.
    async fn asked(&mut self) -> [u8; 8] {
        let mut frame = [0; 8];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut frame));
        read.await.expect("nothing is asked").unwrap();
        frame
    }

    async fn say(&mut self, body: &[u8]) {
        let crc = crc(body).to_le_bytes();
        self.0.write_all(&[body, &crc[..]].concat()).await.unwrap();
    }

    /// Answers reads with `value` until something is to be written.
    async fn until_written(&mut self, value: u8) -> [u8; 8] {
        loop {
            let asked = self.asked().await;
            match asked[1] {
                3 => self.say(&[asked[0], 3, 2, 0, value]).await,
                _ => return asked,
            }
        }
    }
}

/// CRC-16/MODBUS, as the device computes it.
fn crc(bytes: &[u8]) -> u16 {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xA001
            } else {
                crc >> 1
            };
        }
    }
    crc
}

fn meter(write: WriteOptions) -> DeviceOptions {
    let tags = vec![writable(word("level", 30), write)];
    device("chiller", 1, vec![group("chiller", "status", 20, tags)])
}

#[tokio::test]
async fn an_adapter_that_hears_itself_confirms_no_write() {
    let patient = DeviceOptions {
        groups: vec![group(
            "chiller",
            "status",
            3_600_000,
            meter(WriteOptions::default()).groups[0].tags.clone(),
        )],
        ..meter(WriteOptions::default())
    };
    let (mut bench, mut wire) = Wire::with(patient).await;
    // Whatever comes, even before anything was read: it is only the echo.
    let echoing = tokio::spawn(async move {
        let mut written = 0;
        while let Ok(Ok(byte)) = tokio::time::timeout(PATIENCE, wire.0.read_u8()).await {
            written += 1;
            if wire.0.write_all(&[byte]).await.is_err() {
                break;
            }
        }
        written
    });
    let told = bench.ask("chiller/set/level", "1").await;
    assert_eq!(told, json!({"ok": false, "error": "echo"}));
    bench.running.shutdown.request();
    assert!(echoing.await.unwrap() > 0);
}

#[tokio::test]
async fn a_write_without_an_answer_is_not_repeated_and_its_late_answer_confirms_no_other() {
    let (mut bench, mut wire) = Wire::with(hasty(meter(WriteOptions::default()))).await;
    bench.send(message("chiller/set/level", "1")).await;
    let first = wire.until_written(7).await;
    assert_eq!(first[1..6], [6, 0, 30, 0, 1]);
    let told = bench.told("chiller/set/level/result").await;
    assert_eq!(
        told,
        json!({"ok": false, "error": "timeout", "in_doubt": true})
    );
    bench.send(message("chiller/set/level", "2")).await;
    // A read comes before the second write; the answer to the first comes with its answer, and is known.
    loop {
        let asked = wire.asked().await;
        if asked[1] == 6 {
            assert_eq!(asked[1..6], [6, 0, 30, 0, 2]);
            wire.say(&asked[..6]).await;
            break;
        }
        let late = [&first[..], &[]].concat();
        wire.0.write_all(&late).await.unwrap();
        wire.say(&[1, asked[1], 2, 0, 7]).await;
    }
    let told = bench.told("chiller/set/level/result").await;
    assert_eq!(told, json!({"ok": true, "value": 2}));
}

#[tokio::test]
async fn what_does_not_read_as_it_was_written_is_told() {
    let verified = WriteOptions {
        verify: true,
        ..WriteOptions::default()
    };
    let (mut bench, mut wire) = Wire::with(meter(verified)).await;
    for answer in [6, 0x86] {
        bench.send(message("chiller/set/level", "1")).await;
        let asked = wire.until_written(7).await;
        let (told, _) = tokio::join!(bench.told("chiller/set/level/result"), async {
            if answer == 6 {
                wire.say(&asked[..6]).await;
                // Polls and the verification find the old value.
                for _ in 0..20 {
                    let asked = wire.asked().await;
                    wire.say(&[asked[0], 3, 2, 0, 7]).await;
                }
            } else {
                wire.say(&[1, answer, 4]).await;
            }
        });
        let expected = if answer == 6 {
            json!({"ok": false, "error": "verify_failed"})
        } else {
            json!({"ok": false, "error": "exception_04", "in_doubt": true})
        };
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn a_device_that_confirms_something_else_is_not_believed() {
    let (mut bench, mut wire) = Wire::with(meter(WriteOptions::default())).await;
    bench.send(message("chiller/set/level", "1")).await;
    wire.until_written(7).await;
    wire.say(&[1, 6, 0, 30, 0, 2]).await;
    let told = bench.told("chiller/set/level/result").await;
    assert_eq!(
        told,
        json!({"ok": false, "error": "wrong_reply", "in_doubt": true})
    );
}

#[tokio::test]
async fn what_was_confirmed_and_cannot_be_read_back_is_not_called_undone() {
    let verified = WriteOptions {
        verify: true,
        ..WriteOptions::default()
    };
    let (mut bench, mut wire) = Wire::with(meter(verified)).await;
    bench.send(message("chiller/set/level", "1")).await;
    let asked = wire.until_written(7).await;
    let (told, ()) = tokio::join!(bench.told("chiller/set/level/result"), async {
        wire.say(&asked[..6]).await;
        let asked = wire.asked().await;
        wire.say(&[asked[0], 0x83, 2]).await;
    });
    assert_eq!(told, json!({"ok": false, "error": "unverified"}));
}
