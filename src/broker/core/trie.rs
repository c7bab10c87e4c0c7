//! The subscription index: a trie by topic level, with the named children of a level in a hash map, `+` and `#` beside
//! them.
//!
//! A publish visits the nodes that match its topic and no others, so its cost does not grow with the subscriptions that
//! do not match. The hash is the standard library's keyed one: clients choose the keys. Depth is bounded by the limit on
//! topic levels, which is checked before a filter or a name comes here.

use std::collections::HashMap;
use std::str::Split;

use super::session::SessionKey;
use crate::mqtt::QoS;
use crate::topic::{TopicFilter, TopicName};

/// Who subscribed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) session: SessionKey,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) subscription_id: Option<u32>,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Trie {
    root: Node,
    len: usize,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Self>,
    /// The `+` below this level.
    any: Option<Box<Self>>,
    /// Subscribers whose filter ends here.
    here: Vec<Subscriber>,
    /// Subscribers whose filter ends with the `#` below this level; it matches this level too.
    rest: Vec<Subscriber>,
}

impl Trie {
    /// Subscriptions held.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a subscription; one of the same session to the same filter is replaced [MQTT-3.8.4-3].
    pub(super) fn insert(&mut self, filter: &TopicFilter, subscriber: Subscriber) {
        let mut node = &mut self.root;
        for level in filter.as_str().split('/') {
            match level {
                "#" => {
                    self.len += usize::from(put(&mut node.rest, subscriber));
                    return;
                }
                "+" => node = node.any.get_or_insert_default(),
                name if node.children.contains_key(name) => {
                    let Some(child) = node.children.get_mut(name) else {
                        return;
                    };
                    node = child;
                }
                name => node = node.children.entry(name.into()).or_default(),
            }
        }
        self.len += usize::from(put(&mut node.here, subscriber));
    }

    /// Removes a subscription and the nodes that nobody needs any more; false where there was none.
    pub(super) fn remove(&mut self, filter: &TopicFilter, session: SessionKey) -> bool {
        let removed = self.root.remove(filter.as_str().split('/'), session);
        self.len -= usize::from(removed);
        removed
    }

    /// Adds every subscription that matches `topic` to `found`; a session with several that match is there several times.
    pub(super) fn matches(&self, topic: &TopicName, found: &mut Vec<Subscriber>) {
        let levels = topic.as_str().split('/');
        self.root.visit(levels, !topic.is_reserved(), found);
    }
}

impl Node {
    /// `wildcards` is false at the first level of a `$` topic [MQTT-4.7.2-1].
    fn visit(&self, mut levels: Split<'_, char>, wildcards: bool, found: &mut Vec<Subscriber>) {
        if wildcards {
            found.extend_from_slice(&self.rest);
        }
        let Some(level) = levels.next() else {
            found.extend_from_slice(&self.here);
            return;
        };
        if let Some(child) = self.children.get(level) {
            child.visit(levels.clone(), true, found);
        }
        if wildcards && let Some(any) = &self.any {
            any.visit(levels, true, found);
        }
    }

    fn remove(&mut self, mut levels: Split<'_, char>, session: SessionKey) -> bool {
        match levels.next() {
            None => take(&mut self.here, session),
            Some("#") => take(&mut self.rest, session),
            Some("+") => {
                let Some(any) = &mut self.any else {
                    return false;
                };
                let removed = any.remove(levels, session);
                if any.is_empty() {
                    self.any = None;
                }
                removed
            }
            Some(level) => {
                let Some(child) = self.children.get_mut(level) else {
                    return false;
                };
                let removed = child.remove(levels, session);
                if child.is_empty() {
                    self.children.remove(level);
                }
                removed
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.any.is_none()
            && self.here.is_empty()
            && self.rest.is_empty()
    }
}

/// True where the subscription is new.
fn put(subscribers: &mut Vec<Subscriber>, subscriber: Subscriber) -> bool {
    let known = subscribers
        .iter_mut()
        .find(|known| known.session == subscriber.session);
    if let Some(known) = known {
        *known = subscriber;
        return false;
    }
    subscribers.push(subscriber);
    true
}

fn take(subscribers: &mut Vec<Subscriber>, session: SessionKey) -> bool {
    let position = subscribers
        .iter()
        .position(|known| known.session == session);
    position.is_some_and(|position| {
        subscribers.swap_remove(position);
        true
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::try_from(text).unwrap()
    }

    fn subscriber(session: usize) -> Subscriber {
        Subscriber {
            session: SessionKey(session),
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            subscription_id: None,
        }
    }

    fn found(trie: &Trie, topic: &str) -> Vec<usize> {
        let mut found = Vec::new();
        trie.matches(&TopicName::try_from(topic).unwrap(), &mut found);
        let mut found: Vec<_> = found.iter().map(|found| found.session.0).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_replaced_subscription_is_one() {
        let mut trie = Trie::default();
        trie.insert(&filter("a/+"), subscriber(1));
        let better = Subscriber {
            qos: QoS::ExactlyOnce,
            ..subscriber(1)
        };
        trie.insert(&filter("a/+"), better);
        assert_eq!(trie.len(), 1);
        let mut matched = Vec::new();
        trie.matches(&TopicName::try_from("a/b").unwrap(), &mut matched);
        assert_eq!(matched, [better]);
    }

    #[test]
    fn removal_prunes_and_says_whether_there_was_one() {
        let mut trie = Trie::default();
        for text in ["a/b/c", "a/+/c", "a/#", "+/b", "#"] {
            trie.insert(&filter(text), subscriber(1));
        }
        assert!(!trie.remove(&filter("a/b"), SessionKey(1)));
        assert!(!trie.remove(&filter("a/b/c"), SessionKey(2)));
        for text in ["a/b/c", "a/+/c", "a/#", "+/b", "#"] {
            assert!(trie.remove(&filter(text), SessionKey(1)), "{text}");
        }
        assert!(trie.root.is_empty());
        assert_eq!(trie.len(), 0);
    }

    fn texts(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        vec(prop::sample::select(levels), 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_the_filters_match(
            filters in vec(texts(&["a", "b", "$x", "", "+", "#"]), 1..12),
            removed in vec(any::<bool>(), 12),
            names in vec(texts(&["a", "b", "$x", "", "c"]), 1..12),
        ) {
            let filters: Vec<_> = filters.iter().filter_map(|text| TopicFilter::try_from(text.as_str()).ok()).collect();
            let mut trie = Trie::default();
            for (session, filter) in filters.iter().enumerate() {
                trie.insert(filter, subscriber(session));
            }
            for (session, filter) in filters.iter().enumerate().filter(|(session, _)| removed[*session]) {
                prop_assert!(trie.remove(filter, SessionKey(session)));
            }
            for name in names.iter().filter_map(|text| TopicName::try_from(text.as_str()).ok()) {
                let expected: Vec<_> = (0..filters.len())
                    .filter(|&session| !removed[session] && filters[session].matches(&name))
                    .collect();
                prop_assert_eq!(found(&trie, name.as_str()), expected, "{} in {:?}", name, filters);
            }
        }
    }
}
