//! The stores of a gateway: opened before anything that writes to them, closed after it.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::StartError;
use crate::bridge::PreparedBridge;
use crate::broker::{Attachment, Latest, SessionStore, Stores};
use crate::config::SessionStoreOptions;
use crate::store::{Log, LogOptions, SessionLog, State, StoreError};

/// Handles to close the stores with.
#[derive(Debug)]
pub(super) struct Opened {
    logs: Vec<Log>,
    sessions: SessionLog,
    state: State,
}

impl Opened {
    /// Opens every store off the runtime's threads, since opening reads files.
    pub(super) async fn open(
        sessions: SessionStoreOptions,
        bridges: Vec<(PreparedBridge, LogOptions)>,
    ) -> Result<(Self, Stores, Vec<PreparedBridge>), StartError> {
        let mut attachments = Vec::new();
        let mut prepared = Vec::new();
        for (bridge, options) in bridges {
            let log = aside(move || Log::open(options)).await?;
            attachments.push(Attachment {
                name: bridge.options().name.clone(),
                log,
                routes: bridge.options().forward.clone(),
                latest: Arc::new(Latest::default()),
            });
            prepared.push(bridge);
        }
        let sessions = aside(move || SessionStore::open(sessions.state, sessions.log)).await?;
        let logs = attachments.iter();
        let opened = Self {
            logs: logs.map(|attachment| attachment.log.clone()).collect(),
            sessions: sessions.log.clone(),
            state: sessions.state.clone(),
        };
        let stores = Stores {
            bridges: attachments,
            sessions: Some(sessions),
        };
        Ok((opened, stores, prepared))
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
            self.sessions.close();
            self.state.close();
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "closing the store failed");
        }
    }
}

async fn aside<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StartError> {
    let opened = spawn_blocking(open).await;
    opened
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
        .map_err(StartError::Store)
}
