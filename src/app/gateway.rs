//! A running gateway.

use std::io;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::absent::{Absent, RegainWait};
use super::bridges::Bridges;
use super::console::Console;
use super::control::{self, Desk, ReloadRequest};
use super::logins::{self, LoginFiles};
use super::observe::{self, Fixed, Observer};
use super::report::StoreHealth;
use super::running::{Running, stop_all};
use super::seen::{Parts, SeenConnection};
use super::stores::{Found, Opened};
use super::{Prepared, memory, report, sys, wires};
use crate::adapter::PlanError;
use crate::auth::{Authenticator, Credentials};
use crate::bridge::BridgeHandle;
use crate::broker::{Broker, BrokerHandle, Link, LinkClosed, LinkOptions, Origin};
use crate::clock;
use crate::config;
use crate::listener::{Listener, PreparedListener};
use crate::net::TlsTime;
use crate::shutdown::Shutdown;
use crate::store::StoreError;
use crate::topic::{TopicError, TopicName};

/// The parts of a running gateway, and what stops them.
#[derive(Debug)]
pub struct Gateway {
    pub(super) broker: BrokerHandle,
    pub(super) listeners: Vec<Running<Listener>>,
    pub(super) connections: Vec<Running<SeenConnection>>,
    pub(super) bridges: Bridges,
    pub(super) stores: Opened,
    pub(super) console: Console,
    /// Reads the files of users and rules again, while they cannot be used.
    logins: Option<Running<()>>,
    /// Some file beside those of users and rules could not be used at the start, and there was no reload since.
    pub(super) lacks_other_files: bool,
    observer: Observer,
    absent: Absent,
    tls_time: TlsTime,
    reports: JoinSet<()>,
    reloads: (mpsc::Sender<ReloadRequest>, Option<ReloadRequests>),
    stop_reports: Shutdown,
    stop_broker: Shutdown,
}

/// Requests to read the configuration again.
pub type ReloadRequests = mpsc::Receiver<ReloadRequest>;

/// Requests to reload that wait for one that is under way.
const RELOADS: usize = 8;

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
    pub async fn start(mut prepared: Prepared) -> Result<Self, StartError> {
        let stop_broker = Shutdown::default();
        let bridges = std::mem::take(&mut prepared.bridges);
        let Found {
            opened,
            stores,
            bridges,
            absent,
        } = Found::open(prepared.sessions.clone(), bridges).await?;
        if let Some(time) = stores.sessions.as_ref().and_then(|store| store.clock_was) {
            prepared.tls_time.know(time);
        }
        let attachments = stores.bridges.clone();
        let login_error = prepared.logins.error();
        // To begin with, what is known; a copy of it only where something is not.
        let mending = login_error.map(|error| (prepared.logins.credentials.clone(), error));
        let broker = Broker::start(
            prepared.broker.clone(),
            stores,
            Authenticator::new(std::mem::take(&mut prepared.logins.credentials)),
            stop_broker.stop(),
        )
        .map_err(StartError::Broker)?;
        let health = StoreHealth {
            stores: opened.clone(),
            absent: absent.error(),
        };
        let fixed = Fixed {
            gateway: prepared.gateway.id.clone(),
            data_dir: prepared.gateway.data_dir.clone(),
            free_space_minimum: prepared.free_space_minimum,
            started: clock::now(),
            broker: broker.clone(),
            broker_pulse: memory::pulse(),
            tls_time: prepared.tls_time.clone(),
        };
        let observer = Observer::new(fixed, health);
        let (reloads, requests) = mpsc::channel(RELOADS);
        let mut gateway = Self {
            listeners: Vec::new(),
            connections: Vec::new(),
            bridges: Bridges::new(&prepared.gateway.id, broker.clone()),
            stores: opened,
            console: Console::new(observer.clone()),
            logins: None,
            lacks_other_files: !prepared.lacks_logins_alone(),
            observer,
            absent,
            tls_time: prepared.tls_time.clone(),
            reports: JoinSet::new(),
            reloads: (reloads, Some(requests)),
            stop_reports: Shutdown::default(),
            stop_broker,
            broker,
        };
        for (number, (bridge, attachment)) in bridges.into_iter().zip(attachments).enumerate() {
            gateway.bridges.start(bridge, attachment, number).await?;
        }
        for (name, error) in gateway.absent.bridges() {
            gateway.bridges.tell_absent(name, error.to_owned()).await?;
        }
        gateway.mend_logins(prepared.login_files.clone(), mending);
        gateway.start_connections(&mut prepared, |_| true).await?;
        gateway.start_listeners(prepared.listeners, |_| true);
        gateway.console.have_at(prepared.console).await;
        gateway.show();
        gateway.start_reports(&prepared.gateway).await?;
        tracing::info!(gateway = prepared.gateway.id, "running");
        Ok(gateway)
    }

    /// Starts the connections of `prepared` that are `wanted` by their names.
    pub(super) async fn start_connections(
        &mut self,
        prepared: &mut Prepared,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), StartError> {
        for options in std::mem::take(&mut prepared.connections) {
            if wanted(&options.name) {
                let expiry = prepared.expiry(&options.name);
                let started =
                    wires::start_devices(&self.broker, &self.tls_time, options, expiry).await?;
                self.connections.push(started);
            }
        }
        for options in std::mem::take(&mut prepared.instruments) {
            if wanted(&options.name) {
                let started = wires::start_instrument(&self.broker, options).await?;
                self.connections.push(started);
            }
        }
        Ok(())
    }

    /// Starts the listeners that are `wanted` by their names.
    pub(super) fn start_listeners(
        &mut self,
        listeners: Vec<PreparedListener>,
        wanted: impl Fn(&str) -> bool,
    ) {
        for prepared in listeners {
            let name = prepared.name().to_owned();
            if wanted(&name) {
                let broker = self.broker.clone();
                self.listeners
                    .push(Running::start(&name, |stop| prepared.start(broker, stop)));
            }
        }
    }

    /// Has users and rules read until they can be used, where they could not: what is known of them, and who is refused and why.
    fn mend_logins(&mut self, files: LoginFiles, mending: Option<(Credentials, String)>) {
        let error = mending.as_ref().map(|(_, error)| error.clone());
        self.observer.tell_login_error(error);
        self.logins = mending.map(|mending| {
            let (broker, observer) = (self.broker.clone(), self.observer.clone());
            Running::start("logins", |stop| {
                tokio::spawn(logins::mend(files, mending, broker, observer, stop));
            })
        });
    }

    /// From now on these users and rules count.
    pub(super) async fn replace_credentials(
        &mut self,
        credentials: Credentials,
    ) -> Result<(), LinkClosed> {
        if let Some(mending) = self.logins.take() {
            mending.stop().await;
        }
        self.broker.replace_credentials(credentials).await?;
        self.observer.tell_login_error(None);
        Ok(())
    }

    async fn start_reports(&mut self, options: &config::Gateway) -> Result<(), StartError> {
        let stop = || self.stop_reports.stop();
        if options.tells_status {
            let link = self.link("status").await?;
            let topic = TopicName::try_from(format!("{}/$status", options.id))?;
            let (observer, started) = (self.observer.clone(), clock::wall());
            self.reports
                .spawn(report::gateway(link, topic, started, observer, stop()));
        }
        let link = self.link("sys").await?;
        self.reports
            .spawn(sys::publish(link, self.broker.clone(), stop()));
        self.reports.spawn(memory::give_back(
            self.broker.clone(),
            self.observer.broker_pulse(),
            stop(),
        ));
        self.reports
            .spawn(observe::measure(self.observer.clone(), stop()));
        if let Some(socket) = control::open(&options.control_socket) {
            let desk = Desk {
                observer: self.observer.clone(),
                reloads: self.reloads.0.clone(),
            };
            self.reports.spawn(control::serve(socket, desk, stop()));
        }
        Ok(())
    }

    /// Shows who looks which parts there are now.
    pub(super) fn show(&self) {
        let connections = self.connections.iter();
        self.observer.show(Parts {
            listeners: self.listeners().cloned().collect(),
            connections: connections.map(|running| running.part.clone()).collect(),
            bridges: self.bridges.seen(),
            left: self.bridges.left(),
            console: self.console.status(),
        });
    }

    /// The local broker.
    #[must_use]
    pub fn broker(&self) -> &BrokerHandle {
        &self.broker
    }

    /// The listeners.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().map(|running| &running.part)
    }

    /// The bridges and their names.
    pub fn bridges(&self) -> impl Iterator<Item = (&str, &BridgeHandle)> {
        self.bridges.handles()
    }

    /// Sees how all of it stands.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Where requests to read the configuration again come out; the first time only. Dropped, who asks is told that it is
    /// not possible.
    pub fn reload_requests(&mut self) -> Option<ReloadRequests> {
        self.reloads.1.take()
    }

    /// By which all of it judges certificates.
    pub(super) fn tls_time(&self) -> &TlsTime {
        &self.tls_time
    }

    /// Whether it runs without a file that its configuration names, as far as that is known: one of users and rules tells when
    /// it was taken up.
    pub(super) fn lacks_files(&self) -> bool {
        self.lacks_other_files || self.lacks_logins()
    }

    /// Whether users or rules could not be read, so far.
    #[must_use]
    pub fn lacks_logins(&self) -> bool {
        self.observer.login_error().borrow().is_some()
    }

    /// Returns when users and rules can be read. Cancel safe.
    pub async fn logins_mended(&self) {
        let mut error = self.observer.login_error();
        if error.wait_for(Option::is_none).await.is_err() {
            std::future::pending().await
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
        stop_all(&self.listeners).await;
        stop_all(&self.connections).await;
    }

    /// Stops every part in the order that leaves nothing behind; returns when all is on stable storage.
    pub async fn stop(mut self) {
        self.stop_sources().await;
        self.stop_reports.request();
        if let Some(mending) = &self.logins {
            mending.stop().await;
        }
        self.console.stop().await;
        while let Some(ended) = self.reports.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a status report failed");
            }
        }
        self.bridges.stop_reports().await;
        self.stop_broker.request();
        self.stop_broker.finished().await;
        self.bridges.stop().await;
        self.stores.close().await;
        tracing::info!("stopped");
    }

    pub(super) async fn link(&self, name: &str) -> Result<Link, LinkClosed> {
        let options = LinkOptions {
            client_id: format!("$fieldgate/{name}").into(),
            origin: Origin::Gateway,
        };
        self.broker.link(options).await
    }
}
