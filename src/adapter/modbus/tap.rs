//! A stream that remembers the head and the length of the frame that went out and of the one that came back, because
//! tokio-modbus tells neither.
//!
//! Bytes that cannot be a reply are an error as soon as they are seen. The crate would wait for as many as their length
//! field seems to say, up to 64 KiB.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Transaction (2), protocol (2), length (2), unit (1), function (1), and of a read address (2) and quantity (2).
const HEAD_BYTES: usize = 12;
/// Where the length field ends; it counts the bytes behind it.
const LENGTH_END: usize = 6;
/// Unit, function and one byte at least; unit and the longest PDU, 253 bytes, at most.
const LENGTHS: std::ops::RangeInclusive<u16> = 3..=254;

/// One frame as it passed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frame {
    head: [u8; HEAD_BYTES],
    /// Bytes that passed, the head among them.
    pub(super) bytes: usize,
}

/// What passed since the last [`Observer::start`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exchange {
    pub(super) request: Frame,
    pub(super) reply: Frame,
    /// End of stream, or an error of the socket.
    pub(super) broken: bool,
}

/// The side that looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Observer(Arc<Mutex<Exchange>>);

/// The stream.
#[derive(Debug)]
pub(super) struct Tap<S> {
    stream: S,
    observer: Observer,
}

impl Frame {
    /// The Unit Identifier; `None` before it has passed.
    pub(super) fn unit(&self) -> Option<u8> {
        let [_, _, _, _, _, _, unit, ..] = self.head;
        (self.bytes >= 7).then_some(unit)
    }

    /// Whether it cannot be Modbus/TCP.
    fn is_garbled(&self) -> bool {
        let [_, _, p0, p1, l0, l1, ..] = self.head;
        let length = u16::from_be_bytes([l0, l1]);
        let told = self.bytes >= LENGTH_END;
        told && ([p0, p1] != [0, 0] || !LENGTHS.contains(&length))
    }

    fn pass(&mut self, bytes: &[u8]) {
        let room = self.head.get_mut(self.bytes..).unwrap_or_default();
        for (kept, byte) in room.iter_mut().zip(bytes) {
            *kept = *byte;
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
    }
}

impl Exchange {
    /// Whether what came is nothing but the read that was sent.
    pub(super) fn is_echo(&self) -> bool {
        self.reply.bytes == HEAD_BYTES && self.reply.head == self.request.head
    }
}

impl Observer {
    /// Forgets what passed: a new request follows.
    pub(super) fn start(&self) {
        *self.lock() = Exchange::default();
    }

    pub(super) fn exchange(&self) -> Exchange {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Tap<S> {
    pub(super) fn new(stream: S) -> (Self, Observer) {
        let observer = Observer::default();
        let tap = Self {
            stream,
            observer: observer.clone(),
        };
        (tap, observer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Poll::Ready(outcome) = &result {
            let new = buffer.filled().get(before..).unwrap_or_default();
            let mut exchange = this.observer.lock();
            exchange.broken |= outcome.is_err() || new.is_empty();
            exchange.reply.pass(new);
            if exchange.reply.is_garbled() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(outcome) = &result {
            let mut exchange = this.observer.lock();
            match outcome {
                Ok(written) => exchange
                    .request
                    .pass(bytes.get(..*written).unwrap_or_default()),
                Err(_) => exchange.broken = true,
            }
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_cannot_be_a_reply_is_an_error_at_once() {
        for bytes in [
            [0xA5; 8],
            [0, 1, 0, 0, 0, 2, 1, 3],
            [0, 1, 0, 0, 1, 0, 1, 3],
        ] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let (mut tap, observer) = Tap::new(ours);
            theirs.write_all(&bytes).await.unwrap();
            let error = tap.read(&mut [0; 64]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(!observer.exchange().broken);
        }
    }

    #[tokio::test]
    async fn heads_lengths_and_the_end_are_seen_whatever_the_pieces() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (mut tap, observer) = Tap::new(ours);
        observer.start();
        tap.write_all(&[0, 1, 0, 0, 0, 6, 17, 3, 0, 0, 0, 1])
            .await
            .unwrap();
        for piece in [&[0_u8, 1, 0][..], &[0, 0, 5, 18], &[3, 2, 0, 9]] {
            theirs.write_all(piece).await.unwrap();
            tap.read_exact(&mut vec![0; piece.len()]).await.unwrap();
        }
        let exchange = observer.exchange();
        assert_eq!(
            (exchange.request.unit(), exchange.request.bytes),
            (Some(17), 12)
        );
        assert_eq!(
            (exchange.reply.unit(), exchange.reply.bytes),
            (Some(18), 11)
        );
        assert!(!exchange.broken);
        drop(theirs);
        assert_eq!(tap.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(observer.exchange().broken);
        observer.start();
        assert_eq!(observer.exchange().reply.unit(), None);
    }
}
