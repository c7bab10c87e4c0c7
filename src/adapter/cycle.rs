//! What is read in one group: worked out once from the options, and how far one reading of it has come. No I/O.
//!
//! Invariant: a tag's value comes out of the reply to the request that the plan put the tag into, at its place there. Its power of ten, where it has one, comes out of the same reply.

use super::modbus::{Data, Reply};
use super::options::{ConnectionOptions, DeviceOptions, TagOptions};
use super::plan::{GroupPlan, PlanError, ReadRequest, TagSlot, plan};
use super::publish::Reading;
use super::reason::Reason;
use super::schedule::Job;
use crate::clock::WallTime;
use crate::value::{Interpretation, Value};

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
    tags: Vec<ReadyTag>,
}

#[derive(Debug)]
struct ReadyTag {
    interpretation: Interpretation,
    /// The tag that has its power of ten.
    factor: Option<usize>,
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
                    .map(|tag| ReadyTag::new(tag, &group.tags))
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

impl ReadyTag {
    fn new(tag: &TagOptions, group: &[TagOptions]) -> Self {
        let interpretation = Interpretation::new(tag.kind, tag.byte_order, tag.scale, tag.decimals)
            .without(tag.invalid.clone())
            .meaning(tag.meaning.clone());
        let factor = tag.scale_from.as_ref();
        Self {
            interpretation,
            factor: factor.and_then(|name| group.iter().position(|tag| tag.name == *name)),
        }
    }
}

impl ReadyGroup {
    /// The value of the tag at `slot` of a reply that has all of `slots`.
    fn read(&self, slot: &TagSlot, slots: &[TagSlot], data: &Data) -> Reading {
        let tag = self.tags.get(slot.tag).ok_or(Reason::WrongCount)?;
        let power = match tag.factor {
            None => None,
            Some(factor) => {
                let slot = slots.iter().find(|slot| slot.tag == factor);
                let slot = slot.ok_or(Reason::BadScaleFactor)?;
                Some(self.power(slot, data)?)
            }
        };
        let range = slot.offset..slot.offset.saturating_add(slot.length);
        let value = match data {
            Data::Bits(bits) => match bits.get(range) {
                Some([bit]) => tag.interpretation.bit(*bit),
                _ => return Err(Reason::WrongCount),
            },
            Data::Registers(words) => {
                let words = words.get(range).ok_or(Reason::WrongCount)?;
                tag.interpretation.value_with_power(words, power)
            }
        };
        value.map_err(Reason::from)
    }

    /// The power of ten at `slot`. What devices put there instead of one, 0x8000 in SunSpec, is no power that is meant.
    fn power(&self, slot: &TagSlot, data: &Data) -> Result<i8, Reason> {
        match self.read(slot, &[], data) {
            Ok(Value::Integer(power @ -10..=10)) => {
                i8::try_from(power).map_err(|_| Reason::BadScaleFactor)
            }
            _ => Err(Reason::BadScaleFactor),
        }
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
        let slots = slots.map(Vec::as_slice).unwrap_or_default();
        for slot in slots {
            if let Some(reading) = self.readings.get_mut(slot.tag) {
                *reading = group.read(slot, slots, &reply.data);
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

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::options::Table;
    use super::*;
    use crate::value::TagType;

    /// A power meter of the SunSpec kind: a value and its power of ten.
    fn sunspec(value: u16, factor: u16) -> Vec<Reading> {
        let tag =
            |name, address| fixture::tag(name, Table::HoldingRegisters, address, TagType::Int16);
        let power = TagOptions {
            scale_from: Some("power_sf".to_owned()),
            ..tag("power", 84)
        };
        let tags = vec![tag("power_sf", 85), power];
        let device = fixture::device("d", 1, vec![fixture::group("g", 500, tags)]);
        let plan = DevicePlan::new(&device).unwrap();
        let group = &plan.groups[0];
        let mut cycle = Cycle::new(2);
        let data = Data::Registers(vec![value, factor]);
        let at = WallTime(1);
        cycle.take(group, &Reply { data, at });
        assert!(cycle.request(group).is_none());
        cycle.readings
    }

    #[test]
    fn a_value_is_scaled_by_the_power_of_its_own_reply() {
        assert_eq!(
            sunspec(1234, 0xFFFE),
            [Ok(Value::Integer(-2)), Ok(Value::Float64(12.34))]
        );
        assert_eq!(sunspec(1234, 0)[1], Ok(Value::Float64(1234.0)));
        assert_eq!(sunspec(5, 10)[1], Ok(Value::Float64(5e10)));
    }

    #[test]
    fn a_factor_that_is_no_power_makes_the_value_bad() {
        for factor in [0x8000, 11, 0xFFF5] {
            assert_eq!(sunspec(1234, factor)[1], Err(Reason::BadScaleFactor));
        }
    }
}
