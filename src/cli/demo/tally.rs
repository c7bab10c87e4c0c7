//! The demo's bookkeeping: what was published, what the upstream received, and what that makes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use crate::mqtt::QoS;

/// A device of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    /// By Modbus TCP.
    Press,
    /// By Modbus RTU.
    Meter,
    /// In lines of its own.
    Scale,
}

impl Source {
    pub(super) const ALL: [Self; 3] = [Self::Press, Self::Meter, Self::Scale];

    /// Its name in topics, as in `demo.yaml.in`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Press => "press",
            Self::Meter => "meter",
            Self::Scale => "scale",
        }
    }

    /// The device whose name is a level of `topic`.
    pub(super) fn of(topic: &str) -> Option<Self> {
        let mut levels = topic.split('/');
        levels.find_map(|level| Self::ALL.into_iter().find(|source| source.name() == level))
    }
}

/// One message of the demo, by what its payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Item {
    /// A reading of a device: the counter it carries. Each device counts how often it was read.
    Reading(Source, u64),
    /// A message of the numbered publisher.
    Numbered(u64),
}

/// What the upstream received, and how often.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Under different ids, or none.
    times: HashMap<Item, u32>,
    ids: HashSet<String>,
    /// Under an id that had come before.
    sent_again: u64,
}

impl Received {
    /// Adds a message with the id that the bridge gave it.
    pub(super) fn add(&mut self, item: Item, id: Option<&str>) {
        if id.is_some_and(|id| !self.ids.insert(id.to_owned())) {
            self.sent_again += 1;
        } else {
            *self.times.entry(item).or_default() += 1;
        }
    }

    /// Whether each of `items` came at least once.
    pub(super) fn has_all(&self, items: &BTreeSet<Item>) -> bool {
        items.iter().all(|item| self.times.contains_key(item))
    }

    /// Messages, copies counted.
    pub(super) fn total(&self) -> u64 {
        let times = self.times.values().map(|times| u64::from(*times));
        times.sum::<u64>() + self.sent_again
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    published: u64,
    received: u64,
    lost: u64,
    duplicated: u64,
    /// At QoS 1: what was under way when the link was cut comes again, under the id that it had.
    sent_again: u64,
}

impl Verdict {
    /// Compares what was published with what came. A message that was sent again is a duplicate to everyone at QoS 2,
    /// and to nobody at QoS 1, where its id is there to be known by.
    pub(super) fn of(published: &BTreeSet<Item>, received: &Received, qos: QoS) -> Self {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let lost = published
            .iter()
            .filter(|item| !received.times.contains_key(item))
            .count();
        let copies: u64 = received
            .times
            .values()
            .map(|times| u64::from(times.saturating_sub(1)))
            .sum();
        let (sent_again, twice) = match qos {
            QoS::AtLeastOnce => (received.sent_again, 0),
            QoS::AtMostOnce | QoS::ExactlyOnce => (0, received.sent_again),
        };
        Self {
            published: count(published.len()),
            received: received.total(),
            lost: count(lost),
            duplicated: copies + twice,
            sent_again,
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
            sent_again,
        } = self;
        write!(
            formatter,
            "published {published}  received {received}  lost {lost}  duplicated {duplicated}"
        )?;
        if *sent_again > 0 {
            write!(
                formatter,
                "  sent again {sent_again} (unanswered when the link was cut; same fieldgate-id)"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_lost_and_what_came_twice_is_duplicated() {
        let published = BTreeSet::from([
            Item::Reading(Source::Press, 1),
            Item::Reading(Source::Meter, 1),
            Item::Numbered(1),
        ]);
        let mut received = Received::default();
        let press = Item::Reading(Source::Press, 1);
        for item in [press, Item::Numbered(1), Item::Numbered(1)] {
            received.add(item, None);
        }
        let verdict = Verdict::of(&published, &received, QoS::AtLeastOnce);
        assert_eq!(
            verdict.to_string(),
            "published 3  received 3  lost 1  duplicated 1"
        );
        assert!(!verdict.is_clean(QoS::AtLeastOnce));
    }

    #[test]
    fn qos_0_may_lose_and_may_not_duplicate() {
        let published = BTreeSet::from([Item::Numbered(1)]);
        let verdict = Verdict::of(&published, &Received::default(), QoS::AtMostOnce);
        assert!(verdict.is_clean(QoS::AtMostOnce));
        assert!(!verdict.is_clean(QoS::AtLeastOnce));
    }

    #[test]
    fn what_is_sent_again_under_its_id_is_a_duplicate_at_qos_2_only() {
        let published = BTreeSet::from([Item::Numbered(1), Item::Numbered(2)]);
        let mut received = Received::default();
        for (item, id) in [(1, "a"), (2, "b"), (2, "b")] {
            received.add(Item::Numbered(item), Some(id));
        }
        let verdict = Verdict::of(&published, &received, QoS::AtLeastOnce);
        let told = verdict.to_string();
        assert!(
            told.starts_with("published 2  received 3  lost 0  duplicated 0  sent again 1 "),
            "{told}"
        );
        assert!(verdict.is_clean(QoS::AtLeastOnce));
        let verdict = Verdict::of(&published, &received, QoS::ExactlyOnce);
        assert_eq!(
            verdict.to_string(),
            "published 2  received 3  lost 0  duplicated 1"
        );
        assert!(!verdict.is_clean(QoS::ExactlyOnce));

        received.add(Item::Numbered(2), Some("c"));
        let verdict = Verdict::of(&published, &received, QoS::AtLeastOnce);
        assert!(!verdict.is_clean(QoS::AtLeastOnce), "another id");
    }
}
