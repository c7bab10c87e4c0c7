//! From a device's tags to registers that move plausibly: what the gateway reads, it reads as good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::adapter::plan::{PlanError, plan};
use crate::adapter::{DeviceOptions, GroupOptions, Table, TagOptions, TagType, WriteOptions};
use crate::simulator::{DeviceMap, Motion, Number, Signal, SimulatedTable};
use crate::value::{Meaning, Value, Wanted};

/// How long a name or a bit stays.
const STEP: Duration = Duration::from_secs(10);

/// A register or bit of a device.
type Cell = (Table, u16);

/// The registers of a device: its tags, and 0 in what is read between them.
pub(super) fn device_map(device: &DeviceOptions) -> Result<DeviceMap, PlanError> {
    let mut map = DeviceMap::new(device.unit_id.0);
    let mut taken = BTreeSet::<Cell>::new();
    let mut tags: Vec<(&GroupOptions, &TagOptions)> = device
        .groups
        .iter()
        .flat_map(|group| group.tags.iter().map(move |tag| (group, tag)))
        .collect();
    // Of tags that share registers the longest counts.
    tags.sort_by_key(|(_, tag)| std::cmp::Reverse(length(tag)));
    for (group, tag) in tags {
        let cells: Vec<Cell> = (tag.address..=u16::MAX)
            .take(length(tag))
            .map(|address| (tag.table, address))
            .collect();
        if cells.iter().all(|cell| !taken.contains(cell)) {
            map = map.with(simulated(tag.table), tag.address, signal(group, tag));
            taken.extend(cells);
        }
    }
    let mut between = BTreeSet::<Cell>::new();
    for request in plan(device)?.iter().flat_map(|group| &group.requests) {
        let addresses = (request.address..=u16::MAX).take(usize::from(request.quantity));
        between.extend(addresses.map(|address| (request.table, address)));
    }
    for (table, address) in between.difference(&taken) {
        map = map.with(simulated(*table), *address, Signal::Words(vec![0]));
    }
    Ok(map)
}

fn length(tag: &TagOptions) -> usize {
    if tag.table.holds_bits() {
        1
    } else {
        usize::from(tag.kind.registers())
    }
}

fn simulated(table: Table) -> SimulatedTable {
    match table {
        Table::Coils => SimulatedTable::Coils,
        Table::DiscreteInputs => SimulatedTable::DiscreteInputs,
        Table::HoldingRegisters => SimulatedTable::HoldingRegisters,
        Table::InputRegisters => SimulatedTable::InputRegisters,
    }
}

fn signal(group: &GroupOptions, tag: &TagOptions) -> Signal {
    if let Some(write) = &tag.write {
        return Signal::Words(setpoint(tag, write));
    }
    if let TagType::Text(registers) = tag.kind {
        return Signal::Words(text(&tag.name, registers, tag));
    }
    let motion = if is_power(group, tag) {
        let values = vec![i64::from(power(group, tag))];
        Motion::Steps { values, each: STEP }
    } else {
        match &tag.meaning {
            Meaning::Names(names) => named(names, tag),
            Meaning::Bits(bits) => one_bit_after_the_other(bits.keys()),
            Meaning::Number if tag.kind == TagType::Bool => Motion::Steps {
                values: vec![1, 0],
                each: STEP,
            },
            Meaning::Number => measured(group, tag),
        }
    };
    Signal::Number(Number {
        // A bit is one word to the simulator, as a register that is yes or no.
        kind: tag.kind,
        byte_order: tag.byte_order,
        motion,
    })
}

/// What can be written stands still until somebody writes it: at its least value or first name, else at 0.
fn setpoint(tag: &TagOptions, write: &WriteOptions) -> Vec<u16> {
    let wanted = match &tag.meaning {
        Meaning::Names(names) => names.values().next().cloned().map(Wanted::Text),
        Meaning::Bits(_) => None,
        Meaning::Number => {
            let least = write.min.unwrap_or(0.0);
            Some(Wanted::Number(
                write.max.map_or(least, |max| least.min(max)),
            ))
        }
    };
    let words = wanted.and_then(|wanted| tag.interpretation().words(&wanted).ok());
    words.unwrap_or_else(|| vec![0; length(tag)])
}

/// The name of the tag, as far as it fits.
fn text(name: &str, registers: u16, tag: &TagOptions) -> Vec<u16> {
    let bytes = name.bytes().chain(std::iter::repeat(0));
    let bytes: Vec<u8> = bytes.take(2 * usize::from(registers)).collect();
    let words = bytes.chunks_exact(2).map(|pair| {
        let word = pair
            .iter()
            .fold(0, |word, byte| word << 8 | u16::from(*byte));
        if tag.byte_order.swaps_bytes() {
            word.swap_bytes()
        } else {
            word
        }
    });
    words.collect()
}

/// Whether another tag takes its power of ten from this one.
fn is_power(group: &GroupOptions, tag: &TagOptions) -> bool {
    let takes = |other: &TagOptions| other.scale_from.as_ref() == Some(&tag.name);
    group.tags.iter().any(takes)
}

/// The power of ten that it holds: one digit after the point where the type can say so.
fn power(group: &GroupOptions, tag: &TagOptions) -> i32 {
    let signed = matches!(tag.kind, TagType::Int16 | TagType::Int32 | TagType::Int64);
    if signed && is_power(group, tag) {
        -1
    } else {
        0
    }
}

fn named(names: &BTreeMap<i128, String>, tag: &TagOptions) -> Motion {
    let valid = |number: &&i128| !tag.invalid.contains(&Value::Integer(**number));
    let values = names.keys().filter(valid);
    Motion::Steps {
        values: values
            .filter_map(|number| i64::try_from(*number).ok())
            .collect(),
        each: STEP,
    }
}

/// None, then each alone.
fn one_bit_after_the_other<'b>(bits: impl Iterator<Item = &'b u8>) -> Motion {
    let alone = bits.filter(|bit| **bit < 63).map(|bit| 1_i64 << bit);
    Motion::Steps {
        values: std::iter::once(0).chain(alone).collect(),
        each: STEP,
    }
}

/// What such a quantity is usually like, before scaling.
fn measured(group: &GroupOptions, tag: &TagOptions) -> Motion {
    let factor = group
        .tags
        .iter()
        .find(|other| Some(&other.name) == tag.scale_from.as_ref());
    let power = factor.map_or(0, |factor| power(group, factor));
    let step = tag.scale * 10_f64.powi(power);
    let most = raw_max(tag.kind);
    // No two move alike, and each moves the same at every start.
    let period = Duration::from_secs(20 + u64::from(tag.address % 17));
    match usual(tag) {
        Usual::Growth(start, per_hour) => Motion::Growth {
            start: (start / step).min(most * 0.5),
            per_hour: (per_hour / step).min(most * 0.001),
        },
        Usual::Wave(mean, amplitude) if (mean + amplitude) / step <= most => Motion::Wave {
            mean: mean / step,
            amplitude: amplitude / step,
            period,
        },
        // Beyond what the type holds.
        Usual::Wave(..) => Motion::Wave {
            mean: most * 0.5,
            amplitude: most * 0.2,
            period,
        },
    }
}

enum Usual {
    /// About so much, up and down by so much.
    Wave(f64, f64),
    /// From so much on, so much more an hour.
    Growth(f64, f64),
}

fn usual(tag: &TagOptions) -> Usual {
    match tag.unit.as_deref().unwrap_or_default() {
        "V" => Usual::Wave(230.0, 3.0),
        "kV" => Usual::Wave(20.0, 0.2),
        "A" => Usual::Wave(6.0, 4.0),
        "W" | "VA" => Usual::Wave(1250.0, 900.0),
        "kW" | "kVA" => Usual::Wave(12.5, 9.0),
        "var" => Usual::Wave(0.0, 150.0),
        "kvar" => Usual::Wave(0.0, 1.5),
        "Hz" => Usual::Wave(50.0, 0.05),
        "degC" | "°C" | "C" => Usual::Wave(21.0, 4.0),
        "K" => Usual::Wave(294.0, 4.0),
        "%" => Usual::Wave(55.0, 20.0),
        "bar" => Usual::Wave(4.0, 0.5),
        "Wh" | "varh" => Usual::Growth(1_234_567.0, 1250.0),
        "kWh" | "kvarh" | "m3" | "l" | "h" => Usual::Growth(1234.5, 12.5),
        "" if tag.name.contains("factor") => Usual::Wave(0.95, 0.04),
        _ => Usual::Wave(50.0, 25.0),
    }
}

/// The largest raw number of the type that a wave may reach.
fn raw_max(kind: TagType) -> f64 {
    match kind {
        TagType::Bool => 1.0,
        TagType::Int16 => 32_000.0,
        TagType::Uint16 => 65_000.0,
        TagType::Int32 => 2e9,
        TagType::Uint32 => 4e9,
        TagType::Bcd16 => 9999.0,
        TagType::Bcd32 => 99_999_999.0,
        _ => 1e15,
    }
}
