//! What a client may do, where the core asks for it: PUBLISH, SUBSCRIBE, will, delivery. And new rights for sessions that are
//! there already.
//!
//! A subscription is asked about once, when it is made. Where it reaches all topics that it can match, its deliveries need
//! no further question; where it reaches some, each of them is asked about. When the rights of a session change, its
//! subscriptions are asked about anew, and what waits for it already is asked about before it is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::Core;
use super::effect::{Act, CloseCause, Effect, Refused};
use super::session::{Session, SessionKey};
use crate::auth::{Principal, Reach, Rights};
use crate::broker::Origin;
use crate::mqtt::Will;
use crate::topic::{TopicFilter, TopicName};

/// One refusal of a client in this time is told; the others are counted. A device that may not publish tries again and again.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What was told of a client's refusals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals {
    last_told: Option<Instant>,
    untold: u32,
}

/// Somebody who may do nothing any more.
pub(super) fn nobody(user: Option<ByteString>) -> Principal {
    Principal {
        user,
        rights: Some(Arc::new(Rights::allowing(&[], &[]))),
        ..Principal::default()
    }
}

impl Session {
    pub(super) fn may_publish(&self, topic: &TopicName) -> bool {
        let rights = self.principal.rights.as_ref();
        rights.is_none_or(|rights| rights.may_publish(topic))
    }

    pub(super) fn may_read(&self, topic: &TopicName) -> bool {
        let rights = self.principal.rights.as_ref();
        rights.is_none_or(|rights| rights.may_read(topic))
    }

    pub(super) fn reach(&self, filter: &TopicFilter) -> Reach {
        let rights = self.principal.rights.as_ref();
        rights.map_or(Reach::All, |rights| rights.reach(filter))
    }
}

impl Core {
    /// Something was refused for want of a right: counted, and told now and then.
    pub(super) fn refused(&mut self, now: Instant, key: SessionKey, act: Act) {
        self.stats.denied += 1;
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let Refusals { last_told, untold } = &mut session.refusals;
        if last_told.is_some_and(|last| now.saturating_duration_since(last) < TOLD_EVERY) {
            *untold = untold.saturating_add(1);
            return;
        }
        *last_told = Some(now);
        let untold = std::mem::take(untold);
        self.effects.push(Effect::Refused(Box::new(Refused {
            conn: session.connection().map(|connection| connection.conn),
            client_id: session.client_id.clone(),
            user: session.principal.user.clone(),
            act,
            untold,
        })));
    }

    /// Whether a client's will may be published now that it is due.
    pub(super) fn may_leave_will(&mut self, now: Instant, key: SessionKey, will: &Will) -> bool {
        let topic = &will.message.topic;
        let session = self.sessions.get(key.0);
        let allowed = session.is_none_or(|session| session.may_publish(topic));
        if !allowed {
            self.refused(now, key, Act::Will(topic.clone()));
        }
        allowed
    }

    /// The rules have changed: gives `count` sessions the rights that they have now, beginning at `from`; the first 0. Returns
    /// where to go on, `None` after the last.
    ///
    /// `judge` says who a client is now, `None` that it is nobody: then it may do nothing any more and is closed (0x87). A
    /// session that is kept keeps its subscriptions; those that reach nothing now deliver nothing. fieldgate's own links are
    /// not asked about.
    pub fn revise(
        &mut self,
        now: Instant,
        from: usize,
        count: usize,
        judge: &mut dyn FnMut(&Principal, &str) -> Option<Principal>,
    ) -> Option<usize> {
        self.now = Some(now);
        let end = self.sessions.capacity();
        let to = from.saturating_add(count).min(end);
        for key in (from..to).map(SessionKey) {
            let Some(session) = self.sessions.get(key.0) else {
                continue;
            };
            let connection = session.connection();
            if connection.is_some_and(|connection| connection.origin != Origin::Client) {
                continue;
            }
            if let Some(principal) = judge(&session.principal, &session.client_id) {
                self.assume(key, principal);
            } else {
                let nothing = nobody(session.principal.user.clone());
                self.assume(key, nothing);
                self.end(now, key, CloseCause::Revoked);
            }
        }
        (to < end).then_some(to)
    }

    /// The session's client is this one from now on.
    pub(super) fn assume(&mut self, key: SessionKey, principal: Principal) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let is_same = session.principal.rights == principal.rights;
        session.principal = principal;
        if is_same {
            return;
        }
        self.lanes.forget();
        // What was read before and waits still was allowed by the old rights.
        session.recheck = session.principal.rights.is_some();
        for subscription in &session.subscriptions {
            let Some(filter) = self.subscriptions.filter(*subscription) else {
                continue;
            };
            let checked = session.reach(&filter) != Reach::All;
            if let Some(subscriber) = self.subscriptions.subscriber_mut(*subscription, key) {
                subscriber.checked = checked;
            }
        }
    }
}
