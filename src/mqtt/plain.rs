//! The packets that nearly all traffic is made of, looked at where they lie.
//!
//! A plain PUBLISH has no properties, no DUP, no RETAIN and a small payload; a plain acknowledgement says success and no more.
//! Reading one takes nothing apart and allocates nothing, so that whoever knows what becomes of it can pass it on as the
//! bytes it is. Everything else, malformed packets too, is for [`super::decode`]: here it is just not plain.

use bytes::{BufMut as _, BytesMut};

use super::publish::{QOS_SHIFT, first_byte};
use super::{PacketId, PacketType, ProtocolVersion, QoS, ReasonCode};

/// A plain packet is no longer: its bytes are copied to each receiver, and a longer payload is better shared.
const BYTES_MAX: usize = 4 << 10;

/// A plain packet, as a part of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Header and body, in bytes.
    pub len: usize,
    /// What it is.
    pub packet: PlainPacket<'a>,
}

/// What a plain packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainPacket<'a> {
    /// A message.
    Publish(PlainPublish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP with success.
    Acknowledge(PacketType, PacketId),
}

/// A plain PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainPublish<'a> {
    /// Delivery guarantee.
    pub qos: QoS,
    /// Present exactly when the QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// As it was sent: nobody has checked that it is a topic. At least one byte.
    pub topic: &'a [u8],
    /// The application's bytes.
    pub payload: &'a [u8],
    /// The whole packet.
    whole: &'a [u8],
    /// It came in MQTT 5: with the length of its properties, which is 0.
    is_v5: bool,
}

impl<'a> Plain<'a> {
    /// The packet at the start of `input`, if it is there whole and plain.
    #[inline]
    pub(super) fn read(input: &'a [u8], version: ProtocolVersion) -> Option<Self> {
        let (&[first, length], rest) = input.split_first_chunk()?;
        let (remaining, rest) = if length < 0x80 {
            (usize::from(length), rest)
        } else {
            let (&high, rest) = rest.split_first()?;
            // A third byte means a long packet, a 0 that two were too many [MQTT-1.5.5-1].
            if high >= 0x80 || high == 0 {
                return None;
            }
            (usize::from(length & 0x7F) | usize::from(high) << 7, rest)
        };
        let len = input.len() - rest.len() + remaining;
        let body = rest.get(..remaining).filter(|_| len <= BYTES_MAX)?;
        let packet = match first {
            0x30 | 0x32 | 0x34 => {
                PlainPacket::Publish(PlainPublish::read(input.get(..len)?, body, version)?)
            }
            0x40 => acknowledge(PacketType::Puback, body, version)?,
            0x50 => acknowledge(PacketType::Pubrec, body, version)?,
            0x62 => acknowledge(PacketType::Pubrel, body, version)?,
            0x70 => acknowledge(PacketType::Pubcomp, body, version)?,
            _ => return None,
        };
        Some(Self { len, packet })
    }
}

/// MQTT 5 may spell success out: a reason code of 0, and no properties.
#[inline]
fn acknowledge<'a>(
    packet: PacketType,
    body: &[u8],
    version: ProtocolVersion,
) -> Option<PlainPacket<'a>> {
    let (&id, rest) = body.split_first_chunk()?;
    let spelled_out = version.is_v5() && matches!(rest, [0] | [0, 0]);
    let id = PacketId::new(u16::from_be_bytes(id))?;
    (rest.is_empty() || spelled_out).then_some(PlainPacket::Acknowledge(packet, id))
}

impl<'a> PlainPublish<'a> {
    #[inline]
    fn read(whole: &'a [u8], body: &'a [u8], version: ProtocolVersion) -> Option<Self> {
        let first = whole.first()?;
        let qos = QoS::from_bits(first >> QOS_SHIFT & 0b11)?;
        let (&topic_len, rest) = body.split_first_chunk()?;
        let topic_len = usize::from(u16::from_be_bytes(topic_len));
        let (topic, mut rest) = rest.split_at_checked(topic_len)?;
        let mut packet_id = None;
        if qos != QoS::AtMostOnce {
            let (&id, after) = rest.split_first_chunk()?;
            packet_id = Some(PacketId::new(u16::from_be_bytes(id))?);
            rest = after;
        }
        if version.is_v5() {
            rest = rest.strip_prefix(&[0])?; // the length of the properties
        }
        (topic_len > 0).then_some(Self {
            qos,
            packet_id,
            topic,
            payload: rest,
            whole,
            is_v5: version.is_v5(),
        })
    }

    /// Appends the message as one receiver gets it. `packet_id` is given for QoS 1 and 2, and for those only.
    #[inline]
    pub fn write(
        &self,
        version: ProtocolVersion,
        qos: QoS,
        packet_id: Option<PacketId>,
        out: &mut BytesMut,
    ) {
        if self.is_v5 != version.is_v5() || self.packet_id.is_some() != packet_id.is_some() {
            return self.write_anew(version, qos, packet_id, out);
        }
        let start = out.len();
        out.extend_from_slice(self.whole);
        let Some(copy) = out.get_mut(start..) else {
            return;
        };
        if let Some(first) = copy.first_mut() {
            *first = first_byte(qos, false);
        }
        if let Some(id) = packet_id {
            let behind_topic = self.behind_topic();
            if let Some(place) = copy.get_mut(behind_topic..behind_topic + 2) {
                place.copy_from_slice(&id.get().to_be_bytes());
            }
        }
    }

    /// Where in the packet the topic ends.
    fn behind_topic(&self) -> usize {
        let behind = self.payload.len() + usize::from(self.is_v5) + self.packet_id.map_or(0, |_| 2);
        self.whole.len().saturating_sub(behind)
    }

    /// For a receiver whose version or QoS takes more or fewer bytes.
    fn write_anew(
        &self,
        version: ProtocolVersion,
        qos: QoS,
        packet_id: Option<PacketId>,
        out: &mut BytesMut,
    ) {
        let id_len = if packet_id.is_some() { 2 } else { 0 };
        let remaining =
            2 + self.topic.len() + id_len + usize::from(version.is_v5()) + self.payload.len();
        out.reserve(3 + remaining);
        out.put_u8(first_byte(qos, false));
        // `BYTES_MAX` and the five bytes that a receiver's version or QoS may add take two bytes of length at most.
        #[expect(clippy::cast_possible_truncation, reason = "seven bits of it")]
        if remaining < 0x80 {
            out.put_u8(remaining as u8);
        } else {
            out.put_slice(&[remaining as u8 | 0x80, (remaining >> 7) as u8]);
        }
        out.put_u16(u16::try_from(self.topic.len()).unwrap_or(u16::MAX));
        out.put_slice(self.topic);
        if let Some(id) = packet_id {
            out.put_u16(id.get());
        }
        if version.is_v5() {
            out.put_u8(0);
        }
        out.put_slice(self.payload);
    }

    /// Bytes of the packet that [`Self::write`] appends at most, whatever the receiver's version and QoS.
    #[must_use]
    pub fn len_max(&self) -> usize {
        8 + self.topic.len() + self.payload.len()
    }
}

/// Appends an acknowledgement without properties: five bytes at most.
pub fn write_acknowledge(
    packet: PacketType,
    id: PacketId,
    reason: ReasonCode,
    version: ProtocolVersion,
    out: &mut BytesMut,
) {
    let [high, low] = id.get().to_be_bytes();
    if reason == ReasonCode::Success || !version.is_v5() {
        out.put_slice(&[packet.first_byte(), 2, high, low]);
    } else {
        out.put_slice(&[packet.first_byte(), 3, high, low, reason as u8]);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Acknowledge, Message, Packet, decode};
    use super::*;
    use crate::mqtt::ProtocolVersion::{V5, V311};
    use crate::topic::TopicName;

    const LIMIT: u32 = 1 << 20;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    fn message(payload: usize, qos: QoS) -> Message {
        let topic = TopicName::try_from("plant/line/temperature").unwrap();
        Message::new(topic, Bytes::from(vec![b'x'; payload]), qos, false)
    }

    fn encoded(packet: &Packet, version: ProtocolVersion) -> BytesMut {
        let mut out = BytesMut::new();
        packet.encode(version, &mut out).unwrap();
        out
    }

    #[test]
    fn a_plain_publish_goes_on_as_the_encoder_would_write_it() {
        use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
        for (payload, from, to) in [
            (0, V311, V5),
            (60, V5, V311),
            (99, V311, V311),
            (100, V5, V5),
            (101, V311, V5),
            (4000, V5, V311),
        ] {
            for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
                let packet_id = (qos != AtMostOnce).then(|| id(7));
                let whole = message(payload, qos).into_publish(packet_id);
                let mut input = encoded(&Packet::Publish(whole), from);
                let len = input.len();
                input.extend_from_slice(b"\xc0\0");
                let plain = Plain::read(&input, from).unwrap();
                assert_eq!(plain.len, len);
                let PlainPacket::Publish(publish) = plain.packet else {
                    panic!("no PUBLISH")
                };
                let mut out = BytesMut::new();
                let own_id = packet_id.map(|_| id(513));
                publish.write(to, qos, own_id, &mut out);
                assert!(out.len() <= publish.len_max());
                let expected = Packet::Publish(message(payload, qos).into_publish(own_id));
                assert_eq!(
                    decode(&mut out.freeze(), Some(to), LIMIT),
                    Ok(Some(expected))
                );
            }
        }
    }

    #[test]
    fn a_plain_acknowledgement_is_read_and_written() {
        for (first, packet) in [
            (0x40, PacketType::Puback),
            (0x50, PacketType::Pubrec),
            (0x62, PacketType::Pubrel),
            (0x70, PacketType::Pubcomp),
        ] {
            let plain = PlainPacket::Acknowledge(packet, id(258));
            let is_plain = |bytes: &[u8], version| {
                Plain::read(bytes, version).is_some_and(|it| it.packet == plain)
            };
            assert!(is_plain(&[first, 2, 1, 2], V311));
            for spelled_out in [&[first, 3, 1, 2, 0][..], &[first, 4, 1, 2, 0, 0]] {
                assert!(is_plain(spelled_out, V5));
                assert!(!is_plain(spelled_out, V311));
            }
            let mut out = BytesMut::new();
            write_acknowledge(packet, id(258), ReasonCode::Success, V5, &mut out);
            assert_eq!(&*out, &[first, 2, 1, 2]);
        }
        let reason = ReasonCode::NoMatchingSubscribers;
        let mut out = BytesMut::new();
        write_acknowledge(PacketType::Puback, id(1), reason, V5, &mut out);
        let expected = Packet::Puback(Acknowledge::new(id(1), reason));
        assert_eq!(
            decode(&mut out.freeze(), Some(V5), LIMIT),
            Ok(Some(expected))
        );
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_decoder() {
        for (bytes, version, why) in [
            (&b"\x30\x05\0\x01tx"[..], V311, "not whole"),
            (b"\x31\x04\0\x01tx", V311, "RETAIN"),
            (b"\x3a\x06\0\x01t\0\x01x", V311, "DUP"),
            (b"\x36\x06\0\x01t\0\x01x", V311, "QoS 3"),
            (b"\x32\x06\0\x01t\0\0x", V311, "packet id 0"),
            (b"\x30\x03\0\0x", V311, "no topic"),
            (b"\x30\x03\0\x05t", V311, "topic beyond the end"),
            (b"\x30\x07\0\x01t\x02\x01\x01x", V5, "properties"),
            (b"\x30\x84\0\0\x01tx", V311, "length not minimal"),
            (b"\x40\x02\0\0", V311, "packet id 0"),
            (b"\x40\x03\0\x01\x10", V5, "a reason"),
            (b"\x60\x02\0\x01", V311, "flags of PUBREL"),
            (b"\xc0\x00", V311, "PINGREQ"),
        ] {
            assert_eq!(Plain::read(bytes, version), None, "{why}");
        }
        let long = Packet::Publish(message(BYTES_MAX, QoS::AtMostOnce).into_publish(None));
        assert_eq!(Plain::read(&encoded(&long, V311), V311), None);
    }
}
