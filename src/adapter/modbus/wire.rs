//! The way to the devices of one connection over time: opened when needed, given up when it failed, opened again at once
//! or after a back-off. One request at a time, because a request borrows the wire.
//!
//! A Modbus TCP connection is given up after any failure. A line ([`Line`]) is used on: it is given up where the port is
//! gone, and where nobody has answered for [`LINE_RESET_AFTER`] though every unit was asked.
//!
//! When it is opened again: at once where it had brought replies, or where another unit may still answer (then the unit is
//! to blame, not the way to it); after a back-off with jitter where nobody listens or every unit was silent in its turn.
//! After the back-off each has a turn again. What is asked in the meantime fails with the reason that brought it down.

mod beside;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::figures::{InUse, WireFigures};
use super::super::health::Health;
use super::super::options::{ConnectionOptions, UnitId};
use super::super::reason::{DEVICE_BUSY, Reason};
use super::super::wire_options::WireOptions;
use super::ask::{Ask, Reply};
use super::link::Link;
use super::open::Opener;
use super::secure::Refusal;
use crate::clock;

const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// To look whether a serial adapter is plugged in again costs nobody anything.
const SERIAL_BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Longer than devices take to start.
const LINE_RESET_AFTER: Duration = Duration::from_secs(10);
/// Devices and converters close connections that were idle for longer.
const IDLE_AFTER: Duration = Duration::from_secs(5);
/// A busy device (exception 06) is asked again so often, so far apart.
const BUSY_RETRIES: u32 = 3;
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// A device that takes one connection only has to notice the end of that before it takes another.
const PARTING: Duration = Duration::from_millis(100);

/// A request and how patiently it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// Whom.
    pub(crate) unit: UnitId,
    /// What.
    pub(crate) request: Ask<'a>,
    /// Limit of each try.
    pub(crate) timeout: Duration,
    /// Pause before each try.
    pub(crate) delay: Duration,
    /// Further tries after a timeout.
    pub(crate) retries: u32,
}

/// The way to the devices of one connection.
#[derive(Debug)]
pub(crate) struct Wire {
    name: String,
    options: WireOptions,
    opener: Opener,
    refusal: Refusal,
    link: Link,
    /// Whether it brought a whole reply since it was opened.
    fruitful: bool,
    /// When it last did, or was opened.
    answered_at: Instant,
    /// Back-offs in a row.
    fruitless: u32,
    /// How many units there are on the wire.
    units: usize,
    /// Those whose last request failed, since the last back-off.
    silent: BTreeSet<UnitId>,
    down: Down,
    /// Connections made since the start.
    connects: u64,
    came_back: bool,
    figures: Arc<WireFigures>,
    /// From the first try of a request to its end, but for the time of opening.
    in_use: Option<InUse>,
}

/// Why it is not open.
#[derive(Debug)]
struct Down {
    until: Instant,
    reason: Reason,
    /// What the system said when it could not be opened, for people.
    detail: Option<String>,
}

/// A line is not kept waiting longer for what may have been asked before the start.
const FIRST_SILENCE_MAX: Duration = Duration::from_secs(2);

impl Wire {
    pub(crate) fn new(options: &ConnectionOptions, opener: Opener, now: Instant) -> Self {
        Self {
            name: options.name.clone(),
            options: options.wire.clone(),
            opener,
            refusal: Refusal::default(),
            link: Link::new(&options.wire),
            fruitful: false,
            answered_at: now,
            fruitless: 0,
            units: options
                .devices
                .iter()
                .map(|device| device.unit_id)
                .collect::<BTreeSet<_>>()
                .len(),
            silent: BTreeSet::new(),
            down: Down {
                until: now,
                reason: Reason::ConnectFailed,
                detail: None,
            },
            connects: 0,
            came_back: false,
            figures: WireFigures::new(),
            in_use: None,
        }
    }

    /// The same for an actor that goes on for long: a reload may have ended another one of this line while it asked, so a line
    /// is to be silent before the first request for as long as an answer may take.
    pub(crate) fn of_actor(
        options: &ConnectionOptions,
        opener: Opener,
        figures: Arc<WireFigures>,
        now: Instant,
    ) -> Self {
        let timeouts = options.devices.iter().map(|device| device.response_timeout);
        let first = timeouts.max().unwrap_or_default().min(FIRST_SILENCE_MAX);
        let wire = Self::new(options, opener, now);
        let link = wire.link.hearing_out(first);
        Self {
            link,
            figures,
            ..wire
        }
    }

    /// The same, on which so many units may be, whatever the options say.
    pub(crate) fn with_units(self, units: usize) -> Self {
        Self { units, ..self }
    }

    /// Asks until there is a reply or the tries are used up; every try is counted in `health`.
    pub(crate) async fn ask(
        &mut self,
        attempt: Attempt<'_>,
        health: &mut Health,
    ) -> Result<Reply, Reason> {
        let unit = Some(attempt.unit);
        self.ask_and_blame(attempt, health, unit).await
    }

    async fn ask_and_blame(
        &mut self,
        attempt: Attempt<'_>,
        health: &mut Health,
        unit: Option<UnitId>,
    ) -> Result<Reply, Reason> {
        let result = self.tries(attempt, health, unit).await;
        self.in_use = None;
        result
    }

    async fn tries(
        &mut self,
        attempt: Attempt<'_>,
        health: &mut Health,
        unit: Option<UnitId>,
    ) -> Result<Reply, Reason> {
        let (mut retries, mut busy, mut reopened) = (0, 0, false);
        if self.down_until(clock::now()).is_some() {
            return Err(self.down.reason);
        }
        if attempt.request.is_write() {
            self.wake(attempt, health, unit).await?;
        }
        loop {
            // Also one that was opened anew for who asked beside, and has brought nothing since.
            let is_idle = self.fruitful || clock::now() >= self.answered_at + IDLE_AFTER;
            let was_idle = self.link.is_open() && is_idle;
            let reason = match self.once(attempt, health).await {
                Ok(reply) => return Ok(reply),
                Err(reason) => reason,
            };
            match reason {
                Reason::Expired => return Err(reason),
                Reason::Timeout if retries < attempt.retries => retries += 1,
                Reason::Exception(DEVICE_BUSY) if busy < BUSY_RETRIES => {
                    busy += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                // Devices close connections that were idle for long and say so only now. A write is made once at most,
                // and nobody knows whether it was made; see `wake`.
                Reason::ConnectionClosed
                    if was_idle && !reopened && !attempt.request.is_write() =>
                {
                    reopened = true;
                }
                _ => {
                    self.settle(reason, unit);
                    return Err(reason);
                }
            }
        }
    }

    /// A read of what is to be written, where nothing was heard for so long that the peer may have closed the connection,
    /// which shows only when it is used: better then than at the write.
    async fn wake(
        &mut self,
        attempt: Attempt<'_>,
        health: &mut Health,
        unit: Option<UnitId>,
    ) -> Result<(), Reason> {
        if !self.link.is_open() || clock::now() < self.answered_at + IDLE_AFTER {
            return Ok(());
        }
        let read = attempt.request.as_read();
        let first = Attempt {
            request: Ask::Read(&read),
            ..attempt
        };
        match self.once(first, health).await {
            // Closed: the write goes over a new one. Not to be read: alive all the same.
            Ok(_) | Err(Reason::ConnectionClosed | Reason::Exception(_)) => Ok(()),
            Err(reason) => {
                self.settle(reason, unit);
                Err(reason)
            }
        }
    }

    /// Opens it, where it is not.
    pub(crate) async fn connect(&mut self) {
        if self.link.is_open() {
            return;
        }
        if let Err(reason) = self.open().await {
            self.settle(reason, None);
        }
    }

    /// Until when nothing is asked, because opening waits for its back-off.
    pub(crate) fn down_until(&self, now: Instant) -> Option<Instant> {
        let waiting = !self.link.is_open() && now < self.down.until;
        waiting.then_some(self.down.until)
    }

    /// When to open it again though nothing is to be asked: after a failure to open only, so that devices which were
    /// given up are found soon after the way to them is back.
    pub(crate) fn reconnect_at(&self) -> Option<Instant> {
        let unreachable = !self.link.is_open() && self.down.detail.is_some();
        unreachable.then_some(self.down.until)
    }

    /// Whether it was opened after it could not be; told once.
    pub(crate) fn came_back(&mut self) -> bool {
        std::mem::take(&mut self.came_back)
    }

    /// Units of which a late reply came and was passed over, since the last call.
    pub(crate) fn take_late(&mut self) -> Vec<UnitId> {
        self.link.take_late()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_open()
    }

    pub(crate) fn connects(&self) -> u64 {
        self.connects
    }

    /// What the system said when it could not be opened; `None` since it could.
    pub(crate) fn error(&self) -> Option<&str> {
        self.down.detail.as_deref()
    }

    async fn once(&mut self, attempt: Attempt<'_>, health: &mut Health) -> Result<Reply, Reason> {
        if !self.link.is_open() {
            self.open().await?;
        }
        self.in_use.get_or_insert_with(|| self.figures.in_use());
        if !attempt.delay.is_zero() {
            tokio::time::sleep(attempt.delay).await;
        }
        if attempt.request.is_late(clock::now()) {
            return Err(Reason::Expired);
        }
        let result = self
            .link
            .ask(attempt.unit, attempt.request, attempt.timeout)
            .await;
        let result = match self.refusal.take() {
            Some(said) if result.is_err() => Err(self.cannot_connect(said)),
            _ => result,
        };
        health.count(result.as_ref().err().copied());
        if let Ok(reply) = &result {
            health.took(reply.took);
        }
        if matches!(result, Ok(_) | Err(Reason::Exception(_))) {
            self.fruitful = true;
            self.answered_at = clock::now();
            self.fruitless = 0;
            self.silent.remove(&attempt.unit);
        }
        result
    }

    async fn open(&mut self) -> Result<(), Reason> {
        self.in_use = None;
        let errors = &self.figures.line_errors;
        match self.opener.open(&self.options, &self.refusal, errors).await {
            Ok(port) => {
                self.link.plug(port);
                let came_back = self.down.detail.take().is_some();
                self.came_back |= came_back;
                if came_back || self.connects == 0 {
                    tracing::info!(connection = %self.name, to = %self.options, "connected");
                }
                self.connects += 1;
                self.fruitful = false;
                self.answered_at = clock::now();
                Ok(())
            }
            Err(error) => Err(self.cannot_connect(error.to_string())),
        }
    }

    fn cannot_connect(&mut self, error: String) -> Reason {
        self.link.close();
        if self.down.detail.is_none() {
            tracing::warn!(connection = %self.name, to = %self.options, %error, "cannot connect; trying again with back-off");
        }
        self.down.detail = Some(error);
        Reason::ConnectFailed
    }

    /// After a failure for good, of a request to `unit`, of one beside or of opening: whether it is given up, and when to open
    /// it again.
    fn settle(&mut self, reason: Reason, unit: Option<UnitId>) {
        let now = clock::now();
        let answered = matches!(reason, Reason::Exception(_));
        if answered && self.link.is_open() {
            return;
        }
        if !reason.proves_alive() {
            self.silent.extend(unit);
        }
        let others_may_answer = self.silent.len() < self.units.max(1);
        if self.link.is_open() {
            if others_may_answer || now < self.answered_at + LINE_RESET_AFTER {
                return;
            }
            self.link.close();
        }
        let at_once = self.fruitful || others_may_answer;
        let wait = if at_once && reason != Reason::ConnectFailed {
            Duration::ZERO
        } else {
            self.silent.clear();
            self.fruitless = self.fruitless.saturating_add(1);
            let longest = match self.options {
                WireOptions::ModbusRtu(..) => SERIAL_BACKOFF_MAX,
                WireOptions::ModbusTcp(_) | WireOptions::ModbusRtuOverTcp(..) => BACKOFF_MAX,
            };
            backoff(self.fruitless, longest, fastrand::f64())
        };
        self.fruitful = false;
        self.down.reason = reason;
        self.down.until = now + wait;
    }
}

/// The wait after the nth failure in a row, 0.5 s doubling to the longest; `jitter` in 0..1 takes away up to half of it.
fn backoff(failures: u32, longest: Duration, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = BACKOFF_MIN.saturating_mul(1 << doublings).min(longest);
    full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;

    use super::super::super::data::Data;
    use super::super::super::fixture;
    use super::super::super::write::{WriteData, WriteRequest};
    use super::*;

    /// A wire, and the other ends of its connections.
    fn wire() -> (Wire, mpsc::UnboundedReceiver<DuplexStream>, Health) {
        let (sender, ends) = mpsc::unbounded_channel();
        let sender = Mutex::new(sender);
        let give = move || {
            let (ours, theirs) = tokio::io::duplex(1024);
            sender.lock().unwrap().send(theirs).unwrap();
            Ok(ours)
        };
        let device = fixture::device("d", 1, Vec::new());
        let health = Health::new(&device);
        let options = fixture::connection(vec![device]);
        let wire = Wire::new(&options, Opener::Memory(Arc::new(give)), clock::now());
        (wire, ends, health)
    }

    /// Answers the next request, or says that the connection was closed.
    async fn asked(end: &mut DuplexStream) -> u8 {
        let mut frame = [0; 12];
        end.read_exact(&mut frame).await.unwrap();
        let [t0, t1, .., h, l, v0, v1] = frame;
        let reply = match frame[7] {
            6 => vec![t0, t1, 0, 0, 0, 6, 1, 6, h, l, v0, v1],
            function => vec![t0, t1, 0, 0, 0, 5, 1, function, 2, 0, 7],
        };
        end.write_all(&reply).await.unwrap();
        frame[7]
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_closed_while_it_was_idle_costs_no_write() {
        let (mut wire, mut ends, mut health) = wire();
        let write = WriteRequest {
            address: 30,
            data: WriteData::Register(5),
        };
        let read = write.read_back();
        let attempt = |request| Attempt {
            unit: UnitId(1),
            request,
            timeout: Duration::from_secs(1),
            delay: Duration::ZERO,
            retries: 0,
        };
        let device = async {
            let mut first = ends.recv().await.unwrap();
            assert_eq!(asked(&mut first).await, 3);
            drop(first);
            let mut second = ends.recv().await.unwrap();
            assert_eq!(
                asked(&mut second).await,
                6,
                "the write, on a new connection"
            );
            assert_eq!(asked(&mut second).await, 3, "a read first, after a while");
            assert_eq!(asked(&mut second).await, 6);
        };
        let asking = async {
            wire.ask(attempt(Ask::Read(&read)), &mut health)
                .await
                .unwrap();
            for _ in 0..2 {
                tokio::time::sleep(IDLE_AFTER).await;
                let written = wire
                    .ask(attempt(Ask::Write(&write, None)), &mut health)
                    .await;
                assert_eq!(written.unwrap().data, Data::Written);
            }
        };
        tokio::join!(device, asking);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_opened_for_who_asks_beside_may_be_closed_too_while_it_is_idle() {
        let (mut wire, mut ends, mut health) = wire();
        let write = WriteRequest {
            address: 30,
            data: WriteData::Register(5),
        };
        let read = write.read_back();
        let attempt = Attempt {
            unit: UnitId(1),
            request: Ask::Read(&read),
            timeout: Duration::from_secs(1),
            delay: Duration::ZERO,
            retries: 0,
        };
        let device = async {
            let silent = ends.recv().await.unwrap();
            drop((ends.recv().await.unwrap(), silent));
            let mut third = ends.recv().await.unwrap();
            assert_eq!(asked(&mut third).await, 3);
        };
        let asking = async {
            let beside = wire.ask_beside(attempt, &mut health).await;
            assert_eq!(beside.map(|reply| reply.data), Err(Reason::Timeout));
            tokio::time::sleep(IDLE_AFTER).await;
            wire.ask(attempt, &mut health).await.unwrap();
        };
        tokio::join!(device, asking);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_beside_in_vain_makes_nobody_else_wait_longer() {
        let give = || Err(std::io::Error::other("the cable is out"));
        let options = fixture::connection(vec![fixture::device("d", 1, Vec::new())]);
        let mut wire = Wire::new(&options, Opener::Memory(Arc::new(give)), clock::now());
        wire.connect().await;
        let until = wire.down.until;
        for _ in 0..5 {
            assert_eq!(wire.connect_beside().await, Err(Reason::ConnectFailed));
        }
        assert_eq!((wire.down.until, wire.fruitless), (until, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_became_too_old_on_its_way_is_not_sent() {
        let (mut wire, mut ends, mut health) = wire();
        let write = WriteRequest {
            address: 30,
            data: WriteData::Register(5),
        };
        let until = clock::now() + Duration::from_secs(1);
        let attempt = Attempt {
            unit: UnitId(1),
            request: Ask::Write(&write, Some(until)),
            timeout: Duration::from_secs(1),
            delay: Duration::from_secs(2),
            retries: 0,
        };
        let written = wire.ask(attempt, &mut health).await;
        assert_eq!(written.map(|reply| reply.data), Err(Reason::Expired));
        let mut end = ends.recv().await.unwrap();
        drop(wire);
        assert_eq!(end.read(&mut [0; 1]).await.unwrap(), 0, "nothing was sent");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_wire_is_that_of_its_requests_and_not_of_what_is_between_them() {
        let (mut wire, mut ends, mut health) = wire();
        let read = WriteRequest {
            address: 30,
            data: WriteData::Register(5),
        }
        .read_back();
        let attempt = Attempt {
            unit: UnitId(1),
            request: Ask::Read(&read),
            timeout: Duration::from_secs(10),
            delay: Duration::from_secs(1),
            retries: 1,
        };
        let device = async {
            let mut end = ends.recv().await.unwrap();
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert_eq!(asked(&mut end).await, 3);
            // Nobody answers again, on this one or on the next.
            (end, ends.recv().await.unwrap())
        };
        let asking = async {
            wire.connect().await;
            wire.ask(attempt, &mut health).await.unwrap();
            assert_eq!(wire.figures.used().time, Duration::from_secs(4));
            tokio::time::sleep(Duration::from_secs(60)).await;
            let silent = wire.ask(attempt, &mut health).await;
            assert_eq!(silent.map(|reply| reply.data), Err(Reason::Timeout));
            // Two tries, each with its pause.
            assert_eq!(wire.figures.used().time, Duration::from_secs(4 + 22));
        };
        tokio::join!(device, asking);
        let times = health.status().reply_times;
        let of_the_one = (1, Duration::from_secs(3));
        assert_eq!(
            (times.count(), times.sum()),
            of_the_one,
            "without its pause"
        );
    }

    #[test]
    fn waits_double_to_the_limit_and_keep_half() {
        assert_eq!(backoff(1, BACKOFF_MAX, 0.0), BACKOFF_MIN);
        assert_eq!(backoff(2, BACKOFF_MAX, 0.0), 2 * BACKOFF_MIN);
        assert_eq!(backoff(100, BACKOFF_MAX, 0.0), BACKOFF_MAX);
        assert_eq!(backoff(100, BACKOFF_MAX, 1.0), BACKOFF_MAX / 2);
    }
}
