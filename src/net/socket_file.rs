//! The file of a unix socket: made with the mode it shall have, taken over from a process that died, removed at the end.
//!
//! A socket that another process accepts on is never taken away from it, and a file that is no socket is never removed.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The owner and its group; whoever else shall come in, is put into that group.
const MODE: u32 = 0o660;

/// Why nobody can listen at a path.
#[derive(Debug, thiserror::Error)]
pub enum SocketFileError {
    /// Another process accepts at the unix socket.
    #[error(
        "the socket {path} is in use; end the program that listens there (`ss -lxp` shows it) or choose another path"
    )]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// A file that nobody may remove for us.
    #[error("{path} is there and is no socket; move it away or choose another path")]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The folder of a unix socket is missing or not ours.
    #[error(
        "cannot make the socket {path}: {source}; its folder must be there, and the user fieldgate runs as must be able to write to it (systemd: `RuntimeDirectory=`)"
    )]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SocketFileError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// The file of a socket that is listened on. Dropped, it is removed, unless another file has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

/// Listens at `path`. The socket gets its mode under another name first, so that nobody ever finds it with a wider one.
///
/// # Errors
/// Where another process listens there, where something else than a socket has the name, and what the system says.
pub fn listen(path: &Path) -> Result<(UnixListener, SocketFile), SocketFileError> {
    let failed = |source| SocketFileError::io(path, source);
    if is_live(path)? {
        return Err(SocketFileError::InUse {
            path: path.to_owned(),
        });
    }
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    remove_socket(&staged)?;
    let listener = UnixListener::bind(&staged).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    fs::set_permissions(&staged, Permissions::from_mode(MODE)).map_err(failed)?;
    fs::rename(&staged, path).map_err(failed)?;
    let identity = identity(path).map_err(failed)?;
    let path = path.to_owned();
    Ok((listener, SocketFile { path, identity }))
}

/// Whether a process accepts there. What a dead one left behind refuses.
fn is_live(path: &Path) -> Result<bool, SocketFileError> {
    if !is_socket(path)? {
        return Ok(false);
    }
    let failed = |source| SocketFileError::io(path, source);
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // A live one whose queue is full would keep us waiting.
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(&SockAddr::unix(path).map_err(failed)?) {
        Ok(()) => Ok(true),
        Err(fault) => match fault.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(failed(fault)),
        },
    }
}

/// False: nothing is there.
fn is_socket(path: &Path) -> Result<bool, SocketFileError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(_) => Err(SocketFileError::NotASocket {
            path: path.to_owned(),
        }),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(fault) => Err(SocketFileError::io(path, fault)),
    }
}

fn remove_socket(path: &Path) -> Result<(), SocketFileError> {
    if is_socket(path)? {
        fs::remove_file(path).map_err(|source| SocketFileError::io(path, source))?;
    }
    Ok(())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = identity(&self.path).is_ok_and(|found| found == self.identity);
        if is_ours && let Err(fault) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %fault, "the socket's file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_file_has_its_mode_and_goes_with_the_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let (listener, file) = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop((listener, file));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_socket_of_a_dead_process_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (first, file) = listen(&path).unwrap();
        let refused = listen(&path).unwrap_err().to_string();
        assert!(refused.contains("is in use; end the program"), "{refused}");
        UnixStream::connect(&path).unwrap();
        drop((first, file));
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        fs::write(&path, "mine").unwrap();
        let refused = listen(&path).unwrap_err().to_string();
        assert!(refused.contains("is no socket"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        let missing = listen(&folder.path().join("no/such/x")).unwrap_err();
        assert!(missing.to_string().contains("its folder must be there"));
    }

    #[test]
    fn the_file_of_a_successor_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let (first, file) = listen(&path).unwrap();
        drop(first);
        let (_second, _kept) = listen(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
    }
}
