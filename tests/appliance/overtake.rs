//! `live_first`: what comes during an outage follows as late, what is new after it goes as it came.

use std::net::TcpListener;

use fieldgate::mqtt::{Publish, ReasonCode};

use crate::client::Client;
use crate::{Running, write};

fn late(publish: &Publish) -> Option<u64> {
    let properties = publish.properties.as_ref()?;
    let mut marks = properties.user_properties.iter();
    let (_, came) = marks.find(|(name, _)| name == "fieldgate-late")?;
    Some(came.parse().unwrap())
}

#[test]
fn what_waited_follows_as_late_and_what_is_new_does_not_wait() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = upstream.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        &format!(
            "gateway: {{ id: g1, data_dir: data }}
broker: {{ listeners: [{{ name: local, bind: \"127.0.0.1:0\", anonymous: true }}] }}
bridges:
  - name: cloud
    url: \"mqtt://127.0.0.1:{port}\"
    allow_plaintext: true
    forward: [{{ filter: \"plant/#\", live_first: true }}]
    backlog: {{ late_share: 10 }}
"
        ),
    );
    let mut gateway = Running::start(&file);
    let line = gateway.until("listening").unwrap();
    let (_, address) = line.trim().rsplit_once("address=").unwrap();
    let (mut plc, reason) = Client::connect(address, "plc", None, None);
    assert_eq!(reason, ReasonCode::Success);
    // Nobody has answered the bridge yet.
    for number in 0..3 {
        assert_eq!(
            plc.retain("plant/press", &number.to_string()),
            ReasonCode::Success
        );
    }
    let mut upstream = Client::accept(&upstream);
    let mut payloads = Vec::new();
    for _ in 0..3 {
        let publish = upstream.take_up();
        assert!(late(&publish).is_some_and(|came| came > 1_700_000_000_000));
        assert!(!publish.retain, "it would replace what overtook it");
        payloads.push(publish.payload);
    }
    assert_eq!(payloads, ["0", "1", "2"]);
    gateway.until("connected to the upstream").unwrap();
    // The broker hears of the link a moment later.
    let mut number = 3;
    let live = loop {
        plc.send_retained("plant/press", &number.to_string());
        let publish = upstream.take_up();
        assert_eq!(publish.payload, number.to_string());
        plc.answered();
        number += 1;
        if late(&publish).is_none() {
            break publish;
        }
    };
    assert!(live.retain);
    assert!(folder.path().join("data/backlog/cloud/live").is_dir());
}
