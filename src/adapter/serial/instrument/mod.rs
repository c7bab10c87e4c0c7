//! The actor of one instrument: listens or asks, tells readings and how the instrument stands, passes commands on.
//!
//! Invariants: nothing here waits for the broker; one question at a time, and what came before it is no answer to it; after
//! a failure the line must have been silent for one timeout before it is asked again; no reading is ever repeated, and
//! silence is told as a reason; commands go before questions, and one that had to wait for a port, or that nobody waits
//! for any more, is not carried out.

mod commands;

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::command::Command;
use super::line::{Line, Said};
use super::options::{InstrumentOptions, Mode};
use super::parse::{FieldReading, Parser};
use super::publish;
use crate::adapter::health::{DeviceStatus, Health};
use crate::adapter::publish::status_message;
use crate::adapter::reason::Reason;
use crate::adapter::schedule::{Job, Schedule, Step};
use crate::clock::{self, WallTime};
use crate::mqtt::Message;
use crate::shutdown::Pulse;

/// Commands that wait for the line.
const COMMANDS_MAX: usize = 16;
/// How long sending may take: an instrument that holds its handshake line must not stop us for ever.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// How often an instrument that is silent for long is said to be offline.
const OFFLINE_INTERVAL: Duration = Duration::from_secs(60);
/// A line that never stops is asked again after so many timeouts all the same.
const SETTLE_TIMEOUTS_MAX: u32 = 10;
/// The only group of an instrument.
const JOB: Job = Job {
    device: 0,
    group: 0,
};

/// Whom an instrument tells; nothing of it may wait.
pub trait Audience: Send {
    /// A message to be published.
    fn message(&mut self, message: Message);
    /// How it stands now, after each thing it did.
    fn status(&mut self, _: &DeviceStatus) {}
    /// What was read, or why there is nothing; the messages of it come, too.
    fn readings(&mut self, _: Vec<FieldReading>, _: WallTime) {}
}

impl<F: FnMut(Message) + Send> Audience for F {
    fn message(&mut self, message: Message) {
        self(message);
    }
}

/// The actor.
#[derive(Debug)]
pub struct Instrument<A> {
    options: InstrumentOptions,
    parser: Parser,
    health: Health,
    schedule: Schedule,
    /// Listening: when silence becomes a failure.
    stale_at: Option<Instant>,
    /// A question was not answered: its answer may still come.
    unanswered: bool,
    commands: mpsc::Receiver<Command>,
    audience: A,
    pulse: Option<Pulse>,
}

impl<A: Audience> Instrument<A> {
    /// An instrument, and the way for commands to it. `seed` spreads the first questions of many.
    #[must_use]
    pub fn new(
        options: InstrumentOptions,
        seed: u64,
        audience: A,
    ) -> (Self, mpsc::Sender<Command>) {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let now = clock::now();
        let intervals = match &options.dialect.mode {
            Mode::Poll { interval, .. } => vec![vec![*interval]],
            Mode::Listen { .. } => Vec::new(),
        };
        let instrument = Self {
            parser: Parser::new(options.dialect.parse.clone()),
            health: Health::with(options.offline_after, options.probe_backoff, 1),
            schedule: Schedule::new(&intervals, now, seed),
            stale_at: None,
            unanswered: false,
            options,
            commands,
            audience,
            pulse: None,
        };
        (instrument, sender)
    }

    /// It beats there while it works on a port.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = Some(pulse);
        self
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> &DeviceStatus {
        self.health.status()
    }

    /// Works on an open port until that fails, and says how.
    pub async fn run(&mut self, port: impl AsyncRead + AsyncWrite + Unpin) -> io::Error {
        self.refuse_commands();
        let mut line = Line::new(port, &self.options.dialect);
        let now = clock::now();
        self.schedule.probe_all(now);
        self.listen_until_stale(now);
        let mut refused = 0;
        let error = loop {
            if let Some(pulse) = &self.pulse {
                pulse.beat(clock::now());
            }
            let step = self.step(&mut line).await;
            let all = line.stats().refused;
            self.health
                .add_crc_errors(all - std::mem::replace(&mut refused, all));
            if let Err(error) = step {
                break error;
            }
            self.tell_status();
        };
        self.unreachable(Reason::ConnectionClosed);
        error
    }

    /// There is no port: `reason` is told in place of readings.
    pub fn unreachable(&mut self, reason: Reason) {
        self.refuse_commands();
        self.failed(reason);
        self.tell_status();
    }

    async fn step<P: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Line<P>,
    ) -> io::Result<()> {
        if let Ok(command) = self.commands.try_recv() {
            return self.command(line, command).await;
        }
        let now = clock::now();
        let until = match self.options.dialect.mode {
            Mode::Listen { .. } => match self.stale_at {
                Some(at) if at <= now => {
                    self.heard_nothing(now);
                    return Ok(());
                }
                at => at.unwrap_or(now + OFFLINE_INTERVAL),
            },
            Mode::Poll { .. } => match self.schedule.next(now) {
                Step::Poll(_) if self.schedule.is_suspended(JOB.device) => {
                    self.all_bad(Reason::Offline);
                    self.schedule.finished(JOB, now);
                    return Ok(());
                }
                Step::Poll(_) => return self.poll(line).await,
                Step::Probe(_) => return self.probe(line).await,
                Step::Wait(until) => until,
                Step::Idle => now + OFFLINE_INTERVAL,
            },
        };
        let until = self
            .health
            .change_at(now)
            .map_or(until, |change| change.min(until));
        if let Some(pulse) = &self.pulse {
            pulse.rest_until(until);
        }
        tokio::select! {
            biased;
            Some(command) = self.commands.recv() => self.command(line, command).await,
            said = line.frame(until) => {
                if let Some(said) = said? {
                    self.overheard(&said);
                }
                Ok(())
            }
        }
    }

    /// A frame that nobody asked for: what an instrument that is listened to says.
    fn overheard(&mut self, said: &Said) {
        if !matches!(self.options.dialect.mode, Mode::Listen { .. }) {
            return;
        }
        if let Some(readings) = self.parser.parse(&said.payload) {
            self.listen_until_stale(clock::now());
            self.heard(readings, said.at);
        }
    }

    /// What was heard at `now` is fresh for so long.
    fn listen_until_stale(&mut self, now: Instant) {
        if let Mode::Listen { stale_after } = self.options.dialect.mode {
            self.stale_at = stale_after.map(|after| now + after);
        }
    }

    fn heard_nothing(&mut self, now: Instant) {
        self.listen_until_stale(now);
        if self.health.is_offline() {
            self.all_bad(Reason::Offline);
            let repeated = now + OFFLINE_INTERVAL;
            self.stale_at = self.stale_at.map(|at| at.max(repeated));
        } else {
            self.health.count(Some(Reason::Timeout));
            self.failed(Reason::Timeout);
        }
    }

    async fn poll<P: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Line<P>,
    ) -> io::Result<()> {
        match self.ask(line).await? {
            Ok((readings, at)) => self.heard(readings, at),
            Err(reason) => {
                self.failed(reason);
                if self.health.is_offline() {
                    let now = clock::now();
                    let probe_at = self.health.next_probe(now);
                    self.schedule.suspend(JOB.device, probe_at, now);
                }
            }
        }
        self.schedule.finished(JOB, clock::now());
        self.health.set_overruns(self.schedule.overruns(JOB.device));
        Ok(())
    }

    async fn probe<P: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Line<P>,
    ) -> io::Result<()> {
        let answer = self.ask(line).await?;
        let now = clock::now();
        match answer {
            Ok((readings, at)) => {
                self.schedule.resume(JOB.device, now);
                self.schedule.finished(JOB, now);
                self.heard(readings, at);
            }
            Err(_) => {
                let probe_at = self.health.next_probe(now);
                self.schedule.suspend(JOB.device, probe_at, now);
            }
        }
        Ok(())
    }

    /// One question, and its answer in time or why there is none.
    async fn ask<P: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Line<P>,
    ) -> io::Result<Result<(Vec<FieldReading>, WallTime), Reason>> {
        let Mode::Poll { send, timeout, .. } = &self.options.dialect.mode else {
            return Ok(Err(Reason::Offline));
        };
        let (send, timeout) = (send.clone(), *timeout);
        self.settle(line, timeout).await?;
        let (before, sent) = (line.stats(), clock::now());
        line.send(&send, SEND_LIMIT).await?;
        let until = clock::now() + timeout;
        while let Some(said) = line.frame(until).await? {
            if let Some(readings) = self.parser.parse(&said.payload) {
                self.health.took(clock::now() - sent);
                return Ok(Ok((readings, said.at)));
            }
        }
        let after = line.stats();
        let reason = if after.refused > before.refused {
            Reason::WrongChecksum
        } else if after.garbage > before.garbage {
            Reason::Garbled
        } else {
            Reason::Timeout
        };
        self.unanswered = true;
        // Whatever came instead is counted by the line.
        self.health.count(Some(Reason::Timeout));
        Ok(Err(reason))
    }

    /// Nothing that was to come is left on the line.
    async fn settle<P: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Line<P>,
        timeout: Duration,
    ) -> io::Result<()> {
        if std::mem::take(&mut self.unanswered) {
            let latest = clock::now() + timeout * SETTLE_TIMEOUTS_MAX;
            line.settle(timeout, latest).await?;
        }
        line.discard().await
    }

    /// The instrument has spoken.
    fn heard(&mut self, readings: Vec<FieldReading>, at: WallTime) {
        let failure = readings
            .iter()
            .find_map(|reading| reading.value.as_ref().err().copied());
        if self.health.is_offline() {
            tracing::info!(device = %self.options.name, "device is back");
        }
        self.health.count(failure);
        self.health.replied(at);
        self.health.revived(at);
        self.health.group_read(JOB.group, failure, at);
        publish::messages(&self.options, &readings, at, |message| {
            self.audience.message(message);
        });
        self.audience.readings(readings, at);
    }

    /// The instrument has not. Once it is offline, its readings only come around to say so.
    fn failed(&mut self, reason: Reason) {
        let (now, at) = (clock::now(), clock::wall());
        if !self.health.is_offline() {
            self.all_bad(reason);
        }
        if self.health.failed(reason, now, at) {
            tracing::warn!(device = %self.options.name, %reason, "device is offline");
        }
        self.health.group_read(JOB.group, Some(reason), at);
    }

    fn all_bad(&mut self, reason: Reason) {
        let bad = self.parser.all_bad(reason);
        let at = clock::wall();
        publish::messages(&self.options, &bad, at, |message| {
            self.audience.message(message);
        });
        self.audience.readings(bad, at);
    }

    fn tell_status(&mut self) {
        let now = clock::now();
        if self.health.status_at(now).is_some_and(|at| at <= now) {
            let status = status_message(&self.options.status_topic, self.health.status());
            self.audience.message(status);
            self.health.status_told(now);
        }
        self.audience.status(self.health.status());
    }
}
