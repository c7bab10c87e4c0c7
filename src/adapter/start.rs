//! Starting and supervising the tasks of one connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cycle::Plans;
use super::health::{DeviceStatus, Health};
use super::options::ConnectionOptions;
use super::outbox::{Outbox, OutboxLimits, OutboxStats, Sink};
use super::plan::PlanError;
use super::poller::Poller;
use crate::broker::LinkClosed;
use crate::shutdown::Stop;

/// What may wait for the broker, per connection.
const OUTBOX: OutboxLimits = OutboxLimits {
    messages: 1000,
    bytes: 1024 * 1024,
};
/// How long the last readings may take to reach the broker when the adapter is stopped.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Pause before the actor is started again after a panic.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The adapter of one connection.
#[derive(Debug)]
pub struct Adapter {
    status: watch::Receiver<AdapterStatus>,
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
}

impl Adapter {
    /// Starts polling, on the present tokio runtime. When `stop` is requested, polling ends at once and what was read is
    /// still published, within 2 s; then `stop` is dropped.
    ///
    /// # Errors
    /// Where the options cannot be planned; `config` checks them before.
    pub fn start(
        options: ConnectionOptions,
        sink: impl Sink,
        stop: Stop,
    ) -> Result<Self, PlanError> {
        let plans = Arc::new(Plans::new(&options)?);
        let options = Arc::new(options);
        let outbox = Outbox::new(&options.name, OUTBOX);
        let (sender, status) = watch::channel(AdapterStatus::new(&options));
        let drain = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.drain(sink).await }
        });
        let supervisor = Supervisor {
            options,
            plans,
            outbox,
            status: sender,
        };
        tokio::spawn(supervisor.run(drain, stop));
        Ok(Self { status })
    }

    /// The newest status, and the next.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<AdapterStatus> {
        self.status.clone()
    }
}

impl AdapterStatus {
    fn new(options: &ConnectionOptions) -> Self {
        let devices = options.devices.iter().map(|device| NamedStatus {
            name: device.name.clone(),
            status: Health::new(device).status().clone(),
        });
        Self {
            name: options.name.clone(),
            connected: false,
            connects: 0,
            error: None,
            outbox: OutboxStats::default(),
            restarts: 0,
            devices: devices.collect(),
        }
    }
}

/// Keeps the actor running: a panic in it is caught, counted, and it starts anew on a connection of its own.
struct Supervisor {
    options: Arc<ConnectionOptions>,
    plans: Arc<Plans>,
    outbox: Outbox,
    status: watch::Sender<AdapterStatus>,
}

impl Supervisor {
    async fn run(self, drain: JoinHandle<Result<(), LinkClosed>>, mut stop: Stop) {
        tokio::select! {
            () = stop.requested() => {}
            () = self.poll_for_ever() => {}
        }
        self.outbox.close();
        let mut drain = Aborting(drain);
        match tokio::time::timeout(DRAIN_LIMIT, &mut drain.0).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => tracing::debug!(connection = %self.options.name, "the broker ended first"),
            Err(_) => {
                let left = self.outbox.stats().waiting;
                tracing::warn!(connection = %self.options.name, left, "the broker did not take the last readings");
            }
        }
        self.status.send_modify(|status| {
            status.connected = false;
            status.outbox = self.outbox.stats();
        });
        // Whoever waits for this part may go on now.
        drop(stop);
    }

    async fn poll_for_ever(&self) {
        loop {
            let poller = Poller::new(
                Arc::clone(&self.options),
                Arc::clone(&self.plans),
                self.outbox.clone(),
                self.status.clone(),
            );
            let mut task = Aborting(tokio::spawn(poller.run()));
            if let Err(error) = (&mut task.0).await {
                tracing::error!(connection = %self.options.name, %error, "the adapter failed and is started again");
            }
            self.status.send_modify(|status| status.restarts += 1);
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }
}

/// A task that ends with its owner.
struct Aborting<T>(JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
