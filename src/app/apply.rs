//! Carrying out what a reload found different: only the parts that differ are stopped and started.
//!
//! Who is not concerned notices nothing. Who is: clients of a listener that changed or went are closed, since its terms were
//! theirs; a wire with one changed device makes a new connection, and its other devices miss at most a reading; a bridge that
//! changed goes on upon its log and its session.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::difference::{Changes, Difference};
use super::running::{Running, stop_all, take};
use super::stores::Opened;
use super::{Gateway, Prepared, StartError};
use crate::broker::LinkClosed;
use crate::listener::PreparedListener;
use crate::mqtt::{Message, QoS};
use crate::net::Expiry;
use crate::topic::TopicName;

/// What a reload did, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What was stopped, started or read again.
    pub done: Vec<String>,
    /// What was left alone.
    pub kept: Vec<String>,
    /// What was changed and counts from the next start on.
    pub needs_restart: Vec<String>,
    /// What is probably not meant so, as `check` prints it.
    pub warnings: Vec<String>,
}

/// Why nothing, or not all, was applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// Before anything was changed.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Broken(#[from] StartError),
}

impl From<LinkClosed> for ApplyError {
    fn from(closed: LinkClosed) -> Self {
        Self::Broken(closed.into())
    }
}

impl Gateway {
    /// Does what `difference` says, with the parts of `prepared`. Where one before broke off, the rest of that too.
    pub(super) async fn apply(
        &mut self,
        prepared: Prepared,
        mut difference: Difference,
    ) -> Result<Applied, ApplyError> {
        self.settle(&mut difference);
        let applied = self.take_up(prepared, &difference).await;
        self.lacks_other_files &= applied.is_err();
        // Also what is there when it broke off.
        self.show();
        applied
    }

    /// Listeners that do not listen are tried again, whatever kept them.
    fn settle(&self, difference: &mut Difference) {
        let names: Vec<_> = self.listeners.iter().map(|it| &*it.name).collect();
        let closed = self.listeners.iter();
        let closed = closed.filter(|it| it.part.status.borrow().error.is_some());
        let closed: Vec<_> = closed.map(|it| &*it.name).collect();
        difference.listeners.settle(&names, &closed);
        let names: Vec<_> = self.connections.iter().map(|it| &*it.name).collect();
        difference.connections.settle(&names, &[]);
        difference.bridges.settle(&self.bridges.names(), &[]);
    }

    async fn take_up(
        &mut self,
        mut prepared: Prepared,
        difference: &Difference,
    ) -> Result<Applied, ApplyError> {
        let moves = difference.needs_restart.iter().any(|it| it == "gateway");
        if moves && !difference.bridges.added.is_empty() {
            let why =
                "gateway.data_dir was changed, where the backlog of a new bridge would be: restart";
            return Err(ApplyError::Refused(why.to_owned()));
        }
        let order = Order::of(&prepared);
        // Whatever can fail comes first.
        let bridges = self
            .open_bridges(&mut prepared, &difference.bridges)
            .await?;
        let mut done = Vec::new();
        let ended = take(&mut self.listeners, &difference.listeners.ending());
        stop_all(&ended).await;
        let ending = difference.connections.ending();
        stop_all(&take(&mut self.connections, &ending)).await;
        let credentials = std::mem::take(&mut prepared.logins.credentials);
        self.replace_credentials(credentials).await?;
        let closed = self.close_clients(&ended).await?;
        for (topic, device) in &difference.gone {
            self.clear(device, topic).await?;
        }
        self.replace_bridges(bridges, &difference.bridges).await?;
        let beginning = difference.connections.beginning();
        let begun =
            self.start_connections(&mut prepared, |name| beginning.iter().any(|it| it == name));
        let begun = begun.await;
        self.renew_certificates(&prepared.listeners, &prepared.expiries, &mut done);
        let beginning = difference.listeners.beginning();
        self.start_listeners(prepared.listeners, |name| {
            beginning.iter().any(|it| it == name)
        });
        order.sort(&mut self.listeners, &order.listeners);
        order.sort(&mut self.connections, &order.connections);
        if let Some(what) = self.console.have_at(prepared.console).await {
            done.push(format!("console: {what}"));
        }
        // A wire that cannot begin keeps nobody out.
        begun?;
        Ok(self.outcome(difference, closed, done))
    }

    /// In words; `done` is what `difference` does not say.
    fn outcome(&self, difference: &Difference, closed: usize, mut done: Vec<String>) -> Applied {
        told("listener", &difference.listeners, &mut done);
        if closed > 0 {
            done.push(format!("{closed} clients of those listeners were closed"));
        }
        told("connection", &difference.connections, &mut done);
        if !difference.devices.is_empty() {
            done.push(format!(
                "devices that differ: {}",
                difference.devices.join(", ")
            ));
        }
        told("bridge", &difference.bridges, &mut done);
        let left = self.bridges.left().into_iter();
        for (name, logs) in left.filter(|(name, _)| difference.bridges.removed.contains(name)) {
            let messages = logs.stats().messages;
            if messages > 0 {
                done.push(format!(
                    "bridge {name}: {messages} messages are left in its backlog"
                ));
            }
        }
        done.push("users and access rules count from now on".to_owned());
        Applied {
            done,
            kept: vec![
                kept("listener", difference.listeners.kept.len()),
                kept("connection", difference.connections.kept.len()),
                kept("bridge", difference.bridges.kept.len()),
                format!("{} clients connected", self.broker.stats().clients),
            ],
            needs_restart: difference.needs_restart.clone(),
            warnings: Vec::new(),
        }
    }

    /// Those that are new or other than before, the new ones with their logs.
    async fn open_bridges(
        &mut self,
        prepared: &mut Prepared,
        changes: &Changes,
    ) -> Result<Vec<Replacement>, ApplyError> {
        if changes.added.is_empty() && changes.changed.is_empty() && changes.removed.is_empty() {
            return Ok(Vec::new());
        }
        if self.bridges.are_some_absent() {
            let why =
                "bridges cannot be changed while the backlog of one cannot be opened: restart";
            return Err(ApplyError::Refused(why.to_owned()));
        }
        let mut found = Vec::new();
        let mut opened = Opened::default();
        for (bridge, options) in std::mem::take(&mut prepared.bridges) {
            let name = &bridge.options().name;
            if changes.changed.contains(name) {
                found.push(Replacement::Changed(bridge));
            } else if changes.added.contains(name) {
                match self.bridges.open(&bridge, options).await {
                    Ok(logs) => {
                        opened.extend(logs.clone());
                        found.push(Replacement::Added(bridge, logs));
                    }
                    Err(why) => {
                        opened.close().await;
                        return Err(ApplyError::Refused(why));
                    }
                }
            }
        }
        self.stores.absorb(opened);
        Ok(found)
    }

    async fn replace_bridges(
        &mut self,
        bridges: Vec<Replacement>,
        changes: &Changes,
    ) -> Result<(), StartError> {
        // First those that come take what is published, then those that go leave it: with another name nothing is missed.
        let (mut waiting, mut changed) = (Vec::new(), Vec::new());
        for bridge in bridges {
            match bridge {
                Replacement::Added(bridge, logs) => {
                    let attached = self.bridges.attach(&bridge, logs).await?;
                    waiting.extend(attached.map(|attached| (bridge, attached)));
                }
                Replacement::Changed(bridge) => changed.push(bridge),
            }
        }
        self.bridges.remove(&changes.removed).await?;
        for bridge in changed {
            self.bridges.change(bridge).await?;
        }
        for (bridge, attached) in waiting {
            self.bridges.begin(bridge, attached).await?;
        }
        Ok(())
    }

    /// Closes the clients that came in by these listeners. How many.
    async fn close_clients<T>(&self, listeners: &[Running<T>]) -> Result<usize, LinkClosed> {
        let (mut closed, mut page) = (0, (!listeners.is_empty()).then_some(0));
        while let Some(at) = page {
            let found = self.broker.sessions(at).await?;
            for listed in found.sessions {
                let by = listed.listener.as_deref();
                if by.is_some_and(|by| listeners.iter().any(|ended| ended.name == by))
                    && self.broker.kick(&listed.session.client_id).await?
                {
                    closed += 1;
                }
            }
            page = found.next;
        }
        Ok(closed)
    }

    /// The retained status of a device that is no more would speak for it for ever.
    async fn clear(&self, device: &str, topic: &TopicName) -> Result<(), StartError> {
        let mut link = self.link(&format!("gone-{device}")).await?;
        let gone = Message::new(topic.clone(), Bytes::new(), QoS::AtLeastOnce, true);
        Ok(link.publish(gone).await?)
    }

    /// The next handshakes of listeners that are configured as before are answered with the files of these, and bridges
    /// look at theirs.
    fn renew_certificates(
        &mut self,
        listeners: &[PreparedListener],
        expiries: &[(String, Expiry)],
        done: &mut Vec<String>,
    ) {
        for running in &self.listeners {
            let new = listeners.iter().find(|new| new.name() == running.name);
            if let Some(new) = new
                && running.part.renew(new)
            {
                let name = &running.name;
                done.push(format!(
                    "listener {name}: new connections get the certificate files as they are now"
                ));
            }
        }
        self.bridges.renew_certificates();
        for running in &mut self.connections {
            if let Some(expiry) = expiries.iter().find(|(name, _)| *name == running.name) {
                running.part.expiry = Some(expiry.1.clone());
            }
        }
    }
}

enum Replacement {
    Added(crate::bridge::PreparedBridge, Option<crate::bridge::Lanes>),
    Changed(crate::bridge::PreparedBridge),
}

/// Names in the order of the configuration.
struct Order {
    listeners: Vec<String>,
    connections: Vec<String>,
}

impl Order {
    fn of(prepared: &Prepared) -> Self {
        let listeners = prepared.listeners.iter().map(|it| it.name().to_owned());
        let devices = prepared.connections.iter().map(|it| it.name.clone());
        let instruments = prepared.instruments.iter().map(|it| it.name.clone());
        Self {
            listeners: listeners.collect(),
            connections: devices.chain(instruments).collect(),
        }
    }

    fn sort<T>(&self, parts: &mut [Running<T>], by: &[String]) {
        parts.sort_by_key(|part| by.iter().position(|name| *name == part.name));
    }
}

fn told(kind: &str, changes: &Changes, done: &mut Vec<String>) {
    let all = [
        (&changes.changed, "started anew"),
        (&changes.added, "added"),
        (&changes.removed, "removed"),
    ];
    for (names, what) in all {
        done.extend(names.iter().map(|name| format!("{kind} {name}: {what}")));
    }
}

fn kept(kind: &str, count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {kind}{plural}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::difference::InUse;
    use super::*;
    use crate::config::{self, Config};
    use crate::net::TlsTime;

    fn read(folder: &std::path::Path, rest: &str) -> Config {
        let text =
            format!("gateway: {{ id: g1, data_dir: data }}\nconsole: {{ bind: off }}\n{rest}\n");
        let file = folder.join("fieldgate.yaml");
        let parsed = config::parse(&text, &file, &config::System);
        parsed.unwrap_or_else(|faults| panic!("{faults}")).config
    }

    fn wire(name: &str, interval: &str) -> String {
        let tags = "[{ name: x, register: holding, address: 7, type: float32 }]";
        format!(
            "- {{ name: {name}, connection: {name}, unit_id: 1, groups: [{{ name: g, interval: {interval}, tags: {tags} }}] }}"
        )
    }

    fn prepared(config: &Config) -> Prepared {
        Prepared::new(config.clone(), TlsTime::default()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reload_that_broke_off_is_done_to_its_end_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let site = |interval: &str, listener: &str| {
            let wires = [wire("a", interval), wire("b", interval)].join("\n  ");
            let nowhere = "modbus_tcp: { host: 127.0.0.1, port: 1 }";
            read(
                folder.path(),
                &format!(
                    "broker: {{ listeners: [{{ name: {listener}, bind: \"127.0.0.1:0\", anonymous: true }}] }}\n\
                     connections:\n  - {{ name: a, {nowhere} }}\n  - {{ name: b, {nowhere} }}\ndevices:\n  {wires}"
                ),
            )
        };
        let before = site("1s", "plant");
        let mut gateway = Gateway::start(prepared(&before)).await.unwrap();
        let in_use = InUse::from(before);

        // What `config` would not let pass: it reaches beyond the last address.
        let now = site("2s", "hall");
        let mut broken = now.clone();
        let first = Arc::make_mut(&mut broken.connections[0]);
        first.devices[0].groups[0].tags[0].address = u16::MAX;
        let difference = Difference::between(&in_use, &broken);
        let failed = gateway.apply(prepared(&broken), difference).await;
        let failed = failed.unwrap_err().to_string();
        assert!(failed.contains("beyond the last address"), "{failed}");
        let names = |gateway: &Gateway| {
            let listeners = gateway.listeners.iter().map(|it| it.name.clone());
            let wires = gateway.connections.iter().map(|it| it.name.clone());
            (listeners.collect::<Vec<_>>(), wires.collect::<Vec<_>>())
        };
        let hall = vec!["hall".to_owned()];
        assert_eq!(names(&gateway), (hall.clone(), Vec::new()));
        assert!(gateway.listeners().all(|it| it.local_addr().is_some()));

        let difference = Difference::between(&in_use, &now);
        gateway.apply(prepared(&now), difference).await.unwrap();
        let wires = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(names(&gateway), (hall, wires));
        assert!(gateway.listeners().all(|it| it.local_addr().is_some()));
        gateway.stop().await;
    }
}
