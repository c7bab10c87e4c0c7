//! Figures of the broker, written by its thread once a turn, read by whoever shows them.

use super::Traffic;
use super::core::{ByQos, CoreStats};
use crate::metrics::{Counter, Gauge};

/// Figures of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// Clients connected, links of fieldgate's own parts among them.
    pub connections: u64,
    /// Those of them that are MQTT clients.
    pub clients: u64,
    /// Most of them at a time since the start.
    pub clients_maximum: u64,
    /// Sessions, connected or away.
    pub sessions: u64,
    /// Sessions that ended because their client stayed away too long.
    pub sessions_expired: u64,
    /// Subscriptions of all sessions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained_messages: u64,
    /// Their bytes.
    pub retained_bytes: u64,
    /// PUBLISH packets taken.
    pub received: ByQos,
    /// PUBLISH packets handed to receivers.
    pub sent: ByQos,
    /// Deliveries dropped by a declared policy.
    pub dropped: u64,
    /// Messages dropped because their expiry passed while they waited.
    pub expired: u64,
    /// Messages that a forward route matched but its template gave no topic for.
    pub unmapped: u64,
    /// Panics that were caught; each closed one connection and is a fault of fieldgate.
    pub panics: u64,
    /// What went over the clients' sockets.
    pub traffic: Traffic,
}

/// The same, where both sides can reach it.
#[derive(Debug, Default)]
pub(super) struct Figures {
    connections: Gauge,
    clients: Gauge,
    clients_maximum: Gauge,
    sessions: Gauge,
    sessions_expired: Gauge,
    subscriptions: Gauge,
    retained_messages: Gauge,
    retained_bytes: Gauge,
    received: [Gauge; 3],
    sent: [Gauge; 3],
    dropped: Gauge,
    expired: Gauge,
    unmapped: Gauge,
    /// Deliveries that the shell dropped, on top of those of the core.
    pub(super) dropped_here: Counter,
    pub(super) panics: Counter,
    traffic: TrafficGauges,
}

#[derive(Debug, Default)]
struct TrafficGauges {
    connections: Gauge,
    connects: Gauge,
    bytes_received: Gauge,
    bytes_sent: Gauge,
    packets_received: Gauge,
    packets_sent: Gauge,
    publishes_received: Gauge,
    publishes_sent: Gauge,
    payload_bytes_received: Gauge,
    payload_bytes_sent: Gauge,
}

impl Figures {
    pub(super) fn show(&self, core: &CoreStats, traffic: &Traffic) {
        self.traffic.show(traffic);
        let maximum = self.clients_maximum.value().max(core.clients as u64);
        self.clients_maximum.set(maximum);
        self.sessions_expired.set(core.sessions_expired);
        self.retained_bytes.set(core.retained_bytes as u64);
        self.connections.set(core.connections as u64);
        self.clients.set(core.clients as u64);
        self.sessions.set(core.sessions as u64);
        self.subscriptions.set(core.subscriptions as u64);
        self.retained_messages.set(core.retained_messages as u64);
        let shown = self.received.iter().zip(core.received.counts());
        for (gauge, count) in shown.chain(self.sent.iter().zip(core.sent.counts())) {
            gauge.set(count);
        }
        self.dropped.set(core.dropped);
        self.expired.set(core.expired);
        self.unmapped.set(core.unmapped);
    }

    pub(super) fn stats(&self) -> BrokerStats {
        BrokerStats {
            connections: self.connections.value(),
            clients: self.clients.value(),
            clients_maximum: self.clients_maximum.value(),
            sessions: self.sessions.value(),
            sessions_expired: self.sessions_expired.value(),
            subscriptions: self.subscriptions.value(),
            retained_messages: self.retained_messages.value(),
            retained_bytes: self.retained_bytes.value(),
            received: ByQos::new(self.received.each_ref().map(Gauge::value)),
            sent: ByQos::new(self.sent.each_ref().map(Gauge::value)),
            dropped: self.dropped.value() + self.dropped_here.value(),
            expired: self.expired.value(),
            unmapped: self.unmapped.value(),
            panics: self.panics.value(),
            traffic: self.traffic.stats(),
        }
    }
}

impl TrafficGauges {
    fn show(&self, traffic: &Traffic) {
        self.connections.set(traffic.connections);
        self.connects.set(traffic.connects);
        self.bytes_received.set(traffic.bytes_received);
        self.bytes_sent.set(traffic.bytes_sent);
        self.packets_received.set(traffic.packets_received);
        self.packets_sent.set(traffic.packets_sent);
        self.publishes_received.set(traffic.publishes_received);
        self.publishes_sent.set(traffic.publishes_sent);
        self.payload_bytes_received
            .set(traffic.payload_bytes_received);
        self.payload_bytes_sent.set(traffic.payload_bytes_sent);
    }

    fn stats(&self) -> Traffic {
        Traffic {
            connections: self.connections.value(),
            connects: self.connects.value(),
            bytes_received: self.bytes_received.value(),
            bytes_sent: self.bytes_sent.value(),
            packets_received: self.packets_received.value(),
            packets_sent: self.packets_sent.value(),
            publishes_received: self.publishes_received.value(),
            publishes_sent: self.publishes_sent.value(),
            payload_bytes_received: self.payload_bytes_received.value(),
            payload_bytes_sent: self.payload_bytes_sent.value(),
        }
    }
}
