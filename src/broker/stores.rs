//! What the broker is given to keep things in: a log for each bridge, and a session log with its state for the sessions that
//! outlive their connections.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::core::{LogId, Restored, RestoredRetained, RestoredSession};
use super::{ForwardRoute, Latest};
use crate::clock::WallTime;
use crate::store::{
    Log, SessionLog, SessionLogOptions, SessionNumber, State, StateOptions, StoreError,
};

/// Where the broker keeps what must outlive it. Without `sessions`, and where they are not missing,
/// every session lives in memory, and ends with the broker.
#[derive(Debug, Default)]
pub struct Stores {
    /// The bridges' logs.
    pub bridges: Vec<Attachment>,
    /// Sessions and retained messages.
    pub sessions: Option<SessionStore>,
    /// What there should be and is not.
    pub missing: Missing,
}

/// What cannot be opened. While anything is missing, what it should keep is not acknowledged.
#[derive(Debug, Default)]
pub struct Missing {
    /// What would go into the logs of bridges.
    pub bridges: Vec<Vec<ForwardRoute>>,
    /// The session log or the state.
    pub sessions: bool,
}

impl From<Vec<Attachment>> for Stores {
    fn from(bridges: Vec<Attachment>) -> Self {
        Self {
            bridges,
            ..Self::default()
        }
    }
}

/// A bridge's log and what goes into it.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The bridge's name.
    pub name: String,
    /// Its backlog.
    pub log: Log,
    /// What goes into it, first match wins.
    pub routes: Vec<ForwardRoute>,
    /// Where the gateway's own `$` topics go instead.
    pub latest: Arc<Latest>,
    /// The log of what overtakes the backlog, where there is one.
    pub live: Option<Log>,
}

/// The session log and the state, opened, and what they knew.
#[derive(Debug)]
pub struct SessionStore {
    /// Messages that sessions want. Closed by whoever opened it, after the broker has ended and before `state`.
    pub log: SessionLog,
    /// Sessions, subscriptions, retained messages.
    pub state: State,
    /// Where the wall clock stood when it was last set and the state committed.
    pub clock_was: Option<WallTime>,
    pub(super) restored: Restored,
    pub(super) next_session: SessionNumber,
}

impl SessionStore {
    /// Opens both, or makes them. Blocks while the state is read.
    ///
    /// # Errors
    /// Where a folder cannot be used, another process has it, or a newer program wrote it. What is damaged is put aside and
    /// salvaged instead.
    pub fn open(state: StateOptions, log: SessionLogOptions) -> Result<Self, StoreError> {
        let (state, kept, timeline) = State::open(state)?;
        let sessions = kept.sessions.iter();
        let known: BTreeSet<_> = sessions.map(|(number, ..)| *number).collect();
        let (log, mut standings) = SessionLog::open(log, timeline, &known)?;
        let sessions = kept.sessions.into_iter();
        let sessions = sessions.map(|(number, session, subscriptions)| RestoredSession {
            number,
            session,
            subscriptions,
            standing: standings.remove(&number).unwrap_or_default(),
        });
        let retained = kept.retained.into_iter();
        let retained = retained.map(|kept| RestoredRetained {
            message: kept.message,
            publisher: kept.publisher,
            age: kept.age,
        });
        let marks = kept.marks.into_iter();
        Ok(Self {
            restored: Restored {
                sessions: sessions.collect(),
                retained: retained.collect(),
                marks: marks.map(|mark| (LogId::State, mark)).collect(),
            },
            next_session: kept.next_session,
            clock_was: kept.clock_was,
            log,
            state,
        })
    }
}

impl Attachment {
    /// Its live lane, as an attachment without routes.
    pub(super) fn lane(&self, live: Log) -> Self {
        Self {
            name: format!("{}, live", self.name),
            log: live,
            routes: Vec::new(),
            latest: Arc::clone(&self.latest),
            live: None,
        }
    }
}

impl Stores {
    /// Makes attachments without routes of the live lanes, behind all others; gives which belongs to which.
    pub(super) fn spread_lanes(&mut self) -> Vec<(LogId, LogId)> {
        let mut lanes = Vec::new();
        for number in 0..self.bridges.len() {
            let Some(bridge) = self.bridges.get_mut(number) else {
                break;
            };
            let Some(live) = bridge.live.clone() else {
                continue;
            };
            let lane = bridge.lane(live);
            lanes.push((LogId::Bridge(number), LogId::Bridge(self.bridges.len())));
            self.bridges.push(lane);
        }
        lanes
    }

    /// Takes what was kept, with the marks that the bridges' logs have.
    pub(super) fn take_restored(&mut self) -> Option<(Restored, SessionNumber)> {
        let store = self.sessions.as_mut()?;
        let mut restored = std::mem::take(&mut store.restored);
        for (number, bridge) in self.bridges.iter().enumerate() {
            let marks = bridge.log.marks().into_iter();
            let marks = marks.map(|mark| (LogId::Bridge(number), mark));
            restored.marks.extend(marks);
        }
        Some((restored, store.next_session))
    }
}
