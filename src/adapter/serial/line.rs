//! The bytes of a port as frames.
//!
//! Invariants: a frame that came before something was asked is never handed over as its answer; what waits is bounded by
//! what one read brings. [`Line::frame`] may be dropped at any point without losing a byte.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::checksum::Checksum;
use super::framing::{Framer, FramerStats};
use super::options::Dialect;
use crate::clock::{self, WallTime};

/// Bytes that one read takes.
const READ_BYTES: usize = 512;
/// Reads that throw away what has come already; more is a line that never stops.
const DISCARDED_READS_MAX: usize = 64;

/// What an instrument said, and when its last byte arrived.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) payload: Vec<u8>,
    pub(super) at: WallTime,
}

/// A port with a framer.
#[derive(Debug)]
pub(super) struct Line<P> {
    port: P,
    framer: Framer,
    checksum: Option<Checksum>,
    frames: VecDeque<Said>,
}

impl<P: AsyncRead + AsyncWrite + Unpin> Line<P> {
    pub(super) fn new(port: P, dialect: &Dialect) -> Self {
        Self {
            port,
            framer: Framer::new(dialect.framing.clone(), clock::now()),
            checksum: dialect.checksum,
            frames: VecDeque::new(),
        }
    }

    pub(super) fn stats(&self) -> FramerStats {
        self.framer.stats()
    }

    /// The next frame; `None` where there is none before `until`.
    pub(super) async fn frame(&mut self, until: Instant) -> io::Result<Option<Said>> {
        loop {
            if clock::now() >= until {
                return Ok(None);
            }
            if let Some(said) = self.frames.pop_front() {
                return Ok(Some(said));
            }
            let wake = (self.framer.timeout_at()).map_or(until, |silence| silence.min(until));
            let mut bytes = [0; READ_BYTES];
            tokio::select! {
                biased;
                read = self.port.read(&mut bytes) => {
                    let count = some(read?)?;
                    self.take(bytes.get(..count).unwrap_or_default());
                }
                () = tokio::time::sleep_until(wake.into()) => self.take(&[]),
            }
        }
    }

    /// The frames that have come already.
    pub(super) async fn frames_so_far(&mut self) -> io::Result<Vec<Said>> {
        let mut bytes = [0; READ_BYTES];
        for _ in 0..DISCARDED_READS_MAX {
            match tokio::time::timeout(Duration::ZERO, self.port.read(&mut bytes)).await {
                Ok(read) => {
                    let count = some(read?)?;
                    self.take(bytes.get(..count).unwrap_or_default());
                }
                Err(_) => break,
            }
        }
        Ok(self.frames.drain(..).collect())
    }

    /// Sends, within `limit`.
    pub(super) async fn send(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        let send = async {
            self.port.write_all(bytes).await?;
            self.port.flush().await
        };
        tokio::time::timeout(limit, send)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Throws away what has come: the next byte begins an answer.
    pub(super) async fn discard(&mut self) -> io::Result<()> {
        let mut bytes = [0; READ_BYTES];
        for _ in 0..DISCARDED_READS_MAX {
            // Even no time at all is enough for what is there.
            match tokio::time::timeout(Duration::ZERO, self.port.read(&mut bytes)).await {
                Ok(read) => some(read?)?,
                Err(_) => break,
            };
        }
        self.frames.clear();
        self.framer.restart();
        Ok(())
    }

    /// Throws away what comes until nothing has come for `quiet`, at the latest at `until`.
    pub(super) async fn settle(&mut self, quiet: Duration, until: Instant) -> io::Result<()> {
        let mut bytes = [0; READ_BYTES];
        while clock::now() < until {
            match tokio::time::timeout(quiet, self.port.read(&mut bytes)).await {
                Ok(read) => some(read?)?,
                Err(_) => break,
            };
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        let (now, at) = (clock::now(), clock::wall());
        let (checksum, frames) = (self.checksum, &mut self.frames);
        let mut sound = |frame: super::framing::Frame<'_>| {
            let sound = checksum.is_none_or(|checksum| checksum.is_right(frame.bytes));
            if sound {
                frames.push_back(Said {
                    payload: frame.payload.to_vec(),
                    at,
                });
            }
            sound
        };
        if bytes.is_empty() {
            self.framer.timeout(now, &mut sound);
        } else {
            self.framer.receive(bytes, now, &mut sound);
        }
    }
}

/// A port that reads nothing is closed.
fn some(count: usize) -> io::Result<usize> {
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(count)
}
