//! Takes each event, gives it room or counts it, and writes it in its form: a line in one call.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Format;
use super::budget::{Budget, Kind};
use super::line::{self, Line};
use crate::clock;

/// Where lines go.
pub(super) type Out = Box<dyn Write + Send>;

/// The log of this process. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Mutex<State>>);

struct State {
    format: Format,
    colours: bool,
    budget: Budget<Identifier, Line>,
    out: Out,
    /// Kept for its capacity.
    buffer: String,
}

impl Log {
    pub(super) fn new(format: Format, colours: bool, out: Out) -> Self {
        Self(Arc::new(Mutex::new(State {
            format,
            colours,
            budget: Budget::default(),
            out,
            buffer: String::new(),
        })))
    }

    /// Tells what had no room in the minutes that are over. For when nothing else is said.
    pub fn sweep(&self, now: Instant) {
        self.lock().sweep(now);
    }

    /// Tells all that had no room; nothing follows.
    pub fn close(&self) {
        let mut state = self.lock();
        let unsaid = state.budget.close();
        state.tell(unsaid);
    }

    /// Each write is whole, so a panic in between leaves nothing behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Log").finish_non_exhaustive()
    }
}

impl State {
    fn sweep(&mut self, now: Instant) {
        let unsaid = self.budget.sweep(now);
        self.tell(unsaid);
    }

    fn tell(&mut self, unsaid: Vec<(Line, u64)>) {
        for (like, count) in unsaid {
            self.write(&like.unsaid(count));
        }
    }

    fn write(&mut self, line: &Line) {
        self.buffer.clear();
        let time = clock::wall().to_string();
        let written = match self.format {
            Format::Text => line.text(&time, self.colours, &mut self.buffer),
            Format::Journal => line.journal(&mut self.buffer),
            Format::Json => line.json(&time, &mut self.buffer),
        };
        // Neither can be told anywhere: a String takes all, and who reads the log may have gone.
        let _gone = (written, self.out.write_all(self.buffer.as_bytes()));
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = clock::now();
        let kind = Kind {
            place: event.metadata().callsite(),
            subject: line::subject(event),
        };
        // Before the lock is taken: a `Display` may do anything, and may log, too.
        let line = Line::of(event);
        let mut state = self.lock();
        state.sweep(now);
        if let Some(line) = state.budget.spend(now, kind, line) {
            state.write(&line);
        }
    }
}
