//! The options every TCP socket gets, accepted and dialled.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A peer that was unplugged is noticed after this silence ...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// ... and so many unanswered probes, this far apart.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Bytes that were sent and not acknowledged for this long: the connection is dead. Without it Linux tries for 15
/// minutes, and a bridge would believe that long in a link that is gone.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Sets the options: TCP_NODELAY (without it a small message waits 40 ms for the one before), keep-alive and, on
/// Linux, TCP_USER_TIMEOUT.
///
/// # Errors
/// Where the socket is closed already.
pub fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_option_is_set() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, _server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let client = client.unwrap();
        configure(&client).unwrap();

        let socket = SockRef::from(&client);
        assert!(client.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED_MAX));
    }
}
