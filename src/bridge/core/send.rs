//! What goes out next: the gateway's own topics, a hole in the backlog, then what a lost connection left unfinished, then the
//! lanes, each in order.

use std::time::Instant;

use super::{Core, DropReason, Effect, Flight, Lane, Phase, ids, publish};
use crate::clock::WallTime;
use crate::mqtt::{Packet, PacketId, QoS, ReasonCode};
use crate::session::Resend;
use crate::store::Outcome;

/// What Mosquitto takes unless told otherwise (`max_inflight_messages`).
const UNTOLD_WINDOW: u16 = 20;

impl Core {
    /// Sends what may be sent now, about `bytes` of it. Called after every input; with 0 while the upstream takes
    /// nothing.
    pub fn pump(&mut self, now: Instant, wall: WallTime, bytes: usize) {
        if !self.is_up() {
            return;
        }
        let woken = self.retry.wake(now);
        self.requeue(woken);
        self.join_live_lane();
        self.ask_for_subscriptions(now);
        self.ask_for_proof(now);
        let mut room = bytes;
        while room > 0
            && !self.is_held(now)
            && let Some(sent) = self.send_newest(now)
        {
            room = room.saturating_sub(sent);
        }
        while room > 0
            && !self.is_held(now)
            && let Some(sent) = self.send_gap(now)
        {
            room = room.saturating_sub(sent);
        }
        while room > 0
            && !self.is_held(now)
            && let Some(sent) = self.resend_due(now, wall)
        {
            room = room.saturating_sub(sent);
        }
        while room > 0
            && self.phase == Phase::Up
            && !self.is_held(now)
            && self.due.is_empty()
            && let Some(lane) = self.next_lane()
            && let Some(flight) = self.queues.get_mut(lane).pending.pop_front()
        {
            room = room.saturating_sub(self.place(now, wall, flight));
        }
        self.set_pace_timer(now);
        if self.phase == Phase::Stopping {
            self.finish_if_drained(now);
        }
    }

    /// Whether no message may leave now, whatever it is.
    fn is_held(&self, now: Instant) -> bool {
        self.is_paced(now) || self.waits_alone()
    }

    /// Whether a new message may be sent now at `qos`, and how many such.
    pub(super) fn room(&self, qos: QoS) -> usize {
        self.share(qos, self.at_least_once())
            .min(self.unreserved(None))
    }

    /// The same for one of this lane.
    fn room_in(&self, lane: Lane, qos: QoS) -> usize {
        if qos == QoS::ExactlyOnce && self.queues.has_live() {
            let free = self.exactly_once_in_lane();
            let free = free.saturating_sub(self.queues.get(lane).exactly_once);
            let share = self.share(qos, self.at_least_once());
            return share.min(free).min(self.unreserved(Some(lane)));
        }
        self.room(qos)
    }

    /// Of two lanes each has half of what QoS 2 messages get, and one at least.
    fn exactly_once_in_lane(&self) -> usize {
        let half = usize::from(self.window(QoS::ExactlyOnce)).div_ceil(2);
        (half / 2).max(1)
    }

    /// What is left of the window besides the QoS 2 messages that the upstream may still hold for lanes that have not come
    /// by them since the start, other than `lane`. One lane alone sends these before any others; of two, the other must
    /// leave them their room. When nothing is in flight one message may go: those held are no more than half.
    fn unreserved(&self, lane: Option<Lane>) -> usize {
        if !self.queues.has_live() {
            return usize::MAX;
        }
        let held = self.queues.held_unseen(lane, self.exactly_once_in_lane());
        let in_flight = self.at_least_once() + self.exactly_once;
        let window = usize::from(self.window(QoS::ExactlyOnce));
        let free = window.saturating_sub(in_flight + held);
        free.max(usize::from(in_flight == 0))
    }

    /// The same for one that the upstream does not count yet on this connection: QoS 1 messages that are still to be
    /// sent again. Unfinished QoS 2 messages it has counted since they came.
    fn room_to_resend(&self) -> usize {
        let due = self
            .due
            .iter()
            .filter(|(_, qos)| *qos == QoS::AtLeastOnce)
            .count();
        self.share(QoS::AtLeastOnce, self.at_least_once().saturating_sub(due))
    }

    /// Whether one at QoS 1 that is not in the log may be sent, though the connection has not sent all again.
    pub(super) fn has_room_for_unstored(&self) -> bool {
        self.room_to_resend() > 0 && self.unreserved(None) > 0
    }

    /// QoS 1 messages in flight.
    fn at_least_once(&self) -> usize {
        let unstored = self.newest.in_flight() + self.gaps_in_flight();
        self.outbound.len().saturating_sub(self.exactly_once) + unstored
    }

    /// The window is shared out: QoS 2 messages get half of it, and while there may be any, the others get the rest.
    ///
    /// Upstreams count a QoS 2 message until it is finished, across connections too (Mosquitto 2.0, measured). With the
    /// whole window full of them, a QoS 1 message in front of those that finish them is refused with the connection, for
    /// ever. Nobody knows after a restart which ones the upstream has, but that they are no more than that half.
    fn share(&self, qos: QoS, at_least_once: usize) -> usize {
        let window = usize::from(self.window(qos));
        let half = window.div_ceil(2);
        let free = window.saturating_sub(at_least_once + self.exactly_once);
        if qos == QoS::ExactlyOnce {
            free.min(half.saturating_sub(self.exactly_once))
        } else if self.may_hold_exactly_once() {
            free.min((window - half).max(1).saturating_sub(at_least_once))
        } else {
            free
        }
    }

    /// Whether the upstream may have QoS 2 messages that are not finished.
    fn may_hold_exactly_once(&self) -> bool {
        self.exactly_once > 0 || self.queues.is_recovering()
    }

    /// How many may be in flight together with one at `qos`. MQTT 3.1.1 has no Receive Maximum, but servers have a limit
    /// all the same, and above it Mosquitto 2.0 acknowledges a QoS 1 message and drops it (measured).
    fn window(&self, qos: QoS) -> u16 {
        let exactly_once = qos == QoS::ExactlyOnce || self.may_hold_exactly_once();
        if exactly_once && !self.options.protocol.is_v5() {
            self.limits.window.min(UNTOLD_WINDOW)
        } else {
            self.limits.window
        }
    }

    /// Whether the head of what was read of a lane may be sent: order is kept, so nothing in the lane overtakes it.
    pub(super) fn may_send_next(&self, lane: Lane) -> bool {
        let queue = self.queues.get(lane);
        let Some(flight) = queue.pending.front() else {
            return false;
        };
        let qos = flight.entry.record.message.qos.min(self.limits.maximum_qos);
        if qos == QoS::AtMostOnce {
            return !self.suspects.is_message_suspected();
        }
        let seq = flight.seq();
        let id_is_free = ids::packet_id(lane, seq).is_some_and(|id| !self.outbound.contains(id));
        let durable = qos != QoS::ExactlyOnce
            || (seq <= queue.progress.committed
                && ids::within_reach(queue.progress.cursor, seq)
                && self.queues.is_session_kept());
        self.room_in(lane, qos) > 0
            && id_is_free
            && durable
            && self.may_bury()
            && !self.retry.is_paused()
    }

    /// Sends a message of the log for the first time in this session; returns its bytes, about.
    fn place(&mut self, now: Instant, wall: WallTime, mut flight: Flight) -> usize {
        // From here on nothing was sent before this start.
        self.queues.get_mut(flight.lane).is_recovering &= flight.session.is_some();
        let Some(id) = ids::packet_id(flight.lane, flight.seq()) else {
            return 0;
        };
        // The mark is from before this start, and means something only to the session that was there then.
        if flight.entry.received && self.session == 0 {
            let lane = flight.lane;
            if self.outbound.resumed(id, flight).is_ok() {
                self.count_exactly_once(lane);
                self.send_pubrel(now, id, ReasonCode::Success);
            }
            return 4;
        }
        let message = &flight.entry.record.message;
        let qos = message.qos.min(self.limits.maximum_qos);
        let (lowered, unretained) = (
            qos < message.qos,
            message.retain && !self.limits.retain_available,
        );
        let packet = match self.packet(&flight, id, qos, wall) {
            Ok(packet) => packet,
            Err(reason) => return self.not_sent(flight, reason),
        };
        let bytes = bytes_about(&packet);
        self.figures.qos_lowered += u64::from(lowered);
        self.figures.retain_cleared += u64::from(unretained);
        let known_there = qos == QoS::ExactlyOnce && flight.session == Some(self.session);
        if flight.session.is_some() && !known_there {
            self.figures.maybe_duplicated += 1;
        }
        self.send(now, packet);
        if qos == QoS::AtMostOnce {
            self.done(&flight, Outcome::Delivered);
            return bytes;
        }
        flight.session = Some(self.session);
        self.since.insert(id, now);
        if qos == QoS::ExactlyOnce {
            self.count_exactly_once(flight.lane);
        }
        let sent = self.outbound.sent(id, qos, flight);
        debug_assert!(sent.is_ok(), "the window and the id were checked before");
        bytes
    }

    /// Sends again what is first due on this connection; `None`: nothing is due, or the upstream has no room.
    fn resend_due(&mut self, now: Instant, wall: WallTime) -> Option<usize> {
        let (id, _) = *self.due.front()?;
        let (qos, flight) = match self.outbound.resend_one(id) {
            Some(Resend::Publish { qos, message, .. }) => (qos, message.clone()),
            Some(Resend::Release { .. }) => {
                self.due.pop_front();
                self.send_pubrel(now, id, ReasonCode::Success);
                return Some(4);
            }
            None => {
                self.due.pop_front();
                return Some(0);
            }
        };
        if qos == QoS::AtLeastOnce && self.room_to_resend() == 0 {
            return None;
        }
        self.due.pop_front();
        let packet = match self.packet(&flight, id, qos, wall) {
            Ok(packet) => packet,
            Err(reason) => {
                // Only at QoS 1: the id is free as soon as nobody waits for it.
                if self.outbound.acknowledged(id).is_ok() {
                    return Some(self.not_sent(flight, reason));
                }
                self.mismatch();
                return None;
            }
        };
        let bytes = bytes_about(&packet);
        self.figures.maybe_duplicated += u64::from(qos == QoS::AtLeastOnce);
        self.since.insert(id, now);
        self.send(now, packet);
        Some(bytes)
    }

    fn packet(
        &self,
        flight: &Flight,
        id: PacketId,
        qos: QoS,
        wall: WallTime,
    ) -> Result<Packet, DropReason> {
        if self.suspects.is_condemned(id) {
            return Err(DropReason::Closed);
        }
        let packet = Packet::Publish(self.build(flight, id, qos, wall)?);
        self.check(&packet).map(|()| packet)
    }

    pub(super) fn send(&mut self, now: Instant, packet: Packet) {
        let packet = self.shortened(packet);
        self.timers.sent(now, self.limits.keep_alive);
        if let Packet::Publish(publish) = &packet {
            self.pace.charge(now, publish::about(publish));
        }
        self.effects.push_back(Effect::Send(packet));
    }

    pub(super) fn done(&mut self, flight: &Flight, outcome: Outcome) {
        if outcome == Outcome::Delivered {
            self.figures.delivered += 1;
        }
        let (lane, seq) = (flight.lane, flight.seq());
        self.suspects.clear(lane, seq);
        self.effects.push_back(Effect::Done { lane, seq, outcome });
    }

    /// A message that must not be sent is given up, unless the upstream may hold it under its id.
    fn not_sent(&mut self, flight: Flight, reason: DropReason) -> usize {
        if self.may_be_held(&flight) {
            self.requeue(vec![flight]);
            self.mismatch();
            return 0;
        }
        match reason {
            DropReason::TooLarge { .. }
            | DropReason::TopicTooLong { .. }
            | DropReason::Unsendable(_) => self.figures.too_large += 1,
            DropReason::Refused(_) | DropReason::Closed => self.figures.refused += 1,
            DropReason::Expired => self.figures.expired += 1,
        }
        self.give_up(&flight, reason);
        0
    }
}

fn bytes_about(packet: &Packet) -> usize {
    match packet {
        Packet::Publish(publish) => publish::about(publish),
        _ => 0,
    }
}
