//! A pseudo terminal with a name of its own: a serial adapter whose line the simulated devices are on.
//!
//! While nobody has the other side open it reads errors: then it waits for somebody, as a line does.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_serial::{SerialPort, SerialStream};

/// How often it looks whether somebody has opened the other side.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Our side. Dropping it is to unplug the adapter; its name goes with it.
#[derive(Debug)]
pub struct Terminal {
    stream: SerialStream,
    name: PathBuf,
    looking: Option<Pin<Box<Sleep>>>,
}

impl Terminal {
    /// A new terminal, whose other side is opened by `name`; a name that is there is taken over.
    ///
    /// # Errors
    /// Where the system has no terminal, or the name cannot be made.
    pub fn plug_in(name: &Path) -> io::Result<Self> {
        let (stream, other) = SerialStream::pair()?;
        let file = other.name().ok_or(io::ErrorKind::NotFound)?;
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::os::unix::fs::symlink(file, name)?,
        }
        Ok(Self {
            stream,
            name: name.to_owned(),
            looking: None,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Somebody may have removed it, with its folder.
        drop(std::fs::remove_file(&self.name));
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if let Some(looking) = &mut this.looking {
                ready!(looking.as_mut().poll(context));
                this.looking = None;
            }
            let before = buffer.filled().len();
            let result = ready!(Pin::new(&mut this.stream).poll_read(context, buffer));
            if result.is_ok() && buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            this.looking = Some(Box::pin(tokio::time::sleep(LOOK_EVERY)));
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    /// Without waiting until the other side has read.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
