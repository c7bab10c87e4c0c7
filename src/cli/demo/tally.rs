//! The demo's bookkeeping: what was published, what the upstream received, and what that makes.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use crate::mqtt::QoS;

/// One message of the demo, by what its payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Item {
    /// A reading of the device: the counter it carries. The device counts how often it was read.
    Reading(u64),
    /// A message of the numbered publisher.
    Numbered(u64),
}

/// What the upstream received, and how often.
#[derive(Debug, Default)]
pub(super) struct Received {
    times: HashMap<Item, u32>,
}

impl Received {
    pub(super) fn add(&mut self, item: Item) {
        *self.times.entry(item).or_default() += 1;
    }

    /// Whether each of `items` came at least once.
    pub(super) fn has_all(&self, items: &BTreeSet<Item>) -> bool {
        items.iter().all(|item| self.times.contains_key(item))
    }

    /// Messages, copies counted.
    pub(super) fn total(&self) -> u64 {
        self.times.values().map(|times| u64::from(*times)).sum()
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    published: u64,
    received: u64,
    lost: u64,
    duplicated: u64,
}

impl Verdict {
    /// Compares what was published with what came.
    pub(super) fn of(published: &BTreeSet<Item>, received: &Received) -> Self {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let lost = published
            .iter()
            .filter(|item| !received.times.contains_key(item))
            .count();
        let copies = received
            .times
            .values()
            .map(|times| u64::from(times.saturating_sub(1)))
            .sum();
        Self {
            published: count(published.len()),
            received: received.total(),
            lost: count(lost),
            duplicated: copies,
        }
    }

    /// Whether it is what the QoS promises.
    pub(super) fn is_clean(self, qos: QoS) -> bool {
        self.duplicated == 0 && (self.lost == 0 || qos == QoS::AtMostOnce)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            published,
            received,
            lost,
            duplicated,
        } = self;
        write!(
            formatter,
            "published {published}  received {received}  lost {lost}  duplicated {duplicated}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_lost_and_what_came_twice_is_duplicated() {
        let published = BTreeSet::from([Item::Reading(1), Item::Reading(2), Item::Numbered(1)]);
        let mut received = Received::default();
        for item in [Item::Reading(1), Item::Numbered(1), Item::Numbered(1)] {
            received.add(item);
        }
        let verdict = Verdict::of(&published, &received);
        assert_eq!(
            verdict.to_string(),
            "published 3  received 3  lost 1  duplicated 1"
        );
        assert!(!verdict.is_clean(QoS::AtLeastOnce));
    }

    #[test]
    fn qos_0_may_lose_and_may_not_duplicate() {
        let published = BTreeSet::from([Item::Numbered(1)]);
        let verdict = Verdict::of(&published, &Received::default());
        assert!(verdict.is_clean(QoS::AtMostOnce));
        assert!(!verdict.is_clean(QoS::AtLeastOnce));
    }
}
