//! The programs that stand between a publisher and the upstream, each with a bridge and as durable as it can be set.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::meter::Written;

/// Messages that the publisher, and the bridge, may have in flight.
pub const WINDOW: u16 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Fieldgate,
    /// Saves all it has after each change, or, where that is false, each second.
    Mosquitto {
        on_changes: bool,
    },
}

impl Peer {
    pub const ALL: [Self; 3] = [
        Self::Fieldgate,
        Self::Mosquitto { on_changes: false },
        Self::Mosquitto { on_changes: true },
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Fieldgate => "fieldgate",
            Self::Mosquitto { on_changes: true } => "Mosquitto, autosave_on_changes 1",
            Self::Mosquitto { on_changes: false } => "Mosquitto, autosave_interval 1",
        }
    }

    /// Whether it is here.
    pub fn is_installed(self) -> bool {
        let is_there = |folder| Path::new(folder).join("mosquitto").exists();
        let path = std::env::var("PATH").unwrap_or_default();
        self == Self::Fieldgate
            || path
                .split(':')
                .chain(["/usr/sbin", "/usr/local/sbin"])
                .any(is_there)
    }

    fn config(self, folder: &Path, port: u16, upstream: u16) -> String {
        let folder = folder.display();
        match self {
            Self::Fieldgate => format!(
                r#"
gateway: {{ id: bench, data_dir: "{folder}/data" }}
broker:
  listeners:
    - {{ name: bench, bind: "127.0.0.1:{port}", anonymous: true }}
  limits: {{ inflight: {WINDOW} }}
bridges:
  - name: cloud
    url: mqtt://127.0.0.1:{upstream}
    allow_plaintext: true
    inflight: {WINDOW}
    backoff: {{ min: 1s, max: 1s }}
    forward:
      - filter: "plant/#"
"#
            ),
            // As root it would else become a user who may not write into the folder.
            Self::Mosquitto { on_changes } => format!(
                "
listener {port} 127.0.0.1
allow_anonymous true
user root
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes {on_changes}
set_tcp_nodelay true
max_inflight_messages {WINDOW}
max_queued_messages 0
max_queued_bytes 0
connection cloud
address 127.0.0.1:{upstream}
topic plant/# out 1
bridge_protocol_version mqttv50
bridge_attempt_unsubscribe false
try_private false
notifications false
cleansession false
restart_timeout 1
"
            ),
        }
    }

    fn command(self, config: &Path) -> Command {
        let mut command = match self {
            Self::Fieldgate => Command::new(env!("CARGO_BIN_EXE_fieldgate")),
            Self::Mosquitto { .. } => Command::new("mosquitto"),
        };
        command.args(if self == Self::Fieldgate {
            &["run", "-c"][..]
        } else {
            &["-c"]
        });
        // Debian keeps mosquitto in /usr/sbin, which is not on everybody's path.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
        command
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// One that runs, until it is dropped.
#[derive(Debug)]
pub struct Running {
    pub port: u16,
    /// Where its bridge will find the upstream.
    pub upstream: u16,
    process: Child,
    _folder: TempDir,
}

impl Running {
    pub fn start(peer: Peer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, upstream) = (free_port(), free_port());
        let config = folder.path().join("config.yaml");
        fs::write(&config, peer.config(folder.path(), port, upstream)).unwrap();
        Self {
            port,
            upstream,
            process: peer.command(&config).spawn().unwrap(),
            _folder: folder,
        }
    }

    pub fn written(&self) -> Written {
        Written::of(&self.process.id().to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn free_port() -> u16 {
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    bound.local_addr().unwrap().port()
}
