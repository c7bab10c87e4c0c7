//! Writing a file that others read while it is written: whole or not at all, over a power cut too.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// The group of root: nobody else is in it.
const ROOT: u32 = 0;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Its owner and group.
    Group,
    /// Everybody.
    All,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Self::Group => 0o640,
            Self::All => 0o644,
        }
    }
}

/// Puts `content` in the place of `path`, with the owner and group that [`owners`] says. A symbolic link stays one: what it
/// names is replaced.
pub(super) fn replace(
    path: &Path,
    content: &[u8],
    readers: Readers,
    like: &Path,
) -> io::Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let owners = owners(&path, readers, like);
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
        if let Some(owners) = owners {
            owners.take(&next)?;
        }
        file.set_permissions(Permissions::from_mode(readers.mode()))?;
        file.sync_all()?;
        fs::rename(&next, &path)
    })();
    if let Err(error) = written {
        fs::remove_file(&next).unwrap_or_default(); // what went wrong before counts
        return Err(error);
    }
    File::open(folder_of(&path))?.sync_all()
}

/// Makes the file `path` for whoever gives the command, alone. In a folder where others may write, as /tmp, a name may be
/// planted: no link is followed, and nobody's file is written into. One that is there already is replaced only where
/// `may_replace`, and only a plain file.
pub(super) fn create(path: &Path, content: &[u8], may_replace: bool) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if may_replace && found.is_file() => fs::remove_file(path)?,
        Ok(_) if may_replace => {
            let why = "it is a link, or no file, and is left as it is; name another";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        _ => {} // made anew, or not at all
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.inspect_err(|_| fs::remove_file(path).unwrap_or_default())
}

/// Whose a file shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owners {
    user: u32,
    group: u32,
    /// It was theirs before; one that is new need not be.
    are_kept: bool,
}

/// A file keeps its owner and group; one that is new is of whom its folder is. In the group has to be who reads it, which is
/// the service, while the command is given by root. So where root's group would shut others out who could read the old
/// one, or may read what lies around, it is the group of the file, or folder, `like`, or else of the folder. What
/// everybody may read does not tell by its group who has to, and comes last.
fn owners(path: &Path, readers: Readers, like: &Path) -> Option<Owners> {
    let is_open = |found: &fs::Metadata| found.mode() & 0o004 != 0;
    let folder = fs::metadata(folder_of(path)).ok()?;
    let like = fs::metadata(like).ok();
    let told = like.as_ref().filter(|like| !is_open(like));
    let groups = told.into_iter().chain([&folder]).chain(&like);
    let group = groups.map(|it| it.gid()).find(|group| *group != ROOT);
    Some(match fs::metadata(path) {
        Ok(before) => Owners {
            user: before.uid(),
            group: group
                .filter(|_| is_open(&before) && readers != Readers::All)
                .unwrap_or_else(|| before.gid()),
            are_kept: true,
        },
        Err(_) => Owners {
            user: folder.uid(),
            group: group.unwrap_or_else(|| folder.gid()),
            are_kept: false,
        },
    })
}

impl Owners {
    /// Only root may give a file away; whoever else writes here has it anyway.
    fn take(self, path: &Path) -> io::Result<()> {
        let made = fs::metadata(path)?;
        let (user, group) = (self.user, self.group);
        if (made.uid(), made.gid()) == (user, group) {
            return Ok(());
        }
        let is_forbidden = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match chown(path, Some(user), Some(group)) {
            Err(error) if is_forbidden(&error) => match chown(path, None, Some(group)) {
                Err(error) if is_forbidden(&error) && !self.are_kept => Ok(()),
                done => done,
            },
            done => done,
        }
    }
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
    fn nothing_is_written_where_a_link_leads_or_into_a_file_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("other"), "another's").unwrap();
        symlink(at("other"), at("link")).unwrap();
        symlink(at("none"), at("nowhere")).unwrap();
        for may_replace in [false, true] {
            create(&at("link"), b"new", may_replace).unwrap_err();
            create(&at("nowhere"), b"new", may_replace).unwrap_err();
            create(folder.path(), b"new", may_replace).unwrap_err();
        }
        create(&at("other"), b"new", false).unwrap_err();
        assert_eq!(fs::read(at("other")).unwrap(), b"another's");
        fs::set_permissions(at("other"), Permissions::from_mode(0o644)).unwrap();
        create(&at("other"), b"new", true).unwrap();
        assert_eq!(fs::read(at("other")).unwrap(), b"new");
        let mode = fs::metadata(at("other")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!at("none").exists());
    }

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
