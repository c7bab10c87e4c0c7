//! What a subscription costs in memory: resident bytes for each of 100 000, many of one session or one of each session.
//!
//! Read from the kernel, so it counts what the allocator keeps to itself; each case has a process of its own to start from.
//! Linux only.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench that goes wrong shall stop"
)]

use std::process::Command;

use fieldgate::auth::Principal;
use fieldgate::broker::core::{ConnId, Core};
use fieldgate::broker::{BrokerOptions, Limits, Origin};
use fieldgate::clock::{self, WallTime};
use fieldgate::mqtt::{
    Connect, Packet, PacketId, ProtocolVersion, QoS, RetainHandling, Subscribe, Subscription,
};

const SUBSCRIPTIONS: usize = 100_000;

/// Name, subscriptions of a client, and the filter of a client's number.
type Case = (&'static str, usize, fn(usize, usize) -> String);

const CASES: [Case; 4] = [
    (
        "1000 a client, mixed wildcards",
        1000,
        |client, number| match number % 3 {
            0 => format!("plant/line{client}/machine{number}/temperature"),
            1 => format!("plant/line{client}/machine{number}/+"),
            _ => format!("plant/line{client}/machine{number}/#"),
        },
    ),
    ("1000 a client, all the same filters", 1000, |_, number| {
        format!("plant/machine{number}/temperature")
    }),
    ("1 a client, a filter of its own", 1, |client, _| {
        format!("plant/line{client}/command")
    }),
    ("1 a client, one filter for all", 1, |_, _| {
        "plant/command".to_owned()
    }),
];

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn measure(case: &Case) {
    let (name, each, filter) = case;
    let limits = Limits {
        connections: SUBSCRIPTIONS,
        ..Limits::default()
    };
    let options = BrokerOptions {
        limits,
        ..BrokerOptions::default()
    };
    let mut core = Core::new(options, 1);
    let now = clock::now();
    let clients = SUBSCRIPTIONS / each;
    for client in 0..clients {
        let connect = Connect::new(ProtocolVersion::V5, format!("client-{client}").into());
        let principal = |_: &str| Ok(Principal::default());
        core.connect(now, ConnId(client), Origin::Client, principal, connect);
        core.effects();
    }
    let before = resident();
    for client in 0..clients {
        for number in 0..*each {
            let subscribe = Subscribe {
                packet_id: PacketId::new(1).unwrap(),
                subscriptions: vec![Subscription {
                    filter: filter(client, number).into(),
                    qos: QoS::AtLeastOnce,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Send,
                }],
                subscription_id: None,
                user_properties: Vec::new(),
            };
            core.receive(
                now,
                WallTime(1),
                ConnId(client),
                Packet::Subscribe(subscribe),
            );
            core.effects();
        }
    }
    assert_eq!(core.stats().subscriptions, SUBSCRIPTIONS);
    let bytes = resident().saturating_sub(before) / SUBSCRIPTIONS;
    println!("subscriptions: {name:<40} {bytes:>4} bytes each");
}

fn main() {
    if let Ok(case) = std::env::var("FIELDGATE_BENCH_CASE") {
        return measure(&CASES[case.parse::<usize>().unwrap()]);
    }
    let program = std::env::current_exe().unwrap();
    for case in 0..CASES.len() {
        let mut child = Command::new(&program);
        child.env("FIELDGATE_BENCH_CASE", case.to_string());
        assert!(child.status().unwrap().success());
    }
}
