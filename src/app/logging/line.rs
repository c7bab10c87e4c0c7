//! One line of the log: what an event says, and how it looks in each form. No I/O.
//!
//! Invariants: whatever the event's texts hold, it is one line (`escape`) of bounded length. The one exception is the field
//! [`FAULTS`], which only fieldgate itself fills, with what it has to say about a configuration: its lines follow, indented
//! where people read.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::escape::{for_people, json, quoted};

/// The field of several lines.
const FAULTS: &str = "faults";

/// Fields that name a part of the configuration, never anything that a stranger chose.
const SUBJECTS: [&str; 4] = ["device", "connection", "bridge", "listener"];

/// Fields that say how long something took, beside those that are numbers anyway.
const MEASURED: [&str; 2] = ["lasted", "retry_in"];

/// Of a field, and of the message, so many bytes are shown.
const FIELD_MAX: usize = 512;
const MESSAGE_MAX: usize = 4096;
const FAULTS_MAX: usize = 64 << 10;

/// What an event says.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    pub(super) level: Level,
    /// The room that says it; of other crates their name.
    pub(super) room: &'static str,
    pub(super) message: String,
    fields: Vec<(&'static str, Value)>,
}

#[derive(Debug, PartialEq)]
enum Value {
    Bool(bool),
    Integer(i128),
    Float(f64),
    /// Of a `str`: in quotes where people read.
    Text(String),
    /// What `Display` or `Debug` gave.
    Shown(String),
}

impl Line {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut line = Self {
            level: *metadata.level(),
            room: room(metadata.target()),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        line
    }

    /// In one line, as people read it.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        let told = self.words(&mut text).and_then(|()| {
            self.faults().next().map_or(Ok(()), |fault| {
                text.push_str(": ");
                for_people(fault, &mut text)
            })
        });
        debug_assert!(told.is_ok(), "a String takes all");
        text
    }

    /// What of the configuration it is about: `bridge cloud`.
    pub(super) fn subject(&self) -> Option<String> {
        self.fields.iter().find_map(|(name, value)| match value {
            Value::Text(text) | Value::Shown(text) if SUBJECTS.contains(name) => {
                Some(format!("{name} {text}"))
            }
            _ => None,
        })
    }

    /// Equal for lines that say the same, but for how much and how long.
    pub(super) fn sameness(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.message.hash(&mut hasher);
        for (name, value) in &self.fields {
            match value {
                Value::Integer(_) | Value::Float(_) => {}
                _ if MEASURED.contains(name) => {}
                Value::Bool(value) => (name, value).hash(&mut hasher),
                Value::Text(text) | Value::Shown(text) => (name, text).hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// Says that `count` like this one had no room.
    pub(super) fn unsaid(self, count: u64) -> Self {
        let message = format!(
            "more lines like this one had no room in the log: {}",
            self.message
        );
        let unsaid = ("unsaid", Value::Integer(count.into()));
        Self {
            message,
            fields: [unsaid].into_iter().chain(self.fields).collect(),
            ..self
        }
    }

    /// For people: time, level, message, fields.
    pub(super) fn text(&self, time: &str, colours: bool, out: &mut String) -> fmt::Result {
        let (dim, bright, plain) = if colours {
            ("\x1b[2m", colour(self.level), "\x1b[0m")
        } else {
            ("", "", "")
        };
        write!(
            out,
            "{dim}{time}{plain} {bright}{:>5}{plain} ",
            self.level.as_str()
        )?;
        self.words(out)?;
        for fault in self.faults() {
            out.push_str("\n    ");
            for_people(fault, out)?;
        }
        out.push('\n');
        Ok(())
    }

    /// For journald, which knows time, unit and process by itself: the priority, message, fields.
    pub(super) fn journal(&self, out: &mut String) -> fmt::Result {
        let priority = match self.level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(out, "<{priority}>")?;
        self.words(out)?;
        for fault in self.faults() {
            write!(out, "\n<{priority}>    ")?;
            for_people(fault, out)?;
        }
        out.push('\n');
        Ok(())
    }

    /// For programs: an object.
    pub(super) fn json(&self, time: &str, out: &mut String) -> fmt::Result {
        let level = self.level.as_str().to_ascii_lowercase();
        write!(out, "{{\"time\":\"{time}\",\"level\":\"{level}\",\"room\":")?;
        json(self.room, out)?;
        out.push_str(",\"message\":");
        json(&self.message, out)?;
        out.push_str(",\"fields\":{");
        for (number, (name, value)) in self.fields.iter().enumerate() {
            if number > 0 {
                out.push(',');
            }
            json(name, out)?;
            out.push(':');
            match value {
                Value::Bool(value) => write!(out, "{value}")?,
                Value::Integer(value) => write!(out, "{value}")?,
                Value::Float(value) if value.is_finite() => write!(out, "{value}")?,
                Value::Float(value) => write!(out, "\"{value}\"")?,
                Value::Text(text) | Value::Shown(text) => json(text, out)?,
            }
        }
        out.push_str("}}\n");
        Ok(())
    }

    fn words(&self, out: &mut String) -> fmt::Result {
        for_people(&self.message, out)?;
        for (name, value) in self.fields.iter().filter(|(name, _)| *name != FAULTS) {
            write!(out, " {name}=")?;
            match value {
                Value::Bool(value) => write!(out, "{value}")?,
                Value::Integer(value) => write!(out, "{value}")?,
                Value::Float(value) => write!(out, "{value}")?,
                Value::Text(text) => quoted(text, out)?,
                Value::Shown(text) => for_people(text, out)?,
            }
        }
        Ok(())
    }

    fn faults(&self) -> impl Iterator<Item = &str> {
        let texts = self.fields.iter().filter_map(|(name, value)| match value {
            Value::Text(text) | Value::Shown(text) if *name == FAULTS => Some(text),
            _ => None,
        });
        texts.flat_map(|text| text.lines())
    }

    fn take(&mut self, field: &Field, value: Value) {
        self.fields.push((field.name(), value));
    }

    /// A text, as long as it may be.
    fn cut(&mut self, field: &Field, write: impl FnOnce(&mut Cut) -> fmt::Result) -> String {
        let max = match field.name() {
            "message" => MESSAGE_MAX,
            FAULTS => FAULTS_MAX,
            _ => FIELD_MAX,
        };
        let mut cut = Cut {
            text: String::new(),
            room: max,
            lost: 0,
        };
        // A `Display` that fails has said what it could.
        let failed = write(&mut cut).is_err();
        if cut.lost > 0 {
            cut.text.push_str(&format!("... ({} bytes more)", cut.lost));
        }
        if failed {
            cut.text.push_str("(cannot be shown)");
        }
        cut.text
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, Value::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, Value::Integer(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, Value::Integer(value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = self.cut(field, |out| out.write_str(value));
        if field.name() == "message" {
            self.message = text;
        } else {
            self.take(field, Value::Text(text));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = self.cut(field, |out| write!(out, "{value:?}"));
        if field.name() == "message" {
            self.message = text;
        } else {
            self.take(field, Value::Shown(text));
        }
    }
}

/// What of the configuration an event is about, as a hash; `None` where it is about nothing in it.
pub(super) fn subject(event: &Event<'_>) -> Option<u64> {
    struct Subject(Option<DefaultHasher>);

    impl Visit for Subject {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if SUBJECTS.contains(&field.name()) {
                let hasher = self.0.get_or_insert_with(DefaultHasher::new);
                let failed = write!(Hashed(hasher), "{}={value:?}", field.name()).is_err();
                hasher.write_u8(failed.into());
            }
        }
    }

    struct Hashed<'a>(&'a mut DefaultHasher);

    impl Write for Hashed<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }

    let mut subject = Subject(None);
    event.record(&mut subject);
    subject.0.map(|hasher| hasher.finish())
}

/// `fieldgate::bridge::task` is the bridge's.
fn room(target: &'static str) -> &'static str {
    let mut path = target.split("::");
    match path.next() {
        Some("fieldgate") => path.next().unwrap_or("fieldgate"),
        krate => krate.unwrap_or_default(),
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    }
}

/// Takes as much of a text as it has room for, and counts the rest.
struct Cut {
    text: String,
    room: usize,
    lost: usize,
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fits = if self.lost > 0 {
            0
        } else {
            text.len().min(self.room)
        };
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        let (shown, rest) = text.split_at(fits);
        self.text.push_str(shown);
        self.room -= shown.len();
        self.lost += rest.len();
        Ok(())
    }
}
