//! One message for many receivers, encoded once for each form it is needed in.
//!
//! The deliveries of one publish follow each other, so only the message of the last delivery is remembered, in at most twelve
//! forms: two kinds of version, three QoS, two retain flags.

use std::rc::Rc;

use super::outbox::{Outbox, Spare};
use crate::mqtt::SubscriptionIds;
use crate::mqtt::{EncodeError, EncodedPublish, Extra, Message, PacketId, ProtocolVersion, QoS};

/// A message on its way to one receiver.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) message: Rc<Message>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) packet_id: Option<PacketId>,
    pub(super) subscription_ids: SubscriptionIds,
}

/// The forms of the last message.
#[derive(Debug, Default)]
pub(super) struct EncodedOnce {
    message: Option<Rc<Message>>,
    forms: Vec<(Form, EncodedPublish)>,
}

type Form = (bool, QoS, bool);

impl EncodedOnce {
    /// Appends the PUBLISH of a delivery to the receiver's outbox.
    pub(super) fn write(
        &mut self,
        version: ProtocolVersion,
        delivery: &Delivery,
        outbox: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<(), EncodeError> {
        let is_last = |last: &Rc<Message>| Rc::ptr_eq(last, &delivery.message);
        if !self.message.as_ref().is_some_and(is_last) {
            self.forget();
            self.message = Some(Rc::clone(&delivery.message));
        }
        let Delivery {
            message,
            qos,
            retain,
            ..
        } = delivery;
        let form = (version.is_v5(), *qos, *retain);
        if let Some((_, encoded)) = self.forms.iter().find(|(known, _)| *known == form) {
            return append(encoded, delivery, outbox, spare);
        }
        let encoded = EncodedPublish::new(version, message, *qos, *retain)?;
        let appended = append(&encoded, delivery, outbox, spare);
        self.forms.push((form, encoded));
        appended
    }

    /// Lets go of the last message, whose buffer it pins.
    pub(super) fn forget(&mut self) {
        self.message = None;
        self.forms.clear();
    }
}

fn append(
    encoded: &EncodedPublish,
    delivery: &Delivery,
    outbox: &mut Outbox,
    spare: &mut Spare,
) -> Result<(), EncodeError> {
    let extra = Extra {
        subscription_ids: &delivery.subscription_ids,
        ..Extra::default()
    };
    let out = outbox.frames(spare);
    encoded.write_head(delivery.dup, delivery.packet_id, &extra, out)?;
    outbox.payload(encoded.payload());
    Ok(())
}
