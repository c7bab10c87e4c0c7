//! Options of a listener.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::WebSocketOptions;
use crate::net::ServerTls;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    /// For logs.
    pub name: String,
    /// Where.
    pub bind: Bind,
    /// Whether a client without user name may connect.
    pub anonymous: bool,
    /// TLS, where wanted.
    pub tls: Option<ServerTls>,
    /// WebSocket instead of bare MQTT, above TLS where there is both.
    pub websocket: Option<WebSocketOptions>,
    /// The client certificate's common name is the user.
    pub user_from_common_name: bool,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// TCP; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The file of a unix socket.
    Unix(PathBuf),
}

impl Bind {
    /// The longest path of a unix socket in bytes: the system's 108 with room for what it is called while it is made.
    pub const PATH_BYTES_MAX: usize = 103;

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Bind {
    /// As the configuration writes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}
