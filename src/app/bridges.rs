//! The bridges of a running gateway: which there are, and how they come, change and go while it runs.
//!
//! A bridge that changes is stopped and goes on upon the same log with its new options: what it has in flight is
//! acknowledged first, and the upstream finds the same session. One that is removed leaves its log open and without routes
//! until the program ends, because sessions may have marks in it; its backlog stays on the disk, and one of the same name that
//! comes again finds it, with the limits that it had (`difference` says so).

use std::sync::Arc;

use tokio::sync::watch;

use super::running::{Running, stop_all, take};
use super::seen::SeenBridge;
use super::stores::{aside, open_lanes};
use super::{StartError, report};
use crate::bridge::{BridgeHandle, Lanes, Local, PreparedBridge};
use crate::broker::{
    Attachment, BrokerHandle, ForwardRoute, Latest, Link, LinkClosed, LinkOptions, Origin,
};
use crate::clock;
use crate::mqtt::{Message, QoS};
use crate::status::BridgeStatus;
use crate::store::LogOptions;
use crate::topic::TopicName;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Bridges {
    gateway: String,
    broker: BrokerHandle,
    running: Vec<Running<RunningBridge>>,
    /// Tell `{gateway}/$bridge/{name}`, of absent bridges too.
    reports: Vec<Running<()>>,
    /// Those whose logs could not be opened; each with what tells its status, which never changes.
    absent: Vec<(watch::Sender<BridgeStatus>, SeenBridge)>,
    /// What was removed left these.
    left: Vec<(String, Attached)>,
}

#[derive(Debug)]
struct RunningBridge {
    handle: BridgeHandle,
    seen: SeenBridge,
    routes: Vec<ForwardRoute>,
    attached: Attached,
}

/// A log, as it is attached to the broker.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub(super) number: usize,
    pub(super) logs: Lanes,
    pub(super) latest: Arc<Latest>,
}

/// How a bridge finds its log.
#[derive(Clone, Copy, Debug)]
enum Begin {
    /// Just opened.
    Fresh,
    /// As another left it.
    Again,
}

/// A log that takes messages for a bridge that has not begun.
#[derive(Debug)]
pub(super) struct Waiting(Attached, Begin);

impl Bridges {
    pub(super) fn new(gateway: &str, broker: BrokerHandle) -> Self {
        Self {
            gateway: gateway.to_owned(),
            broker,
            running: Vec::new(),
            reports: Vec::new(),
            absent: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Starts a bridge whose log was attached when the broker started.
    pub(super) async fn start(
        &mut self,
        bridge: PreparedBridge,
        attachment: Attachment,
        number: usize,
    ) -> Result<(), StartError> {
        let attached = Attached {
            number,
            logs: Lanes {
                backlog: attachment.log,
                live: attachment.live,
            },
            latest: attachment.latest,
        };
        self.run(bridge, attached, Begin::Fresh).await
    }

    async fn run(
        &mut self,
        bridge: PreparedBridge,
        attached: Attached,
        begin: Begin,
    ) -> Result<(), StartError> {
        let options = bridge.options().clone();
        let local = Some(Local {
            broker: self.broker.clone(),
            number: attached.number,
        });
        let (logs, latest) = (attached.logs.clone(), Arc::clone(&attached.latest));
        let running = Running::start(&options.name, |stop| {
            let handle = match begin {
                Begin::Fresh => bridge.start(logs.clone(), latest, local, stop),
                Begin::Again => bridge.go_on(logs.clone(), latest, local, stop),
            };
            RunningBridge {
                seen: SeenBridge::running(&options, &handle, logs),
                routes: options.forward.clone(),
                handle,
                attached,
            }
        });
        self.tell(&options.name, running.part.handle.status.clone())
            .await?;
        self.running.push(running);
        Ok(())
    }

    /// A bridge without its log says so and does nothing else.
    pub(super) async fn tell_absent(
        &mut self,
        name: &str,
        error: String,
    ) -> Result<(), StartError> {
        let status = BridgeStatus {
            store_error: Some(error),
            since: clock::wall(),
            ..BridgeStatus::default()
        };
        let (teller, status) = watch::channel(status);
        self.tell(name, status.clone()).await?;
        let seen = SeenBridge {
            name: name.to_owned(),
            to: String::new(),
            certificate: None,
            status,
            logs: None,
            dead_letters: None,
            pulse: None,
        };
        self.absent.push((teller, seen));
        Ok(())
    }

    async fn tell(
        &mut self,
        name: &str,
        status: watch::Receiver<BridgeStatus>,
    ) -> Result<(), StartError> {
        let topic = self.topic(name)?;
        let link = self.link(name).await?;
        self.reports.push(Running::start(name, |stop| {
            tokio::spawn(report::bridge(link, topic, status, stop));
        }));
        Ok(())
    }

    fn topic(&self, name: &str) -> Result<TopicName, StartError> {
        Ok(TopicName::try_from(format!(
            "{}/$bridge/{name}",
            self.gateway
        ))?)
    }

    async fn link(&self, name: &str) -> Result<Link, LinkClosed> {
        let options = LinkOptions {
            client_id: format!("$fieldgate/bridge-{name}").into(),
            origin: Origin::Gateway,
        };
        self.broker.link(options).await
    }

    /// Whether a bridge is without its log.
    pub(super) fn are_some_absent(&self) -> bool {
        !self.absent.is_empty()
    }

    /// Opens the log of one that shall come; `None`: one of its name has left its log open.
    pub(super) async fn open(
        &self,
        bridge: &PreparedBridge,
        options: LogOptions,
    ) -> Result<Option<Lanes>, String> {
        let name = &bridge.options().name;
        if self.left.iter().any(|(left, _)| left == name) {
            return Ok(None);
        }
        let mut routes = bridge.options().forward.iter();
        let overtakes = routes.any(|route| route.live_first);
        let opened = match aside(move || open_lanes(options, overtakes)).await {
            Ok(Ok(logs)) => return Ok(Some(logs)),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(format!(
            "bridge {name}: its backlog cannot be opened: {opened}"
        ))
    }

    /// Has the log of one that comes take what its routes say from now on, with what [`Self::open`] gave. `None`: there is nothing
    /// to begin with.
    pub(super) async fn attach(
        &mut self,
        bridge: &PreparedBridge,
        opened: Option<Lanes>,
    ) -> Result<Option<Waiting>, StartError> {
        let name = bridge.options().name.clone();
        let routes = bridge.options().forward.clone();
        let Some(logs) = opened else {
            let place = self.left.iter().position(|(left, _)| *left == name);
            let Some((_, attached)) = place.map(|place| self.left.swap_remove(place)) else {
                return Ok(None);
            };
            self.broker.reroute(attached.number, routes).await?;
            return Ok(Some(Waiting(attached, Begin::Again)));
        };
        let latest = Arc::new(Latest::default());
        let attachment = Attachment {
            name,
            log: logs.backlog.clone(),
            routes,
            latest: Arc::clone(&latest),
            live: logs.live.clone(),
        };
        let number = self.broker.attach_bridge(attachment).await?;
        let attached = Attached {
            number,
            logs,
            latest,
        };
        Ok(Some(Waiting(attached, Begin::Fresh)))
    }

    /// Begins with what [`Self::attach`] gave.
    pub(super) async fn begin(
        &mut self,
        bridge: PreparedBridge,
        Waiting(attached, begin): Waiting,
    ) -> Result<(), StartError> {
        self.run(bridge, attached, begin).await
    }

    /// Another in place of the one of its name, upon the same log.
    pub(super) async fn change(&mut self, bridge: PreparedBridge) -> Result<(), StartError> {
        let names = [bridge.options().name.clone()];
        stop_all(&take(&mut self.reports, &names)).await;
        let Some(old) = take(&mut self.running, &names).pop() else {
            return Ok(());
        };
        old.stop().await;
        let RunningBridge {
            routes, attached, ..
        } = old.part;
        let now = &bridge.options().forward;
        if *now != routes {
            self.broker.reroute(attached.number, now.clone()).await?;
        }
        self.run(bridge, attached, Begin::Again).await
    }

    /// Ends those of these names. Nothing more goes into their backlogs; what is in them stays.
    pub(super) async fn remove(&mut self, names: &[String]) -> Result<(), StartError> {
        stop_all(&take(&mut self.reports, names)).await;
        let ended = take(&mut self.running, names);
        for bridge in &ended {
            let number = bridge.part.attached.number;
            self.broker.reroute(number, Vec::new()).await?;
        }
        stop_all(&ended).await;
        for bridge in ended {
            // Its retained status would speak for it for ever.
            let gone = Message::new(
                self.topic(&bridge.name)?,
                Default::default(),
                QoS::AtLeastOnce,
                true,
            );
            self.link(&bridge.name).await?.publish(gone).await?;
            self.left.push((bridge.name, bridge.part.attached));
        }
        Ok(())
    }

    /// Each looks at its certificate files.
    pub(super) fn renew_certificates(&self) {
        for bridge in &self.running {
            bridge.part.handle.renew_certificates();
        }
    }

    /// Names and handles.
    pub(super) fn handles(&self) -> impl Iterator<Item = (&str, &BridgeHandle)> {
        let running = self.running.iter();
        running.map(|bridge| (bridge.name.as_str(), &bridge.part.handle))
    }

    /// Names of all, absent ones too.
    pub(super) fn names(&self) -> Vec<&str> {
        let running = self.running.iter().map(|bridge| &*bridge.name);
        let absent = self.absent.iter().map(|(_, seen)| &*seen.name);
        running.chain(absent).collect()
    }

    /// What those that were removed have left.
    pub(super) fn left(&self) -> Vec<(String, Lanes)> {
        let left = self.left.iter();
        left.map(|(name, attached)| (name.clone(), attached.logs.clone()))
            .collect()
    }

    pub(super) fn seen(&self) -> Vec<SeenBridge> {
        let running = self.running.iter().map(|bridge| &bridge.part.seen);
        let absent = self.absent.iter().map(|(_, seen)| seen);
        running.chain(absent).cloned().collect()
    }

    /// Before the broker ends.
    pub(super) async fn stop_reports(&self) {
        stop_all(&self.reports).await;
    }

    /// After it.
    pub(super) async fn stop(&self) {
        stop_all(&self.running).await;
    }
}
