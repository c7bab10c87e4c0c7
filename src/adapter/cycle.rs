//! What is read in one group: worked out once from the options, and how far one reading of it has come. No I/O.
//!
//! Invariant: a tag's value comes out of the reply to the request that the plan put the tag into, at its place there.

use super::modbus::{Data, Reply};
use super::options::{ConnectionOptions, DeviceOptions};
use super::plan::{GroupPlan, PlanError, ReadRequest, TagSlot, plan};
use super::publish::Reading;
use super::reason::Reason;
use super::schedule::Job;
use crate::clock::WallTime;
use crate::value::Interpretation;

/// What the options say, worked out once.
#[derive(Debug)]
pub(super) struct Plans {
    devices: Vec<DevicePlan>,
}

#[derive(Debug)]
struct DevicePlan {
    groups: Vec<ReadyGroup>,
    /// The shortest request there is.
    probe: Option<ReadRequest>,
}

#[derive(Debug)]
pub(super) struct ReadyGroup {
    plan: GroupPlan,
    tags: Vec<Interpretation>,
}

/// How far the reading of a group has come.
#[derive(Debug)]
pub(super) struct Cycle {
    next_request: usize,
    /// By tag of the group; what was not asked yet is bad.
    pub(super) readings: Vec<Reading>,
    /// Stamp of the last reply.
    pub(super) replied_at: Option<WallTime>,
    /// Why the first request that failed did.
    pub(super) failure: Option<Reason>,
}

impl Plans {
    pub(super) fn new(options: &ConnectionOptions) -> Result<Self, PlanError> {
        let devices = options.devices.iter().map(DevicePlan::new);
        Ok(Self {
            devices: devices.collect::<Result<_, _>>()?,
        })
    }

    /// What to ask a device to see whether it is back.
    pub(super) fn probe(&self, device: usize) -> Option<&ReadRequest> {
        self.devices.get(device)?.probe.as_ref()
    }

    pub(super) fn group(&self, job: Job) -> Option<&ReadyGroup> {
        self.devices.get(job.device)?.groups.get(job.group)
    }
}

impl DevicePlan {
    fn new(device: &DeviceOptions) -> Result<Self, PlanError> {
        let groups: Vec<_> = plan(device)?
            .into_iter()
            .zip(&device.groups)
            .map(|(plan, group)| ReadyGroup {
                plan,
                tags: group
                    .tags
                    .iter()
                    .map(|tag| {
                        Interpretation::new(tag.kind, tag.byte_order, tag.scale, tag.decimals)
                            .without(tag.invalid.clone())
                            .meaning(tag.meaning.clone())
                    })
                    .collect(),
            })
            .collect();
        let probe = groups
            .iter()
            .flat_map(|group| &group.plan.requests)
            .min_by_key(|request| request.quantity)
            .cloned();
        Ok(Self { groups, probe })
    }
}

impl Cycle {
    pub(super) fn new(tags: usize) -> Self {
        Self {
            next_request: 0,
            readings: vec![Err(Reason::Offline); tags],
            replied_at: None,
            failure: None,
        }
    }

    /// The request that comes next; `None` where all have been made.
    pub(super) fn request<'a>(&self, group: &'a ReadyGroup) -> Option<&'a ReadRequest> {
        group.plan.requests.get(self.next_request)
    }

    /// Its number in the plan.
    pub(super) fn request_number(&self) -> usize {
        self.next_request
    }

    /// The reply to the request that came next.
    pub(super) fn take(&mut self, group: &ReadyGroup, reply: &Reply) {
        let slots = self.request(group).map(|request| &request.tags);
        for slot in slots.into_iter().flatten() {
            if let (Some(reading), Some(tag)) =
                (self.readings.get_mut(slot.tag), group.tags.get(slot.tag))
            {
                *reading = read_tag(*slot, &reply.data, tag);
            }
        }
        self.replied_at = Some(reply.at);
        self.next_request += 1;
    }

    /// There is none: every tag of that request is bad.
    pub(super) fn fail(&mut self, group: &ReadyGroup, reason: Reason) {
        self.failure.get_or_insert(reason);
        let slots = self.request(group).map(|request| &request.tags);
        for slot in slots.into_iter().flatten() {
            if let Some(reading) = self.readings.get_mut(slot.tag) {
                *reading = Err(reason);
            }
        }
        self.next_request += 1;
    }

    /// What was not asked yet is bad and will not be asked.
    pub(super) fn abandon(&mut self, group: &ReadyGroup, reason: Reason) {
        while self.request(group).is_some() {
            self.fail(group, reason);
        }
    }
}

fn read_tag(slot: TagSlot, data: &Data, tag: &Interpretation) -> Reading {
    let range = slot.offset..slot.offset.saturating_add(slot.length);
    match data {
        Data::Bits(bits) => match bits.get(range) {
            Some([bit]) => tag.bit(*bit).map_err(Reason::from),
            _ => Err(Reason::WrongCount),
        },
        Data::Registers(words) => {
            let words = words.get(range).ok_or(Reason::WrongCount)?;
            tag.value(words).map_err(Reason::from)
        }
    }
}
