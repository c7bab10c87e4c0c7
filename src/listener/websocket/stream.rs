//! The bytes of a WebSocket as a stream.
//!
//! Reading: what the socket gives is taken out of its frames in the reader's own buffer. Writing is [`Outgoing`]'s; control
//! frames go between its frames. Ping is answered, close is answered and is the end of the stream; shutting down waits for the
//! client's close, for as long as its caller lets it.
//!
//! A client that sends nothing but pings does not keep the thread: after a few reads without payload the others have
//! their turn. Of its pings only the newest is answered when it does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::deframe::{CLOSE, Control, Deframer, PONG, head};
use super::outgoing::Outgoing;
use crate::broker::Stream;

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
    outgoing: Outgoing,
    answers: Answers,
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
            outgoing: Outgoing::default(),
            answers: Answers::default(),
        }
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
        if !self.outgoing.is_over() {
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
        if self.outgoing.is_over() {
            if self.answers.closing {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            ready!(self.poll_answers(context))?;
        }
        let Self {
            inner, outgoing, ..
        } = self;
        let taken = ready!(outgoing.poll_write(inner, context, slices))?;
        // What waited for the frame to be over goes now, or when the socket takes it.
        if let Poll::Ready(Err(fault)) = self.poll_answers(context) {
            return Poll::Ready(Err(fault));
        }
        Poll::Ready(Ok(taken))
    }
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
        let this = &mut *self;
        ready!(this.outgoing.poll_owed(&mut this.inner, context))?;
        Pin::new(&mut this.inner).poll_flush(context)
    }

    /// The closing handshake, then the end of the socket. Not after an unfinished frame: nothing can be said then.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.answers.close(NORMAL);
        ready!(this.outgoing.poll_owed(&mut this.inner, context))?;
        if this.outgoing.is_over() {
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

    use bytes::Buf as _;

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

    /// A PUBLISH that has `body` bytes behind its fixed header, as far as anything here looks at it.
    fn packet(body: usize) -> Vec<u8> {
        let mut packet = vec![0x30];
        let [low, middle, high, _] = u32::try_from(body).unwrap().to_le_bytes();
        let groups = [low & 0x7F, middle << 1 | low >> 7, high << 2 | middle >> 6];
        match body {
            0..0x80 => packet.push(groups[0]),
            0x80..0x4000 => packet.extend([groups[0] | 0x80, groups[1] & 0x7F]),
            _ => packet.extend([groups[0] | 0x80, groups[1] | 0x80, groups[2]]),
        }
        packet.extend((0..=250).cycle().take(body));
        packet
    }

    #[test]
    fn whatever_the_socket_takes_a_frame_is_a_packet_and_pongs_go_between_them() {
        const BODIES: [usize; 12] = [
            0, 1, 70_000, 126, 127, 128, 4000, 5, 5000, 16_383, 16_384, 2,
        ];
        for vectored in [true, false] {
            for (at_once, packets) in [
                (1, 2),
                (2, 7),
                (3, 7),
                (11, 12),
                (4095, 100),
                (usize::MAX, 100),
            ] {
                let peer = Peer {
                    at_once,
                    vectored,
                    ..Peer::default()
                };
                let mut socket = WebSocket::new(peer, Bytes::new());
                let mut context = Context::from_waker(Waker::noop());
                let packets: Vec<Vec<u8>> = (0..packets)
                    .map(|number| packet(BODIES[number % BODIES.len()]))
                    .collect();
                let payload = packets.concat();
                let mut sent = 0;
                let mut turns = 0_usize;
                loop {
                    turns += 1;
                    socket.inner.room = 1 + turns * 997 % 9000;
                    if turns.is_multiple_of(7) {
                        socket.inner.input = masked(0x80 | PING, b"there?").into();
                        let mut bytes = [0; 64];
                        let mut buffer = ReadBuf::new(&mut bytes);
                        let read = Pin::new(&mut socket).poll_read(&mut context, &mut buffer);
                        assert!(read.is_pending());
                    }
                    if sent == payload.len() {
                        let flushed = Pin::new(&mut socket).poll_flush(&mut context);
                        if flushed.is_ready() {
                            break;
                        }
                        continue;
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
                        0x82 => data.push(payload),
                        0x8A => {
                            assert_eq!(payload, b"there?");
                            pongs += 1;
                        }
                        other => panic!("{other:#x}"),
                    }
                }
                assert!(data == packets, "at_once {at_once}, vectored {vectored}");
                assert!(pongs > 0 || turns < 7);
            }
        }
    }

    #[test]
    fn a_batch_of_small_packets_is_one_write() {
        for vectored in [true, false] {
            let peer = Peer {
                at_once: usize::MAX,
                room: usize::MAX,
                vectored,
                ..Peer::default()
            };
            let mut socket = WebSocket::new(peer, Bytes::new());
            let mut context = Context::from_waker(Waker::noop());
            let batch = packet(70).repeat(100);
            let written = Pin::new(&mut socket).poll_write(&mut context, &batch);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == batch.len()));
            assert_eq!(socket.inner.writes, 1);
            let one = (0x82, packet(70));
            assert_eq!(frames(&socket.inner.taken), vec![one; 100]);
        }
    }

    #[test]
    fn what_is_no_packet_is_a_frame_as_it_is() {
        let peer = Peer {
            at_once: usize::MAX,
            room: usize::MAX,
            ..Peer::default()
        };
        let mut socket = WebSocket::new(peer, Bytes::new());
        let mut context = Context::from_waker(Waker::noop());
        for bytes in [&[0x30_u8][..], &[0xFF; 100]] {
            let written = Pin::new(&mut socket).poll_write(&mut context, bytes);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == bytes.len()));
            assert_eq!(
                frames(&std::mem::take(&mut socket.inner.taken)),
                [(0x82, bytes.to_vec())]
            );
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
