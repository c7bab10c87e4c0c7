//! One message for many receivers: what they share is encoded once.
//!
//! The deliveries of one publish follow each other, so only the properties of the last message are remembered; a message
//! without properties has nothing worth remembering.

use std::rc::Rc;

use super::outbox::{Outbox, Spare};
use super::topic_aliases::TopicAliases;
use crate::mqtt::SubscriptionIds;
use crate::mqtt::{
    EncodeError, EncodedPublish, Extra, Message, PacketId, PropertyBlock, ProtocolVersion, QoS,
};

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

/// The properties of the last message that has any, for receivers of MQTT 5.
#[derive(Debug, Default)]
pub(super) struct EncodedOnce {
    /// Kept so that no other message takes its address.
    last: Option<(Rc<Message>, PropertyBlock)>,
}

impl EncodedOnce {
    /// Appends the PUBLISH of a delivery to the receiver's outbox.
    #[inline]
    pub(super) fn write(
        &mut self,
        version: ProtocolVersion,
        delivery: &Delivery,
        aliases: Option<&mut TopicAliases>,
        outbox: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<(), EncodeError> {
        let message = &delivery.message;
        let properties = match &message.properties {
            _ if !version.is_v5() => &PropertyBlock::BEFORE_V5,
            None => &PropertyBlock::EMPTY,
            Some(_) => self.properties(message)?,
        };
        let encoded = EncodedPublish::new(properties, message, delivery.qos, delivery.retain);
        let mut extra = Extra {
            subscription_ids: &delivery.subscription_ids,
            ..Extra::default()
        };
        if let Some(aliases) = aliases {
            aliases.apply(&message.topic, &encoded, &mut extra);
        }
        let out = outbox.frames(spare);
        encoded.write_head(delivery.dup, delivery.packet_id, &extra, out)?;
        outbox.payload(&message.payload);
        Ok(())
    }

    fn properties(&mut self, message: &Rc<Message>) -> Result<&PropertyBlock, EncodeError> {
        let last = self.last.take();
        let block = match last {
            Some((last, block)) if Rc::ptr_eq(&last, message) => block,
            _ => PropertyBlock::new(ProtocolVersion::V5, message)?,
        };
        let (_, block) = self.last.insert((Rc::clone(message), block));
        Ok(block)
    }

    /// Lets go of the last message, whose buffer it pins.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}
