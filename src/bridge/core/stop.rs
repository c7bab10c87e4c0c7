//! An orderly stop: what is in flight is waited for a little, and the upstream is left knowing that we are offline. And an
//! orderly leave, to go on at once by another connection: the same wait, the session stays, the Will is not published.
//!
//! MQTT 5 has a DISCONNECT that publishes the Will. In 3.1.1 a DISCONNECT discards the Will, so its message is published
//! before; if that is not acknowledged in time, the connection is closed without DISCONNECT and the Will speaks.

use std::time::Instant;

use super::{Cause, Core, Phase};
use crate::mqtt::{Disconnect, Packet, ReasonCode};

impl Core {
    /// Begins no new message and ends with [`super::Effect::Close`] when what is in flight is acknowledged, at `deadline` at the
    /// latest. The backlog stays for the next start.
    pub fn stop(&mut self, now: Instant, deadline: Instant) {
        match self.phase {
            Phase::Closed => {}
            Phase::Stopping if !self.is_leaving => {}
            Phase::Connecting { .. } => self.close(Cause::Stopped),
            Phase::Up | Phase::Stopping => {
                self.begin_to_stop(deadline);
                self.is_leaving = false;
                let will = self.options.will.clone();
                if let Some(will) = will.filter(|_| !self.options.protocol.is_v5()) {
                    self.newest.put(will);
                }
                self.finish_if_drained(now);
            }
        }
    }

    /// Begins no new message and ends with [`super::Effect::Close`] when what is in flight is acknowledged, at `deadline` at the
    /// latest: the caller has another connection, and goes on there with this session. Does nothing unless up.
    pub fn leave(&mut self, now: Instant, deadline: Instant) {
        if self.phase == Phase::Up {
            self.begin_to_stop(deadline);
            self.is_leaving = true;
            self.finish_if_drained(now);
        }
    }

    fn begin_to_stop(&mut self, deadline: Instant) {
        self.phase = Phase::Stopping;
        self.timers.stop = Some(deadline);
        self.newest.discard_waiting();
    }

    pub(super) fn finish_if_drained(&mut self, now: Instant) {
        if self.outbound.is_empty() && self.newest.is_empty() && self.gaps_in_flight() == 0 {
            self.finish_stop(now);
        }
    }

    pub(super) fn finish_stop(&mut self, now: Instant) {
        if self.is_leaving {
            self.send(
                now,
                Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
            );
            return self.close(Cause::Moved);
        }
        let has_will = self.options.will.is_some();
        let v5 = self.options.protocol.is_v5();
        let reason = if v5 && has_will {
            ReasonCode::DisconnectWithWill
        } else {
            ReasonCode::Success
        };
        if v5 || !has_will || self.newest.is_empty() {
            self.send(now, Packet::Disconnect(Disconnect::new(reason)));
        }
        self.close(Cause::Stopped);
    }
}
