//! A running gateway.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::report;
use crate::adapter::{Adapter, PlanError};
use crate::auth::{Authenticator, Users, UsersError};
use crate::bridge::{Bridge, BridgeOptions, StartError as BridgeError};
use crate::broker::{
    Attachment, Broker, BrokerHandle, Latest, Link, LinkClosed, LinkOptions, Origin,
};
use crate::clock;
use crate::config::{self, Config};
use crate::listener::{ListenError, Listener};
use crate::shutdown::Shutdown;
use crate::status::BridgeStatus;
use crate::store::{Log, StoreError};
use crate::topic::{TopicError, TopicName};

/// The parts of a running gateway, and what stops them.
#[derive(Debug)]
pub struct Gateway {
    broker: BrokerHandle,
    listeners: Vec<SocketAddr>,
    bridges: Vec<(String, watch::Receiver<BridgeStatus>)>,
    logs: Vec<Log>,
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
    /// A bridge's certificates.
    #[error("bridge {name}: {source}")]
    Bridge {
        /// Which bridge.
        name: String,
        /// Why.
        source: BridgeError,
    },
    /// The broker's thread.
    #[error("cannot start the broker's thread: {0}")]
    Broker(#[source] io::Error),
    /// It ended again at once.
    #[error(transparent)]
    Ended(#[from] LinkClosed),
    /// A listener's address or certificates.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The folder of a bridge's backlog.
    #[error(
        "the backlog cannot be kept: {0}; `gateway.data_dir` must be a folder that this user may write to, with room"
    )]
    Store(#[source] StoreError),
    /// A tag that no request can read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The gateway's id makes no topic.
    #[error("gateway.id makes no topic: {0}")]
    Topic(#[from] TopicError),
    /// The users file.
    #[error(transparent)]
    Users(#[from] UsersError),
}

impl Gateway {
    /// Starts every part. What was started before a part that fails is stopped again by being dropped.
    ///
    /// # Errors
    /// Names the part and what to do.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let stops = Stops::default();
        let (attachments, bridges) = open_backlogs(config.bridges).await?;
        let logs = attachments
            .iter()
            .map(|attachment| attachment.log.clone())
            .collect();
        let users = config
            .users_file
            .as_deref()
            .map(Users::read)
            .transpose()?
            .unwrap_or_default();
        let broker = Broker::start(
            config.broker,
            attachments.clone(),
            Authenticator::new(users),
            stops.broker.stop(),
        )
        .map_err(StartError::Broker)?;
        let mut gateway = Self {
            broker,
            listeners: Vec::new(),
            bridges: Vec::new(),
            logs,
            reports: JoinSet::new(),
            stops,
        };
        for (options, attachment) in bridges.into_iter().zip(attachments) {
            gateway
                .start_bridge(&config.gateway.id, options, attachment)
                .await?;
        }
        for connection in config.connections {
            let link = gateway.link(&connection.name, Origin::Device).await?;
            Adapter::start(connection, link, gateway.stops.adapters.stop())?;
        }
        for options in config.listeners {
            let listener = Listener::bind(
                options,
                gateway.broker.clone(),
                gateway.stops.listeners.stop(),
            )?;
            gateway.listeners.push(listener.local_addr);
        }
        let link = gateway.link("status", Origin::Gateway).await?;
        let topic = TopicName::try_from(format!("{}/$status", config.gateway.id))?;
        gateway.reports.spawn(report::gateway(
            link,
            topic,
            clock::wall(),
            gateway.stops.reports.stop(),
        ));
        tracing::info!(gateway = config.gateway.id, "running");
        Ok(gateway)
    }

    /// The local broker.
    #[must_use]
    pub fn broker(&self) -> &BrokerHandle {
        &self.broker
    }

    /// The addresses that are listened on, in the order of the configuration.
    #[must_use]
    pub fn listeners(&self) -> &[SocketAddr] {
        &self.listeners
    }

    /// The bridges' names and how they stand.
    #[must_use]
    pub fn bridges(&self) -> &[(String, watch::Receiver<BridgeStatus>)] {
        &self.bridges
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
        let logs = std::mem::take(&mut self.logs);
        let closed = tokio::task::spawn_blocking(move || logs.iter().for_each(Log::close)).await;
        if let Err(error) = closed {
            tracing::error!(%error, "closing the store failed");
        }
        tracing::info!("stopped");
    }

    async fn start_bridge(
        &mut self,
        gateway: &str,
        options: BridgeOptions,
        attachment: Attachment,
    ) -> Result<(), StartError> {
        let name = options.name.clone();
        let topic = TopicName::try_from(format!("{gateway}/$bridge/{name}"))?;
        let link = self
            .link(&format!("bridge-{name}"), Origin::Gateway)
            .await?;
        let bridge = Bridge::start(
            options,
            attachment.log,
            attachment.latest,
            self.stops.bridges.stop(),
        )
        .map_err(|source| StartError::Bridge {
            name: name.clone(),
            source,
        })?;
        self.reports.spawn(report::bridge(
            link,
            topic,
            bridge.status.clone(),
            self.stops.reports.stop(),
        ));
        self.bridges.push((name, bridge.status));
        Ok(())
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

/// Opens every backlog off the runtime's threads, since opening reads files.
async fn open_backlogs(
    bridges: Vec<config::Bridge>,
) -> Result<(Vec<Attachment>, Vec<BridgeOptions>), StartError> {
    let mut attachments = Vec::new();
    let mut all_options = Vec::new();
    for config::Bridge { options, log } in bridges {
        let opened = tokio::task::spawn_blocking(move || Log::open(log)).await;
        let log = opened
            .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
            .map_err(StartError::Store)?;
        attachments.push(Attachment {
            name: options.name.clone(),
            log,
            routes: options.forward.clone(),
            latest: Arc::new(Latest::default()),
        });
        all_options.push(options);
    }
    Ok((attachments, all_options))
}
