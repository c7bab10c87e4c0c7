//! What only serial lines have: adapters that are unplugged, and many units on one line.

use std::time::Duration;

use fieldgate::adapter::{ConnectionOptions, DeviceOptions, WireOptions};
use fieldgate::simulator::{Fault, FaultyDevice, Terminal};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{device, group, hasty, line, start, word};

/// Reads register 100 over and over.
fn one(name: &str, unit: u8) -> DeviceOptions {
    let groups = vec![group(name, "g", 20, vec![word("a", 100)])];
    device(name, unit, groups)
}

fn connection(wire: WireOptions, devices: Vec<DeviceOptions>) -> ConnectionOptions {
    ConnectionOptions {
        name: "line".to_owned(),
        wire,
        devices,
        splits_file: None,
    }
}

#[tokio::test]
async fn an_adapter_that_is_unplugged_and_plugged_in_again_is_read_on() {
    let folder = TempDir::new().unwrap();
    let name = folder.path().join("adapter");
    let mut running = start(connection(line(&name), vec![one("d", 1)]));
    let message = running.next("g/d/g").await;
    assert_eq!(message["bad"], json!({"a": "connect_failed"}));
    for _ in 0..3 {
        let plugged = FaultyDevice::on_line(Terminal::plug_in(&name).unwrap());
        let message = running
            .until("g/d/g", |message| message["bad"].is_null())
            .await;
        assert_eq!(message["values"], json!({"a": 100}));
        assert!(running.adapter.status().borrow().error.is_none());
        drop(plugged);
        running
            .until("g/d/g", |message| message["bad"]["a"] == "connect_failed")
            .await;
        let error = running.adapter.status().borrow().error.clone().unwrap();
        assert!(error.contains("is the adapter plugged in"), "{error}");
    }
}

#[tokio::test]
async fn one_dead_unit_among_ten_costs_the_others_a_timeout_a_back_off() {
    let folder = TempDir::new().unwrap();
    let name = folder.path().join("adapter");
    let faulty = FaultyDevice::on_line(Terminal::plug_in(&name).unwrap());
    faulty.set(10, Fault::Silent);
    let names: Vec<String> = (1..10).map(|unit| format!("d{unit}")).collect();
    let mut devices: Vec<_> = names
        .iter()
        .zip(1..)
        .map(|(name, unit)| one(name, unit))
        .collect();
    let mut dead = hasty(one("dead", 10));
    dead.retries = 3;
    dead.probe_backoff.min = Duration::from_secs(1);
    dead.probe_backoff.max = Duration::from_secs(1);
    devices.push(dead);
    let mut running = start(connection(line(&name), devices));
    running
        .until("g/dead/$status", |status| status["state"] == "offline")
        .await;
    let status = running.adapter.status();
    let requests = |of: &str| {
        let status = status.borrow();
        let device = status.devices.iter().find(|device| device.name == of);
        device.unwrap().status.requests
    };
    let before = requests("dead");
    let mut readings = 0;
    while requests("dead") < before + 3 {
        let message = running.messages.recv().await.unwrap();
        let topic = message.topic.as_str();
        if topic.ends_with("/g") && topic != "g/dead/g" {
            let json: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(json["values"], json!({"a": 100}), "{topic} {json}");
            readings += 1;
        }
    }
    println!("{readings} readings of nine units while the dead one was asked 3 times");
    // One timeout of 200 ms a second leaves nine units time for far more than one reading each.
    assert!(readings >= 3 * names.len(), "{readings}");
}

#[tokio::test]
async fn simulated_units_share_a_line_and_one_that_is_not_there_is_silent() {
    use fieldgate::simulator::SimulatedTable::HoldingRegisters;
    use fieldgate::simulator::{DeviceMap, Signal, Simulator};
    let folder = TempDir::new().unwrap();
    let name = folder.path().join("adapter");
    let unit = |unit: u8| {
        let words = vec![100 * u16::from(unit)];
        DeviceMap::new(unit).with(HoldingRegisters, 100, Signal::Words(words))
    };
    let terminal = Terminal::plug_in(&name).unwrap();
    let _simulator = Simulator::on_line(terminal, vec![unit(1), unit(2)]);
    let devices = vec![one("d1", 1), one("d2", 2), hasty(one("d3", 3))];
    let mut running = start(connection(line(&name), devices));
    assert_eq!(running.next("g/d1/g").await["values"], json!({"a": 100}));
    assert_eq!(running.next("g/d2/g").await["values"], json!({"a": 200}));
    let absent = running.next("g/d3/g").await;
    assert_eq!(absent["bad"], json!({"a": "timeout"}));
}
