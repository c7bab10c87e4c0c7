//! Writing a file that others read while it is written: whole or not at all, over a power cut too.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Its owner.
    Owner,
    /// Its owner and group.
    Group,
    /// Everybody.
    All,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
            Self::All => 0o644,
        }
    }
}

/// Puts `content` in the place of `path`, which keeps its owner and group; one that is new gets those of the file, or
/// the folder, `like`. A symbolic link stays one: what it names is replaced.
pub(super) fn replace(
    path: &Path,
    content: &[u8],
    readers: Readers,
    like: &Path,
) -> io::Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = folder_of(&path);
    let owner = fs::metadata(&path).or_else(|_| fs::metadata(like));
    let next = beside(&path, "tmp");
    // One that a command left behind that was killed. Made anew, so that it is nobody else's, nor a link.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    let written = (|| {
        file.write_all(content)?;
        if let Ok(owner) = owner {
            own(&next, owner.uid(), owner.gid())?;
        }
        file.set_permissions(Permissions::from_mode(readers.mode()))?;
        file.sync_all()?;
        fs::rename(&next, &path)
    })();
    if let Err(error) = written {
        fs::remove_file(&next).unwrap_or_default(); // what went wrong before counts
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Only root may give a file away; whoever else writes here has it anyway.
fn own(path: &Path, user: u32, group: u32) -> io::Result<()> {
    let made = fs::metadata(path)?;
    if (made.uid(), made.gid()) == (user, group) {
        return Ok(());
    }
    chown(path, Some(user), Some(group)).or_else(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => chown(path, None, Some(group)),
        _ => Err(error),
    })
}

/// `certs/device.key` with `new`: `certs/device.key.new`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_rights_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("users"), folder.path().join("link"));
        replace(&path, b"one", Readers::Group, folder.path()).unwrap();
        symlink(&path, &link).unwrap();
        fs::write(beside(&path, "tmp"), "left behind").unwrap();
        replace(&link, b"two", Readers::Group, folder.path()).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o777, 0o640);
        let owner = fs::metadata(folder.path()).unwrap();
        assert_eq!((found.uid(), found.gid()), (owner.uid(), owner.gid()));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            2,
            "nothing is left"
        );
        replace(
            &folder.path().join("no/users"),
            b"",
            Readers::All,
            folder.path(),
        )
        .unwrap_err();
    }
}
