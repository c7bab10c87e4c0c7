//! The groups of shared subscriptions (MQTT 5 section 4.8.2), and whose turn it is in one.
//!
//! A group is a filter and a ShareName. Each message that matches goes to one member: in turn, to the next of those that
//! can take it best. A group begins with its first member and ends with its last, and its key is never given out again, so
//! a message that remembers it cannot reach another group.

use std::collections::HashMap;
use std::num::NonZeroU64;

use super::session::SessionKey;
use super::subscriptions::Subscriber;
use super::trie::FilterKey;

/// A group. Never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupKey(NonZeroU64);

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<GroupKey, Group>,
    founded: u64,
}

#[derive(Debug)]
struct Group {
    share: Box<str>,
    filter: FilterKey,
    members: Vec<Subscriber>,
    /// Whose turn it is.
    next: usize,
}

impl Groups {
    /// A new group, as yet without a member.
    pub(super) fn found(&mut self, share: &str, filter: FilterKey) -> GroupKey {
        self.founded = self.founded.saturating_add(1);
        let key = GroupKey(NonZeroU64::MIN.saturating_add(self.founded));
        let group = Group {
            share: share.into(),
            filter,
            members: Vec::new(),
            next: 0,
        };
        self.groups.insert(key, group);
        key
    }

    pub(super) fn is_named(&self, key: GroupKey, share: &str) -> bool {
        let group = self.groups.get(&key);
        group.is_some_and(|group| *group.share == *share)
    }

    pub(super) fn filter(&self, key: GroupKey) -> Option<FilterKey> {
        self.groups.get(&key).map(|group| group.filter)
    }

    pub(super) fn members(&self, key: GroupKey) -> &[Subscriber] {
        self.groups
            .get(&key)
            .map_or(&[], |group| group.members.as_slice())
    }

    pub(super) fn members_mut(&mut self, key: GroupKey) -> &mut [Subscriber] {
        self.groups
            .get_mut(&key)
            .map_or(&mut [], |group| group.members.as_mut_slice())
    }

    /// Adds a member, or replaces its options; true where it is new.
    pub(super) fn join(&mut self, key: GroupKey, member: Subscriber) -> bool {
        let Some(group) = self.groups.get_mut(&key) else {
            return false;
        };
        let mut members = group.members.iter_mut();
        if let Some(known) = members.find(|known| known.session == member.session) {
            *known = member;
            return false;
        }
        group.members.push(member);
        true
    }

    /// Removes a member: whether there was one, and the filter of the group where that was its last.
    pub(super) fn leave(
        &mut self,
        key: GroupKey,
        session: SessionKey,
    ) -> (bool, Option<FilterKey>) {
        let Some(group) = self.groups.get_mut(&key) else {
            return (false, None);
        };
        let mut members = group.members.iter();
        let position = members.position(|member| member.session == session);
        if let Some(position) = position {
            // In order, so that nobody's turn comes twice or not at all.
            group.members.remove(position);
            group.next -= usize::from(position < group.next);
        }
        let emptied = group.members.is_empty().then_some(group.filter);
        if emptied.is_some() {
            self.groups.remove(&key);
        }
        (position.is_some(), emptied)
    }

    /// Gives its turn to the member that [`Self::next`] finds.
    pub(super) fn choose<R: Ord>(
        &mut self,
        key: GroupKey,
        best: &R,
        readiness: impl FnMut(&Subscriber) -> Option<R>,
    ) -> Option<Subscriber> {
        let (_, member, position) = self.next(key, best, readiness)?;
        let group = self.groups.get_mut(&key)?;
        group.next = (position + 1) % group.members.len().max(1);
        Some(member)
    }

    /// Whose turn it is among those of the lowest `readiness`, with its place; those without one get nothing. The search ends
    /// with the first who is as ready as `best`.
    pub(super) fn next<R: Ord>(
        &self,
        key: GroupKey,
        best: &R,
        mut readiness: impl FnMut(&Subscriber) -> Option<R>,
    ) -> Option<(R, Subscriber, usize)> {
        let group = self.groups.get(&key)?;
        let (before, from) = group.members.split_at_checked(group.next)?;
        let turns = from.iter().zip(group.next..).chain(before.iter().zip(0..));
        let mut chosen: Option<(R, Subscriber, usize)> = None;
        for (member, position) in turns {
            let Some(readiness) = readiness(member) else {
                continue;
            };
            let is_best = readiness <= *best;
            if chosen.as_ref().is_none_or(|(known, ..)| readiness < *known) {
                chosen = Some((readiness, *member, position));
            }
            if is_best {
                break;
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::super::trie::Trie;
    use super::*;
    use crate::mqtt::QoS;
    use crate::topic::TopicFilter;

    fn member(session: usize) -> Subscriber {
        Subscriber {
            session: SessionKey(session),
            subscription_id: None,
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            checked: false,
        }
    }

    fn group_of(sessions: &[usize]) -> (Groups, GroupKey) {
        let filter = TopicFilter::try_from("a").unwrap();
        let filter = Trie::<()>::default().add(&filter).unwrap();
        let mut groups = Groups::default();
        let key = groups.found("g", filter);
        for session in sessions {
            assert!(groups.join(key, member(*session)));
        }
        (groups, key)
    }

    fn turns(
        groups: &mut Groups,
        key: GroupKey,
        count: usize,
        ready: &[(usize, u8)],
    ) -> Vec<usize> {
        let mut next = || {
            groups.choose(key, &0, |member| {
                let known = ready
                    .iter()
                    .find(|(session, _)| *session == member.session.0);
                known.map(|(_, readiness)| *readiness)
            })
        };
        (0..count)
            .filter_map(|_| next())
            .map(|member| member.session.0)
            .collect()
    }

    #[test]
    fn members_take_turns() {
        let (mut groups, key) = group_of(&[5, 6, 7]);
        let ready = [(5, 0), (6, 0), (7, 0)];
        assert_eq!(turns(&mut groups, key, 7, &ready), [5, 6, 7, 5, 6, 7, 5]);
    }

    #[test]
    fn the_readiest_are_served_first_and_take_turns_among_themselves() {
        let (mut groups, key) = group_of(&[1, 2, 3, 4]);
        let ready = [(1, 1), (2, 0), (4, 0)];
        assert_eq!(turns(&mut groups, key, 4, &ready), [2, 4, 2, 4]);
        assert_eq!(
            turns(&mut groups, key, 4, &[(1, 2), (3, 1), (4, 1)]),
            [3, 4, 3, 4]
        );
        assert!(turns(&mut groups, key, 1, &[]).is_empty());
    }

    #[test]
    fn turns_go_on_when_a_member_leaves() {
        let (mut groups, key) = group_of(&[1, 2, 3]);
        let ready = [(1, 0), (2, 0), (3, 0)];
        assert_eq!(turns(&mut groups, key, 2, &ready), [1, 2]);
        assert_eq!(groups.leave(key, SessionKey(1)), (true, None));
        assert_eq!(turns(&mut groups, key, 3, &ready), [3, 2, 3]);
        assert_eq!(groups.leave(key, SessionKey(3)), (true, None));
        assert_eq!(groups.leave(key, SessionKey(3)), (false, None));
        assert_eq!(turns(&mut groups, key, 2, &ready), [2, 2]);
        assert!(matches!(groups.leave(key, SessionKey(2)), (true, Some(_))));
        assert!(groups.groups.is_empty());
    }
}
