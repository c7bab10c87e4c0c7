//! The index of topic filters: a trie by topic level.
//!
//! A publish visits the nodes that match its topic and no others, so its cost does not grow with the filters that do
//! not match. Nodes lie in one slab and name each other by number; the named children of all nodes share one hash table,
//! keyed by parent and level, so that a filter costs about 70 bytes for each level that no other filter shares. The hash
//! is the standard library's keyed one: clients choose the keys. A node's number also stands for its filter, whose text
//! can be put together again, so nobody needs to keep it.
//!
//! Depth is bounded by the limit on topic levels, which is checked before a filter or a name comes here.

use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::num::NonZeroU32;

use hashbrown::HashTable;
use slab::Slab;

use super::shrink::is_sparse;
use crate::topic::{TopicFilter, TopicName};

/// Longest level that a node holds without an allocation of its own; as much as fits beside a length.
const SHORT_MAX: usize = 22;
/// Spreads the numbers of parents over the hash table: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A node, and so a filter. Valid until [`Trie::prune`] takes the node away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FilterKey(NonZeroU32);

/// Filters, and a `T` for each.
#[derive(Debug)]
pub(super) struct Trie<T> {
    nodes: Slab<Node<T>>,
    root: FilterKey,
    /// The named children of all nodes.
    named: HashTable<FilterKey>,
    hasher: RandomState,
    /// Counts the filters that came and went.
    edition: u64,
    /// Scratch of `visit`, kept for its capacity: the nodes that match so far, and those that match one level on.
    active: Vec<FilterKey>,
    next: Vec<FilterKey>,
}

#[derive(Debug)]
struct Node<T> {
    level: Level,
    parent: FilterKey,
    /// How many of its children are in [`Trie::named`].
    named: u32,
    /// The `+` below.
    any: Option<FilterKey>,
    /// The `#` below; it matches this level too.
    rest: Option<FilterKey>,
    here: T,
}

/// The text of one level.
#[derive(Debug)]
enum Level {
    Short { len: u8, text: [u8; SHORT_MAX] },
    Long(Box<[u8]>),
}

impl<T: Default> Default for Trie<T> {
    fn default() -> Self {
        let root = FilterKey(NonZeroU32::MIN);
        let mut nodes = Slab::new();
        nodes.insert(Node::new("", root));
        Self {
            nodes,
            root,
            named: HashTable::new(),
            hasher: RandomState::new(),
            edition: 0,
            active: Vec::new(),
            next: Vec::new(),
        }
    }
}

impl<T: Default> Trie<T> {
    /// The key of a filter, which is added where it is not there. `None` where four billion levels are there already.
    /// A filter that is then left without a use must be given to [`Self::prune`].
    pub(super) fn add(&mut self, filter: &TopicFilter) -> Option<FilterKey> {
        let levels = filter.levels();
        let mut at = self.root;
        for level in levels {
            at = match self.child(at, level) {
                Some(child) => child,
                None => self.grow(at, level)?,
            };
        }
        Some(at)
    }

    /// The key of a filter that is there.
    pub(super) fn find(&self, filter: &TopicFilter) -> Option<FilterKey> {
        let mut levels = filter.levels();
        levels.try_fold(self.root, |at, level| self.child(at, level))
    }

    pub(super) fn get(&self, key: FilterKey) -> Option<&T> {
        self.nodes.get(key.place()).map(|node| &node.here)
    }

    pub(super) fn get_mut(&mut self, key: FilterKey) -> Option<&mut T> {
        self.nodes.get_mut(key.place()).map(|node| &mut node.here)
    }

    /// The filter of a key.
    pub(super) fn text(&self, key: FilterKey) -> String {
        let mut levels = Vec::new();
        let mut at = key;
        while at != self.root
            && let Some(node) = self.nodes.get(at.place())
        {
            levels.push(String::from_utf8_lossy(node.level.bytes()));
            at = node.parent;
        }
        levels.reverse();
        levels.join("/")
    }

    /// Gives back room that filters have left. Keys stay as they are.
    pub(super) fn shrink(&mut self) {
        if is_sparse(self.nodes.len(), self.nodes.capacity()) {
            self.nodes.shrink_to_fit();
        }
        if is_sparse(self.named.len(), self.named.capacity()) {
            let Self {
                nodes,
                named,
                hasher,
                ..
            } = self;
            named.shrink_to_fit(|child| hash_of(nodes, hasher, *child));
        }
    }

    /// Takes away a filter that is of no more use, and the nodes above it that only it needed.
    pub(super) fn prune(&mut self, key: FilterKey, is_unused: impl Fn(&T) -> bool) {
        let mut at = key;
        while at != self.root {
            let leaf = self.nodes.get(at.place()).filter(|node| {
                node.named == 0
                    && node.any.is_none()
                    && node.rest.is_none()
                    && is_unused(&node.here)
            });
            let Some(leaf) = leaf else {
                return;
            };
            let parent = leaf.parent;
            let hash = self.hash(parent, leaf.level.bytes());
            self.nodes.remove(at.place());
            self.edition += 1;
            let Some(above) = self.nodes.get_mut(parent.place()) else {
                return;
            };
            if above.any == Some(at) {
                above.any = None;
            } else if above.rest == Some(at) {
                above.rest = None;
            } else if let Ok(entry) = self.named.find_entry(hash, |child| *child == at) {
                entry.remove();
                above.named = above.named.saturating_sub(1);
            }
            at = parent;
        }
    }

    /// Which filters there are: as long as this stays the same, what matches a topic stays the same.
    pub(super) fn edition(&self) -> u64 {
        self.edition
    }

    /// Calls `found` for every filter that matches `topic`, and for every node that would be one.
    pub(super) fn visit(&mut self, topic: &TopicName, mut found: impl FnMut(FilterKey, &T)) {
        let mut active = mem::take(&mut self.active);
        let mut next = mem::take(&mut self.next);
        active.clear();
        active.push(self.root);
        // No wildcard matches the first level of a `$` topic [MQTT-4.7.2-1].
        let mut wildcards = !topic.is_reserved();
        for level in topic.levels() {
            let mut hash = None;
            for &key in &active {
                let Some(node) = self.nodes.get(key.place()) else {
                    continue;
                };
                if wildcards {
                    self.tell(node.rest, &mut found);
                    next.extend(node.any);
                }
                if node.named > 0 {
                    let hash = *hash.get_or_insert_with(|| self.hasher.hash_one(level.as_bytes()));
                    next.extend(self.named_child(mixed(hash, key), key, level.as_bytes()));
                }
            }
            wildcards = true;
            mem::swap(&mut active, &mut next);
            next.clear();
        }
        for &key in &active {
            if let Some(node) = self.nodes.get(key.place()) {
                found(key, &node.here);
                self.tell(node.rest, &mut found);
            }
        }
        (self.active, self.next) = (active, next);
    }

    fn tell(&self, key: Option<FilterKey>, found: &mut impl FnMut(FilterKey, &T)) {
        if let Some(key) = key
            && let Some(here) = self.get(key)
        {
            found(key, here);
        }
    }

    fn child(&self, parent: FilterKey, level: &str) -> Option<FilterKey> {
        let node = self.nodes.get(parent.place())?;
        match level {
            "+" => node.any,
            "#" => node.rest,
            _ if node.named == 0 => None,
            name => {
                let hash = self.hash(parent, name.as_bytes());
                self.named_child(hash, parent, name.as_bytes())
            }
        }
    }

    fn named_child(&self, hash: u64, parent: FilterKey, level: &[u8]) -> Option<FilterKey> {
        let is_it = |child: &FilterKey| {
            let node = self.nodes.get(child.place());
            node.is_some_and(|node| node.parent == parent && node.level.bytes() == level)
        };
        self.named.find(hash, is_it).copied()
    }

    fn grow(&mut self, parent: FilterKey, level: &str) -> Option<FilterKey> {
        let key = FilterKey::new(self.nodes.vacant_key())?;
        let hash = self.hash(parent, level.as_bytes());
        let above = self.nodes.get_mut(parent.place())?;
        match level {
            "+" => above.any = Some(key),
            "#" => above.rest = Some(key),
            _ => {
                above.named += 1;
                let Self {
                    nodes,
                    named,
                    hasher,
                    ..
                } = self;
                named.insert_unique(hash, key, |child| hash_of(nodes, hasher, *child));
            }
        }
        self.nodes.insert(Node::new(level, parent));
        self.edition += 1;
        Some(key)
    }

    fn hash(&self, parent: FilterKey, level: &[u8]) -> u64 {
        mixed(self.hasher.hash_one(level), parent)
    }
}

impl FilterKey {
    fn new(place: usize) -> Option<Self> {
        let number = u32::try_from(place).ok()?.checked_add(1)?;
        NonZeroU32::new(number).map(Self)
    }

    fn place(self) -> usize {
        // Numbers come from places of the slab, so they fit.
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

impl<T: Default> Node<T> {
    fn new(level: &str, parent: FilterKey) -> Self {
        Self {
            level: Level::new(level.as_bytes()),
            parent,
            named: 0,
            any: None,
            rest: None,
            here: T::default(),
        }
    }
}

impl Level {
    fn new(level: &[u8]) -> Self {
        let mut text = [0; SHORT_MAX];
        match (text.get_mut(..level.len()), u8::try_from(level.len())) {
            (Some(short), Ok(len)) => {
                short.copy_from_slice(level);
                Self::Short { len, text }
            }
            _ => Self::Long(level.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, text } => text.get(..usize::from(*len)).unwrap_or(text),
            Self::Long(text) => text,
        }
    }
}

/// The hash of a named node.
fn hash_of<T>(nodes: &Slab<Node<T>>, hasher: &RandomState, key: FilterKey) -> u64 {
    let node = nodes.get(key.place());
    node.map_or(0, |node| {
        mixed(hasher.hash_one(node.level.bytes()), node.parent)
    })
}

/// The place of a level below a parent: the level's hash is secret, the parent's number is not.
fn mixed(level: u64, parent: FilterKey) -> u64 {
    level ^ u64::from(parent.0.get()).wrapping_mul(SPREAD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Numbers = BTreeSet<usize>;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::try_from(text).unwrap()
    }

    fn add(trie: &mut Trie<Numbers>, text: &str, number: usize) -> FilterKey {
        let key = trie.add(&filter(text)).unwrap();
        trie.get_mut(key).unwrap().insert(number);
        key
    }

    fn remove(trie: &mut Trie<Numbers>, text: &str, number: usize) {
        let key = trie.find(&filter(text)).unwrap();
        assert!(trie.get_mut(key).unwrap().remove(&number));
        trie.prune(key, Numbers::is_empty);
    }

    fn found(trie: &mut Trie<Numbers>, topic: &str) -> Vec<usize> {
        let mut all = Vec::new();
        trie.visit(&TopicName::try_from(topic).unwrap(), |_, here| {
            all.extend(here)
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn a_node_with_one_subscriber_takes_56_bytes() {
        assert_eq!(size_of::<Node<[u64; 2]>>(), 56);
    }

    #[test]
    fn a_filter_is_found_again_and_its_text_is_put_together() {
        let mut trie = Trie::default();
        let long = format!("a/{}/c", "x".repeat(SHORT_MAX + 1));
        for text in ["a", "/", "a/+/c", "a/#", "#", "+", "//b", &long, "a/héé"] {
            let key = add(&mut trie, text, 1);
            assert_eq!(trie.find(&filter(text)), Some(key));
            assert_eq!(trie.text(key), text);
        }
        assert_eq!(
            trie.find(&filter("a/+"))
                .map(|key| trie.text(key))
                .as_deref(),
            Some("a/+")
        );
        assert_eq!(trie.find(&filter("a/b")), None);
    }

    #[test]
    fn pruning_leaves_what_others_need_and_nothing_else() {
        let mut trie = Trie::default();
        let texts = ["a/b/c", "a/+/c", "a/#", "+/b", "#", "a/b"];
        for text in texts {
            add(&mut trie, text, 1);
        }
        add(&mut trie, "a/b", 2);
        for text in texts {
            remove(&mut trie, text, 1);
        }
        assert_eq!(found(&mut trie, "a/b"), [2]);
        remove(&mut trie, "a/b", 2);
        assert_eq!(trie.nodes.len(), 1, "the root");
        assert!(trie.named.is_empty());
    }

    #[test]
    fn a_trie_that_was_large_becomes_small_and_finds_what_is_left() {
        let mut trie = Trie::default();
        for number in 0..1000 {
            add(&mut trie, &format!("a/{number}"), number);
        }
        for number in (0..1000).filter(|number| number % 500 != 7) {
            remove(&mut trie, &format!("a/{number}"), number);
        }
        trie.shrink();
        assert!(trie.nodes.capacity() < 600 && trie.named.capacity() < 10);
        assert_eq!(found(&mut trie, "a/7"), [7]);
        assert_eq!(found(&mut trie, "a/507"), [507]);
        for number in 0..1000 {
            add(&mut trie, &format!("a/{number}"), number);
            assert_eq!(found(&mut trie, &format!("a/{number}")), [number]);
        }
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
            for (number, filter) in filters.iter().enumerate() {
                add(&mut trie, filter.as_str(), number);
            }
            for (number, filter) in filters.iter().enumerate().filter(|(number, _)| removed[*number]) {
                remove(&mut trie, filter.as_str(), number);
            }
            for name in names.iter().filter_map(|text| TopicName::try_from(text.as_str()).ok()) {
                let expected: Vec<_> = (0..filters.len())
                    .filter(|&number| !removed[number] && filters[number].matches(&name))
                    .collect();
                prop_assert_eq!(found(&mut trie, name.as_str()), expected, "{} in {:?}", name, filters);
            }
        }
    }
}
