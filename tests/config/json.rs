//! `fieldgate check --json`: one document, whose status is that of the text.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::folder_of;

/// Exit status, and the document.
fn checked(folder: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    command.args(["check", "--json"]).args(arguments);
    let output = command.current_dir(folder).output().unwrap();
    assert_eq!(output.stderr, b"", "all is in the document");
    let document = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), document)
}

const SITE: &str = "\
gateway: { id: g, data_dir: /data }
connections:
  - { name: rs485-a, modbus_rtu: { port: /dev/ttyS1, baud_rate: 9600, parity: even } }
  - { name: scale, serial: { port: /dev/ttyS2, baud_rate: 4800 } }
devices:
  - name: meter
    connection: rs485-a
    unit_id: 1
    groups: [{ name: power, interval: 1s, tags: [{ name: u, register: input, address: 8, type: float32 }] }]
  - name: floor
    connection: scale
    serial: { framing: { delimiter: \"\\r\\n\" }, parse: { regex: '(?P<kg>\\d+)', fields: { kg: { type: float64 } } } }
bridges:
  - { name: cloud, url: \"mqtt://up\", allow_plaintext: true, forward: [{ filter: \"g/#\", qos: 1 }] }
";

#[test]
fn what_is_well_has_its_plans_and_budgets() {
    let folder = folder_of(&[("fieldgate.yaml", SITE), ("conf.d/a.yaml", "")]);
    let (status, mut document) = checked(folder.path(), &["fieldgate.yaml"]);
    assert_eq!(status, Some(0), "{document}");
    let share = document["connections"][0]["share"].take().as_f64().unwrap();
    assert!(share > 0.01 && share < 0.1, "{share}");
    let expected = json!({
        "well": true,
        "file": "fieldgate.yaml",
        "with": ["conf.d/a.yaml"],
        "faults": [],
        "more": 0,
        "gateway": "g",
        "data_dir": "/data",
        "console": "127.0.0.1:8080",
        "listeners": [{ "name": "local", "bind": "127.0.0.1:1883", "tls": false }],
        "connections": [{
            "name": "rs485-a",
            "wire": "/dev/ttyS1 at 9600 8E1",
            "requests_per_second": null,
            "share": null,
            "overbooked": false,
            "groups": [{
                "device": "meter",
                "group": "power",
                "interval_ms": 1000,
                "requests": [{ "function": 4, "address": 8, "quantity": 2 }],
            }],
        }],
        "instruments": [{
            "connection": "scale",
            "device": "floor",
            "port": "/dev/ttyS2 at 4800 8N1",
            "interval_ms": null,
        }],
        "bridges": [{
            "name": "cloud",
            "addresses": ["up:1883"],
            "forward": [{ "filter": "g/#", "qos": 1 }],
        }],
    });
    assert_eq!(document, expected);
}

#[test]
fn a_warning_is_a_fault_where_it_is_taken_as_one() {
    let folder = folder_of(&[("open.yaml", "console: { bind: 0.0.0.0:8080 }\n")]);
    for (arguments, status, well) in [
        (vec!["open.yaml"], 0, true),
        (vec!["--strict", "open.yaml"], 78, false),
    ] {
        let (found, document) = checked(folder.path(), &arguments);
        assert_eq!((found, &document["well"]), (Some(status), &json!(well)));
        assert_eq!(document["faults"][0]["severity"], "warning");
        assert_eq!(document["console"], "0.0.0.0:8080");
    }
}

#[test]
fn a_fault_has_all_that_an_editor_marks_it_with() {
    let twice = "gateway: { id: g }\ndevices: []\nnonsense: 1\n";
    let folder = folder_of(&[
        ("fieldgate.yaml", twice),
        ("conf.d/a.yaml", "gateway:\n  id: h\n"),
    ]);
    let (status, document) = checked(folder.path(), &["fieldgate.yaml"]);
    assert_eq!(status, Some(78));
    let expected = json!({
        "well": false,
        "file": "fieldgate.yaml",
        "with": ["conf.d/a.yaml"],
        "more": 0,
        "faults": [{
            "severity": "error", "code": "FG010", "file": "fieldgate.yaml",
            "line": 3, "column": 1, "end_column": 9, "path": "nonsense",
            "message": "unknown key `nonsense`",
            "remedy": "keys here: gateway, broker, store, defaults, connections, templates, devices, bridges, console",
            "first": null,
        }, {
            "severity": "error", "code": "FG011", "file": "conf.d/a.yaml",
            "line": 2, "column": 3, "end_column": 5, "path": "gateway.id",
            "message": "`id` is given already: fieldgate.yaml:1",
            "remedy": "remove one of the two; no file overrides another",
            "first": { "file": "fieldgate.yaml", "line": 1, "column": 12, "path": "gateway.id" },
        }],
    });
    assert_eq!(document, expected);
}

#[test]
fn a_file_as_a_whole_and_files_that_it_names_have_no_line() {
    let folder = folder_of(&[
        ("fieldgate.yaml", "broker: { users_file: users }\n"),
        ("users", "x\n"),
    ]);
    let (status, document) = checked(folder.path(), &["none.yaml"]);
    assert_eq!(status, Some(78));
    let fault = &document["faults"][0];
    assert_eq!(fault["code"], "FG001");
    assert_eq!([&fault["line"], &fault["column"]], [&Value::Null; 2]);
    let (status, document) = checked(folder.path(), &["fieldgate.yaml"]);
    assert_eq!(status, Some(78), "{document}");
    let fault = &document["faults"][0];
    assert_eq!([&fault["code"], &fault["file"]], [&Value::Null; 2]);
    assert!(
        fault["message"].as_str().unwrap().contains("users"),
        "{fault}"
    );
    assert_eq!(fault["severity"], "error");
}

#[test]
fn probing_is_told_in_lines_only() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    let output = command.args(["check", "--json", "--probe", "x"]).output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}
