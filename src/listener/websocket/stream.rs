//! The bytes of a WebSocket as a stream.
//!
//! Reading: what the socket gives is taken out of its frames in the reader's own buffer. Writing: what the writer hands
//! over goes out behind the head of a frame; where the socket takes a part only, the frame is owed the rest, and nothing
//! else goes in between. Ping is answered, close is answered and is the end of the stream; shutting down waits for the
//! client's close, for as long as its caller lets it.
//!
//! A client that sends nothing but pings does not keep the thread: after a few reads without payload the others have
//! their turn. Of its pings only the newest is answered when it does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::deframe::{BINARY, CLOSE, Control, Deframer, PONG, head};
use crate::broker::Stream;

/// A frame that we send: clients keep a frame until it is whole.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// Slices of one write, the head among them.
const SLICES: usize = 17;
/// Where the stream below makes a record of each slice, the head and this much go together.
const JOINED_BYTES: usize = 4 << 10;
/// Reads in a turn that may bring no payload.
const EMPTY_READS_MAX: usize = 16;

/// Status code of a close in good order.
const NORMAL: u16 = 1000;

/// A WebSocket whose handshake is done.
pub(in crate::listener) struct WebSocket<S> {
    inner: S,
    /// What came right behind the handshake.
    ahead: Bytes,
    deframer: Deframer,
    frame: Frame,
    answers: Answers,
}

/// The data frame that is being written.
#[derive(Default)]
struct Frame {
    head: [u8; 10],
    /// The part of the head that is not written yet.
    head_from: u8,
    head_to: u8,
    /// Payload that it is owed.
    left: usize,
}

/// Control frames to be sent, between data frames only.
#[derive(Default)]
struct Answers {
    /// The frame that is being written.
    present: Vec<u8>,
    /// The newest ping that waits for its answer.
    pong: Option<Vec<u8>>,
    close: Option<u16>,
    /// Our close was asked for; there is only one.
    closing: bool,
    unflushed: bool,
}

impl<S> WebSocket<S> {
    /// `ahead`: what the handshake read beyond itself.
    pub(in crate::listener) fn new(inner: S, ahead: Bytes) -> Self {
        Self {
            inner,
            ahead,
            deframer: Deframer::default(),
            frame: Frame::default(),
            answers: Answers::default(),
        }
    }
}

impl Frame {
    fn is_over(&self) -> bool {
        self.left == 0 && self.head_from == self.head_to
    }

    fn begin(&mut self, length: usize) {
        let (head, count) = head(BINARY, length as u64);
        self.head = head;
        self.head_from = 0;
        self.head_to = count.to_le_bytes()[0]; // ten at most
        self.left = length;
    }

    fn head_left(&self) -> &[u8] {
        let range = usize::from(self.head_from)..usize::from(self.head_to);
        self.head.get(range).unwrap_or_default()
    }

    /// `count` bytes are gone; says how many of them were payload.
    fn consume(&mut self, count: usize) -> usize {
        let of_head = self.head_left().len().min(count);
        self.head_from = self.head_from.saturating_add(of_head.to_le_bytes()[0]);
        let payload = (count - of_head).min(self.left);
        self.left -= payload;
        payload
    }
}

impl Answers {
    fn take(&mut self, control: Control) {
        match control {
            Control::Ping(payload) if !self.closing => self.pong = Some(payload),
            Control::Ping(_) => {}
            Control::Close(code) => self.close(code.unwrap_or(NORMAL)),
        }
    }

    fn close(&mut self, code: u16) {
        if !self.closing {
            self.closing = true;
            self.pong = None;
            self.close = Some(code);
        }
    }

    fn next(&mut self) -> bool {
        let (opcode, payload) = if let Some(payload) = self.pong.take() {
            (PONG, payload)
        } else if let Some(code) = self.close.take() {
            (CLOSE, code.to_be_bytes().to_vec())
        } else {
            return false;
        };
        let (head, length) = head(opcode, payload.len() as u64);
        self.present.extend(head.iter().take(length));
        self.present.extend(payload);
        true
    }

    fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.present.is_empty() || self.next() {
            let count = ready!(Pin::new(&mut *inner).poll_write(context, &self.present))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.present.drain(..count.min(self.present.len()));
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(inner).poll_flush(context))?;
            self.unflushed = false;
        }
        self.present = Vec::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Sends what answers wait, unless a data frame is unfinished. Where the socket takes no more, it wakes the task.
    fn poll_answers(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.frame.is_over() {
            return Poll::Pending;
        }
        self.answers.poll_send(&mut self.inner, context)
    }

    /// One read: payload, or none of it although there may be more. `None`: the end.
    fn poll_payload(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        let before = buffer.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        } else {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(count));
        }
        let read = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        if read.is_empty() {
            return Poll::Ready(Ok(None));
        }
        let answers = &mut self.answers;
        match self.deframer.strip(read, |control| answers.take(control)) {
            Ok(count) => {
                buffer.set_filled(before + count);
                Poll::Ready(Ok(Some(count)))
            }
            Err(violation) => {
                buffer.set_filled(before);
                tracing::info!(%violation, "a WebSocket is closed");
                self.answers.close(violation.code());
                // It fits into the socket's buffer or is lost: nothing more is expected of this client.
                let told = self.poll_answers(context);
                tracing::debug!(?told, "the client is told");
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)))
            }
        }
    }

    fn poll_write_slices(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.frame.is_over() {
            if self.answers.closing {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            ready!(self.poll_answers(context))?;
            self.frame.begin(length.min(FRAME_BYTES_MAX));
        }
        loop {
            let Self { inner, frame, .. } = self;
            let count = ready!(if inner.is_write_vectored() {
                poll_vectored(Pin::new(inner), context, frame, slices)
            } else {
                poll_joined(Pin::new(inner), context, frame, slices)
            })?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let payload = frame.consume(count);
            if payload > 0 {
                // What waited for the frame to be over goes now, or when the socket takes it.
                if let Poll::Ready(Err(fault)) = self.poll_answers(context) {
                    return Poll::Ready(Err(fault));
                }
                return Poll::Ready(Ok(payload));
            }
        }
    }
}

/// The parts of `slices` that the frame is owed.
fn owed<'a>(slices: &'a [IoSlice<'_>], mut left: usize) -> impl Iterator<Item = &'a [u8]> {
    slices.iter().filter_map(move |slice| {
        let part = slice.get(..left.min(slice.len()))?;
        left -= part.len();
        (!part.is_empty()).then_some(part)
    })
}

fn poll_vectored<S: AsyncWrite>(
    inner: Pin<&mut S>,
    context: &mut Context<'_>,
    frame: &Frame,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut parts = [IoSlice::new(&[]); SLICES];
    let all = std::iter::once(frame.head_left()).chain(owed(slices, frame.left));
    let mut count = 0;
    for (place, part) in parts.iter_mut().zip(all) {
        *place = IoSlice::new(part);
        count += 1;
    }
    let parts = parts.get(..count).unwrap_or_default();
    inner.poll_write_vectored(context, parts)
}

/// For TLS, which makes a record of each write.
fn poll_joined<S: AsyncWrite>(
    inner: Pin<&mut S>,
    context: &mut Context<'_>,
    frame: &Frame,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let head = frame.head_left();
    let mut parts = owed(slices, frame.left);
    if head.is_empty() {
        return inner.poll_write(context, parts.next().unwrap_or_default());
    }
    let mut joined = [0; JOINED_BYTES];
    let mut room = joined.as_mut_slice();
    for mut part in std::iter::once(head).chain(parts) {
        let count = part.len().min(room.len());
        part.copy_to_slice(room.get_mut(..count).unwrap_or_default());
        room = room.get_mut(count..).unwrap_or_default();
    }
    let length = JOINED_BYTES - room.len();
    inner.poll_write(context, joined.get(..length).unwrap_or_default())
}

impl<S: Stream> Stream for WebSocket<S> {
    fn rehome(&mut self) -> io::Result<()> {
        self.inner.rehome()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        for _ in 0..EMPTY_READS_MAX {
            if let Poll::Ready(Err(fault)) = this.poll_answers(context) {
                return Poll::Ready(Err(fault));
            }
            if this.deframer.is_closed() {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.poll_payload(context, buffer))? {
                None => return Poll::Ready(Ok(())),
                Some(0) => {}
                Some(_) => {
                    // A pong need not wait until the payload has been worked on.
                    return match this.poll_answers(context) {
                        Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
                        _ => Poll::Ready(Ok(())),
                    };
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// The closing handshake, then the end of the socket. Not after an unfinished frame: nothing can be said then.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.answers.close(NORMAL);
        if this.frame.is_over() {
            ready!(this.poll_answers(context))?;
            let mut reads = 0;
            while !this.deframer.is_closed() {
                if reads == EMPTY_READS_MAX {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                reads += 1;
                let mut discarded = [0; 1 << 10];
                let mut buffer = ReadBuf::new(&mut discarded);
                match ready!(this.poll_payload(context, &mut buffer)) {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            }
        }
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::deframe::PING;
    use super::super::deframe::tests::masked;
    use super::*;

    /// A client that takes `room` bytes, at most `at_once` in a call, and says what is in `input`.
    #[derive(Default)]
    struct Peer {
        input: Bytes,
        taken: Vec<u8>,
        at_once: usize,
        room: usize,
        vectored: bool,
        writes: usize,
    }

    impl AsyncRead for Peer {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let count = self.input.len().min(buffer.remaining());
            if count == 0 {
                return Poll::Pending;
            }
            buffer.put_slice(&self.input.split_to(count));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.at_once).min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.writes += 1;
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            assert!(self.vectored);
            let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
            let some: Vec<u8> = bytes.take(self.at_once).collect();
            self.poll_write(context, &some)
        }

        fn is_write_vectored(&self) -> bool {
            self.vectored
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The frames, each with its first byte.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (first, short) = (bytes.get_u8(), bytes.get_u8());
            let length = match short {
                126 => usize::from(bytes.get_u16()),
                127 => usize::try_from(bytes.get_u64()).unwrap(),
                short => usize::from(short),
            };
            frames.push((first, bytes[..length].to_vec()));
            bytes.advance(length);
        }
        frames
    }

    #[test]
    fn whatever_the_socket_takes_frames_are_whole_and_pongs_go_between_them() {
        for vectored in [true, false] {
            for (at_once, length) in [
                (1, 3000),
                (2, 3000),
                (3, 3000),
                (11, 9000),
                (4095, 150_000),
                (usize::MAX, 150_000),
            ] {
                let peer = Peer {
                    at_once,
                    vectored,
                    ..Peer::default()
                };
                let mut socket = WebSocket::new(peer, Bytes::new());
                let mut context = Context::from_waker(Waker::noop());
                let payload: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
                let mut sent = 0;
                let mut turns = 0_usize;
                while sent < payload.len() {
                    turns += 1;
                    socket.inner.room = 1 + turns * 997 % 9000;
                    if turns.is_multiple_of(7) {
                        socket.inner.input = masked(0x80 | PING, b"there?").into();
                        let mut bytes = [0; 64];
                        let mut buffer = ReadBuf::new(&mut bytes);
                        let read = Pin::new(&mut socket).poll_read(&mut context, &mut buffer);
                        assert!(read.is_pending());
                    }
                    let (first, second) = payload[sent..].split_at((payload.len() - sent) / 3);
                    let slices = [IoSlice::new(first), IoSlice::new(second)];
                    let written = Pin::new(&mut socket).poll_write_vectored(&mut context, &slices);
                    if let Poll::Ready(written) = written {
                        sent += written.unwrap();
                    }
                }
                let (mut data, mut pongs) = (Vec::new(), 0);
                for (first, payload) in frames(&socket.inner.taken) {
                    match first {
                        0x82 => data.extend(payload),
                        0x8A => {
                            assert_eq!(payload, b"there?");
                            pongs += 1;
                        }
                        other => panic!("{other:#x}"),
                    }
                }
                assert!(data == payload, "at_once {at_once}");
                assert!(pongs > 0 || turns < 7);
            }
        }
    }

    #[test]
    fn a_small_batch_is_one_write() {
        for vectored in [true, false] {
            let peer = Peer {
                at_once: usize::MAX,
                room: usize::MAX,
                vectored,
                ..Peer::default()
            };
            let mut socket = WebSocket::new(peer, Bytes::new());
            let mut context = Context::from_waker(Waker::noop());
            let written = Pin::new(&mut socket).poll_write(&mut context, &[7; 1000]);
            assert!(matches!(written, Poll::Ready(Ok(1000))));
            assert_eq!(socket.inner.writes, 1);
            assert_eq!(frames(&socket.inner.taken), [(0x82, vec![7; 1000])]);
        }
    }

    #[test]
    fn an_idle_websocket_is_small() {
        assert!(
            size_of::<WebSocket<()>>() <= 200,
            "{}",
            size_of::<WebSocket<()>>()
        );
    }
}
