//! What is read in one group: worked out once from the options, and how far one reading of it has come. No I/O.
//!
//! Invariant: a tag's value comes out of the reply to the request that the tag is in, at its place there. Its power of ten,
//! where it has one, comes out of the same reply.

use std::sync::Arc;

use super::data::Data;
use super::modbus::Reply;
use super::options::{ConnectionOptions, DeviceOptions, TagOptions};
use super::plan::{GroupPlan, PlanError, ReadRequest, TagSlot, plan};
use super::publish::Reading;
use super::reason::Reason;
use super::schedule::Job;
use super::split::Requests;
use crate::clock::WallTime;
use crate::value::{Interpretation, Value};

/// What the options say, worked out once.
#[derive(Debug, Default)]
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
    requests: Requests,
    outcome: Outcome,
}

/// What became of a reading.
#[derive(Debug)]
pub(super) struct Outcome {
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

    /// The readings that come first.
    pub(super) fn cycles(&self) -> Vec<Vec<Cycle>> {
        let groups = |device: &DevicePlan| device.groups.iter().map(Cycle::new).collect();
        self.devices.iter().map(groups).collect()
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
        let factor = tag.scale_from.as_ref();
        Self {
            interpretation: tag.interpretation(),
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
            Data::Written => return Err(Reason::WrongFunction),
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
    pub(super) fn new(group: &ReadyGroup) -> Self {
        Self {
            requests: Requests::new(&group.plan.requests),
            outcome: Outcome::new(group.tags.len()),
        }
    }

    /// The requests of it, to be remembered and recalled.
    pub(super) fn requests(&mut self) -> &mut Requests {
        &mut self.requests
    }

    /// The request that comes next; `None` where all have been made.
    pub(super) fn request(&self) -> Option<&Arc<ReadRequest>> {
        self.requests.next()
    }

    /// The reply to the request that came next.
    pub(super) fn take(&mut self, group: &ReadyGroup, reply: &Reply) {
        let request = self.request().map(Arc::clone);
        let slots = request.as_ref().map_or(&[][..], |request| &request.tags);
        for slot in slots {
            if let Some(reading) = self.outcome.readings.get_mut(slot.tag) {
                *reading = group.read(slot, slots, &reply.data);
            }
        }
        self.outcome.replied_at = Some(reply.at);
        self.requests.answered();
    }

    /// There is none: every tag of that request is bad, unless it is made in parts instead, which is true then.
    pub(super) fn fail(&mut self, reason: Reason) -> bool {
        let Some(request) = self.request().map(Arc::clone) else {
            return false;
        };
        if !reason.is_of_the_request() {
            self.requests.failed();
        } else if self.requests.refused() {
            return true;
        }
        self.outcome.failure.get_or_insert(reason);
        for slot in &request.tags {
            if let Some(reading) = self.outcome.readings.get_mut(slot.tag) {
                *reading = Err(reason);
            }
        }
        false
    }

    /// What was not asked yet is bad and will not be asked. `reason` is not one of a single request.
    pub(super) fn abandon(&mut self, reason: Reason) {
        while self.request().is_some() {
            self.fail(reason);
        }
    }

    /// What became of it; the next reading begins.
    pub(super) fn finish(&mut self) -> Outcome {
        self.requests.restart();
        let fresh = Outcome::new(self.outcome.readings.len());
        std::mem::replace(&mut self.outcome, fresh)
    }
}

impl Outcome {
    fn new(tags: usize) -> Self {
        Self {
            readings: vec![Err(Reason::Offline); tags],
            replied_at: None,
            failure: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture;
    use super::super::options::Table;
    use super::super::split::Cut;
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
        let mut cycle = Cycle::new(group);
        let data = Data::Registers(vec![value, factor]);
        let at = WallTime(1);
        let took = Duration::ZERO;
        cycle.take(group, &Reply { data, at, took });
        assert!(cycle.request().is_none());
        cycle.finish().readings
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

    /// A device that has some registers, each holding its own address, and answers for so many at a time.
    struct Partial {
        has: Vec<u16>,
        most: u16,
        requests: usize,
    }

    impl Partial {
        /// One reading of the group.
        fn read(&mut self, group: &ReadyGroup, cycle: &mut Cycle) -> Outcome {
            while let Some(request) = cycle.request().map(Arc::clone) {
                self.requests += 1;
                let words: Vec<u16> =
                    (request.address..request.address + request.quantity).collect();
                if request.quantity > self.most {
                    cycle.fail(Reason::Exception(3));
                } else if words.iter().any(|word| !self.has.contains(word)) {
                    cycle.fail(Reason::Exception(2));
                } else {
                    let data = Data::Registers(words);
                    cycle.take(
                        group,
                        &Reply {
                            data,
                            at: WallTime(1),
                            took: Duration::ZERO,
                        },
                    );
                }
            }
            cycle.finish()
        }
    }

    fn words(spans: &[(u16, u16)], max_gap: u16) -> DevicePlan {
        let tag = |(address, length): &(u16, u16)| {
            let kind = if *length == 2 {
                TagType::Uint32
            } else {
                TagType::Uint16
            };
            fixture::tag("t", Table::HoldingRegisters, *address, kind)
        };
        let group = fixture::group("g", 500, spans.iter().map(tag).collect());
        let device = DeviceOptions {
            max_gap,
            ..fixture::device("d", 1, vec![group])
        };
        DevicePlan::new(&device).unwrap()
    }

    #[test]
    fn what_was_refused_is_made_in_parts_at_once_where_it_is_remembered() {
        let plan = words(&[(0, 1), (1, 1), (8, 1), (9, 1)], 8);
        let group = &plan.groups[0];
        let mut cycle = Cycle::new(group);
        let mut device = Partial {
            has: vec![0, 1, 8, 9],
            most: 125,
            requests: 0,
        };
        device.read(group, &mut cycle);
        let cuts: Vec<_> = cycle.requests().cuts().collect();
        assert_eq!(cuts.len(), 1);
        assert_eq!(cuts[0].parts, [0, 8]);
        let mut after_restart = Cycle::new(group);
        after_restart.requests().recall(&cuts[0]);
        device.requests = 0;
        let read = device.read(group, &mut after_restart);
        assert!(read.readings.iter().all(Result::is_ok));
        assert_eq!(device.requests, 2, "the whole is not asked again");
        // Of another plan, or none of its parts: nothing happens.
        for parts in [vec![0, 7], vec![0, 20], vec![1, 8], vec![]] {
            let mut untouched = Cycle::new(group);
            let wrong = Cut {
                parts,
                ..cuts[0].clone()
            };
            untouched.requests().recall(&wrong);
            assert_eq!(untouched.request().unwrap().quantity, 10);
        }
    }

    #[test]
    fn a_refused_request_is_made_in_parts_from_then_on() {
        let plan = words(&[(0, 1), (1, 1), (8, 1), (9, 1)], 8);
        let group = &plan.groups[0];
        let mut cycle = Cycle::new(group);
        let mut device = Partial {
            has: vec![0, 1, 8, 9],
            most: 125,
            requests: 0,
        };
        let first = device.read(group, &mut cycle);
        assert!(first.readings.iter().all(Result::is_ok) && first.failure.is_none());
        assert_eq!(device.requests, 3, "the whole, and both sides of the hole");
        device.read(group, &mut cycle);
        assert_eq!(device.requests, 5, "it is not tried as a whole again");
    }

    #[test]
    fn what_is_refused_in_all_its_parts_is_made_whole_again() {
        let plan = words(&[(0, 1), (1, 1), (2, 1), (3, 1)], 0);
        let group = &plan.groups[0];
        let mut cycle = Cycle::new(group);
        let mut device = Partial {
            has: Vec::new(),
            most: 125,
            requests: 0,
        };
        let count = |device: &mut Partial, cycle: &mut Cycle| {
            device.requests = 0;
            let outcome = device.read(group, cycle);
            (device.requests, outcome.failure)
        };
        let refused = Some(Reason::Exception(2));
        assert_eq!(count(&mut device, &mut cycle), (7, refused));
        for _ in 0..60 {
            assert_eq!(count(&mut device, &mut cycle), (1, refused));
        }
        device.has = vec![0, 1, 3];
        assert_eq!(count(&mut device, &mut cycle), (5, refused), "cut again");
        assert_eq!(count(&mut device, &mut cycle), (3, refused));
    }

    #[test]
    fn a_device_that_has_started_is_read_as_planned() {
        let plan = words(&[(0, 1), (1, 1), (2, 1), (3, 1)], 0);
        let group = &plan.groups[0];
        let mut cycle = Cycle::new(group);
        let mut requests = |has: &[u16]| {
            let mut device = Partial {
                has: has.to_vec(),
                most: 125,
                requests: 0,
            };
            device.read(group, &mut cycle);
            device.requests
        };
        assert_eq!(requests(&[]), 7);
        assert_eq!(requests(&[]), 1);
        assert_eq!(requests(&[0, 1, 2, 3]), 1);
        assert_eq!(requests(&[0, 1, 3]), 5, "another fault, cut at once");
    }

    #[test]
    fn other_failures_cut_nothing() {
        let plan = words(&[(0, 1), (1, 1)], 0);
        let group = &plan.groups[0];
        for reason in [Reason::Exception(4), Reason::Exception(6), Reason::Timeout] {
            let mut cycle = Cycle::new(group);
            assert!(!cycle.fail(reason));
            assert!(cycle.request().is_none());
            assert_eq!(cycle.finish().readings, vec![Err(reason); 2]);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_device_that_lacks_registers_gives_all_that_it_has(
            spans in proptest::collection::vec((0_u16..40, 1_u16..3), 1..12),
            has in proptest::collection::vec(0_u16..42, 0..60),
            most in 2_u16..50,
            max_gap in 0_u16..9,
        ) {
            let plan = words(&spans, max_gap);
            let group = &plan.groups[0];
            let mut cycle = Cycle::new(group);
            let mut device = Partial { has, most, requests: 0 };
            let first = device.read(group, &mut cycle).readings;
            for ((address, length), reading) in spans.iter().zip(&first) {
                let mut words = *address..address + length;
                if !words.all(|word| device.has.contains(&word)) {
                    proptest::prop_assert_eq!(reading, &Err(Reason::Exception(2)));
                    continue;
                }
                let high = i128::from(*address);
                let value = if *length == 2 { high * 0x1_0001 + 1 } else { high };
                proptest::prop_assert_eq!(reading, &Ok(Value::Integer(value)));
            }
            device.requests = 0;
            let outcome = device.read(group, &mut cycle);
            proptest::prop_assert!(device.requests <= spans.len(), "nothing is cut anew");
            if first.iter().any(Result::is_ok) && outcome.failure.is_none() {
                proptest::prop_assert_eq!(outcome.readings, first);
            }
        }
    }

    #[test]
    fn a_factor_that_is_no_power_makes_the_value_bad() {
        for factor in [0x8000, 11, 0xFFF5] {
            assert_eq!(sunspec(1234, factor)[1], Err(Reason::BadScaleFactor));
        }
    }
}
