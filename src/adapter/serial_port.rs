//! A serial port as a stream of bytes, without the traps of the crates below (tokio-serial 5.5, measured).
//!
//! A flush waits on the runtime's thread until the last bit has left, without limit where the peer holds CTS: here it does
//! nothing. An adapter that was unplugged reads 0 bytes for ever: here that is an error. Closing a port with bytes still to
//! send can block for 30 s: here they are thrown away first.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_serial::{ClearBuffer, DataBits, SerialPort as _, SerialStream, StopBits};

use super::line_errors::{Followed, LineErrors};
use super::rs485;
use super::wire_options::{Parity, SerialOptions};

/// An open port; nobody else can open it meanwhile.
#[derive(Debug)]
pub(super) struct SerialPort {
    /// Dropped first: it must not outlive the port.
    _errors: Followed,
    stream: SerialStream,
}

/// Why a port cannot be used, with what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(
        "there is no {0}: is the adapter plugged in, and the name right? see /dev/serial/by-id"
    )]
    NoDevice(String),
    #[error("{0} may not be opened by this user: add it to the port's group, mostly dialout")]
    Denied(String),
    #[error("{0} is in use by another program: `fuser -v {0}` says which")]
    InUse(String),
    #[error("{port} cannot be opened: {source}")]
    Other { port: String, source: io::Error },
    #[error(
        "{port} cannot switch an RS-485 driver ({source}): write `rs485: {{ mode: auto }}` where the adapter does by itself"
    )]
    Rs485 { port: String, source: io::Error },
}

impl SerialPort {
    /// Opens it within microseconds, or not at all. What goes wrong on it is counted in `errors`.
    pub(super) fn open(
        options: &SerialOptions,
        errors: &Arc<LineErrors>,
    ) -> Result<Self, OpenError> {
        let port = options.port.display().to_string();
        let builder = tokio_serial::new(&port, options.baud_rate)
            .data_bits(match options.data_bits {
                5 => DataBits::Five,
                6 => DataBits::Six,
                7 => DataBits::Seven,
                _ => DataBits::Eight,
            })
            .parity(match options.parity {
                Parity::None => tokio_serial::Parity::None,
                Parity::Odd => tokio_serial::Parity::Odd,
                Parity::Even => tokio_serial::Parity::Even,
            })
            .stop_bits(if options.stop_bits == 2 {
                StopBits::Two
            } else {
                StopBits::One
            });
        let stream = SerialStream::open(&builder).map_err(|error| OpenError::new(&port, error))?;
        if let Some(rs485) = &options.rs485 {
            rs485::enable(&stream, rs485).map_err(|source| OpenError::Rs485 { port, source })?;
        }
        Ok(Self {
            _errors: errors.follow(&stream),
            stream,
        })
    }
}

impl OpenError {
    fn new(port: &str, error: tokio_serial::Error) -> Self {
        use tokio_serial::ErrorKind;
        let port = port.to_owned();
        match error.kind() {
            ErrorKind::Io(io::ErrorKind::NotFound) => Self::NoDevice(port),
            ErrorKind::Io(io::ErrorKind::PermissionDenied) => Self::Denied(port),
            // That of an exclusive lock, which the crate does not tell by its kind.
            ErrorKind::NoDevice | ErrorKind::Io(io::ErrorKind::ResourceBusy)
                if std::path::Path::new(&port).exists() =>
            {
                Self::InUse(port)
            }
            ErrorKind::NoDevice => Self::NoDevice(port),
            _ => Self::Other {
                port,
                source: error.into(),
            },
        }
    }
}

impl Drop for SerialPort {
    fn drop(&mut self) {
        // Unplugged: then there is nothing to throw away.
        drop(self.stream.clear(ClearBuffer::All));
    }
}

impl AsyncRead for SerialPort {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.get_mut().stream).poll_read(context, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SerialPort {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
