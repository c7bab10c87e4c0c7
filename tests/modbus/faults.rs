//! Every way to answer wrongly: never a value, always the reason.

use std::time::Duration;

use fieldgate::adapter::{DeviceOptions, Payload, WireOptions};
use fieldgate::simulator::{
    DeviceMap, Fault, FaultyDevice, Framing, Signal, SimulatedTable, Simulator,
};
use serde_json::json;

use crate::support::{
    LOOPBACK, PATIENCE, WIRES, Wire, Wired, connection, device, group, hasty, start, word,
};

/// Two tags in two requests; each register holds its own address.
fn two(unit: u8) -> DeviceOptions {
    let groups = vec![group("d", "g", 50, vec![word("a", 100), word("b", 200)])];
    device("d", unit, groups)
}

async fn bad_with(wire: Wire, fault: Fault, reason: &str) {
    let wired = Wired::new(wire).await;
    wired.faulty.set(1, fault);
    // Only what never comes whole is not waited for: the others are patient, so that a slow machine shows no timeout.
    let device = match fault {
        Fault::Silent | Fault::Half => hasty(two(1)),
        _ => two(1),
    };
    let mut running = start(wired.connection(vec![device]));
    let at = format!("{fault:?} over {wire:?}");
    for _ in 0..3 {
        let message = running.next("g/d/g").await;
        assert_eq!(message["values"], json!({}), "{at}");
        assert_eq!(message["bad"], json!({"a": reason, "b": reason}), "{at}");
    }
    // And it is all well again as soon as the device is.
    wired.faulty.set(1, Fault::None);
    let message = running
        .until("g/d/g", |message| message["bad"].is_null())
        .await;
    assert_eq!(message["values"], json!({"a": 100, "b": 200}), "{at}");
}

async fn bad_on_lines_with(fault: Fault, reason: &str) {
    bad_with(Wire::RtuOverTcp, fault, reason).await;
    bad_with(Wire::Rtu, fault, reason).await;
}

async fn bad_anywhere_with(fault: Fault, reason: &str) {
    bad_with(Wire::Tcp, fault, reason).await;
    bad_on_lines_with(fault, reason).await;
}

#[tokio::test]
async fn a_silent_device_is_a_timeout() {
    bad_anywhere_with(Fault::Silent, "timeout").await;
}

#[tokio::test]
async fn half_a_reply_is_a_timeout() {
    bad_anywhere_with(Fault::Half, "timeout").await;
}

#[tokio::test]
async fn a_reply_that_is_short_is_wrong() {
    bad_with(Wire::Tcp, Fault::Short, "wrong_count").await;
    for wire in [Wire::RtuOverTcp, Wire::Rtu] {
        // The short reply to a longer request may look like the late one to a shorter, and is passed over.
        let wired = Wired::new(wire).await;
        wired.faulty.set(1, Fault::Short);
        let mut running = start(wired.connection(vec![hasty(two(1))]));
        let first = running.next("g/d/g").await;
        assert_eq!(first["bad"]["a"], "wrong_count", "{wire:?}");
        for _ in 0..20 {
            assert_eq!(running.next("g/d/g").await["values"], json!({}), "{wire:?}");
        }
        wired.faulty.set(1, Fault::None);
        let message = running
            .until("g/d/g", |message| message["bad"].is_null())
            .await;
        assert_eq!(message["values"], json!({"a": 100, "b": 200}), "{wire:?}");
    }
}

#[tokio::test]
async fn a_reply_that_is_long_is_wrong() {
    bad_anywhere_with(Fault::Long, "wrong_count").await;
}

#[tokio::test]
async fn a_reply_with_bytes_behind_it_is_wrong() {
    bad_with(Wire::Tcp, Fault::Trailing, "wrong_count").await;
}

#[tokio::test]
async fn a_reply_of_another_unit_is_wrong() {
    bad_anywhere_with(Fault::WrongUnit, "wrong_unit").await;
}

#[tokio::test]
async fn a_reply_to_another_transaction_is_wrong() {
    bad_with(Wire::Tcp, Fault::WrongTransaction, "wrong_transaction").await;
}

#[tokio::test]
async fn a_reply_to_another_function_is_wrong() {
    bad_anywhere_with(Fault::WrongFunction, "wrong_function").await;
}

#[tokio::test]
async fn a_reply_with_a_wrong_checksum_is_wrong() {
    bad_on_lines_with(Fault::WrongChecksum, "wrong_checksum").await;
}

#[tokio::test]
async fn an_echo_that_nobody_expects_is_wrong() {
    bad_on_lines_with(Fault::Echo, "echo").await;
}

#[tokio::test]
async fn garbage_is_no_reply() {
    bad_with(Wire::Tcp, Fault::Garbage, "garbled").await;
    bad_on_lines_with(Fault::Garbage, "wrong_unit").await;
}

#[tokio::test]
async fn a_closed_connection_is_said() {
    bad_with(Wire::Tcp, Fault::Close, "connection_closed").await;
    bad_with(Wire::RtuOverTcp, Fault::Close, "connection_closed").await;
}

#[tokio::test]
async fn an_exception_is_told_by_its_number() {
    bad_anywhere_with(Fault::Exception(0x04), "exception_04").await;
}

#[tokio::test]
async fn a_late_reply_never_becomes_the_value_of_a_later_request() {
    for wire in WIRES {
        // By little more than the timeout, and by more than any silence that is waited for.
        for late in [205, 250, 450] {
            never_a_value_of_another(wire, Duration::from_millis(late)).await;
        }
    }
}

async fn never_a_value_of_another(wire: Wire, late: Duration) {
    let wired = Wired::new(wire).await;
    wired.faulty.set(1, Fault::Late(late));
    let mut running = start(wired.connection(vec![hasty(two(1))]));
    // A slow machine may find the reply there when it looks whether time is up.
    let mut seen = running
        .until("g/d/g", |message| message["bad"]["a"] == "timeout")
        .await;
    wired.faulty.set(1, Fault::None);
    for _ in 0..20 {
        for (tag, address) in [("a", 100), ("b", 200)] {
            let value = &seen["values"][tag];
            assert!(
                value.is_null() || value == address,
                "{wire:?} {late:?} {seen}"
            );
        }
        seen = running.next("g/d/g").await;
    }
    let well = running
        .until("g/d/g", |message| message["bad"].is_null())
        .await;
    assert_eq!(well["values"], json!({"a": 100, "b": 200}));
}

#[tokio::test]
async fn bytes_that_drivers_make_are_passed_over() {
    for wire in [Wire::RtuOverTcp, Wire::Rtu] {
        let wired = Wired::new(wire).await;
        wired.faulty.set(1, Fault::DriverNoise);
        let mut running = start(wired.connection(vec![two(1)]));
        for _ in 0..3 {
            let message = running.next("g/d/g").await;
            assert_eq!(message["values"], json!({"a": 100, "b": 200}), "{wire:?}");
        }
    }
}

#[tokio::test]
async fn an_echo_that_is_expected_is_passed_over() {
    for wire in [Wire::RtuOverTcp, Wire::Rtu] {
        let mut wired = Wired::new(wire).await;
        let (WireOptions::ModbusRtu(_, rtu) | WireOptions::ModbusRtuOverTcp(_, rtu)) =
            &mut wired.wire
        else {
            panic!("{wire:?} is no line");
        };
        rtu.discard_echo = true;
        wired.faulty.set(1, Fault::Echo);
        let mut running = start(wired.connection(vec![two(1)]));
        for _ in 0..3 {
            let message = running.next("g/d/g").await;
            assert_eq!(message["values"], json!({"a": 100, "b": 200}), "{wire:?}");
        }
    }
}

#[tokio::test]
async fn an_exception_costs_only_its_own_request_and_the_device_is_degraded_not_offline() {
    let map = DeviceMap::new(1).with(
        SimulatedTable::HoldingRegisters,
        200,
        Signal::Words(vec![200]),
    );
    let (address, _simulator) = Simulator::bind(LOOPBACK, vec![map]).await.unwrap();
    let mut running = start(connection(address, vec![two(1)]));
    let message = running.next("g/d/g").await;
    assert_eq!(message["values"], json!({"b": 200}));
    assert_eq!(message["bad"], json!({"a": "exception_02"}));
    let status = running.next("g/d/$status").await;
    assert_eq!(
        (&status["state"], &status["error"]),
        (&json!("degraded"), &json!("exception_02"))
    );
    for _ in 0..50 {
        assert_eq!(
            running.next("g/d/g").await["bad"],
            json!({"a": "exception_02"})
        );
    }
    let status = running.adapter.status().borrow().clone();
    assert_eq!(status.connects, 1, "an exception is no reason to reconnect");
    assert!(status.devices[0].status.exceptions >= 50);
}

#[tokio::test]
async fn a_busy_device_is_asked_again() {
    let (address, faulty) = FaultyDevice::bind(LOOPBACK, Framing::Tcp).await.unwrap();
    faulty.set_for(1, Fault::Exception(0x06), 2);
    let mut running = start(connection(address, vec![two(1)]));
    let message = running.next("g/d/g").await;
    assert_eq!(message["values"], json!({"a": 100, "b": 200}));
    assert!(message["bad"].is_null(), "{message}");
    assert_eq!(
        *faulty.requests().borrow(),
        4,
        "two that were busy, two that were not"
    );
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again() {
    let (address, faulty) = FaultyDevice::bind(LOOPBACK, Framing::Tcp).await.unwrap();
    let mut options = two(1);
    options.response_timeout = Duration::from_secs(2);
    options.retries = 1;
    faulty.set_for(1, Fault::Silent, 1);
    let mut running = start(connection(address, vec![options]));
    let message = running.next("g/d/g").await;
    assert_eq!(message["values"], json!({"a": 100, "b": 200}));
    assert!(message["bad"].is_null(), "{message}");
    let status = running.adapter.status();
    let status = status.borrow();
    assert_eq!((status.connects, status.devices[0].status.timeouts), (2, 1));
}

#[tokio::test]
async fn a_retained_bare_value_is_taken_back_when_it_turns_bad_and_given_again() {
    let (address, faulty) = FaultyDevice::bind(LOOPBACK, Framing::Tcp).await.unwrap();
    let mut bare = group("d", "g", 50, vec![word("a", 100)]);
    (bare.payload, bare.retain) = (Payload::Value, true);
    let mut running = start(connection(address, vec![device("d", 1, vec![bare])]));
    for (fault, payload) in [
        (Fault::None, "100"),
        (Fault::Exception(2), ""),
        (Fault::None, "100"),
    ] {
        faulty.set(1, fault);
        let told = tokio::time::timeout(PATIENCE, async {
            loop {
                let message = running.messages.recv().await.unwrap();
                if message.topic.as_str() == "g/tag/a" && message.payload == payload {
                    return message.retain;
                }
            }
        });
        assert!(told.await.expect(payload), "{fault:?}");
    }
}

#[tokio::test]
async fn a_register_that_the_device_lacks_costs_only_its_own_tag() {
    use SimulatedTable::HoldingRegisters;
    let map = DeviceMap::new(1)
        .with(HoldingRegisters, 0, Signal::Words(vec![10, 11, 12]))
        .with(HoldingRegisters, 4, Signal::Words(vec![14]));
    let (address, _simulator) = Simulator::bind(LOOPBACK, vec![map]).await.unwrap();
    let tags = ["a", "b", "c", "lacking", "e"];
    let tags = (0..).zip(tags).map(|(address, name)| word(name, address));
    let one_request = device("d", 1, vec![group("d", "g", 50, tags.collect())]);
    let mut running = start(connection(address, vec![one_request]));
    for _ in 0..3 {
        let message = running.next("g/d/g").await;
        let expected = json!({"a": 10, "b": 11, "c": 12, "e": 14});
        assert_eq!(message["values"], expected);
        assert_eq!(message["bad"], json!({"lacking": "exception_02"}));
    }
}
