//! A PUBLISH above the limit, passed by as it comes: what must be known to answer it is kept, the rest is not.
//!
//! For a client of a server that cannot be told a limit (MQTT 3.1.1) and sends such a message again on each connection. Held of
//! it are the fixed header, the topic and the packet id, so at most 64 KiB, and no more than has arrived.

use bytes::{Bytes, BytesMut};

use super::header::FixedHeader;
use super::publish::QOS_SHIFT;
use super::reader::Reader;
use super::{DecodeError, Decoder, PACKET_BYTES_MAX, Packet, PacketId, PacketType, QoS};
use crate::topic::{TopicError, TopicName};

/// What [`Decoder::next_or_oversized`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A packet within the limit.
    Packet(Packet),
    /// One that was passed by.
    Oversized(Oversized),
}

/// A PUBLISH that was larger than the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oversized {
    /// Absent where a topic alias stands for it.
    pub topic: Option<TopicName>,
    /// Delivery guarantee.
    pub qos: QoS,
    /// Present exactly when the QoS is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// Header and body, in bytes.
    pub len: usize,
}

/// One that is under way.
#[derive(Debug)]
pub(super) struct Passing {
    header: FixedHeader,
    /// Its first bytes.
    head: BytesMut,
    seen: usize,
}

impl Decoder {
    /// As [`Self::next_packet`], but a PUBLISH above the limit is passed by instead of refused. Not to be mixed with that.
    ///
    /// # Errors
    /// As [`super::decode`].
    pub fn next_or_oversized(&mut self) -> Result<Option<Incoming>, DecodeError> {
        if self.passing.is_none() {
            match self.next_packet() {
                Err(DecodeError::PacketTooLarge { len, limit }) => {
                    let passing = self.begin_to_pass()?;
                    self.passing = Some(passing.ok_or(DecodeError::PacketTooLarge { len, limit })?);
                }
                other => return Ok(other?.map(Incoming::Packet)),
            }
        }
        let passed = self
            .passing
            .take_if(|passing| passing.take(&mut self.input));
        match passed {
            Some(passed) => Ok(Some(Incoming::Oversized((*passed).parse(self)?))),
            None => Ok(None),
        }
    }

    /// `None`: what is too large is no PUBLISH.
    fn begin_to_pass(&mut self) -> Result<Option<Box<Passing>>, DecodeError> {
        let head = std::mem::take(&mut self.partial);
        let begin: &[u8] = if head.is_empty() { &self.input } else { &head };
        let header = FixedHeader::read(begin, self.version(), PACKET_BYTES_MAX)?;
        let header = header.filter(|header| header.packet == PacketType::Publish);
        Ok(header.map(|header| {
            Box::new(Passing {
                seen: head.len(),
                header,
                head,
            })
        }))
    }
}

impl Passing {
    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.head.len()
    }

    /// How many of its first bytes are wanted, as far as is known yet: up to the packet id.
    fn wanted(&self) -> usize {
        let topic = self.header.len;
        match self.head.get(topic..topic + 2) {
            Some(&[high, low]) => topic + 2 + usize::from(u16::from_be_bytes([high, low])) + 2,
            _ => topic + 2,
        }
    }

    /// Takes off `input` what belongs to the frame; true where it ends there.
    fn take(&mut self, input: &mut Bytes) -> bool {
        let missing = self.header.frame_len() - self.seen;
        let mut piece = input.split_to(missing.min(input.len()));
        self.seen += piece.len();
        while !piece.is_empty() && self.head.len() < self.wanted() {
            let count = (self.wanted() - self.head.len()).min(piece.len());
            self.head.extend_from_slice(&piece.split_to(count));
        }
        self.seen == self.header.frame_len()
    }

    fn parse(self, decoder: &Decoder) -> Result<Oversized, DecodeError> {
        let is_v5 = decoder.version().is_some_and(super::ProtocolVersion::is_v5);
        let frame = self.head.freeze();
        let mut reader = Reader::new(&frame, frame.get(self.header.len..).unwrap_or_default());
        let topic = match reader.topic() {
            Ok(topic) => Some(topic.compact()),
            Err(DecodeError::Topic(TopicError::Empty)) if is_v5 => None,
            Err(error) => return Err(error),
        };
        let qos = self.header.flags >> QOS_SHIFT & 0b11;
        let qos = QoS::from_bits(qos).ok_or(DecodeError::QoS)?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => Some(reader.packet_id()?),
        };
        Ok(Oversized {
            topic,
            qos,
            packet_id,
            len: self.header.frame_len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Message, ProtocolVersion};

    const LIMIT: u32 = 100;

    fn publish(topic: &str, qos: QoS, bytes: usize) -> Packet {
        let topic = TopicName::try_from(topic).unwrap();
        let message = Message::new(topic, vec![b'x'; bytes].into(), qos, false);
        let id = PacketId::new(7).filter(|_| qos != QoS::AtMostOnce);
        Packet::Publish(message.into_publish(id))
    }

    /// What comes out of these bytes, read in pieces of `piece`, and the most that was held.
    fn decoded(bytes: &[u8], version: ProtocolVersion, piece: usize) -> (Vec<Incoming>, usize) {
        let mut decoder = Decoder::new(Some(version), LIMIT);
        let (mut out, mut held) = (Vec::new(), 0);
        for piece in bytes.chunks(piece) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(incoming) = decoder.next_or_oversized().unwrap() {
                out.push(incoming);
            }
            held = held.max(decoder.held());
        }
        (out, held)
    }

    #[test]
    fn what_is_too_large_is_passed_by_in_whatever_pieces_it_comes_and_the_rest_is_decoded() {
        for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let mut bytes = BytesMut::new();
                let small = publish("small", qos, 10);
                let packets = [
                    small.clone(),
                    publish("a/large/one", qos, 100_000),
                    small.clone(),
                ];
                let ends = packets.map(|packet| {
                    packet.encode(version, &mut bytes).unwrap();
                    bytes.len()
                });
                let expected = [
                    Incoming::Packet(small.clone()),
                    Incoming::Oversized(Oversized {
                        topic: TopicName::try_from("a/large/one").ok(),
                        qos,
                        packet_id: PacketId::new(7).filter(|_| qos != QoS::AtMostOnce),
                        len: ends[1] - ends[0],
                    }),
                    Incoming::Packet(small),
                ];
                for piece in [1, 2, 3, 7, 16, 50, 1000, 1 << 20] {
                    let (incoming, held) = decoded(&bytes, version, piece);
                    assert_eq!(incoming, expected, "in pieces of {piece}");
                    assert!(held <= LIMIT as usize, "{held} bytes were held");
                }
            }
        }
    }

    #[test]
    fn another_packet_above_the_limit_is_refused() {
        // A SUBACK of 1001 bytes.
        let mut decoder = Decoder::new(Some(ProtocolVersion::V311), LIMIT);
        decoder.push(Bytes::from_static(b"\x90\xe6\x07"));
        let refused = decoder.next_or_oversized();
        assert!(matches!(refused, Err(DecodeError::PacketTooLarge { .. })));
    }

    #[test]
    fn one_that_breaks_the_standard_is_refused() {
        // Of 1001 bytes: a packet id of 0, and a topic that is longer than the packet.
        for begin in [
            &b"\x32\xe6\x07\x00\x01t\x00\x00"[..],
            b"\x30\xe6\x07\xff\xff",
        ] {
            let mut bytes = begin.to_vec();
            bytes.resize(1001, b'x');
            let mut decoder = Decoder::new(Some(ProtocolVersion::V311), LIMIT);
            decoder.push(bytes.into());
            decoder.next_or_oversized().unwrap_err();
        }
    }
}
