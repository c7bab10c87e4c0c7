//! What happens between connections: the addresses in order, the wait after the last, the end.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::certificates::{Certificates, Successor, is_refusal};
use super::core::{Cause, Core};
use super::dead_letters::DeadLetters;
use super::dial::Stream;
use super::down::{Down, Local};
use super::lanes::{AllDone, Lanes};
use super::link::Link;
use super::report::Report;
use super::take_overs::TakeOvers;
use super::{BridgeOptions, DialError, LinkError, next_wait};
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
    certificates: Certificates,
    /// A connection that the next attempt goes on with.
    successor: Option<Successor>,
    take_overs: TakeOvers,
    core: Core,
    logs: Lanes,
    letters: DeadLetters,
    latest: Arc<Latest>,
    local: Option<Local>,
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
    /// Now the same address again: the upstream was made to forget an old session, there is a connection with new
    /// certificates already, or the upstream refuses those.
    GoesOn,
    Stopped,
}

impl Task {
    pub(super) fn new(
        options: Arc<BridgeOptions>,
        certificates: Certificates,
        (logs, letters): (Lanes, DeadLetters),
        latest: Arc<Latest>,
        local: Option<Local>,
        report: Report,
        stop: Stop,
    ) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            core: match logs.live {
                None => Core::new(Arc::clone(&options)),
                Some(_) => Core::with_live_lane(Arc::clone(&options)),
            },
            options,
            certificates,
            successor: None,
            take_overs: TakeOvers::default(),
            logs,
            letters,
            latest,
            local,
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
                Ended::GoesOn => continue,
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
            if address > 0 && address < self.options.addresses.len() {
                continue;
            }
            address = 0;
            let backoff = self.take_overs.backoff(self.options.backoff);
            wait = next_wait(backoff, wait, fastrand::u64(..));
            if !self.wait(wait).await {
                break;
            }
        }
    }

    /// The last words.
    pub(super) async fn stopped(&mut self) {
        self.letters.close().await;
        let why = Cause::Stopped.to_string();
        self.report.link(&self.core, LinkState::Down, Some(why));
        self.report.pulse().end();
        tracing::info!(bridge = self.options.name, "stopped");
    }

    /// After a panic in [`Self::run`]: begins with a new core, which learns from the log all that was under way.
    pub(super) fn begin_anew(&mut self, panic: &str) {
        self.take_over();
        let why = format!("the bridge failed and is started again; please report this: {panic}");
        tracing::error!(bridge = self.options.name, "{why}");
        self.report.failed(&self.core, why);
    }

    /// The same on logs that another was working on.
    pub(super) fn taking_over(mut self) -> Self {
        self.take_over();
        self
    }

    fn take_over(&mut self) {
        self.logs.link(clock::now(), LinkHealth::Down);
        let appended = |log: &Log| log.progress().borrow().appended;
        let live = self.logs.live.as_ref().map(appended);
        self.core = self.core.anew(appended(&self.logs.backlog), live);
    }

    /// Waits before the next start, longer after each failure; false: the bridge is to stop.
    pub(super) async fn pause(&mut self, wait: &mut Duration) -> bool {
        *wait = next_wait(self.options.backoff, *wait, fastrand::u64(..));
        self.report.pulse().rest_until(clock::now() + *wait);
        tokio::select! {
            () = self.stop.requested() => false,
            () = sleep(*wait) => true,
        }
    }

    /// Waits before the next attempt, or until somebody asks for a look at the certificates, which the attempt begins
    /// with; false: the bridge is to stop.
    async fn wait(&mut self, wait: Duration) -> bool {
        let Self {
            certificates,
            report,
            core,
            stop,
            ticks,
            ..
        } = self;
        let waited = async {
            tokio::select! {
                () = sleep(wait) => false,
                () = certificates.asked() => true,
            }
        };
        let is_asked = reporting(waited, report, core, stop, ticks).await;
        if is_asked == Some(true) {
            self.certificates.look_now(clock::now());
        }
        is_asked.is_some()
    }

    async fn attempt(&mut self, address: usize) -> Ended {
        self.report.link(&self.core, LinkState::Connecting, None);
        let stream = match self.successor.take() {
            Some(successor) => successor.stream,
            None => match self.dial(address).await {
                None => return Ended::Stopped,
                Some(Err(error)) => {
                    let why = format!("{}: {error}", self.name(address));
                    return self.failed(why, error.is_refusal);
                }
                Some(Ok(stream)) => stream,
            },
        };
        let dialler = self.certificates.dialler();
        let mut link = Link {
            name: &self.options.name,
            options: &self.options,
            core: &mut self.core,
            logs: &self.logs,
            done: AllDone::default(),
            letters: &mut self.letters,
            latest: &self.latest,
            report: &mut self.report,
            ticks: &mut self.ticks,
            stop: &mut self.stop,
            certificates: &mut self.certificates,
            successor: None,
            ca: dialler.as_ref().and_then(|dialler| dialler.ca.as_ref()),
            up_since: None,
            progress: self.logs.follow(),
            down: Down::new(self.local.as_ref()),
            out: BytesMut::new(),
        };
        let ended = link.run(stream, address).await;
        let (up_since, successor) = (link.up_since, link.successor.take());
        self.ended_as(address, &ended, up_since, successor)
    }

    fn ended_as(
        &mut self,
        address: usize,
        ended: &LinkError,
        up_since: Option<Instant>,
        successor: Option<Successor>,
    ) -> Ended {
        let mut why = format!("{}: {ended}", self.name(address));
        match (ended, up_since) {
            (LinkError::Closed(Cause::Stopped), _) => Ended::Stopped,
            (LinkError::Closed(Cause::SessionCleared), _) => Ended::GoesOn,
            (LinkError::Closed(Cause::Moved), _) => {
                self.successor = successor;
                Ended::GoesOn
            }
            (_, Some(since)) => {
                let lasted = clock::now().saturating_duration_since(since);
                self.take_overs.ended(ended, lasted);
                if let Some(more) = self.take_overs.explanation(&self.options.client_id) {
                    why.push_str("; ");
                    why.push_str(&more);
                }
                Ended::Lost { why, lasted }
            }
            (_, None) => self.failed(why, is_refusal(ended)),
        }
    }

    fn failed(&mut self, why: String, is_refusal: bool) -> Ended {
        let goes_on = self.certificates.failed(clock::now(), &why, is_refusal);
        self.report.certificates(&self.core, &self.certificates);
        if goes_on {
            Ended::GoesOn
        } else {
            Ended::Failed(why)
        }
    }

    /// `host:port`, for logs and status.
    fn name(&self, address: usize) -> String {
        let address = self.options.addresses.get(address);
        address.map_or_else(String::new, |address| {
            format!("{}:{}", address.host, address.port)
        })
    }

    async fn dial(&mut self, address: usize) -> Option<Result<Box<dyn Stream>, DialError>> {
        let Self {
            certificates,
            report,
            core,
            stop,
            ticks,
            ..
        } = self;
        let dial = async {
            let dialler = certificates.before_dial(clock::now()).await?;
            dialler.dial(address).await
        };
        reporting(dial, report, core, stop, ticks).await
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
