//! What happens between connections: the addresses in order, the wait after the last, the end.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::core::{Cause, Core};
use super::dial::Dialler;
use super::link::Link;
use super::report::Report;
use super::{BridgeOptions, LinkError, next_wait};
use crate::broker::Latest;
use crate::clock;
use crate::shutdown::Stop;
use crate::status::LinkState;
use crate::store::{LinkHealth, Log};

/// How often figures are published.
const TICK: Duration = Duration::from_secs(1);

/// A connection that lasted this long was a good one: the waits begin anew. Not at the first acknowledgement: two
/// gateways with one client id take turns in acknowledged messages too.
pub(super) const STABLE: Duration = Duration::from_secs(30);

/// One bridge.
#[derive(Debug)]
pub(super) struct Task {
    options: Arc<BridgeOptions>,
    dialler: Dialler,
    core: Core,
    log: Log,
    latest: Arc<Latest>,
    report: Report,
    stop: Stop,
    ticks: Interval,
}

/// How an attempt ended.
enum Ended {
    /// No connection, or none that the upstream accepted: the next address may do.
    Failed(String),
    /// It was up.
    Lost {
        why: String,
        lasted: Duration,
    },
    /// The upstream was made to forget an old session; now the same address again.
    Cleared,
    Stopped,
}

impl Task {
    pub(super) fn new(
        options: Arc<BridgeOptions>,
        dialler: Dialler,
        log: Log,
        latest: Arc<Latest>,
        report: Report,
        stop: Stop,
    ) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            core: Core::new(Arc::clone(&options)),
            options,
            dialler,
            log,
            latest,
            report,
            stop,
            ticks,
        }
    }

    /// Connects, and connects again, until asked to stop.
    pub(super) async fn run(&mut self) {
        let mut address = 0;
        let mut wait = Duration::ZERO;
        loop {
            let why = match self.attempt(address).await {
                Ended::Stopped => break,
                Ended::Cleared => continue,
                Ended::Failed(why) => {
                    address += 1;
                    tracing::warn!(bridge = self.options.name, "{why}");
                    why
                }
                Ended::Lost { why, lasted } => {
                    address = 0;
                    if lasted >= STABLE {
                        wait = Duration::ZERO;
                    }
                    tracing::warn!(bridge = self.options.name, ?lasted, "link lost: {why}");
                    why
                }
            };
            self.report.link(&self.core, LinkState::Down, Some(why));
            if address > 0 && address < self.dialler.len() {
                continue;
            }
            address = 0;
            wait = next_wait(self.options.backoff, wait, fastrand::u64(..));
            if self.unless_stopped(sleep(wait)).await.is_none() {
                break;
            }
        }
    }

    /// The last words.
    pub(super) fn stopped(&mut self) {
        let why = Cause::Stopped.to_string();
        self.report.link(&self.core, LinkState::Down, Some(why));
        tracing::info!(bridge = self.options.name, "stopped");
    }

    /// After a panic in [`Self::run`]: begins with a new core, which learns from the log all that was under way.
    pub(super) fn begin_anew(&mut self, panic: &str) {
        self.log.link(clock::now(), LinkHealth::Down);
        let appended = self.log.progress().borrow().appended;
        self.core = self.core.anew(appended);
        let why = format!("the bridge failed and is started again; please report this: {panic}");
        tracing::error!(bridge = self.options.name, "{why}");
        self.report.failed(&self.core, why);
    }

    /// Waits before the next start, longer after each failure; false: the bridge is to stop.
    pub(super) async fn pause(&mut self, wait: &mut Duration) -> bool {
        *wait = next_wait(self.options.backoff, *wait, fastrand::u64(..));
        tokio::select! {
            () = self.stop.requested() => false,
            () = sleep(*wait) => true,
        }
    }

    async fn attempt(&mut self, address: usize) -> Ended {
        self.report.link(&self.core, LinkState::Connecting, None);
        let name = self.dialler.name(address);
        let stream = match self.dial(address).await {
            None => return Ended::Stopped,
            Some(Err(error)) => return Ended::Failed(format!("{name}: {error}")),
            Some(Ok(stream)) => stream,
        };
        let mut link = Link {
            name: &self.options.name,
            options: &self.options,
            core: &mut self.core,
            log: &self.log,
            latest: &self.latest,
            report: &mut self.report,
            ticks: &mut self.ticks,
            stop: &mut self.stop,
            ca: self.dialler.ca.as_ref(),
            up_since: None,
            progress: self.log.progress(),
            out: BytesMut::new(),
        };
        let ended = link.run(stream, address).await;
        let up_since = link.up_since;
        ended_as(&name, &ended, up_since)
    }

    async fn dial(
        &mut self,
        address: usize,
    ) -> Option<Result<Box<dyn super::dial::Stream>, super::DialError>> {
        let Self {
            dialler,
            report,
            core,
            stop,
            ticks,
            ..
        } = self;
        reporting(dialler.dial(address), report, core, stop, ticks).await
    }

    /// Waits for `future`, unless the bridge is to stop.
    async fn unless_stopped<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let Self {
            report,
            core,
            stop,
            ticks,
            ..
        } = self;
        reporting(future, report, core, stop, ticks).await
    }
}

/// Waits for `future` and keeps the figures fresh meanwhile; `None`: the bridge is to stop.
async fn reporting<T>(
    future: impl Future<Output = T>,
    report: &mut Report,
    core: &Core,
    stop: &mut Stop,
    ticks: &mut Interval,
) -> Option<T> {
    tokio::pin!(future);
    loop {
        tokio::select! {
            biased;
            () = stop.requested() => return None,
            done = &mut future => return Some(done),
            _ = ticks.tick() => report.figures(core),
        }
    }
}

fn ended_as(name: &str, ended: &LinkError, up_since: Option<Instant>) -> Ended {
    match (ended, up_since) {
        (LinkError::Closed(Cause::Stopped), _) => Ended::Stopped,
        (LinkError::Closed(Cause::SessionCleared), _) => Ended::Cleared,
        (_, Some(since)) => Ended::Lost {
            why: format!("{name}: {ended}"),
            lasted: clock::now().saturating_duration_since(since),
        },
        (_, None) => Ended::Failed(format!("{name}: {ended}")),
    }
}
