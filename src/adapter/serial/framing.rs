//! Bytes of a line to frames. No I/O; instants are arguments.
//!
//! Bytes go in one by one, so into which pieces the line cut them cannot matter. Whoever takes a frame says whether it is
//! sound (a checksum); of one that is not, only its first byte is given up where a mark can tell the next beginning, so a
//! damaged or false frame takes no good one with it.
//!
//! Invariants: at most `max_length` bytes, and the delimiter behind them, are held; every byte ends in a sound frame, in
//! its delimiter, or in `garbage`; a frame whose beginning was not seen is never handed over.

use std::ops::Range;
use std::time::Instant;

use super::options::{Framing, FramingOptions};

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// All of it: what checksums count in.
    pub bytes: &'a [u8],
    /// What stands between the marks; without marks, all of it: what is parsed.
    pub payload: &'a [u8],
}

/// What became of the bytes, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramerStats {
    /// Frames that were sound.
    pub frames: u64,
    /// Frames that were not.
    pub refused: u64,
    /// Beginnings without an end within `max_length`.
    pub overflows: u64,
    /// Bytes that belong to no sound frame.
    pub garbage: u64,
}

/// Cuts the bytes of one line.
#[derive(Debug)]
pub struct Framer {
    options: FramingOptions,
    /// Bytes of the frame that is coming; with a mark it begins with it, or with a part of it.
    buffer: Vec<u8>,
    /// No end stands before here.
    searched: usize,
    /// The beginning was not seen, or was too long: nothing is a frame before the next border.
    skipping: bool,
    heard: Instant,
    stats: FramerStats,
}

/// What the buffer begins with.
enum Found {
    /// Not yet known.
    More,
    /// So many bytes are a frame, with its payload.
    Frame(usize, Range<usize>),
    /// A frame begins there; the one before was cut off.
    Later(usize),
    /// A beginning without an end within the limit.
    TooLong,
}

impl Framer {
    /// Of a line that may be in the middle of a frame.
    #[must_use]
    pub fn new(options: FramingOptions, now: Instant) -> Self {
        Self {
            skipping: options.has_borders(),
            options,
            buffer: Vec::new(),
            searched: 0,
            heard: now,
            stats: FramerStats::default(),
        }
    }

    /// What comes next is a beginning: the instrument has been asked, and was silent before.
    pub fn restart(&mut self) {
        self.drop_front(self.buffer.len());
        self.skipping = false;
    }

    /// Bytes that wait for more.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// What became of the bytes.
    #[must_use]
    pub fn stats(&self) -> FramerStats {
        self.stats
    }

    /// When [`Framer::timeout`] is to be called unless bytes come before.
    #[must_use]
    pub fn timeout_at(&self) -> Option<Instant> {
        let waiting = self.skipping || !self.buffer.is_empty();
        waiting.then(|| self.heard + self.options.silence())
    }

    /// Bytes that came at `now`. `sound` is called with each frame and says whether it is one.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: Instant,
        mut sound: impl FnMut(Frame<'_>) -> bool,
    ) {
        if bytes.is_empty() {
            return;
        }
        self.timeout(now, &mut sound);
        self.heard = now;
        for byte in bytes {
            self.buffer.push(*byte);
            match &self.options.kind {
                Framing::Delimiter(delimiter) => {
                    let delimiter = delimiter.len();
                    self.delimited(delimiter, &mut sound);
                }
                Framing::IdleGap(_) => self.hold_until_silence(),
                _ => self.marked(&mut sound),
            }
        }
    }

    /// Does what silence until `now` means.
    pub fn timeout(&mut self, now: Instant, mut sound: impl FnMut(Frame<'_>) -> bool) {
        if self.timeout_at().is_none_or(|at| now < at) {
            return;
        }
        match self.options.kind {
            Framing::IdleGap(_) if !self.skipping => {
                let length = self.buffer.len();
                if self.offer(length, 0..length, &mut sound) {
                    self.buffer.clear();
                }
            }
            Framing::Delimiter(_) | Framing::IdleGap(_) => {}
            // A false beginning may have kept a whole frame waiting behind it.
            _ => {
                while !self.buffer.is_empty() {
                    self.align(1);
                    self.marked(&mut sound);
                }
            }
        }
        self.restart();
    }

    fn delimited(&mut self, delimiter: usize, sound: &mut impl FnMut(Frame<'_>) -> bool) {
        let held = self.buffer.len();
        if self.buffer.ends_with(self.options.mark()) {
            let length = held - delimiter;
            let taken = !self.skipping && (length == 0 || self.offer(length, 0..length, sound));
            if !taken {
                self.stats.garbage += length as u64;
            }
            self.buffer.clear();
            self.skipping = false;
        } else if self.skipping {
            // A part of the delimiter may stand at the end.
            self.drop_front(held.saturating_sub(delimiter.saturating_sub(1)));
        } else if held >= self.options.max_length + delimiter {
            self.stats.overflows += 1;
            self.skipping = true;
        }
    }

    fn hold_until_silence(&mut self) {
        if self.buffer.len() > self.options.max_length && !self.skipping {
            self.stats.overflows += 1;
            self.skipping = true;
        }
        if self.skipping {
            self.drop_front(self.buffer.len());
        }
    }

    /// Takes the frames that begin where they say they do.
    fn marked(&mut self, sound: &mut impl FnMut(Frame<'_>) -> bool) {
        self.align(0);
        loop {
            match self.look() {
                Found::More => return,
                Found::Later(at) => self.drop_front(at),
                Found::TooLong => {
                    self.stats.overflows += 1;
                    self.align(1);
                }
                Found::Frame(length, payload) => {
                    if self.offer(length, payload, sound) {
                        self.buffer.drain(..length);
                        self.searched = 0;
                        self.align(0);
                    } else {
                        self.align(1);
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Found {
        match &self.options.kind {
            Framing::Marks {
                start,
                end,
                trailer,
            } => {
                let (found, searched) = look_for_end(
                    &self.buffer,
                    self.searched,
                    (start, end),
                    *trailer,
                    self.options.max_length,
                );
                self.searched = searched;
                found
            }
            Framing::Length { length, .. } => whole(&self.buffer, *length),
            Framing::LengthField {
                offset,
                size,
                endian,
                adjust,
                ..
            } => {
                let Some(number) = self.buffer.get(*offset..offset + size) else {
                    return Found::More;
                };
                let length = endian.number(number).saturating_add(*adjust);
                match usize::try_from(length) {
                    Ok(length) if length >= offset + size && length <= self.options.max_length => {
                        whole(&self.buffer, length)
                    }
                    _ => Found::TooLong,
                }
            }
            Framing::Delimiter(_) | Framing::IdleGap(_) => Found::More,
        }
    }

    /// Drops bytes so that from `from` on the buffer begins with the mark, or with a part of it at its end.
    fn align(&mut self, from: usize) {
        let (buffer, mark) = (&self.buffer, self.options.mark());
        let agrees = |at: &usize| {
            let rest = buffer.get(*at..).unwrap_or_default();
            rest.starts_with(mark) || mark.starts_with(rest)
        };
        let at = (from..buffer.len()).find(agrees).unwrap_or(buffer.len());
        self.drop_front(at);
    }

    fn drop_front(&mut self, count: usize) {
        if count > 0 {
            self.stats.garbage += count as u64;
            self.buffer.drain(..count.min(self.buffer.len()));
            self.searched = 0;
        }
    }

    fn offer(
        &mut self,
        length: usize,
        payload: Range<usize>,
        sound: &mut impl FnMut(Frame<'_>) -> bool,
    ) -> bool {
        let frame = Frame {
            bytes: self.buffer.get(..length).unwrap_or_default(),
            payload: self.buffer.get(payload).unwrap_or_default(),
        };
        let sound = sound(frame);
        if sound {
            self.stats.frames += 1;
        } else {
            self.stats.refused += 1;
        }
        sound
    }
}

fn whole(buffer: &[u8], length: usize) -> Found {
    if buffer.len() < length {
        Found::More
    } else {
        Found::Frame(length, 0..length)
    }
}

/// The end mark, or another start before it; and up to where there is neither.
fn look_for_end(
    buffer: &[u8],
    searched: usize,
    (start, end): (&[u8], &[u8]),
    trailer: usize,
    max_length: usize,
) -> (Found, usize) {
    let mut at = searched.max(start.len());
    while at < buffer.len() {
        let rest = buffer.get(at..).unwrap_or_default();
        if rest.starts_with(end) {
            let length = at + end.len() + trailer;
            let found = if length > max_length {
                Found::TooLong
            } else if buffer.len() < length {
                Found::More
            } else {
                Found::Frame(length, start.len()..at)
            };
            return (found, at);
        }
        if end.starts_with(rest) {
            break;
        }
        if rest.starts_with(start) {
            return (Found::Later(at), at);
        }
        if start.starts_with(rest) {
            break;
        }
        at += 1;
    }
    let found = if buffer.len() < max_length {
        Found::More
    } else {
        Found::TooLong
    };
    (found, at)
}
