//! Opening the socket of a listener, and accepting from it, of whichever kind it is.

use std::io;

use tokio::net::{TcpListener, UnixListener};

use super::stream::{Caller, Socket};
use super::{Bind, BindError};
use crate::net::{self, SocketFile, SocketFileError};

/// Connections that the kernel completes and keeps until they are accepted: a site whose devices all come back at once.
const BACKLOG: u32 = 1024;

/// A socket that is listened on.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Removed with the listener.
        _file: SocketFile,
    },
}

impl Bound {
    /// The next connection. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Caller)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::tcp(stream), Caller::Address(peer)))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let caller = Caller::Process(stream.peer_cred().ok());
                Ok((Socket::unix(stream), caller))
            }
        }
    }
}

/// Opens the socket, and says where it listens: the port is the real one where port 0 was asked for. Within a tokio
/// runtime.
pub(super) fn open(bind: &Bind) -> Result<(Bound, Bind), BindError> {
    match bind {
        Bind::Tcp(address) => {
            let (listener, local) = net::listen_tcp(*address, BACKLOG)
                .map_err(|source| BindError::tcp(*address, source))?;
            Ok((Bound::Tcp(listener), Bind::Tcp(local)))
        }
        Bind::Unix(path) => {
            let (listener, _file) = net::listen_unix(path)?;
            let listener = UnixListener::from_std(listener).map_err(|source| {
                BindError::from(SocketFileError::Io {
                    path: path.clone(),
                    source,
                })
            })?;
            Ok((Bound::Unix { listener, _file }, bind.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn fault(address: SocketAddr) -> String {
        open(&Bind::Tcp(address)).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_with_the_remedy() {
        let (_first, local) = open(&Bind::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let Bind::Tcp(address) = local else {
            panic!("{local:?}");
        };
        let said = fault(address);
        assert!(
            said.contains(&format!("{address} is in use; end the program")),
            "{said}"
        );
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let said = fault("192.0.2.1:0".parse().unwrap());
        assert!(said.contains("no address 192.0.2.1:0"), "{said}");
    }
}
