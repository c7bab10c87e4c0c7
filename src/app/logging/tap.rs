//! Passes what the log says of fieldgate on to the events, whether it is shown or not, and whether it has room or not: events
//! have bounds of their own.

use std::hash::{DefaultHasher, Hash, Hasher};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::line::Line;
use crate::clock;
use crate::events::{self, Events, Severity};

/// To these events.
pub(super) struct Tap(pub(super) Events);

impl<S: Subscriber> Layer<S> for Tap {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let line = Line::of(event);
        let mut place = DefaultHasher::new();
        metadata.callsite().hash(&mut place);
        let kind = metadata.target();
        let kind = kind.strip_prefix("fieldgate::").unwrap_or(kind);
        let told = events::Event {
            severity: match *metadata.level() {
                Level::ERROR => Severity::Error,
                Level::WARN => Severity::Warning,
                _ => Severity::Info,
            },
            kind: kind.replace("::", "/"),
            subject: line.subject(),
            text: line.summary(),
            place: place.finish(),
            sameness: line.sameness(),
        };
        self.0.happened(clock::now(), clock::wall(), told);
    }
}
