//! A line that speaks Modbus RTU, over a serial port or a converter's TCP connection, and one transaction on it.
//!
//! A line outlives its port and what goes wrong on it, and so do the bytes that are still on their way. Hence, of each
//! transaction: what lies in the input is thrown away first; nothing is sent before the line was silent for the frame gap,
//! and after a failure for [`QUIET`]; the reply is looked at byte by byte ([`judge`]), and tokio-modbus, which takes any
//! frame of the right unit and function and passes over garbage in front of it, is shown nothing but the one right reply;
//! and [`LineDoubts`] keep a late reply from looking like that to a later request, and tell it when it comes.
//!
//! Each transaction has a client of its own: nothing is left in the buffers of one that failed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_modbus::client::{Client, rtu};
use tokio_modbus::{Request, Response, Slave};

use super::super::options::UnitId;
use super::super::plan::ReadRequest;
use super::super::reason::Reason;
use super::doubt::{Late, LineDoubts, Next, shape};
use super::frame::{Verdict, is_noise, judge};
use super::open::Port;
use super::reply::{Reply, data, function};
use crate::clock;

/// The longest frame (section 2.5.1), and so the most that one read brings.
const FRAME_MAX: usize = 256;
/// Silence after a failure: most late replies come in it, where they disturb nobody.
const QUIET: Duration = Duration::from_millis(50);
/// A line that is not silent for so long is in use by somebody else, or open to noise.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(5);
/// Bytes of a request to read.
const READ_REQUEST_BYTES: usize = 8;

/// What the line needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Silence between frames.
    pub(super) gap: Duration,
    /// How long one byte takes; zero where it is not known.
    pub(super) byte: Duration,
    /// The adapter hears what it sends.
    pub(super) discards_echo: bool,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Line {
    traffic: Arc<Mutex<Traffic>>,
    timing: Timing,
    /// Something went wrong since the line was last quiet.
    is_unsettled: bool,
}

/// The port and what passes.
#[derive(Debug)]
struct Traffic {
    port: Option<Box<dyn Port>>,
    discards_echo: bool,
    /// Of this transaction.
    request: Vec<u8>,
    /// Bytes of its echo that have come.
    echoed: usize,
    /// What came and was no echo and no late reply.
    came: Vec<u8>,
    /// Why what came is no reply.
    wrong: Option<Reason>,
    doubts: LineDoubts,
    /// Units of which late replies came.
    late: Vec<UnitId>,
    /// When something was last sent or came.
    at: Instant,
}

impl Line {
    /// Without a port.
    pub(super) fn new(timing: Timing) -> Self {
        let traffic = Traffic {
            port: None,
            discards_echo: timing.discards_echo,
            request: Vec::with_capacity(FRAME_MAX),
            echoed: 0,
            came: Vec::with_capacity(FRAME_MAX),
            wrong: None,
            doubts: LineDoubts::default(),
            late: Vec::new(),
            at: clock::now(),
        };
        Self {
            traffic: Arc::new(Mutex::new(traffic)),
            timing,
            is_unsettled: true,
        }
    }

    pub(super) fn plug(&mut self, port: Box<dyn Port>) {
        self.is_unsettled = true;
        let mut traffic = self.lock();
        traffic.port = Some(port);
        traffic.at = clock::now();
    }

    /// Closes the port. What the units may still answer is kept in mind: they know nothing of it.
    pub(super) fn unplug(&mut self) {
        self.lock().port = None;
    }

    pub(super) fn is_plugged(&self) -> bool {
        self.lock().port.is_some()
    }

    /// Units of which late replies came since the last call.
    pub(super) fn take_late(&mut self) -> Vec<UnitId> {
        std::mem::take(&mut self.lock().late)
    }

    /// One read, and where a late reply could be taken for its own something else before it. Each may take `limit`, which
    /// counts from when the line is free, and as long as its bytes take.
    ///
    /// # Errors
    /// [`Reason::ConnectionClosed`]: the port is gone and the line is without one. Anything else leaves it to be used.
    pub(super) async fn read(
        &mut self,
        unit: UnitId,
        request: &ReadRequest,
        limit: Duration,
    ) -> Result<Reply, Reason> {
        loop {
            let silence = self.silence().await;
            self.settle(silence)?;
            let next = self.lock().doubts.of(unit).next(request, clock::now());
            match next {
                Next::Wanted => {
                    let result = self.transact(unit, request, limit).await;
                    return self.settle(result);
                }
                Next::Probe(probe) => {
                    let result = self.transact(unit, &probe, limit).await;
                    match self.settle(result) {
                        Ok(_) | Err(Reason::Exception(_)) => {}
                        Err(reason) => return Err(reason),
                    }
                }
                Next::Nothing => return Err(Reason::Timeout),
            }
        }
    }

    /// Draws the consequences of a result for what follows on the line.
    fn settle<T>(&mut self, result: Result<T, Reason>) -> Result<T, Reason> {
        self.is_unsettled = !matches!(result, Ok(_) | Err(Reason::Exception(_)));
        if self.is_unsettled {
            self.lock().at = clock::now();
        }
        if matches!(result, Err(Reason::ConnectionClosed)) {
            self.unplug();
        }
        result
    }

    async fn transact(
        &self,
        unit: UnitId,
        request: &ReadRequest,
        limit: Duration,
    ) -> Result<Reply, Reason> {
        let shape = shape(request);
        let bytes = u32::try_from(READ_REQUEST_BYTES + shape.bytes).unwrap_or(u32::MAX);
        let result = self
            .call(unit, function(request), limit + self.timing.byte * bytes)
            .await;
        let (now, at) = (clock::now(), clock::wall());
        let mut traffic = self.lock();
        let doubts = traffic.doubts.of(unit);
        match &result {
            Ok(_) => doubts.answered(),
            Err(Reason::Exception(_)) => doubts.refused(shape, now),
            Err(_) => doubts.unanswered(shape, now),
        }
        let data = data(request, result?)?;
        Ok(Reply { data, at })
    }

    async fn call(
        &self,
        unit: UnitId,
        request: Request<'static>,
        limit: Duration,
    ) -> Result<Response, Reason> {
        self.lock().start();
        let mut client = rtu::attach_slave(Tap(Arc::clone(&self.traffic)), Slave(unit.0));
        let outcome = tokio::time::timeout(limit, client.call(request)).await;
        match (outcome, self.lock().wrong) {
            (_, Some(reason)) => Err(reason),
            (Err(_), None) => Err(Reason::Timeout),
            (Ok(Ok(Ok(response))), None) => Ok(response),
            (Ok(Ok(Err(code))), None) => Err(Reason::Exception(code.into())),
            (Ok(Err(_)), None) => Err(Reason::Garbled),
        }
    }

    /// Throws away what comes, until nothing has come for long enough.
    async fn silence(&self) -> Result<(), Reason> {
        let silence = if self.is_unsettled {
            QUIET.max(self.timing.gap)
        } else {
            self.timing.gap
        };
        let give_up = clock::now() + QUIET_WAIT_MAX;
        loop {
            let until = self.lock().at + silence;
            let discard = std::future::poll_fn(|context| self.lock().poll_discard(context));
            match tokio::time::timeout_at(until.into(), discard).await {
                // Nothing came.
                Err(_) => return Ok(()),
                Ok(Err(_)) => return Err(Reason::ConnectionClosed),
                Ok(Ok(())) if clock::now() > give_up => return Err(Reason::Garbled),
                Ok(Ok(())) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Traffic> {
        lock(&self.traffic)
    }
}

fn lock(traffic: &Mutex<Traffic>) -> MutexGuard<'_, Traffic> {
    traffic.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traffic {
    fn start(&mut self) {
        self.request.clear();
        self.echoed = 0;
        self.came.clear();
        self.wrong = None;
    }

    /// Something came and is forgotten, but for late replies.
    fn poll_discard(&mut self, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
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
                Verdict::Whole(_) if self.is_echo() => return Err(Reason::Garbled),
                Verdict::Whole(bytes) => return Ok(Some(bytes)),
                Verdict::More => return Ok(None),
                Verdict::Wrong(reason) if self.is_echo() => return Err(reason),
                Verdict::Wrong(reason) => match self.skip_late() {
                    Late::Reply(..) => {}
                    Late::Part => return Ok(None),
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

    /// Whether what came is the read itself, which nobody expects. One of three bytes of bits from 0x0300 to 0x03FF looks
    /// like the reply to itself, or like a late one.
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
struct Tap(Arc<Mutex<Traffic>>);

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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::super::super::options::Table;
    use super::super::frame::crc;
    use super::super::reply::Data;
    use super::*;

    const UNIT: UnitId = UnitId(17);
    const LIMIT: Duration = Duration::from_millis(300);
    const TIMING: Timing = Timing {
        gap: Duration::from_millis(4),
        byte: Duration::ZERO,
        discards_echo: false,
    };

    fn with_crc(bytes: &[u8]) -> Vec<u8> {
        [bytes, &crc(bytes).to_le_bytes()].concat()
    }

    fn request(quantity: u16) -> ReadRequest {
        ReadRequest {
            table: Table::HoldingRegisters,
            address: 7,
            quantity,
            tags: vec![],
        }
    }

    /// Each register holds `value`.
    fn registers(quantity: u8, value: u8) -> Vec<u8> {
        let data = [0, value].repeat(usize::from(quantity));
        with_crc(&[&[UNIT.0, 3, 2 * quantity], &data[..]].concat())
    }

    async fn asked(port: &mut DuplexStream) -> u8 {
        let mut frame = [0; 8];
        port.read_exact(&mut frame).await.unwrap();
        assert_eq!(crc(&frame), 0);
        frame[5]
    }

    fn pair(timing: Timing) -> (Line, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let mut line = Line::new(timing);
        line.plug(Box::new(ours));
        (line, theirs)
    }

    async fn read(line: &mut Line, quantity: u16) -> Result<Data, Reason> {
        let reply = line.read(UNIT, &request(quantity), LIMIT).await;
        reply.map(|reply| reply.data)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_later_than_all_waiting_is_told_from_that_to_the_next_request() {
        let (mut line, mut port) = pair(TIMING);
        let device = async {
            assert_eq!(asked(&mut port).await, 2);
            // The same again would be answered by the late reply. So another number is asked first, and gets both.
            assert_eq!(asked(&mut port).await, 1);
            let both = [registers(2, 1), registers(1, 2)].concat();
            port.write_all(&both).await.unwrap();
            assert_eq!(asked(&mut port).await, 2);
            port.write_all(&registers(2, 3)).await.unwrap();
        };
        let asking = async {
            assert_eq!(read(&mut line, 2).await, Err(Reason::Timeout));
            assert_eq!(read(&mut line, 2).await, Ok(Data::Registers(vec![3, 3])));
            assert_eq!(line.take_late(), [UNIT]);
        };
        tokio::join!(device, asking);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_reply_in_the_silence_after_costs_nothing_more() {
        let (mut line, mut port) = pair(TIMING);
        let device = async {
            assert_eq!(asked(&mut port).await, 2);
            // One half in time, the other in the silence.
            let late = registers(2, 1);
            port.write_all(&late[..4]).await.unwrap();
            tokio::time::sleep(LIMIT + QUIET / 2).await;
            port.write_all(&late[4..]).await.unwrap();
            assert_eq!(asked(&mut port).await, 2);
            port.write_all(&registers(2, 2)).await.unwrap();
        };
        let asking = async {
            assert_eq!(read(&mut line, 2).await, Err(Reason::Timeout));
            assert_eq!(read(&mut line, 2).await, Ok(Data::Registers(vec![2, 2])));
            assert_eq!(line.take_late(), [UNIT]);
        };
        tokio::join!(device, asking);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_reply_of_another_unit_is_passed_over() {
        let other = UnitId(18);
        let (mut line, mut port) = pair(TIMING);
        let device = async {
            assert_eq!(asked(&mut port).await, 2);
            assert_eq!(asked(&mut port).await, 1);
            let late = with_crc(&[other.0, 3, 4, 0, 1, 0, 1]);
            let both = [late, registers(1, 2)].concat();
            for byte in both {
                port.write_all(&[byte]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let asking = async {
            let late = line.read(other, &request(2), LIMIT).await;
            assert!(matches!(late, Err(Reason::Timeout)), "{late:?}");
            assert_eq!(read(&mut line, 1).await, Ok(Data::Registers(vec![2])));
            assert_eq!(line.take_late(), [other]);
        };
        tokio::join!(device, asking);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_reply_is_said_and_the_next_request_is_answered() {
        let mut foreign = registers(2, 1);
        foreign[0] += 1;
        let mut noisy = registers(2, 1);
        noisy[4] ^= 1;
        for (bytes, reason) in [
            (foreign, Reason::WrongUnit),
            (noisy, Reason::WrongChecksum),
            (registers(3, 1), Reason::WrongCount),
            (vec![0xA5; 40], Reason::WrongUnit),
            ([registers(2, 1), vec![7]].concat(), Reason::Garbled),
        ] {
            let (mut line, mut port) = pair(TIMING);
            let device = async {
                asked(&mut port).await;
                port.write_all(&bytes).await.unwrap();
                // In doubt now, as the right reply may still come.
                asked(&mut port).await;
                port.write_all(&registers(1, 1)).await.unwrap();
                asked(&mut port).await;
                port.write_all(&registers(2, 2)).await.unwrap();
            };
            let asking = async {
                assert_eq!(read(&mut line, 2).await, Err(reason));
                assert_eq!(read(&mut line, 2).await, Ok(Data::Registers(vec![2, 2])));
            };
            tokio::join!(device, asking);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_a_driver_makes_are_passed_over() {
        let (mut line, mut port) = pair(TIMING);
        let device = async {
            asked(&mut port).await;
            let bytes = [&[0, 0xFF], &registers(2, 1)[..], &[0]].concat();
            port.write_all(&bytes).await.unwrap();
        };
        let (result, ()) = tokio::join!(read(&mut line, 2), device);
        assert_eq!(result, Ok(Data::Registers(vec![1, 1])));
    }

    #[tokio::test(start_paused = true)]
    async fn an_echo_is_passed_over_where_it_is_expected() {
        for discards_echo in [true, false] {
            let (mut line, mut port) = pair(Timing {
                discards_echo,
                ..TIMING
            });
            let device = async {
                let mut frame = [0; 8];
                port.read_exact(&mut frame).await.unwrap();
                let both = [&frame[..], &registers(2, 1)].concat();
                for piece in both.chunks(3) {
                    port.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (result, ()) = tokio::join!(read(&mut line, 2), device);
            if discards_echo {
                assert_eq!(result, Ok(Data::Registers(vec![1, 1])));
            } else {
                assert_eq!(result, Err(Reason::WrongCount));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_echo_that_looks_like_a_reply_is_none_and_no_late_one() {
        let (mut line, mut port) = pair(TIMING);
        let wanted = ReadRequest {
            table: Table::Coils,
            address: 0x0313,
            quantity: 20,
            tags: vec![],
        };
        let device = async {
            // The wanted, and the probe that the doubt about it asks for.
            for quantity in [20, 16] {
                let mut echo = [0; 8];
                port.read_exact(&mut echo).await.unwrap();
                assert_eq!(echo[5], quantity);
                port.write_all(&echo).await.unwrap();
            }
            assert_eq!(asked(&mut port).await, 8);
            for late in [&[UNIT.0, 1, 3, 1, 1, 1][..], &[UNIT.0, 1, 2, 1, 1]] {
                port.write_all(&with_crc(late)).await.unwrap();
            }
            let probed = with_crc(&[UNIT.0, 1, 1, 2]);
            port.write_all(&probed).await.unwrap();
            assert_eq!(asked(&mut port).await, 20);
            let right = with_crc(&[UNIT.0, 1, 3, 0, 0, 0]);
            port.write_all(&right).await.unwrap();
        };
        let asking = async {
            let mut read = async || {
                let reply = line.read(UNIT, &wanted, LIMIT).await;
                reply.map(|reply| reply.data)
            };
            assert_eq!(read().await, Err(Reason::Garbled));
            assert_eq!(read().await, Err(Reason::WrongCount));
            assert_eq!(read().await, Ok(Data::Bits(vec![false; 20])));
        };
        tokio::join!(device, asking);
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_ends_is_given_up() {
        let (mut line, port) = pair(TIMING);
        drop(port);
        assert_eq!(read(&mut line, 2).await, Err(Reason::ConnectionClosed));
        assert!(!line.is_plugged());
    }
}
