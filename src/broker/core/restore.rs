//! What the store still knew at a start: sessions with their subscriptions, retained messages, marks of QoS 2 messages.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::durable::Durable;
use super::rights::nobody;
use super::session::{Away, DelayedWill, Presence, Session, SessionKey};
use super::subscriptions::Subscriber;
use super::timeouts::Timeout;
use super::{Core, LogId, Origin};
use crate::auth::{Principal, Reach};
use crate::mqtt::{Message, PacketId, Will};
use crate::session::PacketIds;
use crate::store::{
    Mark, SessionNumber, SessionStanding, StateChange, StoredPresence, StoredSession,
    StoredSubscription,
};
use crate::topic::SharedFilter;

/// What the store knew, for [`Core::restore`].
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Sessions.
    pub sessions: Vec<RestoredSession>,
    /// Retained messages.
    pub retained: Vec<RestoredRetained>,
    /// Marks in the state and in the logs of bridges. Those of the session log are in [`SessionStanding::marks`].
    pub marks: Vec<(LogId, Mark)>,
}

/// A session of [`Restored`].
#[derive(Clone, Debug)]
pub struct RestoredSession {
    /// Which.
    pub number: SessionNumber,
    /// As it was stored; what remained of its deadlines is what remains now.
    pub session: StoredSession,
    /// By filter.
    pub subscriptions: Vec<(ByteString, StoredSubscription)>,
    /// In the session log.
    pub standing: SessionStanding,
}

/// A retained message of [`Restored`].
#[derive(Clone, Debug)]
pub struct RestoredRetained {
    /// What; its storage is its own.
    pub message: Message,
    /// The ClientId of its publisher.
    pub publisher: ByteString,
    /// How long ago it came, for its expiry.
    pub age: Duration,
}

impl Core {
    /// Takes up what the store knew. After [`Self::attach_store`] and [`Self::attach_log`], before the first client. A client
    /// that was connected counts as having left just now, without DISCONNECT; wills that are due are published with the
    /// first [`Self::timeout`].
    ///
    /// `judge` says who a client is now and what it may do, as for [`Self::revise`]; whom it does not know may do nothing.
    pub fn restore(
        &mut self,
        now: Instant,
        restored: Restored,
        judge: &mut dyn FnMut(&Principal, &str) -> Option<Principal>,
    ) {
        self.now = Some(now);
        for retained in restored.retained {
            self.restore_retained(now, retained);
        }
        self.arm_sweep(now);
        for session in restored.sessions {
            self.restore_session(now, session, judge);
        }
        for (log, mark) in restored.marks {
            // A session that a crash undid may have left one; its number must not become another's.
            self.store.skip_session(mark.session);
            let session = self.store.session(mark.session);
            match session.and_then(|key| self.sessions.get_mut(key.0)) {
                Some(session) => session.restore_mark(mark.packet_id, log),
                None => self.unmark(log, mark),
            }
        }
    }

    fn restore_retained(&mut self, now: Instant, retained: RestoredRetained) {
        let RestoredRetained {
            message,
            publisher,
            age,
        } = retained;
        if !self.retained.has_room(&message) {
            self.stats.dropped += 1;
            self.put_state(StateChange::RetainedGone(message.topic), false);
            return;
        }
        let arrived = now.checked_sub(age).unwrap_or(now);
        self.retained.set(arrived, message, publisher);
    }

    fn restore_session(
        &mut self,
        now: Instant,
        restored: RestoredSession,
        judge: &mut dyn FnMut(&Principal, &str) -> Option<Principal>,
    ) {
        let RestoredSession {
            number,
            session: stored,
            subscriptions,
            standing,
        } = restored;
        let mut session = Session::new(stored.client_id.clone());
        session.expiry = stored.expiry;
        session.packet_ids = PacketIds::after(standing.last_packet_id);
        let last = self.store.sessions.last();
        let durable = Durable::restored(number, stored.version, &standing, last);
        session.durable = Some(Box::new(durable));
        let principal = Principal {
            user: stored.user,
            certified: stored.certified,
            ..Principal::default()
        };
        let judged = judge(&principal, &session.client_id);
        session.principal = judged.unwrap_or_else(|| nobody(principal.user));
        // What was read before was allowed by the rights of that time.
        session.recheck = session.principal.rights.is_some();
        for id in standing.marks {
            session.restore_mark(id, LogId::Sessions);
        }
        let key = SessionKey(self.sessions.insert(session));
        self.clients.insert(&self.sessions, key);
        self.store.know_session(number, key);
        for (filter, stored) in subscriptions {
            self.restore_subscription(key, number, &filter, stored);
        }
        self.go_on_waiting(now, key, stored.expiry, stored.presence, stored.will);
    }

    fn restore_subscription(
        &mut self,
        key: SessionKey,
        number: SessionNumber,
        text: &str,
        stored: StoredSubscription,
    ) {
        let asked = SharedFilter::parse(&text.into());
        let asked = asked.ok().filter(|asked| {
            // The trie is as deep as its filters.
            asked.filter.levels().count() <= self.limits.topic_levels
        });
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let Some(asked) = asked else {
            tracing::warn!(client_id = %session.client_id, filter = text, "a stored subscription is dropped: its filter is not allowed any more");
            let gone = StateChange::SubscriptionGone(number, text.into());
            self.put_state(gone, false);
            return;
        };
        let subscriber = Subscriber {
            session: key,
            subscription_id: stored.id.and_then(NonZeroU32::new),
            qos: stored.qos,
            no_local: stored.no_local,
            retain_as_published: stored.retain_as_published,
            checked: session.reach(&asked.filter) != Reach::All,
        };
        if let Some((subscription, true)) = self.subscriptions.insert(&asked, subscriber) {
            session.subscriptions.push(subscription);
        }
        if stored.replaying && asked.share.is_none() {
            self.replay_from_start(key, asked.filter, stored, true);
        }
    }

    /// The session waits for its client, and its will for its time, as long as was left.
    fn go_on_waiting(
        &mut self,
        now: Instant,
        key: SessionKey,
        expiry: u32,
        presence: StoredPresence,
        will: Option<Will>,
    ) {
        let (expires_in, will_in) = match presence {
            StoredPresence::Away {
                expires_in,
                will_in,
            } => (expires_in, will_in.unwrap_or_default()),
            StoredPresence::Connected => {
                let seconds = |seconds| Duration::from_secs(u64::from(seconds));
                let delay = will.as_ref().map_or(0, |will| will.delay);
                let expires_in = (expiry < u32::MAX).then(|| seconds(expiry));
                (expires_in, seconds(delay.min(expiry)))
            }
        };
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let will = will.map(|will| {
            Box::new(DelayedWill {
                will: Box::new(will),
                origin: Origin::Client,
                due: now.checked_add(will_in).unwrap_or(now),
                is_restored: true,
                published: None,
            })
        });
        if let Some(will) = &will {
            self.timeouts.set(will.due, Timeout::WillDelay(key));
        }
        let expires = expires_in.and_then(|left| now.checked_add(left));
        if let Some(at) = expires {
            self.timeouts.set(at, Timeout::SessionExpiry(key));
        }
        session.presence = Presence::Offline(Away { expires, will });
        if presence == StoredPresence::Connected {
            self.put_session(now, key);
        }
    }
}

impl Session {
    /// A log has a copy of a QoS 2 message from this client.
    fn restore_mark(&mut self, id: PacketId, log: LogId) {
        self.inbound.restore(id);
        if let Some(durable) = &mut self.durable {
            durable.marks.entry(id).or_default().push(log);
        }
    }
}
