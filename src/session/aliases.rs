//! Topic Aliases towards one receiver (MQTT 5 section 3.3.2.3.4): which topics it has been told with a number. Shared by broker
//! and bridge.
//!
//! First come: a number is given for good. Which topics come again cannot be known, and one that took the place of another would
//! have to be told again. As long-lived as the connection; nothing is held before the first use.

use crate::topic::TopicName;

/// Bytes that an alias takes; a topic that has no more is sent as it is.
const ALIAS_BYTES: usize = 3;

/// The numbers of one connection.
#[derive(Debug, Default)]
pub struct TopicAliases {
    limit: u16,
    /// Alias 1 upward.
    known: Vec<TopicName>,
}

/// How a topic is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias {
    /// By this number alone.
    Known(u16),
    /// With this number, for the next time; then [`TopicAliases::told`].
    New(u16),
}

impl TopicAliases {
    /// For at most `limit` topics: what the receiver grants, or less.
    #[must_use]
    pub fn new(limit: u16) -> Self {
        Self {
            limit,
            known: Vec::new(),
        }
    }

    /// `None`: as it is.
    #[must_use]
    pub fn find(&self, topic: &TopicName) -> Option<Alias> {
        if topic.as_str().len() <= ALIAS_BYTES || self.limit == 0 {
            return None;
        }
        let place = self.known.iter().position(|known| known == topic);
        let alias = |place: usize| u16::try_from(place + 1).ok();
        match place {
            Some(place) => alias(place).map(Alias::Known),
            None if self.known.len() < usize::from(self.limit) => {
                alias(self.known.len()).map(Alias::New)
            }
            None => None,
        }
    }

    /// The receiver gets the topic with its [`Alias::New`].
    pub fn told(&mut self, topic: &TopicName) {
        self.known.push(topic.compact());
    }

    /// The receiver may not have taken note of all that it was told: it is told again, by the same numbers.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}
