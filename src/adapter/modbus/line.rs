//! A line that speaks Modbus RTU, over a serial port or a converter's TCP connection, and one transaction on it.
//!
//! A line outlives its port and what goes wrong on it, and so do the bytes that are still on their way. Hence, of each
//! transaction: what lies in the input is thrown away first; nothing is sent before the line was silent for the frame gap,
//! and after a failure for [`QUIET`]; the reply is looked at byte by byte ([`Traffic`]), and tokio-modbus, which takes any
//! frame of the right unit and function and passes over garbage in front of it, is shown nothing but the one right reply;
//! and [`Next`] keeps a late reply from looking like that to a later request, and tell it when it comes.
//!
//! Each transaction has a client of its own: nothing is left in the buffers of one that failed.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_modbus::client::{Client, rtu};
use tokio_modbus::{Request, Response, Slave};

use super::super::options::UnitId;
use super::super::reason::Reason;
use super::ask::{Ask, Reply};
use super::doubt::Next;
use super::open::Port;
use super::traffic::{Tap, Traffic, lock};
use crate::clock;

/// Silence after a failure: most late replies come in it, where they disturb nobody.
const QUIET: Duration = Duration::from_millis(50);
/// A line that is not silent for so long is in use by somebody else, or open to noise.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(5);

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
    /// Silence before the very first request: somebody may have been asking here a moment ago, whose answer is still to come.
    first: Duration,
    /// A read was answered since the port was plugged in: the right reply to most writes is their echo, so that an adapter
    /// which hears what it sends would confirm them all.
    is_echo_free: bool,
}

impl Line {
    /// Without a port.
    pub(super) fn new(timing: Timing) -> Self {
        let traffic = Traffic::new(timing.discards_echo);
        Self {
            traffic: Arc::new(Mutex::new(traffic)),
            timing,
            is_unsettled: true,
            first: Duration::ZERO,
            is_echo_free: false,
        }
    }

    /// The same on a line where another was asking until now.
    pub(super) fn hearing_out(self, first: Duration) -> Self {
        Self { first, ..self }
    }

    pub(super) fn plug(&mut self, port: Box<dyn Port>) {
        self.is_unsettled = true;
        self.is_echo_free = false;
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

    /// One request, and where a late reply or an echo could be taken for its own, a read before it. Each may take `limit`,
    /// which counts from when the line is free, and as long as its bytes take.
    ///
    /// # Errors
    /// [`Reason::ConnectionClosed`]: the port is gone and the line is without one. Anything else leaves it to be used.
    pub(super) async fn ask(
        &mut self,
        unit: UnitId,
        ask: Ask<'_>,
        limit: Duration,
    ) -> Result<Reply, Reason> {
        loop {
            let silence = self.silence().await;
            self.settle(silence)?;
            let next = {
                let mut traffic = self.lock();
                let (doubts, now) = (traffic.doubts.of(unit), clock::now());
                if ask.is_write() && !self.is_echo_free {
                    doubts.probe(ask, now)
                } else {
                    doubts.next(ask, now)
                }
            };
            match next {
                // It had to wait for the line, or for what settles a doubt.
                Next::Wanted if ask.is_late(clock::now()) => return Err(Reason::Expired),
                Next::Wanted => {
                    let result = self.transact(unit, ask, limit).await;
                    return self.settle(result);
                }
                Next::Probe(probe) => {
                    let result = self.transact(unit, Ask::Read(&probe), limit).await;
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
        } else {
            self.first = Duration::ZERO;
        }
        if matches!(result, Err(Reason::ConnectionClosed)) {
            self.unplug();
        }
        result
    }

    async fn transact(
        &mut self,
        unit: UnitId,
        ask: Ask<'_>,
        limit: Duration,
    ) -> Result<Reply, Reason> {
        let shape = ask.shape();
        let bytes = u32::try_from(ask.frame_bytes() + shape.bytes).unwrap_or(u32::MAX);
        let sent = clock::now();
        let result = self
            .call(unit, ask.function(), limit + self.timing.byte * bytes)
            .await;
        let answered = matches!(result, Ok(_) | Err(Reason::Exception(_)));
        let (now, at) = (clock::now(), clock::wall());
        let mut traffic = self.lock();
        let doubts = traffic.doubts.of(unit);
        let result = result.and_then(|response| ask.data(response));
        match &result {
            Ok(_) => doubts.answered(),
            Err(Reason::Exception(_)) => doubts.refused(shape, now),
            Err(_) => doubts.unanswered(shape, now),
        }
        drop(traffic);
        // An echo is no reply to a read: a line that has brought one has none.
        self.is_echo_free |= !ask.is_write() && answered;
        Ok(Reply {
            data: result?,
            at,
            took: now - sent,
        })
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
            QUIET.max(self.timing.gap).max(self.first)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::super::super::data::Data;
    use super::super::super::options::Table;
    use super::super::super::plan::ReadRequest;
    use super::super::frame::crc;
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
        let reply = line.ask(UNIT, Ask::Read(&request(quantity)), LIMIT).await;
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
            let late = line.ask(other, Ask::Read(&request(2)), LIMIT).await;
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
                assert_eq!(result, Err(Reason::Echo));
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
                let reply = line.ask(UNIT, Ask::Read(&wanted), LIMIT).await;
                reply.map(|reply| reply.data)
            };
            assert_eq!(read().await, Err(Reason::Echo));
            assert_eq!(read().await, Err(Reason::Echo));
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
