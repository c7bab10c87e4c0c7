//! The demo from beginning to end: start everything, let it flow, cut the link, mend it, drain, compare.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Arguments;
use super::certificates::{self, CertificateError, Certificates};
use super::devices::Devices;
use super::publisher::{Publisher, PublisherError};
use super::relay::Relay;
use super::say;
use super::tally::{Item, Source, Verdict};
use super::upstream::Upstream;
use crate::app::{FileFaults, Gateway, Prepared, StartError};
use crate::broker::{Link, LinkClosed, LinkOptions, Origin};
use crate::cli::run::StopSignals;
use crate::config;
use crate::listener::ListenError;
use crate::mqtt::{Message, QoS};
use crate::status::{BridgeStatus, LinkState};
use crate::topic::{TopicError, TopicFilter, TopicName};

/// The backlog counts as stuck when the upstream received nothing for so many seconds.
const STUCK_AFTER: u32 = 30;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    #[error("its own configuration is at fault, which is our mistake:\n{0}")]
    Config(config::Faults),
    #[error("the simulated devices: {0}")]
    Device(std::io::Error),
    #[error("its own files are at fault, which is our mistake:\n{0}")]
    Files(#[from] FileFaults),
    #[error("its folder: {0}")]
    Folder(std::io::Error),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("no free port on loopback")]
    NoPort,
    #[error(transparent)]
    LinkClosed(#[from] LinkClosed),
    #[error("the link to the upstream: {0}")]
    Relay(std::io::Error),
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    #[error("cannot listen for Ctrl-C: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start its threads: {0}")]
    Threads(std::io::Error),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(
        "the stand-in upstream dropped {0} messages on the way to the observer, so no verdict is possible"
    )]
    Upstream(u64),
}

/// Everything that runs.
struct Stage {
    gateway: Gateway,
    devices: Devices,
    relay: Relay,
    upstream: Upstream,
    watcher: Link,
    /// Removed with the stage.
    _folder: tempfile::TempDir,
}

/// Runs the demo to its verdict.
pub(super) async fn tell(arguments: &Arguments) -> Result<Verdict, DemoError> {
    let mut signals = StopSignals::listen().map_err(DemoError::Signals)?;
    let mut stage = Stage::set(arguments.qos()).await?;
    let local = stage.local().ok_or(DemoError::NoPort)?;
    let publisher = Publisher::start(local, arguments.qos()).await?;
    let interrupted = stage.flow(arguments, &mut signals).await?;
    let mut published: BTreeSet<Item> = publisher
        .stop()
        .await?
        .into_iter()
        .map(Item::Numbered)
        .collect();
    stage.devices.fall_silent().await;
    stage.gateway.stop_sources().await;
    published.extend(stage.devices.readings());
    stage.relay.cut(false);
    say(format_args!(
        "{}: messages stop, the backlog drains",
        if interrupted { "Ctrl-C" } else { "time is up" }
    ));
    stage.drain(&published, &mut signals).await;
    let Stage {
        gateway, upstream, ..
    } = stage;
    gateway.stop().await;
    match upstream.dropped() {
        0 => Ok(Verdict::of(
            &published,
            &upstream.received(),
            arguments.qos(),
        )),
        dropped => Err(DemoError::Upstream(dropped)),
    }
}

impl Stage {
    async fn set(qos: QoS) -> Result<Self, DemoError> {
        let folder = tempfile::tempdir().map_err(DemoError::Folder)?;
        let certificates = certificates::make(folder.path())?;
        let devices = Devices::start(folder.path()).await?;
        let upstream = Upstream::start(&certificates).await?;
        let relay = Relay::start(upstream.address())
            .await
            .map_err(DemoError::Relay)?;
        let file = write_config(folder.path(), &devices, relay.address(), &certificates, qos)?;
        let loaded = config::load(&file).map_err(DemoError::Config)?;
        let prepared = Prepared::new(loaded.config, crate::net::TlsTime::default())?;
        let mut gateway = Gateway::start(prepared).await?;
        drop(gateway.reload_requests()); // nobody reloads a demo
        let options = LinkOptions {
            client_id: "$demo/watcher".into(),
            origin: Origin::Gateway,
        };
        let mut watcher = gateway.broker().link(options).await?;
        watcher
            .subscribe(TopicFilter::try_from("demo/+/+")?, QoS::AtMostOnce)
            .await?;
        say(format_args!(
            "devices     Modbus TCP on {}, Modbus RTU on {}, a serial scale on {}",
            devices.press_address,
            devices.meter_port.display(),
            devices.scale_port.display()
        ));
        say(format_args!(
            "gateway     {} (MQTT on {})",
            file.display(),
            addresses(&gateway)
        ));
        say(format_args!(
            "link        {} --> {}",
            relay.address(),
            upstream.address()
        ));
        say(format_args!(
            "upstream    MQTT 5 over mutual TLS on {}",
            upstream.address()
        ));
        Ok(Self {
            gateway,
            devices,
            relay,
            upstream,
            watcher,
            _folder: folder,
        })
    }

    /// Where the gateway's own broker listens.
    fn local(&self) -> Option<SocketAddr> {
        self.gateway.listeners().next()?.local_addr()
    }

    /// Lets messages flow for the time asked for, with the cut in the middle. True: ended early by Ctrl-C.
    async fn flow(
        &mut self,
        arguments: &Arguments,
        signals: &mut StopSignals,
    ) -> Result<bool, DemoError> {
        let (whole, cut) = (Duration::from_secs(arguments.seconds), arguments.cut());
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let started = tick.tick().await;
        let cut_from = started + (whole - cut) / 2;
        let mut values = BTreeMap::new();
        let (mut cut_now, mut seen) = (false, 0);
        loop {
            tokio::select! {
                () = signals.asked() => return Ok(true),
                message = self.watcher.receive() => {
                    let message = message?;
                    if let Some(value) = value_of(&message) {
                        values.insert(message.topic, value);
                    }
                }
                now = tick.tick() => {
                    if now >= started + whole {
                        return Ok(false);
                    }
                    let cut_wanted = !cut.is_zero() && now >= cut_from && now < cut_from + cut;
                    if cut_wanted != cut_now {
                        cut_now = cut_wanted;
                        self.relay.cut(cut_now);
                        say(format_args!("{}", if cut_now { "the link is cut" } else { "the link is mended" }));
                    }
                    let total = self.gateway.broker().stats().received.total();
                    say(format_args!("{:>4} s  {}  {}  {} msg/s", (now - started).as_secs(), self.line(), shown(&values), total - seen));
                    seen = total;
                }
            }
        }
    }

    /// Waits until everything published has arrived, nothing arrives any more, or Ctrl-C.
    async fn drain(&mut self, published: &BTreeSet<Item>, signals: &mut StopSignals) {
        let mut tick = interval(Duration::from_millis(250));
        let (mut ticks, mut idle, mut last) = (0_u32, 0, 0);
        loop {
            tokio::select! {
                () = signals.asked() => return,
                _ = tick.tick() => {}
            }
            let (total, complete) = {
                let received = self.upstream.received();
                (received.total(), received.has_all(published))
            };
            let backlog = self.status().backlog_messages;
            idle = if total == last { idle + 1 } else { 0 };
            last = total;
            if backlog == 0 && (complete || idle > 8) || idle > STUCK_AFTER * 4 {
                return;
            }
            ticks += 1;
            if ticks % 4 == 0 {
                say(format_args!("        {}", self.line()));
            }
        }
    }

    fn status(&self) -> BridgeStatus {
        self.gateway
            .bridges()
            .next()
            .map(|(_, bridge)| bridge.status.borrow().clone())
            .unwrap_or_default()
    }

    /// Link, backlog and what has arrived.
    fn line(&self) -> String {
        let status = self.status();
        let link = match status.link {
            LinkState::Down => "DOWN",
            LinkState::Connecting => "dialling",
            LinkState::Up => "up",
        };
        let received = self.upstream.received().total();
        format!(
            "link {link:<8}  backlog {:>5}  upstream has {received:>6}",
            status.backlog_messages
        )
    }
}

fn addresses(gateway: &Gateway) -> String {
    let listeners = gateway.listeners();
    listeners
        .map(|listener| listener.status.borrow().address.clone())
        .collect::<Vec<_>>()
        .join(", ")
}

/// What is shown of a device.
const SHOWN: [(Source, &str, &str); 3] = [
    (Source::Press, "temperature", "degC"),
    (Source::Meter, "voltage", "V"),
    (Source::Scale, "weight", "kg"),
];

/// What a reading says in the words of a person; `None`: it is none of a device.
fn value_of(message: &Message) -> Option<String> {
    let source = Source::of(message.topic.as_str())?;
    let (_, tag, unit) = SHOWN.into_iter().find(|(of, ..)| *of == source)?;
    let body: serde_json::Value = serde_json::from_slice(&message.payload).ok()?;
    let text = match body.pointer(&format!("/values/{tag}")) {
        Some(value) => format!("{value} {unit}"),
        None => format!("BAD {}", body.pointer(&format!("/bad/{tag}"))?),
    };
    Some(format!("{} {text}", source.name()))
}

fn shown(values: &BTreeMap<TopicName, String>) -> String {
    if values.is_empty() {
        return "no reading yet".to_owned();
    }
    let values: Vec<&str> = values.values().map(String::as_str).collect();
    values.join("  ")
}

fn write_config(
    folder: &Path,
    devices: &Devices,
    link: SocketAddr,
    certificates: &Certificates,
    qos: QoS,
) -> Result<PathBuf, DemoError> {
    let text = format!(
        include_str!("demo.yaml.in"),
        data = folder.join("data").display(),
        qos = qos as u8,
        press_port = devices.press_address.port(),
        meter_port = devices.meter_port.display(),
        scale_port = devices.scale_port.display(),
        link_port = link.port(),
        ca = certificates.authority.display(),
        certificate = certificates.gateway.0.display(),
        private_key = certificates.gateway.1.display(),
    );
    let file = folder.join("fieldgate.yaml");
    fs::write(&file, text).map_err(DemoError::Folder)?;
    Ok(file)
}
