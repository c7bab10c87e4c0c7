//! A device's groups with their topics: what was read of them once, from a template or from the device, becomes the
//! device's own.

use std::time::Duration;

use super::Names;
use super::asking::Asking;
use super::tag::{GroupDraft, Publication, REGISTERS_MAX, Reading, Said, TagDraft};
use super::together;
use super::topics::{self, Writers};
use crate::adapter::{GroupOptions, Payload, PublishOptions, Table, TagOptions};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::place::{Place, Step};
use crate::config::raw::{BigIntegers, PayloadKind};
use crate::config::units::show_duration;
use crate::mqtt::QoS;
use crate::topic::TopicName;
use crate::value::TagType;

/// Where values go unless the file says otherwise.
const TOPIC: &str = "{gateway}/{device}/{group}";

/// Gives the groups of one device their topics.
pub(super) struct Assembly<'a> {
    pub(super) gateway: &'a str,
    pub(super) device: &'a str,
    pub(super) place: &'a Place,
    pub(super) asking: Asking,
    pub(super) publication: Publication,
    pub(super) writers: &'a mut Writers,
}

impl Assembly<'_> {
    pub(super) fn groups(
        &mut self,
        context: &mut Context<'_>,
        drafts: &[&GroupDraft],
    ) -> Vec<GroupOptions> {
        let (mut names, mut tags) = (Names::default(), Names::default());
        let mut groups = Vec::new();
        for draft in drafts {
            names.take(context, "group", &draft.name, &draft.place.key("name"));
            for tag in &draft.tags {
                // Commands will name a tag without its group.
                tags.take(context, "tag", &tag.name, &tag.place.key("name"));
                if let Some(reading) = &tag.reading {
                    self.check_length(context, reading, &tag.place);
                }
            }
            groups.extend(self.group(context, draft));
        }
        groups
    }

    fn check_length(&self, context: &mut Context<'_>, reading: &Reading, place: &Place) {
        let most = self.max_registers();
        let bits = matches!(reading.table, Table::Coils | Table::DiscreteInputs);
        if !bits && reading.kind.registers() > most {
            let message = format!(
                "the value takes {} registers and `max_registers` of `{}` is {most}; a value is never read in parts",
                reading.kind.registers(),
                quoted(self.device)
            );
            context.error(
                Code::BadRegister,
                place,
                message,
                "raise `max_registers`, or correct the type",
            );
        }
    }

    /// The group, in as many parts as its tags have settings that cannot share a message.
    fn group(&mut self, context: &mut Context<'_>, draft: &GroupDraft) -> Vec<GroupOptions> {
        let inherited = draft.publication.over(&self.publication);
        let mut parts: Vec<GroupOptions> = Vec::new();
        for tag in &draft.tags {
            let settings = tag.publication.over(&inherited);
            let Some((payload, topic)) = self.topics(context, draft, tag, &settings) else {
                continue;
            };
            let empty = GroupOptions {
                name: draft.name.clone(),
                interval: settings.interval.unwrap_or(Duration::from_secs(1)),
                payload,
                qos: settings.qos.unwrap_or(QoS::AtLeastOnce),
                retain: settings.retain.unwrap_or(false),
                publish: when(context, &settings),
                tags: Vec::new(),
            };
            let Some(reading) = &tag.reading else {
                continue;
            };
            let mut options = self.tag(&tag.name, reading, &settings, topic);
            options.atomic = reading.atomic.unwrap_or(draft.atomic);
            let part = parts.iter_mut().find(|part| {
                let settings = (part.interval, part.qos, part.retain, part.publish);
                settings == (empty.interval, empty.qos, empty.retain, empty.publish)
                    && part.payload == empty.payload
            });
            match part {
                Some(part) => part.tags.push(options),
                None => {
                    if let Payload::Json(topic) = &empty.payload {
                        let place = settings
                            .topic
                            .map_or_else(|| tag.place.clone(), |said| said.place);
                        let writer = format!("device {}, group {}", self.device, draft.name);
                        self.writers
                            .claim(context, topic, &writer, &place, empty.retain);
                    }
                    parts.push(GroupOptions {
                        tags: vec![options],
                        ..empty
                    });
                }
            }
        }
        together::check(context, draft, &parts, self.max_registers());
        parts
    }

    fn max_registers(&self) -> u16 {
        self.asking.max_registers.unwrap_or(REGISTERS_MAX)
    }

    fn tag(
        &self,
        name: &str,
        reading: &Reading,
        settings: &Publication,
        topic: TopicName,
    ) -> TagOptions {
        let big = matches!(reading.kind, TagType::Int64 | TagType::Uint64);
        TagOptions {
            name: name.to_owned(),
            table: reading.table,
            address: reading.address,
            kind: reading.kind,
            byte_order: reading
                .byte_order
                .or(self.asking.byte_order)
                .unwrap_or_default(),
            scale: reading.scale,
            scale_from: reading.scale_from.clone(),
            atomic: false,
            decimals: reading.decimals,
            invalid: reading.invalid.clone(),
            deadband: reading.deadband,
            quoted: big && settings.big_integers == Some(BigIntegers::String),
            meaning: reading.meaning.clone(),
            write: reading.write.clone(),
            unit: reading.unit.clone(),
            topic,
        }
    }

    /// How the tag is published, and its own topic.
    fn topics(
        &mut self,
        context: &mut Context<'_>,
        draft: &GroupDraft,
        tag: &TagDraft,
        settings: &Publication,
    ) -> Option<(Payload, TopicName)> {
        let said = settings.topic.clone().unwrap_or_else(|| Said {
            text: TOPIC.to_owned(),
            place: self.place.clone(),
        });
        // What a tag says for itself is its topic; what it inherits is told apart by its name.
        let own = tag.publication.topic.is_some();
        let names = |tag| topics::Names {
            gateway: self.gateway,
            device: self.device,
            group: &draft.name,
            tag,
            append: !own && !said.text.contains("{tag}"),
        };
        let of_tag = topics::topic(context, &said, names(Some(&tag.name)))?;
        let (payload, written) = match settings.payload.unwrap_or_default() {
            PayloadKind::Json => {
                let tag = own.then_some(tag.name.as_str());
                let topic = topics::topic(context, &said, names(tag))?;
                (Payload::Json(topic.clone()), topic)
            }
            PayloadKind::JsonPerTag => (Payload::JsonPerTag, of_tag.clone()),
            PayloadKind::Value => (Payload::Value, of_tag.clone()),
        };
        let place = if settings.topic.is_some() {
            &said.place
        } else {
            &draft.place
        };
        if !topics::is_free(context, &written, names(None), place) {
            return None;
        }
        if !matches!(payload, Payload::Json(_)) {
            let writer = format!("device {}, tag {}", self.device, tag.name);
            let place = if settings.topic.is_some() {
                &said.place
            } else {
                &tag.place
            };
            self.writers.claim(context, &written, &writer, place, false);
        }
        Some((payload, of_tag))
    }
}

/// Which readings are published.
fn when(context: &mut Context<'_>, settings: &Publication) -> PublishOptions {
    let default = PublishOptions::default();
    let min = settings.min_interval.unwrap_or(default.min_interval);
    let options = PublishOptions {
        on_change: settings.on_change.unwrap_or(default.on_change),
        min_interval: min,
        max_interval: settings
            .max_interval
            .unwrap_or_else(|| default.max_interval.max(min)),
    };
    let Some(place) = &settings.publish else {
        return options;
    };
    if options.max_interval < min {
        let message = format!(
            "`max_interval` ({}) is below `min_interval` ({})",
            show_duration(options.max_interval),
            show_duration(min)
        );
        let remedy = "write a `max_interval` that is at least `min_interval`";
        context.error(Code::Contradiction, place, message, remedy);
    }
    let spaced = settings.min_interval.is_some() || settings.max_interval.is_some();
    // What defaults and templates prepare need not suit every device.
    let own =
        matches!(place.steps().first(), Some(Step::Key(section, _)) if &**section == "devices");
    if spaced && own && settings.on_change.is_none() {
        let message =
            "without `on_change: true` every reading is published, whatever the intervals say";
        context.warning(
            Code::NoEffect,
            place,
            message,
            "add `on_change: true`, or remove them",
        );
    }
    options
}
