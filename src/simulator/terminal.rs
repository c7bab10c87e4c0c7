//! A pseudo terminal with a name of its own: a serial adapter whose line the simulated devices are on.
//!
//! While nobody has the other side open, our side waits for somebody, and what it says is lost, as on a line. Whether
//! bytes have come is looked for every few milliseconds: the system's own notice stays on for good once the other side was
//! closed, so waiting for it would turn into running in circles.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_serial::{SerialPort, SerialStream};

/// How often it looks for bytes.
const LOOK_EVERY: Duration = Duration::from_millis(2);

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
            // No bytes yet, or nobody at the other side.
            if let Ok(read @ 1..) = this.stream.try_read(buffer.initialize_unfilled()) {
                buffer.advance(read);
                return Poll::Ready(Ok(()));
            }
            this.looking = Some(Box::pin(tokio::time::sleep(LOOK_EVERY)));
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut().stream.try_write(bytes) {
            // Nobody reads: a line keeps nothing.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(Ok(bytes.len())),
            written => Poll::Ready(written),
        }
    }

    /// Without waiting until the other side has read.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_serial::SerialPortBuilderExt;

    use super::*;

    #[tokio::test]
    async fn the_other_side_may_be_closed_and_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("port");
        let mut terminal = Terminal::plug_in(&name).unwrap();
        for round in [b'a', b'b', b'c'] {
            let open = tokio_serial::new(name.to_string_lossy(), 9600).open_native_async();
            let mut port = open.unwrap();
            port.write_all(&[round]).await.unwrap();
            assert_eq!(terminal.read_u8().await.unwrap(), round);
            terminal.write_all(&[round]).await.unwrap();
            assert_eq!(port.read_u8().await.unwrap(), round);
            drop(port);
            // Whoever waits now runs in no circles: the runtime of one thread still has turns for others.
            let waits = tokio::time::timeout(Duration::from_millis(20), terminal.read_u8());
            assert!(waits.await.is_err());
        }
    }

    #[tokio::test]
    async fn what_is_said_to_nobody_is_lost_and_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut terminal = Terminal::plug_in(&folder.path().join("port")).unwrap();
        for _ in 0..100 {
            terminal.write_all(&[0; 1024]).await.unwrap();
        }
    }
}
