//! Modbus by hand: `read`, `guess`, `scan` and `check --probe`, against simulated devices on sockets and pseudo terminals.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;

use fieldgate::simulator::{
    DeviceMap, Fault, FaultyDevice, Framing, Signal, SimulatedTable, Simulator, SimulatorHandle,
    Terminal,
};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{program, text, write};

pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Devices that live beside the program under test.
pub(crate) struct Site {
    pub(crate) runtime: Runtime,
    pub(crate) folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        Self {
            runtime: runtime.worker_threads(1).enable_all().build().unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Unit 3: 230.2 and 50.0 from holding register 100 on, in the standard's order.
    pub(crate) fn meter(&self) -> (SocketAddr, SimulatorHandle) {
        let words = Signal::Words(vec![0x4366, 0x3333, 0x4248, 0x0000]);
        let map = DeviceMap::new(3).with(SimulatedTable::HoldingRegisters, 100, words);
        let bind = Simulator::bind(LOOPBACK, vec![map]);
        self.runtime.block_on(bind).unwrap()
    }

    /// Each register holds its address.
    pub(crate) fn faulty(&self) -> (SocketAddr, FaultyDevice) {
        let bind = FaultyDevice::bind(LOOPBACK, Framing::Tcp);
        self.runtime.block_on(bind).unwrap()
    }

    /// The same on a line.
    pub(crate) fn line(&self) -> (PathBuf, FaultyDevice) {
        let name = self.folder.path().join("adapter");
        let _within = self.runtime.enter();
        let faulty = FaultyDevice::on_line(Terminal::plug_in(&name).unwrap());
        (name, faulty)
    }
}

pub(crate) fn run(words: &[&str]) -> Output {
    program().args(words).output().unwrap()
}

/// What it printed, where it ended well.
pub(crate) fn well(words: &[&str]) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    text(&output.stdout).to_owned()
}

/// Its complaint, where it ended with `status`.
pub(crate) fn complaint(status: i32, words: &[&str]) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(status), "{words:?}: {output:?}");
    text(&output.stderr).to_owned()
}

#[test]
fn registers_are_read_by_hand_as_any_type() {
    let site = Site::new();
    let (address, _meter) = site.meter();
    let host = address.to_string();
    let read = |words: &[&str]| well(&[&["read", &host, "--unit", "3"], words].concat());
    assert_eq!(
        read(&["holding", "100", "--count", "2", "--type", "float32"]),
        "holding 100 (reference 40101): 230.2\nholding 102 (reference 40103): 50.0\n"
    );
    assert_eq!(
        read(&["--reference", "40101"]),
        "holding 100 (reference 40101): 17254\n"
    );
    let told = read(&[
        "holding", "0x64", "--type", "int32", "--order", "CDAB", "--json",
    ]);
    let json: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(json["value"], 0x3333_4366);
    assert_eq!(
        (&json["address"], &json["reference"]),
        (&100.into(), &40_101.into())
    );
    assert_eq!(json["raw"], "4366 3333");
}

#[test]
fn what_cannot_be_read_says_who_is_to_blame_and_what_to_do() {
    let site = Site::new();
    let (address, _meter) = site.meter();
    let host = address.to_string();
    let read = |status, words: &[&str]| complaint(status, &[&["read", &host], words].concat());
    let told = read(1, &["--unit", "3", "holding", "101", "--count", "4"]);
    assert!(
        told.contains("exception_02") && told.contains("try 100"),
        "{told}"
    );
    let told = read(1, &["--unit", "4", "holding", "100"]);
    assert!(
        told.contains("exception_0B") && told.contains("gateway"),
        "{told}"
    );
    let told = read(2, &["--unit", "3", "holdin", "100"]);
    assert!(told.contains("did you mean `holding`?"), "{told}");
    let told = read(2, &["--unit", "3"]);
    assert!(told.contains("which register?"), "{told}");
    let told = read(2, &["--unit", "3", "holding", "0", "--count", "126"]);
    assert!(told.contains("one request holds 125"), "{told}");
    let told = read(2, &["--baud", "9600", "holding", "0"]);
    assert!(told.contains("for serial ports"), "{told}");

    let (address, faulty) = site.faulty();
    faulty.set(7, Fault::Silent);
    let told = complaint(
        1,
        &[
            "read",
            &address.to_string(),
            "--unit",
            "7",
            "--timeout",
            "20ms",
            "holding",
            "0",
        ],
    );
    assert!(
        told.contains("unit 7") && told.contains("within 20 ms"),
        "{told}"
    );
    let port = site.folder.path().join("none");
    let told = complaint(
        1,
        &[
            "read",
            port.to_str().unwrap(),
            "--baud",
            "9600",
            "holding",
            "0",
        ],
    );
    assert!(told.contains("is the adapter plugged in"), "{told}");
}

#[test]
fn registers_that_are_no_value_are_shown_as_they_are() {
    let site = Site::new();
    let map = DeviceMap::new(1).with(
        SimulatedTable::InputRegisters,
        0,
        Signal::Words(vec![0x7FC0, 0]),
    );
    let bind = Simulator::bind(LOOPBACK, vec![map]);
    let (address, _meter) = site.runtime.block_on(bind).unwrap();
    let output = run(&[
        "read",
        &address.to_string(),
        "input",
        "0",
        "--type",
        "float32",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "input 0 (reference 30001): no value (not_a_number), the registers are 7FC0 0000\n"
    );
}

#[test]
fn a_serial_port_is_read_by_hand() {
    let site = Site::new();
    let (port, _line) = site.line();
    let port = port.to_str().unwrap();
    assert_eq!(
        well(&[
            "read", port, "--baud", "115200", "--parity", "even", "--unit", "9", "input", "700"
        ]),
        "input 700 (reference 30701): 700\n"
    );
}

#[test]
fn a_converter_to_a_line_is_read_by_hand() {
    let site = Site::new();
    let bind = FaultyDevice::bind(LOOPBACK, Framing::Rtu);
    let (address, _converter) = site.runtime.block_on(bind).unwrap();
    let host = address.to_string();
    assert_eq!(
        well(&["read", &host, "--rtu", "coil", "4", "--count", "2"]),
        "coil 4 (reference 5): false\ncoil 5 (reference 6): true\n"
    );
}

#[test]
fn registers_are_guessed_with_the_most_plausible_first() {
    let site = Site::new();
    let (address, _meter) = site.meter();
    let host = address.to_string();
    let guess = [
        "guess", &host, "--unit", "3", "holding", "100", "--count", "2",
    ];
    let told = well(&guess);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[0], "holding 100 (reference 40101): 4366 3333");
    let first: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(first, ["85", "float32", "ABCD", "at", "100", "230.2"]);
    let told = well(&[&guess[..], &["--json", "--all"]].concat());
    let all: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(all[0]["value"], 230.2);
    assert!(all.len() > lines.len(), "{told}");
    let told = complaint(2, &["guess", &host, "--unit", "3", "coil", "0"]);
    assert!(told.contains("nothing to guess"), "{told}");
}

#[test]
fn a_scan_finds_who_answers_and_goes_on_after_silence() {
    let site = Site::new();
    let (address, faulty) = site.faulty();
    for silent in [1, 2, 4, 5] {
        faulty.set(silent, Fault::Silent);
    }
    faulty.set(4, Fault::Exception(0x0B));
    faulty.set(6, Fault::Exception(2));
    let host = address.to_string();
    let told = well(&[
        "scan",
        &host,
        "--units",
        "1-6",
        "--timeout",
        "100ms",
        "--json",
    ]);
    let found: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let units: Vec<_> = found.iter().map(|unit| &unit["unit"]).collect();
    assert_eq!(units, [3, 6], "{told}");
    assert_eq!(
        (&found[0]["register"], &found[0]["value"]),
        (&"holding".into(), &0.into())
    );
    assert_eq!(found[1]["reason"], "exception_02");
    let told = complaint(1, &["scan", &host, "--units", "1-2", "--timeout", "20ms"]);
    assert!(told.contains("asking units 1 to 2"), "{told}");
    assert!(told.contains("nobody answers"), "{told}");
}

#[test]
fn a_line_is_scanned_only_where_somebody_said_yes() {
    let site = Site::new();
    let (port, line) = site.line();
    for silent in [1, 2] {
        line.set(silent, Fault::Silent);
    }
    let port = port.to_str().unwrap();
    let scan = [
        "scan",
        port,
        "--units",
        "1-3",
        "--timeout",
        "100ms",
        "--bauds",
        "9600,19200",
    ];
    let told = complaint(2, &scan);
    assert!(told.contains("--yes"), "{told}");
    assert_eq!(
        well(&[&scan[..], &["--yes"]].concat()),
        format!("{port} at 9600 8N1: unit 3 answers: holding 0 (reference 40001) is 0\n")
    );
}

/// Two devices on a Modbus TCP connection and one on a line.
fn config(host: SocketAddr, port: &Path) -> String {
    let (ip, tcp, port) = (host.ip(), host.port(), port.display());
    format!(
        "gateway: {{ id: g1, data_dir: data }}
broker: {{ listeners: [{{ name: local, bind: \"127.0.0.1:0\", anonymous: true }}] }}
connections:
  - {{ name: net, modbus_tcp: {{ host: {ip}, port: {tcp} }} }}
  - {{ name: rs485, modbus_rtu: {{ port: {port}, baud_rate: 115200 }} }}
devices:
  - name: meter
    connection: net
    unit_id: 3
    groups:
      - {{ name: power, tags: [{{ name: u, register: holding, address: 100, type: float32, unit: V }},
          {{ name: f, register: holding, address: 102, type: float32 }}] }}
  - {{ name: ghost, connection: net, unit_id: 4, groups: [{{ name: g, tags: [{{ name: x, register: holding, address: 100, type: int16 }}] }}] }}
  - {{ name: drive, connection: rs485, unit_id: 9, groups: [{{ name: g, tags: [{{ name: x, register: input, address: 7, type: int16, scale: 0.1 }}] }}] }}
"
    )
}

#[test]
fn tags_are_read_by_the_names_of_the_configuration() {
    let site = Site::new();
    let ((host, _meter), (port, _line)) = (site.meter(), site.line());
    let file = write(site.folder.path(), &config(host, &port));
    let file = file.to_str().unwrap();
    assert_eq!(
        well(&["read", "meter", "-c", file]),
        "power/u, holding 100 (reference 40101): 230.2 V\npower/f, holding 102 (reference 40103): 50.0\n"
    );
    assert_eq!(
        well(&["read", "drive", "x", "-c", file]),
        "g/x, input 7 (reference 30008): 0.7\n"
    );
    let told = well(&["read", "meter", "power/f", "-c", file, "--json"]);
    let json: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&json["tag"], &json["value"]), (&"f".into(), &50.0.into()));
    // Any register of it, too.
    assert_eq!(
        well(&["read", "drive", "holding", "12", "-c", file]),
        "holding 12 (reference 40013): 12\n"
    );
    let told = complaint(2, &["read", "meter", "power", "-c", file]);
    assert!(told.contains("there are: power/u, power/f"), "{told}");
    let told = complaint(2, &["read", "metre", "-c", file]);
    assert!(told.contains("there are: meter, ghost, drive"), "{told}");
    // Without it, it is taken for a host; then that is told, too.
    let mut command = program();
    command
        .args(["read", "metre"])
        .current_dir(site.folder.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = text(&output.stderr);
    assert!(told.contains("or is it a device of"), "{told}");
}

#[test]
fn check_probes_each_device_and_says_what_to_do() {
    let site = Site::new();
    let ((host, meter), (port, line)) = (site.meter(), site.line());
    let file = write(site.folder.path(), &config(host, &port));
    let file = file.to_str().unwrap();
    let probe = || run(&["check", "--probe", file]);
    let output = probe();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stdout);
    assert!(told.contains("device meter: ok, answered after "), "{told}");
    assert!(
        told.contains("device ghost: FAILED: the gateway at "),
        "{told}"
    );
    assert!(told.contains("device drive: ok, "), "{told}");
    assert!(told.ends_with("probed 3, 1 failed\n"), "{told}");
    drop(meter);
    line.set(9, Fault::Silent);
    let output = probe();
    let told = text(&output.stdout);
    assert!(
        told.contains("device meter: FAILED: cannot connect to "),
        "{told}"
    );
    assert!(told.contains("device drive: FAILED: unit 9 at "), "{told}");
    assert!(told.ends_with("probed 3, 3 failed\n"), "{told}");
}

#[test]
fn check_takes_warnings_for_faults_where_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "connections: [{ name: a, modbus_rtu: { port: /dev/ttyS0, baud_rate: 9600 } }]\ndevices: [{ name: d, connection: a, unit_id: 1, \
         groups: [{ name: g, interval: 20ms, tags: [{ name: t, register: input, address: 0, type: int16 }] }] }]\n",
    );
    let file = file.to_str().unwrap();
    let told = well(&["check", file]);
    assert!(
        told.contains("connection a to /dev/ttyS0 at 9600 8N1: 143 % of its time booked"),
        "{told}"
    );
    let told = complaint(78, &["check", "--strict", file]);
    assert!(
        told.contains("FG042") && told.contains("--strict"),
        "{told}"
    );
}
