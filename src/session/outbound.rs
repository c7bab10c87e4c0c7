//! The sender of QoS 1 and 2: what is in flight, in the order of sending, and what each message waits for.
//!
//! QoS 1: sent -> PUBACK. QoS 2: sent -> PUBREC -> (durable, where that matters) -> PUBREL -> PUBCOMP. Never resends on
//! its own: a resend happens on a new connection and nowhere else [MQTT-4.4.0-1].

use std::collections::VecDeque;
use std::mem;

use super::{PacketIds, Violation};
use crate::mqtt::{PacketId, QoS};

/// Messages in flight towards a receiver. `M` is the message, or the key under which the owner finds it.
#[derive(Clone, Debug)]
pub struct Outbound<M> {
    window: u16,
    /// In order of sending. An acknowledgement is sought from the front: they come in that order [MQTT-4.6.0-2].
    slots: VecDeque<Slot<M>>,
    /// The ids of `slots` only go up, around past 65535 at most once: then one is found by halving.
    ascending: bool,
}

#[derive(Clone, Debug)]
struct Slot<M> {
    id: PacketId,
    stage: Stage,
    message: M,
}

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// QoS 1 sent: PUBACK.
    Acknowledge,
    /// QoS 2 sent: PUBREC.
    Receive,
    /// PUBREC came: that this is durable. Until then no PUBREL.
    Commit,
    /// PUBREL sent: PUBCOMP.
    Complete,
}

/// What a PUBREC means.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a, M> {
    /// The receiver has the message: make that durable, call [`Outbound::released`], send PUBREL.
    Release(&'a M),
    /// It had said so before: send PUBREL again.
    Again,
    /// It had said so before and that is not durable yet: nothing to send.
    Pending,
    /// It will not have it (reason 0x80 and above): the id is free.
    Refused(M),
}

/// What goes out again on a new connection, with the same packet id [MQTT-4.4.0-1].
#[derive(Debug, PartialEq, Eq)]
pub enum Resend<'a, M> {
    /// The PUBLISH, with DUP set [MQTT-3.3.1-1].
    Publish {
        /// As before.
        id: PacketId,
        /// 1 or 2, as before.
        qos: QoS,
        /// What.
        message: &'a M,
    },
    /// The PUBREL.
    Release {
        /// As before.
        id: PacketId,
    },
}

impl<M> Outbound<M> {
    /// With room for `window` messages in flight: the receiver's Receive Maximum, or less.
    #[must_use]
    pub fn new(window: u16) -> Self {
        Self {
            window,
            slots: VecDeque::new(),
            ascending: true,
        }
    }

    /// A new connection may allow more or less. What is in flight beyond a smaller window stays in flight.
    pub fn set_window(&mut self, window: u16) {
        self.window = window;
    }

    /// How many may be in flight.
    #[must_use]
    pub fn window(&self) -> u16 {
        self.window
    }

    /// How many more may be sent now.
    #[must_use]
    pub fn free(&self) -> u16 {
        let taken = u16::try_from(self.slots.len()).unwrap_or(u16::MAX);
        self.window.saturating_sub(taken)
    }

    /// How many are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether the id is in flight.
    #[must_use]
    pub fn contains(&self, id: PacketId) -> bool {
        self.position(id).is_ok()
    }

    /// A message goes out at QoS 1 or 2.
    ///
    /// # Errors
    /// Where the window is full, the id is in use, or the QoS is 0 (which is never in flight): nothing may be sent.
    pub fn sent(&mut self, id: PacketId, qos: QoS, message: M) -> Result<(), Violation> {
        let stage = Stage::first(qos).ok_or(Violation::OutOfStep(id))?;
        if self.free() == 0 {
            return Err(Violation::WindowFull);
        }
        self.push(id, stage, message)
    }

    /// The same under the next id of `ids` that is free; `None` where the window is full or the QoS is 0.
    pub fn send_next(&mut self, ids: &mut PacketIds, qos: QoS, message: M) -> Option<PacketId> {
        let stage = Stage::first(qos).filter(|_| self.free() > 0)?;
        let id = ids.next(|id| self.contains(id))?;
        self.append(id, stage, message);
        Some(id)
    }

    /// A message whose PUBREC is durable since before a restart: what remains is PUBREL and PUBCOMP. Beyond the window
    /// too, because the receiver counted it long ago.
    ///
    /// # Errors
    /// Where the id is in use.
    pub fn resumed(&mut self, id: PacketId, message: M) -> Result<(), Violation> {
        self.push(id, Stage::Complete, message)
    }

    /// PUBACK came: the message is done, whatever its reason code says.
    ///
    /// # Errors
    /// Where the id is not in flight at QoS 1.
    pub fn acknowledged(&mut self, id: PacketId) -> Result<M, Violation> {
        self.take(id, Stage::Acknowledge)
    }

    /// PUBREC came; `refused` where its reason code is 0x80 or above.
    ///
    /// # Errors
    /// Where the id is not in flight at QoS 2, or a refusal comes after the message was taken.
    pub fn received(&mut self, id: PacketId, refused: bool) -> Result<Received<'_, M>, Violation> {
        if refused {
            return self.take(id, Stage::Receive).map(Received::Refused);
        }
        let position = self.position(id)?;
        let slot = self.slots.get_mut(position);
        let slot = slot.ok_or(Violation::NotInFlight(id))?;
        match slot.stage {
            Stage::Acknowledge => Err(Violation::OutOfStep(id)),
            Stage::Receive => {
                slot.stage = Stage::Commit;
                Ok(Received::Release(&slot.message))
            }
            Stage::Commit => Ok(Received::Pending),
            Stage::Complete => Ok(Received::Again),
        }
    }

    /// The PUBREC is durable, or need not be: PUBREL goes out.
    ///
    /// # Errors
    /// Where no PUBREC waits for that: send nothing.
    pub fn released(&mut self, id: PacketId) -> Result<(), Violation> {
        let position = self.position(id)?;
        match self.slots.get_mut(position) {
            Some(slot) if slot.stage == Stage::Commit => {
                slot.stage = Stage::Complete;
                Ok(())
            }
            _ => Err(Violation::OutOfStep(id)),
        }
    }

    /// PUBCOMP came: the message is done.
    ///
    /// # Errors
    /// Where no PUBREL was sent for the id.
    pub fn completed(&mut self, id: PacketId) -> Result<M, Violation> {
        self.take(id, Stage::Complete)
    }

    /// Takes a message out of flight that cannot be sent on this connection, as if it had been delivered
    /// [MQTT-3.1.2-25].
    pub fn discard(&mut self, id: PacketId) -> Option<M> {
        let position = self.position(id).ok()?;
        self.slots.remove(position).map(|slot| slot.message)
    }

    /// What goes out again on a new connection, in the original order [MQTT-4.4.0-1, MQTT-4.6.0-1]. A PUBREC whose
    /// commit still runs is left out: its PUBREL follows [`Self::released`].
    pub fn resend(&self) -> impl Iterator<Item = Resend<'_, M>> {
        self.slots.iter().filter_map(Slot::resend)
    }

    /// The same for one id; `None` where there is nothing to send for it any more.
    #[must_use]
    pub fn resend_one(&self, id: PacketId) -> Option<Resend<'_, M>> {
        let position = self.position(id).ok()?;
        self.slots.get(position).and_then(Slot::resend)
    }

    /// The messages in flight, in order of sending.
    pub fn messages(&self) -> impl Iterator<Item = (PacketId, &M)> {
        self.slots.iter().map(|slot| (slot.id, &slot.message))
    }

    /// Forgets all that is in flight: the receiver has lost its session. Returns the messages in order of sending.
    pub fn clear(&mut self) -> impl Iterator<Item = M> + use<M> {
        mem::take(&mut self.slots)
            .into_iter()
            .map(|slot| slot.message)
    }

    fn push(&mut self, id: PacketId, stage: Stage, message: M) -> Result<(), Violation> {
        if self.contains(id) {
            return Err(Violation::PacketIdInUse(id));
        }
        self.append(id, stage, message);
        Ok(())
    }

    fn append(&mut self, id: PacketId, stage: Stage, message: M) {
        self.ascending = match (self.slots.front(), self.slots.back()) {
            (Some(front), Some(back)) => {
                self.ascending && steps(front.id, id) > steps(front.id, back.id)
            }
            _ => true,
        };
        self.slots.push_back(Slot { id, stage, message });
    }

    fn take(&mut self, id: PacketId, stage: Stage) -> Result<M, Violation> {
        let position = self.position(id)?;
        if self
            .slots
            .get(position)
            .is_some_and(|slot| slot.stage != stage)
        {
            return Err(Violation::OutOfStep(id));
        }
        let slot = match position {
            0 => self.slots.pop_front(), // nearly always
            _ => self.slots.remove(position),
        };
        slot.map(|slot| slot.message)
            .ok_or(Violation::NotInFlight(id))
    }

    fn position(&self, id: PacketId) -> Result<usize, Violation> {
        let position = match (self.slots.front(), self.slots.back()) {
            (Some(front), _) if front.id == id => Some(0),
            (Some(front), Some(back)) if self.ascending => {
                let wanted = steps(front.id, id);
                let is_inside = wanted <= steps(front.id, back.id);
                let place = |slot: &Slot<M>| steps(front.id, slot.id);
                let found = is_inside.then(|| self.slots.binary_search_by_key(&wanted, place));
                found.and_then(Result::ok)
            }
            _ => self.slots.iter().position(|slot| slot.id == id),
        };
        position.ok_or(Violation::NotInFlight(id))
    }
}

/// How far up from `from` it is to `to`, around past 65535 where `to` is the lower one.
fn steps(from: PacketId, to: PacketId) -> u16 {
    to.get().wrapping_sub(from.get())
}

impl Stage {
    /// Of a message that was just sent.
    fn first(qos: QoS) -> Option<Self> {
        match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Self::Acknowledge),
            QoS::ExactlyOnce => Some(Self::Receive),
        }
    }
}

impl<M> Slot<M> {
    fn resend(&self) -> Option<Resend<'_, M>> {
        let Self { id, message, .. } = self;
        let publish = |qos| Resend::Publish {
            id: *id,
            qos,
            message,
        };
        match self.stage {
            Stage::Acknowledge => Some(publish(QoS::AtLeastOnce)),
            Stage::Receive => Some(publish(QoS::ExactlyOnce)),
            Stage::Commit => None,
            Stage::Complete => Some(Resend::Release { id: *id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QOS1: QoS = QoS::AtLeastOnce;
    const QOS2: QoS = QoS::ExactlyOnce;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    fn resent(outbound: &Outbound<&str>) -> Vec<String> {
        let told = outbound.resend().map(|resend| match resend {
            Resend::Publish { id, qos, message } => {
                format!("publish {} {} {message}", id.get(), qos as u8)
            }
            Resend::Release { id } => format!("release {}", id.get()),
        });
        told.collect()
    }

    #[test]
    fn mqtt_4_3_2_qos_1_ends_with_puback() {
        let mut outbound = Outbound::new(2);
        outbound.sent(id(1), QOS1, "a").unwrap();
        assert_eq!(outbound.acknowledged(id(1)), Ok("a"));
        assert_eq!(
            outbound.acknowledged(id(1)),
            Err(Violation::NotInFlight(id(1)))
        );
        assert!(outbound.is_empty());
    }

    #[test]
    fn mqtt_4_3_3_qos_2_releases_only_what_is_durable() {
        let mut outbound = Outbound::new(2);
        outbound.sent(id(1), QOS2, "a").unwrap();
        assert_eq!(outbound.received(id(1), false), Ok(Received::Release(&"a")));
        assert_eq!(outbound.received(id(1), false), Ok(Received::Pending));
        assert_eq!(
            outbound.completed(id(1)),
            Err(Violation::OutOfStep(id(1))),
            "no PUBREL was sent"
        );
        outbound.released(id(1)).unwrap();
        assert_eq!(outbound.received(id(1), false), Ok(Received::Again));
        assert_eq!(outbound.released(id(1)), Err(Violation::OutOfStep(id(1))));
        assert_eq!(outbound.completed(id(1)), Ok("a"));
    }

    #[test]
    fn ids_are_found_in_any_order_and_around_the_highest() {
        let orders: [&[u16]; 3] = [
            &[5, 9, 7, 6],
            &[65_534, 65_535, 1, 2, 40_000],
            &[65_535, 3, 2, 65_534],
        ];
        for order in orders {
            let mut outbound = Outbound::new(9);
            for (at, number) in order.iter().enumerate() {
                assert!(!outbound.contains(id(*number)), "{order:?}");
                outbound.sent(id(*number), QOS1, at).unwrap();
                assert_eq!(
                    outbound.sent(id(*number), QOS1, at),
                    Err(Violation::PacketIdInUse(id(*number)))
                );
                assert!(order[..=at].iter().all(|it| outbound.contains(id(*it))));
            }
            assert!(!outbound.contains(id(4)) && !outbound.contains(id(50_000)));
            for number in order {
                let at = order.iter().position(|it| it == number).unwrap();
                assert_eq!(outbound.acknowledged(id(*number)), Ok(at), "{order:?}");
            }
            assert!(outbound.is_empty());
        }
    }

    #[test]
    fn mqtt_4_3_3_a_refused_qos_2_message_is_done_with_its_pubrec() {
        let mut outbound = Outbound::new(1);
        outbound.sent(id(1), QOS2, "a").unwrap();
        assert_eq!(outbound.received(id(1), true), Ok(Received::Refused("a")));
        assert_eq!(outbound.free(), 1);
    }

    #[test]
    fn acknowledgements_of_the_wrong_kind_are_out_of_step() {
        let mut outbound = Outbound::new(3);
        outbound.sent(id(1), QOS1, "a").unwrap();
        outbound.sent(id(2), QOS2, "b").unwrap();
        let out_of_step = Violation::OutOfStep;
        assert_eq!(outbound.received(id(1), false), Err(out_of_step(id(1))));
        assert_eq!(outbound.completed(id(1)), Err(out_of_step(id(1))));
        assert_eq!(outbound.acknowledged(id(2)), Err(out_of_step(id(2))));
        assert_eq!(
            outbound.sent(id(3), QoS::AtMostOnce, "c"),
            Err(out_of_step(id(3)))
        );
        assert_eq!(outbound.len(), 2);
    }

    #[test]
    fn mqtt_4_9_0_2_the_window_bounds_what_is_in_flight() {
        let mut outbound = Outbound::new(2);
        outbound.sent(id(1), QOS1, "a").unwrap();
        outbound.sent(id(2), QOS2, "b").unwrap();
        assert_eq!(outbound.sent(id(3), QOS1, "c"), Err(Violation::WindowFull));
        outbound.received(id(2), false).unwrap();
        outbound.released(id(2)).unwrap();
        assert_eq!(outbound.free(), 0, "QoS 2 counts until PUBCOMP");
        outbound.completed(id(2)).unwrap();
        assert_eq!(outbound.free(), 1);
        outbound.set_window(1);
        assert_eq!(outbound.free(), 0);
    }

    #[test]
    fn mqtt_2_2_1_3_an_id_is_in_flight_once() {
        let mut outbound = Outbound::new(2);
        outbound.sent(id(1), QOS1, "a").unwrap();
        let in_use = Err(Violation::PacketIdInUse(id(1)));
        assert_eq!(outbound.sent(id(1), QOS2, "b"), in_use);
        assert_eq!(outbound.resumed(id(1), "b"), in_use);
    }

    #[test]
    fn mqtt_4_4_0_1_a_new_connection_resends_in_order_with_the_same_ids() {
        let mut outbound = Outbound::new(9);
        outbound.resumed(id(7), "z").unwrap();
        for (number, qos, message) in [
            (8, QOS2, "a"),
            (3, QOS1, "b"),
            (4, QOS2, "c"),
            (5, QOS2, "d"),
        ] {
            outbound.sent(id(number), qos, message).unwrap();
        }
        outbound.received(id(8), false).unwrap();
        outbound.received(id(4), false).unwrap();
        outbound.released(id(4)).unwrap();
        assert_eq!(
            resent(&outbound),
            ["release 7", "publish 3 1 b", "release 4", "publish 5 2 d"],
            "the commit of 8 still runs"
        );
        assert_eq!(outbound.resend_one(id(8)), None);
        assert_eq!(
            outbound.resend_one(id(4)),
            Some(Resend::Release { id: id(4) })
        );
        assert!(outbound.clear().eq(["z", "a", "b", "c", "d"]));
        assert!(outbound.is_empty());
    }
}
