//! What passes on a line: the bytes of one transaction, looked at as they come, so that tokio-modbus sees nothing but the
//! one right reply. Never sends or waits by itself.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::options::UnitId;
use super::super::reason::Reason;
use super::doubt::{Late, LineDoubts};
use super::frame::{Verdict, is_noise, judge};
use super::open::Port;
use crate::clock;

/// The longest frame (section 2.5.1), and so the most that one read brings.
const FRAME_MAX: usize = 256;

/// The port and what passes.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) port: Option<Box<dyn Port>>,
    discards_echo: bool,
    /// Of this transaction.
    request: Vec<u8>,
    /// Bytes of its echo that have come.
    echoed: usize,
    /// What came and was no echo and no late reply.
    came: Vec<u8>,
    /// Why what came is no reply.
    pub(super) wrong: Option<Reason>,
    pub(super) doubts: LineDoubts,
    /// Units of which late replies came.
    pub(super) late: Vec<UnitId>,
    /// When something was last sent or came.
    pub(super) at: Instant,
}

pub(super) fn lock(traffic: &Mutex<Traffic>) -> MutexGuard<'_, Traffic> {
    traffic.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traffic {
    /// Without a port.
    pub(super) fn new(discards_echo: bool) -> Self {
        Self {
            port: None,
            discards_echo,
            request: Vec::with_capacity(FRAME_MAX),
            echoed: 0,
            came: Vec::with_capacity(FRAME_MAX),
            wrong: None,
            doubts: LineDoubts::default(),
            late: Vec::new(),
            at: clock::now(),
        }
    }

    /// A request follows.
    pub(super) fn start(&mut self) {
        self.request.clear();
        self.echoed = 0;
        self.came.clear();
        self.wrong = None;
    }

    /// Something came and is forgotten, but for late replies.
    pub(super) fn poll_discard(&mut self, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_come(context))?;
        loop {
            match self.skip_late() {
                Late::Reply(..) => {}
                Late::Part => return Poll::Ready(Ok(())),
                Late::No => drop(self.came.remove(0)),
            }
        }
    }

    /// At least one byte came. A stream that has ended reads 0 bytes for ever.
    fn poll_come(&mut self, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let Some(port) = &mut self.port else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut bytes = [0; FRAME_MAX];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(port).poll_read(context, &mut buffer))?;
        self.at = clock::now();
        let came = buffer.filled();
        if came.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.came.extend_from_slice(came);
        Poll::Ready(Ok(()))
    }

    /// What has come of the reply, its bytes where all have.
    fn reply(&mut self) -> Result<Option<usize>, Reason> {
        self.skip_echo()?;
        self.skip_noise();
        loop {
            match judge(&self.request, &self.came) {
                Verdict::Whole(_) | Verdict::Wrong(_) if self.is_echo() => {
                    return Err(Reason::Echo);
                }
                Verdict::Whole(bytes) => return Ok(Some(bytes)),
                Verdict::More => return Ok(None),
                Verdict::Wrong(reason) => match self.skip_late() {
                    Late::Reply(..) => {}
                    Late::Part => return Ok(None),
                    Late::No if self.request.starts_with(&self.came) => return Ok(None),
                    Late::No => return Err(reason),
                },
            }
        }
    }

    fn skip_echo(&mut self) -> Result<(), Reason> {
        let left = self.request.get(self.echoed..).unwrap_or_default();
        if !self.discards_echo || left.is_empty() {
            return Ok(());
        }
        let came = self.came.len().min(left.len());
        if self.came.get(..came) != left.get(..came) {
            return Err(Reason::Garbled);
        }
        self.came.drain(..came);
        self.echoed += came;
        Ok(())
    }

    /// Whether what came is what was sent, as an adapter hears it that does not switch its receiver off. A read of three
    /// bytes of bits from 0x0300 to 0x03FF looks like the reply to itself, or like a late one. The right reply to most
    /// writes is their echo; see [`Line::is_echo_free`].
    fn is_echo(&self) -> bool {
        let is_read = matches!(self.request.get(1), Some(1..=4));
        is_read && self.came.starts_with(&self.request)
    }

    fn skip_noise(&mut self) {
        // Behind a converter there may be a unit 255.
        let unit = self.request.first();
        let noise = self.came.iter();
        let noise = noise.take_while(|byte| is_noise(byte) && Some(*byte) != unit);
        let noise = noise.count();
        self.came.drain(..noise);
    }

    /// Forgets a late reply at the beginning of what came.
    fn skip_late(&mut self) -> Late {
        let late = self.doubts.late(&self.came);
        if let Late::Reply(unit, bytes) = late {
            self.late.push(unit);
            self.came.drain(..bytes);
        }
        late
    }
}

/// The port as the client of one transaction sees it.
#[derive(Debug)]
pub(super) struct Tap(pub(super) Arc<Mutex<Traffic>>);

impl AsyncRead for Tap {
    /// The reply in whole, once.
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut traffic = lock(&self.0);
        loop {
            if let Err(error) = ready!(traffic.poll_come(context)) {
                traffic.wrong = Some(Reason::ConnectionClosed);
                return Poll::Ready(Err(error));
            }
            match traffic.reply() {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    // The client's buffer is larger than any frame.
                    let bytes = bytes.min(buffer.remaining());
                    buffer.put_slice(traffic.came.drain(..bytes).as_slice());
                    return Poll::Ready(Ok(()));
                }
                Err(reason) => {
                    traffic.wrong = Some(reason);
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
            }
        }
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut traffic = lock(&self.0);
        let result = match &mut traffic.port {
            Some(port) => ready!(Pin::new(port).poll_write(context, bytes)),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match &result {
            Ok(written) => {
                let written = bytes.get(..*written).unwrap_or_default();
                traffic.request.extend_from_slice(written);
                traffic.at = clock::now();
            }
            Err(_) => traffic.wrong = Some(Reason::ConnectionClosed),
        }
        Poll::Ready(result)
    }

    /// A serial port's flush waits for the last bit, on the runtime's thread: 255 bytes at 1200 baud are two seconds.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
