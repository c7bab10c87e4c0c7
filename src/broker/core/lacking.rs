//! What of the store could not be opened at the start, and what that means: everything runs but what would have to be kept.
//!
//! Nothing is promised that cannot be held. Of a client that can send again, a message at QoS 1 or 2 that such a part should keep
//! is taken by nobody: told to MQTT 5 (0x97), and one of 3.1.1 is not read and closed after a while, as with a full queue.
//! What has no sender to refuse (QoS 0, devices, wills, the gateway's own) passes the missing part by and is counted as
//! dropped; local subscribers get it all the same.
//!
//! No session that outlives its connection is served while any part is missing (CONNACK 0x88), be it another part: a missing log may hold
//! marks of that session's QoS 2 messages. Under a packet id that is free again by the time they are read, they
//! would swallow another message.
//!
//! A part whose files are out of use later, while it runs, takes messages until it is full; then clients are not read. Devices
//! and the gateway's own go on: they are answered when the message is taken, not when it is kept, since they have no way to
//! send it again, and what they say passes that part by until it has room ([`Core::pass_by`]).
//!
//! There is no way back in here. Whoever has opened the missing part starts another broker with all of it: taking files into use
//! is a start, always, so positions, epochs, marks and sessions come together in one way only.

use super::receivers::Receiver;
use super::route::AttachedLog;
use super::{Core, ForwardRoute, LogId, Origin};
use crate::mqtt::{Message, QoS, ReasonCode};

impl Core {
    /// A bridge's log that cannot be opened: nothing goes into it. `log` is a number that no open log has.
    pub fn lack_log(&mut self, log: LogId, routes: Vec<ForwardRoute>) {
        self.lanes.forget();
        self.logs.push(AttachedLog::missing(log, routes));
    }

    /// The session log or the state cannot be opened: no session is kept, and no retained message.
    pub fn lack_store(&mut self) {
        self.lacks_store = true;
    }

    /// A part of the store is full and its files are out of use: what has no sender to hold back goes to everybody else. Or it
    /// has room again.
    pub fn pass_by(&mut self, log: LogId, is_passed_by: bool) {
        match log {
            LogId::Sessions => self.passes_sessions_by = is_passed_by,
            // What waits there is one value a topic, and the topics are limited.
            LogId::State => {}
            LogId::Bridge(_) => {
                let known = self.logs.iter_mut().find(|known| known.id == log);
                if let Some(known) = known {
                    known.is_passed_by = is_passed_by;
                }
            }
        }
    }

    /// Takes the sessions off whose messages the session log would have to keep, where it is passed by.
    pub(super) fn pass_sessions_by(&mut self, origin: Origin, receivers: &mut Vec<Receiver>) {
        if self.passes_sessions_by && origin.has_no_resender() {
            let before = receivers.len();
            receivers.retain(|receiver| !receiver.is_kept());
            self.stats.dropped += (before - receivers.len()) as u64;
        }
    }

    /// Whether the message would have to be kept where nothing can be.
    pub(super) fn lacks_keeper(&self, origin: Origin, message: &Message) -> bool {
        if origin.has_no_resender() || message.qos == QoS::AtMostOnce {
            return false;
        }
        let mut missing = self.logs.iter().filter(|log| log.is_missing());
        (self.lacks_store && message.retain) || missing.any(|log| log.keeps(origin, &message.topic))
    }

    /// Whether a session that outlives its connection may be begun or go on.
    pub(super) fn may_keep_sessions(&self) -> Result<(), ReasonCode> {
        if self.lacks_store || self.logs.iter().any(AttachedLog::is_missing) {
            return Err(ReasonCode::ServerUnavailable);
        }
        Ok(())
    }
}
