//! What a client may publish and read. No I/O: made when the client connects, asked for each message.

use std::sync::Arc;

use super::patterns::Patterns;
use super::reach::{self, Reach};
use crate::topic::{TopicFilter, TopicName};

/// What a client may do: rules of falling rank, and what becomes of a topic that none of them decides.
///
/// A wildcard at the first level of a rule takes no topic that begins with `$`, as in a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    ranks: Box<[Arc<Layer>]>,
    /// What no rule decides is allowed.
    otherwise: bool,
}

/// What one source of rules says: within it, what is denied counts before what is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    publish: Rules,
    read: Rules,
}

/// Of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) deny: Patterns,
    pub(super) allow: Patterns,
}

/// What a rule says of the topics that its filter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// May be published to.
    Publish,
    /// May be read.
    Read,
    /// Both.
    PublishAndRead,
    /// May not be published to.
    NoPublish,
    /// May not be read.
    NoRead,
    /// Neither.
    Nothing,
}

impl Layer {
    /// A layer of these rules. A rule of more than [`LEVELS_MAX`](super::LEVELS_MAX) levels is left out; those who make
    /// rules refuse it before.
    pub fn new<'a>(rules: impl IntoIterator<Item = (Grant, &'a TopicFilter)>) -> Self {
        let mut layer = Self::default();
        let Self { publish, read } = &mut layer;
        for (grant, filter) in rules {
            let (first, second) = match grant {
                Grant::Publish => (&mut publish.allow, None),
                Grant::Read => (&mut read.allow, None),
                Grant::PublishAndRead => (&mut publish.allow, Some(&mut read.allow)),
                Grant::NoPublish => (&mut publish.deny, None),
                Grant::NoRead => (&mut read.deny, None),
                Grant::Nothing => (&mut publish.deny, Some(&mut read.deny)),
            };
            first.add(filter);
            if let Some(second) = second {
                second.add(filter);
            }
        }
        for patterns in [
            &mut publish.deny,
            &mut publish.allow,
            &mut read.deny,
            &mut read.allow,
        ] {
            patterns.seal();
        }
        layer
    }
}

impl Rights {
    /// These layers, the first counting most; what none of them decides is allowed `otherwise`.
    #[must_use]
    pub fn new(ranks: Vec<Arc<Layer>>, otherwise: bool) -> Self {
        Self {
            ranks: ranks.into_boxed_slice(),
            otherwise,
        }
    }

    /// To publish to and read what these filters take, and nothing else.
    #[must_use]
    pub fn allowing(publish: &[TopicFilter], read: &[TopicFilter]) -> Self {
        let publish = publish.iter().map(|filter| (Grant::Publish, filter));
        let read = read.iter().map(|filter| (Grant::Read, filter));
        Self::new(vec![Arc::new(Layer::new(publish.chain(read)))], false)
    }

    /// Whether a message, or a will, may be published to `topic`. Allocates nothing.
    #[must_use]
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        self.verdict(topic, |layer| &layer.publish)
    }

    /// Whether a message of `topic` may be delivered. Allocates nothing.
    #[must_use]
    pub fn may_read(&self, topic: &TopicName) -> bool {
        self.verdict(topic, |layer| &layer.read)
    }

    /// How much of what `filter` (of a shared subscription: what follows its name) asks for may be read.
    #[must_use]
    pub fn reach(&self, filter: &TopicFilter) -> Reach {
        let read = self.ranks.iter().map(|layer| &layer.read);
        reach::reach(filter, read, self.otherwise)
    }

    fn verdict(&self, topic: &TopicName, direction: impl Fn(&Layer) -> &Rules) -> bool {
        for layer in &self.ranks {
            let rules = direction(layer);
            if rules.deny.matches(topic) {
                return false;
            }
            if rules.allow.matches(topic) {
                return true;
            }
        }
        self.otherwise
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::try_from(text).unwrap()
    }

    fn topic(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    fn reading(filters: &[&str]) -> Rights {
        let filters: Vec<_> = filters.iter().map(|text| filter(text)).collect();
        Rights::allowing(&[], &filters)
    }

    #[test]
    fn what_is_not_allowed_is_denied() {
        let rights = Rights::allowing(&[filter("plant/plc7/#")], &[filter("plant/+/status")]);
        assert!(rights.may_publish(&topic("plant/plc7/a/b")));
        assert!(!rights.may_publish(&topic("plant/plc8/a")));
        assert!(!rights.may_publish(&topic("plant/plc8/status")));
        assert!(rights.may_read(&topic("plant/plc8/status")));
        assert!(!rights.may_read(&topic("plant/plc7/a")));
    }

    #[test]
    fn mqtt_4_7_2_a_leading_wildcard_of_a_rule_does_not_reach_dollar_topics() {
        let rights = reading(&["#", "+/broker/uptime"]);
        assert!(!rights.may_read(&topic("$SYS/broker/uptime")));
        assert_eq!(rights.reach(&filter("$SYS/#")), Reach::Nothing);
        assert_eq!(rights.reach(&filter("#")), Reach::All);
        let rights = reading(&["#", "$SYS/broker/+"]);
        assert!(rights.may_read(&topic("$SYS/broker/uptime")));
        assert_eq!(rights.reach(&filter("$SYS/broker/uptime")), Reach::All);
        assert_eq!(rights.reach(&filter("$SYS/#")), Reach::Some);
    }

    #[test]
    fn a_subscription_reaches_all_some_or_nothing() {
        let rights = reading(&["plant/plc7/#", "plant/+/status", "open"]);
        for (asked, expected) in [
            ("plant/plc7/cmd/+", Reach::All),
            ("plant/plc7", Reach::All),
            ("plant/plc7/#", Reach::All),
            ("plant/+/status", Reach::All),
            ("plant/#", Reach::Some),
            ("#", Reach::Some),
            ("plant/+", Reach::Some),
            ("plant/plc8", Reach::Nothing),
            ("plant/+/status/#", Reach::Some),
            ("plant/+/state", Reach::Some),
            ("plant/plc8/state", Reach::Nothing),
            ("open", Reach::All),
            ("open/#", Reach::Some),
            ("open/+", Reach::Nothing),
            ("other/#", Reach::Nothing),
        ] {
            assert_eq!(rights.reach(&filter(asked)), expected, "{asked}");
        }
    }

    #[test]
    fn what_is_denied_counts_before_what_is_allowed_and_a_higher_rank_before_both() {
        let all = filter("#");
        let secret = filter("secret/#");
        let lower = Layer::new([(Grant::PublishAndRead, &all), (Grant::NoRead, &secret)]);
        let rights = Rights::new(vec![Arc::new(lower.clone())], false);
        assert!(!rights.may_read(&topic("secret/x")));
        assert!(rights.may_publish(&topic("secret/x")));
        assert_eq!(rights.reach(&filter("#")), Reach::Some);
        assert_eq!(
            rights.reach(&filter("+")),
            Reach::Some,
            "secret itself is one of them"
        );
        assert_eq!(rights.reach(&filter("a/#")), Reach::All);
        let higher = Layer::new([(Grant::Read, &secret)]);
        let rights = Rights::new(vec![Arc::new(higher), Arc::new(lower)], false);
        assert!(rights.may_read(&topic("secret/x")));
        assert_eq!(rights.reach(&filter("#")), Reach::All);
    }

    #[test]
    fn rules_that_cover_a_wildcard_only_together_are_seen_through() {
        // `a` by one rule and every other level by another; what is below by none.
        let a = filter("a");
        let any = filter("+");
        let first = Layer::new([(Grant::NoRead, &a)]);
        let rights = Rights::new(
            vec![
                Arc::new(Layer::new([(Grant::Read, &a)])),
                Arc::new(first),
                Arc::new(Layer::new([(Grant::Read, &any)])),
            ],
            false,
        );
        assert_eq!(rights.reach(&filter("+")), Reach::All);
        assert_eq!(rights.reach(&filter("+/#")), Reach::Some);
    }

    #[test]
    fn an_answer_that_would_take_too_long_is_some() {
        // Nothing is allowed, but there are 2^16 ways to find that out.
        let rules: Vec<TopicFilter> = (0..16)
            .map(|at| {
                let mut levels = vec!["+"; 17];
                levels[at] = "a";
                filter(&levels.join("/"))
            })
            .collect();
        let layer = Layer::new(rules.iter().map(|filter| (Grant::NoRead, filter)));
        let rights = Rights::new(vec![Arc::new(layer)], false);
        assert_eq!(rights.reach(&filter(&["+"; 17].join("/"))), Reach::Some);
        assert_eq!(rights.reach(&filter("a/+")), Reach::Nothing);
    }

    const RULE_LEVELS: [&str; 7] = ["a", "b", "", "$s", "+", "+", "#"];
    /// All that rules name and one of each kind that none does.
    const NAME_LEVELS: [&str; 6] = ["a", "b", "", "$s", "z", "$z"];

    fn filters() -> impl Strategy<Value = TopicFilter> {
        let levels = prop::collection::vec(select(&RULE_LEVELS[..]), 1..=3);
        levels.prop_filter_map("no filter", |levels| {
            TopicFilter::try_from(&*levels.join("/")).ok()
        })
    }

    /// All topics of up to four levels: one more than the longest rule.
    fn all_topics() -> Vec<TopicName> {
        let mut texts: Vec<String> = NAME_LEVELS.map(str::to_owned).to_vec();
        let mut longest = texts.clone();
        for _ in 1..4 {
            longest = longest
                .iter()
                .flat_map(|text| NAME_LEVELS.map(|level| format!("{text}/{level}")))
                .collect();
            texts.extend(longest.iter().cloned());
        }
        texts
            .into_iter()
            .filter_map(|text| TopicName::try_from(text).ok())
            .collect()
    }

    type Rank = (Vec<TopicFilter>, Vec<TopicFilter>);

    fn allowed(ranks: &[Rank], otherwise: bool, name: &TopicName) -> bool {
        for (deny, allow) in ranks {
            if deny.iter().any(|filter| filter.matches(name)) {
                return false;
            }
            if allow.iter().any(|filter| filter.matches(name)) {
                return true;
            }
        }
        otherwise
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn verdicts_and_reach_are_those_of_trying_every_topic(
            ranks in prop::collection::vec(
                (prop::collection::vec(filters(), 0..4), prop::collection::vec(filters(), 0..5)),
                0..3,
            ),
            otherwise: bool,
            asked in filters(),
        ) {
            let layers = ranks.iter().map(|(deny, allow): &Rank| {
                let deny = deny.iter().map(|filter| (Grant::NoRead, filter));
                let allow = allow.iter().map(|filter| (Grant::Read, filter));
                Arc::new(Layer::new(deny.chain(allow)))
            });
            let rights = Rights::new(layers.collect(), otherwise);
            let (mut some, mut all) = (false, true);
            for name in all_topics() {
                let expected = allowed(&ranks, otherwise, &name);
                prop_assert_eq!(rights.may_read(&name), expected, "{}", name);
                if asked.matches(&name) {
                    some |= expected;
                    all &= expected;
                }
            }
            let expected = match (some, all) {
                (true, true) => Reach::All,
                (true, false) => Reach::Some,
                (false, _) => Reach::Nothing,
            };
            prop_assert_eq!(rights.reach(&asked), expected);
        }
    }
}
