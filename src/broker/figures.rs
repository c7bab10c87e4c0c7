//! Figures of the broker, written by its thread once a turn, read by whoever shows them.

use super::core::CoreStats;
use crate::metrics::{Counter, Gauge};

/// Figures of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// Clients connected, links of fieldgate's own parts among them.
    pub connections: u64,
    /// Those of them that are MQTT clients.
    pub clients: u64,
    /// Sessions, connected or away.
    pub sessions: u64,
    /// Subscriptions of all sessions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained_messages: u64,
    /// PUBLISH packets taken.
    pub received: u64,
    /// PUBLISH packets handed to receivers.
    pub sent: u64,
    /// Deliveries dropped by a declared policy.
    pub dropped: u64,
    /// Messages dropped because their expiry passed while they waited.
    pub expired: u64,
    /// Messages that a forward route matched but its template gave no topic for.
    pub unmapped: u64,
    /// Panics that were caught; each closed one connection and is a fault of fieldgate.
    pub panics: u64,
}

/// The same, where both sides can reach it.
#[derive(Debug, Default)]
pub(super) struct Figures {
    connections: Gauge,
    clients: Gauge,
    sessions: Gauge,
    subscriptions: Gauge,
    retained_messages: Gauge,
    received: Gauge,
    sent: Gauge,
    dropped: Gauge,
    expired: Gauge,
    unmapped: Gauge,
    /// Deliveries that the shell dropped, on top of those of the core.
    pub(super) dropped_here: Counter,
    pub(super) panics: Counter,
}

impl Figures {
    pub(super) fn show(&self, core: &CoreStats) {
        self.connections.set(core.connections as u64);
        self.clients.set(core.clients as u64);
        self.sessions.set(core.sessions as u64);
        self.subscriptions.set(core.subscriptions as u64);
        self.retained_messages.set(core.retained_messages as u64);
        self.received.set(core.received);
        self.sent.set(core.sent);
        self.dropped.set(core.dropped);
        self.expired.set(core.expired);
        self.unmapped.set(core.unmapped);
    }

    pub(super) fn stats(&self) -> BrokerStats {
        BrokerStats {
            connections: self.connections.value(),
            clients: self.clients.value(),
            sessions: self.sessions.value(),
            subscriptions: self.subscriptions.value(),
            retained_messages: self.retained_messages.value(),
            received: self.received.value(),
            sent: self.sent.value(),
            dropped: self.dropped.value() + self.dropped_here.value(),
            expired: self.expired.value(),
            unmapped: self.unmapped.value(),
            panics: self.panics.value(),
        }
    }
}
