//! `fieldgate backlog`: what waits is shown and printed, while the gateway runs and while it does not.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use bytes::Bytes;
use fieldgate::bridge::{DEAD_LETTER_PROPERTY, ID_PROPERTY};
use fieldgate::clock::{self, WallTime};
use fieldgate::mqtt::{Message, PublishProperties, QoS, ReasonCode};
use fieldgate::store::{Log, LogOptions, Record};
use fieldgate::topic::TopicName;
use serde_json::{Value, json};

use crate::client::Client;
use crate::{Running, program, text, write};

/// A bridge to where nobody listens.
fn config() -> String {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    format!(
        "gateway: {{ id: g1, data_dir: data }}
broker: {{ listeners: [{{ name: local, bind: \"127.0.0.1:0\", anonymous: true }}] }}
bridges:
  - {{ name: cloud, url: \"mqtt://127.0.0.1:{port}\", allow_plaintext: true, forward: [{{ filter: \"plant/#\", topic: \"site/{{topic}}\" }}] }}
"
    )
}

fn backlog(file: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.arg("backlog").args(arguments).arg("-c").arg(file);
    command.output().unwrap()
}

fn exported(file: &Path) -> Vec<Value> {
    export(file, &["export", "cloud"])
}

fn export(file: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = backlog(file, arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = text(&output.stdout).lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Every file in a folder, with its content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let mut files: Vec<_> = names
        .map(|file| {
            (
                file.file_name().into_string().unwrap(),
                std::fs::read(file.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

fn purge(file: &Path, older: &str, more: &[&str]) -> Output {
    let arguments = ["purge", "cloud", "--older", older];
    backlog(file, &[&arguments, more].concat())
}

#[test]
fn old_messages_are_purged_by_the_gateway_that_runs_and_only_where_somebody_said_yes() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &config());
    let mut gateway = Running::start(&file);
    let line = gateway.until("listening").unwrap();
    let (_, address) = line.trim().rsplit_once("address=").unwrap();
    let (mut client, _) = Client::connect(address, "plc", None, None);
    gateway.until("running").unwrap();
    for number in 0..3 {
        let reason = client.publish("plant/press", &number.to_string());
        assert_eq!(reason, ReasonCode::Success);
    }

    let output = purge(&file, "0s", &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("--yes"), "{output:?}");
    let output = purge(&file, "7 fortnights", &["--yes"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = text(&output.stderr);
    assert!(
        told.contains("write a number and one of ms, s, min, h, d"),
        "{told}"
    );
    let output = purge(&file, "1d", &["--yes"]);
    assert_eq!(text(&output.stdout), "0 messages purged\n", "{output:?}");
    assert_eq!(exported(&file).len(), 3);

    let output = purge(&file, "0s", &["--yes"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stdout), "3 messages purged\n");
    let line = gateway.until("purged=3").unwrap();
    assert!(line.contains("bridge=\"cloud\" user="), "{line}");
    assert_eq!(exported(&file).len(), 0);

    gateway.child.kill().unwrap();
    gateway.child.wait().unwrap();
    assert_eq!(exported(&file).len(), 0, "it lasts");
    let output = purge(&file, "0s", &["--yes"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = text(&output.stderr);
    assert!(
        told.contains("no gateway is running, and only one that runs purges"),
        "{told}"
    );
}

#[test]
fn what_waits_is_shown_and_printed_while_the_gateway_runs_and_while_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &config());
    let mut gateway = Running::start(&file);
    let line = gateway.until("listening").unwrap();
    let (_, address) = line.trim().rsplit_once("address=").unwrap();
    let (mut client, reason) = Client::connect(address, "plc", None, None);
    assert_eq!(reason, ReasonCode::Success);
    gateway.until("running").unwrap();
    for number in 0..3 {
        let reason = client.publish("plant/press", &number.to_string());
        assert_eq!(reason, ReasonCode::Success);
    }

    let output = backlog(&file, &[]);
    let told = text(&output.stdout);
    assert!(told.starts_with("cloud: link "), "{output:?}");
    assert!(told.contains("messages wait ("), "{told}");
    let output = backlog(&file, &["cloud", "--json"]);
    let standing: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(standing["bridge"], "cloud");
    let running = exported(&file);
    let payloads: Vec<_> = running.iter().map(|item| &item["payload"]).collect();
    assert_eq!(payloads, ["0", "1", "2"]);
    assert_eq!(running[0]["topic"], "site/plant/press");
    let output = backlog(&file, &["export", "clod"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        told.contains("there is no bridge `clod`; there are: cloud"),
        "{told}"
    );

    let pid = gateway.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid])
            .status()
            .unwrap()
            .success()
    );
    gateway.child.wait().unwrap();
    let data = folder.path().join("data/backlog/cloud");
    let before = files(&data);
    assert_eq!(
        exported(&file),
        running,
        "from the files, as kill -9 left them"
    );
    assert!(files(&data) == before, "they were only looked at");
    let output = backlog(&file, &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("no gateway is running"));
}

/// A gateway with a small backlog for an upstream at `port`.
fn small(port: u16, when_full: &str) -> String {
    format!(
        "gateway: {{ id: g1, data_dir: data }}
broker: {{ listeners: [{{ name: local, bind: \"127.0.0.1:0\", anonymous: true }}] }}
store: {{ commit_interval: 10ms }}
bridges:
  - name: cloud
    url: \"mqtt://127.0.0.1:{port}\"
    allow_plaintext: true
    backoff: {{ min: 1s, max: 1s }}
    backlog: {{ max_bytes: 1MiB, when_full: {when_full} }}
    forward: [{{ filter: \"plant/#\" }}, {{ filter: \"g1/$bridge/+/gap\", topic: \"site/{{topic}}\" }}]
"
    )
}

fn broker(port: u16) -> String {
    format!(
        "broker: {{ listeners: [{{ name: up, bind: \"127.0.0.1:{port}\", anonymous: true }}] }}\n"
    )
}

/// Where nobody listens yet.
fn free_port() -> u16 {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    nobody.local_addr().unwrap().port()
}

/// The client's address of a gateway that has just started.
fn address(gateway: &mut Running) -> String {
    let line = gateway.until("listening").unwrap();
    let (_, address) = line.trim().rsplit_once("address=").unwrap();
    address.to_owned()
}

fn standing(file: &Path) -> Value {
    let output = backlog(file, &["cloud", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_full_backlog_that_refuses_says_so_to_who_publishes_and_is_ended_by_the_drain() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &small(port, "refuse"));
    let mut gateway = Running::start(&file);
    let local = address(&mut gateway);
    let (mut plc, _) = Client::connect(&local, "plc", None, None);
    let (mut panel, _) = Client::connect(&local, "panel", None, None);
    assert_eq!(panel.subscribe("plant/#"), 0);
    assert_eq!(panel.subscribe("yard/#"), 0);
    gateway.until("running").unwrap();

    let payload = |number: u32| format!("{number:06}{}", "x".repeat(32 << 10));
    let mut taken = 0;
    let reason = loop {
        match plc.publish("plant/press", &payload(taken)) {
            ReasonCode::Success => taken += 1,
            other => break other,
        }
        assert!(panel.take() == payload(taken - 1));
        assert!(taken < 100, "the backlog is never full");
    };
    assert_eq!(reason, ReasonCode::QuotaExceeded);
    assert!(taken > 4, "{taken}");
    panel.ping(); // nobody gets what was refused
    assert_eq!(plc.publish("yard/gate", "open"), ReasonCode::Success);
    assert_eq!(panel.take(), "open", "and nothing else is held up");
    let full = loop {
        let standing = standing(&file);
        if standing["refusing"] == true {
            break standing;
        }
    };
    assert_eq!(full["dropped"], 0);

    let upstream = tempfile::tempdir().unwrap();
    let mut broker = Running::start(&write(upstream.path(), &broker(port)));
    broker.until("listening").unwrap();
    while plc.publish("plant/press", "after") != ReasonCode::Success {}
    assert_eq!(panel.take(), "after");
    let drained = loop {
        let standing = standing(&file);
        if standing["backlog_messages"] == 0 {
            break standing;
        }
    };
    assert_eq!(drained["delivered"], taken + 1);
    assert_eq!(drained["refusing"], false);
    assert_eq!(drained["dropped"], 0);
}

#[test]
fn what_the_upstream_refused_is_printed_with_the_reason_while_the_gateway_runs_and_while_it_does_not()
 {
    const EXPORT: [&str; 3] = ["export", "cloud", "--dead-letter"];
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &config());
    assert!(export(&file, &EXPORT).is_empty(), "there has been none");
    let data = folder.path().join("data/dead-letter/cloud");
    let log = Log::open(LogOptions::new(data)).unwrap();
    let topic = TopicName::try_from("site/plant/press").unwrap();
    let message = Message {
        properties: Some(Box::new(PublishProperties {
            user_properties: vec![
                ("unit".into(), "mm".into()),
                (ID_PROPERTY.into(), "g1/cloud/1/7".into()),
                (DEAD_LETTER_PROPERTY.into(), "too large".into()),
            ],
            ..PublishProperties::default()
        })),
        ..Message::new(topic, Bytes::from_static(b"21.5"), QoS::AtLeastOnce, false)
    };
    let record = Record {
        message,
        stamped: WallTime(1_800_000_000_000),
    };
    log.append(clock::now(), log.next_seq(), record, None);
    log.close();
    let expected = json!({
        "epoch": 1, "id": "g1/cloud/1/7", "payload": "21.5", "properties": { "user_properties": [["unit", "mm"]] }, "qos": 1,
        "reason": "too large", "retain": false, "seq": 1, "topic": "site/plant/press", "ts": 1_800_000_000_000_u64,
    });
    assert_eq!(export(&file, &EXPORT), std::slice::from_ref(&expected));

    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();
    // It is opened in the background.
    let printed = loop {
        let printed = export(&file, &EXPORT);
        if !printed.is_empty() {
            break printed;
        }
    };
    assert_eq!(printed, [expected]);
}

#[test]
fn the_upstream_is_told_of_what_a_full_backlog_dropped_while_it_was_away() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &small(port, "drop_oldest"));
    let mut gateway = Running::start(&file);
    let local = address(&mut gateway);
    let (mut plc, _) = Client::connect(&local, "plc", None, None);
    gateway.until("running").unwrap();
    let published = 60;
    for _ in 0..published {
        let reason = plc.publish("plant/press", &"x".repeat(32 << 10));
        assert_eq!(reason, ReasonCode::Success);
    }
    let pid = gateway.child.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(killed.unwrap().success());
    gateway.child.wait().unwrap();

    let upstream = tempfile::tempdir().unwrap();
    let mut broker = Running::start(&write(upstream.path(), &broker(port)));
    let remote = address(&mut broker);
    let (mut historian, _) = Client::connect(&remote, "historian", None, None);
    assert_eq!(historian.subscribe("site/g1/$bridge/cloud/gap"), 0);
    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();
    let first: Value = serde_json::from_str(&historian.take()).unwrap();
    assert_eq!(
        (&first["bridge"], &first["number"]),
        (&"cloud".into(), &1.into())
    );
    assert_eq!(first["reason"], "drop_oldest");
    assert!(first["first"].as_u64() <= first["last"].as_u64(), "{first}");
    let delivered = loop {
        let standing = standing(&file);
        if standing["backlog_messages"] == 0 {
            break standing["delivered"].as_u64().unwrap();
        }
    };
    let mut lost = first["count"].as_u64().unwrap();
    while lost + delivered < published {
        let next: Value = serde_json::from_str(&historian.take()).unwrap();
        lost += next["count"].as_u64().unwrap();
    }
    assert_eq!(lost + delivered, published);
}

fn reload(file: &Path) -> Value {
    let mut command = program();
    command.args(["reload", "--json", "-c"]).arg(file);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    outcome["applied"].clone()
}

fn told_of_left(file: &Path) -> Option<String> {
    let mut command = program();
    command.args(["status", "--json", "-c"]).arg(file);
    let output = command.output().unwrap();
    let state: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = state["problems"].as_array().unwrap();
    let left = problems.iter().find(|it| it["part"] == "backlog cloud")?;
    Some(left["what"].as_str().unwrap().to_owned())
}

#[test]
fn what_a_bridge_that_was_removed_has_left_is_told_and_goes_on_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let with = config();
    let (without, _) = with.split_once("bridges:").unwrap();
    let file = write(folder.path(), &with);
    let mut gateway = Running::start(&file);
    let line = gateway.until("listening").unwrap();
    let (_, address) = line.trim().rsplit_once("address=").unwrap();
    let (mut client, _) = Client::connect(address, "plc", None, None);
    gateway.until("running").unwrap();
    for number in 0..3 {
        let reason = client.publish("plant/press", &number.to_string());
        assert_eq!(reason, ReasonCode::Success);
    }
    assert_eq!(told_of_left(&file), None);

    write(folder.path(), without);
    let done = reload(&file)["done"].to_string();
    assert!(
        done.contains("bridge cloud: 3 messages are left in its backlog"),
        "{done}"
    );
    let left = told_of_left(&file).unwrap();
    assert_eq!(left, "3 messages are left of a bridge that was removed");
    assert_eq!(exported(&file).len(), 3);
    // Nothing more goes into it.
    let nobody = ReasonCode::NoMatchingSubscribers;
    assert_eq!(client.publish("plant/press", "3"), nobody);

    // Another limit counts from a start on, which is said each time until there was one.
    let larger = with.replace("forward:", "backlog: { max_bytes: 3GiB }, forward:");
    write(folder.path(), &larger);
    for _ in 0..2 {
        let applied = reload(&file);
        assert_eq!(applied["needs_restart"], json!(["bridges.cloud.backlog"]));
    }
    assert_eq!(told_of_left(&file), None);
    assert_eq!(exported(&file).len(), 3);
    assert_eq!(client.publish("plant/press", "4"), ReasonCode::Success);
    assert_eq!(exported(&file).len(), 4);

    write(folder.path(), without);
    reload(&file);
    let output = purge(&file, "0s", &["--yes"]);
    assert_eq!(text(&output.stdout), "4 messages purged\n", "{output:?}");
    assert_eq!(told_of_left(&file), None);
}
