//! What the state gives back at a start. No I/O.

use std::time::Duration;

use bytestring::ByteString;

use super::super::{
    Mark, SessionNumber, StateChange, StoredPresence, StoredSession, StoredSubscription,
};
use super::row::Kept;
use crate::clock::WallTime;
use crate::mqtt::Message;

/// What was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// In the order of their numbers, each with its subscriptions. What remains of their time has been counted down.
    pub sessions: Vec<RestoredSession>,
    /// In the order of their topics.
    pub retained: Vec<RestoredRetained>,
    /// Of QoS 2 messages that were retained, or took one away, and not released.
    pub marks: Vec<Mark>,
    /// For the next session that begins; those after it count up from here. No start of the program gives out a number
    /// of another one.
    pub next_session: SessionNumber,
    /// Where the file was damaged: rows that could not be read, as far as that can be told. What was salvaged may be
    /// outdated.
    pub lost: Option<u64>,
    /// Where the wall clock stood at the last commit at which it was set. Whatever it says now, it was that late already.
    pub clock_was: Option<WallTime>,
}

/// A session, and its subscriptions by their filters.
pub type RestoredSession = (
    SessionNumber,
    StoredSession,
    Vec<(ByteString, StoredSubscription)>,
);

/// A retained message that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredRetained {
    /// As it was put.
    pub message: Message,
    /// ClientId of its publisher.
    pub publisher: ByteString,
    /// Time that counts since it was put.
    pub age: Duration,
}

/// Puts [`Restored`] together from rows in the order of their tables.
#[derive(Debug)]
pub(super) struct Restoring {
    timeline: u64,
    restored: Restored,
}

impl Restoring {
    /// `timeline`: where it stands now.
    pub(super) fn new(
        timeline: u64,
        next_session: SessionNumber,
        lost: Option<u64>,
        clock_was: Option<WallTime>,
    ) -> Self {
        Self {
            timeline,
            restored: Restored {
                sessions: Vec::new(),
                retained: Vec::new(),
                marks: Vec::new(),
                next_session,
                lost,
                clock_was,
            },
        }
    }

    /// A subscription without a session is left out: its session was never answered.
    pub(super) fn take(&mut self, kept: Kept) {
        let age = Duration::from_millis(self.timeline.saturating_sub(kept.stamp));
        let Restored {
            sessions,
            retained,
            marks,
            ..
        } = &mut self.restored;
        match kept.change {
            StateChange::Session(number, mut session) => {
                count_down(&mut session.presence, age);
                sessions.push((number, *session, Vec::new()));
            }
            StateChange::Subscription(number, filter, subscription) => {
                let place = sessions.binary_search_by_key(&number, |session| session.0);
                if let Some((.., subscriptions)) =
                    place.ok().and_then(|place| sessions.get_mut(place))
                {
                    subscriptions.push((filter, subscription));
                }
            }
            StateChange::Retained(message, publisher) => retained.push(RestoredRetained {
                message,
                publisher,
                age,
            }),
            StateChange::Marked(mark) => marks.push(mark),
            StateChange::SessionGone(_)
            | StateChange::SubscriptionGone(..)
            | StateChange::RetainedGone(_)
            | StateChange::MarkGone(_) => {}
        }
    }

    pub(super) fn finish(self) -> Restored {
        self.restored
    }
}

fn count_down(presence: &mut StoredPresence, age: Duration) {
    if let StoredPresence::Away {
        expires_in,
        will_in,
    } = presence
    {
        for remaining in [expires_in, will_in].into_iter().flatten() {
            *remaining = remaining.saturating_sub(age);
        }
    }
}
