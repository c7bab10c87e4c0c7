//! `tags:` and what surrounds them: a tag's register, its type, and the settings that may be said at every level.

use std::time::Duration;

use super::write::write;
use super::{below, each, meaning, name, qos, time};
use crate::adapter::{Table, WriteOptions};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::place::Place;
use crate::config::raw::{self, BigIntegers, PayloadKind};
use crate::config::section::Section;
use crate::config::words::{self, table_word as word};
use crate::mqtt::QoS;
use crate::value::{ByteOrder, Deadband, Meaning, TagType, Value};

/// The most registers that one request of Modbus carries.
pub(super) const REGISTERS_MAX: u16 = 125;

/// A text with where it was said; a fault of it is shown there.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) place: Place,
}

/// The settings that a tag, a group, a device, a template and the defaults may say; the nearest to the tag counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Publication {
    pub(super) topic: Option<Said>,
    pub(super) payload: Option<PayloadKind>,
    pub(super) qos: Option<QoS>,
    pub(super) retain: Option<bool>,
    pub(super) interval: Option<Duration>,
    pub(super) big_integers: Option<BigIntegers>,
    pub(super) on_change: Option<bool>,
    pub(super) min_interval: Option<Duration>,
    pub(super) max_interval: Option<Duration>,
    /// Where the nearest `publish` stands.
    pub(super) publish: Option<Place>,
}

impl Publication {
    /// These, and where they say nothing, `base`.
    pub(super) fn over(&self, base: &Self) -> Self {
        Self {
            topic: self.topic.clone().or_else(|| base.topic.clone()),
            payload: self.payload.or(base.payload),
            qos: self.qos.or(base.qos),
            retain: self.retain.or(base.retain),
            interval: self.interval.or(base.interval),
            big_integers: self.big_integers.or(base.big_integers),
            on_change: self.on_change.or(base.on_change),
            min_interval: self.min_interval.or(base.min_interval),
            max_interval: self.max_interval.or(base.max_interval),
            publish: self.publish.clone().or_else(|| base.publish.clone()),
        }
    }
}

/// The [`Publication`] of any section that has its keys.
macro_rules! publication {
    ($context:expr, $section:expr) => {{
        let (context, section) = (&mut *$context, &$section);
        let range = Duration::from_millis(10)..=Duration::from_secs(7 * 86_400);
        let spacing = Duration::ZERO..=Duration::from_secs(7 * 86_400);
        let publish =
            below::<raw::Publish>(context, section, "publish", section.raw.publish.as_ref());
        let (min, max) = (publish.raw.min_interval, publish.raw.max_interval);
        Publication {
            topic: section.raw.topic.clone().map(|text| Said {
                text,
                place: section.at("topic"),
            }),
            payload: section.raw.payload.map(|word| word.0),
            qos: qos(context, section, "qos", section.raw.qos),
            retain: section.raw.retain,
            interval: time(context, section, "interval", section.raw.interval, range),
            big_integers: section.raw.big_integers.map(|word| word.0),
            on_change: publish.raw.on_change,
            min_interval: time(context, &publish, "min_interval", min, spacing.clone()),
            max_interval: time(context, &publish, "max_interval", max, spacing),
            publish: section.has("publish").then_some(publish.place),
        }
    }};
}
pub(super) use publication;

/// A group as read, before a device gives it its topics.
pub(super) struct GroupDraft {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) atomic: bool,
    pub(super) publication: Publication,
    pub(super) tags: Vec<TagDraft>,
}

/// A tag as read, before a device gives it its topic.
pub(super) struct TagDraft {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) publication: Publication,
    /// `None` where it is at fault; name and topic are checked all the same.
    pub(super) reading: Option<Reading>,
}

/// What a tag reads, and as what.
pub(super) struct Reading {
    pub(super) table: Table,
    pub(super) address: u16,
    pub(super) kind: TagType,
    pub(super) byte_order: Option<ByteOrder>,
    pub(super) scale: f64,
    pub(super) decimals: Option<u8>,
    pub(super) scale_from: Option<String>,
    pub(super) atomic: Option<bool>,
    pub(super) deadband: Option<Deadband>,
    pub(super) invalid: Vec<Value>,
    pub(super) meaning: Meaning,
    pub(super) write: Option<WriteOptions>,
    pub(super) unit: Option<String>,
}

/// Reads `groups:`. Once per template, however many devices use it.
pub(super) fn groups(
    context: &mut Context<'_>,
    list: Option<&Vec<serde_yaml::Value>>,
    place: &Place,
) -> Vec<GroupDraft> {
    let mut groups = Vec::new();
    for section in each::<raw::Group>(context, list, place) {
        let name = name(context, &section, section.raw.name.as_ref(), "status");
        let publication = publication!(context, section);
        let tags = section.required(context, "tags", section.raw.tags.as_ref(), "[...]");
        if tags.is_some_and(Vec::is_empty) {
            let message = "a group without tags reads nothing";
            context.error(
                Code::MissingKey,
                &section.at("tags"),
                message,
                "add a tag, or remove the group",
            );
        }
        let tags = each::<raw::Tag>(context, tags, &section.at("tags"));
        let tags = tags
            .iter()
            .filter_map(|tag| self::tag(context, tag))
            .collect();
        if let Some(name) = name {
            groups.push(GroupDraft {
                name,
                place: section.place,
                atomic: section.raw.atomic.unwrap_or(false),
                publication,
                tags,
            });
        }
    }
    groups
}

fn tag(context: &mut Context<'_>, section: &Section<raw::Tag>) -> Option<TagDraft> {
    let name = name(context, section, section.raw.name.as_ref(), "temperature");
    let publication = publication!(context, *section);
    let reading = reading(context, section);
    Some(TagDraft {
        name: name?,
        place: section.place.clone(),
        publication,
        reading,
    })
}

fn reading(context: &mut Context<'_>, section: &Section<raw::Tag>) -> Option<Reading> {
    let raw = &section.raw;
    let register = register(context, section);
    let kind = kind(context, section, register.map(|(table, _)| table));
    if let (Some((table, address)), Some(kind)) = (register, kind) {
        check_span(context, section, table, address, kind);
    }
    let scale = meaning::scale(context, section);
    let decimals = section.within(context, "decimals", raw.decimals, 0..=15, |digits| {
        digits.to_string()
    });
    let (mut invalid, mut meaning) = (Vec::new(), Meaning::Number);
    if let Some(kind) = kind {
        meaning::check(context, section, kind);
        invalid = meaning::invalid(context, section, kind);
        meaning = meaning::meaning(context, section, kind);
    }
    let (table, address) = register?;
    let kind = kind?;
    Some(Reading {
        write: write(context, section, table, kind, &meaning),
        table,
        address,
        kind,
        byte_order: raw.byte_order.map(|word| word.0),
        scale,
        decimals,
        scale_from: raw.scale_from.clone(),
        atomic: raw.atomic,
        deadband: raw.deadband.map(|deadband| deadband.0),
        invalid,
        meaning,
        unit: raw.unit.clone(),
    })
}

/// Table and 0-based address, from `register` and exactly one of `address` and `reference`.
fn register(context: &mut Context<'_>, section: &Section<raw::Tag>) -> Option<(Table, u16)> {
    let raw = &section.raw;
    let table = raw.register.map(|word| word.0);
    if section.has("address") && section.has("reference") {
        let message = "`address` and `reference` both say which register it is";
        let remedy = "keep one: `address` is the number on the wire, from 0; `reference` is the 30001/40001 form";
        context.error_at_key(
            Code::Contradiction,
            &section.at("reference"),
            message,
            remedy,
        );
        return None;
    }
    if let Some(number) = raw.reference {
        let found = words::referred(number);
        let place = section.at("reference");
        let Some((named, address)) = found else {
            let message = format!("{number} is no reference of a register");
            let remedy = "references are 1-9999 (coils), 10001-19999 (discrete), 30001-39999 (input), 40001-49999 \
                          (holding), and 100001, 300001, 400001 to ...65536; else write `address`";
            context.error(Code::BadRegister, &place, message, remedy);
            return None;
        };
        if let Some(table) = table
            && table != named
        {
            let message = format!(
                "{number} is the reference of {}, not of {}",
                word(named),
                word(table)
            );
            context.error(
                Code::BadRegister,
                &place,
                message,
                format!("write `register: {}`", word(named)),
            );
            return None;
        }
        return Some((named, address));
    }
    if !section.has("reference") {
        section.required(context, "register", table, "holding");
        if !section.has("address") {
            let message = "`address` is missing: which register it is";
            let remedy = "add `address: 0`, the number on the wire, or `reference: 40001`";
            context.error_at_key(Code::MissingKey, &section.place, message, remedy);
        }
    }
    table.zip(raw.address)
}

fn is_bits(table: Table) -> bool {
    matches!(table, Table::Coils | Table::DiscreteInputs)
}

/// The type; coils and discrete inputs are `bool` and need not say it.
fn kind(
    context: &mut Context<'_>,
    section: &Section<raw::Tag>,
    table: Option<Table>,
) -> Option<TagType> {
    let raw = &section.raw;
    let bits = table.is_some_and(is_bits);
    let kind = match raw.r#type {
        Some(word) => word.0,
        None if section.has("type") => return None,
        None if bits => raw::Kind::Bool,
        None => {
            // Where the register is not known either, its own fault comes first.
            table?;
            section.required(context, "type", None::<()>, "uint16");
            return None;
        }
    };
    if bits && kind != raw::Kind::Bool {
        let register = table.map_or("", word);
        let message = format!("a {register} is one bit, so its type is bool");
        context.error(
            Code::BadRegister,
            &section.at("type"),
            message,
            "write `type: bool`, or another `register`",
        );
        return None;
    }
    if kind == raw::Kind::Text {
        let length = section.required(context, "length", raw.length, "8")?;
        let range = 1..=REGISTERS_MAX;
        let length = section.within(context, "length", Some(length), range, |length| {
            length.to_string()
        });
        return length.map(TagType::Text);
    }
    if section.has("length") {
        let message = "`length` is for `type: string`; other types have their own";
        context.error_at_key(
            Code::BadRegister,
            &section.at("length"),
            message,
            "remove it",
        );
    }
    Some(kind.spanning(0))
}

fn check_span(
    context: &mut Context<'_>,
    section: &Section<raw::Tag>,
    table: Table,
    address: u16,
    kind: TagType,
) {
    let last = u32::from(address) + u32::from(kind.registers()) - 1;
    if last > u32::from(u16::MAX) {
        let key = if section.has("reference") {
            "reference"
        } else {
            "address"
        };
        let message = format!(
            "the value would end at {} {last}, and 65535 is the last",
            word(table)
        );
        context.error(
            Code::BadRegister,
            &section.at(key),
            message,
            "correct the address or the type",
        );
    }
}
