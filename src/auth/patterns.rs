//! Topic Filters compiled into a tree, a level a step, so that a topic is looked up among all of them at once and
//! nothing is allocated. No I/O.
//!
//! Invariant: no branch is deeper than [`LEVELS_MAX`], because the tree is walked, and freed, by recursion.

use std::cmp::Ordering;

use crate::topic::{TopicFilter, TopicName, split_level};

/// Levels of a rule. Topics have 32 unless `topic_levels` says otherwise; a `#` at the end takes whatever is below.
pub const LEVELS_MAX: usize = 128;

/// So many names are compared with where a topic begins, without looking for the end of its level: most topics are about
/// something else, and that is soon seen.
const FEW: usize = 4;

/// Filters as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patterns {
    root: Node,
}

/// What may follow a level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Sorted by name.
    named: Vec<(Box<str>, Self)>,
    /// `+`.
    any: Option<Box<Self>>,
    /// A filter ends here.
    ends: bool,
    /// A filter has `#` next: it takes this level and everything below.
    rest: bool,
}

impl Patterns {
    /// Adds a filter; false, and nothing added, where it has more than [`LEVELS_MAX`] levels.
    pub(super) fn add(&mut self, filter: &TopicFilter) -> bool {
        if filter.levels().nth(LEVELS_MAX).is_some() {
            return false;
        }
        let mut node = &mut self.root;
        for level in filter.levels() {
            if level == "#" {
                node.rest = true;
                return true;
            }
            node = node.grow(level);
        }
        node.ends = true;
        true
    }

    /// Gives back what the lists of names have reserved.
    pub(super) fn seal(&mut self) {
        self.root.seal();
    }

    /// Whether one of them matches `name`, as [`TopicFilter::matches`] has it.
    pub(super) fn matches(&self, name: &TopicName) -> bool {
        let wildcards = !name.is_reserved();
        (wildcards && self.root.rest) || self.root.leads_to(name.as_str(), wildcards)
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }
}

impl Node {
    /// What follows `level` where a filter names it.
    pub(super) fn named(&self, level: &str) -> Option<&Self> {
        let at = self.find(level).ok()?;
        self.named.get(at).map(|(_, node)| node)
    }

    /// The levels that filters name here.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(name, _)| &**name)
    }

    /// What follows any level.
    pub(super) fn any(&self) -> Option<&Self> {
        self.any.as_deref()
    }

    /// Whether a topic that ends here matches.
    pub(super) fn ends(&self) -> bool {
        self.ends || self.rest
    }

    /// Whether all topics that lead through here match.
    pub(super) fn takes_all(&self) -> bool {
        self.rest
    }

    fn leads_to(&self, name: &str, wildcards: bool) -> bool {
        let any = self.any().filter(|_| wildcards);
        if any.is_none() && self.named.len() <= FEW {
            return self.named.iter().any(|(level, node)| {
                let below = name.strip_prefix(&**level);
                below.is_some_and(|below| match below.strip_prefix('/') {
                    Some(below) => node.takes(Some(below)),
                    None => below.is_empty() && node.takes(None),
                })
            });
        }
        let (level, below) = split_level(name);
        let named = self.named(level).is_some_and(|node| node.takes(below));
        named || any.is_some_and(|node| node.takes(below))
    }

    fn takes(&self, below: Option<&str>) -> bool {
        self.rest
            || match below {
                Some(below) => self.leads_to(below, true),
                None => self.ends,
            }
    }

    fn grow(&mut self, level: &str) -> &mut Self {
        if level == "+" {
            return self.any.get_or_insert_default();
        }
        let at = match self.find(level) {
            Ok(at) => at,
            Err(at) => {
                self.named.insert(at, (Box::from(level), Self::default()));
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or just put there")]
        &mut self.named[at].1
    }

    fn find(&self, level: &str) -> Result<usize, usize> {
        self.named.binary_search_by(|(name, _)| order(name, level))
    }

    fn seal(&mut self) {
        self.named.shrink_to_fit();
        for (_, node) in &mut self.named {
            node.seal();
        }
        if let Some(node) = &mut self.any {
            node.seal();
        }
    }
}

/// Shorter first: most comparisons end with the lengths.
fn order(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(filters: &[&str]) -> Patterns {
        let mut patterns = Patterns::default();
        for filter in filters {
            assert!(patterns.add(&TopicFilter::try_from(*filter).unwrap()));
        }
        patterns.seal();
        patterns
    }

    #[test]
    fn a_topic_is_found_among_all_filters_at_once() {
        let patterns = patterns(&["a/b", "a/+/c", "plant/#", "$SYS/broker/+", "+/x", "/"]);
        for (name, expected) in [
            ("a/b", true),
            ("a/b/c", true),
            ("a/b/d", false),
            ("a", false),
            ("plant", true),
            ("plant/1/2", true),
            ("plants", false),
            ("$SYS/broker/uptime", true),
            ("$SYS/x", false),
            ("b/x", true),
            ("/", true),
            ("//", false),
        ] {
            let name = TopicName::try_from(name).unwrap();
            assert_eq!(patterns.matches(&name), expected, "{name}");
        }
    }

    #[test]
    fn a_filter_too_deep_for_the_stack_is_not_taken() {
        let deep = |levels: usize| TopicFilter::try_from(&*vec!["x"; levels].join("/")).unwrap();
        let mut patterns = Patterns::default();
        assert!(patterns.add(&deep(LEVELS_MAX)));
        assert!(!patterns.add(&deep(LEVELS_MAX + 1)));
    }
}
