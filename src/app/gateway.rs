//! A running gateway.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::absent::{Absent, RegainWait};
use super::control::{self, Backlog};
use super::report::StoreHealth;
use super::stores::{Found, Opened};
use super::{Prepared, memory, report, sys};
use crate::adapter::serial::InstrumentConnection;
use crate::adapter::{Adapter, ConnectionOptions, Opener, PlanError};
use crate::auth::Authenticator;
use crate::bridge::{BridgeHandle, Lanes, Local, PreparedBridge};
use crate::broker::{Attachment, Broker, BrokerHandle, Link, LinkClosed, LinkOptions, Origin};
use crate::clock;
use crate::config;
use crate::listener::{Listener, PreparedListener};
use crate::mqtt::QoS;
use crate::net::TlsTime;
use crate::shutdown::Shutdown;
use crate::status::BridgeStatus;
use crate::store::StoreError;
use crate::topic::{TopicError, TopicFilter, TopicName};

/// The parts of a running gateway, and what stops them.
#[derive(Debug)]
pub struct Gateway {
    broker: BrokerHandle,
    listeners: Vec<Listener>,
    bridges: Vec<(String, BridgeHandle)>,
    /// Those whose logs could not be opened.
    absent_bridges: Vec<(String, watch::Receiver<BridgeStatus>)>,
    stores: Opened,
    absent: Absent,
    tls_time: TlsTime,
    reports: JoinSet<()>,
    stops: Stops,
}

/// One for each step of stopping, in order.
#[derive(Debug, Default)]
struct Stops {
    listeners: Shutdown,
    adapters: Shutdown,
    reports: Shutdown,
    broker: Shutdown,
    bridges: Shutdown,
}

/// Why a gateway did not start. Each names what is at fault.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker's thread.
    #[error("cannot start the broker's thread: {0}")]
    Broker(#[source] io::Error),
    /// It ended again at once.
    #[error(transparent)]
    Ended(#[from] LinkClosed),
    /// Another process has the store.
    #[error("the store cannot be opened: {0}")]
    Store(#[source] StoreError),
    /// A tag that no request can read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The gateway's id makes no topic.
    #[error("gateway.id makes no topic: {0}")]
    Topic(#[from] TopicError),
}

impl Gateway {
    /// Starts every part. What was started before a part that fails is stopped again by being dropped. A store that cannot be
    /// opened is not such a part: see [`Self::regained`].
    ///
    /// # Errors
    /// Names the part and what to do.
    pub async fn start(prepared: Prepared) -> Result<Self, StartError> {
        let stops = Stops::default();
        let Found {
            opened,
            stores,
            bridges,
            absent,
        } = Found::open(prepared.sessions, prepared.bridges).await?;
        if let Some(time) = stores.sessions.as_ref().and_then(|store| store.clock_was) {
            prepared.tls_time.know(time);
        }
        let attachments = stores.bridges.clone();
        let broker = Broker::start(
            prepared.broker,
            stores,
            Authenticator::new(prepared.credentials),
            stops.broker.stop(),
        )
        .map_err(StartError::Broker)?;
        let mut gateway = Self {
            broker,
            listeners: Vec::new(),
            bridges: Vec::new(),
            absent_bridges: Vec::new(),
            stores: opened,
            absent,
            tls_time: prepared.tls_time,
            reports: JoinSet::new(),
            stops,
        };
        let config::Gateway {
            id,
            tells_status,
            control_socket,
            ..
        } = prepared.gateway;
        for (number, (bridge, attachment)) in bridges.into_iter().zip(attachments).enumerate() {
            gateway
                .start_bridge(&id, number, bridge, attachment)
                .await?;
        }
        gateway.tell_absent_bridges(&id).await?;
        gateway
            .start_adapters(prepared.connections, prepared.instruments)
            .await?;
        for listener in prepared.listeners {
            let stop = gateway.stops.listeners.stop();
            let listener = listener.start(gateway.broker.clone(), stop);
            gateway.listeners.push(listener);
        }
        if tells_status {
            gateway.start_status(&id).await?;
        }
        let link = gateway.link("sys", Origin::Gateway).await?;
        let (broker, stop) = (gateway.broker.clone(), gateway.stops.reports.stop());
        gateway.reports.spawn(sys::publish(link, broker, stop));
        let (broker, stop) = (gateway.broker.clone(), gateway.stops.reports.stop());
        gateway.reports.spawn(memory::give_back(broker, stop));
        if let Some(socket) = control::open(&control_socket) {
            let (backlogs, stop) = (gateway.backlogs(), gateway.stops.reports.stop());
            gateway
                .reports
                .spawn(control::serve(socket, backlogs, stop));
        }
        tracing::info!(gateway = id, "running");
        Ok(gateway)
    }

    async fn start_adapters(
        &self,
        connections: Vec<Arc<ConnectionOptions>>,
        instruments: Vec<InstrumentConnection>,
    ) -> Result<(), StartError> {
        for connection in connections {
            let link = self.link(&connection.name, Origin::Device).await?;
            let topics = connection.devices.iter().map(|device| &device.set_topic);
            let commands = self.commands(&connection.name, topics).await?;
            let opener = Opener::Machine(self.tls_time.clone());
            let stop = self.stops.adapters.stop();
            Adapter::start_over(opener, connection, link, commands, stop)?;
        }
        for instrument in instruments {
            let link = self.link(&instrument.name, Origin::Device).await?;
            let topic = &instrument.instrument.set_topic;
            let commands = self.commands(&instrument.name, [topic].into_iter()).await?;
            Adapter::start_instrument(instrument, link, commands, self.stops.adapters.stop());
        }
        Ok(())
    }

    /// Where what is sent to these set topics comes out. At QoS 0 and in no lasting session: a command runs once at most,
    /// and none is kept for later.
    async fn commands(
        &self,
        connection: &str,
        topics: impl Iterator<Item = &TopicName>,
    ) -> Result<Link, StartError> {
        let name = format!("{connection}/set");
        let mut link = self.link(&name, Origin::Device).await?;
        for topic in topics {
            let filter = TopicFilter::try_from(format!("{topic}/+").as_str())?;
            link.subscribe(filter, QoS::AtMostOnce).await?;
        }
        Ok(link)
    }

    /// The local broker.
    #[must_use]
    pub fn broker(&self) -> &BrokerHandle {
        &self.broker
    }

    /// The listeners, in the order of the configuration.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The bridges and their names.
    #[must_use]
    pub fn bridges(&self) -> &[(String, BridgeHandle)] {
        &self.bridges
    }

    /// By which all of it judges certificates.
    pub(super) fn tls_time(&self) -> &TlsTime {
        &self.tls_time
    }

    /// The next handshakes of listeners that are configured as before are answered with the files of these, and bridges
    /// look at theirs.
    pub(super) fn renew_certificates(&self, listeners: &[PreparedListener]) {
        for (listener, new) in self.listeners.iter().zip(listeners) {
            if listener.renew(new) {
                let listener = new.name();
                tracing::info!(
                    listener,
                    "reload: new connections get the certificate files as they are now"
                );
            }
        }
        for (_, bridge) in &self.bridges {
            bridge.renew_certificates();
        }
    }

    /// Whether a part of the store could not be opened at the start.
    #[must_use]
    pub fn lacks_stores(&self) -> bool {
        !self.absent.is_empty()
    }

    /// Returns when a part of the store that could not be opened at the start can be: then a gateway that is started anew has
    /// it. Never returns where nothing is missing. Cancel safe.
    pub async fn regained(&self, wait: &mut RegainWait) {
        self.absent.regained(wait).await;
    }

    /// The first step of [`Self::stop`] by itself: nothing new comes in, what came goes on its way.
    pub async fn stop_sources(&self) {
        self.stops.listeners.request();
        self.stops.listeners.finished().await;
        self.stops.adapters.request();
        self.stops.adapters.finished().await;
    }

    /// Stops every part in the order that leaves nothing behind; returns when all is on stable storage.
    pub async fn stop(mut self) {
        self.stop_sources().await;
        self.stops.reports.request();
        while let Some(ended) = self.reports.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a status report failed");
            }
        }
        for step in [&self.stops.broker, &self.stops.bridges] {
            step.request();
            step.finished().await;
        }
        self.stores.close().await;
        tracing::info!("stopped");
    }

    async fn start_status(&mut self, gateway: &str) -> Result<(), StartError> {
        let listeners = self.listeners.iter();
        let listeners = listeners.map(|listener| listener.status.clone()).collect();
        let link = self.link("status", Origin::Gateway).await?;
        let topic = TopicName::try_from(format!("{gateway}/$status"))?;
        self.reports.spawn(report::gateway(
            link,
            topic,
            clock::wall(),
            listeners,
            StoreHealth {
                stores: self.stores.clone(),
                absent: self.absent.error(),
            },
            self.stops.reports.stop(),
        ));
        Ok(())
    }

    /// A bridge without its log says so and does nothing else.
    async fn tell_absent_bridges(&mut self, gateway: &str) -> Result<(), StartError> {
        let absent = self.absent.bridges();
        let absent: Vec<_> = absent
            .map(|(name, error)| (name.to_owned(), error.to_owned()))
            .collect();
        for (name, error) in absent {
            let topic = TopicName::try_from(format!("{gateway}/$bridge/{name}"))?;
            let link = self
                .link(&format!("bridge-{name}"), Origin::Gateway)
                .await?;
            let status = BridgeStatus {
                store_error: Some(error),
                since: clock::wall(),
                ..BridgeStatus::default()
            };
            let (teller, status) = watch::channel(status);
            let stop = self.stops.reports.stop();
            let told = status.clone();
            self.reports.spawn(async move {
                report::bridge(link, topic, told, stop).await;
                drop(teller);
            });
            self.absent_bridges.push((name, status));
        }
        Ok(())
    }

    async fn start_bridge(
        &mut self,
        gateway: &str,
        number: usize,
        bridge: PreparedBridge,
        attachment: Attachment,
    ) -> Result<(), StartError> {
        let name = attachment.name;
        let topic = TopicName::try_from(format!("{gateway}/$bridge/{name}"))?;
        let link = self
            .link(&format!("bridge-{name}"), Origin::Gateway)
            .await?;
        let stop = self.stops.bridges.stop();
        let broker = self.broker.clone();
        let local = Some(Local { broker, number });
        let logs = Lanes {
            backlog: attachment.log,
            live: attachment.live,
        };
        let bridge = bridge.start(logs, attachment.latest, local, stop);
        self.reports.spawn(report::bridge(
            link,
            topic,
            bridge.status.clone(),
            self.stops.reports.stop(),
        ));
        self.bridges.push((name, bridge));
        Ok(())
    }

    fn backlogs(&self) -> Vec<Backlog> {
        let running = self.bridges.iter().zip(self.stores.logs());
        let running = running.map(|((bridge, handle), logs)| Backlog {
            bridge: bridge.clone(),
            status: handle.status.clone(),
            logs: Some(logs.clone()),
            dead_letters: Some(handle.dead_letters.clone()),
        });
        let absent = self.absent_bridges.iter().map(|(bridge, status)| Backlog {
            bridge: bridge.clone(),
            status: status.clone(),
            logs: None,
            dead_letters: None,
        });
        running.chain(absent).collect()
    }

    async fn link(&self, name: &str, origin: Origin) -> Result<Link, LinkClosed> {
        self.broker
            .link(LinkOptions {
                client_id: format!("$fieldgate/{name}").into(),
                origin,
            })
            .await
    }
}
