//! The short way of plain packets: from where they were read straight into the outboxes of who gets them.
//!
//! What is to be sent the core decides ([`Core::express`]); here it is written down. A packet that goes another way is
//! left as it is.

use super::core::{ConnId, Core, ExpressDelivery, Expressed};
use super::peer::{Side, Socket, Wire};
use super::shell::{Moment, Shell};
use crate::mqtt::{Decoder, Plain, PlainPacket, PlainPublish, write_acknowledge};

impl Shell {
    /// The next packet, if it can go the short way. True where it did and is off the decoder.
    pub(super) fn express(
        &self,
        core: &mut Core,
        at: Moment,
        conn: ConnId,
        decoder: &mut Decoder,
    ) -> bool {
        let Some(plain) = decoder.plain() else {
            return false;
        };
        let mut expressed = self.expressed.borrow_mut();
        if !core.express(at.now, conn, &plain, &mut expressed) {
            return false;
        }
        self.send_express(conn, &plain, &expressed);
        let len = plain.len;
        decoder.pass(len);
        true
    }

    /// Whether an outbox has grown large in this turn, so that it is time to write.
    pub(super) fn is_swollen(&self) -> bool {
        !self.swollen.borrow().is_empty()
    }

    fn send_express(&self, conn: ConnId, plain: &Plain<'_>, expressed: &Expressed) {
        let mut payload = None;
        if let PlainPacket::Publish(publish) = &plain.packet {
            payload = Some(publish.payload.len());
            for delivery in &expressed.deliveries {
                self.deliver_express(publish, *delivery);
            }
        }
        self.traffic.received_plain(payload);
        if let Some((packet, id, reason)) = expressed.answer {
            self.append_to(conn, |socket, out| {
                write_acknowledge(packet, id, reason, socket.version, out);
            });
            self.traffic.sent();
        }
    }

    fn deliver_express(&self, publish: &PlainPublish<'_>, delivery: ExpressDelivery) {
        let ExpressDelivery {
            conn,
            qos,
            packet_id,
        } = delivery;
        self.append_to(conn, |socket, out| {
            publish.write(socket.version, qos, packet_id, out);
        });
        self.traffic.sent_publish(publish.payload.len());
    }

    fn append_to(&self, conn: ConnId, write: impl FnOnce(&Socket, &mut bytes::BytesMut)) {
        let peers = self.peers();
        let Some(Some(peer)) = peers.get(conn.0) else {
            return;
        };
        let Side::Socket(socket) = &peer.side else {
            return;
        };
        let waiting = socket.with_wire(|Wire { outbox, .. }| {
            write(socket, outbox.frames(&mut self.spare.borrow_mut()));
            outbox.len()
        });
        self.touch(peer, waiting);
    }
}
