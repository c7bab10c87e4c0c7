//! Why a listener cannot be made, and why it cannot listen now.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::net::TlsError;

/// A listener's files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("listener `{name}`: {source}")]
pub struct ListenError {
    /// The listener.
    pub name: String,
    /// Which file, and the remedy.
    pub source: TlsError,
}

/// Why a listener does not listen now. It tries again until it does; each message says what to do meanwhile.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error(
        "{address} is in use; end the program that listens there (`ss -ltnp` shows it) or choose another port in `bind`"
    )]
    InUse {
        /// Where.
        address: SocketAddr,
    },
    /// No interface has that address, or not yet.
    #[error(
        "this machine has no address {address} at present (`ip address` shows those it has); if it does not come by itself, correct `bind`, or use 0.0.0.0 for all"
    )]
    NoSuchAddress {
        /// Where.
        address: SocketAddr,
    },
    /// A port below 1024.
    #[error(
        "{address} is not ours to open; choose a port from 1024 on, or give fieldgate CAP_NET_BIND_SERVICE"
    )]
    NotPermitted {
        /// Where.
        address: SocketAddr,
    },
    /// Anything else the system says.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another process accepts at the unix socket.
    #[error(
        "the socket {path} is in use; end the program that listens there (`ss -lxp` shows it) or choose another path in `bind`"
    )]
    SocketInUse {
        /// Where.
        path: PathBuf,
    },
    /// A file that nobody may remove for us.
    #[error("{path} is there and is no socket; move it away or choose another path in `bind`")]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The folder of a unix socket is missing or not ours.
    #[error(
        "cannot make the socket {path}: {source}; its folder must be there, and the user fieldgate runs as must be able to write to it (systemd: `RuntimeDirectory=`)"
    )]
    SocketFile {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    pub(super) fn tcp(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { address },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { address },
            _ => Self::Io { address, source },
        }
    }

    pub(super) fn socket_file(path: &Path, source: io::Error) -> Self {
        Self::SocketFile {
            path: path.to_owned(),
            source,
        }
    }
}
