//! When a log commits, and whether holding a message back for an acknowledgement is worth it. No I/O.
//!
//! A commit costs a sync and about 25 KB whatever is in it, so each waits for company: `urgent` for messages, `tidy` for
//! what became done, `promised` for what somebody waits to be durable.

use std::time::{Duration, Instant};

/// After a commit by age that showed holding to be useless, nothing is held for this long.
pub(super) const HOLD_PAUSE: Duration = Duration::from_secs(10);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Pace {
    commit_interval: Duration,
    hold: Duration,
    /// Until then nothing is held.
    hold_pause: Option<Instant>,
    /// Messages kept from being written by their acknowledgement, since the last commit by age.
    spared: u64,
    /// When what waits and is not held must be committed.
    urgent: Option<Instant>,
    /// When what became done must be committed.
    tidy: Option<Instant>,
    /// The highest commit number promised to a caller, and when it must have been made.
    promised: u64,
    promised_due: Option<Instant>,
    commits: u64,
}

impl Pace {
    pub(super) fn new(commit_interval: Duration, hold: Duration) -> Self {
        Self {
            commit_interval,
            hold,
            hold_pause: None,
            spared: 0,
            urgent: None,
            tidy: None,
            promised: 0,
            promised_due: None,
            commits: 0,
        }
    }

    /// Commits that succeeded.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// Whether a message that comes now may be held at all.
    pub(super) fn holds(&self, now: Instant) -> bool {
        !self.hold.is_zero() && self.hold_pause.is_none_or(|until| until <= now)
    }

    /// Messages are to be committed by `due`.
    pub(super) fn hurry(&mut self, due: Instant) {
        self.urgent = earlier(self.urgent, due);
    }

    /// Messages are to be committed within the interval.
    pub(super) fn hurry_soon(&mut self, now: Instant) {
        self.hurry(now + self.commit_interval);
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.urgent.is_some()
    }

    /// What became done is to be committed by `due`.
    pub(super) fn tidy_by(&mut self, due: Instant) {
        self.tidy = earlier(self.tidy, due);
    }

    pub(super) fn is_tidy_due(&self) -> bool {
        self.tidy.is_some()
    }

    /// The number of the first commit that will hold what is true now: one that is under way does not.
    pub(super) fn promise(&mut self, now: Instant, under_way: bool) -> u64 {
        let number = self.commits + 1 + u64::from(under_way);
        if number > self.promised || self.promised_due.is_none() {
            self.promised_due = earlier(self.promised_due, now + self.commit_interval);
        }
        self.promised = self.promised.max(number);
        number
    }

    /// When the next commit is due; `oldest`: since when the oldest message waits. One that was held long enough begins an
    /// interval like any other that waits: on a link with late answers that spares a third of the commits, and more.
    pub(super) fn due(&self, oldest: Option<Instant>) -> Option<Instant> {
        let held = oldest.map(|at| at + self.hold + self.commit_interval);
        let times = [self.urgent, self.tidy, self.promised_due, held];
        times.into_iter().flatten().min()
    }

    /// Whether a commit without messages has a purpose.
    pub(super) fn has_reason(&self) -> bool {
        self.tidy.is_some() || self.promised > self.commits
    }

    /// A commit begins that takes care of all that was due. Whether its only reason is that a message was held long
    /// enough.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let reasons = [
            self.urgent.take(),
            self.tidy.take(),
            self.promised_due.take(),
        ];
        reasons.into_iter().flatten().all(|due| due > now)
    }

    /// A message was acknowledged before it was written.
    pub(super) fn spared(&mut self) {
        self.spared += 1;
    }

    /// A commit by age writes `aged` messages: holding is worth it while acknowledgements keep more from being written.
    pub(super) fn judge_holding(&mut self, now: Instant, aged: u64) {
        if aged > self.spared {
            self.hold_pause = Some(now + HOLD_PAUSE);
        }
        self.spared = 0;
    }

    pub(super) fn committed(&mut self, now: Instant) {
        self.commits += 1;
        if self.promised > self.commits {
            let due = now + self.commit_interval;
            self.promised_due.get_or_insert(due);
        }
    }
}

fn earlier(known: Option<Instant>, due: Instant) -> Option<Instant> {
    Some(known.map_or(due, |known| known.min(due)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const INTERVAL: Duration = Duration::from_millis(100);

    #[test]
    fn without_a_hold_a_message_waits_for_company_all_the_same() {
        let now = clock::now();
        for hold in [Duration::ZERO, Duration::from_millis(5)] {
            let mut pace = Pace::new(INTERVAL, hold);
            pace.hurry_soon(now);
            assert_eq!(pace.due(Some(now)), Some(now + INTERVAL));
        }
    }
}
