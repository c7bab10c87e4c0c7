//! A device with `serial:`: an instrument that is alone on its port. What it inherits is how it is published.

use std::time::Duration;

use super::connection::Wired;
use super::device::{Site, device_name, offline_after, probe_backoff};
use super::serial::dialect;
use super::tag::{Publication, Said, publication};
use super::topics::{self, Names};
use super::{below, qos, time};
use crate::adapter::Payload;
use crate::adapter::serial::{Dialect, InstrumentOptions};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::raw::{self, PayloadKind};
use crate::config::section::Section;
use crate::mqtt::QoS;
use crate::topic::TopicName;

/// What stands for `{group}`: an instrument has none.
const GROUP: &str = "reading";
const TOPIC: &str = "{gateway}/{device}/{group}";
/// What a device on a Modbus connection may say, and an instrument may not.
const OF_MODBUS: [&str; 10] = [
    "unit_id",
    "template",
    "groups",
    "byte_order",
    "max_registers",
    "max_gap",
    "response_timeout",
    "retries",
    "request_delay",
    "interval",
];

/// The instrument that the section describes; `None` where something of it is at fault.
pub(super) fn instrument(
    context: &mut Context<'_>,
    site: &mut Site<'_>,
    section: &Section<raw::Device>,
) -> Option<InstrumentOptions> {
    let name = device_name(context, site, section, "scale1");
    for key in OF_MODBUS.into_iter().filter(|key| section.has(key)) {
        let message = format!("`{key}` is for Modbus devices, and this one has `serial`");
        let remedy = if key == "interval" {
            "remove it; how often an instrument is asked is said in `poll`"
        } else {
            "remove it"
        };
        context.error_at_key(Code::Contradiction, &section.at(key), message, remedy);
    }
    let dialect = section.raw.serial.as_ref().and_then(|serial| {
        let section = below::<raw::Serial>(context, section, "serial", Some(serial));
        dialect(context, &section)
    });
    let publication = publication!(context, *section).over(&site.defaults);
    let offline_after = offline_after(context, section);
    let probe_backoff = probe_backoff(context, section);
    let (name, dialect) = (name?, dialect?);
    let (payload, topics) = topics(context, site, section, (&name, &dialect), &publication)?;
    Some(InstrumentOptions {
        status_topic: TopicName::try_from(format!("{}/{name}/$status", site.gateway)).ok()?,
        set_topic: TopicName::try_from(format!("{}/{name}/set", site.gateway)).ok()?,
        name,
        dialect,
        payload,
        topics,
        qos: publication.qos.unwrap_or(QoS::AtLeastOnce),
        retain: publication.retain.unwrap_or(false),
        offline_after,
        probe_backoff,
    })
}

/// How readings are published, and each field's own topic.
fn topics(
    context: &mut Context<'_>,
    site: &mut Site<'_>,
    section: &Section<raw::Device>,
    (device, dialect): (&str, &Dialect),
    publication: &Publication,
) -> Option<(Payload, Vec<TopicName>)> {
    let said = publication.topic.clone().unwrap_or_else(|| Said {
        text: TOPIC.to_owned(),
        place: section.place.clone(),
    });
    let gateway = site.gateway;
    let names = |tag| Names {
        gateway,
        device,
        group: GROUP,
        tag,
        append: !said.text.contains("{tag}"),
    };
    let kind = publication.payload.unwrap_or_default();
    let mut topics = Vec::new();
    for field in &dialect.parse.fields {
        topics.push(topics::topic(context, &said, names(Some(&field.name)))?);
    }
    let group = match kind {
        PayloadKind::Json => Some(topics::topic(context, &said, names(None))?),
        PayloadKind::JsonPerTag | PayloadKind::Value => None,
    };
    let retain = publication.retain.unwrap_or(false);
    for topic in group
        .iter()
        .chain(topics.iter().filter(|_| group.is_none()))
    {
        if !topics::is_free(context, topic, names(None), &said.place) {
            return None;
        }
        let writer = format!("device {device}");
        site.writers
            .claim(context, topic, &writer, &said.place, retain);
    }
    let payload = match (kind, group) {
        (PayloadKind::JsonPerTag, _) => Payload::JsonPerTag,
        (PayloadKind::Value, _) => Payload::Value,
        (PayloadKind::Json, group) => Payload::Json(group?),
    };
    Some((payload, topics))
}

/// Puts the instrument on its port, which has room for one.
pub(super) fn put(
    context: &mut Context<'_>,
    section: &Section<raw::Device>,
    connection: &str,
    taken: &mut Option<Box<InstrumentOptions>>,
    instrument: Option<InstrumentOptions>,
) {
    if let Some(first) = taken {
        let message = format!(
            "the connection `{}` has the instrument `{}` already",
            quoted(connection),
            quoted(&first.name)
        );
        let remedy = "give each instrument a connection of its own";
        context.error(
            Code::Contradiction,
            &section.at("connection"),
            message,
            remedy,
        );
    } else {
        *taken = instrument.map(Box::new);
    }
}

/// Whether an instrument names a Modbus connection, or a Modbus device that of an instrument; then nothing else is said
/// of it, as it is not known which it is.
pub(super) fn is_at_wrong_wire(
    context: &mut Context<'_>,
    section: &Section<raw::Device>,
    connection: &str,
    wired: &Wired,
) -> bool {
    let connection = quoted(connection);
    let (key, message, remedy) = match (wired, section.has("serial")) {
        (Wired::Modbus(_), true) => (
            "serial",
            format!("`serial` is for instruments, and the connection `{connection}` is Modbus"),
            "name a connection with `serial`, or remove it",
        ),
        (Wired::Serial(..), false) => (
            "connection",
            format!("`{connection}` is the port of an instrument, and this is none"),
            "say how it speaks in `serial`, or name a Modbus connection",
        ),
        (Wired::Modbus(_), false) | (Wired::Serial(..), true) => return false,
    };
    context.error_at_key(Code::Contradiction, &section.at(key), message, remedy);
    true
}
