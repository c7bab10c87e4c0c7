//! What can be asked of the devices of one wire, and what a device is told for it. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::asked::{Body, Part};
use super::error::CommandError;
use crate::adapter::data::Data;
use crate::adapter::options::{
    ConnectionOptions, DeviceOptions, Table, TagOptions, WriteFunction, WriteOptions,
};
use crate::adapter::write::{COILS_MAX, WRITTEN_REGISTERS_MAX, WriteData, WriteRequest};
use crate::topic::TopicName;
use crate::value::{Interpretation, Meaning, Unwritable, Value, Wanted};

/// Of the devices of one wire, in their order.
#[derive(Debug)]
pub(crate) struct Book(Vec<Device>);

#[derive(Debug)]
struct Device {
    name: String,
    /// `{gateway}/{device}/set`.
    topic: TopicName,
    /// `None`: it is only read.
    tags: BTreeMap<String, Option<Arc<Settable>>>,
    /// The tags of each.
    groups: BTreeMap<String, Vec<String>>,
    /// What an instrument can be told to do.
    commands: BTreeMap<String, Ages>,
}

/// How old a command may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// Older ones are not carried out.
    pub(crate) max_age: Duration,
    /// One whose age is not known counts as new.
    pub(crate) takes_undated: bool,
}

/// A tag that can be written.
#[derive(Debug)]
pub(crate) struct Settable {
    pub(crate) tag: TagOptions,
    write: WriteOptions,
    interpretation: Interpretation,
}

/// Which device, and what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) device: usize,
    pub(crate) device_name: &'a str,
    /// Tag, group or command.
    pub(crate) name: &'a str,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) what: What,
    pub(crate) ages: Ages,
}

#[derive(Debug)]
pub(crate) enum What {
    /// Write to a Modbus device.
    Write(Write),
    /// Tell an instrument.
    Tell(String),
}

/// One write and what it is about.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) request: WriteRequest,
    /// Read it back.
    pub(crate) verify: bool,
    /// The tags in it, each with the coils or registers before it.
    pub(crate) tags: Vec<(Arc<Settable>, usize)>,
    /// Of one tag the named bits, where only those are written.
    pub(crate) bits: Option<Vec<(String, bool)>>,
    /// Asked for as a group.
    pub(crate) is_group: bool,
}

impl Book {
    /// Of Modbus devices.
    pub(crate) fn of_devices(options: &ConnectionOptions) -> Self {
        Self(options.devices.iter().map(Device::new).collect())
    }

    /// Of one Modbus device.
    pub(crate) fn of_device(options: &DeviceOptions) -> Self {
        Self(vec![Device::new(options)])
    }

    /// Of one instrument and its commands.
    pub(crate) fn of_instrument(
        name: &str,
        topic: &TopicName,
        commands: impl Iterator<Item = (String, Ages)>,
    ) -> Self {
        Self(vec![Device {
            name: name.to_owned(),
            topic: topic.clone(),
            tags: BTreeMap::new(),
            groups: BTreeMap::new(),
            commands: commands.collect(),
        }])
    }

    /// What `topic` is about.
    pub(crate) fn find<'a>(&'a self, topic: &'a TopicName) -> Option<Place<'a>> {
        let mut devices = self.0.iter().enumerate();
        devices.find_map(|(device, options)| {
            let rest = topic.as_str().strip_prefix(options.topic.as_str())?;
            Some(Place {
                device,
                device_name: &options.name,
                name: rest.strip_prefix('/')?,
            })
        })
    }

    /// What is to be done for it.
    ///
    /// # Errors
    /// Says why it is not to be done, whatever the device's state.
    pub(crate) fn decide(&self, place: Place<'_>, body: &Body) -> Result<Action, CommandError> {
        let device = self.0.get(place.device).ok_or(CommandError::Unknown)?;
        if let Some(ages) = device.commands.get(place.name) {
            return tell(place.name, *ages, body);
        }
        match body {
            Body::Several(parts) => {
                let group = device.groups.get(place.name);
                device.several(group.ok_or(CommandError::Unknown)?, parts)
            }
            Body::One(part) => device.tag(place.name)?.action(part),
            Body::Nothing => device.tag(place.name).and(Err(CommandError::BadValue)),
        }
    }
}

/// A command has no value, or one that says yes: `false` is no way to ask for something.
fn tell(name: &str, ages: Ages, body: &Body) -> Result<Action, CommandError> {
    let is_yes = match body {
        Body::Nothing => true,
        Body::One(Part::Value(Wanted::Bool(yes))) => *yes,
        Body::One(Part::Value(Wanted::Integer(number))) => *number == 1,
        _ => false,
    };
    if !is_yes {
        return Err(CommandError::BadValue);
    }
    Ok(Action {
        what: What::Tell(name.to_owned()),
        ages,
    })
}

impl Device {
    fn new(options: &DeviceOptions) -> Self {
        let tags = options.groups.iter().flat_map(|group| &group.tags);
        let tags = tags.map(|tag| (tag.name.clone(), Settable::new(tag).map(Arc::new)));
        // Tags with settings of their own make a part of their group, under its name.
        let mut groups = BTreeMap::<_, Vec<_>>::new();
        for group in &options.groups {
            let names = group.tags.iter().map(|tag| tag.name.clone());
            groups.entry(group.name.clone()).or_default().extend(names);
        }
        Self {
            name: options.name.clone(),
            topic: options.set_topic.clone(),
            tags: tags.collect(),
            groups,
            commands: BTreeMap::new(),
        }
    }

    fn tag(&self, name: &str) -> Result<&Arc<Settable>, CommandError> {
        let tag = self.tags.get(name).ok_or(CommandError::Unknown)?;
        tag.as_ref().ok_or(CommandError::ReadOnly)
    }

    /// All of them in one request, so they have to lie side by side.
    fn several(&self, group: &[String], parts: &[(String, Part)]) -> Result<Action, CommandError> {
        let mut tags = Vec::new();
        for (name, part) in parts {
            if !group.contains(name) {
                return Err(CommandError::Unknown);
            }
            let tag = self.tag(name)?;
            let Part::Value(wanted) = part else {
                return Err(CommandError::BadValue);
            };
            tags.push((Arc::clone(tag), tag.encode(wanted)?));
        }
        tags.sort_by_key(|(tag, _)| tag.tag.address);
        let (first, _) = tags.first().ok_or(CommandError::BadValue)?;
        let (table, address) = (first.tag.table, first.tag.address);
        let mut placed = Vec::new();
        let (mut coils, mut words) = (Vec::new(), Vec::new());
        let (mut max_age, mut takes_undated, mut verify) = (Duration::MAX, true, false);
        for (tag, encoded) in tags {
            let offset = coils.len().max(words.len());
            let follows = usize::from(tag.tag.address - address) == offset;
            if tag.tag.table != table || !follows {
                return Err(CommandError::BadValue);
            }
            match encoded {
                Encoded::Coil(coil) => coils.push(coil),
                Encoded::Words(more) => words.extend(more),
            }
            max_age = max_age.min(tag.write.max_age);
            takes_undated &= tag.write.takes_undated;
            verify |= tag.write.verify;
            placed.push((tag, offset));
        }
        if coils.len() > COILS_MAX || words.len() > WRITTEN_REGISTERS_MAX {
            return Err(CommandError::BadValue);
        }
        let is_single =
            |(tag, _): &(Arc<Settable>, usize)| tag.write.function == WriteFunction::Single;
        let data = match (&placed[..], &coils[..]) {
            ([(tag, _)], [coil]) => Encoded::Coil(*coil).data(tag.write.function),
            ([(tag, _)], _) => Encoded::Words(words).data(tag.write.function),
            _ if placed.iter().any(is_single) => return Err(CommandError::BadValue),
            (_, []) => WriteData::Registers(words),
            _ => WriteData::Coils(coils),
        };
        Ok(Action {
            what: What::Write(Write {
                request: WriteRequest { address, data },
                verify,
                tags: placed,
                bits: None,
                is_group: true,
            }),
            ages: Ages {
                max_age,
                takes_undated,
            },
        })
    }
}

/// A value as the device has it.
#[derive(Debug)]
pub(crate) enum Encoded {
    Coil(bool),
    Words(Vec<u16>),
}

impl Encoded {
    /// What reads as `wanted` in that table.
    pub(crate) fn new(
        interpretation: &Interpretation,
        table: Table,
        wanted: &Wanted,
    ) -> Result<Self, Unwritable> {
        if table == Table::Coils {
            interpretation.coil(wanted).map(Self::Coil)
        } else {
            interpretation.words(wanted).map(Self::Words)
        }
    }

    /// As it is written by that function.
    pub(crate) fn data(self, function: WriteFunction) -> WriteData {
        let is_multiple = function == WriteFunction::Multiple;
        match self {
            Self::Coil(coil) if is_multiple => WriteData::Coils(vec![coil]),
            Self::Coil(coil) => WriteData::Coil(coil),
            Self::Words(words) => match words[..] {
                [word] if !is_multiple => WriteData::Register(word),
                _ => WriteData::Registers(words),
            },
        }
    }
}

impl Settable {
    pub(super) fn new(tag: &TagOptions) -> Option<Self> {
        Some(Self {
            write: tag.write.clone()?,
            interpretation: tag.interpretation(),
            tag: tag.clone(),
        })
    }

    /// The value of what is written or was read back, from `offset` on.
    pub(crate) fn value(&self, data: &Data, offset: usize) -> Option<Value> {
        let length = usize::from(self.interpretation.registers());
        match data {
            Data::Bits(bits) => self.interpretation.bit(*bits.get(offset)?),
            Data::Registers(words) => {
                let words = words.get(offset..offset.checked_add(length)?)?;
                self.interpretation.value(words)
            }
            Data::Written => return None,
        }
        .ok()
    }

    fn action(self: &Arc<Self>, part: &Part) -> Result<Action, CommandError> {
        let (data, bits) = match part {
            Part::Bits(bits) => (self.bits(bits)?, Some(bits.clone())),
            Part::Value(wanted) => (self.encode(wanted)?.data(self.write.function), None),
        };
        let request = WriteRequest {
            address: self.tag.address,
            data,
        };
        Ok(Action {
            what: What::Write(Write {
                request,
                verify: self.write.verify,
                tags: vec![(Arc::clone(self), 0)],
                bits,
                is_group: false,
            }),
            ages: Ages {
                max_age: self.write.max_age,
                takes_undated: self.write.takes_undated,
            },
        })
    }

    fn encode(&self, wanted: &Wanted) -> Result<Encoded, CommandError> {
        let encoded = Encoded::new(&self.interpretation, self.tag.table, wanted)?;
        let (min, max) = (self.write.min, self.write.max);
        let is_within = |number: f64| {
            min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)
        };
        if (min.is_some() || max.is_some()) && !wanted.number().is_some_and(is_within) {
            return Err(CommandError::OutOfRange);
        }
        Ok(encoded)
    }

    fn bits(&self, asked: &[(String, bool)]) -> Result<WriteData, CommandError> {
        let Meaning::Bits(names) = &self.tag.meaning else {
            return Err(CommandError::BadValue);
        };
        let (mut bits, mut to) = (0, 0);
        for (name, is_set) in asked {
            let mut known = names.iter();
            let (bit, _) = known
                .find(|(_, known)| known[..] == name[..])
                .ok_or(CommandError::BadValue)?;
            let mask = 1_u16
                .checked_shl((*bit).into())
                .ok_or(CommandError::BadValue)?;
            // The register may have its bytes swapped.
            let mask = if self.tag.byte_order.swaps_bytes() {
                mask.swap_bytes()
            } else {
                mask
            };
            bits |= mask;
            to |= if *is_set { mask } else { 0 };
        }
        Ok(WriteData::Bits { bits, to })
    }
}

#[cfg(test)]
mod tests {
    use super::super::asked::Asked;
    use super::*;
    use crate::adapter::fixture;
    use crate::value::TagType;

    fn writable(name: &str, table: Table, address: u16, kind: TagType) -> TagOptions {
        TagOptions {
            write: Some(WriteOptions::default()),
            ..fixture::tag(name, table, address, kind)
        }
    }

    fn book(tags: Vec<TagOptions>) -> Book {
        let group = fixture::group("status", 500, tags);
        let device = fixture::device("chiller", 1, vec![group]);
        Book(vec![Device::new(&device)])
    }

    fn decide(book: &Book, name: &str, payload: &str) -> Result<Action, CommandError> {
        let topic = TopicName::try_from(format!("g/chiller/set/{name}")).unwrap();
        let place = book.find(&topic).unwrap();
        let asked = Asked::parse(payload.as_bytes()).1?;
        book.decide(place, &asked.body)
    }

    fn data(book: &Book, name: &str, payload: &str) -> Result<(u16, WriteData), CommandError> {
        match decide(book, name, payload)?.what {
            What::Write(write) => Ok((write.request.address, write.request.data)),
            What::Tell(name) => panic!("{name}"),
        }
    }

    #[test]
    fn the_function_is_the_single_one_where_there_is_one_unless_the_device_wants_the_other() {
        let mut tags = vec![
            writable("run", Table::Coils, 0, TagType::Bool),
            writable("mode", Table::HoldingRegisters, 10, TagType::Uint16),
            writable("speed", Table::HoldingRegisters, 12, TagType::Float32),
        ];
        let auto = book(tags.clone());
        assert_eq!(data(&auto, "run", "1"), Ok((0, WriteData::Coil(true))));
        assert_eq!(data(&auto, "mode", "2"), Ok((10, WriteData::Register(2))));
        let speed = WriteData::Registers(vec![0x3F80, 0]);
        assert_eq!(data(&auto, "speed", "1"), Ok((12, speed)));
        for tag in &mut tags {
            tag.write.as_mut().unwrap().function = WriteFunction::Multiple;
        }
        let multiple = book(tags);
        assert_eq!(
            data(&multiple, "run", "1"),
            Ok((0, WriteData::Coils(vec![true])))
        );
        assert_eq!(
            data(&multiple, "mode", "2"),
            Ok((10, WriteData::Registers(vec![2])))
        );
    }

    #[test]
    fn what_is_not_to_be_written_is_refused_by_its_name() {
        let mut setpoint = writable("setpoint", Table::HoldingRegisters, 12, TagType::Int16);
        setpoint.scale = 0.1;
        let write = setpoint.write.as_mut().unwrap();
        (write.min, write.max) = (Some(5.0), Some(18.0));
        let supply = fixture::tag("supply_t", Table::InputRegisters, 3, TagType::Int16);
        let book = book(vec![setpoint, supply]);
        assert_eq!(
            data(&book, "setpoint", "7.5"),
            Ok((12, WriteData::Register(75)))
        );
        for (name, payload, error) in [
            ("setpoint", "18.1", CommandError::OutOfRange),
            ("setpoint", "4.9", CommandError::OutOfRange),
            ("setpoint", "7.55", CommandError::BadValue),
            ("setpoint", "warm", CommandError::BadValue),
            ("setpoint", "", CommandError::BadValue),
            (
                "setpoint",
                r#"{"values":{"setpoint":7}}"#,
                CommandError::Unknown,
            ),
            ("supply_t", "7", CommandError::ReadOnly),
            ("supply_t", "", CommandError::ReadOnly),
            ("pressure", "7", CommandError::Unknown),
            (
                "status",
                r#"{"values":{"supply_t":7}}"#,
                CommandError::ReadOnly,
            ),
            (
                "status",
                r#"{"values":{"pressure":7}}"#,
                CommandError::Unknown,
            ),
            ("status", r#"{"values":{}}"#, CommandError::BadValue),
        ] {
            assert_eq!(data(&book, name, payload), Err(error), "{name} {payload}");
        }
    }

    #[test]
    fn a_group_is_written_in_one_request_or_not_at_all() {
        let book = book(vec![
            writable("a", Table::HoldingRegisters, 12, TagType::Uint16),
            writable("b", Table::HoldingRegisters, 10, TagType::Uint32),
            writable("far", Table::HoldingRegisters, 14, TagType::Uint16),
            writable("run", Table::Coils, 13, TagType::Bool),
        ]);
        let together = WriteData::Registers(vec![1, 2, 7]);
        assert_eq!(
            data(&book, "status", r#"{"values":{"a":7,"b":65538}}"#),
            Ok((10, together))
        );
        for apart in [
            r#"{"values":{"a":7,"far":1}}"#,
            r#"{"values":{"a":7,"run":1}}"#,
        ] {
            let refused = data(&book, "status", apart);
            assert_eq!(refused, Err(CommandError::BadValue), "{apart}");
        }
    }

    #[test]
    fn a_group_is_one_whatever_settings_its_tags_have() {
        let of =
            |name: &str, address| writable(name, Table::HoldingRegisters, address, TagType::Uint16);
        let parts = [("a", 10, 500), ("b", 11, 60_000)];
        let parts =
            parts.map(|(name, at, every)| fixture::group("status", every, vec![of(name, at)]));
        let device = fixture::device("chiller", 1, parts.into());
        let book = Book(vec![Device::new(&device)]);
        assert_eq!(
            data(&book, "status", r#"{"values":{"a":7,"b":8}}"#),
            Ok((10, WriteData::Registers(vec![7, 8])))
        );
    }

    #[test]
    fn a_device_that_knows_single_writes_only_is_written_one_tag_at_a_time() {
        let mut tags = vec![
            writable("a", Table::HoldingRegisters, 10, TagType::Uint16),
            writable("b", Table::HoldingRegisters, 11, TagType::Uint16),
        ];
        for tag in &mut tags {
            tag.write.as_mut().unwrap().function = WriteFunction::Single;
        }
        let book = book(tags);
        let one = data(&book, "status", r#"{"values":{"a":7}}"#);
        assert_eq!(one, Ok((10, WriteData::Register(7))));
        let both = data(&book, "status", r#"{"values":{"a":7,"b":8}}"#);
        assert_eq!(both, Err(CommandError::BadValue));
    }

    #[test]
    fn bits_are_written_by_their_names_and_no_others() {
        let names = [(0, "high"), (9, "fault")].map(|(bit, name)| (bit, name.into()));
        let bits = TagOptions {
            meaning: Meaning::Bits(BTreeMap::from(names)),
            ..writable("alarms", Table::HoldingRegisters, 20, TagType::Uint16)
        };
        let book = book(vec![bits]);
        let wanted = WriteData::Bits {
            bits: 0x0201,
            to: 0x0200,
        };
        let payload = r#"{"value":{"fault":true,"high":false}}"#;
        assert_eq!(data(&book, "alarms", payload), Ok((20, wanted)));
        let unknown = data(&book, "alarms", r#"{"value":{"low":true}}"#);
        assert_eq!(unknown, Err(CommandError::BadValue));
        assert_eq!(data(&book, "alarms", "5"), Err(CommandError::BadValue));
    }

    #[test]
    fn an_instrument_is_told_what_it_knows_and_never_by_a_no() {
        const AGES: Ages = Ages {
            max_age: Duration::from_secs(1),
            takes_undated: true,
        };
        let topic = TopicName::try_from("gw/scale/set").unwrap();
        let commands = [("tare".to_owned(), AGES)];
        let book = Book::of_instrument("scale", &topic, commands.into_iter());
        let tell = |name: &str, payload: &[u8]| {
            let topic = TopicName::try_from(format!("gw/scale/set/{name}")).unwrap();
            let asked = Asked::parse(payload).1?;
            let action = book.decide(book.find(&topic).unwrap(), &asked.body)?;
            match action.what {
                What::Tell(name) => Ok(name),
                What::Write(write) => panic!("{write:?}"),
            }
        };
        for yes in ["", "true", "1", r#"{"id":"x"}"#] {
            assert_eq!(tell("tare", yes.as_bytes()), Ok("tare".to_owned()));
        }
        for no in ["false", "0", "2", "no"] {
            let refused = tell("tare", no.as_bytes());
            assert_eq!(refused, Err(CommandError::BadValue), "{no}");
        }
        assert_eq!(tell("zero", b""), Err(CommandError::Unknown));
        let elsewhere = TopicName::try_from("gw/scale2/set/tare").unwrap();
        assert_eq!(book.find(&elsewhere), None);
    }
}
