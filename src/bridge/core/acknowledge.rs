//! PUBACK, PUBREC, PUBCOMP: what the upstream says about what was sent.

use std::time::Instant;

use super::{Core, Effect, Lane, ids};
use crate::mqtt::{Acknowledge, Packet, PacketId, ReasonCode};
use crate::session::{Received, Violation};
use crate::store::{CommitNumber, Outcome, Seq};

impl Core {
    pub(super) fn handle_puback(&mut self, now: Instant, puback: &Acknowledge) {
        let id = puback.packet_id;
        if let Some(lane) = ids::lane_of_gap(id) {
            return self.gap_acknowledged(lane, puback);
        }
        if id.get() >= ids::FIRST_UNSTORED {
            return self.newest_acknowledged(puback);
        }
        match self.outbound.acknowledged(id) {
            Ok(flight) => {
                self.moved_on(id);
                if puback.reason.is_error() {
                    self.refuse(now, flight, puback.reason);
                } else {
                    self.done(&flight, Outcome::Delivered);
                }
            }
            Err(Violation::OutOfStep(_)) => {
                self.violation("the upstream answered a QoS 2 message with PUBACK");
            }
            Err(_) => self.figures.unexpected += 1,
        }
    }

    pub(super) fn handle_pubrec(&mut self, now: Instant, pubrec: &Acknowledge) {
        let (id, refused) = (pubrec.packet_id, pubrec.reason.is_error());
        match self.outbound.received(id, refused) {
            Ok(Received::Release(flight)) => {
                let (lane, seq) = (flight.lane, flight.seq());
                self.moved_on(id);
                self.effects.push_back(Effect::Received(lane, seq));
            }
            Ok(Received::Again) => self.send_pubrel(now, id, ReasonCode::Success),
            Ok(Received::Pending) => {}
            Ok(Received::Refused(flight)) => {
                self.discount_exactly_once(flight.lane);
                self.moved_on(id);
                if pubrec.reason == ReasonCode::PacketIdentifierInUse {
                    // It has another message under this id, so it would swallow this one.
                    self.requeue(vec![flight]);
                    self.mismatch();
                } else {
                    self.refuse(now, flight, pubrec.reason);
                }
            }
            Err(Violation::NotInFlight(_)) => {
                self.figures.unexpected += 1;
                if !refused {
                    self.send_pubrel(now, id, ReasonCode::PacketIdentifierNotFound);
                }
            }
            Err(_) if refused => self.figures.unexpected += 1,
            Err(_) => self.violation("the upstream answered a QoS 1 message with PUBREC"),
        }
    }

    /// The message is complete, also where the upstream does not know the id any more (0x92): it then had completed it
    /// before, as far as anybody here can tell.
    pub(super) fn handle_pubcomp(&mut self, pubcomp: &Acknowledge) {
        match self.outbound.completed(pubcomp.packet_id) {
            Ok(flight) => {
                self.discount_exactly_once(flight.lane);
                let is_unknown = pubcomp.reason == ReasonCode::PacketIdentifierNotFound;
                self.figures.in_doubt += u64::from(is_unknown);
                self.moved_on(pubcomp.packet_id);
                self.done(&flight, Outcome::Delivered);
            }
            Err(_) => self.figures.unexpected += 1,
        }
    }

    /// What the log answered to [`Effect::Received`].
    pub fn handle_received(&mut self, lane: Lane, seq: Seq, commit: CommitNumber) {
        if let Some(id) = ids::packet_id(lane, seq) {
            let queue = self.queues.get_mut(lane);
            queue.committing.push_back((commit, id));
        }
    }

    /// Sends PUBREL for what is committed by now.
    pub(super) fn release_committed(&mut self, now: Instant, lane: Lane) {
        while let Some(id) = self.queues.get_mut(lane).next_committed() {
            if self.outbound.released(id).is_ok() && self.is_up() {
                self.send_pubrel(now, id, ReasonCode::Success);
            }
        }
    }

    /// PUBREL; the watchdog waits for PUBCOMP, unless it answers what is not in flight.
    pub(super) fn send_pubrel(&mut self, now: Instant, id: PacketId, reason: ReasonCode) {
        if reason == ReasonCode::Success {
            self.since.insert(id, now);
        }
        self.send(now, Packet::Pubrel(Acknowledge::new(id, reason)));
    }

    /// The upstream has answered for `id`.
    fn moved_on(&mut self, id: PacketId) {
        self.since.remove(&id);
        self.suspects.answered(id);
        if !self.due.is_empty() {
            self.due.retain(|(due, _)| *due != id);
        }
    }
}
