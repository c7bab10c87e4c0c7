//! What a reload has to do: two configurations compared, part by part, by name. No I/O.
//!
//! Invariant: what is not named here as changed is not touched, so a part whose options are equal keeps its clients, its
//! session and its place in the cycle.

use crate::adapter::ConnectionOptions;
use crate::bridge::BridgeOptions;
use crate::config::{Bridge, Config, SessionStoreOptions};
use crate::topic::TopicName;

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) listeners: Changes,
    /// Wires, those of instruments among them.
    pub(super) connections: Changes,
    pub(super) bridges: Changes,
    /// Devices that differ, for people.
    pub(super) devices: Vec<String>,
    /// Devices that are no more, with their status topics.
    pub(super) gone: Vec<(TopicName, String)>,
    /// What counts from the next start on only.
    pub(super) needs_restart: Vec<String>,
}

/// Parts of one kind, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<String>,
    pub(super) changed: Vec<String>,
    pub(super) removed: Vec<String>,
    /// How many are as they were.
    pub(super) kept: usize,
}

impl Changes {
    /// Of named things, by whether they are equal.
    fn between<'a, T: 'a>(
        before: impl Iterator<Item = (&'a str, T)>,
        now: impl Iterator<Item = (&'a str, T)>,
        equal: impl Fn(&T, &T) -> bool,
    ) -> Self {
        let before: Vec<_> = before.collect();
        let now: Vec<_> = now.collect();
        let mut changes = Self::default();
        for (name, new) in &now {
            match before.iter().find(|(known, _)| known == name) {
                None => changes.added.push((*name).to_owned()),
                Some((_, old)) if equal(old, new) => changes.kept += 1,
                Some(_) => changes.changed.push((*name).to_owned()),
            }
        }
        let is_gone = |(name, _): &&(&str, T)| !now.iter().any(|(known, _)| known == name);
        let gone = before.iter().filter(is_gone);
        changes.removed = gone.map(|(name, _)| (*name).to_owned()).collect();
        changes
    }

    /// What has to end.
    pub(super) fn ending(&self) -> Vec<String> {
        [&*self.changed, &*self.removed].concat()
    }

    /// What has to begin.
    pub(super) fn beginning(&self) -> Vec<String> {
        [&*self.changed, &*self.added].concat()
    }
}

impl Difference {
    /// From what runs to what shall.
    pub(super) fn between(running: &Config, now: &Config) -> Self {
        let mut needs_restart = sections(running, now);
        let bridges = bridges(running, now, &mut needs_restart);
        Self {
            listeners: Changes::between(
                running.listeners.iter().map(|it| (&*it.name, it)),
                now.listeners.iter().map(|it| (&*it.name, it)),
                |old, new| old == new,
            ),
            connections: connections(running, now),
            bridges,
            devices: devices(running, now),
            gone: gone(running, now),
            needs_restart,
        }
    }
}

/// Modbus or not, a wire is a wire: one that becomes an instrument's has changed.
fn connections(running: &Config, now: &Config) -> Changes {
    fn all(config: &Config) -> impl Iterator<Item = (&str, Wire<'_>)> {
        let modbus = config.connections.iter();
        let modbus = modbus.map(|it| (&*it.name, Wire::Modbus(it)));
        let instruments = config.instruments.iter();
        modbus.chain(instruments.map(|it| (&*it.name, Wire::Instrument(it))))
    }
    Changes::between(all(running), all(now), |old, new| match (old, new) {
        (Wire::Modbus(old), Wire::Modbus(new)) => {
            // Where that is, `gateway.data_dir` says, which is told as such.
            let mut same_folder = ConnectionOptions::clone(new);
            same_folder.splits_file.clone_from(&old.splits_file);
            **old == same_folder
        }
        (Wire::Instrument(old), Wire::Instrument(new)) => old == new,
        _ => false,
    })
}

enum Wire<'a> {
    Modbus(&'a ConnectionOptions),
    Instrument(&'a crate::adapter::serial::InstrumentConnection),
}

fn bridges(running: &Config, now: &Config, needs_restart: &mut Vec<String>) -> Changes {
    for bridge in &now.bridges {
        let Some(old) = find(running, &bridge.options.name) else {
            continue;
        };
        let name = &bridge.options.name;
        // The store's own keys are told as such.
        if old.log != bridge.log && running.store == now.store {
            needs_restart.push(format!("bridges.{name}.backlog"));
        }
        let overtakes = |bridge: &Bridge| bridge.options.forward.iter().any(|it| it.live_first);
        if overtakes(bridge) && !overtakes(old) {
            needs_restart.push(format!("bridges.{name}.forward.live_first"));
        }
    }
    Changes::between(
        running.bridges.iter().map(|it| (&*it.options.name, it)),
        now.bridges.iter().map(|it| (&*it.options.name, it)),
        |old, new| old.options == with_fixed(new.options.clone(), old),
    )
}

/// The options, but for what is the store's and the broker's, and counts from a start on.
fn with_fixed(options: BridgeOptions, old: &Bridge) -> BridgeOptions {
    BridgeOptions {
        dead_letter: old.options.dead_letter.clone(),
        packet_size: old.options.packet_size,
        ..options
    }
}

fn find<'a>(config: &'a Config, name: &str) -> Option<&'a Bridge> {
    let mut bridges = config.bridges.iter();
    bridges.find(|bridge| bridge.options.name == name)
}

/// The devices that differ.
fn devices(running: &Config, now: &Config) -> Vec<String> {
    fn all(config: &Config) -> impl Iterator<Item = (&str, &crate::adapter::DeviceOptions)> {
        let devices = config.connections.iter().flat_map(|it| &it.devices);
        devices.map(|device| (&*device.name, device))
    }
    let changes = Changes::between(all(running), all(now), |old, new| old == new);
    [changes.added, changes.changed, changes.removed].concat()
}

/// Status topics that nobody feeds any more.
fn gone(running: &Config, now: &Config) -> Vec<(TopicName, String)> {
    fn all(config: &Config) -> impl Iterator<Item = (&TopicName, &String)> {
        let devices = config.connections.iter().flat_map(|it| &it.devices);
        let devices = devices.map(|device| (&device.status_topic, &device.name));
        let instruments = config.instruments.iter().map(|it| &it.instrument);
        devices.chain(instruments.map(|it| (&it.status_topic, &it.name)))
    }
    let is_gone = |(topic, _): &(&TopicName, &String)| !all(now).any(|(known, _)| known == *topic);
    let gone = all(running).filter(is_gone);
    gone.map(|(topic, name)| (topic.clone(), name.clone()))
        .collect()
}

/// The sections that are read at a start only, where they differ.
fn sections(running: &Config, now: &Config) -> Vec<String> {
    let total = |sessions: &SessionStoreOptions| sessions.log.queued_bytes_total;
    let limits = now.broker.limits != running.broker.limits
        || total(&now.sessions) != total(&running.sessions);
    let sections = [
        ("gateway", now.gateway != running.gateway),
        ("broker.limits", limits),
        (
            "broker.when_queue_full",
            now.broker.when_queue_full != running.broker.when_queue_full,
        ),
        ("store", now.store != running.store),
    ];
    let differ = sections.into_iter().filter(|(_, differs)| *differs);
    differ.map(|(section, _)| section.to_owned()).collect()
}

/// What runs after a reload did its work: the new configuration, but for what counts from the next start on.
pub(super) fn in_use(running: &Config, now: Config) -> Config {
    let bridges = now.bridges.into_iter().map(|mut bridge| {
        if let Some(old) = find(running, &bridge.options.name) {
            bridge.log = old.log.clone();
            bridge.options = with_fixed(bridge.options, old);
        }
        bridge
    });
    Config {
        bridges: bridges.collect(),
        gateway: running.gateway.clone(),
        broker: running.broker.clone(),
        store: running.store,
        sessions: running.sessions.clone(),
        ..now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const SITE: &str = include_str!("../../tests/config/reload.yaml");

    fn read(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        for name in ["users", "ca.pem"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let loaded = config::parse(text, &folder.path().join("site.yaml"), &config::System);
        let mut config = loaded.unwrap_or_else(|faults| panic!("{faults}")).config;
        // The folder is another each time.
        config.users_file = None;
        for bridge in &mut config.bridges {
            bridge.options.tls = None;
        }
        config
    }

    fn difference(from: &str, to: &str) -> Difference {
        assert!(SITE.contains(from), "{from}");
        Difference::between(&read(SITE), &read(&SITE.replacen(from, to, 1)))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let same = Difference::between(&read(SITE), &read(SITE));
        assert_eq!(same.listeners.kept, 2);
        assert_eq!(same.connections.kept, 3);
        assert_eq!(same.bridges.kept, 1);
        let kept = |kept| Changes {
            kept,
            ..Changes::default()
        };
        let nothing = Difference {
            listeners: kept(2),
            connections: kept(3),
            bridges: kept(1),
            ..Difference::default()
        };
        assert_eq!(same, nothing);
    }

    #[test]
    fn one_device_is_its_wire_and_nothing_else() {
        let found = difference("unit_id: 2", "unit_id: 3");
        assert_eq!(found.connections.changed, names(&["line-a"]));
        assert_eq!(found.connections.kept, 2);
        assert_eq!(found.devices, names(&["meter-2"]));
        assert_eq!((found.listeners.kept, found.bridges.kept), (2, 1));
        assert_eq!(found.needs_restart, names(&[]));
    }

    #[test]
    fn what_a_bridge_keeps_its_backlog_in_counts_from_a_start_on_and_the_rest_at_once() {
        let found = difference("keep_alive: 30s", "keep_alive: 31s");
        assert_eq!(found.bridges.changed, names(&["cloud"]));
        assert_eq!(found.needs_restart, names(&[]));
        let found = difference("max_bytes: 1GiB", "max_bytes: 2GiB");
        assert_eq!(
            found.bridges,
            Changes {
                kept: 1,
                ..Changes::default()
            }
        );
        assert_eq!(found.needs_restart, names(&["bridges.cloud.backlog"]));
        let found = difference("qos: 1 #", "live_first: true #");
        assert_eq!(found.bridges.changed, names(&["cloud"]));
        let live = names(&["bridges.cloud.forward.live_first"]);
        assert_eq!(found.needs_restart, live);
    }

    #[test]
    fn the_store_is_told_once_and_not_again_with_each_bridge() {
        let found = difference("commit_interval: 50ms", "commit_interval: 60ms");
        assert_eq!(found.needs_restart, names(&["store"]));
        assert_eq!(found.bridges.kept, 1);
    }

    #[test]
    fn a_name_that_changes_is_one_part_that_goes_and_one_that_comes() {
        let found = difference("name: plant", "name: hall");
        let Changes {
            added,
            removed,
            changed,
            kept,
        } = found.listeners;
        assert_eq!((added, removed), (names(&["hall"]), names(&["plant"])));
        assert_eq!((changed, kept), (names(&[]), 1));
    }

    #[test]
    fn what_needs_a_restart_is_not_in_use_after_a_reload_and_is_told_again_by_the_next() {
        let running = read(SITE);
        let text = SITE.replacen("max_bytes: 1GiB", "max_bytes: 2GiB", 1);
        let text = text.replacen("commit_interval: 50ms", "commit_interval: 60ms", 1);
        let text = text.replacen("unit_id: 2", "unit_id: 3", 1);
        let now = read(&text);
        let in_use = in_use(&running, now.clone());
        assert_eq!(in_use.connections, now.connections);
        let again = Difference::between(&in_use, &now);
        assert_eq!(again.needs_restart, names(&["store"]));
        assert_eq!(again.connections.kept, 3);
    }
}
