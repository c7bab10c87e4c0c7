//! What the devices have, what was asked of them last, and what came of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::adapter::{DeviceOptions, ProbeBackoff, Table, TagOptions, TagType};
use fieldgate::simulator::{Asked, Fault};
use serde_json::{Value as Json, json};

use crate::support::{device, group, tag};

pub const UNITS: [u8; 3] = [1, 2, 3];
/// Wrong values of which the whole story is told.
const TOLD_MAX: usize = 10;

/// Name, table, address, type.
type Row = (&'static str, Table, u16, TagType);

/// Each with its interval in steps. Coils from 0x300 on, 20 of them in one request: that request
/// looks like a reply to itself. Tags of different requests are further apart than a request in the place of another,
/// after a late reply, is longer.
#[rustfmt::skip] // a row each
const GROUPS: [(&str, u64, &[Row]); 3] = [
    ("words", 23, &[
        ("u16", Table::HoldingRegisters, 100, TagType::Uint16),
        ("u32", Table::HoldingRegisters, 101, TagType::Uint32),
        ("u64", Table::InputRegisters, 300, TagType::Uint64),
    ]),
    ("bits", 31, &[
        ("first", Table::Coils, 0x300, TagType::Bool),
        ("middle", Table::Coils, 0x308, TagType::Bool),
        ("last", Table::Coils, 0x313, TagType::Bool),
        ("a", Table::DiscreteInputs, 0x500, TagType::Bool),
        ("b", Table::DiscreteInputs, 0x501, TagType::Bool),
    ]),
    ("word", 17, &[("i16", Table::HoldingRegisters, 200, TagType::Int16)]),
];

/// A device for each unit, named after it.
pub fn devices(timeout: Duration, step_ms: u64) -> Vec<DeviceOptions> {
    let tags = |unit: u8, tags: &[Row]| -> Vec<TagOptions> {
        let tags = tags.iter();
        let tags = tags.map(|(name, table, address, kind)| tag(name, *table, *address, *kind));
        tags.map(|tag| TagOptions {
            // Never cut after an exception, and cut.
            atomic: unit == 1 && tag.table == Table::HoldingRegisters,
            ..tag
        })
        .collect()
    };
    let device = |unit: u8| {
        let name = unit.to_string();
        let groups = GROUPS.iter();
        let groups = groups.map(|(group_name, interval, of_group)| {
            group(&name, group_name, interval * step_ms, tags(unit, of_group))
        });
        DeviceOptions {
            response_timeout: timeout,
            // So that what came before is judged before anything is asked again.
            request_delay: Duration::from_millis(1),
            // One gives up at once, the others ask again.
            retries: u32::from(unit % 2),
            offline_after: 5,
            probe_backoff: ProbeBackoff {
                min: Duration::from_millis(100),
                max: Duration::from_millis(400),
            },
            max_gap: 16,
            ..device(&name, unit, groups.collect())
        }
    };
    UNITS.map(device).to_vec()
}

/// What the devices said and what was made of it.
pub struct Field {
    pub seed: u64,
    tags: Vec<Asking>,
    requests: u64,
    faults: BTreeMap<String, u64>,
    good: u64,
    reasons: BTreeMap<String, u64>,
    /// Said to be bad because of what was so before, without asking.
    unasked: u64,
    wrong: Vec<String>,
}

/// A tag and the last request that it was in.
struct Asking {
    unit: u8,
    group: &'static str,
    name: &'static str,
    function: u8,
    address: u16,
    kind: TagType,
    /// Its number, and whether no value can come of it.
    last: Option<(u64, Fault, bool)>,
    /// Since it was last published.
    is_asked: bool,
}

impl Field {
    pub fn shared(seed: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self::new(seed)))
    }

    pub fn new(seed: u64) -> Self {
        let mut tags = Vec::new();
        for unit in UNITS {
            for (group, _, of_group) in &GROUPS {
                for (name, table, address, kind) in *of_group {
                    tags.push(Asking {
                        unit,
                        group,
                        name,
                        function: table.read_function(),
                        address: *address,
                        kind: *kind,
                        last: None,
                        is_asked: false,
                    });
                }
            }
        }
        Self {
            seed,
            tags,
            requests: 0,
            faults: BTreeMap::new(),
            good: 0,
            reasons: BTreeMap::new(),
            unasked: 0,
            wrong: Vec::new(),
        }
    }

    /// The device was asked, and answers like this, of which a value may come or not.
    pub fn asked(&mut self, asked: &Asked, fault: Fault, is_hopeless: bool) {
        self.requests += 1;
        let kind = format!("{fault:?}");
        let kind = kind.split('(').next().unwrap_or_default();
        *self.faults.entry(kind.to_owned()).or_default() += 1;
        for tag in &mut self.tags {
            if tag.is_in(asked) {
                tag.last = Some((asked.number, fault, is_hopeless));
                tag.is_asked = true;
            }
        }
    }

    /// A group was published.
    pub fn judge(&mut self, unit: u8, group: &str, message: &Json) {
        let mut of_group = self.tags.iter_mut();
        while let Some(tag) = of_group.find(|tag| tag.unit == unit && tag.group == group) {
            let was_asked = std::mem::take(&mut tag.is_asked);
            let value = message["values"].get(tag.name);
            match (value, message["bad"].get(tag.name)) {
                (Some(value), None) => match tag.judge(self.seed, value) {
                    Ok(()) => self.good += 1,
                    Err(what) => self.wrong.push(what),
                },
                (None, Some(Json::String(_))) if !was_asked => self.unasked += 1,
                (None, Some(Json::String(reason))) if !reason.is_empty() => {
                    *self.reasons.entry(reason.clone()).or_default() += 1;
                }
                _ => {
                    let what = format!("{unit}/{group}/{}: {message}", tag.name);
                    self.wrong.push(what);
                }
            }
        }
    }

    /// Those that were asked for.
    pub fn readings(&self) -> u64 {
        self.good + self.bad() + self.wrong.len() as u64
    }

    pub fn bad(&self) -> u64 {
        self.reasons.values().sum()
    }

    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// What came of another is counted here, too.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.good += other.good;
        self.unasked += other.unasked;
        self.wrong.extend_from_slice(&other.wrong);
        for (sums, more) in [
            (&mut self.faults, &other.faults),
            (&mut self.reasons, &other.reasons),
        ] {
            for (kind, count) in more {
                *sums.entry(kind.clone()).or_default() += count;
            }
        }
    }

    /// Says what there was, and fails where a value was wrong, or nothing was tried.
    pub fn close(&self, what: &str) {
        let (good, bad, wrong) = (self.good, self.bad(), self.wrong.len());
        println!(
            "oracle, {what}: {} readings of {} requests: {good} values, {bad} bad, {wrong} wrong; \
             {} more bad without asking\n  answered: {:?}\n  bad: {:?}",
            self.readings(),
            self.requests,
            self.unasked,
            self.faults,
            self.reasons,
        );
        let told = &self.wrong[..wrong.min(TOLD_MAX)];
        assert!(told.is_empty(), "RIG_SEED={}: {told:#?}", self.seed);
        assert!(
            good > self.readings() / 4 && bad > self.readings() / 20,
            "{what} tries nothing"
        );
    }
}

impl Asking {
    fn is_in(&self, asked: &Asked) -> bool {
        let end = self.address + self.words();
        (asked.unit, asked.function) == (self.unit, self.function)
            && asked.address <= self.address
            && end <= asked.address.saturating_add(asked.quantity)
    }

    fn words(&self) -> u16 {
        match self.kind {
            TagType::Uint64 => 4,
            TagType::Uint32 => 2,
            _ => 1,
        }
    }

    fn judge(&self, seed: u64, value: &Json) -> Result<(), String> {
        let Self {
            unit, group, name, ..
        } = self;
        let Some((number, fault, is_hopeless)) = self.last else {
            return Err(format!(
                "{unit}/{group}/{name} is {value}, and was never asked"
            ));
        };
        let right = self.value(seed, number);
        if right == *value && !is_hopeless {
            return Ok(());
        }
        let older = (1..number)
            .rev()
            .find(|older| self.value(seed, *older) == *value);
        Err(format!(
            "{unit}/{group}/{name} is {value}, but {right} by the last request, {number}, which was answered {fault:?}; \
             so it was by request {older:?}"
        ))
    }

    fn value(&self, seed: u64, number: u64) -> Json {
        let word = |address| word(seed, self.unit, self.function, address, number);
        let first = word(self.address);
        let words = (self.address..).take(usize::from(self.words()));
        let all = words.fold(0, |all, address| all << 16 | u64::from(word(address)));
        match self.kind {
            TagType::Bool => json!(first & 1 == 1),
            TagType::Int16 => json!(first.cast_signed()),
            _ => json!(all),
        }
    }
}

/// The function: no two of its values have to do with each other.
pub fn word(seed: u64, unit: u8, function: u8, address: u16, number: u64) -> u16 {
    let place = u64::from(unit) << 24 | u64::from(function) << 16 | u64::from(address);
    let mut random = fastrand::Rng::with_seed(seed ^ place << 32 ^ number);
    random.u16(..)
}
