//! Who may do what, in the real program: users, rules, and both changed by SIGHUP while clients are there.

use std::path::{Path, PathBuf};
use std::process::Command;

use fieldgate::mqtt::{Packet, ReasonCode};

use crate::client::{Client, message};
use crate::{Running, check, program, text, write};

/// `plc7` and `admin` with the password "secret", by mosquitto_passwd.
pub(crate) const PLC7: &str = "plc7:$7$101$YQtXkMpuA0UZOwiB$3eV/sROD3ibH5zeIEGBFX41t5irHLWHVLzB6YvCpFlKX4oh+TRNcdxhikMRkv53CLgQmwZZoe4jcLQqE1cSc5w==\n";
const ADMIN: &str = "admin:$6$Cp7rjNmIkJhL7/kg$/zoeXYyUrI1FuiyYun5DQw55PtdLJNRqvQfzqBnEVcL83b8ao56OD8kD1/7VWFyV45yixeOzBpItha6AEh7Phw==\n";

const RULES: &str = r##"  access:
    - { user: admin, publish: ["#"], subscribe: ["#", "$SYS/#"] }
    - { user: plc7, publish: ["plant/{user}/#"], subscribe: ["plant/+/status"] }
"##;

struct Site {
    folder: tempfile::TempDir,
    file: PathBuf,
    gateway: Running,
    address: String,
}

fn config(rest: &str) -> String {
    format!(
        "gateway: {{ id: g1, data_dir: data }}\nbroker:\n  listeners: [{{ name: local, bind: \"127.0.0.1:0\", anonymous: true }}]\n  users_file: users\n{rest}"
    )
}

impl Site {
    fn start(rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("users"), format!("{PLC7}{ADMIN}")).unwrap();
        let file = write(folder.path(), &config(rest));
        let mut gateway = Running::start(&file);
        let line = gateway.until("listening").unwrap();
        let (_, address) = line.trim().rsplit_once("address=").unwrap();
        let address = address.to_owned();
        gateway.until("running").unwrap();
        Self {
            folder,
            file,
            gateway,
            address,
        }
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn configure(&self, rest: &str) {
        std::fs::write(&self.file, config(rest)).unwrap();
    }

    /// SIGHUP; gives the log through the line with `wanted` in it, which says how it went.
    fn reload(&mut self, wanted: &str) -> String {
        let pid = self.gateway.child.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.unwrap().success());
        self.gateway.through(wanted).unwrap()
    }

    fn login(&self, user: &str) -> (Client, ReasonCode) {
        let login = Some((user, "secret"));
        Client::connect(&self.address, &format!("{user}-1"), login, None)
    }

    fn client(&self, user: &str) -> Client {
        let (client, reason) = self.login(user);
        assert_eq!(reason, ReasonCode::Success);
        client
    }
}

#[track_caller]
fn accepted(reason: ReasonCode) {
    assert!(!reason.is_error(), "{reason:?}");
}

#[test]
fn rules_hold_at_publish_subscribe_will_and_delivery() {
    let site = Site::start(RULES);
    let mut admin = site.client("admin");
    let mut plc7 = site.client("plc7");
    accepted(plc7.publish("plant/plc7/power", "1"));
    assert_eq!(
        plc7.publish("plant/plc8/power", "1"),
        ReasonCode::NotAuthorized
    );
    assert_eq!(
        plc7.subscribe("plant/plc7/#"),
        0,
        "of all below only status may be read"
    );
    assert_eq!(plc7.subscribe("other/#"), ReasonCode::NotAuthorized.byte());
    assert_eq!(plc7.subscribe("$SYS/#"), ReasonCode::NotAuthorized.byte());
    accepted(admin.publish("plant/plc7/power", "hidden"));
    accepted(admin.publish("plant/plc7/status", "shown"));
    assert_eq!(plc7.take(), "shown");
    let login = Some(("plc7", "secret"));
    let will = |topic| Some(message(topic, "gone"));
    let (_, reason) = Client::connect(&site.address, "w1", login, will("plant/plc8/x"));
    assert_eq!(reason, ReasonCode::NotAuthorized);
    let (_, reason) = Client::connect(&site.address, "w2", login, will("plant/plc7/x"));
    assert_eq!(reason, ReasonCode::Success);
    let (_, reason) = Client::connect(&site.address, "p", Some(("plc7", "wrong")), None);
    assert_eq!(reason, ReasonCode::BadUserNameOrPassword);
    let (mut anonymous, reason) = Client::connect(&site.address, "a", None, None);
    assert_eq!(reason, ReasonCode::Success);
    accepted(anonymous.publish("g1/dev/power", "1"));
    assert_eq!(
        anonymous.publish("g1/dev/set/mode", "1"),
        ReasonCode::NotAuthorized
    );
}

#[test]
fn sighup_revokes_at_once_what_a_client_may_do() {
    let mut site = Site::start(RULES);
    let mut admin = site.client("admin");
    let mut plc7 = site.client("plc7");
    assert_eq!(plc7.subscribe("plant/+/status"), 0);
    accepted(admin.publish("plant/a/status", "before"));
    assert_eq!(plc7.take(), "before");
    accepted(plc7.publish("plant/plc7/x", "1"));

    site.configure(
        &RULES
            .replace("plant/{user}", "elsewhere")
            .replace("plant/+/status", "elsewhere"),
    );
    site.reload("count from now on");
    assert_eq!(plc7.publish("plant/plc7/x", "2"), ReasonCode::NotAuthorized);
    accepted(plc7.publish("elsewhere/x", "2"));
    accepted(admin.publish("plant/a/status", "after"));
    plc7.ping();

    site.configure(RULES);
    site.reload("count from now on");
    accepted(admin.publish("plant/a/status", "again"));
    assert_eq!(plc7.take(), "again", "the subscription has stayed");
}

#[test]
fn sighup_ends_who_is_no_user_any_more() {
    let mut site = Site::start(RULES);
    let mut admin = site.client("admin");
    let mut plc7 = site.client("plc7");
    site.put("users", ADMIN);
    site.reload("count from now on");
    let Some(Packet::Disconnect(disconnect)) = plc7.next() else {
        panic!("no DISCONNECT");
    };
    assert_eq!(disconnect.reason, ReasonCode::NotAuthorized);
    assert_eq!(plc7.next(), None);
    assert_eq!(site.login("plc7").1, ReasonCode::BadUserNameOrPassword);
    admin.ping();
    // The password of another user under the old name is another login.
    let (_, hash) = PLC7.split_once(':').unwrap();
    site.put("users", &format!("admin:{hash}"));
    site.reload("count from now on");
    assert!(matches!(admin.next(), Some(Packet::Disconnect(_))));
}

#[test]
fn a_reload_with_a_fault_changes_nothing_and_tells_it_as_check_does() {
    let mut site = Site::start(RULES);
    let mut plc7 = site.client("plc7");
    for (name, fault) in [
        ("fieldgate.yaml", "broker: { acces: [] }\n"),
        ("users", "admin:secret\n"),
    ] {
        let path = site.folder.path().join(name);
        let good = std::fs::read_to_string(&path).unwrap();
        site.put(name, fault);
        site.reload("nothing was changed");
        let told = text(&check(&site.file).stderr).to_owned();
        accepted(plc7.publish("plant/plc7/x", "1"));
        site.put(name, &good);
        let log = site.reload("count from now on");
        let log = log.replace("\n    ", "\n");
        assert!(log.contains(told.trim()), "{log}\n{told}");
    }
    site.client("admin");
}

#[test]
fn what_else_was_changed_is_named() {
    let mut site = Site::start(RULES);
    site.configure(&format!(
        "{RULES}  limits: {{ inflight: 5 }}\nstore: {{ hold_bytes: 1MiB }}\n"
    ));
    let line = site.reload("needs a restart");
    assert!(
        line.contains("needs a restart: broker.limits, store"),
        "{line}"
    );
    site.gateway.until("count from now on").unwrap();
}

#[test]
fn a_mosquitto_acl_file_is_read_and_its_faults_told() {
    let mut site = Site::start("");
    site.put("acl", "user plc7\ntopic write mine\n\npattern read to/%u\n");
    site.configure("  mosquitto_acl_file: acl\n");
    let mut plc7 = site.client("plc7");
    accepted(plc7.publish("other", "1"));
    site.reload("count from now on");
    assert_eq!(plc7.publish("other", "1"), ReasonCode::NotAuthorized);
    accepted(plc7.publish("mine", "1"));
    assert_eq!(plc7.subscribe("to/plc7"), 0);
    assert_eq!(plc7.subscribe("to/admin"), ReasonCode::NotAuthorized.byte());
    site.put("acl", "user plc7\ntopic raed x\n");
    let output = check(&site.file);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    assert!(told.contains("acl:2: `raed` is none of"), "{told}");
}

/// With one command: who may do what is part of what `check` says.
#[test]
fn check_says_whose_rules_hold() {
    let folder = tempfile::tempdir().unwrap();
    let said = |rest: &str| {
        std::fs::write(folder.path().join("users"), PLC7).unwrap();
        let file = write(folder.path(), &config(rest));
        let output = program()
            .arg("check")
            .arg(Path::new(&file))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    assert!(said("").contains("access: no rules"));
    let rules = "  access: [{ user: plc7, publish: [a] }]\n";
    assert!(said(rules).contains("access: 1 entries"));
}
