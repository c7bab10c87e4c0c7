//! A read from the files: what is asked, how much of it goes in, what was found. No I/O.

use super::SessionNumber;
use super::record::Stored;
use super::tail::message_bytes;

/// What a reader asks of the files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// Only what this session wants.
    pub(super) session: Option<SessionNumber>,
    /// First position.
    pub(super) from: u64,
    /// Last position.
    pub(super) until: u64,
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// The log's reader takes the messages in hand; else somebody only looks at them.
    pub(super) takes: bool,
}

impl Ask {
    /// Of the reader of a bridge's log, for everything from `from` on.
    pub(super) fn of_reader(from: u64, messages: usize, bytes: usize) -> Self {
        Self {
            session: None,
            from,
            until: u64::MAX,
            messages,
            bytes,
            takes: true,
        }
    }
}

/// What was found in the files.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Position, epoch, message; in order.
    pub(super) records: Vec<(u64, u32, Stored)>,
    /// Everything up to here was looked at.
    pub(super) reached: u64,
    /// Segments that could not be read: first position, and how many messages they are said to have had.
    pub(super) damaged: Vec<(u64, u64)>,
}

/// What becomes of a record that a read comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is part of the answer.
    Taken,
    /// Nobody asked for it.
    Passed,
    /// The answer is full without it.
    TooMuch,
}

/// Counts messages and bytes of a read from the files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    session: Option<SessionNumber>,
    messages: usize,
    bytes: usize,
    is_first: bool,
}

impl Allowance {
    pub(super) fn new(ask: &Ask) -> Self {
        Self {
            session: ask.session,
            messages: ask.messages,
            bytes: ask.bytes,
            is_first: true,
        }
    }

    /// For whom is read, if it is for one session.
    pub(super) fn session(&self) -> Option<SessionNumber> {
        self.session
    }

    /// Whether nothing more goes in.
    pub(super) fn is_spent(&self) -> bool {
        !self.is_first && self.messages == 0
    }

    /// Whether `record` still goes in; the first one that is asked for always does.
    pub(super) fn judge(&mut self, record: &Stored) -> Judged {
        let is_wanted = self
            .session
            .is_none_or(|session| record.wants.iter().any(|want| want.session == session));
        if !is_wanted {
            return Judged::Passed;
        }
        let size = message_bytes(&record.message);
        if !self.is_first && (self.messages == 0 || size > self.bytes) {
            return Judged::TooMuch;
        }
        self.is_first = false;
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
        Judged::Taken
    }
}
