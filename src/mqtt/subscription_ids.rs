//! The Subscription Identifiers of one delivery (section 3.3.2.3.8).

use std::ops::Deref;

/// The Subscription Identifiers of a delivery. Usually none or one, which need no allocation.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionIds(Ids);

#[derive(Clone, Debug, Default)]
enum Ids {
    #[default]
    None,
    One([u32; 1]),
    Many(Vec<u32>),
}

impl SubscriptionIds {
    /// Adds one more. Bounded by the subscriptions of one client.
    pub fn push(&mut self, id: u32) {
        match &mut self.0 {
            Ids::None => self.0 = Ids::One([id]),
            Ids::One([first]) => self.0 = Ids::Many(vec![*first, id]),
            Ids::Many(ids) => ids.push(id),
        }
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        match &self.0 {
            Ids::None => &[],
            Ids::One(id) => id,
            Ids::Many(ids) => ids,
        }
    }
}

impl Deref for SubscriptionIds {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        self.as_slice()
    }
}

impl PartialEq for SubscriptionIds {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for SubscriptionIds {}

impl From<Option<u32>> for SubscriptionIds {
    fn from(id: Option<u32>) -> Self {
        Self(id.map_or(Ids::None, |id| Ids::One([id])))
    }
}
