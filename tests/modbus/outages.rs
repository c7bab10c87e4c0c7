//! Devices, lines and brokers that go away and come back.

use std::time::Duration;

use fieldgate::adapter::{Adapter, AdapterStatus, DeviceOptions, DeviceState, NoCommands, Sink};
use fieldgate::broker::LinkClosed;
use fieldgate::mqtt::Message;
use fieldgate::shutdown::Shutdown;
use fieldgate::simulator::{
    DeviceMap, Fault, FaultyDevice, Framing, Signal, SimulatedTable, Simulator,
};
use serde_json::json;

use crate::support::{LOOPBACK, PATIENCE, connection, device, group, hasty, start, word};

fn map() -> DeviceMap {
    DeviceMap::new(1).with(
        SimulatedTable::HoldingRegisters,
        100,
        Signal::Words(vec![100]),
    )
}

fn one(name: &str, unit: u8) -> DeviceOptions {
    let groups = vec![group(name, "g", 20, vec![word("a", 100)])];
    device(name, unit, groups)
}

#[tokio::test]
async fn a_device_that_is_not_there_is_said_and_found_when_it_comes() {
    // A port that was free a moment ago.
    let (address, simulator) = Simulator::bind(LOOPBACK, vec![]).await.unwrap();
    simulator.stop().await;
    let mut running = start(connection(address, vec![one("d", 1)]));
    let message = running.next("g/d/g").await;
    assert_eq!(message["bad"], json!({"a": "connect_failed"}));
    assert_eq!(message["values"], json!({}));
    running
        .until("g/d/$status", |status| status["state"] == "offline")
        .await;
    let message = running.next("g/d/g").await;
    assert_eq!(message["bad"], json!({"a": "offline"}));
    assert!(running.adapter.status().borrow().error.is_some());
    let (_, _simulator) = Simulator::bind(address, vec![map()]).await.unwrap();
    let message = running
        .until("g/d/g", |message| message["bad"].is_null())
        .await;
    assert_eq!(message["values"], json!({"a": 100}));
    let status = running
        .until("g/d/$status", |status| status["state"] == "online")
        .await;
    assert_eq!(status["error"], json!(null));
    assert!(running.adapter.status().borrow().error.is_none());
}

#[tokio::test]
async fn a_restart_of_the_device_is_survived() {
    let (address, simulator) = Simulator::bind(LOOPBACK, vec![map()]).await.unwrap();
    let mut running = start(connection(address, vec![one("d", 1)]));
    for _ in 0..3 {
        running
            .until("g/d/g", |message| message["bad"].is_null())
            .await;
    }
    let devices = simulator.stop().await;
    running
        .until("g/d/g", |message| !message["bad"].is_null())
        .await;
    let (_, _simulator) = Simulator::bind(address, devices).await.unwrap();
    let message = running
        .until("g/d/g", |message| message["bad"].is_null())
        .await;
    assert_eq!(message["values"], json!({"a": 100}));
}

#[tokio::test]
async fn a_device_that_closes_idle_connections_costs_no_reading() {
    let (address, faulty) = FaultyDevice::bind(LOOPBACK, Framing::Tcp).await.unwrap();
    let mut running = start(connection(address, vec![one("d", 1)]));
    running.next("g/d/g").await;
    // It closes at the next request; a new connection is served.
    faulty.set_for(1, Fault::Close, 1);
    let mut status = running.adapter.status();
    loop {
        assert!(running.next("g/d/g").await["bad"].is_null());
        if status.borrow_and_update().connects == 2 {
            break;
        }
    }
}

#[tokio::test]
async fn one_dead_unit_is_offline_and_the_others_hardly_notice() {
    let (address, faulty) = FaultyDevice::bind(LOOPBACK, Framing::Tcp).await.unwrap();
    faulty.set(2, Fault::Silent);
    let mut dead = hasty(one("dead", 2));
    dead.retries = 3;
    dead.probe_backoff.min = Duration::from_secs(1);
    dead.probe_backoff.max = Duration::from_secs(1);
    let mut running = start(connection(address, vec![one("well", 1), dead]));
    // From the first reading on the good one is never bad, whoever was asked first.
    loop {
        let message = running.messages.recv().await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        match message.topic.as_str() {
            "g/well/g" => assert!(json["bad"].is_null(), "{json}"),
            "g/dead/$status" if json["state"] == "offline" => break,
            _ => {}
        }
    }
    let before = running.adapter.status().borrow().devices[1].status.requests;
    // Until it has been probed twice, the other one has a reading at every turn.
    let mut readings = 0;
    let probes = loop {
        let message = running.next("g/well/g").await;
        assert!(message["bad"].is_null(), "{message}");
        readings += 1;
        let probes = running.adapter.status().borrow().devices[1].status.requests - before;
        if probes >= 2 {
            break probes;
        }
    };
    assert!(readings >= probes, "{readings} readings, {probes} probes");
    let status = running.adapter.status().borrow().clone();
    assert_eq!(status.devices[0].status.timeouts, 0);
    faulty.set(2, Fault::None);
    running
        .until("g/dead/g", |message| message["values"]["a"] == 100)
        .await;
}

#[tokio::test]
async fn of_two_dead_units_the_one_that_comes_back_is_found() {
    let (address, faulty) = FaultyDevice::bind(LOOPBACK, Framing::Tcp).await.unwrap();
    faulty.set(1, Fault::Silent);
    faulty.set(2, Fault::Silent);
    let devices = vec![hasty(one("first", 1)), hasty(one("second", 2))];
    let mut running = start(connection(address, devices));
    let offline = |status: &AdapterStatus| {
        let states = status.devices.iter().map(|device| device.status.state);
        states
            .into_iter()
            .all(|state| state == Some(DeviceState::Offline))
    };
    let mut status = running.adapter.status();
    // The sink goes on taking, so that nothing waits.
    while !offline(&status.borrow_and_update()) {
        running
            .messages
            .recv()
            .await
            .expect("the adapter has ended");
    }
    faulty.set(2, Fault::None);
    let good = |message: &serde_json::Value| message["values"]["a"] == 100;
    running.until("g/second/g", good).await;
}

#[tokio::test]
async fn a_unit_that_its_gateway_cannot_reach_is_offline_on_a_connection_that_stays() {
    let (address, _simulator) = Simulator::bind(LOOPBACK, vec![map()]).await.unwrap();
    let mut running = start(connection(address, vec![one("well", 1), one("dead", 2)]));
    let message = running.next("g/dead/g").await;
    assert_eq!(message["bad"], json!({"a": "exception_0B"}));
    let status = running
        .until("g/dead/$status", |status| status["state"] == "offline")
        .await;
    assert_eq!(status["error"], "exception_0B");
    assert!(running.next("g/well/g").await["bad"].is_null());
    assert_eq!(running.adapter.status().borrow().connects, 1);
}

/// Takes one message and never another.
struct Stuck;

impl Sink for Stuck {
    async fn publish(&mut self, _message: Message) -> Result<(), LinkClosed> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn polling_goes_on_while_the_broker_takes_nothing() {
    use SimulatedTable::HoldingRegisters;
    let counter = DeviceMap::new(1).with(HoldingRegisters, 100, Signal::Counter(0));
    let (address, simulator) = Simulator::bind(LOOPBACK, vec![counter]).await.unwrap();
    let mut options = one("d", 1);
    options.groups[0].interval = Duration::from_millis(1);
    options.groups[0].tags[0].kind = fieldgate::adapter::TagType::Uint32;
    let shutdown = Shutdown::default();
    let adapter = Adapter::start(
        connection(address, vec![options]),
        Stuck,
        NoCommands,
        shutdown.stop(),
    )
    .unwrap();
    let mut status = adapter.status();
    let full = status.wait_for(|status| status.outbox.dropped >= 100);
    let full = tokio::time::timeout(PATIENCE, full)
        .await
        .unwrap()
        .unwrap()
        .clone();
    assert_eq!(
        full.outbox.waiting, 1000,
        "as many as may wait, and no more"
    );
    assert_eq!(full.outbox.published, 0);
    assert!(simulator.count(1, HoldingRegisters, 100).unwrap() > 1000);
    // And it can still be stopped.
    shutdown.request();
    tokio::time::timeout(PATIENCE, shutdown.finished())
        .await
        .unwrap();
}
