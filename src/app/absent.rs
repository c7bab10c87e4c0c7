//! What of the store could not be opened at the start: a folder that is missing, read only or full, a file of a newer program.
//!
//! The gateway runs without it: polls, serves clients, and acknowledges nothing that such a part should keep (the broker's
//! `lacking`). A bridge without its log does not dial, since it has nothing to carry, and at its upstream lies a session whose
//! packet ids only the log knows. It is told in the log and on the status topics.
//!
//! Each part is tried again with back-off, by opening and closing it. When one can be opened, the gateway starts anew with it
//! (`cli/run`): taking files into use is a start, always. So there is one way in which positions, epochs, marks and sessions
//! come together, and nothing has a position before its log has begun an epoch.

use std::time::Duration;

use tokio::time::sleep;

use super::stores::{aside, open_lanes};
use crate::broker::SessionStore;
use crate::config::SessionStoreOptions;
use crate::store::{LogOptions, StoreError};

const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A part of the store.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// The logs of the bridge of this name, and whether a route of it says `live_first`.
    Bridge(String, LogOptions, bool),
    /// The session log and the state.
    Sessions(SessionStoreOptions),
}

/// Parts that could not be opened, and why.
#[derive(Debug, Default)]
pub(super) struct Absent {
    parts: Vec<(Part, String)>,
}

/// How long until the next attempt. Kept over starts, so that a part that can be opened only now and then does not have the
/// gateway start every second.
#[derive(Clone, Copy, Debug)]
pub struct RegainWait(Duration);

impl Default for RegainWait {
    fn default() -> Self {
        Self(RETRY_MIN)
    }
}

impl RegainWait {
    fn take(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(RETRY_MAX);
        wait
    }
}

impl Absent {
    pub(super) fn note(&mut self, part: Part, error: &StoreError) {
        tracing::error!(
            %error,
            "{} cannot be opened: runs without, acknowledges nothing that it should keep, and tries again; \
             `gateway.data_dir` must be a folder that this user may write to, with room",
            part.name()
        );
        self.parts.push((part, error.to_string()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The names of the bridges without a log, and why.
    pub(super) fn bridges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.iter().filter_map(|(part, error)| match part {
            Part::Bridge(name, ..) => Some((name.as_str(), error.as_str())),
            Part::Sessions(_) => None,
        })
    }

    /// For the status topic; `None`: nothing is absent.
    pub(super) fn error(&self) -> Option<String> {
        let parts = self.parts.iter();
        let parts = parts.map(|(part, error)| format!("{} cannot be opened: {error}", part.name()));
        let parts: Vec<_> = parts.collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Returns when one of them can be opened; never where nothing is absent. Cancel safe, at the cost of one attempt.
    pub(super) async fn regained(&self, wait: &mut RegainWait) {
        let mut errors: Vec<_> = self.parts.iter().map(|(_, error)| error.clone()).collect();
        loop {
            if self.parts.is_empty() {
                std::future::pending::<()>().await;
            }
            sleep(wait.take()).await;
            for ((part, _), known) in self.parts.iter().zip(&mut errors) {
                let Err(error) = part.try_to_open().await else {
                    tracing::info!("{} can be opened again", part.name());
                    return;
                };
                if *known != error {
                    tracing::error!(error, "{} still cannot be opened", part.name());
                    *known = error;
                }
            }
        }
    }
}

impl Part {
    fn name(&self) -> String {
        match self {
            Self::Bridge(name, ..) => format!("the backlog of bridge {name}"),
            Self::Sessions(_) => "the store of sessions and retained messages".to_owned(),
        }
    }

    /// Opens it, and closes it again.
    async fn try_to_open(&self) -> Result<(), String> {
        let part = self.clone();
        let opened = aside(move || {
            match part {
                Self::Bridge(_, options, overtakes) => open_lanes(options, overtakes)?.close(),
                Self::Sessions(options) => {
                    let store = SessionStore::open(options.state, options.log)?;
                    store.log.close();
                    store.state.close();
                }
            }
            Ok(())
        });
        match opened.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}
