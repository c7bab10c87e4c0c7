//! `fieldgate read`: registers of any device, or tags of a device of the configuration.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Fault;
use super::register::{Register, RegisterArguments};
use super::target::{Reach, Target};
use crate::adapter::by_hand::{Answer, ByHand, Question};
use crate::adapter::plan::{BITS_MAX, REGISTERS_MAX};
use crate::adapter::{DeviceOptions, GroupOptions, Reason, TagOptions, TagType};
use crate::cli::say;
use crate::config;
use crate::value::{ByteOrder, Interpretation, Unfit, Value, write_json_value, write_plain_value};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    reach: Reach,
    /// TABLE (coil, discrete, input or holding) and ADDRESS as on the wire, from 0; or, of a device of the configuration,
    /// names of tags (TAG or GROUP/TAG), all where there is none.
    #[arg(value_name = "REGISTER")]
    what: Vec<String>,
    #[command(flatten)]
    register: RegisterArguments,
    /// How many values; of a string, how many registers it has.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    /// As in the configuration: uint16 (the default), int16, float32, string ...
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Order of the bytes: ABCD (the default), CDAB, BADC, DCBA.
    #[arg(long, value_parser = config::byte_order)]
    order: Option<ByteOrder>,
    /// As JSON, a line for each value.
    #[arg(long)]
    json: bool,
    /// Again and again, each second or as often as is said (`-w=5s`).
    #[arg(short, long, value_name = "INTERVAL", value_parser = config::duration, num_args = 0..=1, require_equals = true,
          default_missing_value = "1s")]
    watch: Option<Duration>,
}

/// What to read.
enum What {
    Registers(Span),
    Tags(Vec<(usize, Vec<usize>)>),
}

/// Values in a row.
#[derive(Debug)]
struct Span {
    first: Register,
    kind: TagType,
    order: ByteOrder,
    values: u16,
}

pub(super) async fn read(arguments: &Arguments) -> Result<(), Fault> {
    let target = arguments.reach.resolve()?;
    let what = arguments.what(&target)?;
    let mut by_hand = target.by_hand()?;
    loop {
        let done = match &what {
            What::Registers(span) => span.read(&target, &mut by_hand, arguments.json).await,
            What::Tags(groups) => tags(&target, &mut by_hand, groups, arguments.json).await,
        };
        let Some(interval) = arguments.watch else {
            return done;
        };
        if let Err(fault) = done {
            eprintln!("fieldgate read: {fault}");
        }
        tokio::time::sleep(interval).await;
    }
}

impl Arguments {
    fn what(&self, target: &Target) -> Result<What, Fault> {
        if let Some(first) = self.register.register(&self.what)? {
            return self.span(first).map(What::Registers);
        }
        let Some(device) = target.connection.devices.first() else {
            return Err(Fault::Usage(format!(
                "which register? say TABLE ADDRESS, such as `holding 100`, or --reference 40101{}",
                target.name_meant()
            )));
        };
        if self.kind.is_some() || self.order.is_some() || self.count != 1 {
            return Err(Fault::Usage(
                "the configuration says what a tag is: leave --type, --order and --count out"
                    .to_owned(),
            ));
        }
        self.reach.refuse_for_tags()?;
        chosen(device, &self.what).map(What::Tags)
    }

    fn span(&self, first: Register) -> Result<Span, Fault> {
        let is_bits = first.table.holds_bits();
        let default = if is_bits { "bool" } else { "uint16" };
        let kind = self.kind.as_deref().unwrap_or(default);
        let kind = config::tag_type(kind, self.count).map_err(Fault::Usage)?;
        let values = match kind {
            TagType::Text(_) => 1,
            _ => self.count,
        };
        if is_bits && kind != TagType::Bool {
            return Err(Fault::Usage(format!(
                "a {} is one bit, so its type is bool",
                config::table_word(first.table)
            )));
        }
        let span = Span {
            first,
            kind,
            order: self.order.unwrap_or_default(),
            values,
        };
        let most = if is_bits { BITS_MAX } else { REGISTERS_MAX };
        let last = span
            .quantity()
            .and_then(|quantity| first.after(quantity - 1));
        match span.quantity() {
            Some(..=0) | None => Err(too_many(most)),
            Some(quantity) if quantity > most => Err(too_many(most)),
            Some(_) if last.is_none() => Err(Fault::Usage(
                "that would go beyond the last address, 65535".to_owned(),
            )),
            Some(_) => Ok(span),
        }
    }
}

fn too_many(most: u16) -> Fault {
    Fault::Usage(format!("one request holds {most}: lower --count"))
}

impl Span {
    /// Registers or bits of all values.
    fn quantity(&self) -> Option<u16> {
        self.kind.registers().checked_mul(self.values)
    }

    async fn read(&self, target: &Target, by_hand: &mut ByHand, json: bool) -> Result<(), Fault> {
        let question = Question {
            unit: target.unit,
            table: self.first.table,
            address: self.first.address,
            quantity: self.quantity().unwrap_or_default(),
            timeout: target.timeout,
            retries: target.retries,
        };
        let answer = by_hand.ask(question).await;
        let answer = answer.map_err(|fault| target.unanswered(&fault, Some(self.first)))?;
        let mut register = Some(self.first);
        let mut whole = true;
        for (reading, raw) in self.values(&answer) {
            if let Some(register) = register {
                whole &= reading.is_ok();
                say(if json {
                    self.json(register, &reading, &raw).to_string()
                } else {
                    Self::line(register, &reading, &raw)
                });
            }
            register = register.and_then(|register| register.after(self.kind.registers()));
        }
        if whole { Ok(()) } else { Err(Fault::NotWhole) }
    }

    /// Each value, or why there is none, and the registers as they came.
    fn values(&self, answer: &Answer) -> Vec<(Result<Value, Unfit>, String)> {
        match answer {
            Answer::Bits(bits) => bits
                .iter()
                .map(|bit| (Ok(Value::Bool(*bit)), u8::from(*bit).to_string()))
                .collect(),
            Answer::Registers(words) => {
                let interpretation = Interpretation::new(self.kind, self.order, 1.0, None);
                let each = words.chunks(usize::from(self.kind.registers().max(1)));
                each.map(|words| (interpretation.value(words), hex(words)))
                    .collect()
            }
        }
    }

    fn line(register: Register, reading: &Result<Value, Unfit>, raw: &str) -> String {
        match reading {
            Ok(value) => format!("{register}: {}", plain(value)),
            Err(unfit) => format!("{register}: no value ({unfit}), the registers are {raw}"),
        }
    }

    fn json(&self, register: Register, reading: &Result<Value, Unfit>, raw: &str) -> Json {
        let mut json = json!({
            "register": config::table_word(register.table), "address": register.address,
            "reference": register.reference(), "type": config::type_word(self.kind), "raw": raw,
        });
        put(&mut json, reading.as_ref().map_err(ToString::to_string));
        json
    }
}

/// Registers as manuals write them.
pub(super) fn hex(words: &[u16]) -> String {
    let words = words.iter().map(|word| format!("{word:04X}"));
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn plain(value: &Value) -> String {
    let mut text = String::new();
    write_plain_value(&mut text, value);
    text
}

/// As it would be published.
pub(super) fn json_value(value: &Value) -> Json {
    let mut text = String::new();
    write_json_value(&mut text, value);
    serde_json::from_str(&text).unwrap_or(Json::String(text))
}

fn put(json: &mut Json, reading: Result<&Value, String>) {
    let (key, value) = match reading {
        Ok(value) => ("value", json_value(value)),
        Err(why) => ("bad", Json::String(why)),
    };
    if let Some(fields) = json.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

/// The groups of the tags that `names` name, each with its tags.
pub(super) fn chosen(
    device: &DeviceOptions,
    names: &[String],
) -> Result<Vec<(usize, Vec<usize>)>, Fault> {
    let named = |group: &GroupOptions, tag: &TagOptions, name: &str| {
        name == tag.name || name.split_once('/') == Some((&group.name, &tag.name))
    };
    for name in names {
        let mut tags = device
            .groups
            .iter()
            .flat_map(|group| group.tags.iter().map(move |tag| (group, tag)));
        if !tags.any(|(group, tag)| named(group, tag, name)) {
            return Err(no_such_tag(device, name));
        }
    }
    let wanted = |group: &GroupOptions| {
        let tags = group.tags.iter().enumerate();
        let tags = tags.filter(|(_, tag)| {
            names.is_empty() || names.iter().any(|name| named(group, tag, name))
        });
        tags.map(|(index, _)| index).collect::<Vec<_>>()
    };
    let groups = device.groups.iter().map(wanted).enumerate();
    Ok(groups.filter(|(_, tags)| !tags.is_empty()).collect())
}

fn no_such_tag(device: &DeviceOptions, name: &str) -> Fault {
    let groups = device.groups.iter();
    let known = groups.flat_map(|group| {
        let tags = group.tags.iter();
        tags.map(|tag| format!("{}/{}", group.name, tag.name))
    });
    Fault::Usage(format!(
        "`{}` has no tag `{name}`; there are: {}",
        device.name,
        known.collect::<Vec<_>>().join(", ")
    ))
}

async fn tags(
    target: &Target,
    by_hand: &mut ByHand,
    groups: &[(usize, Vec<usize>)],
    json: bool,
) -> Result<(), Fault> {
    let Some(device) = target.connection.devices.first() else {
        return Ok(());
    };
    let mut whole = true;
    for (index, wanted) in groups {
        let readings = by_hand.read_group(0, *index).await;
        let readings = readings.map_err(|fault| target.unanswered(&fault, None))?;
        let Some(group) = device.groups.get(*index) else {
            continue;
        };
        let each = group.tags.iter().zip(&readings).enumerate();
        for (_, (tag, reading)) in each.filter(|(tag, _)| wanted.contains(tag)) {
            whole &= reading.is_ok();
            say(if json {
                tag_json(device, group, tag, reading).to_string()
            } else {
                tag_line(group, tag, reading)
            });
        }
    }
    if whole { Ok(()) } else { Err(Fault::NotWhole) }
}

fn tag_line(group: &GroupOptions, tag: &TagOptions, reading: &Result<Value, Reason>) -> String {
    let register = Register {
        table: tag.table,
        address: tag.address,
    };
    let name = format!("{}/{}, {register}", group.name, tag.name);
    match reading {
        Ok(value) => {
            let unit = tag.unit.iter().map(|unit| format!(" {unit}"));
            format!("{name}: {}{}", plain(value), unit.collect::<String>())
        }
        Err(reason) => format!("{name}: no value ({reason})"),
    }
}

fn tag_json(
    device: &DeviceOptions,
    group: &GroupOptions,
    tag: &TagOptions,
    reading: &Result<Value, Reason>,
) -> Json {
    let mut json = json!({
        "device": device.name, "group": group.name, "tag": tag.name,
        "register": config::table_word(tag.table), "address": tag.address,
        "reference": config::reference(tag.table, tag.address), "unit": tag.unit,
    });
    put(&mut json, reading.as_ref().map_err(ToString::to_string));
    json
}
