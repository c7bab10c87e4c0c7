//! The connection of one wire over time: dialled when needed, dropped after any failure, dialled again at once or after a
//! back-off. One request at a time, because a request borrows the wire.
//!
//! When it is dialled again: at once where the lost connection had brought replies, or where another unit may still
//! answer (then the unit is to blame, not the way to it); after a back-off from 0.5 s to 30 s with jitter where nobody
//! listens or every unit was silent in its turn. After the back-off each has a turn again. What is asked in the meantime
//! fails with the reason that brought the connection down.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::health::Health;
use super::super::options::{ConnectionOptions, UnitId};
use super::super::plan::ReadRequest;
use super::super::reason::{DEVICE_BUSY, Reason};
use super::connection::{Connection, Reply};
use crate::clock;

const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A busy device (exception 06) is asked again so often, so far apart.
const BUSY_RETRIES: u32 = 3;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// A request and how patiently it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// Whom.
    pub(crate) unit: UnitId,
    /// What.
    pub(crate) request: &'a ReadRequest,
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
    host: String,
    port: u16,
    connect_timeout: Duration,
    connection: Option<Connection>,
    /// Whether the connection brought a whole reply.
    fruitful: bool,
    /// Back-offs in a row.
    fruitless: u32,
    /// How many units there are on the wire.
    units: usize,
    /// Those whose last request brought a connection down, since the last back-off.
    silent: BTreeSet<UnitId>,
    down: Down,
    /// Connections made since the start.
    connects: u64,
    came_back: bool,
}

/// Why there is no connection.
#[derive(Debug)]
struct Down {
    until: Instant,
    reason: Reason,
    /// What the socket said when it could not be connected, for people.
    detail: Option<String>,
}

impl Wire {
    pub(crate) fn new(options: &ConnectionOptions, now: Instant) -> Self {
        Self {
            name: options.name.clone(),
            host: options.host.clone(),
            port: options.port,
            connect_timeout: options.connect_timeout,
            connection: None,
            fruitful: false,
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
        }
    }

    /// Asks until there is a reply or the tries are used up; every try is counted in `health`.
    pub(crate) async fn read(
        &mut self,
        attempt: Attempt<'_>,
        health: &mut Health,
    ) -> Result<Reply, Reason> {
        let (mut retries, mut busy, mut reopened) = (0, 0, false);
        if self.down_until(clock::now()).is_some() {
            return Err(self.down.reason);
        }
        loop {
            let was_idle = self.connection.is_some() && self.fruitful;
            let reason = match self.once(attempt, health).await {
                Ok(reply) => return Ok(reply),
                Err(reason) => reason,
            };
            match reason {
                Reason::Timeout if retries < attempt.retries => retries += 1,
                Reason::Exception(DEVICE_BUSY) if busy < BUSY_RETRIES => {
                    busy += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                // Devices close connections that were idle for long and say so only now.
                Reason::ConnectionClosed if was_idle && !reopened => reopened = true,
                _ => {
                    self.settle(reason, Some(attempt.unit));
                    return Err(reason);
                }
            }
        }
    }

    /// Dials, where there is no connection.
    pub(crate) async fn connect(&mut self) {
        if self.connection.is_some() {
            return;
        }
        match self.open().await {
            Ok(connection) => self.connection = Some(connection),
            Err(reason) => self.settle(reason, None),
        }
    }

    /// Until when nothing is asked, because dialling waits for its back-off.
    pub(crate) fn down_until(&self, now: Instant) -> Option<Instant> {
        let waiting = self.connection.is_none() && now < self.down.until;
        waiting.then_some(self.down.until)
    }

    /// When to dial again though nothing is to be asked: after a failure to connect only, so that devices which were
    /// given up are found soon after the way to them is back.
    pub(crate) fn reconnect_at(&self) -> Option<Instant> {
        let unreachable = self.connection.is_none() && self.down.detail.is_some();
        unreachable.then_some(self.down.until)
    }

    /// Whether a connection was made after one could not be; told once.
    pub(crate) fn came_back(&mut self) -> bool {
        std::mem::take(&mut self.came_back)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    pub(crate) fn connects(&self) -> u64 {
        self.connects
    }

    /// What the socket said when it could not be connected; `None` since it could.
    pub(crate) fn error(&self) -> Option<&str> {
        self.down.detail.as_deref()
    }

    async fn once(&mut self, attempt: Attempt<'_>, health: &mut Health) -> Result<Reply, Reason> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        if !attempt.delay.is_zero() {
            tokio::time::sleep(attempt.delay).await;
        }
        let (result, kept) = connection
            .read(attempt.unit, attempt.request, attempt.timeout)
            .await;
        self.connection = kept;
        health.count(result.as_ref().err().copied());
        if self.connection.is_some() {
            self.fruitful = true;
            self.fruitless = 0;
            self.silent.remove(&attempt.unit);
        }
        result
    }

    async fn open(&mut self) -> Result<Connection, Reason> {
        match Connection::open(&self.host, self.port, self.connect_timeout).await {
            Ok(connection) => {
                let came_back = self.down.detail.take().is_some();
                self.came_back |= came_back;
                if came_back || self.connects == 0 {
                    tracing::info!(connection = %self.name, host = %self.host, port = self.port, "connected");
                }
                self.connects += 1;
                self.fruitful = false;
                Ok(connection)
            }
            Err(error) => {
                if self.down.detail.is_none() {
                    tracing::warn!(connection = %self.name, host = %self.host, port = self.port, %error, "cannot connect; trying again with back-off");
                }
                self.down.detail = Some(error.to_string());
                Err(Reason::ConnectFailed)
            }
        }
    }

    /// After a failure for good, of a request to `unit` or of dialling: when to dial again.
    fn settle(&mut self, reason: Reason, unit: Option<UnitId>) {
        if self.connection.is_some() {
            return;
        }
        if !reason.proves_alive() {
            self.silent.extend(unit);
        }
        let others_may_answer = self.silent.len() < self.units.max(1);
        let at_once = self.fruitful || others_may_answer;
        let wait = if at_once && reason != Reason::ConnectFailed {
            Duration::ZERO
        } else {
            self.silent.clear();
            self.fruitless = self.fruitless.saturating_add(1);
            backoff(self.fruitless, fastrand::f64())
        };
        self.fruitful = false;
        self.down.reason = reason;
        self.down.until = clock::now() + wait;
    }
}

/// The wait after the nth failure in a row, 0.5 s doubling to 30 s; `jitter` in 0..1 takes away up to half of it.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_limit_and_keep_half() {
        assert_eq!(backoff(1, 0.0), BACKOFF_MIN);
        assert_eq!(backoff(2, 0.0), 2 * BACKOFF_MIN);
        assert_eq!(backoff(100, 0.0), BACKOFF_MAX);
        assert_eq!(backoff(100, 1.0), BACKOFF_MAX / 2);
    }
}
