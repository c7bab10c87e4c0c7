//! The carrying out of what the core decides, at once and in order.
//!
//! What goes to sockets is appended to their outboxes and written at the end of the turn; only an outbox that has grown
//! large is written before. What goes to links is handed over, and what their library would answer goes back into the core in the
//! same turn.

use std::io;
use std::rc::Rc;

use super::core::{Command, Effect};
use super::encoded::Delivery;
use super::peer::{Peer, Side, Wire};
use super::shell::{Moment, Shell};
use crate::mqtt::{EncodeError, Packet};

impl Shell {
    /// Until the core has nothing left to be done.
    pub(super) fn carry_out_all(&self, at: Moment) {
        loop {
            self.take_effects();
            loop {
                let Some(effect) = self.effects.borrow_mut().pop_front() else {
                    break;
                };
                self.carry_out(effect, at);
            }
            let answer = self.answers.borrow_mut().pop_front();
            let is_done = match answer {
                Some((conn, packet)) => {
                    let mut core = self.core.borrow_mut();
                    core.receive(at.now, at.wall, conn, packet);
                    false
                }
                None => {
                    self.relieve(at);
                    !self.told.take()
                }
            };
            if is_done {
                return;
            }
        }
    }

    /// Moves what the core decided behind what is still to be carried out; usually nothing is, and no effect is moved.
    fn take_effects(&self) {
        let mut queue = self.effects.borrow_mut();
        let mut core = self.core.borrow_mut();
        if queue.is_empty() {
            let mut list = Vec::from(std::mem::take(&mut *queue));
            core.swap_effects(&mut list);
            *queue = list.into();
        } else {
            queue.extend(core.effects());
        }
    }

    fn carry_out(&self, effect: Effect, at: Moment) {
        match effect {
            Effect::Send { conn, packet } => {
                if let Some(peer) = self.peer(conn) {
                    self.send(&peer, packet);
                }
            }
            Effect::Deliver {
                conn,
                message,
                qos,
                retain,
                dup,
                packet_id,
                subscription_ids,
            } => {
                if let Some(peer) = self.peer(conn) {
                    let delivery = Delivery {
                        message,
                        qos,
                        retain,
                        dup,
                        packet_id,
                        subscription_ids,
                    };
                    self.deliver(&peer, &delivery);
                }
            }
            Effect::Command(command) => self.command(*command),
            Effect::Close { conn, cause } => {
                if let Some(peer) = self.peer(conn) {
                    peer.close(cause);
                }
            }
            Effect::Append {
                log,
                seq,
                record,
                mark,
            } => self.append(log, seq, record, mark, at),
            Effect::NotTaken { log, is_lost } => {
                if let Some(kept) = self.keeping.bridge(log) {
                    kept.store.log.refuse(at.now, at.wall, is_lost);
                }
            }
            Effect::Refused(refused) => self.tell_refused(&refused),
            Effect::Latest { log, message } => {
                if let Some(kept) = self.keeping.bridge(log) {
                    kept.store.latest.put(message);
                }
            }
            Effect::Unmark { log, mark } => self.unmark(log, mark, at),
            Effect::Pause { conn } => {
                if let Some(peer) = self.peer(conn) {
                    peer.paused.set(true);
                }
            }
            Effect::Resume { conn } => {
                if let Some(peer) = self.peer(conn) {
                    peer.paused.set(false);
                    peer.wake();
                }
            }
            kept => self.keep(kept, at),
        }
    }

    fn send(&self, peer: &Rc<Peer>, mut packet: Packet) {
        let socket = match &peer.side {
            Side::Socket(socket) => socket,
            Side::Link(link) => {
                if let Some(answer) = link.take(packet) {
                    self.answers.borrow_mut().push_back((peer.conn, answer));
                }
                return;
            }
        };
        if socket.packet_size_max != u32::MAX && !packet.fit(socket.version, socket.packet_size_max)
        {
            // [MQTT-3.1.2-24]; left without its answer the client would wait for ever.
            if !matches!(packet, Packet::Disconnect(_)) {
                let core = self.core.borrow();
                let client_id = core.client_id(peer.conn).map(|id| &**id);
                tracing::info!(address = %socket.address, client_id, packet = %packet.packet_type(), "closed: its Maximum Packet Size has no room for this");
                drop(core);
                socket.break_off(io::ErrorKind::InvalidInput);
            }
            return;
        }
        let mut spare = self.spare.borrow_mut();
        let encoded = socket.with_wire(|wire| {
            packet.encode(socket.version, wire.outbox.frames(&mut spare))?;
            Ok::<_, EncodeError>(wire.outbox.len())
        });
        drop(spare);
        match encoded {
            Ok(waiting) => {
                self.traffic.sent();
                self.touch(peer, waiting);
            }
            Err(fault) => {
                tracing::error!(%fault, packet = %packet.packet_type(), "a packet cannot be sent; this is a fault of fieldgate");
                peer.give_up();
            }
        }
    }

    fn command(&self, command: Command) {
        if let Some(peer) = self.peer(command.conn)
            && let Side::Link(link) = &peer.side
        {
            if !link.command(command) {
                self.figures.dropped_here.add(1);
            }
            self.crowd(&peer, link.is_crowded());
        }
    }

    fn deliver(&self, peer: &Rc<Peer>, delivery: &Delivery) {
        let socket = match &peer.side {
            Side::Socket(socket) => socket,
            Side::Link(link) => {
                if !link.deliver(delivery) {
                    self.figures.dropped_here.add(1);
                }
                return self.crowd(peer, link.is_crowded());
            }
        };
        let mut encoded = self.encoded.borrow_mut();
        let mut spare = self.spare.borrow_mut();
        let written = socket.with_wire(
            |Wire {
                 outbox, aliases, ..
             }| {
                let aliases = aliases.as_deref_mut();
                encoded.write(socket.version, delivery, aliases, outbox, &mut spare)?;
                Ok::<_, EncodeError>(outbox.len())
            },
        );
        drop((encoded, spare));
        match written {
            Ok(waiting) => {
                self.traffic.sent_publish(delivery.message.payload.len());
                self.touch(peer, waiting);
            }
            Err(fault) => {
                tracing::error!(%fault, topic = %delivery.message.topic, "a message cannot be sent; this is a fault of fieldgate");
                peer.give_up();
            }
        }
    }

    /// Notes that the peer has so many bytes to be written.
    pub(super) fn touch(&self, peer: &Rc<Peer>, waiting: usize) {
        if !peer.touched.replace(true) {
            self.touched.borrow_mut().push_back(Rc::clone(peer));
        }
        if waiting > self.outbox_write_from() && !peer.swollen.replace(true) {
            self.swollen.borrow_mut().push(Rc::clone(peer));
        }
    }

    /// Writes what has grown large in this turn.
    fn relieve(&self, at: Moment) {
        loop {
            let Some(peer) = self.swollen.borrow_mut().pop() else {
                return;
            };
            peer.swollen.set(false);
            if let Side::Socket(socket) = &peer.side {
                self.flush(socket, at.now);
                self.crowd(&peer, socket.waiting() > self.outbox_max());
            }
        }
    }

    /// Tells the core, once, to send the peer no more.
    fn crowd(&self, peer: &Peer, crowded: bool) {
        if crowded && !peer.congested.replace(true) {
            self.core.borrow_mut().congested(peer.conn, true);
            self.told.set(true);
            peer.wake();
        }
    }
}
