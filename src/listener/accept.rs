//! The accept loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::handshake::Door;
use super::{Bind, ListenError, ListenerOptions};
use crate::broker::{BrokerHandle, LinkClosed};
use crate::clock;
use crate::net;
use crate::shutdown::Stop;

/// TLS handshakes at a time; each costs about 2 ms of CPU and 40 KB. Clients beyond wait in the kernel's queue.
pub const HANDSHAKES_MAX: usize = 64;

/// Connections that the kernel completes and keeps until they are accepted: a site whose devices all come back at once.
const BACKLOG: u32 = 1024;

/// Wait after an error of accept that another try would only repeat, such as no file descriptor being left.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A listener that accepts until it is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens; the port is the real one where port 0 was asked for.
    pub local_addr: SocketAddr,
}

impl Listener {
    /// Opens the socket and accepts in a task of the calling runtime, which may not be the broker's. Reads the
    /// certificate files, so it blocks for milliseconds.
    ///
    /// # Errors
    /// Where the address or a certificate file cannot be used; says which and what to do.
    pub fn bind(
        options: ListenerOptions,
        broker: BrokerHandle,
        stop: Stop,
    ) -> Result<Self, ListenError> {
        let Bind::Tcp(address) = options.bind;
        let tls = options.tls.as_ref().map(net::server_config).transpose();
        let tls = tls.map_err(|source| ListenError::Tls {
            name: options.name.clone(),
            source,
        })?;
        let (socket, local_addr) =
            listen(address).map_err(|source| ListenError::bind(&options.name, address, source))?;
        let door = Door {
            name: options.name.into(),
            anonymous: options.anonymous,
            tls,
            user_from_common_name: options.user_from_common_name,
            broker,
        };
        tracing::info!(listener = %door.name, address = %local_addr, tls = door.tls.is_some(), "listening");
        tokio::spawn(accept_until(stop, socket, Arc::new(door)));
        Ok(Self { local_addr })
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Without it a restart waits a minute for connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let local_addr = listener.local_addr()?;
    Ok((listener, local_addr))
}

/// Ends with the request to stop or with the broker; handshakes that are not done then are dropped.
async fn accept_until(mut stop: Stop, listener: TcpListener, door: Arc<Door>) {
    let name = Arc::clone(&door.name);
    tokio::select! {
        () = stop.requested() => {}
        LinkClosed = accept(listener, door) => {}
    }
    tracing::info!(listener = %name, "no longer listening");
}

async fn accept(listener: TcpListener, door: Arc<Door>) -> LinkClosed {
    let mut handshakes = JoinSet::new();
    let mut backoff = Backoff::default();
    loop {
        let (socket, peer) = tokio::select! {
            Some(ended) = handshakes.join_next() => match ended {
                Ok(Ok(())) => continue,
                Ok(Err(closed)) => return closed,
                Err(fault) => {
                    tracing::error!(listener = %door.name, %fault, "a handshake failed in an unforeseen way; this is a fault of fieldgate");
                    continue;
                }
            },
            accepted = next(&listener, &mut backoff, &door), if handshakes.len() < HANDSHAKES_MAX => accepted,
        };
        let accepted = clock::now();
        if door.tls.is_some() {
            let door = Arc::clone(&door);
            handshakes.spawn(async move { door.admit(socket, peer, accepted).await });
        } else if let Err(closed) = door.admit(socket, peer, accepted).await {
            return closed;
        }
    }
}

/// The next socket, however long the system refuses to give one. Cancel safe.
async fn next(
    listener: &TcpListener,
    backoff: &mut Backoff,
    door: &Door,
) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                if backoff.recovered() {
                    tracing::info!(listener = %door.name, "accepting again");
                }
                return accepted;
            }
            // The client left while it waited in the kernel's queue.
            Err(fault)
                if matches!(
                    fault.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(fault) => {
                let (wait, is_new) = backoff.failed(&fault);
                if is_new {
                    tracing::error!(
                        listener = %door.name, %fault,
                        "cannot accept; trying on. Too many open files: raise LimitNOFILE or lower `connections`"
                    );
                }
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// How long to wait, and whether the fault is another than before: a log line a second helps nobody.
#[derive(Debug, Default)]
struct Backoff {
    wait: Duration,
    fault: Option<Option<i32>>,
}

impl Backoff {
    fn failed(&mut self, fault: &io::Error) -> (Duration, bool) {
        self.wait = (self.wait * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        let code = Some(fault.raw_os_error());
        let is_new = self.fault != code;
        self.fault = code;
        (self.wait, is_new)
    }

    fn recovered(&mut self) -> bool {
        let failed = self.fault.is_some();
        *self = Self::default();
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_a_second_and_a_fault_is_told_once() {
        let full = io::Error::from_raw_os_error(24);
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failed(&full), (BACKOFF_MIN, true));
        assert_eq!(backoff.failed(&full), (BACKOFF_MIN * 2, false));
        for _ in 0..20 {
            backoff.failed(&full);
        }
        assert_eq!(backoff.failed(&full), (BACKOFF_MAX, false));
        assert!(backoff.failed(&io::Error::from_raw_os_error(12)).1);
        assert!(backoff.recovered());
        assert!(!backoff.recovered());
        assert_eq!(backoff.failed(&full), (BACKOFF_MIN, true));
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_with_the_remedy() {
        let (_first, address) = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let fault = listen(address).unwrap_err();
        let error = ListenError::bind("local", address, fault).to_string();
        assert!(
            error.contains(&format!(
                "listener `local`: {address} is in use; end the program"
            )),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named() {
        let address = "192.0.2.1:0".parse().unwrap();
        let fault = listen(address).unwrap_err();
        let error = ListenError::bind("plant", address, fault).to_string();
        assert!(error.contains("no address 192.0.2.1:0"), "{error}");
    }
}
