//! Timers: the wait for CONNACK, keep alive in both directions, and the watchdog on what is never acknowledged.

use std::time::{Duration, Instant};

use super::{Cause, Core, Phase};
use crate::mqtt::Packet;

/// Bounds of the wait for PINGRESP, which is half the keep alive.
const ANSWER_MIN: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Bounds of the watchdog, which is three times the keep alive. Not shorter: a provider that throttles acknowledges
/// late, and to reconnect then makes it worse.
const WATCHDOG_MIN: Duration = Duration::from_secs(60);
const WATCHDOG_MAX: Duration = Duration::from_secs(300);

/// When something is due; `None`: never.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// CONNACK must have come.
    pub(super) connack: Option<Instant>,
    /// A packet must go out: PINGREQ, if no other does.
    pub(super) ping: Option<Instant>,
    /// Something must have come since the PINGREQ, and how long that may take.
    pub(super) answer: Option<(Instant, Duration)>,
    /// To look for messages that are never acknowledged.
    pub(super) watchdog: Option<Instant>,
    /// The pace lets the next message leave.
    pub(super) pace: Option<Instant>,
    /// Draining ends.
    pub(super) stop: Option<Instant>,
}

impl Timers {
    pub(super) fn sent(&mut self, now: Instant, keep_alive: Duration) {
        self.ping = (!keep_alive.is_zero()).then(|| now + keep_alive);
    }

    /// PINGRESP came.
    pub(super) fn answered(&mut self) {
        self.answer = None;
    }
}

fn is_due(timer: Option<Instant>, now: Instant) -> bool {
    timer.is_some_and(|at| at <= now)
}

/// How long a message may wait for its acknowledgement.
pub(super) fn watchdog(keep_alive: Duration) -> Duration {
    if keep_alive.is_zero() {
        WATCHDOG_MAX
    } else {
        keep_alive
            .saturating_mul(3)
            .clamp(WATCHDOG_MIN, WATCHDOG_MAX)
    }
}

impl Core {
    /// Something came, be it a part of a packet. While the PINGREQ is still behind other data on a slow link, that says that the
    /// upstream is there.
    pub fn heard(&mut self, now: Instant) {
        if let Some((due, wait)) = &mut self.timers.answer {
            *due = now + *wait;
        }
    }

    /// When [`Self::handle_timeout`] is to be called next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let timers = &self.timers;
        [
            timers.connack,
            timers.ping,
            timers.answer.map(|(due, _)| due),
            timers.watchdog,
            timers.stop,
            timers.pace,
            self.is_up().then(|| self.retry.next()).flatten(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due. To be followed by [`Self::pump`], as every input.
    pub fn handle_timeout(&mut self, now: Instant) {
        if is_due(self.timers.connack, now) {
            return self.close(Cause::NoConnack);
        }
        if is_due(self.timers.answer.map(|(due, _)| due), now) {
            return self.close(Cause::NoPingresp);
        }
        if is_due(self.timers.stop, now) {
            return self.finish_stop(now);
        }
        if is_due(self.timers.watchdog, now) {
            self.look_for_unacknowledged(now);
        }
        if is_due(self.timers.ping, now) && self.is_up() {
            self.ping(now);
        }
    }

    /// PINGREQ, which is to be answered in time.
    pub(super) fn ping(&mut self, now: Instant) {
        let wait = (self.limits.keep_alive / 2).clamp(ANSWER_MIN, ANSWER_MAX);
        self.timers.answer.get_or_insert((now + wait, wait));
        self.send(now, Packet::Pingreq);
    }

    fn look_for_unacknowledged(&mut self, now: Instant) {
        let patience = watchdog(self.limits.keep_alive);
        let Some(oldest) = self.since.values().min() else {
            self.timers.watchdog = Some(now + patience);
            return;
        };
        let due = *oldest + patience;
        if due <= now {
            self.close(Cause::Unacknowledged);
        } else {
            self.timers.watchdog = Some(due);
        }
    }

    /// Ends the connection; nothing more is sent on it.
    pub(super) fn close(&mut self, cause: Cause) {
        self.phase = Phase::Closed;
        self.timers = Timers::default();
        self.effects.push_back(super::Effect::Close(cause));
    }
}
