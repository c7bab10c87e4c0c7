//! What goes over the clients' sockets, counted by the broker's thread alone: plain cells, no atomics on the way of a
//! message. Links inside the program are no traffic.

use std::cell::Cell;

use crate::mqtt::Packet;

/// Traffic of the clients' sockets since the start. Bytes are MQTT's, inside TLS and WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that listeners handed in.
    pub connections: u64,
    /// CONNECT packets received.
    pub connects: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Packets of any type received.
    pub packets_received: u64,
    /// Packets of any type sent.
    pub packets_sent: u64,
    /// PUBLISH packets received.
    pub publishes_received: u64,
    /// PUBLISH packets sent.
    pub publishes_sent: u64,
    /// Bytes of their payloads.
    pub payload_bytes_received: u64,
    /// Bytes of their payloads.
    pub payload_bytes_sent: u64,
}

/// The count in the making.
#[derive(Debug, Default)]
pub(super) struct TrafficCount {
    connections: Cell<u64>,
    connects: Cell<u64>,
    bytes_received: Cell<u64>,
    bytes_sent: Cell<u64>,
    packets_received: Cell<u64>,
    packets_sent: Cell<u64>,
    publishes_received: Cell<u64>,
    publishes_sent: Cell<u64>,
    payload_bytes_received: Cell<u64>,
    payload_bytes_sent: Cell<u64>,
}

impl TrafficCount {
    pub(super) fn connection(&self) {
        add(&self.connections, 1);
    }

    pub(super) fn bytes_received(&self, count: usize) {
        add(&self.bytes_received, count);
    }

    pub(super) fn bytes_sent(&self, count: usize) {
        add(&self.bytes_sent, count);
    }

    pub(super) fn received(&self, packet: &Packet) {
        add(&self.packets_received, 1);
        match packet {
            Packet::Publish(publish) => {
                add(&self.publishes_received, 1);
                add(&self.payload_bytes_received, publish.payload.len());
            }
            Packet::Connect(_) => add(&self.connects, 1),
            _ => {}
        }
    }

    /// A packet that was not taken apart: the bytes of its payload, where it is a PUBLISH.
    pub(super) fn received_plain(&self, payload_bytes: Option<usize>) {
        add(&self.packets_received, 1);
        if let Some(bytes) = payload_bytes {
            add(&self.publishes_received, 1);
            add(&self.payload_bytes_received, bytes);
        }
    }

    /// Anything but a PUBLISH.
    pub(super) fn sent(&self) {
        add(&self.packets_sent, 1);
    }

    pub(super) fn sent_publish(&self, payload_bytes: usize) {
        add(&self.packets_sent, 1);
        add(&self.publishes_sent, 1);
        add(&self.payload_bytes_sent, payload_bytes);
    }

    pub(super) fn so_far(&self) -> Traffic {
        Traffic {
            connections: self.connections.get(),
            connects: self.connects.get(),
            bytes_received: self.bytes_received.get(),
            bytes_sent: self.bytes_sent.get(),
            packets_received: self.packets_received.get(),
            packets_sent: self.packets_sent.get(),
            publishes_received: self.publishes_received.get(),
            publishes_sent: self.publishes_sent.get(),
            payload_bytes_received: self.payload_bytes_received.get(),
            payload_bytes_sent: self.payload_bytes_sent.get(),
        }
    }
}

fn add(cell: &Cell<u64>, count: usize) {
    cell.set(cell.get().wrapping_add(count as u64));
}
