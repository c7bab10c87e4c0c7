//! The stores of a gateway: opened before anything that writes to them, closed after it.
//!
//! What cannot be opened is no reason not to start (`absent`), but for one: another process has it. Two gateways on one
//! folder poll the same devices.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::StartError;
use super::absent::{Absent, Part};
use crate::bridge::PreparedBridge;
use crate::broker::{Attachment, Latest, SessionStore, Stores};
use crate::config::SessionStoreOptions;
use crate::store::{Log, LogOptions, SessionLog, State, StoreError};

/// Handles to close the stores with. Clones are of the same stores.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened {
    logs: Vec<Log>,
    sessions: Option<(SessionLog, State)>,
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
        let again = options.clone();
        match aside(move || Log::open(options)).await? {
            Ok(log) => {
                self.opened.logs.push(log.clone());
                self.stores.bridges.push(Attachment {
                    name,
                    log,
                    routes,
                    latest: Arc::new(Latest::default()),
                });
                self.bridges.push(bridge);
            }
            Err(error) => {
                self.stores.missing.bridges.push(routes);
                self.absent.note(Part::Bridge(name, again), &error);
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

    /// The bridges' logs, in their order.
    pub(super) fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Commits what is left. Once everything that writes has ended. The state comes last: what it says of a session, the log
    /// of its messages must know already.
    pub(super) async fn close(self) {
        let closed = spawn_blocking(move || {
            self.logs.iter().for_each(Log::close);
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
