//! Draining a backlog through a real connection to an upstream that only counts, by MQTT 5: the bridge with all its messages
//! in the files; the same bridge with all of them in RAM, which is its connection without a store; and a bare client, which
//! is what any client could get through. Then QoS 2, which is bound by the commit interval.

use std::sync::Arc;
use std::time::Duration;

use fieldgate::bridge::{
    Address, Backoff, BridgeOptions, Ceilings, ID_PROPERTY, PreparedBridge, Rate,
};
use fieldgate::broker::Latest;
use fieldgate::clock;
use fieldgate::mqtt::{Message, ProtocolVersion, QoS};
use fieldgate::net::TlsTime;
use fieldgate::shutdown::Shutdown;
use fieldgate::store::{LinkHealth, Log, LogOptions};
use tempfile::tempdir;
use tokio::runtime::Runtime;

use super::client::{Client, Until};
use super::meter::{median, met};
use super::sink::Sink;
use super::{SIZE, backlog};

const ROUNDS: usize = 5;
const MESSAGES: u64 = 200_000;
/// The upstream's Receive Maximum: Mosquitto's, the bridge's default, and one that does not hold it up.
const WINDOWS: [u16; 3] = [20, 100, 1000];
/// What the files leave of what the bridge gets through.
const GOAL: f64 = 0.6;
/// Of a drain at QoS 2, about.
const SECONDS: f64 = 3.0;

pub fn run() {
    let runtime = backlog::runtime();
    println!(
        "draining at QoS 1, msg/s            bridge   from RAM   bare client   / from RAM   / bare client"
    );
    for window in WINDOWS {
        let (mut files, mut ram, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            files.push(from_files(&runtime, window));
            ram.push(from_ram(&runtime, window));
            bare.push(carried(&runtime, window));
        }
        let of = |those: &[f64]| median(files.iter().zip(those).map(|(ours, those)| ours / those));
        println!(
            "  window {window:>4}{:>29.0}{:>11.0}{:>14.0}{:>13.2}{:>16.2}",
            median(files.iter().copied()),
            median(ram.iter().copied()),
            median(bare.iter().copied()),
            of(&ram),
            of(&bare),
        );
        println!(
            "    bridge / from RAM: goal at least {GOAL}: {}",
            met(of(&ram) >= GOAL)
        );
    }
    println!(
        "draining at QoS 2, msg/s            bridge   half of the window each commit interval"
    );
    for window in &WINDOWS[..2] {
        let interval = LogOptions::new("".into()).commit_interval;
        let bound = f64::from(window.div_ceil(2)) / interval.as_secs_f64();
        let found = exactly_once(&runtime, *window, (bound * SECONDS) as u64);
        println!("  window {window:>4}{found:>29.0}{bound:>43.0}");
    }
}

/// Messages a second that the bridge gets through.
fn from_files(runtime: &Runtime, window: u16) -> f64 {
    let folder = tempdir().unwrap();
    let log = Log::open(backlog::filled_options(folder.path())).unwrap();
    backlog::fill(runtime, &log, 1000, MESSAGES / 1000);
    log.close();
    let log = Log::open(backlog::options(folder.path())).unwrap();
    drain(runtime, &log, window, MESSAGES)
}

/// The same, where no message is ever written or read back.
fn from_ram(runtime: &Runtime, window: u16) -> f64 {
    let folder = tempdir().unwrap();
    let log = Log::open(LogOptions {
        commit_interval: Duration::from_secs(3600),
        hold_bytes: 1 << 30,
        ..backlog::filled_options(folder.path())
    })
    .unwrap();
    log.link(clock::now(), LinkHealth::Up);
    let message = backlog::message(QoS::AtLeastOnce);
    for _ in 0..MESSAGES {
        backlog::append(&log, &message);
    }
    let written = log.stats().bytes_written;
    let per_second = drain(runtime, &log, window, MESSAGES);
    let written = log.stats().bytes_written - written;
    assert!(
        written < MESSAGES * SIZE as u64 / 10,
        "{written} bytes were written"
    );
    per_second
}

fn exactly_once(runtime: &Runtime, window: u16, messages: u64) -> f64 {
    let folder = tempdir().unwrap();
    let log = Log::open(backlog::options(folder.path())).unwrap();
    for _ in 0..messages {
        backlog::append(&log, &backlog::message(QoS::ExactlyOnce));
    }
    drain(runtime, &log, window, messages)
}

fn drain(runtime: &Runtime, log: &Log, window: u16, messages: u64) -> f64 {
    let mut sink = Sink::open(0, window);
    let shutdown = Shutdown::default();
    let seen = runtime.block_on(async {
        let bridge = PreparedBridge::new(options(sink.port, window), TlsTime::default()).unwrap();
        let bridge = bridge.start(
            log.clone(),
            Arc::new(Latest::default()),
            None,
            shutdown.stop(),
        );
        let seen = sink.has(messages).await;
        shutdown.request();
        bridge.task.await.unwrap();
        seen
    });
    log.close();
    seen.per_second()
}

/// Messages a second that a bare client gets through.
fn carried(runtime: &Runtime, window: u16) -> f64 {
    let sink = Sink::open(0, window);
    runtime.block_on(async {
        let mut client = Client::connect(sink.port, ProtocolVersion::V5).await;
        client
            .publish(&as_sent(), u64::from(window), Until::Sent(MESSAGES))
            .await;
    });
    sink.seen().per_second()
}

/// As a bridge sends it, byte for byte as long.
fn as_sent() -> Message {
    let mut message = backlog::message(QoS::AtLeastOnce);
    let properties = message.properties.get_or_insert_default();
    let id = (ID_PROPERTY.into(), "gw/cloud/1/100000".into());
    properties.user_properties.push(id);
    message
}

fn options(port: u16, window: u16) -> BridgeOptions {
    BridgeOptions {
        name: "cloud".to_owned(),
        gateway: "gw".to_owned(),
        addresses: vec![Address {
            host: "127.0.0.1".to_owned(),
            port,
            tls: false,
        }],
        protocol: ProtocolVersion::V5,
        client_id: "gw".to_owned(),
        user: None,
        password: None,
        keep_alive: Duration::from_secs(60),
        session_expiry: Duration::from_secs(3600),
        tls: None,
        forward: Vec::new(),
        receive: Vec::new(),
        will: None,
        gap: None,
        inflight: window,
        packet_size: 256 << 10,
        ceilings: Ceilings::default(),
        rate: Rate::default(),
        dead_letter: LogOptions::new("unused".into()),
        backoff: Backoff {
            min: Duration::from_secs(1),
            max: Duration::from_secs(2),
        },
        stage_timeout: Duration::from_secs(10),
        late_share: 50,
    }
}
