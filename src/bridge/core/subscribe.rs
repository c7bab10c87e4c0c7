//! SUBSCRIBE and UNSUBSCRIBE: what the upstream is to send.
//!
//! Both go out on every connection, once the broker has the session for what comes ([`Effect::OpenInlet`]). The filters that
//! the upstream's session may have stand behind its name in the log, committed before the SUBSCRIBE leaves; so what an
//! older configuration subscribed to is found and ended, without giving up the session and what waits in it.
//!
//! A filter that another one covers is not subscribed to: some upstreams send a message once for each that matches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::connect::SEPARATOR;
use super::{Core, Effect, Phase, ids};
use crate::bridge::ReceiveRoute;
use crate::mqtt::{
    Packet, PacketId, QoS, ReasonCode, RetainHandling, Suback, Subscribe, Subscription, Unsuback,
    Unsubscribe,
};
use crate::topic::TopicFilter;

/// SUBSCRIBEs and UNSUBSCRIBEs without an answer.
const ASKED_MAX: usize = 8;

/// What is asked for and what is there.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// What the session at the upstream may have.
    there: BTreeSet<String>,
    /// Still to be asked for on this connection.
    waiting: VecDeque<Ask>,
    asked: BTreeMap<PacketId, Ask>,
    last_id: u16,
    /// Refused on this connection.
    refused: BTreeMap<String, ReasonCode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    Subscribe(TopicFilter, QoS),
    Unsubscribe(String),
}

impl Subscriptions {
    /// What the log keeps of the session, without its name.
    pub(super) fn restore(&mut self, kept: Option<&str>) {
        let filters = kept.and_then(|kept| kept.split_once(SEPARATOR));
        let filters = filters
            .into_iter()
            .flat_map(|(_, filters)| filters.split(SEPARATOR));
        // An empty one is the lanes' note.
        let filters = filters.filter(|filter| !filter.is_empty());
        self.there = filters.map(str::to_owned).collect();
    }

    /// What the log is to keep behind the name.
    pub(super) fn note(&self) -> String {
        let filters = self.there.iter();
        filters
            .flat_map(|filter| [SEPARATOR.to_string(), filter.clone()])
            .collect()
    }

    /// The session is there, and may have what was kept and what is asked for now.
    pub(super) fn connected(&mut self, routes: &[ReceiveRoute], session_present: bool) {
        if !session_present {
            self.there.clear();
        }
        let wanted = wanted(routes);
        let is_wanted = |filter: &str| wanted.iter().any(|(other, _)| other.as_str() == filter);
        let stale = self.there.iter().filter(|filter| !is_wanted(filter));
        self.waiting = stale.cloned().map(Ask::Unsubscribe).collect();
        self.there
            .extend(wanted.iter().map(|(filter, _)| filter.as_str().to_owned()));
        self.waiting.extend(
            wanted
                .into_iter()
                .map(|(filter, qos)| Ask::Subscribe(filter, qos)),
        );
        self.asked.clear();
        self.refused.clear();
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self) {
        self.waiting.clear();
        self.asked.clear();
    }

    /// Refused on this connection, for the status.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&str, ReasonCode)> {
        self.refused
            .iter()
            .map(|(filter, reason)| (filter.as_str(), *reason))
    }

    fn next_id(&mut self) -> Option<PacketId> {
        let next = self.last_id.wrapping_add(1).max(ids::FIRST_SUBSCRIBE);
        self.last_id = next;
        PacketId::new(next).filter(|id| !self.asked.contains_key(id))
    }
}

/// The filters of the routes that no other one covers, with the highest QoS of those that they cover.
fn wanted(routes: &[ReceiveRoute]) -> Vec<(TopicFilter, QoS)> {
    let mut wanted: Vec<(TopicFilter, QoS)> = Vec::new();
    for route in routes {
        if let Some((_, qos)) = wanted
            .iter_mut()
            .find(|(wide, _)| wide.covers(&route.filter))
        {
            *qos = route.qos.max(*qos);
            continue;
        }
        let mut qos = route.qos;
        wanted.retain(|(narrow, other)| {
            let is_covered = route.filter.covers(narrow);
            if is_covered {
                qos = qos.max(*other);
            }
            !is_covered
        });
        wanted.push((route.filter.clone(), qos));
    }
    wanted
}

impl Core {
    /// Asks for what is still to be asked for, a few at a time.
    pub(super) fn ask_for_subscriptions(&mut self, now: Instant) {
        let is_ready =
            self.phase == Phase::Up && self.queues.is_session_kept() && self.may_subscribe();
        let is_ready = is_ready && !self.has_company();
        while is_ready
            && self.subscriptions.asked.len() < ASKED_MAX
            && let Some(ask) = self.subscriptions.waiting.pop_front()
        {
            let Some(id) = self.subscriptions.next_id() else {
                return self.subscriptions.waiting.push_front(ask);
            };
            let packet = match &ask {
                Ask::Subscribe(filter, qos) => Packet::Subscribe(subscribe(id, filter, *qos)),
                Ask::Unsubscribe(filter) => Packet::Unsubscribe(Unsubscribe {
                    packet_id: id,
                    filters: vec![filter.as_str().into()],
                    user_properties: Vec::new(),
                }),
            };
            self.subscriptions.asked.insert(id, ask);
            self.since.insert(id, now);
            self.send(now, packet);
        }
    }

    pub(super) fn handle_suback(&mut self, suback: &Suback) {
        let Some(Ask::Subscribe(filter, _)) = self.answered(suback.packet_id) else {
            return;
        };
        let refusal = suback.reasons.iter().find(|reason| reason.is_error());
        if let Some(&reason) = refusal {
            let name = filter.as_str().to_owned();
            self.subscriptions.refused.insert(name, reason);
            self.effects
                .push_back(Effect::SubscriptionRefused { filter, reason });
        }
    }

    /// What was not there (0x11) is as good as gone.
    pub(super) fn handle_unsuback(&mut self, unsuback: &Unsuback) {
        let Some(Ask::Unsubscribe(filter)) = self.answered(unsuback.packet_id) else {
            return;
        };
        if unsuback.reasons.iter().any(|reason| reason.is_error()) {
            return; // asked again on the next connection
        }
        self.subscriptions.there.remove(&filter);
        if let Phase::Up | Phase::Stopping = self.phase {
            self.keep_session(self.address);
        }
    }

    fn answered(&mut self, id: PacketId) -> Option<Ask> {
        let ask = self.subscriptions.asked.remove(&id);
        if ask.is_some() {
            self.since.remove(&id);
        } else {
            // Left over from a session that an earlier program had under our name.
            self.figures.unexpected += 1;
        }
        ask
    }
}

/// Retained messages come once, with a subscription that is new: what changed later waited in the session. MQTT 3.1.1 sends
/// them each time.
fn subscribe(packet_id: PacketId, filter: &TopicFilter, qos: QoS) -> Subscribe {
    Subscribe {
        packet_id,
        subscriptions: vec![Subscription {
            filter: filter.as_str().into(),
            qos,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
        }],
        subscription_id: None,
        user_properties: Vec::new(),
    }
}
