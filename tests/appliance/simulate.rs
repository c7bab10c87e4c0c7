//! `fieldgate simulate`: the examples that are shipped run against their own devices, by the commands in their heads; the broker
//! alone by its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use fieldgate::adapter::Payload;
use fieldgate::config::{self, BeforeFiles, System};
use fieldgate::mqtt::{Message, Packet, Publish, QoS, ReasonCode};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::access::PLC7;
use crate::bad_input::certificate;
use crate::client::{Client, message};
use crate::{Running, program, text, write};

/// A simulation in a process of its own, killed when dropped.
struct Simulation {
    child: Child,
    told: BufReader<ChildStdout>,
}

impl Simulation {
    /// By a command as a person types it, in `folder`.
    fn start(command: &str, folder: &Path) -> Self {
        let fieldgate = env!("CARGO_BIN_EXE_fieldgate");
        let command = command.replacen("fieldgate", &format!("exec '{fieldgate}'"), 1);
        let mut child = Command::new("sh")
            .args(["-c", &command])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        Self { child, told }
    }

    /// The command that it says to run next.
    fn next_command(&mut self) -> String {
        let mut all = String::new();
        loop {
            let start = all.len();
            assert!(self.told.read_line(&mut all).unwrap() > 0, "ended: {all}");
            if let Some(command) = all[start..].strip_prefix("now: ") {
                return command.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A folder with `config/examples/NAME` as it is shipped, and none of the files that it names: devices are simulated before
/// their site has certificates.
fn shipped(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let examples = Path::new("config/examples");
    std::fs::create_dir_all(folder.path().join(examples)).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(examples)
        .join(name);
    let there = folder.path().join(examples);
    std::fs::copy(from, there.join(name)).unwrap();
    std::fs::create_dir(there.join("certs")).unwrap();
    folder
}

/// The commands in the head of a file: a line each, `\` joins two.
fn commands(text: &str) -> Vec<String> {
    let head: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix('#'))
        .collect();
    let joined = head.join("\n").replace("\\\n", " ");
    let commands = joined.lines().map(str::trim);
    commands
        .filter(|line| line.starts_with("fieldgate "))
        .map(str::to_owned)
        .collect()
}

/// A gateway that runs with the copy, and a client that hears all it publishes.
fn run(folder: &Path, copy: &str) -> (Running, Client) {
    run_with(folder, copy, "")
}

/// The same with more to say of the broker.
fn run_with(folder: &Path, copy: &str, broker: &str) -> (Running, Client) {
    let copy = folder.join(copy);
    let mut text = std::fs::read_to_string(&copy).unwrap();
    // Port 1883 is somebody's.
    let listeners = "listeners: [{name: local, bind: '127.0.0.1:0', anonymous: true}]";
    text.push_str(&format!("broker: {{{listeners}{broker}}}\n"));
    std::fs::write(&copy, text).unwrap();
    let mut gateway = Running::start(&copy);
    let line = gateway.until("listening").unwrap();
    let (_, address) = line.trim_end().split_once("address=").unwrap();
    let (mut client, _) = Client::connect(address, "watcher", None, None);
    assert_eq!(client.subscribe("#"), 0);
    (gateway, client)
}

fn publish(client: &mut Client) -> Publish {
    match client.receive() {
        Packet::Publish(publish) => publish,
        packet => panic!("{packet:?}"),
    }
}

/// The topics of all readings of a configuration.
fn topics(file: &Path) -> BTreeSet<String> {
    let loaded = config::load_in(file, &BeforeFiles(&System));
    let config = loaded.unwrap().config;
    let devices = config.connections.iter().flat_map(|c| &c.devices);
    let groups = devices.flat_map(|device| &device.groups).map(|group| {
        let tags = group.tags.iter().map(|tag| tag.topic.to_string());
        (group.payload.clone(), tags.collect::<Vec<_>>())
    });
    let instruments = config.instruments.iter().map(|c| &c.instrument);
    let instruments = instruments.map(|instrument| {
        let topics = instrument.topics.iter().map(ToString::to_string);
        (instrument.payload.clone(), topics.collect())
    });
    groups
        .chain(instruments)
        .flat_map(|(payload, topics)| match payload {
            Payload::Json(topic) => vec![topic.to_string()],
            Payload::JsonPerTag | Payload::Value => topics,
        })
        .collect()
}

fn topic(publish: &Publish) -> &str {
    publish.topic.as_ref().expect("an alias").as_str()
}

/// Whether all that a message says is good.
fn is_good(publish: &Publish) -> bool {
    let json: Json = serde_json::from_slice(&publish.payload).unwrap_or_default();
    match json.as_object() {
        Some(json) => json.contains_key("values") && !json.contains_key("bad"),
        None => !publish.payload.is_empty(),
    }
}

#[track_caller]
fn runs_by_its_own_commands(name: &str) {
    let folder = shipped(name);
    let file = folder.path().join("config/examples").join(name);
    let commands = commands(&std::fs::read_to_string(&file).unwrap());
    let [simulate, run_copy] = &commands[..] else {
        panic!("{name}: {commands:?}");
    };
    let mut simulation = Simulation::start(simulate, folder.path());
    assert_eq!(&simulation.next_command(), run_copy);
    let copy = run_copy.strip_prefix("fieldgate run -c ").unwrap();
    let (_gateway, mut client) = run(folder.path(), copy);
    let mut missing = topics(&file);
    assert!(!missing.is_empty());
    while !missing.is_empty() {
        let publish = publish(&mut client);
        if is_good(&publish) {
            missing.remove(topic(&publish));
        }
    }
}

#[test]
fn the_meters_run_without_hardware() {
    runs_by_its_own_commands("meters.yaml");
}

#[test]
fn the_plc_runs_without_hardware() {
    runs_by_its_own_commands("plc.yaml");
}

#[test]
fn the_chiller_of_the_plc_stands_as_it_is_set() {
    let folder = shipped("plc.yaml");
    let text = std::fs::read_to_string(folder.path().join("config/examples/plc.yaml")).unwrap();
    let commands = commands(&text);
    let mut simulation = Simulation::start(&commands[0], folder.path());
    simulation.next_command();
    let copy = commands[1].strip_prefix("fieldgate run -c ").unwrap();
    let rule = text
        .lines()
        .find_map(|line| line.strip_prefix("#     access: "));
    let access = format!(", access: {}", rule.expect("a rule in the head"));
    let (_gateway, mut client) = run_with(folder.path(), copy, &access);
    let mut answer = |name: &str, value: &str| -> Json {
        let topic = format!("press-line-3/chiller/set/{name}");
        let command = Message {
            qos: QoS::AtMostOnce,
            ..message(&topic, value)
        };
        client.send(Packet::Publish(command.into_publish(None)));
        loop {
            let publish = publish(&mut client);
            if self::topic(&publish) == format!("{topic}/result") {
                let mut json: Json = serde_json::from_slice(&publish.payload).unwrap();
                json.as_object_mut().unwrap().remove("ts");
                return json;
            }
        }
    };
    let ok = |value: Json| json!({"ok": true, "value": value, "read_back": value});
    assert_eq!(answer("setpoint", "7.5"), ok(json!(7.5)));
    assert_eq!(answer("mode", "cool"), ok(json!("cool")));
    assert_eq!(answer("run", "true"), ok(json!(true)));
    let refused = json!({"ok": false, "error": "out_of_range"});
    assert_eq!(answer("setpoint", "18.1"), refused);
    loop {
        let publish = publish(&mut client);
        let json: Json = serde_json::from_slice(&publish.payload).unwrap_or_default();
        if json["values"]["setpoint"] == 7.5 {
            assert_eq!(json["values"]["mode"], "cool");
            break;
        }
    }
}

#[test]
fn the_scales_and_the_barcode_reader_run_without_hardware() {
    runs_by_its_own_commands("scale-and-barcode.yaml");
}

#[test]
fn the_meter_for_aws_runs_without_hardware_and_without_aws() {
    runs_by_its_own_commands("meter-to-aws.yaml");
}

#[test]
fn the_gps_receiver_runs_without_hardware() {
    runs_by_its_own_commands("gps.yaml");
}

#[test]
fn the_meter_between_stx_and_etx_runs_without_hardware() {
    runs_by_its_own_commands("stx-etx-meter.yaml");
}

#[test]
fn every_example_with_devices_is_run_here() {
    let here = include_str!("simulate.rs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        let run = here.contains(&format!("runs_by_its_own_commands(\"{name}\")"));
        assert_eq!(run, text.contains("\ndevices:"), "{name}");
    }
}

#[test]
fn the_broker_alone_runs_by_its_own_commands_and_its_rules_hold() {
    let folder = shipped("broker-only.yaml");
    let examples = folder.path().join("config/examples");
    certificate(&examples, "broker", 2100);
    std::fs::write(
        examples.join("users"),
        PLC7.replace("plc7", "panel1") + PLC7,
    )
    .unwrap();
    let file = examples.join("broker-only.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let [check, run] = &commands(&text)[..] else {
        panic!("{:?}", commands(&text));
    };
    let here = "config/examples/broker-only.yaml";
    assert_eq!(check, &format!("fieldgate check {here}"));
    assert_eq!(run, &format!("fieldgate run -c {here}"));
    let mut command = program();
    let output = command
        .args(["check", here])
        .current_dir(folder.path())
        .output();
    let output = output.unwrap();
    assert_eq!(crate::text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));

    // These ports are somebody's, and the plant's network is not ours.
    let own = text
        .replace("127.0.0.1:1883", "127.0.0.1:0")
        .replace("0.0.0.0:8883", "127.0.0.1:0");
    write(&examples, &format!("gateway: {{ data_dir: data }}\n{own}"));
    let mut gateway = Running::start(&examples.join("fieldgate.yaml"));
    let mut addresses = BTreeMap::new();
    for line in gateway.through("running").unwrap().lines() {
        if let Some((head, address)) = line.split_once(" address=") {
            let (_, name) = head.split_once("listening listener=").unwrap();
            addresses.insert(name.trim_matches('"').to_owned(), address.to_owned());
        }
    }
    assert_eq!(addresses.keys().collect::<Vec<_>>(), ["local", "plant"]);
    let local = &addresses["local"];
    let (mut here, _) = Client::connect(local, "here", None, None);
    assert_eq!(here.subscribe("#"), 0);
    let login = Some(("panel1", "secret"));
    let (mut panel, _) = Client::connect(local, "panel", login, None);
    let may = |client: &mut Client, topic: &str| client.publish(topic, "1");
    assert_eq!(may(&mut panel, "panels/panel1/wanted"), ReasonCode::Success);
    for topic in ["panels/panel2/wanted", "plant/plc7/speed"] {
        assert_eq!(may(&mut panel, topic), ReasonCode::NotAuthorized);
    }
    assert_eq!(panel.subscribe("plant/#"), 0);
    let (_, refused) = Client::connect(local, "nobody", Some(("panel1", "guess")), None);
    assert_eq!(refused, ReasonCode::BadUserNameOrPassword);
}

#[test]
fn faults_strike_whom_they_are_said_of() {
    let folder = shipped("meters.yaml");
    let command = "fieldgate simulate config/examples/meters.yaml --write sim.yaml --fault exception:press1 \
                   --fault garbage:3@1 --fault foreign-unit:incomer@4";
    let mut simulation = Simulation::start(command, folder.path());
    simulation.next_command();
    let (_gateway, mut client) = run(folder.path(), "config/examples/sim.yaml");
    let mut expected = BTreeSet::from([
        ("hall1/press1/power", "exception_04"),
        ("hall1/press2/power", "wrong_unit"),
        ("hall1/incomer/power", ""),
        ("hall1/compressor/power", ""),
    ]);
    for _ in 0..500 {
        let publish = publish(&mut client);
        let json: Json = serde_json::from_slice(&publish.payload).unwrap_or_default();
        let reason = json["bad"]["voltage"].as_str().unwrap_or_default();
        let good = is_good(&publish);
        expected.retain(|(to, wanted)| {
            topic(&publish) != *to || *wanted != reason || wanted.is_empty() && !good
        });
        if expected.is_empty() {
            return;
        }
    }
    panic!("not seen: {expected:?}");
}

/// Exit status and what is said to stderr.
fn refused(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = program();
    command.arg("simulate").args(arguments).current_dir(folder);
    let output = command.output().unwrap();
    (output.status.code(), text(&output.stderr).to_owned())
}

#[test]
fn what_cannot_be_simulated_is_said_and_nothing_is_overwritten() {
    let folder = shipped("scale-and-barcode.yaml");
    let file = "config/examples/scale-and-barcode.yaml";
    let told = |arguments: &[&str], part: &str| {
        let (status, told) = refused(folder.path(), arguments);
        assert_eq!(status, Some(2), "{told}");
        assert!(told.contains(part), "{told}");
    };
    told(
        &[file, "--write", "/tmp/sim.yaml"],
        "a name without a folder",
    );
    told(
        &[file, "--write", "scale-and-barcode.yaml"],
        "is no copy that a simulation wrote",
    );
    told(
        &[file, "--say", "flour=1"],
        "instruments here: floor, balance, reader1",
    );
    told(&[file, "--fault", "dead:flour"], "no unit `flour`");
    told(&[file, "--fault", "deaf"], "none of late, short");
    std::fs::write(folder.path().join("none.yaml"), "gateway: {id: g}\n").unwrap();
    told(&["none.yaml"], "no devices");
    let (status, _) = refused(folder.path(), &["absent.yaml"]);
    assert_eq!(status, Some(78));
    // The copy would have the real devices of this file beside the simulated ones.
    let conf_d = folder.path().join("config/examples/conf.d");
    std::fs::create_dir(&conf_d).unwrap();
    std::fs::write(conf_d.join("more.yaml"), "").unwrap();
    told(
        &[file, "--write", "sim.yaml"],
        "conf.d/more.yaml belongs to the configuration",
    );
}
