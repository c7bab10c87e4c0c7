//! `when_queue_full: refuse`: nobody gets a message that would find the queue of one of its receivers full. An MQTT 5
//! publisher is told so in its answer. One of 3.1.1 has no such answer: it is not read until there is room, and closed where that
//! takes too long; its message waits here meanwhile and was taken by nobody.
//!
//! So it goes too where what should keep the message is missing (`lacking`): for that nobody waits here, so 3.1.1 is closed.
//!
//! Beside it, the other reasons not to read a client: it has many answers waiting, or no CONNACK yet.

use std::time::{Duration, Instant};

use super::answers::OTHERS_MAX;
use super::durable::one;
use super::effect::{CloseCause, Effect};
use super::held::weight;
use super::publish::Source;
use super::receivers::Receiver;
use super::session::{Session, SessionKey};
use super::timeouts::Timeout;
use super::{Core, WhenQueueFull};
use crate::mqtt::{Message, Publish, QoS};

/// How long a publisher of 3.1.1 is not read before it is closed.
const PARKED_MAX: Duration = Duration::from_secs(30);

/// Why nobody takes a message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The queue of this session is full.
    Queue(SessionKey),
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
        self.full_receiver(source, message).map(Obstacle::Queue)
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
        self.stats.received -= 1; // it comes again
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

    /// `full` may have room now, or is gone: who waits for that tries again.
    pub(super) fn retry_parked(&mut self, now: Instant, full: SessionKey) {
        let waiting = self
            .parked
            .iter()
            .filter(|(_, parked)| parked.full == Obstacle::Queue(full));
        let keys: Vec<_> = waiting.map(|(key, _)| *key).collect();
        for key in keys {
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
