//! What a wire is at the moment: a Modbus TCP connection, which no failure survives, or a line, which survives its port.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::super::options::UnitId;
use super::super::plan::ReadRequest;
use super::super::reason::Reason;
use super::super::serial_port::{OpenError, SerialPort};
use super::super::wire_options::{TcpOptions, WireOptions};
use super::connection::Connection;
use super::line::{Line, Timing};
use super::reply::Reply;

/// Silence after which the kernel asks whether the peer is still there, and how often it then asks: devices behind NAT
/// and switched off are noticed though polls may be rare.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// Open or not.
#[derive(Debug)]
pub(super) enum Link {
    Tcp(Option<Connection>),
    Line(Line),
}

/// Why it cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Tcp(#[from] io::Error),
    #[error(transparent)]
    Serial(#[from] OpenError),
}

impl Link {
    /// Not open.
    pub(super) fn new(options: &WireOptions) -> Self {
        match options {
            WireOptions::ModbusTcp(_) => Self::Tcp(None),
            WireOptions::ModbusRtu(_, rtu) | WireOptions::ModbusRtuOverTcp(_, rtu) => {
                Self::Line(Line::new(Timing {
                    gap: options.frame_gap(),
                    byte: options.byte(),
                    discards_echo: rtu.discard_echo,
                }))
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Tcp(connection) => connection.is_some(),
            Self::Line(line) => line.is_plugged(),
        }
    }

    /// Opens anew what `options` name, the same as in [`Link::new`].
    pub(super) async fn open(&mut self, options: &WireOptions) -> Result<(), LinkError> {
        match (self, options) {
            (Self::Tcp(connection), WireOptions::ModbusTcp(tcp)) => {
                *connection = Some(Connection::over(dial(tcp).await?));
            }
            (Self::Line(line), WireOptions::ModbusRtuOverTcp(tcp, _)) => {
                line.plug(dial(tcp).await?);
            }
            (Self::Line(line), WireOptions::ModbusRtu(serial, _)) => {
                line.plug(SerialPort::open(serial)?);
            }
            (Self::Tcp(_), _) | (Self::Line(_), WireOptions::ModbusTcp(_)) => {
                return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
            }
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        match self {
            Self::Tcp(connection) => *connection = None,
            Self::Line(line) => line.unplug(),
        }
    }

    pub(super) fn take_late(&mut self) -> Vec<UnitId> {
        match self {
            Self::Tcp(_) => Vec::new(),
            Self::Line(line) => line.take_late(),
        }
    }

    /// One transaction; whether it is still open afterwards is up to what happened.
    pub(super) async fn read(
        &mut self,
        unit: UnitId,
        request: &ReadRequest,
        limit: Duration,
    ) -> Result<Reply, Reason> {
        match self {
            Self::Tcp(connection) => {
                let open = connection.take().ok_or(Reason::ConnectionClosed)?;
                let (result, kept) = open.read(unit, request, limit).await;
                *connection = kept;
                result
            }
            Self::Line(line) => line.read(unit, request, limit).await,
        }
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
