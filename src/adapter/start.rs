//! Starting the tasks of one connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};

use super::attendant::Attendant;
use super::by_hand;
use super::command::{Ages, Book};
use super::cycle::Plans;
use super::desk::{CommandSource, Desk, WAITING_MAX, Worker};
use super::figures::WireFigures;
use super::health::{DeviceStatus, Health};
use super::latest::Latest;
use super::modbus::Opener;
use super::options::ConnectionOptions;
use super::outbox::{Outbox, OutboxLimits, OutboxStats, Sink};
use super::plan::PlanError;
use super::poller::Poller;
use super::serial::{InstrumentConnection, Mode};
use super::supervisor::{LEAVE_LIMIT, Supervisor};
use super::wire_options::WireOptions;
use crate::clock;
use crate::net::TlsTime;
use crate::shutdown::{Pulse, Stop};

/// What may wait for the broker, per connection.
const OUTBOX: OutboxLimits = OutboxLimits {
    messages: 1000,
    bytes: 1024 * 1024,
};
/// What the actor of a wire may take for a step, beside what it waits for a device: to connect, to become quiet.
const STEP_MAX: Duration = Duration::from_secs(60);
/// What a person may wait for a reply, where no device is given longer: a fraction of a step.
const BY_HAND_MAX: Duration = Duration::from_secs(10);
/// The same on a line, where who comes after a reload must not hear the reply: less than what is heard out.
const BY_HAND_ON_LINE_MAX: Duration = LEAVE_LIMIT.saturating_sub(Duration::from_secs(1));

/// The adapter of one connection.
#[derive(Debug)]
pub struct Adapter {
    status: watch::Receiver<AdapterStatus>,
    pulse: Pulse,
    figures: Arc<WireFigures>,
    by_hand: Option<by_hand::Actor>,
}

/// How a connection and its devices stand.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterStatus {
    /// Name of the connection.
    pub name: String,
    /// Whether it is connected now.
    pub connected: bool,
    /// Connections made since the start.
    pub connects: u64,
    /// Why the last attempt to connect failed; `None` where it did not.
    pub error: Option<String>,
    /// The way to the broker.
    pub outbox: OutboxStats,
    /// Times the actor had to be started again after a panic.
    pub restarts: u64,
    /// In the order of the options.
    pub devices: Vec<NamedStatus>,
}

/// A device and how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub status: DeviceStatus,
    /// By group what was read last; an instrument has one.
    pub latest: Vec<Option<Arc<Latest>>>,
}

impl Adapter {
    /// Starts polling over what this machine opens, on the present tokio runtime. When `stop` is requested, what was asked is heard
    /// out, within 5 s, commands that wait are answered, and what was read is still published, within 2 s; then `stop` is dropped.
    ///
    /// # Errors
    /// Where the options cannot be planned; `config` checks them before.
    pub fn start(
        options: impl Into<Arc<ConnectionOptions>>,
        sink: impl Sink,
        commands: impl CommandSource,
        stop: Stop,
    ) -> Result<Self, PlanError> {
        Self::start_over(
            Opener::Machine(TlsTime::default()),
            options,
            sink,
            commands,
            stop,
        )
    }

    /// The same over what `opener` opens.
    ///
    /// # Errors
    /// As [`Adapter::start`].
    pub fn start_over(
        opener: Opener,
        options: impl Into<Arc<ConnectionOptions>>,
        sink: impl Sink,
        commands: impl CommandSource,
        stop: Stop,
    ) -> Result<Self, PlanError> {
        let options = options.into();
        let plans = Arc::new(Plans::new(&options)?);
        let devices = options.devices.iter().map(|device| {
            NamedStatus::new(&device.name, &Health::new(device), device.groups.len())
        });
        let status = AdapterStatus::new(&options.name, devices.collect());
        let book = Arc::new(Book::of_devices(&options));
        let source = Arc::new(Mutex::new(commands));
        let longest = options
            .devices
            .iter()
            .map(|device| (device.response_timeout + device.request_delay) * (device.retries + 1));
        // Making a connection, with TLS, and a write with a read before it and one behind.
        let limit =
            STEP_MAX + longest.max().unwrap_or_default() * 3 + options.wire.connect_limit() * 2;
        let figures = WireFigures::new();
        let of_wire = Arc::clone(&figures);
        let timeouts = options.devices.iter().map(|device| device.response_timeout);
        let by_hand_max = match options.wire {
            WireOptions::ModbusTcp(_) => BY_HAND_MAX,
            WireOptions::ModbusRtu(..) | WireOptions::ModbusRtuOverTcp(..) => BY_HAND_ON_LINE_MAX,
        };
        let (by_hand, orders) = by_hand::Actor::new(timeouts.fold(by_hand_max, Duration::max));
        let taken = Arc::new(Mutex::new(orders));
        let actor = move |outbox: Outbox, status, pulse, stop: Stop| {
            let (sender, orders) = mpsc::channel(WAITING_MAX);
            let desk = Desk {
                book: Arc::clone(&book),
                worker: Worker::Wire(sender),
                outbox: outbox.clone(),
                source: Arc::clone(&source),
            };
            let (options, plans) = (Arc::clone(&options), Arc::clone(&plans));
            let poller = Poller::new(
                options,
                plans,
                opener.clone(),
                (orders, Arc::clone(&taken)),
                outbox,
                (status, pulse),
                Arc::clone(&of_wire),
            );
            async move {
                tokio::join!(poller.run(stop.clone()), desk.run(stop));
            }
        };
        let adapter = Self::supervised(status, limit, figures, actor, sink, stop);
        Ok(Self {
            by_hand: Some(by_hand),
            ..adapter
        })
    }

    /// Starts an instrument, in the same way.
    pub fn start_instrument(
        options: InstrumentConnection,
        sink: impl Sink,
        commands: impl CommandSource,
        stop: Stop,
    ) -> Self {
        let options = Arc::new(options);
        let instrument = &options.instrument;
        let health = Health::with(instrument.offline_after, instrument.probe_backoff, 1);
        let devices = vec![NamedStatus::new(&instrument.name, &health, 1)];
        let status = AdapterStatus::new(&options.name, devices);
        let ages = instrument.dialect.commands.iter();
        let ages = ages.map(|command| {
            let ages = Ages {
                max_age: command.max_age,
                takes_undated: command.takes_undated,
            };
            (command.name.clone(), ages)
        });
        let book = Book::of_instrument(&instrument.name, &instrument.set_topic, ages);
        let book = Arc::new(book);
        let source = Arc::new(Mutex::new(commands));
        // A line that never stops talking is waited for.
        let settles = match &instrument.dialect.mode {
            Mode::Poll { timeout, .. } => *timeout * 12,
            Mode::Listen { .. } => Duration::ZERO,
        };
        let figures = WireFigures::new();
        let of_port = Arc::clone(&figures);
        let actor = move |outbox: Outbox, status, pulse, stop: Stop| {
            let (options, figures) = (Arc::clone(&options), Arc::clone(&of_port));
            let (attendant, sender) =
                Attendant::new(options, outbox.clone(), status, pulse, figures);
            let desk = Desk {
                book: Arc::clone(&book),
                worker: Worker::Instrument(sender),
                outbox,
                source: Arc::clone(&source),
            };
            async move {
                // An instrument has nothing to finish: what it says next is about nothing that was asked before.
                tokio::select! {
                    () = attendant.run() => {}
                    () = desk.run(stop) => {}
                }
            }
        };
        let limit = STEP_MAX * 2 + settles;
        Self::supervised(status, limit, figures, actor, sink, stop)
    }

    fn supervised<F, A>(
        status: AdapterStatus,
        limit: Duration,
        figures: Arc<WireFigures>,
        actor: F,
        sink: impl Sink,
        stop: Stop,
    ) -> Self
    where
        F: Fn(Outbox, watch::Sender<AdapterStatus>, Pulse, Stop) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let name = status.name.clone();
        let outbox = Outbox::new(&name, OUTBOX);
        let (sender, status) = watch::channel(status);
        let pulse = Pulse::new(format!("connection {name}"), limit, clock::now());
        let drain = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.drain(sink).await }
        });
        let supervisor = Supervisor {
            name,
            actor,
            outbox,
            status: sender,
            pulse: pulse.clone(),
        };
        tokio::spawn(supervisor.run(drain, stop));
        Self {
            status,
            pulse,
            figures,
            by_hand: None,
        }
    }

    /// The way to its wire for requests by hand; an instrument has none.
    #[must_use]
    pub fn by_hand(&self) -> Option<by_hand::Actor> {
        self.by_hand.clone()
    }

    /// Of the actor of the wire.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// The newest status, and the next.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<AdapterStatus> {
        self.status.clone()
    }

    /// What is measured of the wire.
    #[must_use]
    pub fn figures(&self) -> Arc<WireFigures> {
        Arc::clone(&self.figures)
    }
}

impl AdapterStatus {
    pub(super) fn new(name: &str, devices: Vec<NamedStatus>) -> Self {
        Self {
            name: name.to_owned(),
            connected: false,
            connects: 0,
            error: None,
            outbox: OutboxStats::default(),
            restarts: 0,
            devices,
        }
    }
}

impl NamedStatus {
    pub(super) fn new(name: &str, health: &Health, groups: usize) -> Self {
        Self {
            name: name.to_owned(),
            status: health.status().clone(),
            latest: vec![None; groups],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::LinkClosed;
    use crate::mqtt::Message;
    use crate::shutdown::Shutdown;

    struct Nowhere;

    impl Sink for Nowhere {
        async fn publish(&mut self, _: Message) -> Result<(), LinkClosed> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_actor_that_ends_before_its_supervisor_is_told_to_stop_is_not_waited_for_twice() {
        // Of two things that are ready the supervisor takes up either first, by chance.
        for _ in 0..50 {
            let shutdown = Arc::new(Shutdown::default());
            let asking = Arc::clone(&shutdown);
            let actor = move |_, _, _, _| {
                asking.request();
                std::future::ready(())
            };
            let status = AdapterStatus::new("wire", Vec::new());
            let stop = shutdown.stop();
            let figures = WireFigures::new();
            let adapter = Adapter::supervised(status, STEP_MAX, figures, actor, Nowhere, stop);
            shutdown.finished().await;
            let status = adapter.status();
            let restarts = status.borrow().restarts;
            assert_eq!(restarts, 0);
            assert!(status.has_changed().is_err(), "the supervisor is gone");
        }
    }
}
