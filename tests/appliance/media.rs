//! A folder that cannot be used: the gateway runs all the same, promises nothing that it cannot keep, and takes the folder
//! into use when it can. With a medium that fills up and breaks: `tests/run media`.

use std::fs;
use std::path::Path;

use fieldgate::mqtt::{Packet, QoS, ReasonCode};

use crate::client::{Client, message};
use crate::{Running, program, write};

const CONFIG: &str = r#"
gateway: { id: g1, data_dir: data }
broker: { listeners: [{ name: local, bind: "127.0.0.1:0", anonymous: true }] }
bridges:
  - name: cloud
    url: mqtt://127.0.0.1:1
    allow_plaintext: true
    forward: [{ filter: "up/#" }]
"#;

fn address_of(gateway: &mut Running) -> String {
    let line = gateway.until("INFO listening ").unwrap();
    let (_, address) = line.trim().rsplit_once("address=").expect(&line);
    address.to_owned()
}

fn status(address: &str, topic: &str, wanted: &str) {
    let (mut reader, _) = Client::connect(address, "reader", None, None);
    reader.subscribe(topic);
    loop {
        let body = reader.take();
        if body.contains(wanted) {
            return;
        }
    }
}

/// Starts on what is there, then makes it well by `heal`.
fn starts_without_and_regains(folder: &Path, heal: impl FnOnce()) {
    let file = write(folder, CONFIG);
    let mut gateway = Running::start(&file);
    gateway
        .until("the backlog of bridge cloud cannot be opened")
        .unwrap();
    gateway
        .until("sessions and retained messages cannot be opened")
        .unwrap();
    let address = address_of(&mut gateway);
    let (mut client, _) = Client::connect(&address, "c", None, None);
    assert_eq!(client.publish("up/1", "1"), ReasonCode::QuotaExceeded);
    assert_eq!(
        client.publish("local/1", "1"),
        ReasonCode::NoMatchingSubscribers
    );
    let (_, refused) = Client::connect_kept(&address, "kept");
    assert_eq!(refused, ReasonCode::ServerUnavailable);
    status(&address, "g1/$bridge/cloud", r#""store_error":""#);
    status(
        &address,
        "g1/$status",
        r#""store_error":"the backlog of bridge cloud cannot"#,
    );

    heal();
    gateway.until("starting anew").unwrap();
    let address = address_of(&mut gateway);
    let (mut client, _) = Client::connect(&address, "c", None, None);
    assert_eq!(client.publish("up/1", "1"), ReasonCode::Success);
    let (mut kept, accepted) = Client::connect_kept(&address, "kept");
    assert_eq!(accepted, ReasonCode::Success);
    kept.ping();
    status(&address, "g1/$status", r#""store_error":null"#);
    let mut retained = message("up/r", "2");
    (retained.qos, retained.retain) = (QoS::AtLeastOnce, true);
    client.send(Packet::Publish(
        retained.into_publish(fieldgate::mqtt::PacketId::new(3)),
    ));
    let Packet::Puback(puback) = client.receive() else {
        panic!("no PUBACK");
    };
    assert_eq!(puback.reason, ReasonCode::Success);
}

#[test]
fn a_file_in_place_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::write(&data, "in the way").unwrap();
    starts_without_and_regains(folder.path(), || fs::remove_file(&data).unwrap());
}

#[test]
fn files_of_a_newer_program() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    newer(&data.join("backlog/cloud/q-00000001.redb"));
    newer(&data.join("state.redb"));
    starts_without_and_regains(folder.path(), || {
        // Moved away, as the message advises.
        fs::remove_file(data.join("backlog/cloud/q-00000001.redb")).unwrap();
        fs::remove_file(data.join("state.redb")).unwrap();
    });
    assert!(data.join("state.redb").exists());
}

/// A file whose format no program has yet.
fn newer(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let database = redb::Database::create(path).unwrap();
    let table: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("meta");
    let transaction = database.begin_write().unwrap();
    let format = u32::MAX.to_le_bytes();
    let mut meta = transaction.open_table(table).unwrap();
    meta.insert(b"format".as_slice(), format.as_slice())
        .unwrap();
    drop(meta);
    transaction.commit().unwrap();
}

#[test]
fn a_second_gateway_on_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), CONFIG);
    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();
    let second = program().args(["run", "-c"]).arg(&file).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(told.contains("already running"), "{told}");
}
