//! A bridge's log as the core sees it: what goes in, and as what.

use std::time::Instant;

use bytestring::ByteString;

use super::refuse::Obstacle;
use super::watermark::Watermark;
use super::{Core, ForwardRoute, LogId};
use crate::broker::{LATE_PROPERTY, Origin, RetainPolicy};
use crate::clock::WallTime;
use crate::mqtt::{Message, QoS};
use crate::store::Seq;
use crate::topic::{TemplateError, TopicName};

/// An attached log.
#[derive(Debug)]
pub(super) struct AttachedLog {
    pub(super) id: LogId,
    pub(super) watermark: Watermark,
    pub(super) routes: Vec<ForwardRoute>,
    /// Where new messages of `live_first` routes go while it is prompt.
    pub(super) live: Option<LogId>,
    /// As a live lane: what is appended leaves soon. See [`super::overtake`].
    pub(super) is_prompt: bool,
    /// It could not be opened: see [`super::lacking`].
    is_missing: bool,
    /// It has no room, nor will have soon: see [`super::lacking`].
    pub(super) is_passed_by: bool,
    /// It refuses what it has no room for, and has none: see [`super::refuse`].
    pub(super) is_full: bool,
    /// A message that a route could not map was logged; the others are only counted.
    pub(super) told_unmapped: bool,
    /// Counts how often the routes were replaced.
    pub(super) edition: u32,
}

impl AttachedLog {
    pub(super) fn new(id: LogId, next: Seq, routes: Vec<ForwardRoute>) -> Self {
        Self {
            id,
            watermark: Watermark::new(next),
            routes,
            live: None,
            is_prompt: false,
            is_missing: false,
            is_passed_by: false,
            is_full: false,
            told_unmapped: false,
            edition: 0,
        }
    }

    pub(super) fn reroute(&mut self, routes: Vec<ForwardRoute>) {
        self.routes = routes;
        self.edition = self.edition.wrapping_add(1);
        self.told_unmapped = false;
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

    /// Says once that a route takes a message and has no topic for it.
    fn tell_unmapped(&mut self, message: &Message, error: &TemplateError) {
        if !std::mem::replace(&mut self.told_unmapped, true) {
            tracing::warn!(
                topic = %message.topic,
                %error,
                "a route matches this topic but its template gives none for it: not forwarded; further ones are only counted"
            );
        }
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

impl Core {
    /// Adds a bridge's log: from now on messages that match `routes` are appended, the first at `next_seq`.
    pub fn attach_log(&mut self, log: LogId, next_seq: Seq, routes: Vec<ForwardRoute>) {
        self.lanes.forget();
        self.logs.push(AttachedLog::new(log, next_seq, routes));
    }

    /// From now on messages that match `routes` go into this log, and no others; without routes none do. Who waits for room
    /// in it is decided about anew. What is in the log stays there.
    pub fn reroute(&mut self, now: Instant, log: LogId, routes: Vec<ForwardRoute>) {
        let Some(known) = self.logs.iter_mut().find(|known| known.id == log) else {
            return;
        };
        known.reroute(routes);
        self.lanes.forget();
        self.retry_parked(now, Obstacle::Log(log));
    }

    /// What goes into this log.
    #[must_use]
    pub fn routes_of(&self, log: LogId) -> Vec<ForwardRoute> {
        let known = self.logs.iter().find(|known| known.id == log);
        known.map_or_else(Vec::new, |known| known.routes.clone())
    }

    /// A route of the log at this place among the logs takes the message and has no topic for it.
    pub(super) fn note_unmapped(&mut self, place: usize, message: &Message, error: &TemplateError) {
        self.stats.unmapped += 1;
        if let Some(log) = self.logs.get_mut(place) {
            log.tell_unmapped(message, error);
        }
    }
}

/// The message as it goes up when newer ones may overtake it: it says when it came, and is not retained, since what
/// overtook it may be.
pub(super) fn late(mut message: Message, came: WallTime) -> Message {
    message.retain = false;
    let properties = message.properties.get_or_insert_default();
    let marks = &mut properties.user_properties;
    // One that an earlier gateway has put there tells the true time.
    if !marks.iter().any(|(name, _)| name == LATE_PROPERTY) {
        let came = ByteString::from(came.0.to_string());
        marks.push((ByteString::from_static(LATE_PROPERTY), came));
    }
    message
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
