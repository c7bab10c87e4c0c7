//! Every table and type, as it is published.

use std::time::Duration;

use fieldgate::adapter::{ConnectionOptions, DeviceOptions, Payload, Table, TagOptions, TagType};
use fieldgate::simulator::{DeviceMap, Signal, SimulatedTable, Simulator};
use fieldgate::value::{ByteOrder, Deadband, Meaning, Value};
use serde_json::json;

use crate::support::{LOOPBACK, connection, device, group, start, tag, word};

fn meter() -> DeviceMap {
    use SimulatedTable::{Coils, DiscreteInputs, HoldingRegisters, InputRegisters};
    let f64_bits: [u8; 8] = (-0.1_f64).to_be_bytes();
    let f64_words = f64_bits
        .chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    DeviceMap::new(17)
        .with(Coils, 3, Signal::Words(vec![1, 0, 1]))
        .with(DiscreteInputs, 9, Signal::Words(vec![0, 1]))
        .with(HoldingRegisters, 0, Signal::Words(vec![0xFFFF, 0x8000]))
        .with(HoldingRegisters, 10, Signal::Words(vec![0x0901, 0x0000]))
        .with(HoldingRegisters, 20, Signal::Words(vec![0xFFFF; 4]))
        .with(HoldingRegisters, 30, Signal::Words(f64_words.collect()))
        .with(HoldingRegisters, 40, Signal::Words(vec![0x7FC0, 0]))
        .with(InputRegisters, 0, Signal::Words(vec![0x4366, 0x6666]))
        .with(
            InputRegisters,
            2,
            Signal::Words(vec![0x4C61, 0x6765, 0x7200]),
        )
        .with(
            InputRegisters,
            5,
            Signal::Words(vec![0, 0x001C, 0xBE99, 0x1A14]),
        )
}

fn tags() -> Vec<TagOptions> {
    use Table::{Coils, DiscreteInputs, HoldingRegisters, InputRegisters};
    vec![
        tag("coil", Coils, 3, TagType::Bool),
        tag("coil_off", Coils, 4, TagType::Bool),
        tag("discrete", DiscreteInputs, 10, TagType::Bool),
        tag("bool_word", HoldingRegisters, 1, TagType::Bool),
        tag("int16", HoldingRegisters, 1, TagType::Int16),
        tag("uint16", HoldingRegisters, 0, TagType::Uint16),
        TagOptions {
            scale: 0.1,
            byte_order: ByteOrder::CDAB,
            ..tag("int32", HoldingRegisters, 10, TagType::Int32)
        },
        tag("uint32", HoldingRegisters, 20, TagType::Uint32),
        tag("uint64", HoldingRegisters, 20, TagType::Uint64),
        tag("float64", HoldingRegisters, 30, TagType::Float64),
        tag("float32", InputRegisters, 0, TagType::Float32),
        tag("text", InputRegisters, 2, TagType::Text(3)),
        tag("int64", InputRegisters, 5, TagType::Int64),
        tag("nan", HoldingRegisters, 40, TagType::Float32),
        tag("bcd", HoldingRegisters, 10, TagType::Bcd16),
        tag("no_bcd", HoldingRegisters, 0, TagType::Bcd16),
        TagOptions {
            invalid: vec![Value::Integer(-32768)],
            ..tag("no_sensor", HoldingRegisters, 1, TagType::Int16)
        },
        TagOptions {
            meaning: Meaning::Names([(0, "shut".to_owned()), (1, "open".to_owned())].into()),
            ..tag("valve", Coils, 3, TagType::Bool)
        },
        TagOptions {
            meaning: Meaning::Names([(0, "off".to_owned())].into()),
            ..tag("mode", HoldingRegisters, 10, TagType::Uint16)
        },
        TagOptions {
            meaning: Meaning::Bits([(0, "low".into()), (1, "mid".into())].into()),
            ..tag("alarms", HoldingRegisters, 10, TagType::Uint16)
        },
    ]
}

#[tokio::test]
async fn every_table_and_type_is_published_as_it_is() {
    let (address, _simulator) = Simulator::bind(LOOPBACK, vec![meter()]).await.unwrap();
    let meter = device("meter", 17, vec![group("meter", "all", 50, tags())]);
    let mut running = start(connection(address, vec![meter]));
    let message = running.next("g/meter/all").await;
    assert_eq!(
        message["values"],
        json!({
            "coil": true, "coil_off": false, "discrete": true, "bool_word": true,
            "int16": -32768, "uint16": 65535, "int32": 230.5,
            "uint32": u32::MAX, "uint64": u64::MAX, "float64": -0.1,
            "float32": 230.4, "text": "Lager", "int64": 123_456_789_012_i64,
            "bcd": 901, "valve": "open", "alarms": {"low": true, "mid": false},
        })
    );
    assert_eq!(
        message["bad"],
        json!({
            "nan": "not_a_number", "no_bcd": "bad_bcd", "no_sensor": "invalid", "mode": "not_in_enum",
        })
    );
    assert!(message["ts"].is_u64());
    let status = running.next("g/meter/$status").await;
    assert_eq!(status["state"], "online");
    assert_eq!(status["error"], json!(null));
}

#[tokio::test]
async fn tags_can_be_published_one_by_one() {
    let (address, _simulator) = Simulator::bind(LOOPBACK, vec![meter()]).await.unwrap();
    let mut one = group("meter", "one", 50, vec![word("a", 0)]);
    one.payload = Payload::JsonPerTag;
    one.tags[0].unit = Some("V".to_owned());
    let mut bare = group("meter", "bare", 50, vec![word("b", 0)]);
    bare.payload = Payload::Value;
    let mut running = start(connection(
        address,
        vec![device("meter", 17, vec![one, bare])],
    ));
    let message = running.next("g/tag/a").await;
    assert_eq!(
        (&message["value"], &message["quality"], &message["unit"]),
        (&json!(65535), &json!("good"), &json!("V"))
    );
    assert_eq!(running.next("g/tag/b").await, json!(65535));
}

#[tokio::test]
async fn every_reading_of_a_counter_arrives_once_and_in_order() {
    use SimulatedTable::InputRegisters;
    let map = DeviceMap::new(1).with(InputRegisters, 0, Signal::Counter(0));
    let (address, simulator) = Simulator::bind(LOOPBACK, vec![map]).await.unwrap();
    let counter = tag("n", Table::InputRegisters, 0, TagType::Uint32);
    let options = device("d", 1, vec![group("d", "count", 5, vec![counter])]);
    let mut running = start(connection(address, vec![options]));
    for expected in 1..=200 {
        assert_eq!(running.next("g/d/count").await["values"]["n"], expected);
    }
    // Readings are stopped, published to the last, and none is left behind.
    running.shutdown.request();
    let mut last = 200;
    while let Some(message) = running.messages.recv().await {
        if message.topic.as_str() == "g/d/count" {
            let json: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            last = json["values"]["n"].as_u64().unwrap();
        }
    }
    running.shutdown.finished().await;
    let read = u64::from(simulator.count(1, InputRegisters, 0).unwrap());
    // One request may have been on its way when polling stopped.
    assert!(
        read == last || read == last + 1,
        "read {read}, published {last}"
    );
}

#[tokio::test]
async fn groups_keep_their_own_intervals() {
    let (address, _simulator) = Simulator::bind(LOOPBACK, vec![meter()]).await.unwrap();
    let hour = Duration::from_secs(3600);
    let mut slow = group("meter", "slow", 50, vec![word("a", 0)]);
    slow.interval = hour;
    let quick = group("meter", "quick", 5, vec![word("b", 1)]);
    let mut running = start(connection(
        address,
        vec![device("meter", 17, vec![slow, quick])],
    ));
    // The slow group has its first reading within a second, its next when the hour's turn comes, and no third.
    running.next("g/meter/slow").await;
    let mut slow = 0;
    for _ in 0..100 {
        let message = running.messages.recv().await.unwrap();
        slow += usize::from(message.topic.as_str() == "g/meter/slow");
    }
    assert!(slow <= 1, "{slow}");
}

#[tokio::test]
async fn only_changes_are_published_where_that_is_wanted() {
    use SimulatedTable::InputRegisters;
    let map = DeviceMap::new(1)
        .with(InputRegisters, 0, Signal::Counter(0))
        .with(InputRegisters, 2, Signal::Words(vec![7]));
    let (address, _simulator) = Simulator::bind(LOOPBACK, vec![map]).await.unwrap();
    let input = |name, address, kind| tag(name, Table::InputRegisters, address, kind);
    let counter = TagOptions {
        deadband: Some(Deadband::Absolute(9.0)),
        ..input("n", 0, TagType::Uint32)
    };
    let mut changes = group(
        "d",
        "g",
        5,
        vec![counter, input("same", 2, TagType::Uint16)],
    );
    changes.publish.on_change = true;
    changes.publish.max_interval = Duration::from_secs(3600);
    let mut running = start(connection(address, vec![device("d", 1, vec![changes])]));
    for number in [1, 11, 21, 31] {
        let message = running.next("g/d/g").await;
        assert_eq!(message["values"], json!({"n": number, "same": 7}));
    }
}

#[tokio::test]
async fn what_a_device_refuses_is_not_asked_again_after_a_restart() {
    let holes = DeviceMap::new(1)
        .with(SimulatedTable::HoldingRegisters, 0, Signal::Words(vec![5]))
        .with(SimulatedTable::HoldingRegisters, 9, Signal::Words(vec![6]));
    let (address, _simulator) = Simulator::bind(LOOPBACK, vec![holes]).await.unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("splits").join("line.json");
    for refusals in [1, 0] {
        let tags = vec![word("a", 0), word("b", 9)];
        let meter = DeviceOptions {
            max_gap: 10,
            ..device("m", 1, vec![group("m", "g", 10, tags)])
        };
        let mut running = start(ConnectionOptions {
            splits_file: Some(file.clone()),
            ..connection(address, vec![meter])
        });
        let read = running.until("g/m/g", |json| json["bad"].is_null()).await;
        assert_eq!(read["values"], json!({"a": 5, "b": 6}));
        let told = running.adapter.status().borrow().devices[0].status.clone();
        assert_eq!(told.exceptions, refusals);
        // It is written beside the polls.
        while !file.exists() {
            running.next("g/m/g").await;
        }
        running.shutdown.request();
        running.shutdown.finished().await;
    }
}
