//! What a wire speaks over: opened on this machine, or given by a test that holds the other end.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

use super::super::serial_port::{OpenError, SerialPort};
use super::super::wire_options::{TcpOptions, WireOptions};

/// Silence after which the kernel asks whether the peer is still there, and how often it then asks: devices behind NAT
/// and switched off are noticed though polls may be rare.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// Where the bytes go.
pub(super) trait Port: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Port for S {}

/// Who opens ports.
#[derive(Clone)]
pub enum Opener {
    /// This machine: what the options name.
    Machine,
    /// Whoever holds the other end in memory, whatever the options name: a test in which time stands still, as it cannot
    /// beside sockets.
    Memory(Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>),
}

/// Why it cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Tcp(#[from] io::Error),
    #[error(transparent)]
    Serial(#[from] OpenError),
}

impl Opener {
    pub(super) async fn open(&self, options: &WireOptions) -> Result<Box<dyn Port>, LinkError> {
        if let Self::Memory(give) = self {
            return Ok(Box::new(give()?));
        }
        match options {
            WireOptions::ModbusTcp(tcp) | WireOptions::ModbusRtuOverTcp(tcp, _) => {
                Ok(Box::new(dial(tcp).await?))
            }
            WireOptions::ModbusRtu(serial, _) => Ok(Box::new(SerialPort::open(serial)?)),
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Machine => "Machine",
            Self::Memory(_) => "Memory",
        })
    }
}

/// Resolves and dials.
async fn dial(options: &TcpOptions) -> io::Result<TcpStream> {
    let TcpOptions {
        host,
        port,
        connect_timeout,
    } = options;
    let connecting = TcpStream::connect((host.as_str(), *port));
    let stream = tokio::time::timeout(*connect_timeout, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // Without these the connection still works, only slower to answer and to notice its end.
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    if let Err(error) = stream
        .set_nodelay(true)
        .and_then(|()| socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive))
    {
        tracing::debug!(%host, port, %error, "socket option refused");
    }
    Ok(stream)
}
