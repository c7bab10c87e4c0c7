//! Options of a listener.

use std::net::SocketAddr;

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
    /// The client certificate's common name is the user.
    pub user_from_common_name: bool,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// TCP; port 0 lets the system choose.
    Tcp(SocketAddr),
}
