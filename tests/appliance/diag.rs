//! `fieldgate diag`: all that helps is in the bundle, and nothing that is secret, from wherever it comes.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;

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
/// Its path leads from its own folder.
const BESIDE: &str = "\
bridges:
  - { name: third, url: \"mqtts://localhost:3\", client_id: kept-beside, user: press, password: \"${file:secret}\", tls: { ca: ../own.crt }, forward: [{ filter: c }] }
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
    fs::create_dir(path("conf.d")).unwrap();
    fs::write(path("conf.d/third.yaml"), BESIDE).unwrap();
    fs::write(path("conf.d/secret"), "kept-beside\n").unwrap();
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
    for secret in key_lines.chain(["said-in-clear", "kept-outside", "kept-beside", hash]) {
        assert!(!has(&bytes, secret) && !has(&without, secret), "{secret}");
    }
}

/// As root in a folder where others may write.
#[test]
fn no_file_is_overwritten_that_was_not_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "gateway: { id: press-3, data_dir: data }\n");
    let diag = |output: &[&str]| {
        let mut command = program();
        command.arg("diag").arg("-c").arg(&file).args(output);
        command.current_dir(folder.path()).output().unwrap()
    };
    let first = diag(&["--json"]);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    let told: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(told["parts"][0]["name"], "version.txt");
    let bundle = folder.path().join(told["file"].as_str().unwrap());
    let victim = folder.path().join("victim");
    fs::write(&victim, "another's").unwrap();
    fs::remove_file(&bundle).unwrap();
    symlink(&victim, &bundle).unwrap();
    for output in [&[][..], &["-o", bundle.to_str().unwrap()]] {
        let again = diag(output);
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        assert!(text(&again.stderr).contains(bundle.file_name().unwrap().to_str().unwrap()));
        assert_eq!(fs::read(&victim).unwrap(), b"another's");
    }
}
