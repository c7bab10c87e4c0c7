//! The streams that are handed to the broker: accepted under one runtime, moved to another.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::UCred;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::broker::{Seat, Stream};

/// A socket that can change its runtime, also from inside a TLS stream.
pub(super) struct Socket {
    kind: Kind,
    /// Given back when the connection ends, whoever holds it then.
    _seat: Option<Seat>,
}

enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// After a change of the runtime that failed: every use is an error.
    Lost,
}

/// Who is on the other side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    Address(SocketAddr),
    /// A process on this machine, where the system says which.
    Process(Option<UCred>),
}

impl Caller {
    pub(super) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Process(_) => None,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Process(None) => formatter.write_str("a process here"),
            Self::Process(Some(who)) => {
                write!(formatter, "user {}", who.uid())?;
                match who.pid() {
                    Some(pid) => write!(formatter, ", process {pid}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Socket {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self {
            kind: Kind::Tcp(stream),
            _seat: None,
        }
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self {
            kind: Kind::Unix(stream),
            _seat: None,
        }
    }

    /// Counts as a connection of its address from now on.
    pub(super) fn seated(self, seat: Seat) -> Self {
        Self {
            kind: self.kind,
            _seat: Some(seat),
        }
    }

    /// Waits until there is something to read, or the end.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(stream) => stream.readable().await,
            Kind::Unix(stream) => stream.readable().await,
            Kind::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Calls the socket, of whichever kind it is.
macro_rules! call {
    ($socket:ident, $method:ident, $context:ident $(, $argument:ident)*) => {
        match &mut $socket.kind {
            Kind::Tcp(stream) => Pin::new(stream).$method($context $(, $argument)*),
            Kind::Unix(stream) => Pin::new(stream).$method($context $(, $argument)*),
            Kind::Lost => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    };
}

impl Stream for Socket {
    fn rehome(&mut self) -> io::Result<()> {
        self.kind = match mem::replace(&mut self.kind, Kind::Lost) {
            Kind::Tcp(stream) => Kind::Tcp(TcpStream::from_std(stream.into_std()?)?),
            Kind::Unix(stream) => Kind::Unix(UnixStream::from_std(stream.into_std()?)?),
            Kind::Lost => return Err(io::ErrorKind::NotConnected.into()),
        };
        Ok(())
    }
}

impl Stream for Box<TlsStream<Socket>> {
    /// The TLS state, with what it has decrypted already, stays as it is; only the socket below it moves.
    fn rehome(&mut self) -> io::Result<()> {
        self.get_mut().0.rehome()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        call!(self, poll_read, context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        call!(self, poll_write, context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        call!(self, poll_write_vectored, context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        call!(self, poll_flush, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        call!(self, poll_shutdown, context)
    }
}
