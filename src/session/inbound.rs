//! The receiver of QoS 1 and 2: which QoS 2 ids are taken, and how much of the Receive Maximum is used up.
//!
//! An id that was taken is a duplicate until its PUBREL, over any number of connections [MQTT-4.3.3-10]. The Receive
//! Maximum counts per connection and until PUBACK, PUBCOMP or a refusing PUBREC (MQTT 5 section 4.9).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Violation;
use crate::mqtt::{PacketId, QoS};

/// Messages that a peer sends to us.
#[derive(Clone, Debug)]
pub struct Inbound {
    receive_maximum: u16,
    /// QoS 1 and 2 messages of this connection that still count.
    in_flight: u16,
    /// QoS 2 ids between PUBLISH and PUBREL. At most 65535: as many as there are ids.
    taken: BTreeMap<PacketId, Step>,
}

/// A QoS 2 id that is taken.
#[derive(Clone, Copy, Debug)]
struct Step {
    stage: Stage,
    /// Its PUBLISH came on this connection, so it counts towards the Receive Maximum and its PUBREC is on its way.
    current: bool,
}

/// What became of a QoS 2 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is known from before a restart; some who should have it may not, and nobody knows whether a PUBREC was sent.
    Restored,
    /// Published; no PUBREC was sent.
    Unanswered,
    /// A PUBREC was sent, on this connection or an earlier one.
    Answered,
    /// PUBREL came; no PUBCOMP was sent. `asked`: it came on this connection, where the PUBCOMP is waited for.
    Released { asked: bool },
}

/// What a PUBLISH is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// To be published, then answered.
    New,
    /// It was taken before a restart: to be published to those that do not have it, then answered.
    Restored,
    /// Published, and PUBREC was sent before: send it again at once.
    Answered,
    /// Published, and its PUBREC is on its way on this connection: nothing to do.
    Pending,
    /// Published on an earlier connection that ended before the PUBREC: answer it now, do not publish it again.
    Unanswered,
}

/// What a PUBREL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Forget what is kept of the message, call [`Inbound::completed`], send PUBCOMP.
    Known,
    /// It came before and that is not finished yet: nothing to send.
    Pending,
    /// The id is not known: PUBCOMP goes out, with 0x92.
    Unknown,
}

impl Inbound {
    /// With room for `receive_maximum` unanswered messages; 65535 where the version knows no such limit.
    #[must_use]
    pub fn new(receive_maximum: u16) -> Self {
        Self {
            receive_maximum,
            in_flight: 0,
            taken: BTreeMap::new(),
        }
    }

    /// A new connection: the count begins anew, the ids taken stay.
    pub fn reconnected(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
        self.in_flight = 0;
        for step in self.taken.values_mut() {
            step.current = false;
            if let Stage::Released { asked } = &mut step.stage {
                *asked = false;
            }
        }
    }

    /// An id that was taken before a restart, as far as is known: its PUBREL or its PUBLISH comes next.
    pub fn restore(&mut self, id: PacketId) {
        let step = Step {
            stage: Stage::Restored,
            current: false,
        };
        self.taken.insert(id, step);
    }

    /// Whether the id is taken by a QoS 2 message.
    #[must_use]
    pub fn contains(&self, id: PacketId) -> bool {
        self.taken.contains_key(&id)
    }

    /// QoS 1 and 2 messages of this connection that still count.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// A PUBLISH arrived at QoS 1 or 2. A QoS 1 message is always new: nobody can tell a resend from a new message.
    ///
    /// # Errors
    /// Where it is one too many, or takes the id of an unfinished QoS 2 message for something else.
    pub fn publish(&mut self, id: PacketId, qos: QoS) -> Result<Taken, Violation> {
        let full = self.in_flight >= self.receive_maximum;
        match (qos, self.taken.entry(id)) {
            (QoS::ExactlyOnce, Entry::Occupied(mut known)) => {
                let Step { stage, current } = *known.get();
                if !current {
                    if full {
                        return Err(Violation::ReceiveMaximumExceeded);
                    }
                    known.get_mut().current = true;
                    self.in_flight += 1;
                }
                return Ok(match (stage, current) {
                    (Stage::Restored, _) => {
                        known.get_mut().stage = Stage::Unanswered;
                        Taken::Restored
                    }
                    (Stage::Answered | Stage::Released { .. }, _) => Taken::Answered,
                    (Stage::Unanswered, true) => Taken::Pending,
                    (Stage::Unanswered, false) => Taken::Unanswered,
                });
            }
            (_, Entry::Occupied(_)) => return Err(Violation::PacketIdInUse(id)),
            (_, Entry::Vacant(_)) if full => return Err(Violation::ReceiveMaximumExceeded),
            (QoS::ExactlyOnce, Entry::Vacant(vacant)) => {
                vacant.insert(Step {
                    stage: Stage::Unanswered,
                    current: true,
                });
            }
            (_, Entry::Vacant(_)) => {}
        }
        self.in_flight += 1;
        Ok(Taken::New)
    }

    /// PUBACK was sent for a QoS 1 message.
    pub fn acknowledged(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// PUBREC was sent. A refusal (0x80 and above) frees the id.
    pub fn received(&mut self, id: PacketId, refused: bool) {
        if refused {
            self.forget(id);
        } else if let Some(step) = self.taken.get_mut(&id) {
            step.stage = Stage::Answered;
        }
    }

    /// PUBREL came.
    ///
    /// # Errors
    /// Where the message was taken but no PUBREC told the peer so.
    pub fn release(&mut self, id: PacketId) -> Result<Released, Violation> {
        let Some(step) = self.taken.get_mut(&id) else {
            return Ok(Released::Unknown);
        };
        match step.stage {
            Stage::Unanswered => Err(Violation::OutOfStep(id)),
            Stage::Released { .. } => {
                step.stage = Stage::Released { asked: true };
                Ok(Released::Pending)
            }
            Stage::Restored | Stage::Answered => {
                step.stage = Stage::Released { asked: true };
                Ok(Released::Known)
            }
        }
    }

    /// The message is done with and the id is free. True where PUBCOMP goes out: to a client that has come back since, and
    /// has not sent its PUBREL again yet, it would be an answer too many.
    pub fn completed(&mut self, id: PacketId) -> bool {
        let step = self.taken.get(&id);
        let asked = step.is_some_and(|step| step.stage == Stage::Released { asked: true });
        self.forget(id);
        asked
    }

    fn forget(&mut self, id: PacketId) {
        if self.taken.remove(&id).is_some_and(|step| step.current) {
            self.in_flight = self.in_flight.saturating_sub(1);
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

    #[test]
    fn mqtt_4_3_3_10_a_qos_2_id_is_new_once_until_its_pubrel() {
        let mut inbound = Inbound::new(10);
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::New));
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::Pending));
        inbound.reconnected(10);
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::Unanswered));
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::Pending));
        inbound.received(id(1), false);
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::Answered));
        inbound.reconnected(10);
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::Answered));
        assert_eq!(inbound.release(id(1)), Ok(Released::Known));
        assert_eq!(inbound.release(id(1)), Ok(Released::Pending));
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::Answered));
        assert!(inbound.completed(id(1)));
        assert_eq!(inbound.release(id(1)), Ok(Released::Unknown));
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::New));
    }

    #[test]
    fn mqtt_3_3_4_9_the_receive_maximum_counts_until_puback_and_pubcomp() {
        let mut inbound = Inbound::new(2);
        inbound.publish(id(1), QOS1).unwrap();
        inbound.publish(id(2), QOS2).unwrap();
        let exceeded = Err(Violation::ReceiveMaximumExceeded);
        assert_eq!(inbound.publish(id(3), QOS1), exceeded);
        inbound.received(id(2), false);
        assert_eq!(inbound.publish(id(3), QOS2), exceeded);
        inbound.acknowledged();
        inbound.release(id(2)).unwrap();
        assert_eq!(inbound.in_flight(), 1, "until the PUBCOMP");
        inbound.completed(id(2));
        assert_eq!(inbound.in_flight(), 0);
        assert_eq!(inbound.publish(id(3), QOS1), Ok(Taken::New));
    }

    #[test]
    fn a_restored_id_is_published_again_once_or_released() {
        let mut inbound = Inbound::new(10);
        inbound.restore(id(1));
        inbound.restore(id(2));
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::Restored));
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::Pending));
        assert_eq!(inbound.release(id(1)), Err(Violation::OutOfStep(id(1))));
        assert_eq!(inbound.release(id(2)), Ok(Released::Known));
        inbound.completed(id(2));
        assert_eq!(inbound.in_flight(), 1);
    }

    #[test]
    fn a_pubcomp_answers_a_pubrel_of_the_same_connection() {
        let mut inbound = Inbound::new(10);
        for number in [1, 2] {
            inbound.publish(id(number), QOS2).unwrap();
            inbound.received(id(number), false);
            inbound.release(id(number)).unwrap();
        }
        inbound.reconnected(10);
        assert!(!inbound.completed(id(1)), "its PUBREL comes again");
        assert_eq!(inbound.release(id(1)), Ok(Released::Unknown));
        assert_eq!(inbound.release(id(2)), Ok(Released::Pending));
        assert!(inbound.completed(id(2)));
    }

    #[test]
    fn a_refused_qos_2_message_frees_its_id() {
        let mut inbound = Inbound::new(1);
        inbound.publish(id(1), QOS2).unwrap();
        inbound.received(id(1), true);
        assert_eq!(inbound.publish(id(1), QOS2), Ok(Taken::New));
    }

    #[test]
    fn a_new_connection_counts_from_zero_and_counts_resends_once() {
        let mut inbound = Inbound::new(1);
        inbound.publish(id(1), QOS2).unwrap();
        inbound.reconnected(1);
        assert_eq!(inbound.in_flight(), 0);
        inbound.publish(id(1), QOS2).unwrap();
        inbound.publish(id(1), QOS2).unwrap();
        assert_eq!(inbound.in_flight(), 1);
        assert_eq!(
            inbound.publish(id(2), QOS1),
            Err(Violation::ReceiveMaximumExceeded)
        );
    }

    #[test]
    fn a_pubrel_before_the_pubrec_is_out_of_step() {
        let mut inbound = Inbound::new(1);
        inbound.publish(id(1), QOS2).unwrap();
        assert_eq!(inbound.release(id(1)), Err(Violation::OutOfStep(id(1))));
    }

    #[test]
    fn mqtt_2_2_1_3_a_qos_1_message_cannot_take_the_id_of_an_unfinished_qos_2_message() {
        let mut inbound = Inbound::new(9);
        inbound.publish(id(1), QOS2).unwrap();
        assert_eq!(
            inbound.publish(id(1), QOS1),
            Err(Violation::PacketIdInUse(id(1)))
        );
    }
}
