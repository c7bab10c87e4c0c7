//! `fieldgate write` against simulated devices: what is written, what is refused, and who is asked before.

use std::fs::File;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use fieldgate::simulator::{
    DeviceMap, Fault, Signal, SimulatedTable, Simulator, SimulatorHandle, Terminal,
};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::modbus::{LOOPBACK, Site, complaint, run, well};
use crate::{program, text, write};

/// Unit 1: two coils, and four holding registers from 10 on; all zero.
fn chiller(site: &Site) -> (SocketAddr, SimulatorHandle) {
    let map = DeviceMap::new(1)
        .with(SimulatedTable::Coils, 0, Signal::Words(vec![0, 0]))
        .with(
            SimulatedTable::HoldingRegisters,
            10,
            Signal::Words(vec![0; 4]),
        );
    let bind = Simulator::bind(LOOPBACK, vec![map]);
    site.runtime.block_on(bind).unwrap()
}

#[test]
fn a_value_of_any_type_is_written_and_read_back() {
    let site = Site::new();
    let (address, _chiller) = chiller(&site);
    let host = address.to_string();
    let write = |words: &[&str]| well(&[&["write", &host, "--yes"], words].concat());
    assert_eq!(
        write(&[
            "-u", "1", "holding", "12", "7.5", "--type", "float32", "--order", "CDAB"
        ]),
        "holding 12 (reference 40013): 7.5\n"
    );
    assert_eq!(
        well(&["read", &host, "holding", "10", "--count", "4"]),
        "holding 10 (reference 40011): 0\nholding 11 (reference 40012): 0\n\
         holding 12 (reference 40013): 0\nholding 13 (reference 40014): 16624\n"
    );
    assert_eq!(
        write(&["holding", "10", "-5", "--type", "int16"]),
        "holding 10 (reference 40011): -5\n"
    );
    assert_eq!(write(&["coil", "1", "on"]), "coil 1 (reference 2): true\n");
    assert_eq!(
        write(&["coil", "0", "1", "--multiple"]),
        "coil 0 (reference 1): true\n"
    );
    assert_eq!(
        write(&[
            "holding",
            "10",
            "007",
            "--type",
            "string",
            "--count",
            "2",
            "--multiple"
        ]),
        "holding 10 (reference 40011): 007\n"
    );
    let told = write(&["--reference", "40011", "17", "--json"]);
    let json: Value = serde_json::from_str(&told).unwrap();
    for (key, value) in [
        ("address", Value::from(10)),
        ("reference", 40_011.into()),
        ("written", 17.into()),
        ("value", 17.into()),
        ("raw", "0011".into()),
    ] {
        assert_eq!(json[key], value, "{told}");
    }
}

#[test]
fn what_a_register_does_not_take_is_refused_with_what_it_takes() {
    let site = Site::new();
    let (address, _chiller) = chiller(&site);
    let host = address.to_string();
    for (words, said) in [
        (
            &["holding", "10", "70000"][..],
            "`70000` is out of the range of holding 10 (reference 40011) (out_of_range)\n  help: it takes a whole number from 0 up to 65535",
        ),
        (&["holding", "10", "warm"], "(bad_value)"),
        (&["holding", "10", "7.5"], "a whole number"),
        (&["coil", "0", "2"], "it takes true or false"),
        (&["coil", "0", "1", "--type", "int16"], "its type is bool"),
        (&["input", "10", "1"], "only read"),
        (
            &["holding", "10"],
            "which register? say TABLE ADDRESS VALUE",
        ),
        (&["holding", "65535", "1", "--type", "int32"], "65535"),
        (&["holding", "10", "1", "--count", "2"], "one value"),
        (
            &["holding", "10", "abcde", "--type", "string", "--count", "2"],
            "up to 4 bytes",
        ),
        (&["setpoint", "1"], "which register?"),
        (
            &["--rtu", "-u", "0", "holding", "10", "1"],
            "everybody on a line",
        ),
    ] {
        let told = complaint(2, &[&["write", &host, "--yes"], words].concat());
        assert!(told.contains(said), "{words:?}: {told}");
    }
    let told = complaint(1, &["write", &host, "--yes", "holding", "99", "1"]);
    assert!(
        told.contains("exception_02") && told.contains("or it is only read"),
        "{told}"
    );
    assert!(!told.contains("not known"), "{told}");
    assert_eq!(
        well(&["read", &host, "holding", "10"]),
        "holding 10 (reference 40011): 0\n"
    );
}

#[test]
fn nothing_is_written_without_a_yes() {
    let site = Site::new();
    let (address, _chiller) = chiller(&site);
    let host = address.to_string();
    let words = ["write", &host, "holding", "10", "17"];
    let told = complaint(2, &words);
    assert!(told.contains("say --yes"), "{told}");
    let answer = |answer: &str| {
        let name = site.folder.path().join("person");
        let within = site.runtime.enter();
        let mut person = Terminal::plug_in(&name).unwrap();
        drop(within);
        site.runtime
            .block_on(person.write_all(answer.as_bytes()))
            .unwrap();
        let mut command = program();
        command.args(words);
        command.stdin(Stdio::from(File::open(&name).unwrap()));
        command.output().unwrap()
    };
    let no = answer("n\n");
    assert_eq!(no.status.code(), Some(1), "{no:?}");
    assert_eq!(
        text(&no.stderr),
        format!(
            "Write 17 to holding 10 (reference 40011), unit 1 at {host}: 0011 by function 6. Go on? [y/N] \
             fieldgate write: nothing was written\n"
        )
    );
    assert_eq!(
        well(&["read", &host, "holding", "10"]),
        "holding 10 (reference 40011): 0\n"
    );
    let yes = answer("y\n");
    assert_eq!(yes.status.code(), Some(0), "{yes:?}");
    assert_eq!(text(&yes.stdout), "holding 10 (reference 40011): 17\n");
}

#[test]
fn without_an_answer_it_is_not_known_and_not_written_again() {
    let site = Site::new();
    let (address, faulty) = site.faulty();
    faulty.set(1, Fault::Silent);
    let host = address.to_string();
    let words = [
        "write",
        &host,
        "--yes",
        "--timeout",
        "50ms",
        "holding",
        "3",
        "9",
    ];
    let told = complaint(1, &words);
    assert!(
        told.contains("within 50 ms (timeout)")
            && told.contains("not known whether it was written"),
        "{told}"
    );
    assert_eq!(*faulty.requests().borrow(), 1, "once");
    faulty.set(1, Fault::Close);
    let told = complaint(1, &words);
    assert!(told.contains("not known whether"), "{told}");
    assert_eq!(*faulty.requests().borrow(), 2, "once");
}

/// Confirms every write, and holds 5 whatever was written.
fn stubborn() -> SocketAddr {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 12];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(&request).unwrap();
        stream.read_exact(&mut request).unwrap();
        let [t0, t1, ..] = request;
        stream
            .write_all(&[t0, t1, 0, 0, 0, 5, 1, 3, 2, 0, 5])
            .unwrap();
    });
    address
}

#[test]
fn a_device_that_holds_something_else_is_noticed() {
    let host = stubborn().to_string();
    let output = run(&["write", &host, "--yes", "holding", "3", "9"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(text(&output.stdout), "holding 3 (reference 40004): 5\n");
    let told = text(&output.stderr);
    assert!(told.contains("reads as something else"), "{told}");
}

fn config(host: SocketAddr, port: &Path) -> String {
    let (ip, tcp, port) = (host.ip(), host.port(), port.display());
    format!(
        "gateway: {{ id: g1, data_dir: data }}
broker: {{ listeners: [{{ name: local, bind: \"127.0.0.1:0\", anonymous: true }}] }}
connections:
  - {{ name: net, modbus_tcp: {{ host: {ip}, port: {tcp} }} }}
  - {{ name: rs485, modbus_rtu: {{ port: {port}, baud_rate: 115200 }} }}
devices:
  - name: chiller
    connection: net
    unit_id: 1
    groups:
      - name: status
        tags:
          - {{ name: run, register: coil, address: 0, type: bool, write: {{}} }}
          - {{ name: setpoint, register: holding, address: 10, type: int16, scale: 0.1, unit: degC, write: {{ min: 5, max: 18 }} }}
          - {{ name: mode, register: holding, address: 11, type: uint16, enum: {{ 0: off, 1: cool }}, write: {{ function: multiple }} }}
          - {{ name: alarms, register: holding, address: 12, type: uint16, bits: {{ 0: high, 9: low }}, write: {{}} }}
          - {{ name: supply, register: holding, address: 13, type: int16 }}
  - {{ name: drive, connection: rs485, unit_id: 9, groups: [{{ name: g, tags: [{{ name: x, register: holding, address: 7, type: int16, \
     write: {{}} }}] }}] }}
"
    )
}

#[test]
fn a_tag_is_written_by_its_own_rules() {
    let site = Site::new();
    let ((host, _chiller), (port, _line)) = (chiller(&site), site.line());
    let file = write(site.folder.path(), &config(host, &port));
    let file = file.to_str().unwrap();
    let put = |words: &[&'static str]| {
        let (command, file) = (["write", "chiller", "--yes", "-c"], [file]);
        [&command[..], &file, words].concat()
    };
    for (words, held) in [
        (
            ["setpoint", "7.5"],
            "status/setpoint, holding 10 (reference 40011): 7.5 degC\n",
        ),
        (
            ["status/mode", "cool"],
            "status/mode, holding 11 (reference 40012): cool\n",
        ),
        (["run", "true"], "status/run, coil 0 (reference 1): true\n"),
    ] {
        assert_eq!(well(&put(&words)), held);
    }
    let told = well(&put(&["alarms", r#"{"low":true}"#, "--json"]));
    let json: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&json["written"], &json["value"], &json["raw"]),
        (
            &serde_json::json!({"low": true}),
            &serde_json::json!({"high": false, "low": true}),
            &"0200".into()
        )
    );
    for (words, said) in [
        (
            &["setpoint", "18.1"][..],
            "a number from 5 up to 18 in steps of 0.1",
        ),
        (&["setpoint", "7.55"], "bad_value"),
        (&["mode", "heat"], "it takes one of: off, cool"),
        (
            &["alarms", "512"],
            r#"such as {"high":true}, of: high, low"#,
        ),
        (&["alarms", r#"{"fire":true}"#], "of: high, low"),
        (&["supply", "1"], "has no `write:`"),
        (&["pressure", "1"], "there are: status/run"),
        (&["mode", "off", "--multiple"], "leave --type"),
        (&["mode", "off", "-u", "2"], "leave --unit"),
        (&["mode", "off", "cool"], "one value"),
    ] {
        let told = complaint(2, &put(words));
        assert!(told.contains(said), "{words:?}: {told}");
    }
    assert_eq!(
        well(&["read", "-c", file, "chiller", "setpoint", "mode", "supply"]),
        "status/setpoint, holding 10 (reference 40011): 7.5 degC\n\
         status/mode, holding 11 (reference 40012): cool\n\
         status/supply, holding 13 (reference 40014): 0\n"
    );
}
