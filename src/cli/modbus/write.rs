//! `fieldgate write`: one value to a register of any device, or to a tag of a device of the configuration.
//!
//! Never without a yes, and never twice: where no answer comes, it says that nobody knows, and leaves it to a person.

use std::io::{self, IsTerminal as _};

use serde_json::{Value as Json, json};

use super::Fault;
use super::read::{chosen, hex, json_value, plain};
use super::register::{Register, RegisterArguments};
use super::takes::Takes;
use super::target::{Reach, Target};
use crate::adapter::by_hand::{Answer, Unanswered, Writing};
use crate::adapter::{
    CommandError, DeviceOptions, GroupOptions, TagOptions, TagType, WriteFunction,
};
use crate::cli::{is_confirmed, say};
use crate::config;
use crate::value::ByteOrder;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    reach: Reach,
    /// TABLE (coil or holding), ADDRESS as on the wire, from 0, and the value; or, of a device of the configuration, TAG (or
    /// GROUP/TAG) and the value, of bits as JSON.
    #[arg(
        value_name = "REGISTER VALUE",
        required = true,
        allow_negative_numbers = true
    )]
    what: Vec<String>,
    #[command(flatten)]
    register: RegisterArguments,
    /// As in the configuration: uint16 (the default), int16, float32, string ...
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Of a string, how many registers it has.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    count: Option<u16>,
    /// Order of the bytes: ABCD (the default), CDAB, BADC, DCBA.
    #[arg(long, value_parser = config::byte_order)]
    order: Option<ByteOrder>,
    /// By function 15 or 16 also where it is one coil or register.
    #[arg(long)]
    multiple: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What is to be written where.
struct Order<'a> {
    register: Register,
    tag: Option<Place<'a>>,
    kind: TagType,
    typed: &'a str,
    writing: Writing,
}

/// A tag.
#[derive(Clone, Copy)]
struct Place<'a> {
    device: &'a DeviceOptions,
    group: &'a GroupOptions,
    tag: &'a TagOptions,
}

pub(super) async fn write(arguments: &Arguments) -> Result<(), Fault> {
    let target = arguments.reach.resolve()?;
    let order = arguments.order(&target)?;
    if !arguments.yes && !io::stdin().is_terminal() {
        return Err(Fault::NobodyToConfirm);
    }
    // Opened after the yes: devices close what is idle, and a write on a connection that was closed is in doubt.
    let mut by_hand = target.by_hand()?;
    if !arguments.yes && !is_confirmed(&order.question(&target))? {
        return Err(Fault::NotWritten);
    }
    let Order {
        register, writing, ..
    } = &order;
    let explain = |fault: &Unanswered, write| target.explain(fault, Some(*register), write);
    let written = by_hand.write(writing, target.unit, target.timeout).await;
    if let Err(fault) = written {
        let mut told = explain(&fault, Some(writing.function()));
        if fault.leaves_in_doubt() {
            told += "\n  it is not known whether it was written, and it is not written again: read first what the device holds";
        }
        return Err(Fault::Unanswered(told));
    }
    let held = by_hand.read_back(writing, target.unit, target.timeout);
    let held = held.await;
    if arguments.json {
        say(order.json(&held));
    } else if let Ok(held) = &held {
        say(order.line(held));
    }
    match held {
        Ok(held) if writing.is(&held) => Ok(()),
        Ok(_) => Err(Fault::HoldsOther),
        // Some registers are for writing only, and the device has confirmed it.
        Err(fault) => {
            eprintln!(
                "note: it was written, and cannot be read back: {}",
                explain(&fault, None)
            );
            Ok(())
        }
    }
}

impl Arguments {
    fn order<'a>(&'a self, target: &'a Target) -> Result<Order<'a>, Fault> {
        let Some((typed, words)) = self.what.split_last() else {
            return usage("what is to be written? say TABLE ADDRESS VALUE, or TAG VALUE");
        };
        if let Some(register) = self.register.register(words)? {
            return self.to_register(target, register, typed);
        }
        let Some(device) = target.connection.devices.first() else {
            return usage(format!(
                "which register? say TABLE ADDRESS VALUE, such as `holding 100 7.5`, or --reference 40101 VALUE{}",
                target.name_meant()
            ));
        };
        let [name] = words else {
            return usage("one value is written: say TAG VALUE, or TABLE ADDRESS VALUE");
        };
        self.to_tag(device, name, typed)
    }

    fn to_register<'a>(
        &self,
        target: &Target,
        register: Register,
        typed: &'a str,
    ) -> Result<Order<'a>, Fault> {
        if target.unit.0 == 0 && target.is_line() {
            return usage(
                "unit 0 is everybody on a line, and nobody answers to it: write to each by its own number",
            );
        }
        let kind = self.kind(register)?;
        let function = if self.multiple {
            WriteFunction::Multiple
        } else {
            WriteFunction::Auto
        };
        let order = self.order.unwrap_or_default();
        let place = (register.table, register.address);
        let writing = Writing::of_register(place, (kind, order), function, typed);
        let writing = writing.map_err(|error| match error {
            CommandError::ReadOnly => Fault::Usage(format!(
                "{register} is only read, by the standard: `coil` and `holding` can be written"
            )),
            error => refused(&register.to_string(), typed, error, &Takes::of_type(kind)),
        })?;
        if register.after(kind.registers() - 1).is_none() {
            return usage("that would go beyond the last address, 65535");
        }
        Ok(Order {
            register,
            tag: None,
            kind,
            typed,
            writing,
        })
    }

    fn kind(&self, register: Register) -> Result<TagType, Fault> {
        let is_bit = register.table.holds_bits();
        let default = if is_bit { "bool" } else { "uint16" };
        let kind = self.kind.as_deref().unwrap_or(default);
        let kind = config::tag_type(kind, self.count.unwrap_or(1)).map_err(Fault::Usage)?;
        if is_bit && kind != TagType::Bool {
            return usage(format!(
                "a {} is one bit, so its type is bool",
                config::table_word(register.table)
            ));
        }
        match (kind, self.count) {
            (TagType::Text(_), None) => {
                usage("how long is the text? say --count, its length in registers")
            }
            (TagType::Text(_), Some(_)) | (_, None) => Ok(kind),
            (_, Some(_)) => {
                usage("one value is written: --count is the length of a `--type string`")
            }
        }
    }

    fn to_tag<'a>(
        &self,
        device: &'a DeviceOptions,
        name: &str,
        typed: &'a str,
    ) -> Result<Order<'a>, Fault> {
        if self.kind.is_some() || self.order.is_some() || self.count.is_some() || self.multiple {
            return usage(
                "the configuration says what a tag is: leave --type, --order, --count and --multiple out",
            );
        }
        self.reach.refuse_for_tags()?;
        let place = find(device, name)?;
        let Place { group, tag, .. } = place;
        let register = Register {
            table: tag.table,
            address: tag.address,
        };
        let what = format!("`{}/{}` of `{}`", group.name, tag.name, device.name);
        let writing = Writing::of_tag(device, tag, typed);
        let writing = writing.map_err(|error| match error {
            CommandError::ReadOnly => Fault::Usage(format!(
                "{what} has no `write:` in the configuration, so it is only read\n  help: add `write: {{}}` where its register is a \
                 coil or holding, or name the register, {register}, in its place"
            )),
            error => refused(&what, typed, error, &Takes::of_tag(tag)),
        })?;
        Ok(Order {
            register,
            tag: Some(place),
            kind: tag.kind,
            typed,
            writing,
        })
    }
}

/// The tag with this name.
fn find<'a>(device: &'a DeviceOptions, name: &str) -> Result<Place<'a>, Fault> {
    let found = chosen(device, &[name.to_owned()])?;
    let first = found.first().and_then(|(group, tags)| {
        let group = device.groups.get(*group)?;
        let tag = group.tags.get(*tags.first()?)?;
        Some(Place { device, group, tag })
    });
    first.ok_or_else(|| Fault::Usage(format!("`{}` has no tag `{name}`", device.name)))
}

fn refused(what: &str, typed: &str, error: CommandError, takes: &Takes) -> Fault {
    let why = match error {
        CommandError::OutOfRange => "is out of the range",
        _ => "is no value",
    };
    Fault::Usage(format!(
        "`{typed}` {why} of {what} ({error})\n  help: it takes {takes}"
    ))
}

fn usage<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Usage(message.into()))
}

impl Order<'_> {
    fn question(&self, target: &Target) -> String {
        let Self {
            register,
            typed,
            writing,
            ..
        } = self;
        let (unit, wire) = (target.unit.0, &target.connection.wire);
        let name = self
            .tag
            .map_or_else(String::new, |Place { device, tag, .. }| {
                format!("{} of {}, ", tag.name, device.name)
            });
        format!(
            "Write {typed} to {name}{register}, unit {unit} at {wire}: {writing}. Go on? [y/N] "
        )
    }

    /// What the device holds now, as `read` prints it.
    fn line(&self, held: &Answer) -> String {
        let place = match self.tag {
            Some(Place { group, tag, .. }) => {
                format!("{}/{}, {}", group.name, tag.name, self.register)
            }
            None => self.register.to_string(),
        };
        let Some(value) = self.writing.value_of(held) else {
            return format!("{place}: no value, the registers are {}", raw(held));
        };
        let unit = self.tag.and_then(|place| place.tag.unit.as_ref());
        let unit = unit.map_or_else(String::new, |unit| format!(" {unit}"));
        format!("{place}: {}{unit}", plain(&value))
    }

    fn json(&self, held: &Result<Answer, Unanswered>) -> Json {
        let Register { table, address } = self.register;
        let written = match self.writing.value() {
            Some(value) => json_value(&value),
            // Single bits, which are typed as JSON.
            None => serde_json::from_str(self.typed).unwrap_or_default(),
        };
        let mut json = json!({
            "register": config::table_word(table), "address": address, "reference": self.register.reference(),
            "type": config::type_word(self.kind), "written": written,
        });
        let Some(fields) = json.as_object_mut() else {
            return json;
        };
        let mut put = |key: &str, value: Json| fields.insert(key.to_owned(), value);
        if let Some(Place { device, group, tag }) = self.tag {
            put("device", device.name.clone().into());
            put("group", group.name.clone().into());
            put("tag", tag.name.clone().into());
            put("unit", tag.unit.clone().into());
        }
        match held {
            Ok(held) => {
                put("raw", raw(held).into());
                let value = self.writing.value_of(held);
                put("value", value.as_ref().map_or(Json::Null, json_value));
            }
            Err(fault) => drop(put("bad", fault.to_string().into())),
        }
        json
    }
}

/// What was read back, as it came.
fn raw(held: &Answer) -> String {
    match held {
        Answer::Bits(bits) => bits
            .iter()
            .map(|bit| if *bit { '1' } else { '0' })
            .collect(),
        Answer::Registers(words) => hex(words),
    }
}
