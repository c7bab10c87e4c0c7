//! `fieldgate user`: who may log in is changed in the file and in the gateway that runs, and no password is kept or told.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Output, Stdio};

use fieldgate::mqtt::ReasonCode;
use serde_json::Value;

use crate::client::Client;
use crate::stranger::is_root;
use crate::{Running, program, text, write};

const CONFIG: &str = "\
gateway: { id: g1, data_dir: data }
broker: { listeners: [{ name: local, bind: \"127.0.0.1:0\" }], users_file: users }
";

fn user(file: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut command = program();
    command.arg("user").args(arguments).arg("-c").arg(file);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // One that asks for nothing may have ended.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    child.wait_with_output().unwrap()
}

fn logs_in(address: &str, name: &str, password: &str) -> bool {
    let (_client, reason) = Client::connect(address, "c", Some((name, password)), None);
    reason == ReasonCode::Success
}

#[test]
fn a_user_comes_and_goes_while_the_gateway_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), CONFIG);
    let users = folder.path().join("users");
    fs::write(&users, "# ours\n").unwrap();
    let mut gateway = Running::start(&file);
    let line = gateway.until("listening").unwrap();
    let (_, address) = line.trim().rsplit_once("address=").unwrap();
    gateway.until("running").unwrap();

    let output = user(&file, &["add", "plc7", "--stdin"], "open sesame\nmore\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = text(&output.stdout);
    assert!(
        told.contains("plc7 may log in (") && told.contains("has taken it up"),
        "{told}"
    );
    assert!(!told.contains("sesame"), "{told}");
    assert!(logs_in(address, "plc7", "open sesame"));
    let kept = fs::read_to_string(&users).unwrap();
    assert!(
        kept.starts_with("# ours\nplc7:$argon2id$v=19$m=19456,t=2,p=1$"),
        "{kept}"
    );
    assert!(!kept.contains("sesame"));
    assert_eq!(
        fs::metadata(&users).unwrap().permissions().mode() & 0o777,
        0o640
    );

    let output = user(&file, &["add", "plc7", "--generate"], "");
    let told = text(&output.stdout);
    assert!(told.contains("plc7 has another password"), "{told}");
    let made = told
        .lines()
        .find_map(|line| line.strip_prefix("password, shown this once: "));
    assert!(logs_in(address, "plc7", made.unwrap()));
    assert!(!logs_in(address, "plc7", "open sesame"));

    let output = user(&file, &["list"], "");
    assert_eq!(text(&output.stdout), "plc7\n");

    is_told_where_the_gateway_does_not_take_it_up(&file, address);
    let output = user(&file, &["remove", "plc7"], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!logs_in(address, "plc7", made.unwrap()));
    assert_eq!(fs::read_to_string(&users).unwrap(), "# ours\n");
    let output = user(&file, &["list", "--json"], "");
    assert_eq!(text(&output.stdout), "[]\n");

    let told = |arguments: &[&str]| -> Value {
        let output = user(&file, arguments, "");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let added = told(&["add", "hmi", "--generate", "--json"]);
    assert!(logs_in(address, "hmi", added["password"].as_str().unwrap()));
    let wanted = (&"hmi".into(), &false.into(), &true.into());
    assert_eq!(
        (&added["user"], &added["was_there"], &added["taken_up"]),
        wanted
    );
    drop(gateway);
    let removed = told(&["remove", "hmi", "--json"]);
    assert_eq!(
        (&removed["user"], &removed["taken_up"]),
        (&"hmi".into(), &Value::Null)
    );
}

/// It goes on with who was there before, and the command does not end well.
fn is_told_where_the_gateway_does_not_take_it_up(file: &Path, address: &str) {
    let folder = file.parent().unwrap();
    write(folder, &CONFIG.replace("g1", "g2"));
    let output = user(file, &["add", "hmi", "--stdin"], "secret");
    let told = text(&output.stderr);
    assert!(told.contains("has NOT taken it up:\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!logs_in(address, "hmi", "secret"));
    let output = user(file, &["remove", "hmi", "--json"], "");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let why = told["why"].as_str().unwrap();
    assert!(
        told["taken_up"] == false && why.contains("restart"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    write(folder, CONFIG);
}

#[test]
fn a_file_is_made_without_a_gateway_and_nothing_is_changed_that_is_not_meant() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        &CONFIG.replace("127.0.0.1:0", "127.0.0.1:18883"),
    );
    let output = user(&file, &["add", "hmi", "--stdin"], "secret");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = text(&output.stdout);
    assert!(
        told.contains("no gateway is running; the next start reads it"),
        "{told}"
    );
    assert!(
        told.contains("mosquitto_pub -h 127.0.0.1 -p 18883 -u hmi -P PASSWORD"),
        "{told}"
    );
    let users = folder.path().join("users");
    let kept = fs::read(&users).unwrap();

    for (arguments, stdin, status, why) in [
        (&["add", "hmi"][..], "", 2, "say --stdin or --generate"),
        (&["add", "hmi", "--stdin"], "", 2, "a password has"),
        (&["add", "a:b", "--stdin"], "x", 2, "no `:`"),
        (&["remove", "plc7"], "", 1, "no user `plc7`"),
    ] {
        let output = user(&file, arguments, stdin);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(text(&output.stderr).contains(why), "{output:?}");
        assert_eq!(fs::read(&users).unwrap(), kept);
    }
    fs::write(&users, "old:secret\n").unwrap();
    let output = user(&file, &["add", "hmi", "--stdin"], "secret");
    let told = text(&output.stderr);
    assert!(
        told.contains("users:1: `old`") && told.contains("nothing was changed"),
        "{told}"
    );
    assert_eq!(fs::read(&users).unwrap(), b"old:secret\n");
    let file = write(
        folder.path(),
        &CONFIG.replace(" }], users_file: users", ", anonymous: true }]"),
    );
    let output = user(&file, &["list"], "");
    assert!(
        text(&output.stderr).contains("add `users_file: users`"),
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(1));
}

/// As in the package: the folder is root's to write and the service's to read, and what an editor or `cp` leaves is root's.
#[test]
fn root_adds_a_user_whom_the_service_can_read() {
    if !is_root() {
        return; // nobody else gives files away
    }
    const SERVICE: u32 = 4242;
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), None, Some(SERVICE)).unwrap();
    let file = write(folder.path(), CONFIG);
    let users = folder.path().join("users");
    for before in [None, Some("# ours\n")] {
        drop(fs::remove_file(&users));
        if let Some(text) = before {
            fs::write(&users, text).unwrap();
            fs::set_permissions(&users, fs::Permissions::from_mode(0o644)).unwrap();
        }
        user(&file, &["add", "hmi", "--stdin"], "secret");
        let found = fs::metadata(&users).unwrap();
        let (mode, owners) = (found.mode() & 0o777, (found.uid(), found.gid()));
        assert_eq!((mode, owners), (0o640, (0, SERVICE)), "{before:?}");
    }
    // One that only its owner could read is left to whom it was.
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&users, None, Some(0)).unwrap();
    user(&file, &["add", "hmi", "--stdin"], "secret");
    assert_eq!(fs::metadata(&users).unwrap().gid(), 0);
}
