//! Modbus by hand while a gateway runs: it has the wire, and makes the requests there between its polls. With a device that takes
//! one connection only, and one on a pseudo terminal.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fieldgate::simulator::{
    DeviceMap, Signal, SimulatedTable, Simulator, SimulatorHandle, Terminal,
};
use serde_json::Value;

use crate::modbus::{LOOPBACK, Site, complaint, run, well};
use crate::{Running, text, write};

/// Four registers from 10 on: 230.2 as a float, then zeros.
fn map(unit: u8) -> DeviceMap {
    let words = Signal::Words(vec![0x4366, 0x3333, 0, 0]);
    DeviceMap::new(unit).with(SimulatedTable::HoldingRegisters, 10, words)
}

/// A device that closes every connection that comes beside one that it has.
struct Single {
    address: SocketAddr,
    refused: Arc<AtomicUsize>,
}

impl Single {
    fn before(device: SocketAddr) -> Self {
        let listener = TcpListener::bind(LOOPBACK).unwrap();
        let address = listener.local_addr().unwrap();
        let refused = Arc::new(AtomicUsize::new(0));
        let (count, is_taken) = (Arc::clone(&refused), Arc::new(AtomicBool::new(false)));
        thread::spawn(move || {
            for master in listener.incoming() {
                let master = master.unwrap();
                if is_taken.swap(true, Ordering::SeqCst) {
                    count.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let is_taken = Arc::clone(&is_taken);
                thread::spawn(move || {
                    carry(&master, &TcpStream::connect(device).unwrap());
                    is_taken.store(false, Ordering::SeqCst);
                });
            }
        });
        Self { address, refused }
    }
}

/// Both ways, until the master has gone.
fn carry(mut master: &TcpStream, mut device: &TcpStream) {
    thread::scope(|scope| {
        scope.spawn(move || {
            let copied = io::copy(&mut device, &mut master);
            drop(copied); // either end may go first
        });
        let copied = io::copy(&mut master, &mut device);
        drop(copied);
        drop(device.shutdown(Shutdown::Both));
    });
}

/// Both devices, and a gateway that polls them.
struct Plant {
    site: Site,
    single: Single,
    port: PathBuf,
    file: PathBuf,
    gateway: Running,
    _devices: [SimulatorHandle; 2],
}

fn config(host: SocketAddr, port: &Path, baud_rate: u32) -> String {
    let (ip, tcp, port) = (host.ip(), host.port(), port.display());
    let group = "groups: [{ name: g, interval: 50ms, tags: [{ name: u, register: holding, address: 10, type: float32, unit: V }, \
                 { name: x, register: holding, address: 12, type: int16, write: {} }] }]";
    format!(
        "gateway: {{ id: g1, data_dir: data }}
broker: {{ listeners: [{{ name: local, bind: \"127.0.0.1:0\", anonymous: true }}] }}
connections:
  - {{ name: net, modbus_tcp: {{ host: {ip}, port: {tcp} }} }}
  - {{ name: rs485, modbus_rtu: {{ port: {port}, baud_rate: {baud_rate} }} }}
devices:
  - {{ name: meter, connection: net, unit_id: 3, {group} }}
  - {{ name: drive, connection: rs485, unit_id: 9, {group} }}
"
    )
}

impl Plant {
    fn new() -> Self {
        let site = Site::new();
        let bind = Simulator::bind(LOOPBACK, vec![map(3)]);
        let (address, meter) = site.runtime.block_on(bind).unwrap();
        let single = Single::before(address);
        let port = site.folder.path().join("adapter");
        let within = site.runtime.enter();
        let drive = Simulator::on_line(Terminal::plug_in(&port).unwrap(), vec![map(9)]);
        drop(within);
        let file = write(site.folder.path(), &config(single.address, &port, 57_600));
        let mut gateway = Running::start(&file);
        gateway.until("running").unwrap();
        let plant = Self {
            site,
            single,
            port,
            file,
            gateway,
            _devices: [meter, drive],
        };
        plant.until_polled(0);
        plant
    }

    fn state(&self) -> Value {
        let output = run(&["status", "--json", "-c", self.file.to_str().unwrap()]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Until each device was asked more often than `requests` times, all of them answered.
    fn until_polled(&self, requests: u64) -> u64 {
        loop {
            let state = self.state();
            let connections = state["connections"].as_array().unwrap();
            let devices = connections.iter().map(|it| &it["devices"][0]);
            for device in devices.clone() {
                assert_eq!(device["timeouts"], 0, "{state}");
                assert_eq!(device["error"], Value::Null, "{state}");
            }
            let asked = devices.map(|device| device["requests"].as_u64().unwrap());
            let asked = asked.min().unwrap();
            if asked > requests {
                return asked;
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.site.folder.path().join("data/control.sock")
    }
}

#[test]
fn a_device_that_takes_one_connection_is_asked_through_the_gateway_that_has_it() {
    let mut plant = Plant::new();
    let before = plant.until_polled(0);
    let (host, file) = (plant.single.address.to_string(), plant.file.clone());
    let file = file.to_str().unwrap();
    let output = run(&[
        "read", &host, "-u", "3", "holding", "10", "--type", "float32", "-c", file,
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        text(&output.stdout),
        "holding 10 (reference 40011): 230.2\n"
    );
    assert_eq!(
        text(&output.stderr),
        format!(
            "note: through the gateway that runs, between its polls: it has {host}, as `net`\n"
        )
    );
    assert_eq!(
        well(&["read", "meter", "-c", file]),
        "g/u, holding 10 (reference 40011): 230.2 V\ng/x, holding 12 (reference 40013): 0\n"
    );
    let told = well(&["guess", &host, "-u", "3", "holding", "10", "-c", file]);
    assert!(told.contains("float32  ABCD  at 10     230.2"), "{told}");
    assert_eq!(
        well(&["scan", &host, "--units", "2-4", "-c", file]),
        format!("{host}: unit 3 answers: exception_02\n")
    );
    assert_eq!(
        well(&[
            "write", &host, "-u", "3", "--yes", "holding", "13", "17", "-c", file
        ]),
        "holding 13 (reference 40014): 17\n"
    );
    for told in ["a write to a device is asked for", "outcome=made"] {
        let line = plant.gateway.until(told).unwrap();
        assert!(
            line.contains("connection=net unit=3") && line.contains("0011 by function 6"),
            "{line}"
        );
        assert!(line.contains("user="), "{line}");
    }
    assert_eq!(
        well(&["write", "meter", "x", "-5", "--yes", "-c", file]),
        "g/x, holding 12 (reference 40013): -5\n"
    );
    let told = complaint(1, &["read", &host, "-u", "4", "holding", "10", "-c", file]);
    assert!(
        told.contains("has no answer from unit 4 behind it (exception_0B)"),
        "{told}"
    );
    let told = complaint(
        1,
        &[
            "read", &host, "-u", "3", "holding", "11", "--count", "4", "-c", file,
        ],
    );
    assert!(
        told.contains("exception_02") && told.contains("try 10"),
        "{told}"
    );
    let told = well(&["check", "--probe", file]);
    assert!(told.contains("device meter: ok, "), "{told}");

    plant.until_polled(before + 3);
    assert_eq!(plant.single.refused.load(Ordering::SeqCst), 0);
    assert_eq!(plant.state()["connections"][0]["connects"], 1);
}

#[test]
fn a_line_of_the_gateway_that_runs_is_used_between_its_polls() {
    let plant = Plant::new();
    let before = plant.until_polled(0);
    let (port, file) = (plant.port.to_str().unwrap(), plant.file.to_str().unwrap());
    let at = ["--baud", "57600", "-c", file];
    assert_eq!(
        well(&["read", "drive", "u", "-c", file]),
        "g/u, holding 10 (reference 40011): 230.2 V\n"
    );
    let read = ["read", port, "-u", "9", "holding", "11"];
    assert_eq!(
        well(&[&read[..], &at].concat()),
        "holding 11 (reference 40012): 13107\n"
    );
    // Nobody needs to be asked: it is the only master still.
    assert_eq!(
        well(&[
            "scan",
            port,
            "--units",
            "8-9",
            "--timeout",
            "50ms",
            "-c",
            file
        ]),
        format!("{port} at 57600 8N1: unit 9 answers: exception_02\n")
    );
    assert_eq!(
        well(&["write", "drive", "x", "7", "--yes", "-c", file]),
        "g/x, holding 12 (reference 40013): 7\n"
    );
    let silent = ["read", port, "-u", "8", "--timeout", "50ms", "holding", "0"];
    let told = complaint(1, &[&silent[..], &at].concat());
    assert!(
        told.contains("unit 8 at ") && told.contains("within 50 ms (timeout)\n  help: "),
        "{told}"
    );
    let told = complaint(
        1,
        &[
            "read",
            "drive",
            "-c",
            file,
            "-u",
            "9",
            "--timeout",
            "1min",
            "holding",
            "0",
        ],
    );
    assert!(told.contains("lower the timeout"), "{told}");
    let told = well(&["check", "--probe", file]);
    assert!(told.contains("device drive: ok, "), "{told}");
    plant.until_polled(before + 3);
}

#[test]
fn a_line_is_not_asked_otherwise_than_the_gateway_that_has_it_does() {
    let plant = Plant::new();
    let (port, file) = (plant.port.to_str().unwrap(), plant.file.to_str().unwrap());
    for other in [
        &["read", port, "--baud", "9600", "holding", "10", "-c", file][..],
        &["scan", port, "--yes", "--parity", "even", "-c", file],
    ] {
        let told = complaint(1, other);
        assert!(
            told.contains(&format!("the gateway that runs has {port} at 57600 8N1")),
            "{told}"
        );
    }
    // What the file says by now is not what runs.
    write(
        plant.site.folder.path(),
        &config(plant.single.address, &plant.port, 9600),
    );
    let told = complaint(1, &["read", "drive", "-c", file]);
    assert!(
        told.contains(&format!(
            "has {port} at 57600 8N1, as its connection `rs485`"
        )) && told.contains("`fieldgate reload` first"),
        "{told}"
    );
}

#[test]
fn a_line_that_was_renamed_in_the_file_is_not_used_beside_the_gateway_that_has_it() {
    let plant = Plant::new();
    let file = plant.file.to_str().unwrap();
    let renamed = config(plant.single.address, &plant.port, 9600).replace("rs485", "bus");
    write(plant.site.folder.path(), &renamed);
    let told = complaint(1, &["read", "drive", "-c", file]);
    assert!(told.contains("`fieldgate reload` first"), "{told}");
}

/// Stands where the gateway's socket would be: says `state` to the first who asks, and nothing to the second.
fn stand_in(socket: &Path, state: String) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for said in [state, String::new()] {
            let (mut peer, _) = listener.accept().unwrap();
            BufReader::new(&peer).read_line(&mut String::new()).unwrap();
            peer.write_all(said.as_bytes()).unwrap();
        }
    });
}

#[test]
fn a_write_whose_answer_is_lost_is_in_doubt_and_not_made_again() {
    let mut plant = Plant::new();
    let state = format!("{{\"item\":{}}}\n\"end\"\n", plant.state());
    plant.gateway.child.kill().unwrap();
    plant.gateway.child.wait().unwrap();
    std::fs::remove_file(plant.socket()).unwrap();
    stand_in(&plant.socket(), state);
    let file = plant.file.to_str().unwrap();
    let told = complaint(1, &["write", "meter", "x", "5", "--yes", "-c", file]);
    assert!(
        told.contains("has not said what came of it") && told.contains("not known whether"),
        "{told}"
    );
    // Nobody listens any more, so nobody has the wire.
    assert_eq!(
        well(&["read", "meter", "x", "-c", file]),
        "g/x, holding 12 (reference 40013): 0\n"
    );
}

#[test]
fn a_gateway_that_may_not_be_asked_keeps_its_line_and_says_what_to_do() {
    let mut plant = Plant::new();
    plant.gateway.child.kill().unwrap();
    plant.gateway.child.wait().unwrap();
    let file = plant.file.to_str().unwrap();
    let refusal = "{\"fault\":\"only root may ask\"}\n";
    let stand_in = || {
        std::fs::remove_file(plant.socket()).unwrap();
        stand_in(&plant.socket(), refusal.to_owned());
    };
    stand_in();
    let told = complaint(1, &["read", "drive", "-c", file]);
    assert!(
        told.contains("as its connection `rs485`, and cannot be asked (only root may ask)")
            && told.contains("sudo"),
        "{told}"
    );
    // A device may take two.
    stand_in();
    let output = run(&["read", "meter", "x", "-c", file]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        text(&output.stderr).contains("takes one connection only"),
        "{output:?}"
    );
}

#[test]
fn an_instrument_keeps_its_port() {
    let site = Site::new();
    let port = site.folder.path().join("adapter");
    let within = site.runtime.enter();
    let _scale = Terminal::plug_in(&port).unwrap();
    drop(within);
    let port = port.to_str().unwrap();
    let file = write(
        site.folder.path(),
        &format!(
            "gateway: {{ id: g1, data_dir: data }}
connections: [{{ name: bench, serial: {{ port: {port}, baud_rate: 9600 }} }}]
devices: [{{ name: scale, connection: bench, serial: {{ framing: {{ delimiter: \"\\r\\n\" }}, parse: {{ regex: '^(?P<kg>.+)$', fields: {{ kg: {{ type: float64 }} }} }} }} }}]
"
        ),
    );
    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();
    let file = file.to_str().unwrap();
    let told = complaint(
        1,
        &["read", port, "--baud", "9600", "input", "0", "-c", file],
    );
    assert!(
        told.contains("as its connection `bench`, which speaks no Modbus"),
        "{told}"
    );
    let output = run(&["check", "--probe", file]);
    let told = text(&output.stdout);
    assert!(
        told.contains("instrument scale: FAILED: the gateway that runs has "),
        "{told}"
    );
}
