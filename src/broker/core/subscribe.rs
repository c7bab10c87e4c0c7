//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU32;
use std::time::Instant;

use bytestring::ByteString;

use super::Core;
use super::answers::Reply;
use super::effect::Act;
use super::explain::explain;
use super::retained::Cursor;
use super::session::{Replay, SessionKey};
use super::subscriptions::Subscriber;
use crate::auth::Reach;
use crate::mqtt::{
    Packet, PacketType, QoS, ReasonCode, RetainHandling, Suback, Subscribe, Subscription, Unsuback,
    Unsubscribe,
};
use crate::store::{StateChange, StoredSubscription};
use crate::topic::{SharedFilter, TopicFilter};

impl Core {
    /// The SUBACK goes out first, then retained messages.
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        key: SessionKey,
        subscribe: &Subscribe,
    ) -> Result<(), ReasonCode> {
        let filters = parse(subscribe.subscriptions.iter().map(|it| &it.filter))?;
        let id = subscribe.subscription_id;
        let before = self.store.state.last();
        let subscriptions = subscribe.subscriptions.iter().zip(filters);
        let reasons: Vec<_> = subscriptions
            .map(|(asked, wanted)| {
                let granted = self.add_subscription(now, key, asked, wanted, id);
                granted.unwrap_or_else(|refused| refused)
            })
            .collect();
        let suback = Suback {
            packet_id: subscribe.packet_id,
            reason_string: self.explain_refusal(key, &reasons),
            reasons,
            user_properties: Vec::new(),
        };
        let suback = Reply::Packet(Box::new(Packet::Suback(suback)));
        let tickets = self.state_since(before);
        self.answer(now, key, suback, tickets);
        Ok(())
    }

    pub(super) fn unsubscribe(
        &mut self,
        now: Instant,
        key: SessionKey,
        unsubscribe: &Unsubscribe,
    ) -> Result<(), ReasonCode> {
        let filters = parse(unsubscribe.filters.iter())?;
        let before = self.store.state.last();
        let filters = unsubscribe.filters.iter().zip(filters);
        let reasons = filters
            .map(|(text, filter)| {
                if self.remove_subscription(key, text, &filter) {
                    ReasonCode::Success
                } else {
                    ReasonCode::NoSubscriptionExisted
                }
            })
            .collect();
        let unsuback = Unsuback {
            packet_id: unsubscribe.packet_id,
            reasons,
            reason_string: None,
            user_properties: Vec::new(),
        };
        let unsuback = Reply::Packet(Box::new(Packet::Unsuback(unsuback)));
        let tickets = self.state_since(before);
        self.answer(now, key, unsuback, tickets);
        Ok(())
    }

    /// There is one Reason String for all filters: it explains the first that was refused.
    fn explain_refusal(&self, key: SessionKey, reasons: &[ReasonCode]) -> Option<ByteString> {
        let connection = self.sessions.get(key.0)?.connection()?;
        let refused = reasons.iter().find(|reason| reason.is_error())?;
        explain(PacketType::Suback, *refused).filter(|_| connection.wants_reasons)
    }

    /// Which QoS is granted, or why none. A filter of a shared subscription is taken from 3.1.1 clients too, as Mosquitto
    /// does; that it is not No Local, the decoder has seen to [MQTT-3.8.3-4].
    fn add_subscription(
        &mut self,
        now: Instant,
        key: SessionKey,
        asked: &Subscription,
        wanted: SharedFilter,
        subscription_id: Option<u32>,
    ) -> Result<ReasonCode, ReasonCode> {
        if wanted.filter.levels().count() > self.limits.topic_levels {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        let reach = session.reach(&wanted.filter);
        if reach == Reach::Nothing {
            self.refused(now, key, Act::Subscribe(wanted.filter));
            return Err(ReasonCode::NotAuthorized);
        }
        let is_full = session.subscriptions.len() >= self.limits.subscriptions_per_client;
        let known = || self.subscriptions.find(&wanted);
        if is_full && !known().is_some_and(|found| self.subscriptions.has(found, key)) {
            return Err(ReasonCode::QuotaExceeded);
        }
        let qos = asked.qos.min(self.limits.maximum_qos);
        let subscriber = Subscriber {
            session: key,
            subscription_id: subscription_id.and_then(NonZeroU32::new),
            qos,
            no_local: asked.no_local && wanted.share.is_none(),
            retain_as_published: asked.retain_as_published,
            checked: reach == Reach::Some,
        };
        self.lanes.forget();
        let inserted = self.subscriptions.insert(&wanted, subscriber);
        let (subscription, is_new) = inserted.ok_or(ReasonCode::QuotaExceeded)?;
        if is_new {
            if session.subscriptions.is_empty() {
                session.subscriptions.reserve_exact(1); // many devices have one, for their commands
            }
            session.subscriptions.push(subscription);
        }
        let replays = wanted.share.is_none()
            && match asked.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => is_new,
                RetainHandling::DoNotSend => false,
            };
        let stored = StoredSubscription {
            qos,
            no_local: subscriber.no_local,
            retain_as_published: asked.retain_as_published,
            id: subscription_id,
            replaying: replays && self.retained.len() > 0 && qos > QoS::AtMostOnce,
        };
        self.put_subscription(key, &asked.filter, stored);
        if wanted.share.is_none() {
            self.replay_from_start(key, wanted.filter, stored, replays);
        }
        Ok(match qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        })
    }

    /// Tells the state, where the session is kept.
    fn put_subscription(&mut self, key: SessionKey, filter: &str, stored: StoredSubscription) {
        let session = self.sessions.get(key.0);
        if let Some(durable) = session.and_then(|session| session.durable.as_ref()) {
            let change = StateChange::Subscription(durable.number, filter.into(), stored);
            self.put_state(change, true);
        }
    }

    /// The retained messages of a subscription go out, from the first on, or those of the one that it replaces no more.
    pub(super) fn replay_from_start(
        &mut self,
        key: SessionKey,
        filter: TopicFilter,
        stored: StoredSubscription,
        replays: bool,
    ) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        session.replays.retain(|replay| replay.filter != filter);
        if let Some(durable) = &session.durable {
            self.store.forget_replay(durable.number, &filter);
        }
        if !replays || self.retained.len() == 0 {
            return;
        }
        let is_stored = session.durable.is_some() && stored.replaying;
        session.replays.push_back(Replay {
            // Kept for long: it must not pin the buffer that the packet was read into.
            filter: filter.compact(),
            qos: stored.qos,
            no_local: stored.no_local,
            subscription_id: stored.id,
            cursor: Cursor::start(),
            since: self.retained.changes(),
            stored: is_stored.then_some(StoredSubscription {
                replaying: false,
                ..stored
            }),
        });
    }

    /// What is already on its way to the client still arrives [MQTT-3.10.4-3].
    fn remove_subscription(&mut self, key: SessionKey, text: &str, asked: &SharedFilter) -> bool {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return false;
        };
        let Some(subscription) = self.subscriptions.find(asked) else {
            return false;
        };
        let mut kept = session.subscriptions.iter();
        let Some(place) = kept.position(|known| *known == subscription) else {
            return false;
        };
        session.subscriptions.swap_remove(place);
        if asked.share.is_none() {
            let filter = &asked.filter;
            session.replays.retain(|replay| replay.filter != *filter);
        }
        if let Some(durable) = &session.durable {
            let number = durable.number;
            if asked.share.is_none() {
                self.store.forget_replay(number, &asked.filter);
            }
            self.put_state(StateChange::SubscriptionGone(number, text.into()), true);
        }
        self.lanes.forget();
        self.subscriptions.remove(subscription, key)
    }
}

/// What is no filter breaks the protocol and closes, as a topic with a wildcard does [MQTT-4.13.1-1], 3.1.1
/// [MQTT-4.8.0-1]: 0x8F in a SUBACK is for filters that are correctly formed.
fn parse<'a>(
    filters: impl Iterator<Item = &'a ByteString>,
) -> Result<Vec<SharedFilter>, ReasonCode> {
    filters
        .map(|text| SharedFilter::parse(text).map_err(|_| ReasonCode::MalformedPacket))
        .collect()
}
