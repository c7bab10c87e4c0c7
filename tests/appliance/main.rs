//! The real program as a person meets it: `check`, `run`, `demo`, what they print and how they end. No peer is needed;
//! the same with real peers is in `tests/rigs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod access;
mod asking;
mod backlog;
mod bad_input;
mod cert;
mod client;
mod console;
mod diag;
mod events;
mod first_boot;
mod installed;
mod log;
mod media;
mod modbus;
mod modbus_through;
mod modbus_write;
mod named_files;
mod notify;
mod overtake;
mod simulate;
mod stranger;
mod user;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

const FIVE_FAULTS: &str = "\
gateway: { id: line/3 }
broker:
  listeners:
    - { name: local, bind: 127.0.0.1:0, anonymus: true }
connections:
  - { name: wire, modbus_tcp: { host: 127.0.0.1, port: many } }
devices:
  - name: meter
    connection: wier
    unit_id: 1
    groups:
      - { name: power, tags: [{ name: u, register: input, address: 0, type: float23 }] }
";

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Without a console, unless `text` says where: tests run side by side, and its port is one.
fn write(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("fieldgate.yaml");
    let console = match text.contains("console:") {
        true => "",
        false => "\nconsole: { bind: off }\n",
    };
    std::fs::write(&file, format!("{text}{console}")).unwrap();
    file
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn check(file: &Path) -> Output {
    program().arg("check").arg(file).output().unwrap()
}

/// A gateway in a process of its own, killed when dropped.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Running {
    fn start(file: &Path) -> Self {
        Self::start_with(file, |command| command)
    }

    /// The same with more arguments, or another environment.
    fn start_with(file: &Path, with: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = program();
        command.args(["run", "-c"]).arg(file);
        Self::spawn(with(&mut command))
    }

    /// By a command of any kind that becomes one.
    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Reads the log up to a line with `wanted` in it; gives that line, or all there was before the log ended.
    fn until(&mut self, wanted: &str) -> Result<String, String> {
        let all = self.through(wanted)?;
        Ok(all.lines().last().unwrap_or_default().to_owned())
    }

    /// The same, and gives all lines, that one too.
    fn through(&mut self, wanted: &str) -> Result<String, String> {
        let mut all = String::new();
        loop {
            let start = all.len();
            if self.log.read_line(&mut all).unwrap() == 0 {
                return Err(all);
            }
            if all.get(start..).unwrap().contains(wanted) {
                return Ok(all);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn check_tells_five_faults_with_line_and_column_and_exits_78() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), FIVE_FAULTS);
    let output = check(&file);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    let places: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix(file.to_str().unwrap()))
        .filter_map(|line| line.split_once(": error").map(|(place, _)| place))
        .collect();
    assert_eq!(
        places,
        [":1:16", ":4:41", ":6:56", ":9:17", ":12:77"],
        "{told}"
    );
}

#[test]
fn run_refuses_a_configuration_at_fault_with_the_same_status() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), FIVE_FAULTS);
    let output = program().args(["run", "-c"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(text(&output.stderr), text(&check(&file).stderr));
}

#[test]
fn a_missing_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.yaml");
    let output = check(&file);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains(file.to_str().unwrap()));
}

#[test]
fn the_shipped_configuration_is_well() {
    let output = check(Path::new("config/fieldgate.yaml"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    let output = program().arg("chekc").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn sigterm_ends_a_running_gateway_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\nbroker: { listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }] }\n",
    );
    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();
    let pid = gateway.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    gateway.until("stopped").unwrap();
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_address_in_use_is_named_and_taken_when_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let file = write(
        folder.path(),
        &format!(
            "gateway: {{ id: g1, data_dir: data }}\nbroker: {{ listeners: [{{ name: local, bind: \"{address}\", anonymous: true }}] }}\n"
        ),
    );
    let mut gateway = Running::start(&file);
    let line = gateway.until(&address.to_string()).unwrap();
    assert!(line.contains("in use"), "{line}");
    gateway.until("running").unwrap();
    drop(taken);
    let line = gateway.until(" listening").unwrap();
    assert!(line.contains(&address.to_string()), "{line}");
}

#[test]
fn check_warns_of_an_address_that_the_machine_does_not_have() {
    let folder = tempfile::tempdir().unwrap();
    let text = |address: &str| {
        format!(
            "broker: {{ listeners: [{{ name: plant, bind: \"{address}\", anonymous: true }}] }}\n"
        )
    };
    let output = check(&write(folder.path(), &text("192.0.2.1:1883")));
    let told = crate::text(&output.stderr);
    assert!(told.contains("listener `plant`: this machine has no address 192.0.2.1:1883"));
    assert_eq!(output.status.code(), Some(0));
    let output = check(&write(folder.path(), &text("127.0.0.1:0")));
    assert_eq!(crate::text(&output.stderr), "");
}

/// The whole path in one process: device, gateway, cut link, upstream with mutual TLS.
#[test]
fn the_demo_loses_and_duplicates_nothing() {
    for qos in ["1", "2"] {
        let output = program()
            .args(["demo", "--for", "5", "--cut", "2", "--qos", qos])
            .output()
            .unwrap();
        let told = text(&output.stdout);
        let verdict = told.lines().last().unwrap();
        assert!(
            verdict.contains("lost 0  duplicated 0"),
            "QoS {qos}: {told}"
        );
        assert!(!verdict.contains("published 0"), "QoS {qos}: {told}");
        assert!(told.contains("the link is cut"), "QoS {qos}: {told}");
        assert_eq!(output.status.code(), Some(0), "QoS {qos}");
    }
}

#[test]
fn what_is_wrong_inside_a_named_file_is_a_fault_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users"), "plc7:secret\n").unwrap();
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\nbroker: { users_file: users }\n",
    );
    let output = check(&file);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    assert!(told.contains("users:1:"), "{told}");
}

#[test]
fn a_damaged_certificate_of_a_device_is_a_fault_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), "not PEM").unwrap();
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\nconnections: [{ name: net, modbus_tcp: { host: h, tls: { ca: ca.pem } } }]\n",
    );
    let output = check(&file);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let told = text(&output.stderr);
    assert!(
        told.contains("connection net: ") && told.contains("ca.pem: no certificate in it"),
        "{told}"
    );
}

#[test]
fn a_cut_that_does_not_fit_into_the_demo_is_a_usage_error() {
    let output = program()
        .args(["demo", "--for", "5", "--cut", "10"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--for 12"));
}

#[test]
fn a_closed_pipe_is_no_fault() {
    let mut command = program();
    command
        .args(["check", "config/fieldgate.yaml"])
        .stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
