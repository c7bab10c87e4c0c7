//! All subscriptions: who asked for which filter and how, alone or in a group that shares the messages.
//!
//! A session keeps a [`SubscriptionKey`] for each of its subscriptions and nothing more; the filter's text and the options
//! are here, once. A node of the trie holds its only subscriber in place, more of them in a list.

use std::mem;
use std::num::NonZeroU32;

use super::groups::{GroupKey, Groups};
use super::recent::{Filters, Recent};
use super::session::SessionKey;
use super::trie::{FilterKey, Trie};
use crate::mqtt::QoS;
use crate::topic::{SharedFilter, TopicFilter, TopicName};

/// Who subscribed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) session: SessionKey,
    pub(super) subscription_id: Option<NonZeroU32>,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    /// Not all topics that the filter matches may be read: each delivery is checked.
    pub(super) checked: bool,
}

/// A subscription, as its session keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubscriptionKey {
    Plain(FilterKey),
    Shared(GroupKey),
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    filters: Trie<Here>,
    groups: Groups,
    len: usize,
    recent: Recent,
}

/// The subscriptions to one filter.
#[derive(Debug, Default)]
enum Here {
    #[default]
    None,
    One(Subscriber),
    Many(Box<Crowd>),
}

#[derive(Debug, Default)]
struct Crowd {
    subscribers: Vec<Subscriber>,
    groups: Vec<GroupKey>,
}

impl Subscriptions {
    /// Subscriptions held.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn shrink(&mut self) {
        self.filters.shrink();
    }

    /// The key of the subscription that this filter makes for a session that has one to it.
    pub(super) fn find(&self, asked: &SharedFilter) -> Option<SubscriptionKey> {
        let filter = self.filters.find(&asked.filter)?;
        let Some(share) = &asked.share else {
            return Some(SubscriptionKey::Plain(filter));
        };
        let groups = self.filters.get(filter).map_or(&[][..], Here::groups);
        let group = groups.iter().find(|key| self.groups.is_named(**key, share));
        group.copied().map(SubscriptionKey::Shared)
    }

    /// Whether the session has this subscription.
    pub(super) fn has(&self, key: SubscriptionKey, session: SessionKey) -> bool {
        let subscribers = match key {
            SubscriptionKey::Plain(filter) => self.filters.get(filter).map(Here::subscribers),
            SubscriptionKey::Shared(group) => Some(self.groups.members(group)),
        };
        subscribers.is_some_and(|all| all.iter().any(|one| one.session == session))
    }

    /// Adds a subscription, or replaces that of the same session to the same filter [MQTT-3.8.4-3]; whether it is new.
    /// `None` where there is no room in the index.
    pub(super) fn insert(
        &mut self,
        asked: &SharedFilter,
        subscriber: Subscriber,
    ) -> Option<(SubscriptionKey, bool)> {
        let key = match (self.find(asked), &asked.share) {
            (Some(key), _) => key,
            (None, None) => SubscriptionKey::Plain(self.filters.add(&asked.filter)?),
            (None, Some(share)) => {
                let filter = self.filters.add(&asked.filter)?;
                let group = self.groups.found(share, filter);
                let here = self.filters.get_mut(filter)?;
                here.change(|crowd| crowd.groups.push(group));
                SubscriptionKey::Shared(group)
            }
        };
        let is_new = match key {
            SubscriptionKey::Plain(filter) => self.filters.get_mut(filter)?.put(subscriber),
            SubscriptionKey::Shared(group) => self.groups.join(group, subscriber),
        };
        self.len += usize::from(is_new);
        Some((key, is_new))
    }

    /// Removes the subscription of a session; false where it has none. The key of a filter or group that nobody else has is
    /// of no more use.
    pub(super) fn remove(&mut self, key: SubscriptionKey, session: SessionKey) -> bool {
        let (removed, filter) = match key {
            SubscriptionKey::Plain(filter) => {
                let here = self.filters.get_mut(filter);
                (here.is_some_and(|here| here.take(session)), Some(filter))
            }
            SubscriptionKey::Shared(group) => {
                let (left, emptied) = self.groups.leave(group, session);
                if let Some(here) = emptied.and_then(|filter| self.filters.get_mut(filter)) {
                    here.change(|crowd| crowd.groups.retain(|known| *known != group));
                }
                (left, emptied)
            }
        };
        if let Some(filter) = filter {
            self.filters.prune(filter, Here::is_unused);
        }
        self.len -= usize::from(removed);
        removed
    }

    /// Adds every subscription that matches `topic` to `found`, and every group to `groups`; a session with several that
    /// match is there several times.
    pub(super) fn matches(
        &mut self,
        topic: &TopicName,
        found: &mut Vec<Subscriber>,
        groups: &mut Vec<GroupKey>,
    ) {
        let edition = self.filters.edition();
        if let Some(filters) = self.recent.find(topic, edition) {
            for here in filters.iter().filter_map(|key| self.filters.get(key)) {
                here.tell(found, groups);
            }
            return;
        }
        let mut filters = Filters::default();
        self.filters.visit(topic, |key, here| {
            filters.push(key);
            here.tell(found, groups);
        });
        self.recent.note(topic, edition, &filters);
    }

    /// The member of a group that gets the next message; see [`Groups::choose`].
    pub(super) fn choose<R: Ord>(
        &mut self,
        group: GroupKey,
        best: &R,
        readiness: impl FnMut(&Subscriber) -> Option<R>,
    ) -> Option<Subscriber> {
        self.groups.choose(group, best, readiness)
    }

    /// The member that would get it, and how ready it is.
    pub(super) fn next<R: Ord>(
        &self,
        group: GroupKey,
        best: &R,
        readiness: impl FnMut(&Subscriber) -> Option<R>,
    ) -> Option<(R, Subscriber)> {
        let (readiness, member, _) = self.groups.next(group, best, readiness)?;
        Some((readiness, member))
    }

    /// How many members a group has.
    pub(super) fn members(&self, group: GroupKey) -> usize {
        self.groups.members(group).len()
    }

    /// The filter of a subscription, without the `$share/NAME/` of a shared one.
    pub(super) fn filter(&self, key: SubscriptionKey) -> Option<TopicFilter> {
        let filter = match key {
            SubscriptionKey::Plain(filter) => filter,
            SubscriptionKey::Shared(group) => self.groups.filter(group)?,
        };
        TopicFilter::new(self.filters.text(filter).into()).ok()
    }

    /// The subscription of a session, to be changed.
    pub(super) fn subscriber_mut(
        &mut self,
        key: SubscriptionKey,
        session: SessionKey,
    ) -> Option<&mut Subscriber> {
        let subscribers = match key {
            SubscriptionKey::Plain(filter) => self.filters.get_mut(filter)?.subscribers_mut(),
            SubscriptionKey::Shared(group) => self.groups.members_mut(group),
        };
        subscribers.iter_mut().find(|one| one.session == session)
    }
}

impl Here {
    fn is_unused(&self) -> bool {
        matches!(self, Self::None)
    }

    fn subscribers(&self) -> &[Subscriber] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(crowd) => &crowd.subscribers,
        }
    }

    fn subscribers_mut(&mut self) -> &mut [Subscriber] {
        match self {
            Self::None => &mut [],
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(crowd) => &mut crowd.subscribers,
        }
    }

    fn groups(&self) -> &[GroupKey] {
        match self {
            Self::None | Self::One(_) => &[],
            Self::Many(crowd) => &crowd.groups,
        }
    }

    fn tell(&self, found: &mut Vec<Subscriber>, groups: &mut Vec<GroupKey>) {
        match self {
            Self::None => {}
            Self::One(subscriber) => found.push(*subscriber),
            Self::Many(crowd) => {
                found.extend_from_slice(&crowd.subscribers);
                groups.extend_from_slice(&crowd.groups);
            }
        }
    }

    /// True where the subscription is new.
    fn put(&mut self, subscriber: Subscriber) -> bool {
        let mut all = self.subscribers_mut().iter_mut();
        if let Some(known) = all.find(|known| known.session == subscriber.session) {
            *known = subscriber;
            return false;
        }
        match self {
            Self::None => *self = Self::One(subscriber),
            Self::One(_) | Self::Many(_) => self.change(|crowd| crowd.subscribers.push(subscriber)),
        }
        true
    }

    fn take(&mut self, session: SessionKey) -> bool {
        let mut all = self.subscribers().iter();
        let Some(position) = all.position(|one| one.session == session) else {
            return false;
        };
        self.change(|crowd| {
            crowd.subscribers.swap_remove(position);
        });
        true
    }

    /// Changes it as a list, and gives the list up where one place does.
    fn change(&mut self, work: impl FnOnce(&mut Crowd)) {
        let mut crowd = match mem::take(self) {
            Self::Many(crowd) => crowd,
            Self::None => Box::default(),
            Self::One(one) => Box::new(Crowd {
                subscribers: vec![one],
                groups: Vec::new(),
            }),
        };
        work(&mut crowd);
        *self = match (crowd.subscribers.as_slice(), crowd.groups.as_slice()) {
            ([], []) => Self::None,
            ([one], []) => Self::One(*one),
            _ => Self::Many(crowd),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(session: usize, qos: QoS) -> Subscriber {
        Subscriber {
            session: SessionKey(session),
            subscription_id: None,
            qos,
            no_local: false,
            retain_as_published: false,
            checked: false,
        }
    }

    fn asked(text: &str) -> SharedFilter {
        SharedFilter::parse(&text.into()).unwrap()
    }

    fn matching(subscriptions: &mut Subscriptions, topic: &str) -> (Vec<Subscriber>, usize) {
        let (mut found, mut groups) = (Vec::new(), Vec::new());
        let topic = TopicName::try_from(topic).unwrap();
        subscriptions.matches(&topic, &mut found, &mut groups);
        (found, groups.len())
    }

    #[test]
    fn one_subscriber_needs_no_list() {
        assert_eq!(size_of::<Here>(), 16);
        let mut here = Here::default();
        for session in 0..3 {
            assert!(here.put(subscriber(session, QoS::AtMostOnce)));
        }
        assert!(!here.put(subscriber(1, QoS::AtLeastOnce)), "replaced");
        assert!(!here.take(SessionKey(7)));
        assert!(here.take(SessionKey(0)) && here.take(SessionKey(2)));
        assert!(matches!(here, Here::One(one) if one == subscriber(1, QoS::AtLeastOnce)));
        assert!(here.take(SessionKey(1)) && here.is_unused());
    }

    #[test]
    fn a_filter_is_kept_once_and_goes_with_its_last_subscription() {
        let mut all = Subscriptions::default();
        let texts = ["a/b", "$share/g/a/b", "$share/h/a/b", "$share/g/a/#"];
        let keys = texts.map(|text| {
            let (key, is_new) = all
                .insert(&asked(text), subscriber(1, QoS::AtMostOnce))
                .unwrap();
            assert!(is_new);
            assert_eq!(all.filter(key), Some(asked(text).filter));
            assert_eq!(all.find(&asked(text)), Some(key));
            assert!(all.has(key, SessionKey(1)) && !all.has(key, SessionKey(2)));
            key
        });
        assert_eq!(all.len(), 4);
        let (found, groups) = matching(&mut all, "a/b");
        assert_eq!((found.len(), groups), (1, 3));
        for (key, text) in keys.into_iter().zip(texts) {
            assert!(!all.remove(key, SessionKey(2)));
            assert!(all.remove(key, SessionKey(1)));
            assert!(!all.remove(key, SessionKey(1)));
            assert!(!all.has(key, SessionKey(1)), "{text}");
        }
        assert_eq!(all.len(), 0);
        assert_eq!(all.find(&asked("a/b")), None);
        assert_eq!(matching(&mut all, "a/b"), (Vec::new(), 0));
    }
}
