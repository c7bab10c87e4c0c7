//! Files, ports and keys that the program cannot use: what it says of each, and how it ends. What a configuration itself may
//! have wrong is in `tests/config`.

use std::path::Path;
use std::process::Output;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::stranger::{forbid, program_of_a_stranger};
use crate::{Running, check, text, write};

/// A certificate that ends with `year`, and its key, as `certs/{name}.crt` and `.key`.
pub(crate) fn certificate(folder: &Path, name: &str, year: i32) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certs = folder.join("certs");
    std::fs::create_dir_all(&certs).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    std::fs::write(certs.join(format!("{name}.crt")), pem).unwrap();
    std::fs::write(certs.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// A listener with this certificate and key, and a bridge with them.
fn with_files(certificate: &str, key: &str) -> String {
    let files = format!("certificate: certs/{certificate}.crt, private_key: certs/{key}.key");
    format!(
        "gateway: {{ id: g1, data_dir: data }}\n\
         broker: {{ listeners: [{{ name: plant, bind: \"127.0.0.1:0\", anonymous: true, tls: {{ {files} }} }}] }}\n\
         bridges: [{{ name: cloud, url: \"mqtts://127.0.0.1:1\", tls: {{ ca: certs/{certificate}.crt, {files} }}, forward: [{{ filter: a }}] }}]\n"
    )
}

/// Ended as by a configuration at fault, with all of `parts` on stderr.
#[track_caller]
fn refused(output: &Output, parts: &[&str]) {
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    for part in parts {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_key_that_may_not_be_read_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "gateway", 2100);
    let file = write(folder.path(), &with_files("gateway", "gateway"));
    forbid(&folder.path().join("certs/gateway.key"));
    let path = "certs/gateway.key: cannot be read: Permission denied";
    let remedy = "check the path, and that the user fieldgate runs as may read it";
    let mut stranger = program_of_a_stranger(folder.path());
    let output = stranger.arg("check").arg(&file).output().unwrap();
    refused(&output, &["listener `plant`: ", path, remedy]);
    // A start tells the same, and runs without the listener.
    let mut stranger = program_of_a_stranger(folder.path());
    let mut gateway = Running::spawn(stranger.args(["run", "-c"]).arg(&file));
    let log = gateway.through("running gateway=").unwrap();
    for part in ["not listening; trying on", path, remedy] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn a_key_of_another_certificate_is_named_with_both_files() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "gateway", 2100);
    certificate(folder.path(), "other", 2100);
    let output = check(&write(folder.path(), &with_files("gateway", "other")));
    let said = "certs/other.key: is not the key of the certificate in ";
    let remedy = "certs/gateway.crt; use the key that its request was made with";
    refused(&output, &["listener `plant`: ", said, remedy]);
}

#[test]
fn a_certificate_that_has_expired_is_told_by_check_and_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "gateway", 2020);
    let file = write(folder.path(), &with_files("gateway", "gateway"));
    let output = check(&file);
    let told = text(&output.stderr);
    // The field goes on: whoever can still be reached is, and a box far away must start.
    assert_eq!(output.status.code(), Some(0), "{told}");
    let said = "certs/gateway.crt: the certificate expired ";
    for part in ["listener `plant`: ", "bridge `cloud`: "] {
        let line = told.lines().find(|line| line.contains(part));
        let line = line.unwrap_or_else(|| panic!("{part}: {told}"));
        assert!(line.contains(said), "{line}");
        assert!(line.ends_with("and nobody accepts it any more: renew it"));
    }
    let mut gateway = Running::start(&file);
    // By its listener or its bridge, whichever is first, before or after the gateway says that it runs.
    gateway.through(said).unwrap();
}

#[test]
fn a_configuration_that_may_not_be_read_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "gateway: { id: g1 }\n");
    forbid(&file);
    let mut stranger = program_of_a_stranger(folder.path());
    let output = stranger.arg("check").arg(&file).output().unwrap();
    refused(
        &output,
        &[
            "fieldgate.yaml: error[FG001]: it may not be read",
            "help: give the user of fieldgate the right",
        ],
    );
}

#[test]
fn a_serial_port_without_permission_is_told_by_hand_and_by_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("ttyS7");
    std::fs::write(&port, "").unwrap();
    forbid(&port);
    let port = port.display();
    let said = format!(
        "{port} may not be opened by this user: add it to the port's group, mostly dialout"
    );

    let mut stranger = program_of_a_stranger(folder.path());
    stranger.arg("read").arg(port.to_string());
    stranger.args(["--baud", "9600", "--unit", "1", "holding", "0"]);
    let output = stranger.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains(&said), "{output:?}");

    let file = write(
        folder.path(),
        &format!(
            "gateway: {{ id: g1, data_dir: data }}\n\
             broker: {{ listeners: [{{ name: local, bind: \"127.0.0.1:0\", anonymous: true }}] }}\n\
             connections: [{{ name: line, modbus_rtu: {{ port: \"{port}\", baud_rate: 9600 }} }}]\n\
             devices: [{{ name: meter, connection: line, unit_id: 1, groups: [{{ name: g, tags: [{{ name: x, register: holding, address: 0, type: uint16 }}] }}] }}]\n"
        ),
    );
    let mut stranger = program_of_a_stranger(folder.path());
    let probed = stranger.args(["check", "--probe"]).arg(&file).output();
    let probed = probed.unwrap();
    assert_eq!(probed.status.code(), Some(1), "{probed:?}");
    let line = format!("device meter: FAILED: {said}");
    assert!(text(&probed.stdout).contains(&line), "{probed:?}");

    // Its data folder cannot be made here either, and it runs all the same.
    let mut stranger = program_of_a_stranger(folder.path());
    let mut gateway = Running::spawn(stranger.args(["run", "-c"]).arg(&file));
    let line = gateway.until("cannot connect").unwrap();
    assert!(line.contains(&said), "{line}");
}

#[test]
fn a_file_that_is_not_there_is_named_where_the_configuration_names_it() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "gateway", 2100);
    std::fs::remove_file(folder.path().join("certs/gateway.key")).unwrap();
    let file = write(folder.path(), &with_files("gateway", "gateway"));
    let output = check(&file);
    let said = "certs/gateway.key\n";
    let (at_listener, at_bridge) = ("fieldgate.yaml:2:128: ", "fieldgate.yaml:3:129: ");
    refused(
        &output,
        &[
            "error[FG050]: there is no file ",
            said,
            at_listener,
            at_bridge,
        ],
    );
}
