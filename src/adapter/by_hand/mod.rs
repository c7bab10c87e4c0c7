//! Modbus by hand: one question at a time on a wire that no actor polls, for the commands that a person types. Reads, and
//! writes once what `write` has decided on.
//!
//! Invariant: what is asked and judged here is asked and judged as when the gateway polls, so what works by hand works there.

mod write;

use std::sync::Arc;
use std::time::Duration;

pub use write::Writing;

use super::cycle::{Cycle, Plans};
use super::data::Data;
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

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The port or the TCP connection cannot be opened: what the system says.
    #[error("{0}")]
    NotOpen(String),
    /// The device did not answer, refused, or what it said cannot be used.
    #[error("{0}")]
    Reason(Reason),
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
            connection,
        })
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
            connection,
        }
    }

    /// Opens it, where it is not.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(&mut self) -> Result<(), Unanswered> {
        self.wire.connect().await;
        if self.wire.is_connected() {
            Ok(())
        } else {
            Err(self.unanswered(Reason::ConnectFailed))
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
        let result = self.wire.ask(attempt, &mut self.health).await;
        match result.map(|reply| reply.data) {
            Ok(Data::Bits(bits)) => Ok(Answer::Bits(bits)),
            Ok(Data::Registers(words)) => Ok(Answer::Registers(words)),
            // No reply to a read is one.
            Ok(Data::Written) => Err(self.unanswered(Reason::WrongFunction)),
            Err(reason) => Err(self.unanswered(reason)),
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
        match self.request(device, &request).await {
            Ok(_) => Ok(()),
            Err(reason) => Err(self.unanswered(reason)),
        }
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
                Err(reason) if reason.proves_alive() => drop(cycle.fail(reason)),
                Err(reason) => return Err(self.unanswered(reason)),
            }
        }
        Ok(cycle.finish().readings)
    }

    async fn request(&mut self, device: usize, request: &ReadRequest) -> Result<Reply, Reason> {
        let Some(options) = self.connection.devices.get(device) else {
            return Err(Reason::Offline);
        };
        let attempt = Attempt {
            unit: options.unit_id,
            request: Ask::Read(request),
            timeout: options.response_timeout,
            delay: options.request_delay,
            retries: options.retries,
        };
        self.wire.ask(attempt, &mut self.health).await
    }

    fn unanswered(&self, reason: Reason) -> Unanswered {
        match self.wire.error() {
            Some(said) if reason == Reason::ConnectFailed => Unanswered::NotOpen(said.to_owned()),
            _ => Unanswered::Reason(reason),
        }
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

fn uncounted() -> Health {
    let backoff = ProbeBackoff {
        min: Duration::ZERO,
        max: Duration::ZERO,
    };
    Health::with(u32::MAX, backoff, 0)
}
