//! `fieldgate diag`: all that helps is in the bundle, and nothing that is secret, from wherever it comes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::{Running, program, text, write};

const CONFIG: &str = "\
gateway: { id: press-3, data_dir: data }
broker:
  listeners: [{ name: plant, bind: \"127.0.0.1:0\", tls: { certificate: own.crt, private_key: own.key } }]
  users_file: users
bridges:
  - name: cloud
    url: mqtts://localhost:1
    user: press
    password: said-in-clear
    tls: { ca: own.crt }
    forward: [{ filter: a }]
  - { name: other, url: \"mqtts://localhost:2\", user: press, password: \"${env:FIELDGATE_TEST_PASSWORD}\", tls: { ca: own.crt }, forward: [{ filter: b }] }
";
const HASH: &str = "$6$Cp7rjNmIkJhL7/kg$/zoeXYyUrI1FuiyYun5DQw55PtdLJNRqvQfzqBnEVcL83b8ao56OD8kD1/7VWFyV45yixeOzBpItha6AEh7Phw==";

#[test]
fn the_bundle_has_what_helps_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = signing_key.serialize_pem();
    fs::write(path("own.crt"), cert.pem()).unwrap();
    fs::write(path("own.key"), &key).unwrap();
    fs::write(path("users"), format!("plc7:{HASH}\n")).unwrap();
    let file = write(folder.path(), CONFIG);
    let bundle = path("bundle.tar");
    let diag = || {
        let mut command = program();
        command
            .arg("diag")
            .arg("-c")
            .arg(&file)
            .arg("-o")
            .arg(&bundle);
        command.env("FIELDGATE_TEST_PASSWORD", "kept-outside");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told = text(&output.stdout).to_owned();
        (told, fs::read(&bundle).unwrap())
    };
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
    let (told, without) = diag();
    assert!(
        told.contains("config/fieldgate.yaml") && told.contains("state.json"),
        "{told}"
    );
    assert!(has(&without, "no gateway is running"));
    assert_eq!(
        fs::metadata(&bundle).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let mut command = program();
    command.args(["run", "-c"]).arg(&file);
    command.env("FIELDGATE_TEST_PASSWORD", "kept-outside");
    let mut gateway = Running::spawn(&mut command);
    gateway.until("running").unwrap();
    let (_, bytes) = diag();
    for text in [
        "\"gateway\":\"press-3\"",
        "fieldgate-diag/users.txt",
        "plc7",
        "password: ***\n",
        "CN=rcgen self signed cert",
        "== /proc/meminfo",
    ] {
        assert!(has(&bytes, text), "{text}");
    }
    let key_lines = key.lines().filter(|line| !line.starts_with('-'));
    let hash = HASH.split('$').next_back().unwrap();
    for secret in key_lines.chain(["said-in-clear", "kept-outside", hash]) {
        assert!(!has(&bytes, secret) && !has(&without, secret), "{secret}");
    }
}
