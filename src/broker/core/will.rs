//! Wills: published as their client would have done, at once or after their delay.
//!
//! The will of a session that is kept is in its row, and what it is published to are other files. So it stays there until
//! all of them are covered: a crash before that publishes it again, and never loses it. A session that ends waits for that,
//! too. Who does not wait is a client that is back, whose row is that of its new connection; and a shutdown, at which the
//! logs are closed before the state.

use std::mem;
use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::answers::Tickets;
use super::session::{DelayedWill, Presence, SessionKey};
use super::source::Source;
use super::store::{stop_waiting, waits};
use super::timeouts::Timeout;
use super::{Core, Origin};
use crate::mqtt::Will;

impl Core {
    pub(super) fn publish_will(
        &mut self,
        now: Instant,
        origin: Origin,
        client_id: ByteString,
        will: &Will,
    ) -> Tickets {
        self.distribute_will(now, &Source::of_will(origin, client_id, false), will)
    }

    fn distribute_will(&mut self, now: Instant, source: &Source, will: &Will) -> Tickets {
        let mut message = will.message.clone();
        message.retain &= self.limits.retained_messages > 0;
        self.distribute(now, source, message).tickets
    }

    /// Keeps the will of a client that is away for its Will Delay Interval.
    pub(super) fn delay_will(
        &mut self,
        now: Instant,
        key: SessionKey,
        origin: Origin,
        will: Box<Will>,
    ) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let Presence::Offline(away) = &mut session.presence else {
            return;
        };
        let delay = Duration::from_secs(u64::from(will.delay.min(session.expiry)));
        // An instant beyond what the clock can hold: better now than never.
        let due = now.checked_add(delay).unwrap_or(now);
        away.will = Some(Box::new(DelayedWill {
            will,
            origin,
            due,
            is_restored: false,
            published: None,
        }));
        self.timeouts.set(due, Timeout::WillDelay(key));
    }

    /// The Will Delay Interval has passed, or the session ends. Whether nothing of the will is left, as for
    /// [`Self::settle_will`]; false also where there is none to be published.
    pub(super) fn publish_delayed_will(&mut self, now: Instant, key: SessionKey) -> bool {
        let Some(delayed) = self.delayed_will(key) else {
            return false;
        };
        if delayed.published.is_some() {
            return false;
        }
        let (will, origin, due) = (delayed.will.clone(), delayed.origin, delayed.due);
        let may_be_again = delayed.is_restored;
        self.timeouts.cancel(due, Timeout::WillDelay(key));
        let mut tickets = Tickets::None;
        if self.may_leave_will(now, key, &will)
            && let Some(session) = self.sessions.get(key.0)
        {
            let client_id = session.client_id.clone();
            let source = Source::of_will(origin, client_id, may_be_again);
            tickets = self.distribute_will(now, &source, &will);
        }
        if let Some(delayed) = self.delayed_will(key) {
            delayed.published = Some(tickets);
        }
        self.settle_will(now, key)
    }

    /// Lets the session go on, or end, without its will, if all is covered that this was published to; else it is noted
    /// where that waits.
    pub(super) fn settle_will(&mut self, now: Instant, key: SessionKey) -> bool {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return false;
        };
        let Presence::Offline(away) = &mut session.presence else {
            return false;
        };
        let will = away.will.as_ref();
        let Some(tickets) = will.and_then(|will| will.published.as_ref()) else {
            return false;
        };
        // A session without a row is not there after a crash, nor is its will.
        let has_row = session.durable.is_some();
        if has_row && waits(&mut self.logs, &mut self.store, key, tickets) {
            return false;
        }
        away.will = None;
        if session.expiry == 0 {
            self.remove_session(now, key);
        } else {
            self.put_session(now, key);
        }
        true
    }

    /// As [`Self::settle_will`], whatever is covered.
    pub(super) fn settle_will_now(&mut self, now: Instant, key: SessionKey) {
        if let Some(delayed) = self.delayed_will(key)
            && let Some(tickets) = &mut delayed.published
        {
            let tickets = mem::take(tickets);
            stop_waiting(&mut self.logs, &mut self.store, key, &tickets);
            self.settle_will(now, key);
        }
    }

    fn delayed_will(&mut self, key: SessionKey) -> Option<&mut DelayedWill> {
        let session = self.sessions.get_mut(key.0)?;
        match &mut session.presence {
            Presence::Offline(away) => away.will.as_deref_mut(),
            Presence::Online(_) => None,
        }
    }
}
