//! What systemd is told by the real program; systemd is a socket of the test's own.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Running, write};

/// Long enough for a loaded machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Systemd(UnixDatagram);

impl Systemd {
    /// What is told up to `wanted`, that too.
    fn until(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut told = Vec::new();
        while !told.last().is_some_and(|last: &String| wanted(last)) {
            let mut text = [0; 1024];
            let length = self.0.recv(&mut text).unwrap();
            told.push(String::from_utf8(text[..length].to_vec()).unwrap());
        }
        told
    }
}

fn count(told: &[String], what: &str) -> usize {
    told.iter().filter(|text| text.starts_with(what)).count()
}

#[test]
fn systemd_is_told_that_it_is_ready_and_alive_that_it_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let systemd = Systemd(UnixDatagram::bind(&path).unwrap());
    systemd.0.set_read_timeout(Some(PATIENCE)).unwrap();
    // With something of each kind, none of which is there.
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\n\
         broker: { listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }] }\n\
         connections: [{ name: wire, modbus_tcp: { host: 127.0.0.1, port: 1 } }]\n\
         devices:\n  - name: meter\n    connection: wire\n    unit_id: 1\n    groups: [{ name: g, tags: [{ name: x, register: holding, address: 0, type: uint16 }] }]\n\
         bridges: [{ name: cloud, url: \"mqtt://127.0.0.1:1\", allow_plaintext: true, forward: [{ filter: a }] }]\n",
    );
    let mut gateway = Running::start_with(&file, |command| {
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000")
            .stderr(Stdio::piped())
    });
    let told = systemd.until(|text| text == "READY=1");
    assert!(count(&told, "EXTEND_TIMEOUT_USEC=") > 0, "{told:?}");
    gateway.until("running").unwrap();

    let told = systemd.until(|text| text.starts_with("STATUS="));
    let status = told.last().unwrap();
    assert!(
        status.contains("of 1 devices ok; bridge cloud "),
        "{status}"
    );
    for _ in 0..10 {
        systemd.until(|text| text == "WATCHDOG=1");
    }

    let pid = gateway.child.id().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.unwrap().success());
    };
    signal("-HUP");
    systemd.until(|text| {
        let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        usec.is_some_and(|usec| usec.parse::<u64>().unwrap() > 0)
    });
    systemd.until(|text| text == "READY=1");
    systemd.until(|text| text == "WATCHDOG=1");

    signal("-TERM");
    systemd.until(|text| text == "STOPPING=1");
    gateway.until("stopped").unwrap();
    assert_eq!(gateway.child.wait().unwrap().code(), Some(0));
}
