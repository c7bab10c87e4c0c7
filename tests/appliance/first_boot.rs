//! What a gateway shows to others as it comes: on the network, in its files, on its control socket.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::client::Client;
use crate::stranger::{is_root, of_a_stranger, program_of_a_stranger};
use crate::{Running, check, program, text, write};

/// Local addresses, as the kernel writes them, of the TCP and UDP sockets of a process that others can send to.
fn reachable(pid: u32) -> Vec<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let own: HashSet<String> = files
        .filter_map(|file| fs::read_link(file.unwrap().path()).ok())
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.to_owned()))
        .map(|inode| inode.trim_end_matches(']').to_owned())
        .collect();
    let mut found = Vec::new();
    for (table, listening) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let sockets = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in sockets.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == listening && own.contains(fields[9]) {
                found.push(format!("{table} {}", fields[1]));
            }
        }
    }
    found
}

/// 127.0.0.1 as little endian machines write it, and as big endian ones do.
fn is_loopback(socket: &str) -> bool {
    socket.starts_with("tcp 0100007F:") || socket.starts_with("tcp 7F000001:")
}

/// The shipped file as it is, but for its port, which may be somebody's.
fn shipped(folder: &Path) -> PathBuf {
    let text = fs::read_to_string("config/fieldgate.yaml").unwrap();
    let free = text.replace("bind: 127.0.0.1:1883", "bind: 127.0.0.1:0");
    assert_ne!(text, free);
    let file = folder.join("fieldgate.yaml");
    fs::write(&file, free).unwrap();
    file
}

#[test]
fn a_fresh_install_can_be_reached_from_its_own_machine_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = shipped(folder.path());
    let mut gateway = Running::start_with(&file, |command| command.current_dir(folder.path()));
    gateway.until("running").unwrap();
    let found = reachable(gateway.child.id());
    assert!(!found.is_empty(), "not even its listener");
    let strange: Vec<_> = found.iter().filter(|at| !is_loopback(at)).collect();
    assert!(strange.is_empty(), "{found:?}");
    for other in [
        "tcp 00000000:075B",
        "tcp 0201A8C0:075B",
        "tcp6 ::",
        "udp 0100007F:14E9",
    ] {
        assert!(!is_loopback(other), "{other}");
    }
}

#[test]
fn a_listener_beyond_loopback_where_nobody_need_log_in_has_to_be_meant() {
    let folder = tempfile::tempdir().unwrap();
    let open = "broker: { listeners: [{ name: plant, bind: \"0.0.0.0:1883\" }] }\n";
    let output = check(&write(folder.path(), open));
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    assert!(told.contains("FG018]: nobody can log in here"), "{told}");
    let meant = open.replace("\" }", "\", anonymous: true }");
    let output = check(&write(folder.path(), &meant));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// As the unit says it.
fn umask() -> String {
    let unit = fs::read_to_string("systemd/fieldgate.service").unwrap();
    let umask = unit.lines().find_map(|line| line.strip_prefix("UMask="));
    umask.expect("a umask").to_owned()
}

fn all_below(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_below(&path, into);
        }
        into.push(path);
    }
}

#[test]
fn what_the_service_keeps_is_for_its_own_user() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\n\
         broker: { listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }] }\n\
         bridges: [{ name: cloud, url: \"mqtt://127.0.0.1:1\", allow_plaintext: true, forward: [{ filter: a }] }]\n",
    );
    let mut command = Command::new("sh");
    let script = format!("umask {}; exec \"$@\"", umask());
    command.args(["-c", &script, "sh"]);
    command
        .arg(program().get_program())
        .args(["run", "-c"])
        .arg(&file);
    let mut gateway = Running::spawn(&mut command);
    let line = gateway.until("listening").unwrap();
    let (_, address) = line.trim().rsplit_once("address=").unwrap();
    let address = address.to_owned();
    gateway.until("running").unwrap();
    let (mut client, _) = Client::connect_kept(&address, "kept");
    client.retain("a", "secret");

    let data = folder.path().join("data");
    let mut files = vec![data.clone()];
    all_below(&data, &mut files);
    assert!(files.len() > 8, "{files:?}");
    for path in &files {
        let Ok(found) = fs::symlink_metadata(path) else {
            continue; // Renamed meanwhile: it was being made.
        };
        // The socket is for the group, too, and asks who it is; it lies in a folder that is not.
        let allowed = if found.file_type().is_socket() {
            0o770
        } else {
            0o700
        };
        let mode = found.permissions().mode() & 0o777;
        assert_eq!(mode & !allowed, 0, "{}: {mode:o}", path.display());
    }
    if is_root() {
        let mut list = Command::new("ls");
        list.arg(&data).stderr(Stdio::null());
        let listed = of_a_stranger(list, folder.path()).status().unwrap();
        assert!(!listed.success());
    }
}

#[test]
fn the_control_socket_answers_nobody_else_whatever_the_rights_of_its_file() {
    if !is_root() {
        return; // Nobody can become somebody else.
    }
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "gateway: { id: g1, data_dir: data }\n\
         broker: { listeners: [{ name: local, bind: \"127.0.0.1:0\", anonymous: true }] }\n",
    );
    let mut gateway = Running::start(&file);
    gateway.until("running").unwrap();
    let socket = folder.path().join("data/control.sock");
    let refused = |command: &str| {
        let mut stranger = program_of_a_stranger(folder.path());
        stranger.arg(command).arg("--socket").arg(&socket);
        let output = stranger.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        text(&output.stderr).to_owned()
    };
    let told = refused("status");
    assert!(told.contains("this user may not ask the gateway"), "{told}");
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    refused("status");
    refused("reload");
    let mut own = program();
    let asked = own.arg("status").arg("--socket").arg(&socket).output();
    assert_eq!(asked.unwrap().status.code(), Some(0));
    let pid = gateway.child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let log = gateway.through("stopped").unwrap();
    assert!(!log.contains("control socket"), "{log}");
}
