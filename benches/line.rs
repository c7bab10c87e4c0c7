//! How well a serial line is used: the time of a cycle on a pseudo terminal that is as slow as a line, beside what the
//! bytes, the pauses of the standard and the device need at least, and beside a client that does nothing but sleep, write
//! and read, which is what this machine needs; and how many requests read an example of a map.
//!
//! The device is a thread that sleeps until each byte would have passed, so it is as exact as the system's sleep. Linux only.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench that goes wrong shall stop"
)]

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fieldgate::adapter::plan::{ReadRequest, plan};
use fieldgate::adapter::{
    Adapter, ConnectionOptions, DeviceOptions, GroupOptions, NoCommands, Parity, Payload,
    ProbeBackoff, PublishOptions, RtuOptions, SerialOptions, Sink, Table, TagOptions, TagType,
    UnitId, WireOptions,
};
use fieldgate::broker::LinkClosed;
use fieldgate::clock;
use fieldgate::mqtt::{Message, QoS};
use fieldgate::shutdown::Shutdown;
use fieldgate::simulator::Terminal;
use fieldgate::topic::TopicName;
use fieldgate::value::{ByteOrder, Meaning};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

/// From the last byte of a request to the beginning of the reply; the 3.5 characters of silence that end the request are in it.
const DEVICE: Duration = Duration::from_millis(5);
/// Start, eight bits, parity, stop.
const CHARACTER_BITS: u32 = 11;
const REQUEST_BYTES: u32 = 8;
/// Unit, function, count and checksum around the data of a reply.
const REPLY_BYTES: u32 = 5;
/// Of which the median is told: a machine that others use at the same time stops now and then.
const CYCLES: usize = 60;
/// Before them.
const WARM_UP: usize = 5;

/// What is on a line, as (baud, goal).
const LINES: [(u32, f64); 2] = [(9600, 1.05), (19_200, 1.10)];

/// Address and registers of each tag of an electricity meter as they are sold: quantities in blocks with holes between.
fn meter() -> Vec<TagOptions> {
    let block = |start: u16, floats: u16| (0..floats).map(move |number| start + 2 * number);
    let floats = block(0, 9)
        .chain(block(24, 6))
        .chain(block(40, 3))
        .chain(block(70, 4))
        .chain(block(342, 4))
        .map(|address| tag(Table::InputRegisters, address, TagType::Float32));
    let settings = (0..3).map(|address| tag(Table::HoldingRegisters, address, TagType::Uint16));
    let alarms = (0..8).map(|address| tag(Table::DiscreteInputs, address, TagType::Bool));
    floats.chain(settings).chain(alarms).collect()
}

fn tag(table: Table, address: u16, kind: TagType) -> TagOptions {
    TagOptions {
        name: format!("{table:?}{address}"),
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
        unit: None,
        write: None,
        topic: topic("tag"),
    }
}

fn topic(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

/// Read over and over.
fn device(max_gap: u16, tags: Vec<TagOptions>) -> DeviceOptions {
    DeviceOptions {
        name: "meter".to_owned(),
        unit_id: UnitId(1),
        response_timeout: Duration::from_secs(1),
        retries: 0,
        request_delay: Duration::ZERO,
        offline_after: 3,
        probe_backoff: ProbeBackoff {
            min: Duration::from_secs(1),
            max: Duration::from_secs(1),
        },
        max_registers: 125,
        max_gap,
        status_topic: topic("status"),
        set_topic: topic("set"),
        groups: vec![GroupOptions {
            name: "all".to_owned(),
            interval: Duration::from_millis(1),
            payload: Payload::Json(topic("all")),
            qos: QoS::AtMostOnce,
            retain: false,
            publish: PublishOptions::default(),
            tags,
        }],
    }
}

/// The requests of a cycle, and the bytes of all of them and of their replies.
fn requests(device: &DeviceOptions) -> (u32, u32) {
    let requests = &plan(device).unwrap()[0].requests;
    let bytes = requests.iter().map(reply_bytes);
    let bytes = bytes.map(|bytes| REQUEST_BYTES + bytes);
    (u32::try_from(requests.len()).unwrap(), bytes.sum())
}

fn reply_bytes(request: &ReadRequest) -> u32 {
    let data = match request.table {
        Table::Coils | Table::DiscreteInputs => request.quantity.div_ceil(8),
        Table::HoldingRegisters | Table::InputRegisters => 2 * request.quantity,
    };
    REPLY_BYTES + u32::from(data)
}

fn character(baud: u32) -> Duration {
    Duration::from_secs(1) * CHARACTER_BITS / baud
}

/// What a cycle takes at least.
fn least(baud: u32, device: &DeviceOptions) -> Duration {
    let (requests, bytes) = requests(device);
    character(baud) * bytes + (gap(baud) + DEVICE) * requests
}

/// 3.5 characters.
fn gap(baud: u32) -> Duration {
    character(baud) * 7 / 2
}

/// A device behind a line of this speed, in a thread of its own, for ever. All its registers are 0.
fn serve(name: &Path, baud: u32) {
    let runtime = runtime();
    let terminal = {
        let _inside = runtime.enter();
        Terminal::plug_in(name).unwrap()
    };
    thread::spawn(move || answer(terminal, baud, &runtime));
}

fn answer(mut terminal: Terminal, baud: u32, runtime: &Runtime) {
    let character = character(baud);
    loop {
        let mut request = [0; 8];
        runtime.block_on(terminal.read_exact(&mut request)).unwrap();
        // All of it came at once, when its first bit would have.
        let mut at = clock::now() + character * REQUEST_BYTES + DEVICE;
        let [unit, function, _, _, q0, q1, ..] = request;
        let quantity = usize::from(u16::from_be_bytes([q0, q1]));
        let data = if function <= 2 {
            quantity.div_ceil(8)
        } else {
            2 * quantity
        };
        let mut reply = vec![unit, function, u8::try_from(data).unwrap()];
        reply.resize(3 + data, 0);
        reply.extend_from_slice(&checksum(&reply).to_le_bytes());
        for byte in reply {
            at += character;
            thread::sleep(at.saturating_duration_since(clock::now()));
            runtime.block_on(terminal.write_all(&[byte])).unwrap();
        }
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(u16::MAX, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xA001 * (crc & 1))
        })
    })
}

/// Hands over when each reading came, and whether it was good.
struct Readings(mpsc::Sender<(Instant, bool)>);

impl Sink for Readings {
    async fn publish(&mut self, message: Message) -> Result<(), LinkClosed> {
        if message.topic.as_str() != "all" {
            return Ok(());
        }
        let is_good = !message.payload.windows(5).any(|bytes| bytes == b"\"bad\"");
        let reading = (clock::now(), is_good);
        self.0.send(reading).await.map_err(|_| LinkClosed)
    }
}

/// What a cycle takes who only sleeps, writes and reads.
fn floor(baud: u32, device: &DeviceOptions) -> Duration {
    let folder = TempDir::new().unwrap();
    let name = folder.path().join("adapter");
    serve(&name, baud);
    let mut port = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(&name)
        .unwrap();
    let requests = &plan(device).unwrap()[0].requests;
    let mut ends = Vec::new();
    for _ in 0..WARM_UP + CYCLES {
        for request in requests {
            let ([a0, a1], [q0, q1]) = (
                request.address.to_be_bytes(),
                request.quantity.to_be_bytes(),
            );
            let mut frame = vec![1, request.table.read_function(), a0, a1, q0, q1];
            frame.extend_from_slice(&checksum(&frame).to_le_bytes());
            let mut reply = vec![0; reply_bytes(request) as usize];
            thread::sleep(gap(baud));
            port.write_all(&frame).unwrap();
            port.read_exact(&mut reply).unwrap();
        }
        ends.push(clock::now());
    }
    median(&ends[WARM_UP..])
}

/// Of the times between these.
fn median(ends: &[Instant]) -> Duration {
    let mut cycles: Vec<_> = ends.windows(2).map(|ends| ends[1] - ends[0]).collect();
    cycles.sort();
    cycles[cycles.len() / 2]
}

/// What a cycle takes.
fn measured(baud: u32, device: DeviceOptions) -> Duration {
    let folder = TempDir::new().unwrap();
    let name = folder.path().join("adapter");
    serve(&name, baud);
    let options = ConnectionOptions {
        name: "line".to_owned(),
        wire: wire(&name, baud),
        devices: vec![device],
        splits_file: None,
    };
    runtime().block_on(async {
        let (sender, mut readings) = mpsc::channel(1);
        let shutdown = Shutdown::default();
        let _adapter =
            Adapter::start(options, Readings(sender), NoCommands, shutdown.stop()).unwrap();
        while !readings.recv().await.unwrap().1 {}
        let mut ends = Vec::new();
        for _ in 0..WARM_UP + CYCLES {
            let (end, is_good) = readings.recv().await.unwrap();
            assert!(is_good);
            ends.push(end);
        }
        median(&ends[WARM_UP..])
    })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn wire(port: &Path, baud_rate: u32) -> WireOptions {
    let serial = SerialOptions {
        port: port.to_owned(),
        baud_rate,
        data_bits: 8,
        parity: Parity::Even,
        stop_bits: 1,
        rs485: None,
    };
    WireOptions::ModbusRtu(serial, RtuOptions::default())
}

fn main() {
    // Cargo says so when it benches, and not when it runs `cargo test --all-targets`.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without `cargo bench`");
        return;
    }
    println!(
        "cycle on a line, ms                     least    bare  adapter  to least  to bare  goal"
    );
    let one = vec![tag(Table::HoldingRegisters, 0, TagType::Uint16)];
    for (baud, goal) in LINES {
        for (what, tags) in [("meter", meter()), ("one register", one.clone())] {
            let device = device(16, tags);
            let least = least(baud, &device).as_secs_f64() * 1e3;
            let floor = floor(baud, &device).as_secs_f64() * 1e3;
            let adapter = measured(baud, device).as_secs_f64() * 1e3;
            println!(
                "  {baud:>6} baud, {what:<20}{least:>10.1}{floor:>8.1}{adapter:>9.1}{:>10.3}{:>9.3}{goal:>6.2}",
                adapter / least,
                adapter / floor
            );
        }
    }
    println!("\nrequests of a cycle, 37 tags of a meter        requests  bytes  ms at 9600 baud");
    let alone = meter()
        .into_iter()
        .map(|tag| device(0, vec![tag]))
        .collect();
    for (what, devices) in [
        ("one a tag", alone),
        ("as planned, max_gap 0", vec![device(0, meter())]),
        ("as planned, max_gap 16", vec![device(16, meter())]),
        ("fewest there can be", vec![device(u16::MAX, meter())]),
    ] {
        let (mut of_all, mut least_of_all) = ((0, 0), Duration::ZERO);
        for device in &devices {
            let (requests, bytes) = requests(device);
            of_all = (of_all.0 + requests, of_all.1 + bytes);
            least_of_all += least(9600, device);
        }
        println!(
            "  {what:<46}{:>7}{:>7}{:>17.1}",
            of_all.0,
            of_all.1,
            least_of_all.as_secs_f64() * 1e3
        );
    }
}
