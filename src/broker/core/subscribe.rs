//! SUBSCRIBE and UNSUBSCRIBE.

use std::time::Instant;

use bytestring::ByteString;

use super::Core;
use super::answers::Reply;
use super::retained::Cursor;
use super::session::{Replay, SessionKey};
use super::trie::Subscriber;
use crate::mqtt::{
    Packet, QoS, ReasonCode, RetainHandling, Suback, Subscribe, Subscription, Unsuback, Unsubscribe,
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
        let id = subscribe.subscription_id;
        let before = self.store.state.last();
        let subscriptions = subscribe.subscriptions.iter();
        let reasons = subscriptions
            .map(|subscription| {
                let granted = self.add_subscription(key, subscription, id);
                granted.unwrap_or_else(|refused| refused)
            })
            .collect();
        let suback = Suback {
            packet_id: subscribe.packet_id,
            reasons,
            reason_string: None,
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
        let before = self.store.state.last();
        let filters = unsubscribe.filters.iter();
        let reasons = filters
            .map(|text| match TopicFilter::new(text.clone()) {
                Ok(filter) if self.remove_subscription(key, &filter) => ReasonCode::Success,
                Ok(_) => ReasonCode::NoSubscriptionExisted,
                Err(_) => ReasonCode::TopicFilterInvalid,
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

    /// Which QoS is granted, or why none.
    fn add_subscription(
        &mut self,
        key: SessionKey,
        asked: &Subscription,
        subscription_id: Option<u32>,
    ) -> Result<ReasonCode, ReasonCode> {
        let SharedFilter { share, filter } =
            SharedFilter::parse(&asked.filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        if share.is_some() {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if filter.levels().count() > self.limits.topic_levels {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        let known = session.filters.contains(&filter);
        if !known && session.filters.len() >= self.limits.subscriptions_per_client {
            return Err(ReasonCode::QuotaExceeded);
        }
        let qos = asked.qos.min(self.limits.maximum_qos);
        // Stored for long: it must not pin the buffer that the packet was read into.
        let filter =
            TopicFilter::try_from(filter.as_str()).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        let subscriber = Subscriber {
            session: key,
            qos,
            no_local: asked.no_local,
            retain_as_published: asked.retain_as_published,
            subscription_id,
        };
        self.subscriptions.insert(&filter, subscriber);
        session.replays.retain(|replay| replay.filter != filter);
        let wanted = match asked.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !known,
            RetainHandling::DoNotSend => false,
        };
        let replays = wanted && self.limits.retained_messages > 0;
        let stored = StoredSubscription {
            qos,
            no_local: asked.no_local,
            retain_as_published: asked.retain_as_published,
            id: subscription_id,
            replaying: replays && qos > QoS::AtMostOnce,
        };
        let number = session.durable.as_ref().map(|durable| durable.number);
        if replays {
            session.replays.push_back(Replay {
                filter: filter.clone(),
                qos,
                no_local: asked.no_local,
                subscription_id,
                cursor: Cursor::start(),
                since: self.retained.changes(),
                stored: number
                    .filter(|_| stored.replaying)
                    .map(|_| StoredSubscription {
                        replaying: false,
                        ..stored
                    }),
            });
        }
        session.filters.insert(filter.clone());
        if let Some(number) = number {
            self.store.forget_replay(number, &filter);
            let filter = ByteString::from(filter.as_str());
            self.put_state(StateChange::Subscription(number, filter, stored), true);
        }
        Ok(match qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        })
    }

    /// What is already on its way to the client still arrives [MQTT-3.10.4-3].
    fn remove_subscription(&mut self, key: SessionKey, filter: &TopicFilter) -> bool {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return false;
        };
        session.replays.retain(|replay| replay.filter != *filter);
        if !session.filters.remove(filter) {
            return false;
        }
        if let Some(durable) = &session.durable {
            let number = durable.number;
            self.store.forget_replay(number, filter);
            let filter = ByteString::from(filter.as_str());
            self.put_state(StateChange::SubscriptionGone(number, filter), true);
        }
        self.subscriptions.remove(filter, key)
    }
}
