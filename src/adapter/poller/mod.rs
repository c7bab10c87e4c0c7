//! The actor of one wire: asks the schedule, makes the request, judges the reply, hands over the readings. `writes` is what
//! it does for commands, `hand` for people at one, `tell` what it says, `splits` what it remembers over restarts.
//!
//! Invariants: exactly one outstanding request; nothing here waits for the broker (messages go into the outbox); every
//! group has its say at its deadline, values or reasons; a tag's value comes from the reply of its own request; between two
//! groups that are due goes one request by hand at most.

mod hand;
mod splits;
mod tell;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, watch};

use super::by_hand::Orders;
use super::command::CommandError;
use super::cycle::{Cycle, Plans};
use super::desk::WriteOrder;
use super::figures::WireFigures;
use super::health::Health;
use super::modbus::{Ask, Attempt, Opener, Reply, Wire};
use super::options::ConnectionOptions;
use super::outbox::Outbox;
use super::reason::Reason;
use super::refusal::Refusals;
use super::said::Said;
use super::schedule::{Job, Schedule, Step};
use super::splits_file::SplitsFile;
use super::start::AdapterStatus;
use crate::clock;
use crate::shutdown::{Pulse, Stop};

/// How long the actor sleeps where nothing is scheduled.
const NOTHING_TO_DO: Duration = Duration::from_secs(3600);
/// Writes go before polls, but no flood of them may silence a line.
const WRITES_IN_A_ROW: usize = 8;

/// The actor.
#[derive(Debug)]
pub(super) struct Poller {
    options: Arc<ConnectionOptions>,
    plans: Arc<Plans>,
    wire: Wire,
    schedule: Schedule,
    health: Vec<Health>,
    cycles: Vec<Vec<Cycle>>,
    /// By device and group.
    said: Vec<Vec<Said>>,
    refusals: Refusals,
    splits: SplitsFile,
    /// Something of it is not in the file.
    is_cut_anew: bool,
    orders: mpsc::Receiver<WriteOrder>,
    /// Of people; outlives this actor.
    by_hand: Arc<Mutex<Orders>>,
    /// Whether a group was read since the last of them.
    has_read: bool,
    outbox: Outbox,
    status: watch::Sender<AdapterStatus>,
    pulse: Pulse,
}

impl Poller {
    pub(super) fn new(
        options: Arc<ConnectionOptions>,
        plans: Arc<Plans>,
        opener: Opener,
        (orders, by_hand): (mpsc::Receiver<WriteOrder>, Arc<Mutex<Orders>>),
        outbox: Outbox,
        (status, pulse): (watch::Sender<AdapterStatus>, Pulse),
        figures: Arc<WireFigures>,
    ) -> Self {
        let now = clock::now();
        let devices = &options.devices;
        let intervals: Vec<Vec<_>> = devices
            .iter()
            .map(|device| device.groups.iter().map(|group| group.interval).collect())
            .collect();
        let said = devices
            .iter()
            .map(|device| device.groups.iter().map(Said::new).collect())
            .collect();
        let cycles = plans.cycles();
        Self {
            wire: Wire::of_actor(&options, opener, figures, now),
            schedule: Schedule::new(&intervals, now, fastrand::u64(..)),
            health: devices.iter().map(Health::new).collect(),
            cycles,
            said,
            refusals: Refusals::default(),
            splits: SplitsFile::new(options.splits_file.clone()),
            is_cut_anew: false,
            options,
            plans,
            orders,
            by_hand,
            has_read: false,
            outbox,
            status,
            pulse,
        }
    }

    /// Polls until `stop`; then what was asked is heard out, and commands that wait are answered. May be dropped at any point,
    /// which drops the connection too.
    pub(super) async fn run(mut self, mut stop: Stop) {
        self.recall().await;
        let by_hand = Arc::clone(&self.by_hand);
        let mut by_hand = by_hand.lock().await;
        while !stop.is_requested() {
            for _ in 0..WRITES_IN_A_ROW {
                self.pulse.beat(clock::now());
                match self.orders.try_recv() {
                    Ok(order) => self.write(order).await,
                    Err(_) => break,
                }
            }
            // Where nothing is due, `wait` takes them.
            if std::mem::take(&mut self.has_read) {
                while let Ok(order) = by_hand.try_recv() {
                    if self.by_hand(order).await {
                        break;
                    }
                }
            }
            let now = clock::now();
            let until = match self.schedule.next(now) {
                Step::Poll(job) => {
                    self.poll(job).await;
                    None
                }
                Step::Probe(device) => {
                    self.probe(device).await;
                    None
                }
                Step::Wait(until) => Some(until),
                Step::Idle => Some(now + NOTHING_TO_DO),
            };
            if let Some(until) = until {
                self.wait(until, now, &mut stop, &mut by_hand).await;
            }
            if self.wire.came_back() {
                self.schedule.probe_all(clock::now());
            }
            self.tell();
        }
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if order.answer.send(Err(CommandError::Offline)).is_err() {
                tracing::debug!(connection = %self.options.name, "nobody waits for what became of a write");
            }
        }
    }

    async fn wait(&mut self, until: Instant, now: Instant, stop: &mut Stop, by_hand: &mut Orders) {
        let tell = self.health.iter().filter_map(|health| {
            // Only a change that waits for its second; a mere repetition may wait for the next reading.
            health.change_at(now)
        });
        let wake = tell
            .chain(self.wire.reconnect_at())
            .chain(self.said.iter().flatten().filter_map(Said::held_until))
            .fold(until, Instant::min);
        self.pulse.rest_until(wake);
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep_until(wake.into()) => {}
            Some(order) = self.orders.recv() => {
                self.pulse.beat(clock::now());
                self.write(order).await;
            }
            Some(order) = by_hand.recv() => {
                self.by_hand(order).await;
            }
        }
        if self
            .wire
            .reconnect_at()
            .is_some_and(|at| at <= clock::now())
        {
            self.wire.connect().await;
        }
    }

    /// One request of a group; the whole group where it is done or cannot be asked.
    async fn poll(&mut self, job: Job) {
        let plans = Arc::clone(&self.plans);
        let (Some(group), Some(cycle)) = (plans.group(job), self.cycle(job)) else {
            return;
        };
        let request = cycle.request().map(Arc::clone);
        let offline = self.schedule.is_suspended(job.device);
        let result = match &request {
            Some(request) if !offline => {
                Some(self.request(job.device, Ask::Read(request), true).await)
            }
            _ => None,
        };
        let outcome = result
            .as_ref()
            .map(|result| result.as_ref().map(|_| ()).map_err(|reason| *reason));
        let Some(cycle) = self.cycle(job) else {
            return;
        };
        let mut in_parts = false;
        match result {
            Some(Ok(reply)) => cycle.take(group, &reply),
            Some(Err(reason)) if reason.proves_alive() => in_parts = cycle.fail(reason),
            // A device that does not speak is not asked for the rest of the group: one timeout, not five.
            Some(Err(reason)) => cycle.abandon(reason),
            None => cycle.abandon(Reason::Offline),
        }
        let done = cycle.request().is_none();
        // A refusal of the whole is none of interest: what remains refused of it is told part by part.
        if let (Some(request), Some(outcome)) = (&request, outcome)
            && !in_parts
            && let Some(change) = self.refusals.observe(job, request, outcome)
        {
            self.log_refusal(job, request, change);
        }
        self.is_cut_anew |= in_parts;
        if done {
            self.finish(job);
            self.has_read = true;
            if self.is_cut_anew {
                self.remember();
            }
        }
    }

    /// Asks one device and keeps its health.
    async fn request(
        &mut self,
        device: usize,
        request: Ask<'_>,
        with_retries: bool,
    ) -> Result<Reply, Reason> {
        let all = Arc::clone(&self.options);
        let (Some(options), Some(health)) = (all.devices.get(device), self.health.get_mut(device))
        else {
            return Err(Reason::Offline);
        };
        let attempt = Attempt {
            unit: options.unit_id,
            request,
            timeout: options.response_timeout,
            delay: options.request_delay,
            // A device that did not answer the last time costs the others one timeout, not several.
            retries: if with_retries && !health.is_failing() {
                options.retries
            } else {
                0
            },
        };
        let result = self.wire.ask(attempt, health).await;
        self.count_late();
        let Some(health) = self.health.get_mut(device) else {
            return result;
        };
        let now = clock::now();
        match &result {
            Ok(reply) => health.replied(reply.at),
            Err(reason) => {
                if health.failed(*reason, now, clock::wall()) {
                    let probe_at = health.next_probe(now);
                    self.schedule.suspend(device, probe_at, now);
                    tracing::warn!(device = %options.name, %reason, "device is offline; probing with back-off");
                }
            }
        }
        result
    }

    /// Late replies are their units', whoever was asked when they came.
    fn count_late(&mut self) {
        for unit in self.wire.take_late() {
            let devices = self.options.devices.iter();
            for (health, _) in self
                .health
                .iter_mut()
                .zip(devices)
                .filter(|(_, device)| device.unit_id == unit)
            {
                health.replied_late();
            }
        }
    }

    /// One request to an offline device; put off, not failed, while there is no way to it.
    async fn probe(&mut self, device: usize) {
        let now = clock::now();
        if let Some(until) = self.wire.down_until(now) {
            self.schedule.suspend(device, until, now);
            return;
        }
        let plans = Arc::clone(&self.plans);
        let alive = match plans.probe(device) {
            Some(request) => match self.request(device, Ask::Read(request), false).await {
                Ok(_) => true,
                Err(reason) => reason.proves_alive(),
            },
            None => false,
        };
        let now = clock::now();
        let Some(health) = self.health.get_mut(device) else {
            return;
        };
        if alive {
            health.revived(clock::wall());
            self.schedule.resume(device, now);
            if let Some(options) = self.options.devices.get(device) {
                tracing::info!(device = %options.name, "device is back");
            }
        } else {
            self.schedule.suspend(device, health.next_probe(now), now);
        }
    }

    fn cycle(&mut self, job: Job) -> Option<&mut Cycle> {
        self.cycles.get_mut(job.device)?.get_mut(job.group)
    }
}
