//! Faults of a configuration, as `check` prints them: place, code, message, excerpt with caret, path, remedy.
//!
//! A fault never carries a resolved `${env:...}`, `${file:...}` or `${cred:...}`, nor the rest of a line that holds a password: faults
//! end up in the journal.

use std::fmt;
use std::path::PathBuf;

use super::excerpt::Excerpt;

/// Stable codes, so that a fault can be searched for. `config/docs/configuration.md` explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// FG001: the file cannot be read.
    Unreadable,
    /// FG002: the text is no YAML.
    Syntax,
    /// FG010: no such key here.
    UnknownKey,
    /// FG011: a key given twice.
    DuplicateKey,
    /// FG012: a key that must be given is not.
    MissingKey,
    /// FG013: a key without a value.
    NoValue,
    /// FG014: a value of another type than the key takes.
    WrongType,
    /// FG015: a value outside its range.
    OutOfRange,
    /// FG016: planned, but not in this version.
    NotAvailable,
    /// FG017: a `${...}` that gives nothing.
    Substitution,
    /// FG018: two keys that exclude or need each other.
    Contradiction,
    /// FG020: a name used twice.
    DuplicateName,
    /// FG021: a name that nothing has.
    DanglingName,
    /// FG022: a name that cannot stand in a topic.
    BadName,
    /// FG030: a topic, filter or template that is none.
    BadTopic,
    /// FG031: two writers of one topic.
    TopicOverlap,
    /// FG032: a topic that the gateway keeps for itself.
    ReservedTopic,
    /// FG033: a route that cannot work.
    BadRoute,
    /// FG034: something that the provider of the upstream does not take.
    Provider,
    /// FG035: a route by which commands come that may be too old (a warning).
    StaleCommand,
    /// FG040: an address, reference or length that does not fit the tag.
    BadRegister,
    /// FG041: frames of an instrument that cannot be so, or say what is looked for.
    BadFrame,
    /// FG042: a line that is asked for more than it has time for.
    Overbooked,
    /// FG050: a file that is not there.
    MissingFile,
    /// FG051: an address that cannot be listened on or dialled.
    BadAddress,
    /// FG052: listeners that take each other's address.
    ListenerOverlap,
    /// FG053: something open or unencrypted that must be said in so many words, or is only warned of.
    Insecure,
    /// FG060: has no effect.
    NoEffect,
}

impl Code {
    /// All of them, in order.
    pub const ALL: [Self; 28] = [
        Self::Unreadable,
        Self::Syntax,
        Self::UnknownKey,
        Self::DuplicateKey,
        Self::MissingKey,
        Self::NoValue,
        Self::WrongType,
        Self::OutOfRange,
        Self::NotAvailable,
        Self::Substitution,
        Self::Contradiction,
        Self::DuplicateName,
        Self::DanglingName,
        Self::BadName,
        Self::BadTopic,
        Self::TopicOverlap,
        Self::ReservedTopic,
        Self::BadRoute,
        Self::Provider,
        Self::StaleCommand,
        Self::BadRegister,
        Self::BadFrame,
        Self::Overbooked,
        Self::MissingFile,
        Self::BadAddress,
        Self::ListenerOverlap,
        Self::Insecure,
        Self::NoEffect,
    ];

    /// The code as printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "FG001",
            Self::Syntax => "FG002",
            Self::UnknownKey => "FG010",
            Self::DuplicateKey => "FG011",
            Self::MissingKey => "FG012",
            Self::NoValue => "FG013",
            Self::WrongType => "FG014",
            Self::OutOfRange => "FG015",
            Self::NotAvailable => "FG016",
            Self::Substitution => "FG017",
            Self::Contradiction => "FG018",
            Self::DuplicateName => "FG020",
            Self::DanglingName => "FG021",
            Self::BadName => "FG022",
            Self::BadTopic => "FG030",
            Self::TopicOverlap => "FG031",
            Self::ReservedTopic => "FG032",
            Self::BadRoute => "FG033",
            Self::Provider => "FG034",
            Self::StaleCommand => "FG035",
            Self::BadRegister => "FG040",
            Self::BadFrame => "FG041",
            Self::Overbooked => "FG042",
            Self::MissingFile => "FG050",
            Self::BadAddress => "FG051",
            Self::ListenerOverlap => "FG052",
            Self::Insecure => "FG053",
            Self::NoEffect => "FG060",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but is probably not meant so.
    Warning,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1; 0: the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0: the file as a whole.
    pub column: usize,
    /// Path in the document, such as `devices[1].unit_id`; empty: the document as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// For searching.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The line, and what in it is meant.
    pub excerpt: Option<Excerpt>,
    /// Where what is given twice was given first; the message ends with it.
    pub first: Option<Position>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path in the document.
    pub path: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(formatter, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(formatter, "{}:{}:", self.line, self.column)?;
        }
        writeln!(formatter, " {severity}[{}]: {}", self.code, self.message)?;
        let number = self.line.to_string();
        let gutter = number.len();
        if let Some(excerpt) = &self.excerpt {
            let (indent, width) = (excerpt.indent, excerpt.width);
            writeln!(formatter, "{:gutter$} |", "")?;
            writeln!(formatter, "{number} | {}", excerpt.text)?;
            writeln!(formatter, "{:gutter$} | {:indent$}{:^<width$}", "", "", "")?;
        }
        if !self.path.is_empty() {
            writeln!(formatter, "{:gutter$} path: {}", "", self.path)?;
        }
        if !self.remedy.is_empty() {
            writeln!(formatter, "{:gutter$} help: {}", "", self.remedy)?;
        }
        Ok(())
    }
}

/// All faults of a configuration, by place; at least one is an error where this is returned as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The faults, warnings among them.
    pub list: Vec<Fault>,
    /// How many more there are than the list has.
    pub more: usize,
    /// The file is there, and the system could not read it.
    pub is_unread: bool,
}

impl Faults {
    /// Whether another attempt may do without a change to the texts: they were not read, or all that is wrong is what a `${...}`
    /// stands for.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let mut errors = self.list.iter();
        self.is_unread
            || self.more == 0
                && errors
                    .all(|it| it.severity == Severity::Warning || it.code == Code::Substitution)
    }

    /// `5 errors, 1 warning`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |severity| {
            self.list
                .iter()
                .filter(|fault| fault.severity == severity)
                .count()
        };
        let mut parts = Vec::new();
        for (severity, word) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
            match count(severity) {
                0 => {}
                1 => parts.push(format!("1 {word}")),
                n => parts.push(format!("{n} {word}s")),
            }
        }
        if self.more > 0 {
            parts.push(format!("{} more not shown", self.more));
        }
        if parts.is_empty() {
            parts.push("no faults".to_owned());
        }
        parts.join(", ")
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list
            .iter()
            .try_for_each(|fault| writeln!(formatter, "{fault}"))?;
        write!(formatter, "{}", self.summary())
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once() {
        let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Code::ALL.len());
        assert!(codes.is_sorted());
    }
}
