//! How punctual 20 devices are read ten times a second: while nothing else happens, with an upstream that is away, with a
//! broker under full load, and with a disk that others write to; each beside a client that only sleeps, writes and reads
//! at the same time, which shows what the machine makes late.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fieldgate::clock;
use tempfile::TempDir;

use super::configuration::meters;
use super::devices::{Asked, Devices, READ_HOLDING_REGISTERS};
use super::lateness::Lateness;
use super::process::Process;
use super::trouble::{BusyDisk, Flood};

const DEVICES: u8 = 20;
const REGISTERS: u8 = 10;
const INTERVAL: Duration = Duration::from_millis(100);
/// Of the bare client.
const BARE: u8 = 100;
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum While {
    Idle,
    UpstreamAway,
    BrokerFlooded,
    DiskBusy,
}

/// Idle twice: what differs between the two is noise.
const ALL: [(&str, While); 5] = [
    ("nothing else happens", While::Idle),
    ("upstream away", While::UpstreamAway),
    ("broker under full load", While::BrokerFlooded),
    ("upstream away, disk busy", While::DiskBusy),
    ("nothing else, again", While::Idle),
];

pub fn run() {
    let generator = Flood::program();
    let devices = Devices::start();
    let port = devices.port;
    thread::spawn(move || ask_bare(port));
    println!(
        "{DEVICES} devices, 10 readings a second each    late ms:  p50     p99     max  missed"
    );
    for (what, while_) in ALL {
        measure(what, while_, &devices, &generator);
    }
}

fn measure(what: &str, while_: While, devices: &Devices, generator: &Path) {
    let folder = TempDir::new().unwrap();
    let broker = free_port();
    let process = Process::fieldgate(folder.path(), &config(while_, devices.port, broker));
    thread::sleep(WARM_UP);
    let flood = (while_ == While::BrokerFlooded)
        .then(|| Flood::start(generator, broker, MEASURED + WARM_UP));
    let disk = (while_ == While::DiskBusy).then(|| BusyDisk::start(folder.path()));
    thread::sleep(WARM_UP / 3);
    let cpu = process.cpu();
    devices.take();
    thread::sleep(MEASURED);
    let requests = devices.take();
    let cpu = (process.cpu() - cpu) / MEASURED.as_secs_f64();
    let (bare, fieldgate): (Vec<Asked>, _) = requests.iter().partition(|asked| asked.unit > BARE);
    println!("  {what}: fieldgate took {cpu:.3} CPU s/s");
    if let Some(flood) = flood {
        println!("    the broker carried {:.0} messages/s", flood.end());
    }
    if let Some(disk) = disk {
        let (median, longest) = disk.end();
        println!("    a sync of others took {median:.0?}, at most {longest:.0?}");
    }
    println!(
        "    fieldgate                        {}",
        Lateness::of(&fieldgate, INTERVAL)
    );
    println!(
        "    bare client                      {}",
        Lateness::of(&bare, INTERVAL)
    );
}

fn config(while_: While, devices: u16, broker: u16) -> String {
    let gateway = format!(
        r#"
gateway: {{ id: bench, data_dir: data }}
broker:
  listeners:
    - {{ name: bench, bind: "127.0.0.1:{broker}", anonymous: true }}
"#
    );
    let bridge = format!(
        r##"
bridges:
  - name: cloud
    url: mqtt://127.0.0.1:{}
    allow_plaintext: true
    backoff: {{ min: 1s, max: 1s }}
    forward:
      - filter: "#"
"##,
        free_port()
    );
    let meters = meters(devices, DEVICES, REGISTERS.into(), INTERVAL);
    match while_ {
        While::Idle | While::BrokerFlooded => gateway + &meters,
        While::UpstreamAway | While::DiskBusy => gateway + &meters + &bridge,
    }
}

/// Reads as many devices as often, one after the other, until the program ends.
fn ask_bare(port: u16) {
    let mut due = clock::now();
    let mut lines: Vec<_> = (1..=DEVICES)
        .map(|number| {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_nodelay(true).unwrap();
            (BARE + number, stream)
        })
        .collect();
    loop {
        for (unit, stream) in &mut lines {
            sleep_until(due);
            ask(stream, *unit);
            due += INTERVAL / u32::from(DEVICES);
        }
    }
}

fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(clock::now()));
}

fn ask(stream: &mut TcpStream, unit: u8) {
    let request = [
        0,
        1,
        0,
        0,
        0,
        6,
        unit,
        READ_HOLDING_REGISTERS,
        0,
        0,
        0,
        REGISTERS,
    ];
    stream.write_all(&request).unwrap();
    let mut reply = [0; 9 + 2 * REGISTERS as usize];
    stream.read_exact(&mut reply).unwrap();
}

fn free_port() -> u16 {
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    bound.local_addr().unwrap().port()
}
