//! What the actor tells of what it has read: to the broker, to whoever watches, and to the log.

use super::super::latest::{Latest, Readings};
use super::super::options::GroupOptions;
use super::super::outbox::Outbox;
use super::super::plan::ReadRequest;
use super::super::publish::{group_messages, status_message};
use super::super::reason::Reason;
use super::super::refusal::{Change, remedy};
use super::super::said::Report;
use super::super::schedule::Job;
use super::Poller;
use crate::clock;

impl Poller {
    /// Hands the readings of a group over and starts it anew.
    pub(super) fn finish(&mut self, job: Job) {
        let Some(options) = self
            .options
            .devices
            .get(job.device)
            .and_then(|device| device.groups.get(job.group))
        else {
            return;
        };
        let cycle = self.cycles.get_mut(job.device);
        let Some(cycle) = cycle.and_then(|groups| groups.get_mut(job.group)) else {
            return;
        };
        let cycle = cycle.finish();
        let at = cycle.replied_at.unwrap_or_else(clock::wall);
        let (said, now) = (self.said.get_mut(job.device), clock::now());
        if let Some(said) = said.and_then(|groups| groups.get_mut(job.group)) {
            let report = said.report(options, cycle.readings, at, now);
            publish(&self.outbox, options, &report);
            let latest = Latest {
                at,
                read: now,
                readings: Readings::Tags(report.readings),
            };
            // Whoever watches is told with the rest, see `tell`.
            self.status.send_if_modified(|status| {
                if let Some(device) = status.devices.get_mut(job.device) {
                    device.note(job.group, latest);
                }
                false
            });
        }
        // The group that found the device silent has said why; like the others it then says once that it is offline.
        let found_offline = self.schedule.is_suspended(job.device)
            && cycle
                .failure
                .is_some_and(|reason| reason != Reason::Offline);
        if !found_offline {
            self.schedule.finished(job, clock::now());
        }
        if let Some(health) = self.health.get_mut(job.device) {
            health.set_overruns(self.schedule.overruns(job.device));
            health.group_read(job.group, cycle.failure, at);
        }
    }

    /// Publishes what was held back for long enough, tells `$status` where it is due, and whoever watches.
    pub(super) fn tell(&mut self) {
        let now = clock::now();
        for (said, device) in self.said.iter_mut().zip(&self.options.devices) {
            for (said, group) in said.iter_mut().zip(&device.groups) {
                if let Some(report) = said.release(group, now) {
                    publish(&self.outbox, group, &report);
                }
            }
        }
        for (health, device) in self.health.iter_mut().zip(&self.options.devices) {
            if health.status_at(now).is_some_and(|at| at <= now) {
                self.outbox
                    .push(status_message(&device.status_topic, health.status()));
                health.status_told(now);
            }
        }
        self.status.send_modify(|status| {
            status.connected = self.wire.is_connected();
            status.connects = self.wire.connects();
            if status.error.as_deref() != self.wire.error() {
                status.error = self.wire.error().map(str::to_owned);
            }
            status.outbox = self.outbox.stats();
            for (told, health) in status.devices.iter_mut().zip(&self.health) {
                told.status.clone_from(health.status());
            }
        });
    }

    pub(super) fn log_refusal(&self, job: Job, request: &ReadRequest, change: Change) {
        let Some(device) = self.options.devices.get(job.device) else {
            return;
        };
        let group = device.groups.get(job.group).map(|group| &*group.name);
        let (device, function) = (&device.name, request.table.read_function());
        let ReadRequest {
            address, quantity, ..
        } = *request;
        match change {
            Change::Refused(reason) => tracing::warn!(
                %device, group, function, address, quantity, %reason,
                "the device refuses a request: {}", remedy(reason)
            ),
            Change::Answered => tracing::info!(
                %device, group, function, address, quantity,
                "a request that the device refused is answered again"
            ),
        }
    }
}

fn publish(outbox: &Outbox, group: &GroupOptions, report: &Report) {
    let wanted = |message: usize| report.messages.get(message) == Some(&true);
    group_messages(group, &report.readings, report.at, wanted, |message| {
        outbox.push(message);
    });
}
