//! Why a listener cannot be made, and why it cannot listen now.

use std::io;
use std::net::SocketAddr;

use crate::net::{SocketFileError, TlsError};

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
    /// They were at fault before, so they are being written.
    #[error(
        "its TLS files can be used now, and are taken when they have stood still for some seconds"
    )]
    Unsettled,
    /// Anything else the system says.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A unix socket.
    #[error(transparent)]
    SocketFile(#[from] SocketFileError),
    /// Its certificate, its key, or who signs clients.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
}
