//! A bridge's log as the core sees it: what goes in, and as what.

use super::watermark::Watermark;
use super::{ForwardRoute, LogId};
use crate::broker::{Origin, RetainPolicy};
use crate::mqtt::{Message, QoS};
use crate::store::Seq;
use crate::topic::{TemplateError, TopicName};

/// An attached log.
#[derive(Debug)]
pub(super) struct AttachedLog {
    pub(super) id: LogId,
    pub(super) watermark: Watermark,
    pub(super) routes: Vec<ForwardRoute>,
    /// It could not be opened: see [`super::lacking`].
    is_missing: bool,
    /// It has no room, nor will have soon: see [`super::lacking`].
    pub(super) is_passed_by: bool,
    /// It refuses what it has no room for, and has none: see [`super::refuse`].
    pub(super) is_full: bool,
    /// A message that a route could not map was logged; the others are only counted.
    pub(super) told_unmapped: bool,
}

impl AttachedLog {
    pub(super) fn new(id: LogId, next: Seq, routes: Vec<ForwardRoute>) -> Self {
        Self {
            id,
            watermark: Watermark::new(next),
            routes,
            is_missing: false,
            is_passed_by: false,
            is_full: false,
            told_unmapped: false,
        }
    }

    /// One that could not be opened.
    pub(super) fn missing(id: LogId, routes: Vec<ForwardRoute>) -> Self {
        Self {
            is_missing: true,
            ..Self::new(id, Seq(1), routes)
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// Whether a message that may not be lost would have to be kept here.
    pub(super) fn keeps(&self, origin: Origin, topic: &TopicName) -> bool {
        let route = self.takes(origin, topic);
        route.is_some_and(|route| route.qos > QoS::AtMostOnce)
    }

    /// The first route that takes a message of this topic. None takes what the same bridge brought in.
    pub(super) fn takes(&self, origin: Origin, topic: &TopicName) -> Option<&ForwardRoute> {
        self.routes.get(self.place_of(origin, topic)?)
    }

    /// Where that route stands among the routes.
    pub(super) fn place_of(&self, origin: Origin, topic: &TopicName) -> Option<usize> {
        if matches!(origin, Origin::Bridge(number) if self.id == LogId::Bridge(number)) {
            return None;
        }
        self.routes.iter().position(|route| {
            route.filter.matches(topic) && !route.except.iter().any(|except| except.matches(topic))
        })
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
