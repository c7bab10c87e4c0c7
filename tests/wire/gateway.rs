//! The whole program in a process of its own, with its configuration file and its folder of data: for what only that has.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::client::Client;
use crate::packet::{Connack, Connect, Version};

/// Everybody may do everything, but sees nothing of what the program itself says.
const ACL: &str = "\
topic readwrite #
topic deny g1/#
topic readwrite $mine/#
topic readwrite $a/#
user plant
topic readwrite #
topic deny g1/#
";

/// A running program; killed when dropped.
pub struct Gateway {
    folder: TempDir,
    child: Child,
    /// Of the listeners, in the order of the configuration.
    addresses: Vec<SocketAddr>,
}

impl Gateway {
    /// With one listener for everybody.
    pub fn start() -> Self {
        Self::with(&["anonymous: true"], "")
    }

    /// With listeners of these keys, and more keys of `broker` as YAML lines.
    pub fn with(listeners: &[&str], broker: &str) -> Self {
        Self::full(listeners, broker, "")
    }

    /// And with this text in a file `users` beside the configuration, and a file `acl`.
    pub fn full(listeners: &[&str], broker: &str, users: &str) -> Self {
        Self::named("id: g1, ", listeners, broker, users)
    }

    /// A broker that is no gateway: it has no id.
    pub fn nameless(broker: &str) -> Self {
        Self::named("", &["anonymous: true"], broker, "")
    }

    fn named(id: &str, listeners: &[&str], broker: &str, users: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut text = format!("gateway: {{ {id}data_dir: data }}\nbroker:\n  listeners:\n");
        for (number, keys) in listeners.iter().enumerate() {
            writeln!(
                text,
                "    - {{ name: l{number}, bind: \"127.0.0.1:0\", {keys} }}"
            )
            .unwrap();
        }
        for line in broker.lines() {
            writeln!(text, "  {line}").unwrap();
        }
        text.push_str("store: { commit_interval: 10ms }\n");
        std::fs::write(folder.path().join("fieldgate.yaml"), text).unwrap();
        std::fs::write(folder.path().join("users"), users).unwrap();
        std::fs::write(folder.path().join("acl"), ACL).unwrap();
        let (child, addresses) = launch(&folder, listeners.len());
        Self {
            folder,
            child,
            addresses,
        }
    }

    /// SIGKILL, and a new start on the same data.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.addresses) = launch(&self.folder, self.addresses.len());
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
    }

    pub fn address(&self, listener: usize) -> SocketAddr {
        self.addresses[listener]
    }

    /// A socket to a listener.
    pub fn socket(&self, listener: usize) -> TcpStream {
        TcpStream::connect(self.address(listener)).unwrap()
    }

    /// CONNECT sent, and the CONNACK whatever it says.
    pub fn try_connect(&self, connect: &Connect) -> (Client, Connack) {
        let mut client = Client::over(self.socket(0), connect.version);
        client.send(&connect.bytes());
        let connack = client.connack();
        (client, connack)
    }

    /// A client that was let in.
    pub fn connect(&self, connect: &Connect) -> Client {
        let (client, connack) = self.try_connect(connect);
        assert_eq!(connack.code, 0, "{connack:?}");
        client
    }

    /// A clean client that was let in.
    pub fn client(&self, version: Version, client_id: &str) -> Client {
        self.connect(&Connect::new(version, client_id))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself; what it said stands on the test's own stderr.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts it and reads where it listens, as its log says.
fn launch(folder: &TempDir, listeners: usize) -> (Child, Vec<SocketAddr>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fieldgate"))
        .args(["run", "-c", "fieldgate.yaml"])
        .current_dir(folder.path())
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut addresses = Vec::new();
    let mut said = String::new();
    while addresses.len() < listeners {
        let mut line = String::new();
        let len = log.read_line(&mut line).unwrap();
        assert_ne!(len, 0, "the program does not start: {said}");
        said.push_str(&line);
        let address = line.split_once("address=").map(|(_, rest)| rest);
        if let Some(address) = address.filter(|_| line.contains(" listening ")) {
            let address = address.split_whitespace().next().unwrap();
            addresses.push(address.parse().unwrap());
        }
    }
    // Somebody has to read on, or a full pipe stops the program.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
    (child, addresses)
}
