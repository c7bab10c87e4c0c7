//! From raw sections to the rooms' option structs: defaults, inheritance, ranges, and every rule that spans keys. What
//! is wrong is noted and left out, so that the rest is checked all the same.

mod access;
mod address;
mod asking;
mod assembly;
mod backlog;
mod bind;
mod bridge;
mod broker;
mod client_tls;
mod commands;
mod connection;
mod console;
mod dead_letter;
mod device;
mod instrument;
mod limits;
mod meaning;
mod port;
mod profile;
mod receive;
mod route;
mod serial;
mod store;
mod tag;
mod template;
mod together;
mod topics;
mod websocket;
mod write;

pub(super) use serial::dialect;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::context::Context;
use super::environment::topic_level;
use super::error::Code;
use super::excerpt::quoted;
use super::place::Place;
use super::raw::{self, Time};
use super::section::Section;
use super::suggest;
use super::units::{show_duration, show_size};
use super::{CONTROL_SOCKET, Config, Gateway};
use crate::broker::BrokerOptions;
use crate::mqtt::QoS;
use crate::topic::TopicName;

/// The longest name.
const NAME_BYTES_MAX: usize = 128;

/// Builds all there is of the document.
pub(super) fn build(context: &mut Context<'_>, document: &Value) -> Config {
    let root = match document {
        Value::Null => Section::absent(Place::default()),
        document => Section::<raw::Root>::read(context, document, Place::default()),
    };
    let mut gateway = gateway(context, &root);
    let broker = broker::broker(context, &root, &gateway.id);
    let console = console::console(context, &root, &broker.listeners);
    let store = store::store(context, &root);
    let (mut connections, instruments) = device::connections(context, &root, &gateway.id);
    for connection in &mut connections {
        let file = format!("{}.json", connection.name);
        connection.splits_file = Some(gateway.data_dir.join("splits").join(file));
    }
    let bridges = bridge::bridges(context, &root, &gateway, &store, &broker.options.limits);
    if bridges.len() == root.raw.bridges.as_ref().map_or(0, Vec::len) {
        commands::check(context, &root.place, &connections, &instruments, &bridges);
    }
    let sessions = store::sessions(&gateway, &store, broker.queued_bytes_total);
    gateway.tells_status |=
        !connections.is_empty() || !instruments.is_empty() || !bridges.is_empty();
    Config {
        gateway,
        broker: BrokerOptions {
            durability: store.durability,
            ..broker.options
        },
        listeners: broker.listeners.into_iter().map(|(one, _)| one).collect(),
        users_file: broker.users_file,
        access: broker.access,
        store,
        sessions,
        connections: connections.into_iter().map(Arc::new).collect(),
        instruments,
        bridges,
        console,
    }
}

fn gateway(context: &mut Context<'_>, root: &Section<raw::Root>) -> Gateway {
    let section = below::<raw::Gateway>(context, root, "gateway", root.raw.gateway.as_ref());
    let id = match &section.raw.id {
        Some(id) if is_name(context, id, &section.at("id")) => id.clone(),
        _ => topic_level(context.environment.host_name()),
    };
    let data_dir = match &section.raw.data_dir {
        Some(folder) if folder.is_empty() => {
            context.error(
                Code::OutOfRange,
                &section.at("data_dir"),
                "`data_dir` is empty",
                "name a folder",
            );
            PathBuf::new()
        }
        Some(folder) => context.path(folder, &section.at("data_dir")),
        None => {
            folder_of_systemd(context, "STATE_DIRECTORY").unwrap_or_else(|| PathBuf::from("data"))
        }
    };
    let runtime = folder_of_systemd(context, "RUNTIME_DIRECTORY");
    Gateway {
        id,
        control_socket: runtime.as_ref().unwrap_or(&data_dir).join(CONTROL_SOCKET),
        data_dir,
        tells_status: section.raw.id.is_some(),
    }
}

/// systemd lists several folders with `:` between them; the first is ours.
fn folder_of_systemd(context: &Context<'_>, variable: &str) -> Option<PathBuf> {
    let folders = context.environment.variable(variable)?;
    let folder = PathBuf::from(folders.split(':').next()?);
    (!folder.as_os_str().is_empty()).then_some(folder)
}

/// The section below `key`, empty where it is not given.
fn below<T: DeserializeOwned + Default>(
    context: &mut Context<'_>,
    parent: &Section<impl Sized>,
    key: &str,
    value: Option<&Value>,
) -> Section<T> {
    match value {
        Some(value) => Section::read(context, value, parent.at(key)),
        None => Section::absent(parent.at(key)),
    }
}

/// The sections of a list.
fn each<T: DeserializeOwned + Default>(
    context: &mut Context<'_>,
    list: Option<&Vec<Value>>,
    place: &Place,
) -> Vec<Section<T>> {
    let values = list.into_iter().flatten().enumerate();
    values
        .map(|(index, value)| Section::read(context, value, place.index(index)))
        .collect()
}

/// The texts of a list, each with its place.
fn texts(
    context: &mut Context<'_>,
    list: Option<&Vec<Value>>,
    place: &Place,
) -> Vec<(String, Place)> {
    let values = list.into_iter().flatten().enumerate();
    values
        .filter_map(|(index, value)| {
            let place = place.index(index);
            Some((context.scalar(value, &place)?, place))
        })
        .collect()
}

/// A duration within `range`.
fn time<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    key: &str,
    value: Option<Time>,
    range: std::ops::RangeInclusive<Duration>,
) -> Option<Duration> {
    section.within(context, key, value.map(|time| time.0), range, show_duration)
}

/// A duration within `range` that the protocol carries in whole seconds.
fn seconds<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    key: &str,
    value: Option<Time>,
    range: std::ops::RangeInclusive<Duration>,
) -> Option<Duration> {
    let value = time(context, section, key, value, range)?;
    if value.subsec_nanos() != 0 {
        let message = format!(
            "`{key}` is {}, which is no whole number of seconds",
            show_duration(value)
        );
        context.error(
            Code::OutOfRange,
            &section.at(key),
            message,
            "MQTT counts it in seconds; write `1s`, `2s` ...",
        );
    }
    Some(value)
}

/// A size within `range`.
fn bytes<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    key: &str,
    value: Option<raw::Size>,
    range: std::ops::RangeInclusive<u64>,
) -> Option<usize> {
    let value = section.within(context, key, value.map(|size| size.0), range, show_size)?;
    Some(usize::try_from(value).unwrap_or(usize::MAX))
}

/// `qos`, or the highest one: 0, 1 or 2.
fn qos<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    key: &str,
    value: Option<u8>,
) -> Option<QoS> {
    section
        .within(context, key, value, 0..=2, |value| value.to_string())
        .and_then(QoS::from_bits)
}

/// `min` and `max` of a back-off section.
fn wait<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    (min, max): (Option<Time>, Option<Time>),
    defaults: (Duration, Duration),
    floor: Duration,
) -> (Duration, Duration) {
    let range = floor..=Duration::from_secs(86_400);
    let least = time(context, section, "min", min, range.clone());
    let most = time(context, section, "max", max, range);
    let chosen = (
        least.unwrap_or_else(|| most.map_or(defaults.0, |most| most.min(defaults.0))),
        most.unwrap_or_else(|| least.map_or(defaults.1, |least| least.max(defaults.1))),
    );
    if chosen.0 > chosen.1 {
        let message = format!(
            "`max` ({}) is below `min` ({})",
            show_duration(chosen.1),
            show_duration(chosen.0)
        );
        context.error(
            Code::Contradiction,
            &section.at("max"),
            message,
            "write a `max` that is at least `min`",
        );
    }
    chosen
}

/// A required name that can stand in a topic.
fn name<T>(
    context: &mut Context<'_>,
    section: &Section<T>,
    value: Option<&String>,
    example: &str,
) -> Option<String> {
    let name = section.required(context, "name", value, example)?;
    is_name(context, name, &section.at("name")).then(|| name.clone())
}

/// Whether `name` can be one level of a topic; what forbids it is noted at `place`.
fn is_name(context: &mut Context<'_>, name: &str, place: &Place) -> bool {
    let fault = if name.is_empty() {
        "a name needs at least one character".to_owned()
    } else if let Some(letter) = name
        .chars()
        .find(|letter| matches!(letter, '/' | '+' | '#'))
    {
        format!("`{letter}` cannot stand in a name, because names become levels of topics")
    } else if name.starts_with('$') {
        "a name cannot begin with `$`: such topics are the gateway's own".to_owned()
    } else if name.chars().any(char::is_control) || name.trim() != name {
        "a name has no blanks at its ends and no control characters".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("a name holds at most {NAME_BYTES_MAX} bytes")
    } else {
        return true;
    };
    context.error(
        Code::BadName,
        place,
        fault,
        "use letters, digits, `-`, `_` and `.`",
    );
    false
}

/// Names that must differ, each with where it was given first.
#[derive(Default)]
struct Names(BTreeMap<String, Place>);

impl Names {
    /// Notes `name` as taken, or as taken twice; true where it was free.
    fn take(&mut self, context: &mut Context<'_>, what: &str, name: &str, place: &Place) -> bool {
        if let Some(first) = self.0.get(name) {
            let message = format!("there is a {what} `{}` already", quoted(name));
            let remedy = format!("give each {what} a name of its own");
            context.error_again(Code::DuplicateName, place, first, message, remedy);
            return false;
        }
        self.0.insert(name.to_owned(), place.clone());
        true
    }
}

/// Notes that `name` refers to nothing.
fn dangling<'n>(
    context: &mut Context<'_>,
    what: &str,
    name: &str,
    place: &Place,
    known: impl IntoIterator<Item = &'n str>,
) {
    let known: Vec<&str> = known.into_iter().collect();
    let remedy = match suggest::nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("add the {what}; there is none yet"),
        None => format!(
            "there are: {}",
            known
                .iter()
                .take(20)
                .copied()
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    context.error(
        Code::DanglingName,
        place,
        format!("there is no {what} `{}`", quoted(name)),
        remedy,
    );
}

/// Where the gateway says how it is: `{gateway}/$status`.
fn gateway_status(gateway: &str) -> Option<TopicName> {
    TopicName::try_from(format!("{gateway}/$status")).ok()
}
