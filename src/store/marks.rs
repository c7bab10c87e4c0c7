//! The marks of QoS 2 messages that came in: which are stored, and what the next commit changes. No I/O.
//!
//! A mark goes into the commit that has its message, or into a later one if that message was done first; never into an
//! earlier one: a mark without its message would swallow a resend.

use std::collections::{BTreeMap, BTreeSet};

use super::Mark;

/// A mark is set, with the position of its message; or removed.
type Change = Option<u64>;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Marks {
    stored: BTreeSet<Mark>,
    /// Not committed yet.
    changes: BTreeMap<Mark, Change>,
    /// What the commit under way changes.
    flight: Vec<(Mark, Change)>,
}

impl Marks {
    pub(super) fn new(stored: impl IntoIterator<Item = Mark>) -> Self {
        Self {
            stored: stored.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The message at `seq` came with `mark`.
    pub(super) fn set(&mut self, mark: Mark, seq: u64) {
        self.changes.insert(mark, Some(seq));
    }

    pub(super) fn remove(&mut self, mark: Mark) {
        self.changes.insert(mark, None);
    }

    /// Whether the next commit has something to do here.
    pub(super) fn is_changed(&self) -> bool {
        !self.changes.is_empty()
    }

    /// All that there are, committed or not.
    pub(super) fn all(&self) -> Vec<Mark> {
        let set = self.changes.iter().filter(|(_, change)| change.is_some());
        let mut all: BTreeSet<_> = set.map(|(mark, _)| *mark).collect();
        all.extend(
            self.stored
                .iter()
                .filter(|mark| !self.changes.contains_key(mark)),
        );
        all.into_iter().collect()
    }

    /// Those in the files, to be carried over.
    pub(super) fn stored(&self) -> Vec<(Mark, bool)> {
        self.stored.iter().map(|mark| (*mark, true)).collect()
    }

    /// The rows of a commit with the messages up to `up_to`, true to set one and false to delete it; `whole`: all that are
    /// to be there.
    pub(super) fn take_off(&mut self, up_to: u64, whole: bool) -> Vec<(Mark, bool)> {
        let ripe = self.changes.iter();
        let ripe = ripe.filter(|(_, change)| change.is_none_or(|seq| seq <= up_to));
        self.flight = ripe.map(|(mark, change)| (*mark, *change)).collect();
        if !whole {
            let rows = self.flight.iter();
            return rows
                .map(|(mark, change)| (*mark, change.is_some()))
                .collect();
        }
        let mut rows = self.stored.clone();
        apply(&mut rows, &self.flight);
        rows.into_iter().map(|mark| (mark, true)).collect()
    }

    /// The commit is in the files.
    pub(super) fn landed(&mut self) {
        let flight = std::mem::take(&mut self.flight);
        apply(&mut self.stored, &flight);
        for (mark, change) in flight {
            if self.changes.get(&mark) == Some(&change) {
                self.changes.remove(&mark);
            }
        }
    }
}

fn apply(stored: &mut BTreeSet<Mark>, changes: &[(Mark, Change)]) {
    for (mark, change) in changes {
        if change.is_some() {
            stored.insert(*mark);
        } else {
            stored.remove(mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SessionNumber;
    use super::*;
    use crate::mqtt::PacketId;

    fn mark(session: u64) -> Mark {
        Mark {
            session: SessionNumber(session),
            packet_id: PacketId::new(7).unwrap(),
        }
    }

    #[test]
    fn a_mark_waits_for_the_commit_of_its_message() {
        let mut marks = Marks::default();
        marks.set(mark(1), 5);
        assert_eq!(marks.all(), [mark(1)]);
        assert_eq!(marks.take_off(4, false), []);
        marks.landed();
        assert_eq!(marks.stored(), []);
        assert_eq!(marks.take_off(5, false), [(mark(1), true)]);
        marks.landed();
        assert_eq!(marks.stored(), [(mark(1), true)]);
        assert!(!marks.is_changed());
    }

    #[test]
    fn a_mark_removed_while_its_commit_is_under_way_is_removed_by_the_next() {
        let mut marks = Marks::default();
        marks.set(mark(1), 5);
        marks.take_off(5, false);
        marks.remove(mark(1));
        marks.landed();
        assert_eq!(marks.all(), []);
        assert_eq!(marks.take_off(5, false), [(mark(1), false)]);
        marks.landed();
        assert_eq!(marks.stored(), []);
    }

    #[test]
    fn a_commit_that_failed_is_made_again_whole() {
        let mut marks = Marks::new([mark(1), mark(2)]);
        marks.set(mark(3), 9);
        marks.remove(mark(1));
        marks.take_off(9, false);
        assert_eq!(marks.take_off(8, true), [(mark(2), true)]);
        assert_eq!(marks.take_off(9, true), [(mark(2), true), (mark(3), true)]);
    }
}
