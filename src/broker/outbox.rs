//! What waits to be written to one connection, as bytes, in order.
//!
//! Small frames are copied one behind the other, so that a batch of them is one write; large payloads are kept as the shared
//! bytes they are and go out by a vectored write. The outbox never drops anything and never refuses: its owner compares
//! [`Outbox::len`] with a limit and stops what feeds it. An empty outbox holds no memory of its own: its buffer goes back to the
//! [`Spare`] ones of the thread.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// From here on a payload is not copied: at 64 KiB the copies were most of the cost, at 1 KiB the extra slices are.
pub(super) const SHARED_FROM: usize = 4 << 10;

/// Slices of one vectored write.
const SLICES: usize = 16;

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Everything but the shared payloads.
    copied: BytesMut,
    /// While there are any.
    shared: Option<Box<Shared>>,
    /// TLS has taken bytes that it has not given to the socket.
    unflushed: bool,
}

/// Payloads that are not copied.
#[derive(Debug, Default)]
struct Shared {
    /// How many copied bytes have been written since there are shared ones; where `copied` begins.
    base: u64,
    /// Each with the count of copied bytes that precede it. Never empty outside a call.
    payloads: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Bytes that the stream took.
    pub(super) bytes: usize,
    /// The stream takes no more for now; it wakes the task of the given context when it does.
    pub(super) blocked: bool,
}

/// Buffers that are in nobody's use, for the next who needs one. Bounded: 32 of at most 16 KiB.
#[derive(Debug, Default)]
pub(super) struct Spare {
    buffers: Vec<BytesMut>,
}

impl Spare {
    const BUFFERS: usize = 32;
    const BUFFER_BYTES_MIN: usize = 512;
    const BUFFER_BYTES_MAX: usize = 16 << 10;

    fn take(&mut self) -> BytesMut {
        self.buffers
            .pop()
            .unwrap_or_else(|| BytesMut::with_capacity(Self::BUFFER_BYTES_MIN))
    }

    fn give_back(&mut self, buffer: BytesMut) {
        let useful = Self::BUFFER_BYTES_MIN..=Self::BUFFER_BYTES_MAX;
        if self.buffers.len() < Self::BUFFERS && useful.contains(&buffer.capacity()) {
            self.buffers.push(buffer);
        }
    }
}

impl Outbox {
    /// Where frames are appended.
    pub(super) fn frames(&mut self, spare: &mut Spare) -> &mut BytesMut {
        if self.copied.capacity() == 0 {
            self.copied = spare.take();
        }
        &mut self.copied
    }

    /// Appends a payload behind the head that was just put into [`Self::frames`].
    pub(super) fn payload(&mut self, payload: &Bytes) {
        if payload.len() < SHARED_FROM {
            self.copied.extend_from_slice(payload);
        } else {
            let shared = self.shared.get_or_insert_default();
            let position = shared.base.saturating_add(self.copied.len() as u64);
            shared.bytes = shared.bytes.saturating_add(payload.len());
            shared.payloads.push_back((position, payload.clone()));
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        let shared = self.shared.as_ref().map_or(0, |shared| shared.bytes);
        self.copied.len().saturating_add(shared)
    }

    /// Whether nothing waits, not even inside TLS.
    pub(super) fn is_empty(&self) -> bool {
        self.copied.is_empty() && self.shared.is_none() && !self.unflushed
    }

    /// Writes what the stream takes.
    ///
    /// # Errors
    /// Those of the stream; it is of no more use then.
    pub(super) fn write_to<S: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
        spare: &mut Spare,
    ) -> io::Result<Written> {
        let mut written = Written::default();
        while !self.copied.is_empty() || self.shared.is_some() {
            match self.poll_write(Pin::new(&mut *stream), context) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => {
                    written.bytes = written.bytes.saturating_add(bytes);
                    self.unflushed = true;
                    self.consume(bytes);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    written.blocked = true;
                    break;
                }
            }
        }
        if self.unflushed {
            match Pin::new(stream).poll_flush(context) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => written.blocked = true,
            }
        }
        if self.copied.is_empty() && self.copied.capacity() > 0 {
            spare.give_back(std::mem::take(&mut self.copied));
        }
        Ok(written)
    }

    fn poll_write<S: AsyncWrite + ?Sized>(
        &self,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(shared) = &self.shared else {
            return stream.poll_write(context, &self.copied);
        };
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut room = slices.iter_mut();
        let mut rest: &[u8] = &self.copied;
        let mut position = shared.base;
        for (at, payload) in &shared.payloads {
            let ahead = usize::try_from(at.saturating_sub(position)).unwrap_or(usize::MAX);
            let (frames, behind) = rest.split_at_checked(ahead).unwrap_or((rest, &[]));
            // One slice each for the frames ahead of a payload and for itself; an empty one costs nothing.
            let (Some(first), Some(second)) = (room.next(), room.next()) else {
                return stream.poll_write_vectored(context, &slices);
            };
            *first = IoSlice::new(frames);
            *second = IoSlice::new(payload);
            rest = behind;
            position = *at;
        }
        if let Some(last) = room.next() {
            *last = IoSlice::new(rest);
        }
        stream.poll_write_vectored(context, &slices)
    }

    /// `count` bytes are gone.
    fn consume(&mut self, mut count: usize) {
        while count > 0
            && let Some(shared) = &mut self.shared
        {
            match shared.payloads.front_mut() {
                Some((at, payload)) if *at <= shared.base => {
                    let gone = count.min(payload.len());
                    payload.advance(gone);
                    shared.bytes = shared.bytes.saturating_sub(gone);
                    count -= gone;
                    if payload.is_empty() {
                        shared.payloads.pop_front();
                    }
                }
                Some((at, _)) => {
                    let ahead = usize::try_from(*at - shared.base).unwrap_or(usize::MAX);
                    let gone = count.min(ahead).min(self.copied.len());
                    if gone == 0 {
                        return; // a stream that claims more than it was given
                    }
                    shared.base = shared.base.saturating_add(gone as u64);
                    drop_front(&mut self.copied, gone);
                    count -= gone;
                }
                None => self.shared = None,
            }
        }
        if self
            .shared
            .as_ref()
            .is_some_and(|shared| shared.payloads.is_empty())
        {
            self.shared = None;
        }
        let rest = count.min(self.copied.len());
        drop_front(&mut self.copied, rest);
    }
}

/// Takes away what was written; a buffer that is empty then is whole again, for the next frames.
fn drop_front(buffer: &mut BytesMut, count: usize) {
    if count == buffer.len() {
        buffer.clear(); // unlike `advance`, keeps the buffer whole
    } else {
        buffer.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes at most `at_once` bytes a call and `room` in all.
    #[derive(Default)]
    struct Sink {
        taken: Vec<u8>,
        at_once: usize,
        room: usize,
        flushes: usize,
        vectored: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.at_once).min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.vectored += 1;
            let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
            let some: Vec<u8> = bytes.take(self.at_once).collect();
            self.poll_write(context, &some)
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn put(outbox: &mut Outbox, spare: &mut Spare, head: &[u8], payload: &Bytes) -> Vec<u8> {
        outbox.frames(spare).extend_from_slice(head);
        outbox.payload(payload);
        [head, payload].concat()
    }

    #[test]
    fn order_is_kept_whatever_the_stream_takes_at_once() {
        for at_once in [1, 7, 4095, 4096, 5000, 1 << 20] {
            let mut spare = Spare::default();
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for n in 0..40_u8 {
                let payload = Bytes::from(vec![n; usize::from(n % 3) * 3000]);
                expected.extend(put(&mut outbox, &mut spare, &[0xFF, n], &payload));
            }
            assert_eq!(outbox.len(), expected.len());
            let mut sink = Sink {
                at_once,
                room: expected.len() / 2,
                ..Sink::default()
            };
            let mut context = Context::from_waker(Waker::noop());
            let written = outbox
                .write_to(&mut sink, &mut context, &mut spare)
                .unwrap();
            assert!(written.blocked);
            assert_eq!(outbox.len(), expected.len() - written.bytes);

            let last = put(&mut outbox, &mut spare, b"end", &Bytes::new());
            expected.extend(last);
            sink.room = usize::MAX;
            let written = outbox
                .write_to(&mut sink, &mut context, &mut spare)
                .unwrap();
            assert!(!written.blocked);
            assert!(outbox.is_empty());
            assert!(sink.taken == expected, "at_once {at_once}");
        }
    }

    #[test]
    fn small_frames_are_one_write_and_large_payloads_are_not_copied() {
        let mut spare = Spare::default();
        let mut outbox = Outbox::default();
        let mut sink = Sink {
            at_once: usize::MAX,
            room: usize::MAX,
            ..Sink::default()
        };
        let mut context = Context::from_waker(Waker::noop());
        let small = Bytes::from_static(b"1");
        for _ in 0..100 {
            put(&mut outbox, &mut spare, b"head", &small);
        }
        outbox
            .write_to(&mut sink, &mut context, &mut spare)
            .unwrap();
        assert_eq!((sink.taken.len(), sink.vectored, sink.flushes), (500, 0, 1));

        let large = Bytes::from(vec![7; SHARED_FROM]);
        put(&mut outbox, &mut spare, b"head", &large);
        assert!(!large.is_unique());
        outbox
            .write_to(&mut sink, &mut context, &mut spare)
            .unwrap();
        assert_eq!(sink.vectored, 1);
        assert!(large.is_unique());
    }

    #[test]
    fn an_empty_outbox_holds_no_memory() {
        let mut spare = Spare::default();
        let mut outbox = Outbox::default();
        let mut context = Context::from_waker(Waker::noop());
        for payload in [10, 100_000] {
            put(
                &mut outbox,
                &mut spare,
                b"head",
                &Bytes::from(vec![0; payload]),
            );
            let mut sink = Sink {
                at_once: 999,
                room: usize::MAX,
                ..Sink::default()
            };
            outbox
                .write_to(&mut sink, &mut context, &mut spare)
                .unwrap();
            assert_eq!(outbox.copied.capacity(), 0);
            assert!(outbox.shared.is_none());
        }
        assert!(spare.buffers.len() <= Spare::BUFFERS);
    }
}
