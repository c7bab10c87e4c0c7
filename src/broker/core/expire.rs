//! What happens because time passes: silence, sessions that end, wills that are due, retained messages that expire, and
//! the next step of a long replay.

use std::time::{Duration, Instant};

use super::effect::{CloseCause, ConnId};
use super::session::{Away, KeepAlive, Presence, Session, SessionKey};
use super::store::stop_waiting;
use super::timeouts::Timeout;
use super::{Core, Origin, Slot};
use crate::clock::WallTime;
use crate::mqtt::Will;
use crate::store::StateChange;

/// Timeouts handled in one call.
const STEP: usize = 256;
/// How often expired retained messages are looked for. Nobody gets one anyway; this only gives their memory back.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How many are looked at each time.
const SWEEP_STEP: usize = 1024;

impl Core {
    /// When [`Self::timeout`] is to be called next. It may be in the past: then at once, but after a turn for the others,
    /// because work was left.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let at_once = self.now.filter(|_| !self.replaying.is_empty());
        match (at_once, self.timeouts.next()) {
            (Some(now), Some(next)) => Some(now.min(next)),
            (now, next) => now.or(next),
        }
    }

    /// Does what is due; a bounded part of it.
    pub fn timeout(&mut self, now: Instant, wall: WallTime) {
        self.tell_time(now, wall);
        for _ in 0..STEP {
            match self.timeouts.pop(now) {
                Some(Timeout::KeepAlive(key)) => self.check_silence(now, key),
                Some(Timeout::SessionExpiry(key)) => self.expire_session(now, key),
                Some(Timeout::WillDelay(key)) => {
                    self.publish_delayed_will(now, key);
                }
                Some(Timeout::QueueFull(key)) => self.give_up_parked(now, key),
                Some(Timeout::Sweep) => self.sweep_retained(now),
                None => break,
            }
        }
        self.replay_next(now);
    }

    /// A packet of this session's client arrived.
    pub(super) fn seen(&mut self, now: Instant, key: SessionKey) {
        let session = self.sessions.get_mut(key.0);
        let connection = session.and_then(Session::connection_mut);
        if let Some(keep_alive) = connection.and_then(|found| found.keep_alive.as_mut()) {
            keep_alive.last_seen = now;
        }
    }

    /// The shell reads nothing from this connection for now, or reads it again: a log that it feeds is full, or it takes
    /// none of its answers. Until then its silence is no sign of anything.
    pub fn unread(&mut self, now: Instant, conn: ConnId, unread: bool) {
        let Slot::Open(key) = self.slot(conn) else {
            return;
        };
        let session = self.sessions.get_mut(key.0);
        if let Some(connection) = session.and_then(Session::connection_mut) {
            connection.unread = unread;
        }
        self.seen(now, key);
    }

    fn check_silence(&mut self, now: Instant, key: SessionKey) {
        let session = self.sessions.get_mut(key.0);
        let Some(connection) = session.and_then(Session::connection_mut) else {
            return;
        };
        let Some(KeepAlive {
            seconds,
            last_seen,
            set,
        }) = &mut connection.keep_alive
        else {
            return;
        };
        if connection.paused || connection.unread {
            *last_seen = now; // it is we who do not listen
        }
        let due = last_seen
            .checked_add(KeepAlive::limit(*seconds))
            .unwrap_or(now);
        if due > now {
            *set = due;
            self.timeouts.set(due, Timeout::KeepAlive(key));
        } else {
            self.end(now, key, CloseCause::KeepAlive);
        }
    }

    /// A session whose client is away ends after `expiry` seconds.
    pub(super) fn expire_later(&mut self, now: Instant, key: SessionKey, expiry: u32) {
        if expiry == u32::MAX {
            return; // never [MQTT-3.1.2.11.2]
        }
        let expires = now.checked_add(Duration::from_secs(u64::from(expiry)));
        let session = self.sessions.get_mut(key.0);
        if let Some(Presence::Offline(away)) = session.map(|session| &mut session.presence)
            && let Some(at) = expires
        {
            away.expires = expires;
            self.timeouts.set(at, Timeout::SessionExpiry(key));
        }
    }

    /// The client is back: nothing of what its absence had set going happens any more. Returns the will that waited to be
    /// published.
    pub(super) fn stop_waiting_for_client(
        &mut self,
        key: SessionKey,
    ) -> Option<(Box<Will>, Origin)> {
        let session = self.sessions.get_mut(key.0)?;
        let Presence::Offline(away) = &mut session.presence else {
            return None;
        };
        let Away { expires, will } = std::mem::take(away);
        if let Some(at) = expires {
            self.timeouts.cancel(at, Timeout::SessionExpiry(key));
        }
        let will = will?;
        if let Some(tickets) = will.published {
            stop_waiting(&mut self.logs, &mut self.store, key, &tickets);
            return None;
        }
        self.timeouts.cancel(will.due, Timeout::WillDelay(key));
        // Whatever its delay was: a will that still waits has one.
        Some((will.will, will.origin))
    }

    fn expire_session(&mut self, now: Instant, key: SessionKey) {
        self.stats.sessions_expired += 1;
        self.end_session(now, key);
    }

    /// Sees to it that expired retained messages are looked for, while any could expire.
    pub(super) fn arm_sweep(&mut self, now: Instant) {
        if self.sweep.is_none() && self.retained.has_expiring() {
            self.sweep = now.checked_add(SWEEP_INTERVAL);
            if let Some(at) = self.sweep {
                self.timeouts.set(at, Timeout::Sweep);
            }
        }
    }

    fn sweep_retained(&mut self, now: Instant) {
        self.sweep = None;
        for topic in self.retained.sweep(now, SWEEP_STEP) {
            self.put_state(StateChange::RetainedGone(topic), false);
        }
        self.arm_sweep(now);
    }

    /// One step of retained messages for one session; the sessions take turns.
    fn replay_next(&mut self, now: Instant) {
        let after = SessionKey(self.replayed.0.saturating_add(1));
        let next = self.replaying.range(after..).next();
        if let Some(&key) = next.or_else(|| self.replaying.first()) {
            self.replayed = key;
            self.flush(now, key);
        }
    }
}
