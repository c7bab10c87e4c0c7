//! The PUBLISH of a message of the log: what the upstream takes of it, what is added, and when it is not sent at all.

use bytestring::ByteString;

use super::suspect::CLOSES;
use super::{Core, Flight, Lane};
use crate::clock::WallTime;
use crate::mqtt::{EncodeError, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode};
use crate::session::Alias;

/// Name of the user property that tells copies of one message from different messages.
pub const ID_PROPERTY: &str = "fieldgate-id";

/// Topics that the upstream is told an alias for, on each connection.
pub(super) const ALIASES_MAX: u16 = 64;

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// Above the Maximum Packet Size.
    #[error("it is larger than the {limit} bytes that the upstream takes")]
    TooLarge {
        /// In bytes.
        limit: u32,
    },
    /// Above what the upstream is known to take.
    #[error(
        "its topic has {levels} levels and {bytes} bytes, which is more than the upstream takes"
    )]
    TopicTooLong {
        /// Of the topic.
        levels: usize,
        /// Of the topic.
        bytes: usize,
    },
    /// By PUBACK or PUBREC.
    #[error("the upstream refused it for good: {0:?} (0x{code:02X})", code = .0.byte())]
    Refused(ReasonCode),
    /// By closing the connection on it, again and again.
    #[error(
        "the upstream closed the connection on it {CLOSES} times, with nothing else under way: it does not allow what the message is (topic, size, QoS, retain)"
    )]
    Closed,
    /// By its Message Expiry Interval.
    #[error("it expired before it could be sent")]
    Expired,
    /// No packet of this version of MQTT can carry it.
    #[error("it cannot be sent: {0}")]
    Unsendable(#[from] EncodeError),
}

/// Bytes of a PUBLISH, about: enough to pace by.
pub(super) fn about(publish: &Publish) -> usize {
    let topic = publish
        .topic
        .as_ref()
        .map_or(0, |topic| topic.as_bytes().len());
    publish.payload.len() + topic + 64
}

/// A number of this lane, as it stands in a stable id: each lane counts by itself.
pub(super) fn numbered(lane: Lane, number: u64) -> String {
    match lane {
        Lane::Backlog => number.to_string(),
        Lane::Live => format!("live-{number}"),
    }
}

/// What is left of a Message Expiry Interval, rounded up; `None`: it has expired. A stamp from before the clock was set
/// says nothing about age, and nothing expires by it.
fn remaining(expiry: u32, stamped: WallTime, wall: WallTime) -> Option<u32> {
    if !stamped.is_plausible() || !wall.is_plausible() {
        return Some(expiry);
    }
    let left = (u64::from(expiry) * 1000).checked_sub(wall.millis_since(stamped))?;
    if left == 0 && expiry > 0 {
        return None;
    }
    u32::try_from(left.div_ceil(1000)).ok()
}

impl Core {
    /// Builds the PUBLISH of `flight` at `qos`, or says why it must not be sent. A message that the upstream may hold
    /// under its id in this session is never given up here, because the id would stay taken.
    pub(super) fn build(
        &self,
        flight: &Flight,
        id: PacketId,
        qos: QoS,
        wall: WallTime,
    ) -> Result<Publish, DropReason> {
        let message = &flight.entry.record.message;
        let properties = if self.options.protocol.is_v5() {
            Some(Box::new(self.properties(flight, wall)?))
        } else {
            self.expiry(flight, wall)?;
            None
        };
        Ok(Publish {
            dup: flight.session.is_some() && qos != QoS::AtMostOnce,
            packet_id: (qos != QoS::AtMostOnce).then_some(id),
            qos,
            retain: message.retain && self.limits.retain_available,
            topic: Some(message.topic.clone()),
            topic_alias: None,
            subscription_ids: Vec::new(),
            properties,
            payload: message.payload.clone(),
        })
    }

    fn properties(&self, flight: &Flight, wall: WallTime) -> Result<PublishProperties, DropReason> {
        let message = &flight.entry.record.message;
        let mut properties = message.properties.as_deref().cloned().unwrap_or_default();
        properties.message_expiry = self.expiry(flight, wall)?;
        properties
            .user_properties
            .push((ByteString::from_static(ID_PROPERTY), self.id_of(flight)));
        Ok(properties)
    }

    /// The Message Expiry Interval to send.
    fn expiry(&self, flight: &Flight, wall: WallTime) -> Result<Option<u32>, DropReason> {
        let record = &flight.entry.record;
        let properties = record.message.properties.as_deref();
        let Some(expiry) = properties.and_then(|properties| properties.message_expiry) else {
            return Ok(None);
        };
        match remaining(expiry, record.stamped, wall) {
            Some(left) => Ok(Some(left)),
            None if self.may_be_held(flight) => Ok(Some(1)),
            None => Err(DropReason::Expired),
        }
    }

    /// Whether the upstream may hold this QoS 2 message in its present session.
    pub(super) fn may_be_held(&self, flight: &Flight) -> bool {
        flight.entry.record.message.qos == QoS::ExactlyOnce && flight.session == Some(self.session)
    }

    /// `gateway/bridge/epoch/seq`, in the live lane `gateway/bridge/epoch/live-seq`: stable over resends and restarts.
    pub(super) fn id_of(&self, flight: &Flight) -> ByteString {
        let (gateway, bridge) = (&self.options.gateway, &self.options.name);
        let (epoch, number) = (
            flight.entry.epoch,
            numbered(flight.lane, flight.entry.seq.0),
        );
        ByteString::from(format!("{gateway}/{bridge}/{epoch}/{number}"))
    }

    /// As it leaves: by the alias of its topic where the upstream knows it, or with one where that saves bytes from the next time
    /// on. Decided as the very last, so that what goes out again has the aliases of the connection that it goes out on. A
    /// message that is tried alone is sent as plain as can be.
    pub(super) fn shortened(&mut self, packet: Packet) -> Packet {
        let Packet::Publish(mut publish) = packet else {
            return packet;
        };
        let topic = publish.topic.take_if(|_| !self.suspects.is_careful());
        let Some(topic) = topic else {
            return Packet::Publish(publish);
        };
        match self.aliases.find(&topic) {
            Some(Alias::Known(alias)) => publish.topic_alias = Some(alias),
            Some(Alias::New(alias)) => {
                publish.topic = Some(topic.clone());
                publish.topic_alias = Some(alias);
                let mut packet = Packet::Publish(publish);
                if self.check(&packet).is_ok() {
                    self.aliases.told(&topic);
                } else if let Packet::Publish(publish) = &mut packet {
                    publish.topic_alias = None;
                }
                return packet;
            }
            None => publish.topic = Some(topic),
        }
        Packet::Publish(publish)
    }

    /// Whether the upstream takes a packet of this length, and this version of MQTT can say it.
    pub(super) fn check(&self, packet: &Packet) -> Result<(), DropReason> {
        let ceilings = &self.options.ceilings;
        if let Packet::Publish(Publish {
            topic: Some(topic), ..
        }) = packet
            && ceilings.topic_levels != usize::MAX
        {
            let (levels, bytes) = (topic.as_str().split('/').count(), topic.as_str().len());
            if levels > ceilings.topic_levels || bytes > ceilings.topic_bytes {
                return Err(DropReason::TopicTooLong { levels, bytes });
            }
        }
        let len = packet.encoded_len(self.options.protocol)?;
        match self.limits.maximum_packet_size {
            Some(limit) if u32::try_from(len).map_or(true, |len| len > limit) => {
                Err(DropReason::TooLarge { limit })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: WallTime = WallTime(1_900_000_000_000);

    fn after(millis: u64) -> WallTime {
        WallTime(START.0 + millis)
    }

    #[test]
    fn mqtt_3_3_2_6_the_time_waited_is_taken_off_the_expiry() {
        assert_eq!(remaining(60, START, START), Some(60));
        assert_eq!(remaining(60, START, after(1)), Some(60));
        assert_eq!(remaining(60, START, after(59_001)), Some(1));
        assert_eq!(remaining(60, START, after(60_000)), None);
        assert_eq!(remaining(0, START, START), Some(0));
        assert_eq!(remaining(0, START, after(1)), None);
    }

    #[test]
    fn nothing_expires_by_a_clock_that_was_not_set() {
        assert_eq!(remaining(60, WallTime(5), START), Some(60));
        assert_eq!(remaining(60, START, WallTime(5)), Some(60));
    }
}
