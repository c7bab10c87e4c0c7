//! The gateway as others see it: what its parts publish of themselves, put together when somebody asks.
//!
//! Nothing here waits for a part, and no part waits for who looks. Which parts there are changes with a reload.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::report::StoreHealth;
use super::seen::{Parts, SeenBridge, SeenConnection, certificates, left_backlogs};
use crate::bridge::Lanes;
use crate::broker::{BrokerHandle, BrokerStats};
use crate::clock;
use crate::events::Events;
use crate::net::TlsTime;
use crate::shutdown::{Pulse, Stop};
use crate::status::{BrokerState, ConfigState, Durations, GatewayState, StoreState};
use crate::store::Folder;

/// A reload takes seconds: each part that it stops finishes what is under way. Files on a slow card are read, too.
const RELOAD_MAX: Duration = Duration::from_secs(120);

/// Rates are of this long.
const RATES_OVER: Duration = Duration::from_secs(5);

/// Sees one running gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Observed>);

#[derive(Debug)]
struct Observed {
    fixed: Fixed,
    store: StoreHealth,
    reload_pulse: Pulse,
    parts: watch::Sender<Parts>,
    config: watch::Sender<ConfigState>,
    login_error: watch::Sender<Option<String>>,
    events: OnceLock<Events>,
    rates: Mutex<Rates>,
}

/// What stays as long as the gateway runs.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    pub(super) gateway: String,
    pub(super) data_dir: PathBuf,
    pub(super) free_space_minimum: u64,
    pub(super) started: Instant,
    pub(super) broker: BrokerHandle,
    pub(super) broker_pulse: Pulse,
    pub(super) tls_time: TlsTime,
}

#[derive(Debug)]
struct Rates {
    at: Instant,
    received: u64,
    sent: u64,
    received_per_s: f64,
    sent_per_s: f64,
}

impl Observer {
    pub(super) fn new(fixed: Fixed, store: StoreHealth) -> Self {
        let reload_pulse = Pulse::new("reload", RELOAD_MAX, fixed.started);
        reload_pulse.end(); // none is under way
        Self(Arc::new(Observed {
            reload_pulse,
            rates: Mutex::new(Rates {
                at: fixed.started,
                received: 0,
                sent: 0,
                received_per_s: 0.0,
                sent_per_s: 0.0,
            }),
            fixed,
            store,
            parts: watch::Sender::default(),
            config: watch::Sender::default(),
            login_error: watch::Sender::default(),
            events: OnceLock::new(),
        }))
    }

    /// All of it, with what needs attention.
    #[must_use]
    pub fn state(&self) -> GatewayState {
        let Observed { fixed, store, .. } = &*self.0;
        let at = clock::wall();
        let parts = self.0.parts.borrow().clone();
        let now = fixed.tls_time.now();
        let listeners = parts
            .listeners
            .iter()
            .map(|seen| seen.status.borrow().clone());
        let uptime = clock::now().saturating_duration_since(fixed.started);
        let logs = parts.bridges.iter().filter_map(|it| it.logs.as_ref());
        let left = parts.left.iter().map(|(_, logs)| logs);
        let written = store.stores.written(logs.chain(left));
        GatewayState {
            gateway: fixed.gateway.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at,
            uptime_s: uptime.as_secs(),
            clock_is_set: at.is_plausible(),
            config: self.0.config.borrow().clone(),
            listeners: listeners.collect(),
            console: parts.console.as_ref().map(|it| it.borrow().clone()),
            broker: self.broker(),
            store: StoreState {
                data_dir: fixed.data_dir.display().to_string(),
                error: store.error(),
                free_bytes: Folder::free_space(&fixed.data_dir).ok(),
                free_bytes_minimum: fixed.free_space_minimum,
                commits: written.commits.count(),
                commit_times: Durations::from(&written.commits),
                syncs: written.syncs,
                bytes_written: written.bytes,
            },
            connections: parts
                .connections
                .iter()
                .map(SeenConnection::state)
                .collect(),
            bridges: parts.bridges.iter().map(SeenBridge::state).collect(),
            left_backlogs: left_backlogs(&parts),
            certificates: certificates(&parts, now),
            problems: Vec::new(),
        }
        .judged()
    }

    /// Who it is: the first level of its topics.
    pub(super) fn gateway(&self) -> &str {
        &self.0.fixed.gateway
    }

    /// The local broker.
    pub(super) fn handle(&self) -> &BrokerHandle {
        &self.0.fixed.broker
    }

    /// Of all parts that there are, of the threads of their stores too.
    pub(super) fn pulses(&self) -> Vec<Pulse> {
        let parts = self.0.parts.borrow();
        let listeners = parts.listeners.iter().map(|seen| &seen.pulse);
        let connections = parts.connections.iter().map(|seen| &seen.pulse);
        let bridges = parts.bridges.iter().filter_map(|seen| seen.pulse.as_ref());
        let tasks = listeners.chain(connections).chain(bridges);
        let logs = parts.bridges.iter().filter_map(|seen| seen.logs.as_ref());
        let logs = logs.chain(parts.left.iter().map(|(_, logs)| logs));
        let logs = logs.flat_map(Lanes::all).map(|(_, log)| log.pulse());
        let mut pulses: Vec<_> = tasks.cloned().chain(logs).collect();
        pulses.extend(self.0.store.stores.pulses());
        pulses.push(self.broker_pulse());
        pulses.push(self.0.reload_pulse.clone());
        pulses
    }

    /// For a reload, which hangs where a part does not stop.
    pub(super) fn reload_pulse(&self) -> &Pulse {
        &self.0.reload_pulse
    }

    /// For what asks the broker.
    pub(super) fn broker_pulse(&self) -> Pulse {
        self.0.fixed.broker_pulse.clone()
    }

    /// The parts, and the next ones.
    pub(super) fn parts(&self) -> watch::Receiver<Parts> {
        self.0.parts.subscribe()
    }

    /// Where it keeps things.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.0.fixed.data_dir.clone()
    }

    /// The wires that there are.
    pub(super) fn connections(&self) -> Vec<SeenConnection> {
        self.0.parts.borrow().connections.clone()
    }

    /// What has a backlog: the bridges that there are, and those that were removed.
    pub(super) fn backlogs(&self) -> Vec<SeenBridge> {
        let parts = self.0.parts.borrow();
        let left = parts.left.iter();
        let left = left.map(|(name, logs)| SeenBridge::left(name, logs));
        parts.bridges.iter().cloned().chain(left).collect()
    }

    pub(super) fn show(&self, parts: Parts) {
        self.0.parts.send_replace(parts);
    }

    /// Whether what should be kept can be.
    pub(super) fn store(&self) -> &StoreHealth {
        &self.0.store
    }

    /// Where what happens is kept, for who asks; once.
    pub fn tell_events(&self, events: Events) {
        if self.0.events.set(events).is_err() {
            tracing::debug!("where events are kept was told before");
        }
    }

    pub(super) fn events(&self) -> Option<&Events> {
        self.0.events.get()
    }

    /// What is told of the configuration.
    pub fn tell_config(&self, config: ConfigState) {
        self.0.config.send_replace(config);
    }

    /// What was told last of it, and what comes.
    pub(super) fn config(&self) -> watch::Receiver<ConfigState> {
        self.0.config.subscribe()
    }

    /// Who is refused because users or rules could not be read, and why; `None`: they could.
    pub(super) fn tell_login_error(&self, error: Option<String>) {
        self.0.login_error.send_if_modified(|known| {
            let is_new = *known != error;
            *known = error;
            is_new
        });
    }

    /// What was told last of that, and what comes.
    pub(super) fn login_error(&self) -> watch::Receiver<Option<String>> {
        self.0.login_error.subscribe()
    }

    fn broker(&self) -> BrokerState {
        let stats = self.0.fixed.broker.stats();
        let rates = self.0.rates.lock().unwrap_or_else(PoisonError::into_inner);
        BrokerState {
            has_ended: self.0.fixed.broker.has_ended(),
            login_error: self.0.login_error.borrow().clone(),
            clients: stats.clients,
            clients_maximum: stats.clients_maximum,
            sessions: stats.sessions,
            subscriptions: stats.subscriptions,
            retained_messages: stats.retained_messages,
            retained_bytes: stats.retained_bytes,
            received: stats.received.counts(),
            sent: stats.sent.counts(),
            received_per_s: rates.received_per_s,
            sent_per_s: rates.sent_per_s,
            dropped: stats.dropped,
            expired: stats.expired,
            unmapped: stats.unmapped,
            panics: stats.panics,
            bytes_received: stats.traffic.bytes_received,
            bytes_sent: stats.traffic.bytes_sent,
        }
    }

    fn note_rates(&self) {
        let stats = self.0.fixed.broker.stats();
        let mut rates = self.0.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.note(clock::now(), &stats);
    }
}

/// Measures rates, until `stop`.
pub(super) async fn measure(observer: Observer, mut stop: Stop) {
    let mut tick = tokio::time::interval(RATES_OVER);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.requested() => return,
            _ = tick.tick() => observer.note_rates(),
        }
    }
}

impl Rates {
    fn note(&mut self, now: Instant, stats: &BrokerStats) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        // The first look is at the start, when all that was restored counts as having come.
        if passed < RATES_OVER.as_secs_f64() / 2.0 {
            return;
        }
        let (received, sent) = (stats.received.total(), stats.sent.total());
        self.received_per_s = received.saturating_sub(self.received) as f64 / passed;
        self.sent_per_s = sent.saturating_sub(self.sent) as f64 / passed;
        (self.at, self.received, self.sent) = (now, received, sent);
    }
}
