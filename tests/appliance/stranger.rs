//! Another user of the machine, to whom nothing of the gateway belongs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// `nobody`, on nearly all systems; here only a number that owns nothing.
const NOBODY: u32 = 65_534;

/// Only root can become somebody else.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Takes all rights from a file. Whoever is not root is a stranger to it then, too.
pub(crate) fn forbid(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
}

/// `command` as a stranger, who may go into `folder` and read what is there.
pub(crate) fn of_a_stranger(mut command: Command, folder: &Path) -> Command {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// The program, which lies in `folder` too: not everybody may go to where it was built.
pub(crate) fn program_of_a_stranger(folder: &Path) -> Command {
    let program = folder.join("fieldgate");
    let built = env!("CARGO_BIN_EXE_fieldgate");
    if !program.exists() && fs::hard_link(built, &program).is_err() {
        fs::copy(built, &program).unwrap();
    }
    let mut command = Command::new(&program);
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    of_a_stranger(command, folder)
}
