//! The gateway as others see it: what its parts publish of themselves, put together when somebody asks.
//!
//! Nothing here waits for a part, and no part waits for who looks. Which parts there are changes with a reload.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::report::StoreHealth;
use crate::adapter::serial::InstrumentConnection;
use crate::adapter::{
    Adapter, AdapterStatus, ConnectionOptions, DeviceState as Standing, NamedStatus, WireOptions,
};
use crate::bridge::{BridgeHandle, BridgeOptions, DeadLetterLog, Lanes};
use crate::broker::{BrokerHandle, BrokerStats};
use crate::clock::{self, WallTime};
use crate::net::{Expiry, TlsTime};
use crate::shutdown::{Pulse, Stop};
use crate::status::{
    BridgeState, BridgeStatus, BrokerState, CertificateState, ConfigState, ConnectionState,
    DeviceState, GatewayState, Health, ListenerStatus, StoreState,
};
use crate::store::Folder;

/// Rates are of this long.
const RATES_OVER: Duration = Duration::from_secs(5);

/// Sees one running gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Observed>);

#[derive(Debug)]
struct Observed {
    fixed: Fixed,
    store: StoreHealth,
    parts: watch::Sender<Parts>,
    config: watch::Sender<ConfigState>,
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

/// The parts that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) listeners: Vec<SeenListener>,
    pub(super) connections: Vec<SeenConnection>,
    pub(super) bridges: Vec<SeenBridge>,
    pub(super) console: Option<watch::Receiver<ListenerStatus>>,
}

/// A listener.
#[derive(Clone, Debug)]
pub(super) struct SeenListener {
    pub(super) status: watch::Receiver<ListenerStatus>,
    pub(super) pulse: Pulse,
    pub(super) expiry: Option<Expiry>,
}

/// A wire.
#[derive(Clone, Debug)]
pub(super) struct SeenConnection {
    kind: &'static str,
    to: String,
    pub(super) options: SeenOptions,
    pub(super) expiry: Option<Expiry>,
    pub(super) status: watch::Receiver<AdapterStatus>,
    pulse: Pulse,
}

/// What is read on it.
#[derive(Clone, Debug)]
pub(super) enum SeenOptions {
    Devices(Arc<ConnectionOptions>),
    Instrument(Arc<InstrumentConnection>),
}

/// A bridge, whether it runs or not.
#[derive(Clone, Debug)]
pub(super) struct SeenBridge {
    pub(super) name: String,
    pub(super) to: String,
    /// The file.
    pub(super) certificate: Option<PathBuf>,
    pub(super) status: watch::Receiver<BridgeStatus>,
    /// `None`: it could not be opened.
    pub(super) logs: Option<Lanes>,
    /// `None`: the bridge does not run.
    pub(super) dead_letters: Option<DeadLetterLog>,
    /// Likewise.
    pub(super) pulse: Option<Pulse>,
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
        Self(Arc::new(Observed {
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
        let written = store.stores.written(logs);
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
                commits: written.commits,
                syncs: written.syncs,
                bytes_written: written.bytes,
            },
            connections: parts
                .connections
                .iter()
                .map(SeenConnection::state)
                .collect(),
            bridges: parts.bridges.iter().map(SeenBridge::state).collect(),
            certificates: certificates(&parts, now),
            problems: Vec::new(),
        }
        .judged()
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
        let logs = logs.flat_map(Lanes::all).map(|(_, log)| log.pulse());
        let mut pulses: Vec<_> = tasks.cloned().chain(logs).collect();
        pulses.extend(self.0.store.stores.pulses());
        pulses.push(self.broker_pulse());
        pulses
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

    /// The bridges that there are.
    pub(super) fn bridges(&self) -> Vec<SeenBridge> {
        self.0.parts.borrow().bridges.clone()
    }

    pub(super) fn show(&self, parts: Parts) {
        self.0.parts.send_replace(parts);
    }

    /// Whether what should be kept can be.
    pub(super) fn store(&self) -> &StoreHealth {
        &self.0.store
    }

    /// What is told of the configuration.
    pub fn tell_config(&self, config: ConfigState) {
        self.0.config.send_replace(config);
    }

    /// What was told last of it, and what comes.
    pub(super) fn config(&self) -> watch::Receiver<ConfigState> {
        self.0.config.subscribe()
    }

    fn broker(&self) -> BrokerState {
        let stats = self.0.fixed.broker.stats();
        let rates = self.0.rates.lock().unwrap_or_else(PoisonError::into_inner);
        BrokerState {
            has_ended: self.0.fixed.broker.has_ended(),
            clients: stats.clients,
            clients_maximum: stats.clients_maximum,
            sessions: stats.sessions,
            subscriptions: stats.subscriptions,
            retained_messages: stats.retained_messages,
            retained_bytes: stats.retained_bytes,
            received: stats.received,
            sent: stats.sent,
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
        if passed <= 0.0 {
            return;
        }
        self.received_per_s = stats.received.saturating_sub(self.received) as f64 / passed;
        self.sent_per_s = stats.sent.saturating_sub(self.sent) as f64 / passed;
        (self.at, self.received, self.sent) = (now, stats.received, stats.sent);
    }
}

impl SeenConnection {
    /// A wire with Modbus devices.
    pub(super) fn of_devices(
        options: &Arc<ConnectionOptions>,
        expiry: Option<Expiry>,
        adapter: &Adapter,
    ) -> Self {
        let kind = match &options.wire {
            WireOptions::ModbusTcp(_) => "modbus_tcp",
            WireOptions::ModbusRtu(..) => "modbus_rtu",
            WireOptions::ModbusRtuOverTcp(..) => "modbus_rtu_over_tcp",
        };
        Self {
            kind,
            to: options.wire.to_string(),
            options: SeenOptions::Devices(Arc::clone(options)),
            expiry,
            status: adapter.status(),
            pulse: adapter.pulse(),
        }
    }

    /// A port with an instrument.
    pub(super) fn of_instrument(options: InstrumentConnection, adapter: &Adapter) -> Self {
        Self {
            kind: "serial",
            to: options.port.to_string(),
            options: SeenOptions::Instrument(Arc::new(options)),
            expiry: None,
            status: adapter.status(),
            pulse: adapter.pulse(),
        }
    }

    /// Instruments have none.
    fn unit(&self, place: usize) -> Option<u8> {
        match &self.options {
            SeenOptions::Devices(options) => Some(options.devices.get(place)?.unit_id.0),
            SeenOptions::Instrument(_) => None,
        }
    }

    fn state(&self) -> ConnectionState {
        let status = self.status.borrow();
        let devices = status.devices.iter().enumerate();
        let devices = devices.map(|(place, device)| state_of(device, self.unit(place)));
        ConnectionState {
            name: status.name.clone(),
            kind: self.kind.to_owned(),
            to: self.to.clone(),
            connected: status.connected,
            connects: status.connects,
            error: status.error.clone(),
            published: status.outbox.published,
            dropped: status.outbox.dropped,
            restarts: status.restarts,
            devices: devices.collect(),
        }
    }
}

fn state_of(device: &NamedStatus, unit_id: Option<u8>) -> DeviceState {
    let status = &device.status;
    DeviceState {
        name: device.name.clone(),
        unit_id,
        state: match status.state {
            None => Health::Unknown,
            Some(Standing::Online) => Health::Online,
            Some(Standing::Degraded) => Health::Degraded,
            Some(Standing::Offline) => Health::Offline,
        },
        since: status.since,
        last_ok: status.last_ok,
        error: status.error.map(|reason| reason.to_string()),
        requests: status.requests,
        answered: status.answered,
        timeouts: status.timeouts,
        crc_errors: status.crc_errors,
        late_replies: status.late_replies,
        invalid_replies: status.invalid_replies,
        exceptions: status.exceptions,
        overruns: status.overruns,
    }
}

impl SeenBridge {
    /// One that runs.
    pub(super) fn running(options: &BridgeOptions, handle: &BridgeHandle, logs: Lanes) -> Self {
        let to = options.addresses.first();
        let to = to.map(|address| format!("{}:{}", address.host, address.port));
        let identity = options.tls.as_ref().and_then(|tls| tls.identity.as_ref());
        Self {
            name: options.name.clone(),
            to: to.unwrap_or_default(),
            certificate: identity.map(|(certificate, _)| certificate.clone()),
            status: handle.status.clone(),
            logs: Some(logs),
            dead_letters: Some(handle.dead_letters.clone()),
            pulse: Some(handle.pulse.clone()),
        }
    }

    fn state(&self) -> BridgeState {
        BridgeState {
            name: self.name.clone(),
            to: self.to.clone(),
            status: self.status.borrow().clone(),
        }
    }
}

fn certificates(parts: &Parts, now: WallTime) -> Vec<CertificateState> {
    let told = |used_by: String, expiry: &Expiry| CertificateState {
        used_by,
        file: expiry.path.display().to_string(),
        expires: expiry.at,
        warning: expiry.warning(now),
    };
    let listeners = parts.listeners.iter().filter_map(|seen| {
        let used_by = format!("listener {}", seen.status.borrow().name);
        Some(told(used_by, seen.expiry.as_ref()?))
    });
    let connections = parts.connections.iter().filter_map(|seen| {
        let used_by = format!("connection {}", seen.status.borrow().name);
        Some(told(used_by, seen.expiry.as_ref()?))
    });
    let bridges = parts.bridges.iter().filter_map(|seen| {
        let status = seen.status.borrow();
        Some(CertificateState {
            used_by: format!("bridge {}", seen.name),
            file: seen.certificate.as_ref()?.display().to_string(),
            expires: status.certificate_expires?,
            warning: status.certificate_warning.clone(),
        })
    });
    listeners.chain(connections).chain(bridges).collect()
}
