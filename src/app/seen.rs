//! The parts of a running gateway as those see them who look: what each publishes of itself, and what is said of it from that.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::adapter::by_hand::Actor;
use crate::adapter::serial::{InstrumentConnection, Mode};
use crate::adapter::{
    Adapter, AdapterStatus, ConnectionOptions, DeviceState as Standing, NamedStatus, WireFigures,
    WireOptions,
};
use crate::bridge::{BridgeHandle, BridgeOptions, DeadLetterLog, Lanes};
use crate::clock::{self, WallTime};
use crate::listener::Listener;
use crate::net::Expiry;
use crate::shutdown::Pulse;
use crate::status::{
    BridgeState, BridgeStatus, Busy, CertificateState, ConnectionState, DeviceState, Durations,
    Health, LeftBacklog, ListenerStatus,
};

/// The parts that there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) listeners: Vec<Listener>,
    pub(super) connections: Vec<SeenConnection>,
    pub(super) bridges: Vec<SeenBridge>,
    /// Of bridges that a reload has removed: what they had not sent.
    pub(super) left: Vec<(String, Lanes)>,
    pub(super) console: Option<watch::Receiver<ListenerStatus>>,
}

/// A wire.
#[derive(Clone, Debug)]
pub(super) struct SeenConnection {
    kind: &'static str,
    pub(super) to: String,
    pub(super) options: SeenOptions,
    pub(super) expiry: Option<Expiry>,
    pub(super) status: watch::Receiver<AdapterStatus>,
    pub(super) pulse: Pulse,
    figures: Arc<WireFigures>,
    /// The way to it for requests by hand.
    pub(super) by_hand: Option<Actor>,
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
            figures: adapter.figures(),
            by_hand: adapter.by_hand(),
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
            figures: adapter.figures(),
            by_hand: adapter.by_hand(),
        }
    }

    /// Instruments have none.
    fn unit(&self, place: usize) -> Option<u8> {
        match &self.options {
            SeenOptions::Devices(options) => Some(options.devices.get(place)?.unit_id.0),
            SeenOptions::Instrument(_) => None,
        }
    }

    /// An instrument that is listened to is not.
    fn is_asked(&self) -> bool {
        match &self.options {
            SeenOptions::Devices(_) => true,
            SeenOptions::Instrument(options) => {
                matches!(options.instrument.dialect.mode, Mode::Poll { .. })
            }
        }
    }

    fn busy(&self) -> Option<Busy> {
        let used = match &self.options {
            SeenOptions::Devices(_) => self.figures.used(),
            SeenOptions::Instrument(_) => return None,
        };
        let thousandths = |number: f64| (number * 1000.0).round() / 1000.0;
        Some(Busy {
            ratio: thousandths(used.share),
            time_s: thousandths(used.time.as_secs_f64()),
        })
    }

    pub(super) fn state(&self) -> ConnectionState {
        // Before the status, which its actor must not wait for.
        let (busy, line_errors) = (self.busy(), self.figures.line_errors());
        let (status, is_asked) = (self.status.borrow(), self.is_asked());
        let devices = status.devices.iter().enumerate();
        let devices = devices.map(|(place, device)| state_of(device, self.unit(place), is_asked));
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
            busy,
            line_errors,
            devices: devices.collect(),
        }
    }
}

fn state_of(device: &NamedStatus, unit_id: Option<u8>, is_asked: bool) -> DeviceState {
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
        exception_codes: status.exception_codes.named().collect(),
        reply_times: is_asked.then(|| Durations::from(&status.reply_times)),
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

    /// What one that was removed has left.
    pub(super) fn left(name: &str, logs: &Lanes) -> Self {
        let stats = logs.stats();
        let status = BridgeStatus {
            error: Some("the bridge was removed from the configuration".to_owned()),
            since: clock::wall(),
            backlog_messages: stats.messages,
            backlog_bytes: stats.bytes,
            oldest: stats.oldest,
            file_bytes: stats.file_bytes,
            file_bytes_max: stats.file_bytes_max,
            ..BridgeStatus::default()
        };
        Self {
            name: name.to_owned(),
            to: String::new(),
            certificate: None,
            status: watch::channel(status).1,
            logs: Some(logs.clone()),
            dead_letters: None,
            pulse: None,
        }
    }

    pub(super) fn state(&self) -> BridgeState {
        BridgeState {
            name: self.name.clone(),
            to: self.to.clone(),
            status: self.status.borrow().clone(),
        }
    }
}

/// Backlogs without a bridge that still hold something.
pub(super) fn left_backlogs(parts: &Parts) -> Vec<LeftBacklog> {
    let left = parts.left.iter().map(|(name, logs)| LeftBacklog {
        bridge: name.clone(),
        messages: logs.stats().messages,
    });
    left.filter(|left| left.messages > 0).collect()
}

pub(super) fn certificates(parts: &Parts, now: WallTime) -> Vec<CertificateState> {
    let told = |used_by: String, expiry: Expiry| CertificateState {
        used_by,
        file: expiry.path.display().to_string(),
        expires: expiry.at,
        warning: expiry.warning(now),
    };
    let listeners = parts.listeners.iter().filter_map(|listener| {
        let used_by = format!("listener {}", listener.status.borrow().name);
        Some(told(used_by, listener.expiry()?))
    });
    let connections = parts.connections.iter().filter_map(|seen| {
        let used_by = format!("connection {}", seen.status.borrow().name);
        Some(told(used_by, seen.expiry.clone()?))
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
