//! Wills: published as their client would have done, at once or after their delay.

use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::publish::Source;
use super::session::{DelayedWill, Presence, SessionKey};
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
    ) {
        let source = Source::new(origin, client_id);
        let mut message = will.message.clone();
        message.retain &= self.limits.retained_messages > 0;
        self.distribute(now, &source, message);
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
        away.will = Some(Box::new(DelayedWill { will, origin, due }));
        self.timeouts.set(due, Timeout::WillDelay(key));
    }

    /// The Will Delay Interval has passed, or the session ends.
    pub(super) fn publish_delayed_will(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let Presence::Offline(away) = &mut session.presence else {
            return;
        };
        let client_id = session.client_id.clone();
        if let Some(delayed) = away.will.take() {
            let DelayedWill { will, origin, due } = *delayed;
            self.timeouts.cancel(due, Timeout::WillDelay(key));
            if self.may_leave_will(now, key, &will) {
                self.publish_will(now, origin, client_id, &will);
            }
            self.put_session(now, key);
        }
    }
}
