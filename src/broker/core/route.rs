//! A bridge's log as the core sees it: what goes in, at which position, how far it is covered, and who waits for that.

use std::collections::BTreeSet;

use super::session::SessionKey;
use super::{ForwardRoute, LogId};
use crate::broker::RetainPolicy;
use crate::mqtt::{Message, QoS};
use crate::store::Seq;
use crate::topic::{TemplateError, TopicName};

/// An attached log.
#[derive(Debug)]
pub(super) struct AttachedLog {
    pub(super) id: LogId,
    /// The position of the next message.
    next: Seq,
    /// All up to here may be acknowledged.
    pub(super) covered: Seq,
    routes: Vec<ForwardRoute>,
    /// Sessions whose oldest answer waits for this position. One entry a session at most.
    waiters: BTreeSet<(Seq, SessionKey)>,
    /// A message that a route could not map was logged; the others are only counted.
    pub(super) told_unmapped: bool,
}

impl AttachedLog {
    pub(super) fn new(id: LogId, next: Seq, routes: Vec<ForwardRoute>) -> Self {
        Self {
            id,
            next,
            covered: Seq(next.0.saturating_sub(1)),
            routes,
            waiters: BTreeSet::new(),
            told_unmapped: false,
        }
    }

    /// The first route that takes a message of this topic.
    pub(super) fn route(&self, topic: &TopicName) -> Option<&ForwardRoute> {
        self.routes.iter().find(|route| {
            route.filter.matches(topic) && !route.except.iter().any(|except| except.matches(topic))
        })
    }

    /// Hands out the next position.
    pub(super) fn take_seq(&mut self) -> Seq {
        let seq = self.next;
        self.next = Seq(seq.0.saturating_add(1));
        seq
    }

    pub(super) fn wait(&mut self, seq: Seq, session: SessionKey) {
        self.waiters.insert((seq, session));
    }

    pub(super) fn stop_waiting(&mut self, seq: Seq, session: SessionKey) {
        self.waiters.remove(&(seq, session));
    }

    /// Takes one session whose position is covered.
    pub(super) fn pop_covered(&mut self) -> Option<SessionKey> {
        if self.waiters.first()?.0 > self.covered {
            return None;
        }
        self.waiters.pop_first().map(|(_, session)| session)
    }
}

/// The message as it goes up by `route`.
pub(super) fn mapped(route: &ForwardRoute, message: &Message) -> Result<Message, TemplateError> {
    let qos = match message.qos {
        QoS::AtMostOnce if route.raise_qos0 => QoS::AtLeastOnce,
        qos => qos.min(route.qos),
    };
    Ok(Message {
        topic: route.topic.apply(&message.topic)?,
        payload: message.payload.clone(),
        qos,
        retain: match route.retain {
            RetainPolicy::Keep => message.retain,
            RetainPolicy::Never => false,
        },
        properties: message.properties.clone(),
    })
}
