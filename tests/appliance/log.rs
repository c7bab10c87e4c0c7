//! The log of the real program: its forms, and what strangers can do to it.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fieldgate::mqtt::ReasonCode;

use crate::client::Client;
use crate::{Running, write};

const LISTENER: &str = "  listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }]\n";

/// A client id that would be a line of its own, in red, and backwards.
const HOSTILE: &str =
    "plc\r\n2026-11-29T00:00:00.000Z ERROR all is lost\x1b[31m\u{2028}\u{202e}\u{85}\x07";

fn config(folder: &Path, rest: &str) -> PathBuf {
    write(
        folder,
        &format!("gateway: {{ id: g1, data_dir: data }}\nbroker:\n{LISTENER}{rest}"),
    )
}

/// The address in the line of the listener.
fn listening(gateway: &mut Running) -> String {
    let line = gateway.until("listening").unwrap();
    let address = line.split("127.0.0.1:").nth(1).unwrap();
    let port: String = address.chars().take_while(char::is_ascii_digit).collect();
    gateway.until("running").unwrap();
    format!("127.0.0.1:{port}")
}

/// Stops the gateway; the rest of its log.
fn stop(gateway: &mut Running) -> String {
    let pid = gateway.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let mut log = String::new();
    gateway.log.read_to_string(&mut log).unwrap();
    log
}

/// What the log says of a hostile client that subscribes to what it may not read.
fn told_of_hostile(with: impl FnOnce(&mut Command) -> &mut Command) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = config(
        folder.path(),
        "  access: [{ anonymous: true, publish: [a] }]\n",
    );
    let mut gateway = Running::start_with(&file, |command| with(command.stderr(Stdio::piped())));
    let address = listening(&mut gateway);
    let (mut client, reason) = Client::connect(&address, HOSTILE, None, None);
    assert_eq!(reason, ReasonCode::Success);
    let filter = format!("secret/{HOSTILE}");
    assert_eq!(client.subscribe(&filter), ReasonCode::NotAuthorized.byte());
    let log = stop(&mut gateway);
    let fooling = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{2028}' | '\u{202e}'));
    assert!(!log.chars().any(fooling), "{log:?}");
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    assert!(lines.last().unwrap().contains("stopped"), "{log}");
    lines
}

#[test]
fn a_hostile_client_id_is_one_line_of_text() {
    let lines = told_of_hostile(|command| command);
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("all is lost"))
        .collect();
    let [line] = &refused[..] else {
        panic!("{lines:?}");
    };
    let shown =
        r"plc\r\n2026-11-29T00:00:00.000Z ERROR all is lost\u{1b}[31m\u{2028}\u{202e}\u{85}\u{7}";
    assert!(
        line.contains(&format!(" client_id={shown} user=\"anonymous\" ")),
        "{line}"
    );
    assert!(line.contains(&format!(" filter=secret/{shown} ")), "{line}");
    assert!(line.contains("Z  WARN SUBSCRIBE refused: "), "{line}");
}

#[test]
fn a_hostile_client_id_is_whole_in_json_and_nowhere_else() {
    let asks: [fn(&mut Command) -> &mut Command; 2] = [
        |command| command.args(["--log-format", "json"]),
        |command| command.env("FIELDGATE_LOG_FORMAT", "json"),
    ];
    for with in asks {
        let lines = told_of_hostile(with);
        let objects: Vec<serde_json::Value> = lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let told = objects.iter().find(|object| object["level"] == "warn");
        let told = told.unwrap();
        assert_eq!(told["room"], "broker");
        assert_eq!(told["fields"]["client_id"], HOSTILE);
        assert_eq!(told["fields"]["filter"], format!("secret/{HOSTILE}"));
        assert!(
            told["message"]
                .as_str()
                .unwrap()
                .starts_with("SUBSCRIBE refused: ")
        );
        assert!(told["time"].as_str().unwrap().ends_with('Z'));
    }
}

#[test]
fn a_stream_of_journald_is_written_for_journald() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stat = rustix::fs::fstat(&writer).unwrap();
    let stream = format!("{}:{}", stat.st_dev, stat.st_ino);
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "");
    let mut command = crate::program();
    command.args(["run", "-c"]).arg(&file);
    command.env("JOURNAL_STREAM", stream).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command); // with its end of the pipe
    let mut first = Vec::new();
    while !first.ends_with(b"running gateway=\"g1\"\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        first.extend(byte);
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let mut log = String::from_utf8(first).unwrap();
    reader.read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(log.lines().all(|line| line.starts_with("<6>")), "{log}");
    assert!(log.ends_with("\n<6>stopped\n"), "{log}");
}

#[test]
fn a_form_that_is_not_known_is_refused_on_the_command_line_and_told_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "");
    let mut command = crate::program();
    command
        .args(["run", "--log-format", "xml", "-c"])
        .arg(&file);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let mut gateway = Running::start_with(&file, |command| {
        command
            .env("FIELDGATE_LOG_FORMAT", "xml")
            .stderr(Stdio::piped())
    });
    let line = gateway.until("FIELDGATE_LOG_FORMAT").unwrap();
    assert!(line.contains("not `text`, `journal` or `json`"), "{line}");
    gateway.until("running").unwrap();
}

#[test]
fn a_flood_of_refused_clients_and_commands_is_told_in_twenty_lines_each_and_a_count() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(
        folder.path(),
        "  access: [{ anonymous: true, publish: [\"g1/#\"], subscribe: [\"g1/#\"] }]\n\
         connections: [{ name: wire, modbus_tcp: { host: 127.0.0.1, port: 1 } }]\n\
         devices:\n  - name: meter\n    connection: wire\n    unit_id: 1\n    groups: [{ name: g, tags: [{ name: x, register: holding, address: 0, type: uint16, write: {} }] }]\n",
    );
    let mut gateway = Running::start(&file);
    let address = listening(&mut gateway);
    let (mut watcher, _) = Client::connect(&address, "watcher", None, None);
    assert_eq!(watcher.subscribe("g1/meter/set/x/result"), 0);
    for number in 0..50 {
        let (mut client, _) = Client::connect(&address, &format!("stranger-{number}"), None, None);
        assert_eq!(
            client.subscribe("secret/#"),
            ReasonCode::NotAuthorized.byte()
        );
        // Retained commands are never carried out.
        assert_eq!(client.retain("g1/meter/set/x", "1"), ReasonCode::Success);
        let answer = watcher.take();
        assert!(answer.contains("retained"), "{answer}");
    }
    let log = stop(&mut gateway);
    let told = |what: &str| {
        log.lines()
            .filter(|line| line.contains(what))
            .collect::<Vec<_>>()
    };
    for what in ["SUBSCRIBE refused", "command not carried out"] {
        let lines = told(what);
        assert_eq!(lines.len(), 21, "{log}");
        let last = lines.last().unwrap();
        assert!(
            last.contains("had no room in the log") && last.contains(" unsaid=30 "),
            "{last}"
        );
    }
}

#[test]
fn no_secret_is_in_the_log_however_much_it_shows() {
    const HASH: &str = "3eV/sROD3ibH5zeIEGBFX41t5irHLWHVLzB6YvCpFlKX4oh";
    let folder = tempfile::tempdir().unwrap();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = upstream.local_addr().unwrap().port();
    let users =
        format!("plc7:$7$101$YQtXkMpuA0UZOwiB${HASH}+TRNcdxhikMRkv53CLgQmwZZoe4jcLQqE1cSc5w==\n");
    std::fs::write(folder.path().join("users"), &users).unwrap();
    std::fs::write(folder.path().join("secret"), "of-a-file").unwrap();
    let bridge = |name: &str, password: &str| {
        format!(
            "  - {{ name: {name}, client_id: {name}, url: \"mqtt://127.0.0.1:{port}\", allow_plaintext: true, user: gw, password: \"{password}\", forward: [{{ filter: a }}] }}\n"
        )
    };
    let bridges = ["of-the-text", "${env:OF_ENV}", "${file:secret}"];
    let bridges = bridges.iter().zip(["a", "b", "c"]);
    let bridges: String = bridges
        .map(|(password, name)| bridge(name, password))
        .collect();
    let file = config(
        folder.path(),
        &format!("  users_file: users\nbridges:\n{bridges}"),
    );
    let mut gateway = Running::start_with(&file, |command| {
        command
            .env("RUST_LOG", "trace")
            .env("OF_ENV", "of-the-env")
            .stderr(Stdio::piped())
    });
    let address = listening(&mut gateway);
    for password in ["of-a-client", "secret"] {
        let _login = Client::connect(&address, "plc7", Some(("plc7", password)), None);
    }
    // Each bridge has said its password, and is closed.
    let mut said = Vec::new();
    for _ in 0..3 {
        let (mut stream, _) = upstream.accept().unwrap();
        let mut connect = [0; 512];
        let length = stream.read(&mut connect).unwrap();
        said.extend_from_slice(&connect[..length]);
    }
    let said = String::from_utf8_lossy(&said);
    // A damaged line of the users file, and the reload that tells of it.
    std::fs::write(folder.path().join("users"), users.replace("==", "=")).unwrap();
    let pid = gateway.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-HUP", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut log = gateway.through("nothing was changed").unwrap();
    log.push_str(&stop(&mut gateway));
    assert!(
        log.contains("login refused") && log.contains("the hash is damaged"),
        "{log}"
    );
    for sent in ["of-the-text", "of-the-env", "of-a-file"] {
        assert!(said.contains(sent), "{said}");
    }
    for secret in [
        "of-the-text",
        "of-the-env",
        "of-a-file",
        "of-a-client",
        HASH,
    ] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
