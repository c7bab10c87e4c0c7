//! `defaults:`, `devices:`: what a device inherits, and what it reads.
//!
//! The nearest to the tag counts: tag, group, device, template, `defaults`, then what this file has as default.

use std::time::Duration;

use super::asking::{Asking, asking};
use super::assembly::Assembly;
use super::connection::{Wire, Wired, check_budgets, wires};
use super::instrument;
use super::tag::{GroupDraft, Publication, REGISTERS_MAX, Said, groups, publication};
use super::template::Templates;
use super::topics::Writers;
use super::{Names, below, dangling, each, name, qos, time, wait};
use crate::adapter::serial::InstrumentConnection;
use crate::adapter::{ConnectionOptions, DeviceOptions, ProbeBackoff, UnitId, WireOptions};
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::excerpt::quoted;
use crate::config::raw;
use crate::config::section::Section;
use crate::topic::TopicName;

/// What all devices share while they are built.
pub(super) struct Site<'a> {
    pub(super) gateway: &'a str,
    pub(super) defaults: Publication,
    templates: Templates,
    names: Names,
    pub(super) writers: Writers,
}

/// The connections, each with its devices, and those with an instrument.
pub(super) fn connections(
    context: &mut Context<'_>,
    root: &Section<raw::Root>,
    gateway: &str,
) -> (Vec<ConnectionOptions>, Vec<InstrumentConnection>) {
    let mut wires = wires(context, root);
    let defaults = below::<raw::Defaults>(context, root, "defaults", root.raw.defaults.as_ref());
    let mut site = Site {
        gateway,
        defaults: publication!(context, defaults),
        templates: Templates::read(context, root),
        names: Names::default(),
        writers: Writers::default(),
    };
    let (mut used, mut dangling) = (Vec::new(), false);
    for section in each::<raw::Device>(context, root.raw.devices.as_ref(), &root.at("devices")) {
        let Some(wire) = wire(context, &section, &mut wires) else {
            // What else is wrong with it is said all the same.
            if section.has("serial") {
                instrument::instrument(context, &mut site, &section);
            } else {
                device(context, &mut site, &section);
            }
            dangling = true;
            continue;
        };
        used.push(wire.0.clone());
        let name = wire.0.clone();
        match &mut wire.2 {
            Some(wired) if instrument::is_at_wrong_wire(context, &section, &name, wired) => {}
            Some(Wired::Serial(_, taken)) => {
                let instrument = instrument::instrument(context, &mut site, &section);
                instrument::put(context, &section, &name, taken, instrument);
            }
            Some(Wired::Modbus(options)) => {
                if let Some(device) = device(context, &mut site, &section) {
                    check_unit(context, &section, options, &device);
                    options.devices.push(device);
                }
            }
            // What else is wrong with it is said all the same.
            None if section.has("serial") => {
                instrument::instrument(context, &mut site, &section);
            }
            None => {
                device(context, &mut site, &section);
            }
        }
    }
    check_budgets(context, &wires);
    // A device whose connection is misspelt probably means one of those that seem unused.
    for (name, place, _) in wires
        .iter()
        .filter(|(name, _, options)| options.is_some() && !dangling && !used.contains(name))
    {
        let message = format!("no device uses the connection `{}`", quoted(name));
        context.warning(
            Code::NoEffect,
            place,
            message,
            "add a device with it, or remove it",
        );
    }
    let (mut modbus, mut instruments) = (Vec::new(), Vec::new());
    for (name, _, wired) in wires {
        match wired {
            Some(Wired::Modbus(options)) => modbus.push(options),
            Some(Wired::Serial(port, Some(instrument))) => instruments.push(InstrumentConnection {
                name,
                port,
                instrument: *instrument,
            }),
            Some(Wired::Serial(_, None)) | None => {}
        }
    }
    (modbus, instruments)
}

/// The connection that the device names.
fn wire<'w>(
    context: &mut Context<'_>,
    section: &Section<raw::Device>,
    wires: &'w mut [Wire],
) -> Option<&'w mut Wire> {
    let name = section.required(
        context,
        "connection",
        section.raw.connection.as_ref(),
        "line1",
    )?;
    let Some(index) = wires.iter().position(|(known, _, _)| known == name) else {
        let known = wires.iter().map(|(known, _, _)| known.as_str());
        dangling(
            context,
            "connection",
            name,
            &section.at("connection"),
            known,
        );
        return None;
    };
    wires.get_mut(index)
}

fn check_unit(
    context: &mut Context<'_>,
    section: &Section<raw::Device>,
    wire: &ConnectionOptions,
    device: &DeviceOptions,
) {
    if device.unit_id.0 == 0 && !matches!(wire.wire, WireOptions::ModbusTcp(_)) {
        let message = "on a serial line 0 is everybody's address: all units obey and none answers";
        let remedy = "write the device's own address, 1 to 247";
        context.error(Code::OutOfRange, &section.at("unit_id"), message, remedy);
    }
    if let Some(first) = wire
        .devices
        .iter()
        .find(|first| first.unit_id == device.unit_id)
    {
        let unit = device.unit_id.0;
        let message = format!(
            "unit {unit} of `{}` is the device `{}` already",
            quoted(&wire.name),
            quoted(&first.name)
        );
        let remedy = "correct `unit_id`; one device may have several groups";
        context.warning(Code::DuplicateName, &section.at("unit_id"), message, remedy);
    }
}

fn device(
    context: &mut Context<'_>,
    site: &mut Site<'_>,
    section: &Section<raw::Device>,
) -> Option<DeviceOptions> {
    let raw = &section.raw;
    let name = device_name(context, site, section, "meter1");
    let unit_id = section.required(context, "unit_id", raw.unit_id, "1");
    let own = groups(context, raw.groups.as_ref(), &section.at("groups"));
    let template = site.templates.of(context, section);
    let mut asking = asking!(context, *section);
    let mut publication = publication!(context, *section);
    if let Some(template) = template {
        asking = asking.over(template.asking);
        publication = publication.over(&template.publication);
    }
    publication = publication.over(&site.defaults);
    let offline_after = offline_after(context, section);
    let probe_backoff = probe_backoff(context, section);
    let drafts: Vec<&GroupDraft> = template
        .iter()
        .flat_map(|template| &template.groups)
        .chain(&own)
        .collect();
    let nothing = drafts.is_empty() && !section.has("groups");
    if nothing && (template.is_some() || !section.has("template")) {
        let remedy = "add `groups:` with tags, or a `template` that has them";
        context.error_at_key(
            Code::MissingKey,
            &section.place,
            "the device reads nothing: it has no groups",
            remedy,
        );
    }
    let name = name?;
    let mut assembly = Assembly {
        gateway: site.gateway,
        device: &name,
        place: &section.place,
        asking,
        publication,
        writers: &mut site.writers,
    };
    let groups = assembly.groups(context, &drafts);
    Some(DeviceOptions {
        status_topic: TopicName::try_from(format!("{}/{name}/$status", site.gateway)).ok()?,
        set_topic: TopicName::try_from(format!("{}/{name}/set", site.gateway)).ok()?,
        name,
        unit_id: UnitId(unit_id?),
        response_timeout: asking.response_timeout.unwrap_or(Duration::from_secs(1)),
        retries: asking.retries.unwrap_or(1),
        request_delay: asking.request_delay.unwrap_or(Duration::ZERO),
        offline_after,
        probe_backoff,
        max_registers: asking.max_registers.unwrap_or(REGISTERS_MAX),
        max_gap: asking.max_gap.unwrap_or(0),
        groups,
    })
}

/// Its name, which no other has.
pub(super) fn device_name(
    context: &mut Context<'_>,
    site: &mut Site<'_>,
    section: &Section<raw::Device>,
    example: &str,
) -> Option<String> {
    let name = name(context, section, section.raw.name.as_ref(), example)?;
    let place = section.at("name");
    site.names.take(context, "device", &name, &place);
    Some(name)
}

pub(super) fn offline_after(context: &mut Context<'_>, section: &Section<raw::Device>) -> u32 {
    let after = section.raw.offline_after;
    let after = section.within(context, "offline_after", after, 1..=1000, |n| n.to_string());
    after.unwrap_or(3)
}

pub(super) fn probe_backoff(
    context: &mut Context<'_>,
    section: &Section<raw::Device>,
) -> ProbeBackoff {
    let section = below::<raw::ProbeBackoff>(
        context,
        section,
        "probe_backoff",
        section.raw.probe_backoff.as_ref(),
    );
    let defaults = (Duration::from_secs(1), Duration::from_secs(30));
    let given = (section.raw.min, section.raw.max);
    let (min, max) = wait(
        context,
        &section,
        given,
        defaults,
        Duration::from_millis(100),
    );
    ProbeBackoff { min, max }
}
