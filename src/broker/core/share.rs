//! Shared subscriptions (MQTT 5 section 4.8.2): a message goes to one member of each group that it matches, beside those
//! who subscribed for themselves.
//!
//! In turn, to those first who can be sent it at once, then to those who are there, then, at QoS 1 and 2, to those whose
//! session waits for them; whose queue is full comes last. When a member's session ends, what it had not acknowledged at
//! QoS 1 and what it had not been sent goes to another member; QoS 2 that was sent does not [MQTT-4.8.2-5], because it may
//! have arrived. Of a session that is kept that is read from the log first: its [`Estate`].

use std::mem;
use std::rc::Rc;
use std::time::Instant;

use bytestring::ByteString;

use super::durable::one;
use super::effect::Effect;
use super::groups::GroupKey;
use super::held::{Held, weight};
use super::receivers::Receiver;
use super::session::{Session, SessionKey};
use super::source::Source;
use super::subscriptions::{Subscriber, SubscriptionKey};
use super::{Core, Limits, Origin};
use crate::mqtt::{Message, QoS};
use crate::store::{Seq, SessionEntry, SessionNumber};
use crate::topic::TopicFilter;

/// Estates at a time. What the sessions beyond that had for groups is lost with them.
const ESTATES_MAX: usize = 64;

/// How well a member of a group can take a message, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Readiness {
    /// It is sent at once.
    Open,
    /// It is there, but the message would wait or, at QoS 0, be dropped.
    Behind,
    /// Its session waits for it.
    Away,
    /// It is there, but its queue is full.
    Full,
    /// Neither.
    FullAndAway,
}

/// What a session that was kept leaves to others, while it is read from the log.
#[derive(Debug)]
pub(super) struct Estate {
    /// Its groups that still have members.
    groups: Vec<(TopicFilter, GroupKey)>,
    /// Its other filters. The log does not tell why a session wanted a message: what they match was for itself.
    own: Vec<TopicFilter>,
    /// Highest position that may have been sent.
    sent: Seq,
    /// A read that the session had asked for is not answered yet; that answer is of no use.
    is_stale: bool,
}

impl Core {
    /// A receiver of each group that was found to match.
    pub(super) fn share_out(&mut self, message: &Message, receivers: &mut Vec<Receiver>) {
        let mut groups = mem::take(&mut self.groups);
        for group in groups.drain(..) {
            let Some(mut receiver) = self.next_receiver(group, message) else {
                continue;
            };
            if let Some(session) = self.sessions.get_mut(receiver.session.0) {
                receiver.apart = session.found.0 == self.publishes;
                session.found = (self.publishes, usize::MAX);
            }
            receivers.push(receiver);
        }
        self.groups = groups;
    }

    /// Whose turn it is in the group.
    fn next_receiver(&mut self, group: GroupKey, message: &Message) -> Option<Receiver> {
        let (sessions, limits) = (&self.sessions, &self.limits);
        let readiness = |member: &Subscriber| {
            let session = sessions.get(member.session.0)?;
            session.readiness(member, message, limits)
        };
        let member = self
            .subscriptions
            .choose(group, &Readiness::Open, readiness)?;
        let session = self.sessions.get(member.session.0)?;
        let durable = session.durable.is_some();
        Some(Receiver::of_group(group, &member, durable, message))
    }

    /// A member of one of the groups that were found to match whose queue is full, and the others' are, too.
    pub(super) fn full_member(&self, message: &Message) -> Option<SessionKey> {
        let readiness = |member: &Subscriber| {
            let session = self.sessions.get(member.session.0)?;
            session.readiness(member, message, &self.limits)
        };
        let mut groups = self.groups.iter();
        groups.find_map(|group| {
            let (readiness, member) =
                self.subscriptions
                    .next(*group, &Readiness::Open, readiness)?;
            (readiness >= Readiness::Full).then_some(member.session)
        })
    }

    /// A session has ended: what it was to get for a group goes to the others of that group, oldest first.
    pub(super) fn hand_on(&mut self, now: Instant, mut session: Session) {
        let in_flight = session.outbound.clear();
        let in_flight = in_flight
            .flatten()
            .filter(|held| held.qos == QoS::AtLeastOnce);
        for held in in_flight.chain(session.queue.drain()) {
            if let Some(group) = held.share {
                self.pass_to(now, group, held);
            }
        }
    }

    /// To a member of the group. Its QoS is chosen anew: that of the message, as far as the member wants it.
    fn pass_to(&mut self, now: Instant, group: GroupKey, held: Held) {
        let Some(message) = held.message_at(now, false) else {
            self.stats.expired += 1;
            return;
        };
        let Some(receiver) = self.next_receiver(group, &message) else {
            return;
        };
        let key = receiver.session;
        if !receiver.is_kept() {
            if let Some((session, mut out)) = self.with_session(now, key) {
                let held = receiver.holds(held.message, held.arrived);
                session.offer_in_order(held, &mut out);
            }
            return;
        }
        let source = Source::new(Origin::Client, ByteString::default());
        let mut receivers = vec![receiver];
        self.keep(now, &source, &message, &mut receivers);
        for receiver in receivers {
            if let Some((session, mut out)) = self.with_session(now, key) {
                session.offer(receiver.holds(Rc::clone(&message), now), &mut out);
            }
        }
    }

    /// What a session that is kept and ends has in the log for groups. Before its subscriptions are removed.
    pub(super) fn estate(&self, session: &Session) -> Option<Estate> {
        let durable = session.durable.as_ref()?;
        if durable.is_empty() || self.estates.len() >= ESTATES_MAX {
            return None;
        }
        let mut estate = Estate {
            groups: Vec::new(),
            own: Vec::new(),
            sent: durable.sent(),
            is_stale: durable.is_fetching(),
        };
        for &subscription in &session.subscriptions {
            let Some(filter) = self.subscriptions.filter(subscription) else {
                continue;
            };
            match subscription {
                SubscriptionKey::Plain(_) => estate.own.push(filter),
                SubscriptionKey::Shared(group) if self.subscriptions.members(group) > 1 => {
                    estate.groups.push((filter, group));
                }
                SubscriptionKey::Shared(_) => {}
            }
        }
        Some(estate).filter(|estate| !estate.groups.is_empty())
    }

    /// Reads what was left; then the log may forget the session.
    pub(super) fn settle_estate(&mut self, session: SessionNumber, estate: Estate) {
        if !estate.is_stale {
            self.read_estate(session, Seq(0));
        }
        self.estates.insert(session, estate);
    }

    fn read_estate(&mut self, session: SessionNumber, after: Seq) {
        self.effects.push(Effect::Fetch { session, after });
    }

    /// A part of an estate was read. False where this is no estate.
    pub(super) fn fetched_estate(
        &mut self,
        now: Instant,
        session: SessionNumber,
        entries: &mut Vec<SessionEntry>,
        end: bool,
    ) -> bool {
        let Some(mut estate) = self.estates.remove(&session) else {
            return false;
        };
        if mem::take(&mut estate.is_stale) {
            self.settle_estate(session, estate);
            return true;
        }
        let last = entries.last().map(|entry| entry.seq);
        for entry in entries.drain(..) {
            if let Some(group) = estate.heir(&entry) {
                self.pass_to(now, group, Held::read(now, entry));
            }
        }
        match last {
            Some(after) if !end => {
                self.estates.insert(session, estate);
                self.read_estate(session, after);
            }
            _ => self.effects.push(Effect::Forget { session }),
        }
        true
    }
}

impl Estate {
    /// The group that gets a message; `None`: nobody.
    fn heir(&self, entry: &SessionEntry) -> Option<GroupKey> {
        let is_first_time = entry.seq > self.sent && !entry.received;
        if entry.want.qos == QoS::ExactlyOnce && !is_first_time {
            return None;
        }
        let topic = &entry.message.topic;
        if self.own.iter().any(|filter| filter.matches(topic)) {
            return None;
        }
        let found = self.groups.iter().find(|(filter, _)| filter.matches(topic));
        found.map(|(_, group)| *group)
    }
}

impl Session {
    /// How well a member of a group can take a message now; `None`: not at all.
    fn readiness(
        &self,
        member: &Subscriber,
        message: &Message,
        limits: &Limits,
    ) -> Option<Readiness> {
        if member.checked && !self.may_read(&message.topic) {
            return None;
        }
        let qos = member.qos.min(message.qos);
        let is_here = self.connection().is_some();
        if self.can_send(qos) {
            return Some(Readiness::Open);
        }
        if qos == QoS::AtMostOnce {
            return is_here.then_some(Readiness::Behind);
        }
        Some(
            match (self.is_full(one(weight(message)), limits), is_here) {
                (false, true) => Readiness::Behind,
                (false, false) => Readiness::Away,
                (true, true) => Readiness::Full,
                (true, false) => Readiness::FullAndAway,
            },
        )
    }
}
