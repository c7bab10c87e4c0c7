//! Commands that ask the gateway that runs: `status`, `reload`, `sub`, `pub`. What they print and how they end.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use fieldgate::simulator::{DeviceMap, Signal, SimulatedTable, Simulator};
use serde_json::Value;

use crate::modbus::{LOOPBACK, Site};
use crate::{Running, program, text, write};

/// A gateway with a device where nobody listens.
const DEAD_DEVICE: &str = "\
gateway: { id: press-3, data_dir: data }
broker: { listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }] }
connections: [{ name: line2, modbus_tcp: { host: 127.0.0.1, port: 1, connect_timeout: 1s } }]
devices:
  - name: chiller
    connection: line2
    unit_id: 1
    groups: [{ name: g, tags: [{ name: t, register: holding, address: 0, type: uint16 }] }]
";

const WELL: &str = "\
gateway: { id: press-3, data_dir: data }
broker: { listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }] }
";

fn command(file: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments).arg("-c").arg(file);
    command
}

fn ask(file: &Path, arguments: &[&str]) -> Output {
    command(file, arguments).output().unwrap()
}

/// What it prints, ended by whatever it waits for: `again` is done until then.
fn until_it_ends(mut child: Child, mut again: impl FnMut()) -> Output {
    while child.try_wait().unwrap().is_none() {
        again();
    }
    child.wait_with_output().unwrap()
}

#[test]
fn status_tells_a_gateway_that_is_well_from_one_that_is_not_and_from_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), WELL);
    let output = ask(&file, &["status"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stderr).contains("no gateway is running"));

    let mut gateway = Running::start(&file);
    gateway.until("listening").unwrap();
    gateway.until("running").unwrap();
    let output = ask(&file, &["status"]);
    let told = text(&output.stdout);
    assert!(told.starts_with("fieldgate 0.1.0  press-3  up "), "{told}");
    assert!(
        told.contains("all is well\n") && told.contains("no devices"),
        "{told}"
    );
    assert!(!told.contains('\x1b'), "no colours in a pipe: {told}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = ask(&file, &["status", "--json"]);
    let state: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(state["gateway"], "press-3");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let socket = folder.path().join("data/control.sock");
    let by_socket = program().arg("status").arg("--socket").arg(socket).output();
    assert_eq!(by_socket.unwrap().status.code(), Some(0));
    drop(gateway);

    let file = write(folder.path(), DEAD_DEVICE);
    let mut gateway = Running::start(&file);
    gateway.until("line2").unwrap();
    let told = loop {
        let output = ask(&file, &["status"]);
        if output.status.code() == Some(1) {
            break text(&output.stdout).to_owned();
        }
    };
    assert!(told.contains("ERROR    connection line2: "), "{told}");
    assert!(told.contains("-> check power"), "{told}");
}

#[test]
fn reload_tells_what_was_taken_up_and_changes_nothing_where_there_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), WELL);
    let socket = folder.path().join("data/control.sock");
    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();

    write(folder.path(), DEAD_DEVICE);
    let output = ask(&file, &["reload"]);
    let told = text(&output.stdout);
    assert!(told.contains("connection line2: added\n"), "{told}");
    assert!(told.contains("as before: 1 listener"), "{told}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line = gateway.until("as asked on the control socket").unwrap();
    assert!(line.contains("user="), "{line}");

    write(
        folder.path(),
        &DEAD_DEVICE.replace("connection: line2", "connection: line3"),
    );
    let mut command = program();
    let output = command
        .arg("reload")
        .arg("--socket")
        .arg(&socket)
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert!(told.contains("fieldgate.yaml:6:17"), "{told}");
    assert!(told.contains("nothing was changed"), "{told}");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let output = ask(&file, &["reload"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let told = text(&output.stderr);
    assert!(told.contains("nothing was changed"), "{told}");

    write(folder.path(), &DEAD_DEVICE.replace("press-3", "press-4"));
    let output = ask(&file, &["reload", "--json"]);
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        outcome["refused"].as_str().unwrap().contains("restart"),
        "{outcome}"
    );
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

/// Nobody has a login, and still a person at the machine sees and says everything.
#[test]
fn messages_pass_without_a_login() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users"), "# nobody yet\n").unwrap();
    let users = WELL.replace(", anonymous: true }] }", " }], users_file: users }");
    let file = write(folder.path(), &users);
    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();
    let output = ask(
        &file,
        &["pub", "plant/mode", "auto", "--retain", "--qos", "2"],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        text(&output.stdout),
        "taken; nobody subscribes to it now, and no bridge takes it\n"
    );
    let line = gateway.until("publishing a message").unwrap();
    assert!(
        line.contains("user=") && line.contains("plant/mode"),
        "{line}"
    );

    let output = ask(&file, &["sub", "plant/#", "--count", "1"]);
    let told = text(&output.stdout);
    assert!(
        told.ends_with(" plant/mode auto  (QoS 0, retained)\n"),
        "{told}"
    );
    let output = ask(&file, &["sub", "plant/#", "--count", "1", "-q"]);
    assert_eq!(text(&output.stdout), "auto\n");

    let mut sub = command(&file, &["sub", "plant/press", "--count", "2", "--json"]);
    let sub = sub.stdout(Stdio::piped()).spawn().unwrap();
    let output = until_it_ends(sub, || {
        let mut publish = command(&file, &["pub", "plant/press", "-"]);
        let mut child = publish
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&[0xFF, 0]).unwrap();
        assert!(child.wait().unwrap().success());
    });
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(
            (&line["payload_base64"], &line["qos"]),
            (&"/wA=".into(), &1.into())
        );
        let publisher = line["client_id"].as_str().unwrap();
        assert!(publisher.starts_with("$fieldgate/user-"), "{line}");
    }

    for (arguments, status, why) in [
        (&["pub", "a/#", "1"][..], 1, "`a/#`: "),
        (&["pub", "$SYS/a", "1"], 1, "the broker's own"),
        (&["pub", "a", "1", "--qos", "3"], 2, "3"),
        (&["sub", "a/#/b"], 1, "`a/#/b`: "),
        (&["sub", "$share/g/a"], 1, "takes messages away"),
        (&["pub", "a", &"x".repeat(70_000)], 1, "too long"),
    ] {
        let output = ask(&file, arguments);
        let told = text(&output.stderr);
        assert!(told.contains(why), "{told}");
        assert_eq!(output.status.code(), Some(status), "{told}");
    }
}

#[test]
fn a_command_by_hand_is_answered_by_its_device_and_logged_with_who_gave_it() {
    let site = Site::new();
    let map = DeviceMap::new(1).with(SimulatedTable::HoldingRegisters, 0, Signal::Words(vec![0]));
    let bind = Simulator::bind(LOOPBACK, vec![map]);
    let (address, _device) = site.runtime.block_on(bind).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text_of = DEAD_DEVICE
        .replace("port: 1,", &format!("port: {},", address.port()))
        .replace("type: uint16 }", "type: uint16, write: { max: 100 } }");
    let file = write(folder.path(), &text_of);
    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();
    let topic = "press-3/chiller/set/t";
    // What came of somebody else's command is not taken for what comes of this one.
    let result = format!("{topic}/result");
    ask(
        &file,
        &["pub", &result, r#"{"ok":true,"value":7}"#, "--retain"],
    );
    // Until it has been asked for the first time it counts as away.
    let output = loop {
        let output = ask(&file, &["pub", topic, "42"]);
        if !text(&output.stdout).contains("offline") {
            break output;
        }
    };
    let told = text(&output.stdout);
    assert!(told.starts_with("taken\nthe device: {"), "{output:?}");
    assert!(
        told.contains(r#""ok":true"#) && told.contains(r#""value":42"#),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line = gateway.until("command carried out").unwrap();
    assert!(line.contains("$fieldgate/user-"), "{line}");

    let output = ask(
        &file,
        &["pub", topic, r#"{"value":101,"id":"x"}"#, "--json"],
    );
    let told: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(told[0]["acknowledged"], true);
    assert_eq!(
        (&told[1]["error"], &told[1]["id"]),
        (&"out_of_range".into(), &"x".into())
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    // What only looks like a set topic is a topic like any other.
    for topic in ["press-4/chiller/set/t", "press-3/boiler/set/t"] {
        let output = ask(&file, &["pub", topic, "42"]);
        let told = text(&output.stdout);
        assert!(told.starts_with("taken; nobody subscribes"), "{output:?}");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

/// A device there, with a tag that it has and one that it has not.
fn two_tags(port: u16) -> String {
    let tags = "[{ name: u, register: holding, address: 0, type: float32, unit: V }, \
                 { name: none, register: holding, address: 9, type: uint16 }]";
    DEAD_DEVICE
        .replace("port: 1,", &format!("port: {port},"))
        .replace(
            "name: g, tags: [{ name: t, register: holding, address: 0, type: uint16 }]",
            &format!("name: g, interval: 200ms, tags: {tags}"),
        )
}

#[test]
fn values_are_those_of_the_present_and_of_nothing_else() {
    let site = Site::new();
    let map = DeviceMap::new(1).with(
        SimulatedTable::HoldingRegisters,
        0,
        Signal::Words(vec![0x4366, 0x3333]),
    );
    let bind = Simulator::bind(LOOPBACK, vec![map]);
    let (address, device) = site.runtime.block_on(bind).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &two_tags(address.port()));
    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();
    let values = || -> Vec<Value> {
        let output = ask(&file, &["values", "chiller", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines = text(&output.stdout).lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let read = loop {
        let values = values();
        if values[0]["reason"] != "not_read_yet" {
            break values;
        }
    };
    assert_eq!(
        (&read[0]["value"], &read[0]["unit"]),
        (&230.2.into(), &"V".into())
    );
    assert_eq!(
        (&read[0]["quality"], &read[0]["topic"]),
        (&"good".into(), &"press-3/chiller/g".into())
    );
    assert!(read[0]["age_ms"].as_u64().is_some() && read[0]["ts"].as_u64().is_some());
    assert_eq!(
        (&read[1]["value"], &read[1]["reason"]),
        (&Value::Null, &"exception_02".into())
    );
    let output = ask(&file, &["values"]);
    let told = text(&output.stdout);
    assert!(
        told.starts_with("DEVICE   TAG     VALUE  UNIT  QUALITY"),
        "{told}"
    );
    assert!(
        told.contains("chiller  g/u     230.2  V     good"),
        "{told}"
    );

    drop(device);
    let gone = loop {
        let values = values();
        if values[0]["reason"] == "offline" {
            break values;
        }
    };
    assert_eq!(gone[0]["value"], Value::Null);
    assert!(gone[0]["device_seen_s"].as_u64().is_some(), "{gone:?}");

    let output = ask(&file, &["values", "boiler"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text(&output.stderr).contains("there are: chiller"),
        "{output:?}"
    );
}

#[test]
fn events_are_what_happened_here_and_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), DEAD_DEVICE);
    for life in 1..3 {
        let mut gateway = Running::start(&file);
        gateway.until("running").unwrap();
        let starts = || {
            let output = ask(&file, &["events", "--json"]);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let events = text(&output.stdout).lines();
            let events = events.map(|line| serde_json::from_str::<Value>(line).unwrap());
            let starts =
                events.filter(|event| event["text"].as_str().unwrap().starts_with("running"));
            starts
                .map(|event| event["count"].as_u64().unwrap())
                .sum::<u64>()
        };
        assert_eq!(starts(), life);
        let output = ask(&file, &["events", "-n", "1"]);
        assert_eq!(text(&output.stdout).lines().count(), 1, "{output:?}");
        let pid = gateway.child.id().to_string();
        let asked = Command::new("kill").arg(pid).status();
        assert!(asked.unwrap().success());
        gateway.until("stopped").unwrap();
        assert!(gateway.child.wait().unwrap().success());
    }
}
