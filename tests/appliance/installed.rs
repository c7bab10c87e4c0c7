//! Commands by hand where the package is installed: the configuration means what it means to the service, and whoever may
//! see nothing of it is told so. In a file system of its own, which only root can make.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::stranger::{is_root, program_of_a_stranger};
use crate::{Running, text, write};

const CONFIG: &str = "\
gateway: { id: \"${env:SITE}\" }
broker: { listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }] }
";

/// As the package leaves it, with the folder's file; then runs what follows.
const INSTALL: &str = "\
mount -t tmpfs none /run && mount -t tmpfs none /etc && mount -t tmpfs none /var/lib &&
mkdir -m 0750 /run/fieldgate /etc/fieldgate && mkdir -m 0700 /var/lib/fieldgate && mkdir /etc/default &&
cp \"$1\" /etc/fieldgate/ && echo 'SITE=\"plant 3\"' >/etc/default/fieldgate && shift && exec \"$@\"
";

/// `program` with these arguments where the package is installed.
fn installed(folder: &Path, words: &[&str]) -> Command {
    let file = write(folder, CONFIG);
    program_of_a_stranger(folder); // puts it there
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", INSTALL, "sh"]);
    command.arg(file).args(words).stdin(Stdio::null());
    command.current_dir(folder);
    command
}

/// Whether there can be such a file system here: a container may forbid it.
fn is_possible() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    is_root() && tried.is_ok_and(|tried| tried.status.success())
}

fn output(mut command: Command) -> Output {
    command.output().unwrap()
}

const CONFIGURATION: &str = "/etc/fieldgate/fieldgate.yaml";

#[test]
fn the_configuration_means_by_hand_what_it_means_to_the_service() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["./fieldgate", "check"][..],
        &["./fieldgate", "check", CONFIGURATION],
    ] {
        let checked = output(installed(folder.path(), words));
        let told = text(&checked.stdout);
        assert!(
            told.contains("gateway plant 3, data in /var/lib/fieldgate\n"),
            "{checked:?}"
        );
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }

    let service = [
        "env",
        "STATE_DIRECTORY=/var/lib/fieldgate",
        "RUNTIME_DIRECTORY=/run/fieldgate",
        "SITE=plant 3",
        "./fieldgate",
        "run",
    ];
    let mut gateway = Running::spawn(&mut installed(folder.path(), &service));
    gateway.until("running").unwrap();
    let target = gateway.child.id().to_string();
    for named in [&[][..], &["-c", CONFIGURATION]] {
        let mut status = Command::new("nsenter");
        status.args(["--mount", "--target", &target]);
        status.arg(folder.path().join("fieldgate")).arg("status");
        let status = output({
            status.args(named);
            status
        });
        assert!(text(&status.stdout).contains("plant 3"), "{status:?}");
        assert_eq!(status.status.code(), Some(0), "{status:?}");
    }
}

#[test]
fn whoever_may_not_ask_the_service_is_told_so() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let stranger = |words: &[&str]| {
        let nobody = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        output(installed(folder.path(), &[&nobody[..], words].concat()))
    };
    let status = stranger(&["./fieldgate", "status"]);
    let told = text(&status.stderr);
    assert!(told.contains("this user may not ask the gateway"), "{told}");
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let checked = stranger(&["./fieldgate", "check"]);
    let told = text(&checked.stderr);
    assert!(
        told.contains(CONFIGURATION) && told.contains("it may not be read"),
        "{told}"
    );
}
