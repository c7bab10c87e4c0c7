//! Commands that come down a bridge: what waited at the upstream while the link was cut must not act on a plant that has
//! moved on since.

use std::time::Duration;

use crate::adapter::ConnectionOptions;
use crate::adapter::serial::InstrumentConnection;
use crate::config::Bridge;
use crate::config::context::Context;
use crate::config::error::Code;
use crate::config::place::Place;
use crate::config::units::show_duration;
use crate::topic::TopicName;

/// A command that is taken though nobody knows how old it is.
struct Undated {
    topic: TopicName,
    max_age: Duration,
}

/// Warns of each route that may bring a command which is older than it may be and does not say so.
pub(super) fn check(
    context: &mut Context<'_>,
    root: &Place,
    connections: &[ConnectionOptions],
    instruments: &[InstrumentConnection],
    bridges: &[Bridge],
) {
    let commands: Vec<Undated> = tags(connections).chain(told(instruments)).collect();
    for (number, bridge) in bridges.iter().enumerate() {
        let kept = bridge.options.session_expiry;
        for (at, route) in bridge.options.receive.iter().enumerate() {
            let brings = |command: &&Undated| {
                kept > command.max_age
                    && route.topic.invert(&route.filter, &command.topic).is_some()
            };
            let Some(command) = commands.iter().find(brings) else {
                continue;
            };
            let message = format!(
                "the upstream keeps commands for {} while the link is cut, and {} takes one that does not say how old it is",
                show_duration(kept),
                command.topic
            );
            let place = root.key("bridges").index(number).key("receive").index(at);
            let remedy = "write `undated: refuse` in the `write` of that tag, or in that command of the instrument, so that commands have to carry `ts` or a Message Expiry \
                          Interval, or a `session_expiry` of the bridge that is no longer than `max_age`";
            context.warning(Code::StaleCommand, &place, message, remedy);
        }
    }
}

fn tags(connections: &[ConnectionOptions]) -> impl Iterator<Item = Undated> {
    let devices = connections
        .iter()
        .flat_map(|connection| &connection.devices);
    devices.flat_map(|device| {
        let tags = device.groups.iter().flat_map(|group| &group.tags);
        tags.filter_map(|tag| {
            let write = tag.write.as_ref().filter(|write| write.takes_undated)?;
            Undated::new(&device.set_topic, &tag.name, write.max_age)
        })
    })
}

fn told(instruments: &[InstrumentConnection]) -> impl Iterator<Item = Undated> {
    instruments.iter().flat_map(|connection| {
        let instrument = &connection.instrument;
        let commands = instrument.dialect.commands.iter();
        commands
            .filter(|command| command.takes_undated)
            .filter_map(|command| {
                Undated::new(&instrument.set_topic, &command.name, command.max_age)
            })
    })
}

impl Undated {
    fn new(set_topic: &TopicName, name: &str, max_age: Duration) -> Option<Self> {
        let topic = TopicName::try_from(format!("{set_topic}/{name}")).ok()?;
        Some(Self { topic, max_age })
    }
}
