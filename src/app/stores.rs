//! The stores of a gateway: opened before anything that writes to them, closed after it.
//!
//! What cannot be opened is no reason not to start (`absent`), but for one: another process has it. Two gateways on one
//! folder poll the same devices.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::StartError;
use super::absent::{Absent, Part};
use crate::bridge::{Lanes, PreparedBridge};
use crate::broker::{Attachment, Latest, SessionStore, Stores};
use crate::config::SessionStoreOptions;
use crate::metrics::Histogram;
use crate::shutdown::Pulse;
use crate::store::{Log, LogOptions, SessionLog, State, StoreError};

/// Handles to close the stores with. Clones are of the same stores.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened {
    logs: Vec<Lanes>,
    sessions: Option<(SessionLog, State)>,
}

/// What the medium was given since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) commits: Histogram,
    pub(super) syncs: u64,
    pub(super) bytes: u64,
}

impl Written {
    fn add(&mut self, commits: &Histogram, syncs: u64, bytes: u64) {
        self.commits.add(commits);
        self.syncs += syncs;
        self.bytes += bytes;
    }
}

/// All that a start finds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) opened: Opened,
    /// For the broker.
    pub(super) stores: Stores,
    /// Those whose logs are in `stores`, in the same order.
    pub(super) bridges: Vec<PreparedBridge>,
    pub(super) absent: Absent,
}

impl Found {
    /// Opens every store off the runtime's threads, since opening reads files.
    pub(super) async fn open(
        sessions: SessionStoreOptions,
        bridges: Vec<(PreparedBridge, LogOptions)>,
    ) -> Result<Self, StartError> {
        let mut found = Self::default();
        for (bridge, options) in bridges {
            found.open_log(bridge, options).await?;
        }
        let (state, log) = (sessions.state.clone(), sessions.log.clone());
        match aside(move || SessionStore::open(state, log)).await? {
            Ok(store) => {
                found.opened.sessions = Some((store.log.clone(), store.state.clone()));
                found.stores.sessions = Some(store);
            }
            Err(error) => {
                found.stores.missing.sessions = true;
                found.absent.note(Part::Sessions(sessions), &error);
            }
        }
        Ok(found)
    }

    async fn open_log(
        &mut self,
        bridge: PreparedBridge,
        options: LogOptions,
    ) -> Result<(), StartError> {
        let name = bridge.options().name.clone();
        let routes = bridge.options().forward.clone();
        let overtakes = routes.iter().any(|route| route.live_first);
        let again = (options.clone(), overtakes);
        match aside(move || open_lanes(options, overtakes)).await? {
            Ok(logs) => {
                self.stores.bridges.push(Attachment {
                    name,
                    log: logs.backlog.clone(),
                    routes,
                    latest: Arc::new(Latest::default()),
                    live: logs.live.clone(),
                });
                self.opened.logs.push(logs);
                self.bridges.push(bridge);
            }
            Err(error) => {
                self.stores.missing.bridges.push(routes);
                let (options, overtakes) = again;
                self.absent
                    .note(Part::Bridge(name, options, overtakes), &error);
            }
        }
        Ok(())
    }
}

impl Opened {
    /// Why sessions and retained messages cannot be kept at the moment, if so. A bridge tells of its own log.
    pub(super) fn error(&self) -> Option<String> {
        let (sessions, state) = self.sessions.as_ref()?;
        sessions.error().or_else(|| state.error())
    }

    /// What the medium was given for sessions, retained messages and these `logs` of bridges.
    pub(super) fn written<'a>(&self, logs: impl Iterator<Item = &'a Lanes>) -> Written {
        let mut written = Written::default();
        for stats in logs.map(Lanes::stats) {
            written.add(&stats.commits, stats.syncs, stats.bytes_written);
        }
        if let Some((sessions, state)) = &self.sessions {
            let stats = sessions.stats();
            written.add(&stats.commits, stats.syncs, stats.bytes_written);
            let stats = state.stats();
            written.add(&stats.commits, stats.syncs, stats.bytes_written);
        }
        written
    }

    /// Of the threads of what is kept for sessions.
    pub(super) fn pulses(&self) -> Vec<Pulse> {
        let sessions = self.sessions.as_ref();
        let pulses = sessions.map(|(sessions, state)| [sessions.pulse(), state.pulse()]);
        pulses.into_iter().flatten().collect()
    }

    /// With one more bridge's.
    pub(super) fn extend(&mut self, logs: Option<Lanes>) {
        self.logs.extend(logs);
    }

    /// With the bridges' logs of another.
    pub(super) fn absorb(&mut self, other: Self) {
        self.logs.extend(other.logs);
    }

    /// Commits what is left. Once everything that writes has ended. The state comes last: what it says of a session, the log
    /// of its messages must know already.
    pub(super) async fn close(self) {
        let closed = spawn_blocking(move || {
            self.logs.iter().for_each(Lanes::close);
            if let Some((sessions, state)) = self.sessions {
                sessions.close();
                state.close();
            }
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "closing the store failed");
        }
    }
}

/// Opens the backlog of a bridge; also the live lane where a route `overtakes`, or did and something may be left.
pub(super) fn open_lanes(options: LogOptions, overtakes: bool) -> Result<Lanes, StoreError> {
    if !overtakes && !options.live_dir().exists() {
        return Ok(Log::open(options)?.into());
    }
    let (options, live) = options.with_live_lane();
    let backlog = Log::open(options)?;
    match Log::open(live) {
        Ok(live) => Ok(Lanes {
            backlog,
            live: Some(live),
        }),
        Err(error) => {
            backlog.close();
            Err(error)
        }
    }
}

/// Opens a part of the store. The outer error ends the start.
pub(super) async fn aside<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<Result<T, StoreError>, StartError> {
    let opened = spawn_blocking(open).await.unwrap_or_else(|panicked| {
        Err(StoreError::Unavailable {
            reason: format!("opening them failed, please report this: {panicked}"),
        })
    });
    match opened {
        Err(error @ StoreError::InUse { .. }) => Err(StartError::Store(error)),
        opened => Ok(opened),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock;
    use crate::mqtt::{Message, QoS};
    use crate::store::{Record, Seq};
    use crate::topic::TopicName;

    #[test]
    fn what_is_left_in_a_live_lane_is_found_without_a_route_that_says_live_first() {
        let folder = tempfile::tempdir().unwrap();
        let options = || LogOptions::new(folder.path().join("cloud"));
        assert!(open_and_close(options(), false).live.is_none());
        let lanes = open_lanes(options(), true).unwrap();
        let live = lanes.live.as_ref().unwrap();
        let topic = TopicName::try_from("t").unwrap();
        let record = Record {
            message: Message::new(topic, Bytes::new(), QoS::AtLeastOnce, false),
            stamped: clock::wall(),
        };
        live.append(clock::now(), Seq(1), record, None);
        assert_eq!(lanes.stats().messages, 1, "both are counted");
        assert_eq!(lanes.stats().file_bytes_max, options().max_bytes);
        lanes.close();
        let lanes = open_and_close(options(), false);
        assert_eq!(lanes.live.unwrap().stats().messages, 1);
    }

    fn open_and_close(options: LogOptions, overtakes: bool) -> Lanes {
        let lanes = open_lanes(options, overtakes).unwrap();
        lanes.close();
        lanes
    }
}
