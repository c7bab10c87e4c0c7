//! Forward routes: which messages go into a bridge's backlog, and as what.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::mqtt::{Message, QoS};
use crate::topic::{Template, TopicFilter, TopicName};

/// One route up. The first route of a bridge that matches takes the message; one copy per bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRoute {
    /// What it takes.
    pub filter: TopicFilter,
    /// What it leaves alone all the same.
    pub except: Vec<TopicFilter>,
    /// The topic at the upstream.
    pub topic: Template,
    /// Highest QoS; a message never gets a higher one than it was published with, but see `raise_qos0`.
    pub qos: QoS,
    /// QoS 0 is stored and sent as QoS 1.
    pub raise_qos0: bool,
    /// New messages overtake what had to wait, which follows marked as late.
    pub live_first: bool,
    /// What becomes of the retain flag.
    pub retain: RetainPolicy,
}

/// Name of the user property of a message that newer ones may have overtaken: when it came, in ms since 1970 UTC.
pub const LATE_PROPERTY: &str = "fieldgate-late";

impl ForwardRoute {
    /// Tells it from the other routes of its bridge, over restarts: by what it takes and where that goes.
    #[must_use]
    pub(super) fn fingerprint(&self) -> u32 {
        crc32c::crc32c(format!("{}\0{}", self.filter, self.topic).as_bytes())
    }
}

/// What becomes of the retain flag on the way up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainPolicy {
    /// As published.
    #[default]
    Keep,
    /// Cleared.
    Never,
}

/// The newest value of each of the gateway's own `$` topics that a bridge's routes match, already mapped. These never enter a backlog:
/// the bridge sends all on connect and each on change. Bounded by the number of such topics, which the config fixes.
#[derive(Debug, Default)]
pub struct Latest {
    messages: Mutex<BTreeMap<TopicName, (Message, bool)>>,
    changed: Notify,
}

impl Latest {
    /// Replaces the value of the message's topic.
    pub fn put(&self, message: Message) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.insert(message.topic.clone(), (message, true));
        drop(messages);
        self.changed.notify_one();
    }

    /// Marks all as unsent: a new connection begins.
    pub fn mark_all(&self) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.values_mut().for_each(|(_, unsent)| *unsent = true);
        drop(messages);
        self.changed.notify_one();
    }

    /// What changed since it was last taken.
    #[must_use]
    pub fn take_changed(&self) -> Vec<Message> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = messages
            .values_mut()
            .filter(|(_, unsent)| *unsent)
            .map(|(message, unsent)| {
                *unsent = false;
                message.clone()
            })
            .collect();
        // Of what is gone the upstream is told once.
        messages.retain(|_, (message, _)| !message.payload.is_empty());
        changed
    }

    /// Forgets all: other routes take these topics, or none.
    pub fn clear(&self) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.clear();
    }

    /// Waits until something changed. Cancel safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
