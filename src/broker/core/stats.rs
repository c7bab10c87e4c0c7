//! Figures of the core.

use super::Core;
use crate::mqtt::QoS;

/// Figures of the core. Counters count since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreStats {
    /// Clients connected, links of fieldgate's own parts included.
    pub connections: usize,
    /// Those of them that are MQTT clients.
    pub clients: usize,
    /// Sessions, connected or away.
    pub sessions: usize,
    /// Subscriptions of all sessions.
    pub subscriptions: usize,
    /// Retained messages.
    pub retained_messages: usize,
    /// Their bytes.
    pub retained_bytes: usize,
    /// PUBLISH packets taken.
    pub received: ByQos,
    /// PUBLISH packets handed to receivers.
    pub sent: ByQos,
    /// Messages dropped by a declared policy: a full queue, a congested client at QoS 0, a packet too large for its
    /// receiver, no room to retain, a bridge whose log could not be opened.
    pub dropped: u64,
    /// Messages, subscriptions and wills refused because their client may not.
    pub denied: u64,
    /// Sessions that ended because their client stayed away too long.
    pub sessions_expired: u64,
    /// Messages dropped because their expiry passed while they waited.
    pub expired: u64,
    /// Messages that a route matched but its template gave no topic for.
    pub unmapped: u64,
}

/// How many of each quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByQos([u64; 3]);

impl ByQos {
    /// Of QoS 0, 1 and 2.
    #[must_use]
    pub fn new(counts: [u64; 3]) -> Self {
        Self(counts)
    }

    /// Of QoS 0, 1 and 2.
    #[must_use]
    pub fn counts(self) -> [u64; 3] {
        self.0
    }

    /// Of all.
    #[must_use]
    pub fn total(self) -> u64 {
        self.0.iter().sum()
    }

    /// One more.
    pub(super) fn add(&mut self, qos: QoS) {
        *self.of(qos) += 1;
    }

    /// One was counted that comes again.
    pub(super) fn take_back(&mut self, qos: QoS) {
        *self.of(qos) -= 1;
    }

    fn of(&mut self, qos: QoS) -> &mut u64 {
        let [zero, one, two] = &mut self.0;
        match qos {
            QoS::AtMostOnce => zero,
            QoS::AtLeastOnce => one,
            QoS::ExactlyOnce => two,
        }
    }
}

impl Core {
    /// Figures.
    #[must_use]
    pub fn stats(&self) -> CoreStats {
        CoreStats {
            sessions: self.sessions.len(),
            subscriptions: self.subscriptions.len(),
            retained_messages: self.retained.len(),
            retained_bytes: self.retained.bytes(),
            ..self.stats
        }
    }
}
