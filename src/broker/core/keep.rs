//! Messages for sessions that are kept: into the session log first, then to clients that are there.
//!
//! The packet id is given when a message is appended, so it is as durable as the message and a restart sends it under the
//! same one. QoS 1 goes out at once; QoS 2 only when it is committed, because nobody could tell a resend from a new message
//! else. Everything is sent in the order of the log, so what was in flight before a reconnect comes first.

use std::mem;
use std::rc::Rc;
use std::time::Instant;

use super::deliver::Out;
use super::durable::{Load, one};
use super::effect::Effect;
use super::held::{Held, Place, weight};
use super::receivers::Receiver;
use super::session::{Replay, Session};
use super::source::Source;
use super::{Core, Limits, LogId};
use crate::mqtt::{Message, QoS};
use crate::store::{Mark, Outcome, Seq, Want};

/// In RAM for a session whose client is there, beyond its window; what comes then is read from the log again.
const QUEUE_MESSAGES: usize = 128;
const QUEUE_BYTES: usize = 64 << 10;

impl Core {
    /// Appends the message for those receivers that are kept and want it at QoS 1 or 2. Who does not get it after all is
    /// taken off the list.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        source: &Source,
        message: &Rc<Message>,
        receivers: &mut Vec<Receiver>,
    ) -> Option<Seq> {
        if source.marked.contains(&LogId::Sessions) {
            receivers.retain(|receiver| !receiver.is_kept());
            return None;
        }
        let apart = receivers
            .iter()
            .filter(|found| found.is_kept() && found.apart);
        let apart = apart.count();
        // With the last copy: a crash before it means that the resend must not be taken for one that everybody has.
        let mark = |left| source.mark.filter(|_| left == 0);
        let together = |receiver: &Receiver| !receiver.apart;
        let mut last = self.keep_some(now, mark(apart), message, receivers, together);
        for left in (0..apart).rev() {
            let mut is_first = true;
            let one = |receiver: &Receiver| {
                receiver.apart && receiver.place.is_none() && mem::take(&mut is_first)
            };
            last = self
                .keep_some(now, mark(left), message, receivers, one)
                .or(last);
        }
        last
    }

    /// Appends the message once, for those of the receivers that are `chosen`: no session twice.
    fn keep_some(
        &mut self,
        now: Instant,
        mark: Option<Mark>,
        message: &Rc<Message>,
        receivers: &mut Vec<Receiver>,
        mut chosen: impl FnMut(&Receiver) -> bool,
    ) -> Option<Seq> {
        let seq = self.store.sessions.next();
        let load = one(weight(message));
        let mut wants = Vec::new();
        let mut hold = mark.is_none();
        receivers.retain_mut(|receiver| {
            if !receiver.is_kept() || !chosen(receiver) {
                return true;
            }
            let Some((session, mut out)) = self.with_session(now, receiver.session) else {
                return false;
            };
            let at_once = session.can_send(receiver.qos);
            let Some(want) = session.want(receiver, load, at_once, &mut out) else {
                return false;
            };
            hold &= at_once && want.qos == QoS::AtLeastOnce;
            receiver.place = Some(Place {
                seq,
                id: want.packet_id,
                received: false,
            });
            wants.push(want);
            true
        });
        if wants.is_empty() {
            return None;
        }
        self.effects.push(Effect::Keep {
            seq: self.store.sessions.take(),
            message: Rc::clone(message),
            wants,
            mark,
            hold,
        });
        Some(seq)
    }
}

impl Session {
    pub(super) fn is_behind(&self) -> bool {
        self.durable.as_ref().is_some_and(|durable| durable.behind)
    }

    /// Whether a message at this place may have been sent before.
    pub(super) fn was_sent(&self, place: Place) -> bool {
        let durable = self.durable.as_ref();
        durable.is_some_and(|durable| durable.was_sent(place.seq))
    }

    /// How this session, which is kept, wants a message that is appended now. `None`: it is dropped, because not even an
    /// empty queue could hold it.
    fn want(
        &mut self,
        receiver: &Receiver,
        load: Load,
        at_once: bool,
        out: &mut Out<'_>,
    ) -> Option<Want> {
        if !at_once && !self.make_room(load, out) {
            self.count_dropped(1, out);
            return None;
        }
        let packet_id = self.next_packet_id()?;
        let durable = self.durable.as_mut()?;
        durable.appended(out.store.sessions.next(), load);
        Some(Want {
            session: durable.number,
            packet_id,
            qos: receiver.qos,
            retain: receiver.retain,
            subscription_ids: receiver.subscription_ids.clone(),
        })
    }

    /// Drops the oldest of the queue until one more fits in; false where it never will.
    fn make_room(&mut self, load: Load, out: &mut Out<'_>) -> bool {
        let limit = limit(out.limits);
        if limit.messages == 0 || load.bytes > limit.bytes {
            return false;
        }
        while let Some(excess) = self.excess(load, limit) {
            let durable = self.durable.as_ref();
            let was_sent = |place: Place| durable.is_some_and(|known| known.was_sent(place.seq));
            let oldest = self.queue.take(|held| !held.place.is_some_and(was_sent));
            if let Some(oldest) = oldest {
                self.count_dropped(1, out);
                self.finish(Some(&oldest), Outcome::Dropped, out);
            } else if let Some(durable) = &mut self.durable {
                durable.drop_queued(excess);
                if durable.behind {
                    self.dropped += excess;
                    out.stats.dropped += excess;
                    out.effects.push(Effect::Skip {
                        session: durable.number,
                        count: excess,
                    });
                }
            }
        }
        true
    }

    /// How many of the queue must go so that `load` fits in, guessed by their average; `None`: it does.
    fn excess(&self, load: Load, limit: Load) -> Option<u64> {
        let queued = self.durable.as_ref()?.queued();
        let average = (queued.bytes / queued.messages.max(1)).max(1);
        let bytes = queued
            .bytes
            .saturating_add(load.bytes)
            .saturating_sub(limit.bytes);
        let messages = queued
            .messages
            .saturating_add(1)
            .saturating_sub(limit.messages);
        let excess = messages.max(bytes.div_ceil(average)).min(queued.messages);
        (excess > 0).then_some(excess)
    }

    /// Whether one more message at QoS 1 or 2 would find the queue full.
    pub(super) fn is_full(&self, load: Load, limits: &Limits) -> bool {
        if self.can_send(QoS::AtLeastOnce) {
            return false;
        }
        let queued = match &self.durable {
            Some(durable) => durable.queued(),
            None => Load {
                messages: self.queue.len() as u64,
                bytes: self.queue.bytes() as u64,
            },
        };
        let limit = limit(limits);
        queued.messages >= limit.messages || queued.bytes + load.bytes > limit.bytes
    }

    /// A message that was appended.
    pub(super) fn offer_kept(&mut self, held: Held, place: Place, out: &mut Out<'_>) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        if durable.behind {
            return;
        }
        if self.queue.len() >= QUEUE_MESSAGES || self.queue.bytes() >= QUEUE_BYTES {
            durable.behind = true;
            return;
        }
        durable.known = place.seq;
        self.queue.append(held);
        self.send_queued(out);
    }

    /// A retained message for a new subscription: appended like any other, so that its packet id outlives a restart. A
    /// client that has it already would take the next message of this id for the same one.
    pub(super) fn keep_replayed(&mut self, mut held: Held, out: &mut Out<'_>) {
        let hold = held.qos == QoS::AtLeastOnce && self.can_send(held.qos);
        let Some(packet_id) = self.next_packet_id() else {
            return;
        };
        let Some(durable) = &mut self.durable else {
            return;
        };
        let place = Place {
            seq: out.store.sessions.take(),
            id: packet_id,
            received: false,
        };
        held.place = Some(place);
        durable.appended(place.seq, one(weight(&held.message)));
        let want = Want {
            session: durable.number,
            packet_id,
            qos: held.qos,
            retain: held.retain,
            subscription_ids: held.subscription_ids.clone(),
        };
        out.effects.push(Effect::Keep {
            seq: place.seq,
            message: Rc::clone(&held.message),
            wants: vec![want],
            mark: None,
            hold,
        });
        self.offer_kept(held, place, out);
    }

    /// All retained messages for a subscription are in the log; once that is committed, the store may forget about it.
    pub(super) fn replay_ended(&mut self, replay: Replay, out: &mut Out<'_>) {
        if let (Some(durable), Some(stored)) = (&self.durable, replay.stored) {
            out.store
                .replay_ended(durable.number, replay.filter, stored);
            // Where there was nothing to replay, the row that is being written says so at once.
            out.store.tell_replayed(out.effects);
        }
    }

    /// Whether the first of the queue may be sent.
    pub(super) fn may_go(&self, held: &Held, place: Place, out: &mut Out<'_>) -> bool {
        if held.qos == QoS::ExactlyOnce && !out.store.is_committed(place.seq) {
            out.store.wait_for_commit(place.seq, out.key);
            return false;
        }
        // 65535 messages after it, an id comes again: its first message must be done by then.
        !self.outbound.contains(place.id)
    }

    pub(super) fn note_sent(&mut self, held: &Held, out: &mut Out<'_>) {
        if let (Some(durable), Some(place)) = (&mut self.durable, held.place)
            && durable.send(place.seq, one(weight(&held.message)))
        {
            out.effects.push(Effect::Sent {
                session: durable.number,
                seq: place.seq,
            });
        }
    }

    /// Nothing more is to be done for a message.
    pub(super) fn finish(&mut self, held: Option<&Held>, outcome: Outcome, out: &mut Out<'_>) {
        if let Some(durable) = &mut self.durable
            && let Some(held) = held
            && let Some(place) = held.place
        {
            durable.done(place.seq, one(weight(&held.message)));
            out.effects.push(Effect::Done {
                session: durable.number,
                seq: place.seq,
                outcome,
            });
        }
    }
}

/// What may wait for one session.
fn limit(limits: &Limits) -> Load {
    Load {
        messages: limits.queued_messages as u64,
        bytes: limits.queued_bytes as u64,
    }
}
