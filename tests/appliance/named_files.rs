//! A start at which the configuration is well and a file that it names is not, as after a power cut: what needs the file is out,
//! says so, and is taken up when the file is well, while all else runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use fieldgate::mqtt::{QoS, ReasonCode};
use serde_json::Value;

use crate::access::PLC7;
use crate::bad_input::certificate;
use crate::client::Client;
use crate::modbus::Site;
use crate::{Running, check, program, text, write};

const WITHOUT: &str = "RUNNING WITHOUT the parts that need them";
const MESSAGES: usize = 200;

fn ask(file: &Path, command: &[&str]) -> Output {
    let mut asking = program();
    asking.args(command).arg("-c").arg(file);
    asking.output().unwrap()
}

fn state(file: &Path) -> Value {
    let output = ask(file, &["status", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What `status` says of a part, and what to do.
fn problem(file: &Path, part: &str) -> String {
    let state = state(file);
    let problems = state["problems"].as_array().unwrap();
    let found = problems.iter().find(|it| it["part"] == part);
    let found = found.unwrap_or_else(|| panic!("{part}: {problems:?}"));
    format!("{} -> {}", found["what"], found["remedy"])
}

/// Where the listener of this name listens.
fn address(file: &Path, listener: &str) -> String {
    let state = state(file);
    let listeners = state["listeners"].as_array().unwrap();
    let found = listeners.iter().find(|it| it["name"] == listener).unwrap();
    assert_eq!(found["error"], Value::Null);
    found["address"].as_str().unwrap().to_owned()
}

/// An upstream in a folder of its own: another fieldgate, which wants the certificate of `gateway.crt`.
struct Upstream {
    folder: tempfile::TempDir,
    file: PathBuf,
    running: Running,
}

impl Upstream {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path(), "upstream", 2100);
        certificate(folder.path(), "gateway", 2100);
        let file = write(
            folder.path(),
            "gateway: { id: up, data_dir: data }\n\
             broker:\n  listeners:\n    \
             - { name: plain, bind: \"127.0.0.1:0\", anonymous: true }\n    \
             - { name: tls, bind: \"127.0.0.1:0\", anonymous: true, tls: { certificate: certs/upstream.crt, private_key: certs/upstream.key, \
                 client_ca: certs/gateway.crt, client_certificate: required } }\n",
        );
        let mut running = Running::start(&file);
        running.until("running gateway=").unwrap();
        Self {
            folder,
            file,
            running,
        }
    }

    fn port(&self) -> u16 {
        let address = address(&self.file, "tls");
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Somebody there who gets all that comes from the gateway.
    fn watcher(&self) -> Client {
        let (mut watcher, _) = Client::connect(&address(&self.file, "plain"), "cloud", None, None);
        assert_eq!(watcher.subscribe("site/#"), 0);
        watcher
    }
}

/// A gateway with a device and a bridge, whose `certs/gateway.key` is not there yet.
struct Plant {
    site: Site,
    upstream: Upstream,
    file: PathBuf,
}

impl Plant {
    fn new(backoff: &str) -> Self {
        let (site, upstream) = (Site::new(), Upstream::start());
        let certs = site.folder.path().join("certs");
        fs::create_dir(&certs).unwrap();
        for name in ["upstream.crt", "gateway.crt"] {
            let from = upstream.folder.path().join("certs").join(name);
            fs::copy(from, certs.join(name)).unwrap();
        }
        let (meter, device) = site.meter();
        std::mem::forget(device); // it ends with the runtime
        let file = write(
            site.folder.path(),
            &format!(
                "gateway: {{ id: g1, data_dir: data }}\n\
                 broker: {{ listeners: [{{ name: local, bind: \"127.0.0.1:0\", anonymous: true }}] }}\n\
                 connections: [{{ name: net, modbus_tcp: {{ host: {}, port: {} }} }}]\n\
                 devices: [{{ name: meter, connection: net, unit_id: 3, groups: [{{ name: power, interval: 100ms, tags: [{{ name: u, register: holding, address: 100, type: float32 }}] }}] }}]\n\
                 bridges:\n  - name: cloud\n    url: mqtts://localhost:{}\n    backoff: {backoff}\n    \
                 tls: {{ ca: certs/upstream.crt, certificate: certs/gateway.crt, private_key: certs/gateway.key }}\n    \
                 forward: [{{ filter: \"plant/#\", topic: \"site/{{topic}}\" }}, {{ filter: \"g1/meter/#\", topic: \"field/{{topic}}\" }}]\n",
                meter.ip(),
                meter.port(),
                upstream.port()
            ),
        );
        Self {
            site,
            upstream,
            file,
        }
    }

    /// Whoever holds the key brings it.
    fn mend(&self) {
        let key = Path::new("certs/gateway.key");
        let from = self.upstream.folder.path().join(key);
        fs::copy(from, self.site.folder.path().join(key)).unwrap();
    }

    fn start(&self) -> (Running, Client) {
        let mut gateway = Running::start(&self.file);
        let log = gateway.through("running gateway=").unwrap();
        assert!(log.contains(WITHOUT), "{log}");
        assert!(
            log.contains("bridge cloud: ") && log.contains("certs/gateway.key: cannot be read"),
            "{log}"
        );
        let (client, _) = Client::connect(&address(&self.file, "local"), "plc", None, None);
        (gateway, client)
    }
}

#[test]
fn a_bridge_whose_key_is_not_there_takes_messages_and_delivers_them_all_when_it_is() {
    let plant = Plant::new("{ min: 1s, max: 1s }");
    let output = check(&plant.file);
    assert_eq!(output.status.code(), Some(78), "it stays a fault");
    let (mut gateway, mut client) = plant.start();
    for number in 0..MESSAGES {
        let reason = client.publish("plant/press", &number.to_string());
        assert_eq!(reason, ReasonCode::Success);
    }
    // The device is polled, and what it says waits too.
    assert_eq!(client.subscribe("g1/meter/power"), 0);
    assert!(client.take().contains("230.2"));
    let told = problem(&plant.file, "bridge cloud");
    assert!(
        told.contains("certs/gateway.key: cannot be read: "),
        "{told}"
    );
    assert!(told.contains("check the path, and that the user"), "{told}");
    let waiting = state(&plant.file)["bridges"][0]["status"]["backlog_messages"].clone();
    assert!(waiting.as_u64().unwrap() >= MESSAGES as u64, "{waiting}");

    // A power cut: it is all still there, and so is the fault.
    gateway.child.kill().unwrap();
    drop(gateway);
    drop(client);
    let (mut gateway, _client) = plant.start();
    let mut watcher = plant.upstream.watcher();
    plant.mend();
    gateway.until("connected to the upstream").unwrap();
    for number in 0..MESSAGES {
        assert_eq!(watcher.take(), number.to_string());
    }
    assert_eq!(
        state(&plant.file)["certificates"][0]["used_by"],
        "bridge cloud"
    );
    drop(plant.upstream.running);
}

#[test]
fn a_reload_has_a_bridge_try_its_files_at_once_and_refuses_while_they_are_at_fault() {
    let plant = Plant::new("{ min: 1h, max: 1h }");
    let (mut gateway, mut client) = plant.start();
    assert_eq!(client.publish("plant/press", "1"), ReasonCode::Success);
    // Tried, and not again within the hour.
    while !problem(&plant.file, "bridge cloud").contains("certs/gateway.key: cannot be read") {}
    let output = ask(&plant.file, &["reload"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(text(&output.stderr).contains("certs/gateway.key"));
    let mut watcher = plant.upstream.watcher();
    plant.mend();
    let output = ask(&plant.file, &["reload"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    gateway.until("connected to the upstream").unwrap();
    assert_eq!(watcher.take(), "1");
}

#[test]
fn a_listener_whose_key_is_not_there_stays_closed_until_it_is_while_the_others_open() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "gateway", 2100);
    let key = folder.path().join("certs/gateway.key");
    let aside = folder.path().join("certs/aside");
    fs::rename(&key, &aside).unwrap();
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\n\
         broker:\n  listeners:\n    \
         - { name: plant, bind: \"127.0.0.1:0\", anonymous: true, tls: { certificate: certs/gateway.crt, private_key: certs/gateway.key } }\n    \
         - { name: local, bind: \"127.0.0.1:0\", anonymous: true }\n",
    );
    let mut gateway = Running::start(&file);
    let log = gateway.through("running gateway=").unwrap();
    assert!(log.contains(WITHOUT), "{log}");
    assert!(log.contains("not listening; trying on"), "{log}");
    let (mut client, _) = Client::connect(&address(&file, "local"), "plc", None, None);
    client.ping();
    let told = problem(&file, "listener plant");
    assert!(
        told.contains("certs/gateway.key: cannot be read: "),
        "{told}"
    );

    fs::rename(&aside, &key).unwrap();
    let line = gateway.until("listening listener=\"plant\"").unwrap();
    assert!(line.contains("address=127.0.0.1:"), "{line}");
    let state = state(&file);
    assert_eq!(state["problems"], Value::Array(Vec::new()));
    assert_eq!(state["certificates"][0]["used_by"], "listener plant");

    // Else the next reload does it at once, whatever the wait has become.
    drop((gateway, client));
    fs::rename(&key, &aside).unwrap();
    let mut gateway = Running::start(&file);
    gateway.until("running gateway=").unwrap();
    fs::rename(&aside, &key).unwrap();
    let output = ask(&file, &["reload"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    address(&file, "plant");
}

#[test]
fn users_that_cannot_be_read_are_refused_until_they_can_be_and_nobody_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, format!("{PLC7}plc8:secret\n")).unwrap();
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\n\
         broker:\n  users_file: users\n  listeners:\n    \
         - { name: plant, bind: \"127.0.0.1:0\" }\n    \
         - { name: local, bind: \"127.0.0.1:0\", anonymous: true }\n",
    );
    let output = check(&file);
    assert_eq!(output.status.code(), Some(78));
    let mut gateway = Running::start(&file);
    let log = gateway.through("running gateway=").unwrap();
    assert!(log.contains(WITHOUT), "{log}");
    assert!(log.contains("users:2: `plc8`: "), "{log}");
    let (plant, local) = (address(&file, "plant"), address(&file, "local"));
    let enter = |address: &str, login| Client::connect(address, "a", login, None).1;
    let login = Some(("plc7", "secret"));
    assert_eq!(enter(&plant, login), ReasonCode::ServerBusy);
    assert_eq!(enter(&local, login), ReasonCode::ServerBusy);
    assert_eq!(enter(&plant, None), ReasonCode::NotAuthorized);
    assert_eq!(enter(&local, None), ReasonCode::Success);
    let told = problem(&file, "logins");
    assert!(told.contains("clients with a user name are refused: "));
    assert!(told.contains("users:2: `plc8`: "), "{told}");

    fs::write(&users, PLC7).unwrap();
    gateway.until("users and access rules can be read").unwrap();
    assert_eq!(enter(&plant, login), ReasonCode::Success);
    let wrong = Some(("plc7", "wrong"));
    assert_eq!(enter(&plant, wrong), ReasonCode::BadUserNameOrPassword);
    assert_eq!(state(&file)["problems"], Value::Array(Vec::new()));
}

#[test]
fn without_its_rules_nobody_is_let_in_and_what_comes_for_those_who_are_away_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("acl");
    let rules = "topic readwrite plant/#\n";
    fs::write(&acl, rules).unwrap();
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\n\
         broker: { mosquitto_acl_file: acl, listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }] }\n",
    );
    let mut gateway = Running::start(&file);
    gateway.until("running gateway=").unwrap();
    let (mut kept, _) = Client::connect_kept(&address(&file, "local"), "kept");
    assert_eq!(kept.subscribe_at("plant/#", QoS::AtLeastOnce), 1);
    drop((gateway, kept));

    fs::remove_file(&acl).unwrap();
    let mut gateway = Running::start(&file);
    // With the same file as the last good one it would be no better off.
    let log = gateway.through("running gateway=").unwrap();
    assert!(log.contains(WITHOUT) && !log.contains("LAST GOOD"), "{log}");
    let local = address(&file, "local");
    let refused = Client::connect(&local, "a", None, None).1;
    assert_eq!(refused, ReasonCode::ServerBusy);
    let told = problem(&file, "logins");
    assert!(told.contains("every client is refused: "), "{told}");
    let mut publish = program();
    publish.args(["pub", "plant/a", "1", "-c"]).arg(&file);
    assert!(publish.output().unwrap().status.success());

    // A reload does it at once.
    fs::write(&acl, rules).unwrap();
    let output = ask(&file, &["reload"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (mut kept, reason) = Client::connect_kept(&local, "kept");
    assert_eq!(reason, ReasonCode::Success);
    assert_eq!(kept.take(), "1");
    drop(gateway);
}

#[test]
fn a_configuration_that_names_what_is_not_there_gives_way_to_the_last_one_that_was_well() {
    let folder = tempfile::tempdir().unwrap();
    let broker = "listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }]";
    let text = |more: &str| {
        format!("gateway: {{ id: g1, data_dir: data }}\nbroker: {{ {more}{broker} }}\n")
    };
    let file = write(folder.path(), &text(""));
    let kept = folder.path().join("data/last-good.json");
    let mut gateway = Running::start(&file);
    gateway.until("running gateway=").unwrap();
    while !kept.exists() {
        state(&file);
    }
    drop(gateway);
    // Users alone: nobody is let in whom they might refuse.
    write(folder.path(), &text("users_file: typo, "));
    let mut gateway = Running::start(&file);
    let log = gateway.through("running gateway=").unwrap();
    assert!(log.contains(WITHOUT) && log.contains("typo"), "{log}");
    assert!(!log.contains("LAST GOOD CONFIGURATION"), "{log}");
    assert!(!fs::read_to_string(&kept).unwrap().contains("typo"));
    // Once it lacks nothing, it is the last good one.
    fs::write(folder.path().join("typo"), "").unwrap();
    gateway.until("users and access rules can be read").unwrap();
    while !fs::read_to_string(&kept).unwrap().contains("typo") {
        state(&file);
    }
    drop(gateway);
    let tls = "tls: { certificate: typo.crt, private_key: typo.key }, ";
    write(
        folder.path(),
        &text("").replace("name: local,", &format!("name: local, {tls}")),
    );
    let mut gateway = Running::start(&file);
    let log = gateway.through("running gateway=").unwrap();
    assert!(log.contains("LAST GOOD CONFIGURATION"), "{log}");
    assert!(log.contains("FG050") && log.contains("typo"), "{log}");
    assert!(!log.contains(WITHOUT), "{log}");
    drop(gateway);
    // And where there is none, it runs as far as it can.
    fs::remove_file(&kept).unwrap();
    let mut gateway = Running::start(&file);
    let log = gateway.through("running gateway=").unwrap();
    assert!(log.contains(WITHOUT) && log.contains("typo"), "{log}");
}
