//! What a wire speaks over: opened on this machine, or given by a test that holds the other end.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;

use super::super::line_errors::LineErrors;
use super::super::serial_port::{OpenError, SerialPort};
use super::super::wire_options::{TcpOptions, WireOptions};
use super::secure::{Refusal, secure};
use crate::net::{TlsError, TlsTime};

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
    /// This machine: what the options name; certificates are judged by this time.
    Machine(TlsTime),
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
    /// A file of the TLS options.
    #[error(transparent)]
    Files(#[from] TlsError),
    #[error("TLS: {0}")]
    Handshake(String),
    #[error("{name:?} is no name that a certificate can carry; correct `host` or `server_name`")]
    ServerName { name: String },
}

impl Opener {
    /// What a device says against it later is told to `refusal`, what a serial port cannot receive to `errors`.
    pub(super) async fn open(
        &self,
        options: &WireOptions,
        refusal: &Refusal,
        errors: &Arc<LineErrors>,
    ) -> Result<Box<dyn Port>, LinkError> {
        let time = match self {
            Self::Machine(time) => time,
            Self::Memory(give) => return Ok(Box::new(give()?)),
        };
        match options {
            WireOptions::ModbusTcp(tcp) | WireOptions::ModbusRtuOverTcp(tcp, _) => {
                let stream = dial(tcp).await?;
                let Some(tls) = &tcp.tls else {
                    return Ok(Box::new(stream));
                };
                let secured = secure(stream, tcp, tls, time, refusal).await?;
                Ok(Box::new(secured))
            }
            WireOptions::ModbusRtu(serial, _) => Ok(Box::new(SerialPort::open(serial, errors)?)),
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Machine(_) => "Machine",
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
        tls: _,
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
