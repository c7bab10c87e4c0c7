//! Modbus by hand: one question at a time for the commands that a person types, on a wire that no actor polls, or through the
//! actor that does (`queue`). Reads, and writes once what `write` has decided on; `call` is one request as such.
//!
//! Invariant: what is asked and judged here is asked and judged as when the gateway polls, so what works by hand works there.

mod call;
mod queue;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use call::{Call, Unanswered, What};
pub use queue::Actor;
pub use write::Writing;

pub(super) use queue::{Begun, Order, Orders, tell};

pub use super::data::Data;

use super::cycle::{Cycle, Plans};
use super::health::Health;
use super::modbus::{Ask, Attempt, Opener, Reply, Wire};
use super::options::{ConnectionOptions, ProbeBackoff, Table, UnitId};
use super::plan::{PlanError, ReadRequest};
use super::reason::Reason;
use super::schedule::Job;
use super::wire_options::{SerialOptions, WireOptions};
use crate::clock;
use crate::net::TlsTime;
use crate::value::Value;

/// A wire and who is on it.
#[derive(Debug)]
pub struct ByHand {
    connection: ConnectionOptions,
    plans: Arc<Plans>,
    wire: Wire,
    /// The wire counts its tries; nobody asks for them here.
    health: Health,
    /// Has the wire already, so that it is not opened here.
    keeper: Option<Box<dyn Keeper>>,
}

/// Who has a wire, and makes requests there for others.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// Makes it, once. Blocks until it is answered, however long that takes.
    ///
    /// # Errors
    /// Why there is no answer.
    fn make(&self, call: &Call) -> Result<Data, Unanswered>;
}

/// What is asked of whom, and how patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whom.
    pub unit: UnitId,
    /// Where.
    pub table: Table,
    /// From which 0-based number on.
    pub address: u16,
    /// How many bits or registers.
    pub quantity: u16,
    /// Limit of each try.
    pub timeout: Duration,
    /// Further tries after a timeout.
    pub retries: u32,
}

/// What a device said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of coils and discrete inputs.
    Bits(Vec<bool>),
    /// Of holding and input registers.
    Registers(Vec<u16>),
}

impl ByHand {
    /// A connection of the configuration; not open yet.
    ///
    /// # Errors
    /// Says which tag cannot be read.
    pub fn new(connection: ConnectionOptions) -> Result<Self, PlanError> {
        Ok(Self {
            plans: Arc::new(Plans::new(&connection)?),
            wire: Wire::new(
                &connection,
                Opener::Machine(TlsTime::default()),
                clock::now(),
            ),
            health: uncounted(),
            keeper: None,
            connection,
        })
    }

    /// The same where another has the wire.
    #[must_use]
    pub fn through(self, keeper: impl Keeper + 'static) -> Self {
        Self {
            keeper: Some(Box::new(keeper)),
            ..self
        }
    }

    /// A wire on which nobody is known, whose silence is taken for that of one unit of many: the next is asked at once.
    #[must_use]
    pub fn unknown(wire: WireOptions) -> Self {
        let connection = ConnectionOptions {
            name: wire.to_string(),
            wire,
            devices: Vec::new(),
            splits_file: None,
        };
        let units = usize::from(u8::MAX) + 1;
        Self {
            plans: Arc::default(),
            wire: Wire::new(
                &connection,
                Opener::Machine(TlsTime::default()),
                clock::now(),
            )
            .with_units(units),
            health: uncounted(),
            keeper: None,
            connection,
        }
    }

    /// Opens it, where it is not. What another has, that one opens.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(&mut self) -> Result<(), Unanswered> {
        if self.keeper.is_some() {
            return Ok(());
        }
        self.wire.connect().await;
        if self.wire.is_connected() {
            Ok(())
        } else {
            Err(unanswered(&self.wire, Reason::ConnectFailed))
        }
    }

    /// One read.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&mut self, question: Question) -> Result<Answer, Unanswered> {
        let request = ReadRequest {
            table: question.table,
            address: question.address,
            quantity: question.quantity,
            tags: Vec::new(),
        };
        let attempt = Attempt {
            unit: question.unit,
            request: Ask::Read(&request),
            timeout: question.timeout,
            delay: Duration::ZERO,
            retries: question.retries,
        };
        match self.make(attempt).await?.data {
            Data::Bits(bits) => Ok(Answer::Bits(bits)),
            Data::Registers(words) => Ok(Answer::Registers(words)),
            // No reply to a read is one.
            Data::Written => Err(Unanswered::Reason(Reason::WrongFunction)),
        }
    }

    /// Table and first address of what [`Self::probe`] asks for.
    #[must_use]
    pub fn probed(&self, device: usize) -> Option<(Table, u16)> {
        let request = self.plans.probe(device)?;
        Some((request.table, request.address))
    }

    /// Asks a device, by its place among those of the connection, for as little as it has, as when it is looked for.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn probe(&mut self, device: usize) -> Result<(), Unanswered> {
        let Some(request) = self.plans.probe(device).cloned() else {
            return Ok(());
        };
        self.request(device, &request).await.map(|_| ())
    }

    /// Reads a group of a device: a value or why there is none for each of its tags.
    ///
    /// # Errors
    /// Where the device does not answer at all.
    pub async fn read_group(
        &mut self,
        device: usize,
        group: usize,
    ) -> Result<Vec<Result<Value, Reason>>, Unanswered> {
        let job = Job { device, group };
        let plans = Arc::clone(&self.plans);
        let Some(group) = plans.group(job) else {
            return Ok(Vec::new());
        };
        let mut cycle = Cycle::new(group);
        while let Some(request) = cycle.request().cloned() {
            match self.request(device, &request).await {
                Ok(reply) => cycle.take(group, &reply),
                // It may be made in parts instead, which come next.
                Err(Unanswered::Reason(it)) if it.proves_alive() => drop(cycle.fail(it)),
                Err(fault) => return Err(fault),
            }
        }
        Ok(cycle.finish().readings)
    }

    async fn request(&mut self, device: usize, request: &ReadRequest) -> Result<Reply, Unanswered> {
        let Some(options) = self.connection.devices.get(device) else {
            return Err(Unanswered::Reason(Reason::Offline));
        };
        let attempt = Attempt {
            unit: options.unit_id,
            request: Ask::Read(request),
            timeout: options.response_timeout,
            delay: options.request_delay,
            retries: options.retries,
        };
        self.make(attempt).await
    }

    async fn make(&mut self, attempt: Attempt<'_>) -> Result<Reply, Unanswered> {
        if let Some(keeper) = &self.keeper {
            return through(&**keeper, attempt);
        }
        let reply = self.wire.ask(attempt, &mut self.health).await;
        reply.map_err(|reason| unanswered(&self.wire, reason))
    }
}

/// Each try is a request by itself, so that polls go between. The pause before it is kept by who has the wire.
fn through(keeper: &dyn Keeper, attempt: Attempt<'_>) -> Result<Reply, Unanswered> {
    let call = Call {
        unit: attempt.unit,
        timeout: attempt.timeout,
        what: What::of(attempt.request),
    };
    let mut retries = 0;
    loop {
        let asked = clock::now();
        match keeper.make(&call) {
            Ok(data) => {
                // With the time that it waited its turn, which only who has the wire could tell apart.
                let (at, took) = (clock::wall(), clock::now() - asked);
                return Ok(Reply { data, at, took });
            }
            Err(Unanswered::Reason(Reason::Timeout)) if retries < attempt.retries => retries += 1,
            Err(fault) => return Err(fault),
        }
    }
}

pub(super) fn unanswered(wire: &Wire, reason: Reason) -> Unanswered {
    match wire.error() {
        Some(said) if reason == Reason::ConnectFailed => Unanswered::NotOpen(said.to_owned()),
        _ => Unanswered::Reason(reason),
    }
}

/// Opens a serial port and closes it again.
///
/// # Errors
/// Why it cannot be opened, with what to do.
pub fn try_port(port: &SerialOptions) -> Result<(), Unanswered> {
    match crate::adapter::serial_port::SerialPort::open(port, &Arc::default()) {
        Ok(port) => {
            drop(port);
            Ok(())
        }
        Err(error) => Err(Unanswered::NotOpen(error.to_string())),
    }
}

/// Takes counts that nobody asks for.
pub(super) fn uncounted() -> Health {
    let backoff = ProbeBackoff {
        min: Duration::ZERO,
        max: Duration::ZERO,
    };
    Health::with(u32::MAX, backoff, 0)
}
