//! Who gets a message: each session whose subscriptions match, once, and a member of each group.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Instant;

use super::Core;
use super::groups::GroupKey;
use super::held::{Held, Place};
use super::session::SessionKey;
use super::source::Source;
use super::subscriptions::Subscriber;
use crate::mqtt::{Message, QoS, SubscriptionIds};

/// A session that gets a copy.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) session: SessionKey,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) subscription_ids: SubscriptionIds,
    /// As a member of this group, not for itself.
    share: Option<GroupKey>,
    /// The session gets another copy of the same message: in the log, each has a position of its own.
    pub(super) apart: bool,
    /// The store keeps the session.
    durable: bool,
    /// Its copy is sent at once and then forgotten.
    passes: bool,
    /// Where its copy stands in the session log.
    pub(super) place: Option<Place>,
}

impl Core {
    /// Each session whose subscriptions match, once: at the highest QoS that they ask for, with all their identifiers
    /// [MQTT-3.3.4-2, MQTT-3.3.4-3]. The groups that match are left in `self.groups`: a client that is a member beside that
    /// gets a second copy (section 4.8.2).
    pub(super) fn find_receivers(
        &mut self,
        source: &Source,
        message: &Message,
        receivers: &mut Vec<Receiver>,
    ) {
        self.publishes += 1;
        self.groups.clear();
        self.subscriptions
            .matches(&message.topic, &mut self.matches, &mut self.groups);
        for subscriber in self.matches.drain(..) {
            let Some(session) = self.sessions.get_mut(subscriber.session.0) else {
                continue;
            };
            if subscriber.no_local && session.client_id == source.client_id {
                continue;
            }
            if subscriber.checked && !session.may_read(&message.topic) {
                continue;
            }
            let (publish, place) = session.found;
            match receivers.get_mut(place) {
                Some(receiver) if publish == self.publishes => receiver.merge(&subscriber, message),
                _ => {
                    session.found = (self.publishes, receivers.len());
                    let durable = session.durable.is_some();
                    receivers.push(Receiver {
                        passes: session.can_send(QoS::AtLeastOnce) && !session.keeps_sent(),
                        ..Receiver::new(&subscriber, durable, message)
                    });
                }
            }
        }
    }
}

impl Receiver {
    fn new(subscriber: &Subscriber, durable: bool, message: &Message) -> Self {
        let id = subscriber.subscription_id.map(NonZeroU32::get);
        Self {
            session: subscriber.session,
            qos: subscriber.qos.min(message.qos),
            retain: subscriber.retain_as_published && message.retain,
            subscription_ids: id.into(),
            share: None,
            apart: false,
            durable,
            passes: false,
            place: None,
        }
    }

    pub(super) fn of_group(
        group: GroupKey,
        member: &Subscriber,
        durable: bool,
        message: &Message,
    ) -> Self {
        Self {
            share: Some(group),
            ..Self::new(member, durable, message)
        }
    }

    /// Another subscription of the same session.
    fn merge(&mut self, subscriber: &Subscriber, message: &Message) {
        self.qos = self.qos.max(subscriber.qos.min(message.qos));
        self.retain |= subscriber.retain_as_published && message.retain;
        if let Some(id) = subscriber.subscription_id {
            self.subscription_ids.push(id.get());
        }
    }

    /// Whether its copy goes into the session log.
    pub(super) fn is_kept(&self) -> bool {
        self.durable && self.qos > QoS::AtMostOnce
    }

    /// Whether its copy stays here for a while.
    pub(super) fn stays(&self) -> bool {
        self.qos > QoS::AtMostOnce && !self.passes
    }

    pub(super) fn holds(self, message: Rc<Message>, arrived: Instant) -> Held {
        Held {
            message,
            qos: self.qos,
            retain: self.retain,
            subscription_ids: self.subscription_ids,
            share: self.share,
            arrived,
            place: self.place,
        }
    }
}
