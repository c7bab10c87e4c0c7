//! The reader's session at the upstream: its name, and the marks that mean something in it only.
//!
//! The name is the reader's; here it is a text that is kept, with a note behind it that may change within a session. It is given up where a message was lost to damage: the
//! upstream may hold that message's packet id, and would swallow another message that comes under it.

use std::time::Instant;

use super::super::{CommitNumber, SESSION_NAME_MAX, SESSION_TEXT_MAX};
use super::Core;

/// The name without its note.
fn name_in(text: &str) -> &str {
    text.split_once('\0').map_or(text, |(name, _)| name)
}

impl Core {
    pub(crate) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// See [`super::super::Log::keep_session`].
    pub(crate) fn keep_session(&mut self, now: Instant, name: Option<&str>) -> CommitNumber {
        let name = name.filter(|text| {
            (1..=SESSION_NAME_MAX).contains(&name_in(text).len()) && text.len() <= SESSION_TEXT_MAX
        });
        if self.session.as_deref() != name {
            if self.session.as_deref().map(name_in) != name.map(name_in) {
                self.received.clear();
            }
            self.session = name.map(str::to_owned);
            self.session_commit = self.front.promise(now);
        }
        CommitNumber(self.session_commit)
    }

    /// Every mark of [`Self::received`] is void.
    pub(crate) fn forget_received(&mut self, now: Instant) -> CommitNumber {
        if !self.received.is_empty() {
            self.received.clear();
            self.session_commit = self.front.promise(now);
        }
        CommitNumber(self.session_commit)
    }

    /// Gives the session up if messages were lost since the last time.
    pub(super) fn doubt_session(&mut self, now: Instant) {
        if self.lost > self.lost_known {
            self.lost_known = self.lost;
            self.keep_session(now, None);
        }
    }

    /// The same after the files were opened again: a file that was salvaged has no name, though one was committed.
    pub(super) fn doubt_salvaged_session(&mut self, now: Instant, stored: Option<&str>) {
        if stored.is_none() && self.session_commit <= self.front.pace.commits() {
            self.keep_session(now, None);
        }
    }
}
