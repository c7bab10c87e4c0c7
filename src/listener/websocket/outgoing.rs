//! What goes out on a WebSocket: each MQTT packet in a frame of its own.
//!
//! A receiver must take packets as frames cut them [MQTT-6.0.0-2], but some clients read the first packet of a frame and
//! forget the others, and Mosquitto, which they were tried with, sends one in a frame.
//!
//! Small packets are copied with the heads of their frames, many into one write; a large one goes out behind its head as the
//! slices it came in. What comes before the length of a packet is whole, or is no MQTT, makes one frame as it is.
//!
//! Invariant: nothing goes between a frame's head and its end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut as _};
use tokio::io::AsyncWrite;

use super::deframe::{BINARY, head};
use crate::mqtt::{FIXED_HEADER_BYTES_MAX, packet_len};

/// Slices of one write, the head among them.
const SLICES: usize = 17;
/// A packet up to here is copied.
const COPIED_BYTES: usize = 4 << 10;
/// Frames of one write; also what may wait here.
const JOINED_BYTES: usize = 16 << 10;

/// The frames that are being written.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Frames whose beginning the socket has taken, or some of them; their writer was told that all of it is gone.
    owed: Vec<u8>,
    /// The head of a large packet's frame.
    head: [u8; 10],
    /// The part of it that is not written yet.
    head_from: u8,
    head_to: u8,
    /// What the large packet's frame is owed behind its head.
    left: usize,
}

impl Outgoing {
    /// Whether the socket has taken all frames to their end.
    pub(super) fn is_over(&self) -> bool {
        self.owed.is_empty() && self.left == 0 && self.head_from == self.head_to
    }

    /// Writes what was promised to the socket but not taken by it. It may leave a large packet's frame open.
    pub(super) fn poll_owed<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.owed.is_empty() {
            let count = ready!(Pin::new(&mut *inner).poll_write(context, &self.owed))?;
            self.drop_owed(some(count)?);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes packets from `slices`, which go on where those of the last call were taken up to; says how many bytes it took.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_owed(inner, context))?;
        if self.is_over() {
            let mut packets = Slices::new(slices);
            let before = packets.remaining();
            let joined = join(&mut packets);
            if !joined.is_empty() {
                let count = ready!(Pin::new(inner).poll_write(context, &joined))?;
                self.owed = joined;
                self.drop_owed(some(count)?);
                return Poll::Ready(Ok(before - packets.remaining()));
            }
            self.begin(packets.packet().unwrap_or(before));
        }
        loop {
            let count = ready!(if inner.is_write_vectored() {
                self.poll_slices(Pin::new(inner), context, slices)
            } else {
                self.poll_parts(Pin::new(inner), context, slices)
            })?;
            let payload = self.consume(some(count)?);
            if payload > 0 {
                return Poll::Ready(Ok(payload));
            }
        }
    }

    fn drop_owed(&mut self, count: usize) {
        if count >= self.owed.len() {
            self.owed = Vec::new();
        } else {
            self.owed.drain(..count);
        }
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

    fn poll_slices<S: AsyncWrite>(
        &self,
        inner: Pin<&mut S>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut parts = [IoSlice::new(&[]); SLICES];
        let all = std::iter::once(self.head_left()).chain(owed(slices, self.left));
        let mut count = 0;
        for (place, part) in parts.iter_mut().zip(all) {
            *place = IoSlice::new(part);
            count += 1;
        }
        let parts = parts.get(..count).unwrap_or_default();
        inner.poll_write_vectored(context, parts)
    }

    /// For TLS, which makes a record of each write: the head is not to be one by itself.
    fn poll_parts<S: AsyncWrite>(
        &self,
        inner: Pin<&mut S>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let head = self.head_left();
        let mut parts = owed(slices, self.left);
        if head.is_empty() {
            return inner.poll_write(context, parts.next().unwrap_or_default());
        }
        let mut joined = Vec::with_capacity(COPIED_BYTES);
        joined.extend(head);
        for part in parts {
            let room = COPIED_BYTES - joined.len();
            joined.extend(part.iter().take(room));
        }
        inner.poll_write(context, &joined)
    }
}

/// A stream that takes nothing of something is of no more use.
fn some(count: usize) -> io::Result<usize> {
    if count == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(count)
}

/// Takes whole packets as long as they are small, each into its frame.
fn join(packets: &mut Slices<'_>) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some(length) = packets.packet()
        && length <= packets.remaining().min(COPIED_BYTES)
        && joined.len() + length <= JOINED_BYTES
    {
        if joined.is_empty() {
            joined.reserve(packets.remaining().min(JOINED_BYTES));
        }
        let (head, count) = head(BINARY, length as u64);
        joined.extend(head.iter().take(count));
        joined.put(packets.take(length));
    }
    joined
}

/// The parts of `slices` that a frame is owed.
fn owed<'a>(slices: &'a [IoSlice<'_>], mut left: usize) -> impl Iterator<Item = &'a [u8]> {
    slices.iter().filter_map(move |slice| {
        let part = slice.get(..left.min(slice.len()))?;
        left -= part.len();
        (!part.is_empty()).then_some(part)
    })
}

/// The slices of a vectored write as bytes in a row.
#[derive(Clone, Copy)]
struct Slices<'a> {
    slices: &'a [IoSlice<'a>],
    /// Of the first one, so much is gone.
    at: usize,
}

impl<'a> Slices<'a> {
    fn new(slices: &'a [IoSlice<'a>]) -> Self {
        Self { slices, at: 0 }
    }

    /// Bytes of the packet that begins here; it may go on beyond the slices.
    fn packet(self) -> Option<usize> {
        let mut header = [0; FIXED_HEADER_BYTES_MAX];
        let header = header.get_mut(..self.remaining().min(FIXED_HEADER_BYTES_MAX))?;
        let mut ahead = self;
        ahead.copy_to_slice(header);
        packet_len(header)
    }
}

impl Buf for Slices<'_> {
    fn remaining(&self) -> usize {
        let all: usize = self.slices.iter().map(|slice| slice.len()).sum();
        all - self.at
    }

    fn chunk(&self) -> &[u8] {
        let mut rest = self.slices.iter();
        let first = rest.next().and_then(|first| first.get(self.at..));
        match first {
            Some([]) => rest
                .find(|slice| !slice.is_empty())
                .map_or(&[], |slice| slice),
            first => first.unwrap_or_default(),
        }
    }

    fn advance(&mut self, count: usize) {
        self.at += count;
        while let Some((first, rest)) = self.slices.split_first()
            && first.len() <= self.at
        {
            self.at -= first.len();
            self.slices = rest;
        }
    }
}
