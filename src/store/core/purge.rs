//! A purge: messages that somebody gives up for their age.
//!
//! It never takes what the reader has in hand, which may arrive in spite of it, nor a QoS 2 message of an earlier start that the
//! upstream's session may hold: a later message under the same packet id would be swallowed there. So the session goes on.
//! What is purged ends as everything does, so whole files go, and on a full medium too.

use std::time::{Duration, Instant};

use super::super::gap::GapReason;
use super::super::ledger::is_expired;
use super::super::{CommitNumber, Entry, Outcome, Purged, REACH};
use super::Core;
use crate::clock::WallTime;
use crate::mqtt::QoS;

/// A purge under way.
#[derive(Debug)]
pub(crate) struct Purge {
    age: Duration,
    /// Below this the upstream's session may hold QoS 2 messages of an earlier start. Taken before the cursor moves.
    held_below: u64,
    purged: u64,
    kept: u64,
}

impl Core {
    /// Of what is older than `age`.
    pub(crate) fn begin_purge(&self, age: Duration) -> Purge {
        let has_session = self.session.is_some();
        Purge {
            age,
            held_below: if has_session { self.cursor + REACH } else { 0 },
            purged: 0,
            kept: 0,
        }
    }

    /// Gives up those of `entries` that are old enough.
    pub(crate) fn purge(
        &mut self,
        now: Instant,
        wall: WallTime,
        purge: &mut Purge,
        entries: &[Entry],
    ) {
        for entry in entries {
            let seq = entry.seq.0;
            if !is_expired(entry.record.stamped, wall, purge.age) {
                continue;
            }
            let is_held = entry.maybe_sent
                && entry.record.message.qos == QoS::ExactlyOnce
                && seq < purge.held_below;
            if seq <= self.read_to || is_held {
                purge.kept += 1;
                continue;
            }
            let dropped = self.dropped;
            self.done(now, seq, Outcome::Dropped);
            let count = self.dropped - dropped;
            let stamp = entry.record.stamped;
            self.lose(now, GapReason::Purged, count, stamp, stamp);
            purge.purged += count;
        }
    }

    /// What came of it.
    pub(crate) fn end_purge(&mut self, now: Instant, purge: Purge) -> Purged {
        self.purged += purge.purged;
        Purged {
            purged: purge.purged,
            kept: purge.kept,
            commit: CommitNumber(self.front.settled(now)),
        }
    }
}
