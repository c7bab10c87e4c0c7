//! How much of what a subscription asks for may be read: the topics of its filter, level by level, against the rules'
//! trees at once. No I/O.
//!
//! At a wildcard the levels that some rule names are tried, and one that none does: the alphabet is endless, but all other
//! levels fare alike. As soon as no rule can tell topics apart any more, all that follow are decided together. So the
//! answer is exact, but for rules so tangled that [`STATES_MAX`] does not suffice: then it is [`Reach::Some`], which is
//! always safe, because each delivery is checked then.

use super::patterns::{Node, Patterns};
use super::rights::Rules;
use crate::topic::TopicFilter;

/// Steps one answer may take: SUBSCRIBE runs on the broker's thread, so this bounds how long (well below a millisecond).
const STATES_MAX: usize = 1000;

/// How much of a subscription may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every topic that it can match: deliveries need no check.
    All,
    /// Some, or it would take too long to tell: each delivery is checked.
    Some,
    /// None: the subscription is refused.
    Nothing,
}

/// The reach of `filter` by rules of falling rank; what none decides is allowed `otherwise`.
pub(super) fn reach<'a>(
    filter: &'a TopicFilter,
    ranks: impl Iterator<Item = &'a Rules>,
    otherwise: bool,
) -> Reach {
    let wildcards = !filter.as_str().starts_with('$');
    let begin = |patterns: &'a Patterns| Track::default().arriving(patterns.root(), wildcards);
    let state = State(
        ranks
            .map(|rules| (begin(&rules.deny), begin(&rules.allow)))
            .collect(),
    );
    let mut walk = Walk {
        levels: filter.levels().collect(),
        otherwise,
        allowed: false,
        denied: false,
        left: STATES_MAX,
    };
    walk.visit(&state, 0, Before::Nothing);
    match (walk.allowed, walk.denied) {
        _ if walk.left == 0 => Reach::Some,
        (true, false) => Reach::All,
        (true, true) => Reach::Some,
        (false, _) => Reach::Nothing,
    }
}

/// Where all filters of one tree stand after the levels so far.
#[derive(Clone, Debug, Default)]
struct Track<'a> {
    /// One has passed its `#`: whatever follows matches.
    all: bool,
    /// Where the others stand.
    nodes: Vec<&'a Node>,
}

impl<'a> Track<'a> {
    fn arriving(mut self, node: &'a Node, wildcards: bool) -> Self {
        if wildcards && node.takes_all() {
            self.all = true;
        }
        self.nodes.push(node);
        self
    }

    /// After one more level; `None` is a level that no rule names.
    fn step(&self, level: Option<&str>, wildcards: bool) -> Self {
        let mut next = Self {
            all: self.all,
            nodes: Vec::new(),
        };
        for node in &self.nodes {
            let named = level.and_then(|level| node.named(level));
            let any = node.any().filter(|_| wildcards);
            for node in named.into_iter().chain(any) {
                next = next.arriving(node, true);
            }
        }
        if next.all {
            next.nodes.clear();
        }
        next
    }

    fn matches_here(&self) -> bool {
        self.all || self.nodes.iter().any(|node| node.ends())
    }

    fn may_match(&self) -> bool {
        self.all || !self.nodes.is_empty()
    }
}

/// The tracks of each rank: of what is denied, and of what is allowed.
#[derive(Debug)]
struct State<'a>(Vec<(Track<'a>, Track<'a>)>);

impl<'a> State<'a> {
    fn step(&self, level: Option<&str>, wildcards: bool) -> Self {
        let step = |track: &Track<'a>| track.step(level, wildcards);
        Self(
            self.0
                .iter()
                .map(|(deny, allow)| (step(deny), step(allow)))
                .collect(),
        )
    }

    /// Whether a topic that ends here is allowed.
    fn verdict_here(&self, otherwise: bool) -> bool {
        for (deny, allow) in &self.0 {
            if deny.matches_here() {
                return false;
            }
            if allow.matches_here() {
                return true;
            }
        }
        otherwise
    }

    /// The verdict on all topics that lead through here, where it is one.
    fn settled(&self, otherwise: bool) -> Option<bool> {
        for (deny, allow) in &self.0 {
            if deny.may_match() {
                return deny.all.then_some(false);
            }
            if allow.may_match() {
                return allow.all.then_some(true);
            }
        }
        Some(otherwise)
    }

    /// The levels that rules name here, each once.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        let nodes = || {
            let tracks = self.0.iter().flat_map(|(deny, allow)| [deny, allow]);
            tracks.flat_map(|track| track.nodes.iter().copied())
        };
        nodes().enumerate().flat_map(move |(index, node)| {
            let told = move |name: &str| nodes().take(index).any(|node| node.named(name).is_some());
            node.names().filter(move |name| !told(name))
        })
    }
}

/// What a topic has so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// One empty level: with nothing after it that is no topic.
    Empty,
    Something,
}

struct Walk<'a> {
    levels: Vec<&'a str>,
    otherwise: bool,
    allowed: bool,
    denied: bool,
    left: usize,
}

impl Walk<'_> {
    fn visit(&mut self, state: &State<'_>, at: usize, before: Before) {
        self.left = self.left.saturating_sub(1);
        if self.is_done() {
            return;
        }
        let level = self.levels.get(at).copied();
        if before == Before::Something && level.is_none_or(|level| level == "#") {
            self.note(state.verdict_here(self.otherwise));
        }
        let Some(level) = level else { return };
        if let Some(verdict) = state.settled(self.otherwise) {
            self.note(verdict);
            return;
        }
        match level {
            "#" => self.visit_each(state, at, before),
            "+" => self.visit_each(state, at + 1, before),
            _ => self.visit_next(state, at + 1, before, Some(level)),
        }
    }

    /// With every level that makes a difference.
    fn visit_each(&mut self, state: &State<'_>, next: usize, before: Before) {
        self.visit_next(state, next, before, None);
        for name in state.names() {
            if self.is_done() {
                return;
            }
            // No leading wildcard of a filter matches a `$` topic [MQTT-4.7.2-1].
            if before != Before::Nothing || !name.starts_with('$') {
                self.visit_next(state, next, before, Some(name));
            }
        }
    }

    fn visit_next(&mut self, state: &State<'_>, next: usize, before: Before, level: Option<&str>) {
        let reserved = level.is_some_and(|level| level.starts_with('$'));
        let wildcards = before != Before::Nothing || !reserved;
        let after = if before == Before::Nothing && level == Some("") {
            Before::Empty
        } else {
            Before::Something
        };
        self.visit(&state.step(level, wildcards), next, after);
    }

    fn note(&mut self, verdict: bool) {
        if verdict {
            self.allowed = true;
        } else {
            self.denied = true;
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0 || (self.allowed && self.denied)
    }
}
