//! From a session to its client: sent at once, or held until the client, its window and its outbox allow.
//!
//! Order: what was in flight before a reconnect goes first and in its old order, then the queue, then retained messages
//! of new subscriptions. QoS 0 never waits: to a client that is away or congested it is dropped. Of a session that is
//! kept, `keep` has what is different.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::effect::{Command, Effect, Publisher};
use super::held::{Held, Place, Queue, expired, packet_len};
use super::retained::Retained;
use super::session::{Presence, Replay, Session, SessionKey};
use super::source::Source;
use super::store::AttachedStore;
use super::{ConnId, CoreStats, Limits};
use crate::mqtt::{Acknowledge, Message, Packet, PacketId, QoS, ReasonCode, SubscriptionIds};
use crate::session::Resend;
use crate::store::Outcome;

/// Retained messages sent to one session in one step.
const REPLAY_SENT: usize = 128;
/// Retained messages looked at in one step.
const REPLAY_SEEN: usize = 1024;

/// What a delivery needs beside the session.
#[derive(Debug)]
pub(super) struct Out<'a> {
    pub(super) now: Instant,
    /// The session's.
    pub(super) key: SessionKey,
    pub(super) limits: &'a Limits,
    pub(super) retained: &'a Retained,
    pub(super) store: &'a mut AttachedStore,
    pub(super) effects: &'a mut Vec<Effect>,
    pub(super) stats: &'a mut CoreStats,
}

impl Out<'_> {
    pub(super) fn send(&mut self, conn: ConnId, packet: Packet) {
        self.effects.push(Effect::Send { conn, packet });
    }

    fn deliver(
        &mut self,
        conn: ConnId,
        held: &Held,
        message: Rc<Message>,
        packet_id: Option<PacketId>,
        dup: bool,
    ) {
        self.stats.sent.add(held.qos);
        self.effects.push(Effect::Deliver {
            conn,
            message,
            qos: held.qos,
            retain: held.retain,
            dup,
            packet_id,
            subscription_ids: held.subscription_ids.clone(),
        });
    }
}

impl Session {
    /// A QoS 0 message that was just published: it goes at once or not at all.
    pub(super) fn pass(
        &self,
        source: &Source,
        message: &Rc<Message>,
        retain: bool,
        subscription_ids: SubscriptionIds,
        out: &mut Out<'_>,
    ) {
        let Some(connection) = self.connection() else {
            return;
        };
        let qos = QoS::AtMostOnce;
        let maximum = connection.maximum_packet_size;
        if !self.can_take() || too_large(message, qos, &subscription_ids, maximum) {
            out.stats.dropped += 1;
            return;
        }
        out.stats.sent.add(qos);
        if connection.origin.is_told_the_publisher() {
            let publisher = Publisher {
                client_id: source.client_id.clone(),
                principal: source.principal.clone(),
                sends_again: source.sends_again,
            };
            return out.effects.push(Effect::Command(Box::new(Command {
                conn: connection.conn,
                message: Rc::clone(message),
                retain,
                publisher,
            })));
        }
        out.effects.push(Effect::Deliver {
            conn: connection.conn,
            message: Rc::clone(message),
            qos,
            retain,
            dup: false,
            packet_id: None,
            subscription_ids,
        });
    }

    /// A message for this session.
    pub(super) fn offer(&mut self, held: Held, out: &mut Out<'_>) {
        self.offer_to(Queue::push, held, out);
    }

    /// A message that another session of its group was to get: before those that arrived after it, if they wait still.
    pub(super) fn offer_in_order(&mut self, held: Held, out: &mut Out<'_>) {
        self.offer_to(Queue::insert, held, out);
    }

    fn offer_to(
        &mut self,
        wait: impl FnOnce(&mut Queue, Held, usize, usize) -> u64,
        held: Held,
        out: &mut Out<'_>,
    ) {
        if let Some(place) = held.place {
            self.offer_kept(held, place, out);
        } else if self.can_send(held.qos) {
            self.send(held, out);
        } else if held.qos != QoS::AtMostOnce {
            let (count, bytes) = (out.limits.queued_messages, out.limits.queued_bytes);
            let dropped = wait(&mut self.queue, held, count, bytes);
            self.count_dropped(dropped, out);
        } else if self.connection().is_some() {
            self.count_dropped(1, out);
        }
    }

    /// Messages for this session were dropped by a declared policy.
    pub(super) fn count_dropped(&mut self, count: u64, out: &mut Out<'_>) {
        self.dropped += count;
        out.stats.dropped += count;
    }

    /// Sends what waits, as far as it may go now. True where retained messages are left that may go in a next step.
    pub(super) fn flush(&mut self, out: &mut Out<'_>) -> bool {
        if self.is_idle() {
            return false;
        }
        self.send_again(out);
        self.send_queued(out);
        self.fetch(out);
        self.replay(out)
    }

    /// Nothing waits: most of the time, and so it has to be cheap.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.resend.is_empty()
            && self.replays.is_empty()
            && !self.is_behind()
    }

    /// A new connection resumes the session: what is in flight goes out again [MQTT-4.4.0-1], then the rest, as soon as
    /// the client was greeted.
    pub(super) fn send_all_again(&mut self) {
        self.resend = self.outbound.messages().map(|(id, _)| id).collect();
    }

    pub(super) fn send_queued(&mut self, out: &mut Out<'_>) {
        while self.can_take() && self.window_is_open() {
            let Some(front) = self.queue.front() else {
                return;
            };
            if front
                .place
                .is_some_and(|place| !self.may_go(front, place, out))
            {
                return;
            }
            if let Some(held) = self.queue.pop() {
                self.send(held, out);
            }
        }
    }

    pub(super) fn can_take(&self) -> bool {
        self.connection()
            .is_some_and(|connection| connection.greeted && !connection.congested)
    }

    /// Never while resends wait: they wait because more is in flight than the window allows.
    fn window_is_open(&self) -> bool {
        self.outbound.free() > 0
    }

    /// Whether nothing is before a new message of this QoS.
    pub(super) fn can_send(&self, qos: QoS) -> bool {
        self.can_take()
            && (qos == QoS::AtMostOnce
                || (self.queue.is_empty() && self.window_is_open() && !self.is_behind()))
    }

    /// Whether a retained message of this QoS has its turn: nothing is before it, and the window will have room for it.
    fn can_replay(&self, qos: QoS) -> bool {
        self.can_take()
            && (qos == QoS::AtMostOnce
                || (self.queue.len() < usize::from(self.outbound.free()) && !self.is_behind()))
    }

    /// To a client that can take it.
    fn send(&mut self, held: Held, out: &mut Out<'_>) {
        let Presence::Online(connection) = &self.presence else {
            return;
        };
        let (conn, maximum) = (connection.conn, connection.maximum_packet_size);
        if let Some(place) = held.place {
            return self.send_kept(conn, maximum, held, place, out);
        }
        if self.recheck && !self.may_read(&held.message.topic) {
            return;
        }
        let Some(message) = held.message_at(out.now, false) else {
            out.stats.expired += 1;
            return;
        };
        if held.is_too_large(maximum) {
            return self.count_dropped(1, out);
        }
        if held.qos == QoS::AtMostOnce {
            return out.deliver(conn, &held, message, None, false);
        }
        let is_wanted = self.keeps_sent() || held.share.is_some();
        let in_flight = is_wanted.then(|| held.clone());
        let id = self
            .outbound
            .send_next(&mut self.packet_ids, held.qos, in_flight);
        if id.is_some() {
            out.deliver(conn, &held, message, id, false);
        }
    }

    /// As [`Self::send`], of a session that is kept: under the id that the message was given, and it may have been sent
    /// before.
    fn send_kept(
        &mut self,
        conn: ConnId,
        maximum: usize,
        held: Held,
        place: Place,
        out: &mut Out<'_>,
    ) {
        if place.received {
            return self.release_again(conn, held, out);
        }
        if self.recheck && !self.may_read(&held.message.topic) {
            return self.finish(Some(&held), Outcome::Dropped, out);
        }
        let sent_before = self.was_sent(place);
        let Some(message) = held.message_at(out.now, sent_before) else {
            out.stats.expired += 1;
            return self.finish(Some(&held), Outcome::Dropped, out);
        };
        if held.is_too_large(maximum) {
            self.count_dropped(1, out);
            return self.finish(Some(&held), Outcome::Dropped, out);
        }
        out.deliver(conn, &held, message, Some(place.id), sent_before);
        self.note_sent(&held, out);
        self.note_in_flight(place.id, held);
    }

    /// The window was open and the id is free, so this cannot fail.
    fn note_in_flight(&mut self, id: PacketId, held: Held) {
        let sent = self.outbound.sent(id, held.qos, Some(held));
        debug_assert!(sent.is_ok(), "{sent:?}");
    }

    pub(super) fn next_packet_id(&mut self) -> Option<PacketId> {
        let outbound = &self.outbound;
        self.packet_ids.next(|id| outbound.contains(id))
    }

    /// Sends what was in flight before the reconnect: PUBRELs at once, PUBLISHes as far as the new window allows. Of a
    /// session that is kept nothing is in flight then: the log knows it.
    fn send_again(&mut self, out: &mut Out<'_>) {
        // A client may acknowledge what it was not sent again yet; then it is in flight no more.
        let outbound = &self.outbound;
        self.resend.retain(|id| outbound.contains(*id));
        while let Some(&id) = self.resend.front() {
            let Presence::Online(connection) = &self.presence else {
                return;
            };
            if connection.congested || !connection.greeted {
                return;
            }
            let in_flight = self.outbound.len() - self.resend.len();
            match self.outbound.resend_one(id) {
                Some(Resend::Publish { message: None, .. }) | None => {}
                Some(Resend::Publish {
                    message: Some(held),
                    ..
                }) => {
                    if in_flight >= usize::from(self.outbound.window()) {
                        return;
                    }
                    if held.is_too_large(connection.maximum_packet_size) {
                        self.outbound.discard(id);
                        self.count_dropped(1, out);
                    } else if let Some(message) = held.message_at(out.now, true) {
                        out.deliver(connection.conn, held, message, Some(id), true);
                    }
                }
                Some(Resend::Release { id }) => {
                    let pubrel = Acknowledge::new(id, ReasonCode::Success);
                    out.send(connection.conn, Packet::Pubrel(pubrel));
                }
            }
            self.resend.pop_front();
        }
    }

    /// One step of the retained messages that new subscriptions get. True where the step ended at its own bound.
    fn replay(&mut self, out: &mut Out<'_>) -> bool {
        let retained = out.retained;
        let (mut seen, mut sent) = (REPLAY_SEEN, REPLAY_SENT);
        while let Some(mut replay) = self.replays.pop_front() {
            while sent > 0 && self.can_replay(replay.qos) {
                let Some(kept) = retained.next(&replay.filter, &mut replay.cursor, &mut seen)
                else {
                    break;
                };
                let own = replay.no_local && kept.publisher == self.client_id;
                let allowed = self.may_read(&kept.message.topic);
                if own || !allowed || expired(&kept.message, kept.arrived, out.now) {
                    continue;
                }
                let held = replay.held(kept);
                if held.qos > QoS::AtMostOnce && kept.change >= replay.since {
                    continue;
                }
                sent -= 1;
                if held.qos > QoS::AtMostOnce && self.durable.is_some() {
                    self.keep_replayed(held, out);
                } else {
                    self.send(held, out);
                }
            }
            if !replay.cursor.is_done() {
                let may_go_on = self.can_replay(replay.qos);
                self.replays.push_front(replay);
                return may_go_on;
            }
            self.replay_ended(replay, out);
        }
        self.replays = VecDeque::new(); // most clients subscribe once and stay for months
        false
    }
}

impl Replay {
    fn held(&self, kept: &super::retained::Kept) -> Held {
        Held {
            message: Rc::new(kept.message.clone()),
            qos: self.qos.min(kept.message.qos),
            retain: true,
            subscription_ids: self.subscription_id.into(),
            share: None,
            arrived: kept.arrived,
            place: None,
        }
    }
}

impl Held {
    fn is_too_large(&self, maximum: usize) -> bool {
        too_large(&self.message, self.qos, &self.subscription_ids, maximum)
    }
}

/// [MQTT-3.1.2-24]: such a packet is not sent, and the delivery counts as done.
fn too_large(message: &Message, qos: QoS, subscription_ids: &[u32], maximum: usize) -> bool {
    maximum != usize::MAX && packet_len(message, qos, subscription_ids) > maximum
}
