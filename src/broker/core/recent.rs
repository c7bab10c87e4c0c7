//! Which filters match the topics that come again and again: devices publish to the same few topics for years.
//!
//! A topic has one place, by its hash; it is taken in when it comes there twice in a row, so that topics that never come
//! again cost a hash and displace nobody. What is remembered are the filters, not who subscribed to them: it holds until a
//! filter is added to or taken out of the index. Bounded; nothing is held before the first message.

use super::topic_hash;
use super::trie::FilterKey;
use crate::topic::TopicName;

/// Topics remembered, a power of two.
const PLACES: usize = 1024;
/// A topic that more filters match is not remembered.
const FILTERS_MAX: usize = 8;

/// The topics of late and their filters.
#[derive(Debug, Default)]
pub(super) struct Recent {
    places: Vec<Place>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    /// Hash of the last topic that was not found here.
    missed: u64,
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    topic: TopicName,
    /// Of the index when this was found out.
    edition: u64,
    filters: Filters,
}

/// Those that match one topic, in the order of the index.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filters {
    keys: [Option<FilterKey>; FILTERS_MAX],
    len: usize,
}

impl Filters {
    /// Adds one; beyond [`FILTERS_MAX`] only their number counts.
    pub(super) fn push(&mut self, key: FilterKey) {
        if let Some(place) = self.keys.get_mut(self.len) {
            *place = Some(key);
        }
        self.len += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = FilterKey> {
        self.keys.iter().take(self.len).copied().flatten()
    }
}

impl Recent {
    /// The filters of a topic, if it is known since the index is as it is now.
    pub(super) fn find(&self, topic: &TopicName, edition: u64) -> Option<&Filters> {
        let known = self.places.get(place_of(hash(topic)))?.known.as_ref()?;
        (known.edition == edition && known.topic == *topic).then_some(&known.filters)
    }

    /// The index was asked for a topic that [`Self::find`] did not find.
    pub(super) fn note(&mut self, topic: &TopicName, edition: u64, filters: &Filters) {
        if self.places.is_empty() {
            self.places.resize(PLACES, Place::default());
        }
        let hash = hash(topic);
        let Some(place) = self.places.get_mut(place_of(hash)) else {
            return;
        };
        let is_known = place
            .known
            .as_ref()
            .is_some_and(|known| known.topic == *topic);
        if filters.len > FILTERS_MAX || (place.missed != hash && !is_known) {
            place.missed = hash;
            return;
        }
        place.known = Some(Known {
            topic: topic.compact(),
            edition,
            filters: *filters,
        });
    }
}

fn place_of(hash: u64) -> usize {
    topic_hash::place_of(hash, PLACES)
}

fn hash(topic: &TopicName) -> u64 {
    topic_hash::hash(0, topic.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::trie::Trie;
    use super::*;
    use crate::topic::TopicFilter;

    fn topic(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    fn filters(count: usize) -> Filters {
        let mut trie = Trie::<()>::default();
        let mut filters = Filters::default();
        for number in 0..count {
            let filter = TopicFilter::try_from(format!("f{number}").as_str()).unwrap();
            filters.push(trie.add(&filter).unwrap());
        }
        filters
    }

    #[test]
    fn a_topic_is_remembered_the_second_time_until_the_index_changes() {
        let (mut recent, a) = (Recent::default(), topic("plant/line4/press"));
        let two = filters(2);
        assert!(recent.find(&a, 1).is_none());
        recent.note(&a, 1, &two);
        assert!(recent.find(&a, 1).is_none(), "it may never come again");
        recent.note(&a, 1, &two);
        let found: Vec<_> = recent.find(&a, 1).unwrap().iter().collect();
        assert_eq!(found, two.iter().collect::<Vec<_>>());
        assert!(recent.find(&topic("plant/line4/pres"), 1).is_none());
        assert!(recent.find(&a, 2).is_none());
        recent.note(&a, 2, &filters(0));
        assert_eq!(recent.find(&a, 2).unwrap().iter().count(), 0);
    }

    #[test]
    fn a_topic_of_many_filters_is_left_to_the_index() {
        let (mut recent, a) = (Recent::default(), topic("a"));
        for _ in 0..3 {
            recent.note(&a, 1, &filters(FILTERS_MAX + 1));
        }
        assert!(recent.find(&a, 1).is_none());
        recent.note(&a, 1, &filters(FILTERS_MAX));
        assert!(recent.find(&a, 1).is_some());
    }

    #[test]
    fn topics_that_never_come_again_displace_nobody() {
        let (mut recent, a) = (Recent::default(), topic("a/b/c"));
        recent.note(&a, 1, &filters(1));
        recent.note(&a, 1, &filters(1));
        for number in 0..10 * PLACES {
            recent.note(&topic(&format!("once/{number}")), 1, &filters(0));
        }
        assert!(recent.find(&a, 1).is_some());
    }
}
