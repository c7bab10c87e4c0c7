//! What a reload has to do: two configurations compared, part by part, by name. No I/O.
//!
//! Invariant: what is not named here as changed is not touched, so a part whose options are equal keeps its clients, its
//! session and its place in the cycle.

use crate::adapter::ConnectionOptions;
use crate::bridge::BridgeOptions;
use crate::config::{Bridge, Config, SessionStoreOptions};
use crate::topic::TopicName;

/// What runs.
#[derive(Clone, Debug)]
pub(super) struct InUse {
    pub(super) config: Config,
    /// Bridges that reloads have removed: until the next start their backlogs are open, as they were configured.
    left: Vec<Bridge>,
}

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
    /// As they were.
    pub(super) kept: Vec<String>,
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
                Some((_, old)) if equal(old, new) => changes.kept.push((*name).to_owned()),
                Some(_) => changes.changed.push((*name).to_owned()),
            }
        }
        let is_gone = |(name, _): &&(&str, T)| !now.iter().any(|(known, _)| known == name);
        let gone = before.iter().filter(is_gone);
        changes.removed = gone.map(|(name, _)| (*name).to_owned()).collect();
        changes
    }

    /// The same where this is what runs, whatever a reload before left undone: what was not begun is begun, what was begun is begun
    /// anew, and nothing stays that nobody asked for. What is `out` of work is begun anew, too.
    pub(super) fn settle(&mut self, running: &[&str], out: &[&str]) {
        let has = |names: &[&str], name: &String| names.contains(&name.as_str());
        let Self {
            added,
            changed,
            kept,
            ..
        } = std::mem::take(self);
        let wanted = [&*added, &*changed, &*kept].concat();
        let stays = |name: &String| kept.contains(name) && !has(out, name);
        for name in &wanted {
            let list = match (has(running, name), stays(name)) {
                (false, _) => &mut self.added,
                (true, false) => &mut self.changed,
                (true, true) => &mut self.kept,
            };
            list.push(name.clone());
        }
        let running = running.iter().map(|name| (*name).to_owned());
        self.removed = running.filter(|it| !wanted.contains(it)).collect();
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

impl From<Config> for InUse {
    fn from(config: Config) -> Self {
        Self {
            config,
            left: Vec::new(),
        }
    }
}

impl InUse {
    /// The one of this name, also one that has left its backlog.
    fn bridge(&self, name: &str) -> Option<&Bridge> {
        let mut bridges = self.config.bridges.iter().chain(&self.left);
        bridges.find(|bridge| bridge.options.name == name)
    }

    /// After a reload did its work: the new configuration, but for what counts from the next start on.
    pub(super) fn after(&self, now: Config) -> Self {
        let is_there = |old: &Bridge| {
            now.bridges
                .iter()
                .any(|it| it.options.name == old.options.name)
        };
        let left = self.config.bridges.iter().chain(&self.left);
        let left = left.filter(|old| !is_there(old)).cloned().collect();
        let bridges = now.bridges.into_iter().map(|mut bridge| {
            if let Some(old) = self.bridge(&bridge.options.name) {
                bridge.log = old.log.clone();
                bridge.options = with_fixed(bridge.options, old);
            }
            bridge
        });
        let running = &self.config;
        let config = Config {
            bridges: bridges.collect(),
            gateway: running.gateway.clone(),
            broker: running.broker.clone(),
            store: running.store,
            sessions: running.sessions.clone(),
            ..now
        };
        Self { config, left }
    }
}

impl Difference {
    /// From what runs to what shall.
    pub(super) fn between(in_use: &InUse, now: &Config) -> Self {
        let running = &in_use.config;
        let mut needs_restart = sections(running, now);
        let bridges = bridges(in_use, now, &mut needs_restart);
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

fn bridges(in_use: &InUse, now: &Config, needs_restart: &mut Vec<String>) -> Changes {
    let running = &in_use.config;
    for bridge in &now.bridges {
        let Some(old) = in_use.bridge(&bridge.options.name) else {
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
        Difference::between(&read(SITE).into(), &read(&SITE.replacen(from, to, 1)))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let same = Difference::between(&read(SITE).into(), &read(SITE));
        assert_eq!(same.listeners.kept.len(), 2);
        assert_eq!(same.connections.kept.len(), 3);
        assert_eq!(same.bridges.kept, names(&["cloud"]));
        let kept = |changes: &Changes| Changes {
            kept: changes.kept.clone(),
            ..Changes::default()
        };
        let nothing = Difference {
            listeners: kept(&same.listeners),
            connections: kept(&same.connections),
            bridges: kept(&same.bridges),
            ..Difference::default()
        };
        assert_eq!(same, nothing);
    }

    #[test]
    fn one_device_is_its_wire_and_nothing_else() {
        let found = difference("unit_id: 2", "unit_id: 3");
        assert_eq!(found.connections.changed, names(&["line-a"]));
        assert_eq!(found.connections.kept.len(), 2);
        assert_eq!(found.devices, names(&["meter-2"]));
        let kept = (found.listeners.kept.len(), found.bridges.kept.len());
        assert_eq!(kept, (2, 1));
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
                kept: names(&["cloud"]),
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
        assert_eq!(found.bridges.kept, names(&["cloud"]));
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
        assert_eq!((changed, kept.len()), (names(&[]), 1));
    }

    #[test]
    fn what_needs_a_restart_is_not_in_use_after_a_reload_and_is_told_again_by_the_next() {
        let running = InUse::from(read(SITE));
        let text = SITE.replacen("max_bytes: 1GiB", "max_bytes: 2GiB", 1);
        let text = text.replacen("commit_interval: 50ms", "commit_interval: 60ms", 1);
        let text = text.replacen("unit_id: 2", "unit_id: 3", 1);
        let now = read(&text);
        let in_use = running.after(now.clone());
        assert_eq!(in_use.config.connections, now.connections);
        let again = Difference::between(&in_use, &now);
        assert_eq!(again.needs_restart, names(&["store"]));
        assert_eq!(again.connections.kept.len(), 3);
    }

    #[test]
    fn a_bridge_that_comes_again_finds_its_backlog_as_it_was_and_that_is_told() {
        let without = Config {
            bridges: Vec::new(),
            ..read(SITE)
        };
        let text = SITE.replacen("max_bytes: 1GiB", "max_bytes: 2GiB", 1);
        let text = text.replacen("qos: 1 #", "live_first: true #", 1);
        let told = names(&["bridges.cloud.backlog", "bridges.cloud.forward.live_first"]);
        let gone = InUse::from(read(SITE)).after(without.clone());
        let back = Difference::between(&gone, &read(&text));
        assert_eq!(back.bridges.added, names(&["cloud"]));
        assert_eq!(back.needs_restart, told);
        // However often it goes and comes.
        let again = gone.after(read(&text)).after(without);
        let back = Difference::between(&again, &read(&text));
        assert_eq!(back.needs_restart.first(), told.first());
        // A start has it as it is configured.
        let started = InUse::from(read(&text));
        let same = Difference::between(&started, &read(&text));
        assert_eq!(same.needs_restart, names(&[]));
    }

    #[test]
    fn what_a_reload_that_broke_off_left_undone_is_done_by_the_next() {
        let change = |kept: &[&str], changed: &[&str], added: &[&str]| Changes {
            kept: names(kept),
            changed: names(changed),
            added: names(added),
            removed: names(&["gone"]),
        };
        let mut changes = change(&["a", "b", "c"], &["d", "e"], &["f", "g"]);
        // b and d were not begun again, f was begun, and nobody wants x any more.
        changes.settle(&["a", "c", "e", "f", "x"], &["c"]);
        assert_eq!(changes.kept, names(&["a"]));
        assert_eq!(changes.changed, names(&["f", "e", "c"]));
        assert_eq!(changes.added, names(&["g", "d", "b"]));
        assert_eq!(changes.removed, names(&["x"]));
        // Where nothing is amiss, nothing is added to it.
        let mut changes = change(&["a"], &["b"], &["c"]);
        changes.settle(&["a", "b", "gone"], &[]);
        assert_eq!(changes, change(&["a"], &["b"], &["c"]));
    }
}
