//! The options every TCP socket gets, dialled or accepted: Linux hands those of a listening socket to what it accepts.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket};

/// A peer that was unplugged is noticed after this silence ...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// ... and so many unanswered probes, this far apart.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Bytes that were sent and not acknowledged for this long: the connection is dead. Without it Linux tries for 15
/// minutes, and a bridge would believe that long in a link that is gone.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Sets the options, of a listening socket before it listens: TCP_NODELAY (without it a small message waits 40 ms for the one before), keep-alive and, on
/// Linux, TCP_USER_TIMEOUT.
///
/// # Errors
/// Where the socket is closed already.
pub fn configure(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

/// Listens, and says where: the real port where port 0 is asked for. The kernel completes `backlog` connections and keeps them
/// until they are accepted. Within a tokio runtime.
///
/// # Errors
/// Where the address cannot be had.
pub fn listen(address: SocketAddr, backlog: u32) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Without it a restart waits a minute for connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    configure(&socket)?;
    let listener = socket.listen(backlog)?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Whether the peer has closed, or says something: the kernel is asked, since the runtime may not have been told yet.
#[must_use]
pub fn is_gone_or_speaks(stream: &impl AsFd) -> bool {
    let read = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    fn check(stream: &TcpStream) {
        let socket = SockRef::from(stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
    }

    #[tokio::test]
    async fn a_dialled_and_an_accepted_socket_have_every_option() {
        let listening = TcpSocket::new_v4().unwrap();
        listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        configure(&listening).unwrap();
        let listener = listening.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (client, (server, _)) = (client.unwrap(), server.unwrap());
        configure(&client).unwrap();
        check(&client);
        check(&server);
    }
}
