//! Why a listener cannot listen.

use std::io;
use std::net::SocketAddr;

use crate::net::TlsError;

/// Why a listener cannot listen; each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else listens there.
    #[error(
        "listener `{name}`: {address} is in use; end the program that listens there (`ss -ltnp` shows it) or choose another port in `bind`"
    )]
    InUse {
        /// The listener.
        name: String,
        /// Where.
        address: SocketAddr,
    },
    /// No interface has that address.
    #[error(
        "listener `{name}`: this machine has no address {address} (`ip address` shows those it has); correct `bind`, or use 0.0.0.0 for all"
    )]
    NoSuchAddress {
        /// The listener.
        name: String,
        /// Where.
        address: SocketAddr,
    },
    /// A port below 1024.
    #[error(
        "listener `{name}`: {address} is not ours to open; choose a port from 1024 on, or give fieldgate CAP_NET_BIND_SERVICE"
    )]
    NotPermitted {
        /// The listener.
        name: String,
        /// Where.
        address: SocketAddr,
    },
    /// Anything else the system says.
    #[error("listener `{name}`: cannot listen on {address}: {source}")]
    Io {
        /// The listener.
        name: String,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Its certificates.
    #[error("listener `{name}`: {source}")]
    Tls {
        /// The listener.
        name: String,
        /// Which file, and the remedy.
        source: TlsError,
    },
}

impl ListenError {
    pub(super) fn bind(name: &str, address: SocketAddr, source: io::Error) -> Self {
        let name = name.to_owned();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { name, address },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { name, address },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { name, address },
            _ => Self::Io {
                name,
                address,
                source,
            },
        }
    }
}
