//! Retained messages: the newest of each topic, in topic order, within limits of count and bytes.
//!
//! A filter without wildcard is one look-up; one with a wildcard visits the topics that begin with its levels up to the
//! wildcard, a bounded number at a time: a [`Cursor`] remembers where to go on.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Instant;

use bytestring::ByteString;

use super::held::{expired, weight};
use crate::mqtt::Message;
use crate::topic::{TopicFilter, TopicName};

/// Retained messages.
#[derive(Debug)]
pub(super) struct Retained {
    kept: BTreeSet<Entry>,
    bytes: usize,
    /// How many have an expiry: while none has, nobody needs to look for expired ones.
    expiring: usize,
    /// Messages that ever took their place.
    changes: u64,
    swept: Option<TopicName>,
    limit: usize,
    bytes_limit: usize,
}

/// One of them. There are many, so the message lies in it; who is sent it gets a copy, which shares the bytes.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) message: Message,
    pub(super) arrived: Instant,
    /// Who published it, for No Local.
    pub(super) publisher: ByteString,
    /// How many had taken their place before.
    pub(super) change: u64,
}

/// One of them in the order of topics: the topic is that of the message and not kept twice, and the tree, whose nodes are half
/// empty where topics come in order, moves no more than a pointer.
#[derive(Debug)]
struct Entry(Box<Kept>);

impl Borrow<TopicName> for Entry {
    fn borrow(&self) -> &TopicName {
        &self.0.message.topic
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.message.topic.cmp(&other.0.message.topic)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.message.topic == other.0.message.topic
    }
}

impl Eq for Entry {}

/// How far a replay for a new subscription is.
#[derive(Clone, Debug)]
pub(super) struct Cursor(At);

#[derive(Clone, Debug)]
enum At {
    Start,
    From(Bound<TopicName>),
    End,
}

impl Cursor {
    pub(super) fn start() -> Self {
        Self(At::Start)
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.0, At::End)
    }
}

impl Retained {
    pub(super) fn new(limit: usize, bytes_limit: usize) -> Self {
        Self {
            kept: BTreeSet::new(),
            bytes: 0,
            expiring: 0,
            changes: 0,
            swept: None,
            limit,
            bytes_limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many have ever taken their place.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn has_expiring(&self) -> bool {
        self.expiring > 0
    }

    /// Whether the message may take its place.
    pub(super) fn has_room(&self, message: &Message) -> bool {
        let old = self.kept.get(&message.topic);
        let old_weight = old.map_or(0, |old| weight(&old.0.message));
        (old.is_some() || self.kept.len() < self.limit)
            && self.bytes - old_weight + weight(message) <= self.bytes_limit
    }

    /// Replaces the message of its topic. `message` must own its storage.
    pub(super) fn set(&mut self, now: Instant, message: Message, publisher: ByteString) {
        self.clear(&message.topic);
        self.bytes += weight(&message);
        self.expiring += usize::from(expires(&message));
        let kept = Kept {
            message,
            arrived: now,
            publisher,
            change: self.changes,
        };
        self.changes += 1;
        self.kept.insert(Entry(Box::new(kept)));
    }

    /// Removes the message of a topic; false where there was none.
    pub(super) fn clear(&mut self, topic: &TopicName) -> bool {
        let Some(Entry(old)) = self.kept.take(topic) else {
            return false;
        };
        self.bytes -= weight(&old.message);
        self.expiring -= usize::from(expires(&old.message));
        true
    }

    /// The next message for `filter`, and moves on. Each message looked at takes one from `budget`; `None` with the cursor
    /// not done means that it is used up.
    pub(super) fn next(
        &self,
        filter: &TopicFilter,
        cursor: &mut Cursor,
        budget: &mut usize,
    ) -> Option<&Kept> {
        if let At::Start = cursor.0 {
            let (exact, rest) = first_look(filter);
            cursor.0 = rest;
            *budget = budget.saturating_sub(1);
            if let Some(Entry(kept)) = exact.and_then(|exact| self.kept.get(&exact)) {
                return Some(kept);
            }
        }
        let prefix = literal_prefix(filter);
        while *budget > 0 {
            let At::From(from) = &cursor.0 else {
                return None;
            };
            let range = (from.as_ref(), Bound::Unbounded);
            let next = self.kept.range::<TopicName, _>(range).next();
            let is_inside = |Entry(kept): &&Entry| kept.message.topic.as_str().starts_with(prefix);
            let Some(Entry(kept)) = next.filter(is_inside) else {
                cursor.0 = At::End;
                return None;
            };
            let topic = &kept.message.topic;
            *budget -= 1;
            cursor.0 = At::From(Bound::Excluded(topic.clone()));
            if filter.matches(topic) {
                return Some(kept);
            }
        }
        None
    }

    /// Looks at the next `count` messages and removes those that expired; their topics.
    pub(super) fn sweep(&mut self, now: Instant, count: usize) -> Vec<TopicName> {
        let from = self.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let range = (from.as_ref(), Bound::Unbounded);
        let mut seen = self.kept.range::<TopicName, _>(range).take(count);
        let mut gone = Vec::new();
        let mut looked = 0;
        for Entry(kept) in seen.by_ref() {
            let topic = &kept.message.topic;
            looked += 1;
            if expired(&kept.message, kept.arrived, now) {
                gone.push(topic.clone());
            }
            if looked == count {
                self.swept = Some(topic.clone());
            }
        }
        for topic in &gone {
            self.clear(topic);
        }
        gone
    }
}

fn expires(message: &Message) -> bool {
    let properties = message.properties.as_ref();
    properties.is_some_and(|properties| properties.message_expiry.is_some())
}

/// The one topic to look up, and where to go on: for `a/b` itself and nothing more, for `a/#` its parent level `a` and
/// then all below `a/`.
fn first_look(filter: &TopicFilter) -> (Option<TopicName>, At) {
    let text = filter.as_str();
    if !filter.has_wildcard() {
        return (TopicName::try_from(text).ok(), At::End);
    }
    let prefix = literal_prefix(filter);
    let parent = text
        .strip_suffix("/#")
        .filter(|parent| parent.len() + 1 == prefix.len());
    let from = TopicName::try_from(prefix).map_or(Bound::Unbounded, Bound::Included);
    (
        parent.and_then(|parent| TopicName::try_from(parent).ok()),
        At::From(from),
    )
}

/// The text before the first wildcard; wildcards are levels of their own, so it ends with `/` or is empty.
fn literal_prefix(filter: &TopicFilter) -> &str {
    let text = filter.as_str();
    text.find(['+', '#'])
        .and_then(|end| text.get(..end))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::mqtt::{PublishProperties, QoS};

    fn message(topic: &str, payload: &str, expiry: Option<u32>) -> Message {
        Message {
            topic: TopicName::try_from(topic).unwrap(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: QoS::AtMostOnce,
            retain: true,
            properties: expiry.map(|expiry| {
                Box::new(PublishProperties {
                    message_expiry: Some(expiry),
                    ..PublishProperties::default()
                })
            }),
        }
    }

    fn all(retained: &Retained, filter: &TopicFilter, step: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut cursor = Cursor::start();
        while !cursor.is_done() {
            let mut budget = step;
            while let Some(kept) = retained.next(filter, &mut cursor, &mut budget) {
                found.push(kept.message.topic.to_string());
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn limits_hold_for_count_and_bytes_and_a_replacement_needs_no_new_place() {
        let now = crate::clock::now();
        let one = weight(&message("a", "1", None));
        let mut retained = Retained::new(2, 2 * one + 1);
        retained.set(now, message("a", "1", None), "p".into());
        retained.set(now, message("b", "1", None), "p".into());
        assert!(!retained.has_room(&message("c", "1", None)));
        assert!(retained.has_room(&message("b", "22", None)));
        assert!(!retained.has_room(&message("b", "333", None)));
        retained.clear(&TopicName::try_from("a").unwrap());
        assert!(retained.has_room(&message("c", "1", None)));
        assert_eq!((retained.len(), retained.bytes()), (1, one));
    }

    #[test]
    fn a_sweep_removes_the_expired_and_goes_round() {
        let now = crate::clock::now();
        let mut retained = Retained::new(9, 9999);
        for topic in ["a", "b", "c", "d"] {
            retained.set(now, message(topic, "", Some(5)), "p".into());
        }
        retained.set(now, message("e", "", None), "p".into());
        assert!(retained.sweep(now, 100).is_empty());
        let later = now + Duration::from_secs(5);
        assert_eq!(retained.sweep(later, 3).len(), 3);
        assert_eq!(retained.sweep(later, 3).len(), 1);
        assert!(!retained.has_expiring());
        assert_eq!(retained.len(), 1);
    }

    fn texts(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        vec(prop::sample::select(levels), 1..4).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn a_replay_in_any_step_finds_what_the_filter_matches(
            names in btree_set(texts(&["a", "a-", "a0", "$x", "", "b"]), 0..30),
            filter in texts(&["a", "b", "$x", "", "+", "#"]),
            step in 1usize..5,
        ) {
            let Ok(filter) = TopicFilter::try_from(filter.as_str()) else { return Ok(()) };
            let mut retained = Retained::new(99, 99_999);
            let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
            for name in &names {
                retained.set(crate::clock::now(), message(name, "x", None), "p".into());
            }
            let expected: Vec<_> = names
                .into_iter()
                .filter(|name| filter.matches(&TopicName::try_from(name.as_str()).unwrap()))
                .collect();
            prop_assert_eq!(all(&retained, &filter, step), expected);
        }
    }
}
