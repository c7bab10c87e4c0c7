//! `when_queue_full: refuse`: nobody gets a message that would find the queue of one of its receivers full. An MQTT 5
//! publisher is told so in its answer. One of 3.1.1 has no such answer: it is not read until there is room, and closed where that
//! takes too long; its message waits here meanwhile and was taken by nobody.
//!
//! `when_full: refuse` of a bridge's backlog does the same to who publishes what it would have to keep ([`Core::log_is_full`]).
//! What has no sender to refuse (devices, the gateway's own, wills, QoS 0 that would be kept) passes that backlog by, counted;
//! local subscribers and other bridges get it all the same. A bridge that is full so holds up nobody else. By a route with
//! `live_first` a message is refused where neither lane takes it (`overtake`): who waits then waits for the backlog.
//!
//! So it goes too where what should keep the message is missing (`lacking`): for that nobody waits here, so 3.1.1 is closed.
//!
//! Beside it, the other reasons not to read a client: it has many answers waiting, or no CONNACK yet.

use std::time::{Duration, Instant};

use super::answers::OTHERS_MAX;
use super::durable::one;
use super::effect::{CloseCause, Effect};
use super::held::weight;
use super::receivers::Receiver;
use super::session::{Session, SessionKey};
use super::source::Source;
use super::timeouts::Timeout;
use super::{Core, LogId, Origin, WhenQueueFull};
use crate::mqtt::{Message, Publish, QoS};

/// How long a publisher of 3.1.1 is not read before it is closed.
const PARKED_MAX: Duration = Duration::from_secs(30);

/// Why nobody takes a message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The queue of this session is full.
    Queue(SessionKey),
    /// The log of this bridge is full, and nothing in it gives way.
    Log(LogId),
    /// A part of the store is missing.
    Store,
}

/// A publisher that is not read.
#[derive(Debug)]
pub(super) struct Parked {
    publish: Publish,
    full: Obstacle,
    due: Instant,
}

impl Core {
    /// Why nobody shall take this message at QoS 1 or 2 now, if so.
    pub(super) fn obstacle(&mut self, source: &Source, message: &Message) -> Option<Obstacle> {
        if self.lacks_keeper(source.origin, message) {
            return Some(Obstacle::Store);
        }
        if let Some(full) = self.full_log(source.origin, message) {
            return Some(Obstacle::Log(full));
        }
        self.full_receiver(source, message).map(Obstacle::Queue)
    }

    /// A log that would have to keep this message, and has no room for it.
    fn full_log(&self, origin: Origin, message: &Message) -> Option<LogId> {
        if origin.has_no_resender() || message.qos == QoS::AtMostOnce {
            return None;
        }
        let mut full = self.logs.iter().filter(|log| log.is_full);
        let found = full.find(|log| {
            let route = log.takes(origin, &message.topic);
            let route = route.filter(|route| route.qos > QoS::AtMostOnce);
            route.is_some_and(|route| self.open_lane(log, route).is_none())
        });
        found.map(|log| log.id)
    }

    /// A bridge's log that refuses what it has no room for ([`crate::store::WhenFull::Refuse`]) is full, or is no longer. To be
    /// told after each [`Effect::Append`] to such a log, before the next message is decided about: then who waits for it is let in
    /// one by one, as long as there is room.
    pub fn log_is_full(&mut self, now: Instant, log: LogId, is_full: bool) {
        let Some(known) = self.logs.iter_mut().find(|known| known.id == log) else {
            return;
        };
        known.is_full = is_full;
        if !is_full && !self.parked.is_empty() {
            self.retry_parked(now, Obstacle::Log(log));
        }
    }

    /// What was told last by [`Self::log_is_full`].
    #[must_use]
    pub fn knows_full(&self, log: LogId) -> bool {
        let mut known = self.logs.iter();
        known.any(|known| known.id == log && known.is_full)
    }

    /// A message was refused because of a full log.
    pub(super) fn note_refusal(&mut self, obstacle: Obstacle) {
        if let Obstacle::Log(log) = obstacle {
            let is_lost = false;
            self.effects.push(Effect::NotTaken { log, is_lost });
        }
    }

    /// A publisher of 3.1.1 has not been read for long enough.
    pub(super) fn give_up_parked(&mut self, now: Instant, key: SessionKey) {
        if let Some(full) = self.parked.get(&key).map(|parked| parked.full) {
            self.note_refusal(full);
        }
        self.end(now, key, CloseCause::QueueFull);
    }

    /// A session that should get this message at QoS 1 or 2 and has no room for it. Only where that is a reason to refuse
    /// it.
    fn full_receiver(&mut self, source: &Source, message: &Message) -> Option<SessionKey> {
        if self.when_queue_full == WhenQueueFull::DropOldest || message.qos == QoS::AtMostOnce {
            return None;
        }
        let mut receivers = std::mem::take(&mut self.receivers);
        self.find_receivers(source, message, &mut receivers);
        let load = one(weight(message));
        let is_full = |receiver: &&Receiver| {
            let session = self.sessions.get(receiver.session.0);
            receiver.qos > QoS::AtMostOnce
                && session.is_some_and(|session| session.is_full(load, &self.limits))
        };
        let full = receivers.iter().find(is_full);
        let full = full.map(|receiver| receiver.session);
        let full = full.or_else(|| self.full_member(message));
        receivers.clear();
        self.receivers = receivers;
        full
    }

    /// Reads nothing more from the client until `full` is out of its message's way, for a while.
    pub(super) fn park(&mut self, now: Instant, key: SessionKey, full: Obstacle, publish: Publish) {
        self.stats.received.take_back(publish.qos); // it comes again
        let due = now.checked_add(PARKED_MAX).unwrap_or(now);
        self.timeouts.set(due, Timeout::QueueFull(key));
        let parked = Parked { publish, full, due };
        self.parked.insert(key, parked);
        self.pause(key);
    }

    /// The client waits no more.
    pub(super) fn unpark(&mut self, key: SessionKey) -> Option<Parked> {
        let parked = self.parked.remove(&key)?;
        self.timeouts.cancel(parked.due, Timeout::QueueFull(key));
        Some(parked)
    }

    /// `full` may have room now, or is gone: who waits for that tries again, who has waited longest first.
    pub(super) fn retry_parked(&mut self, now: Instant, full: Obstacle) {
        let waiting = self.parked.iter().filter(|(_, parked)| parked.full == full);
        let mut keys: Vec<_> = waiting.map(|(key, parked)| (parked.due, *key)).collect();
        keys.sort_unstable();
        for (_, key) in keys {
            if self.fills(full) {
                return; // whether there is room for another is told once that is appended
            }
            let Some(Parked { publish, due, .. }) = self.unpark(key) else {
                continue;
            };
            if let Err(reason) = self.publish(now, key, publish) {
                self.end(now, key, CloseCause::Violated(reason));
            } else if let Some(parked) = self.parked.get_mut(&key) {
                // Still no room, there or elsewhere: its time does not begin anew.
                let set = std::mem::replace(&mut parked.due, due);
                self.timeouts.cancel(set, Timeout::QueueFull(key));
                self.timeouts.set(due, Timeout::QueueFull(key));
            } else {
                self.resume_reading(now, key);
            }
        }
    }

    /// Whether something is on its way into the log, or into its live lane.
    fn fills(&self, full: Obstacle) -> bool {
        let Obstacle::Log(of) = full else {
            return false;
        };
        let mut logs = self.logs.iter();
        let live = logs.find(|log| log.id == of).and_then(|log| log.live);
        let is_its = |log: LogId| log == of || Some(log) == live;
        let mut effects = self.effects.iter();
        effects.any(|effect| matches!(effect, Effect::Append { log, .. } if is_its(*log)))
    }

    pub(super) fn pause(&mut self, key: SessionKey) {
        let session = self.sessions.get_mut(key.0);
        if let Some(connection) = session.and_then(Session::connection_mut)
            && !std::mem::replace(&mut connection.paused, true)
        {
            let conn = connection.conn;
            self.effects.push(Effect::Pause { conn });
        }
    }

    /// Reads on, where no reason is left not to.
    pub(super) fn resume_reading(&mut self, now: Instant, key: SessionKey) {
        let session = self.sessions.get_mut(key.0);
        if let Some(connection) = session.and_then(Session::connection_mut)
            && connection.paused
            && connection.greeted
            && connection.answers.others() <= OTHERS_MAX / 2
            && !self.parked.contains_key(&key)
        {
            connection.paused = false;
            let conn = connection.conn;
            self.effects.push(Effect::Resume { conn });
            self.seen(now, key); // its silence begins when it is listened to
        }
    }
}
