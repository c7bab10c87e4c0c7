//! Bytes to packets.
//!
//! [`decode`] takes whole frames off what was read and keeps nothing. [`Decoder`] does it for one connection and keeps
//! the part of a frame that ends a read, in a buffer of its own that exists only as long as there is such a part.

use bytes::{Buf, Bytes, BytesMut};

use super::header::{FixedHeader, Frame};
use super::oversized::Passing;
use super::reader::Reader;
use super::{
    Acknowledge, Auth, Connack, Connect, DecodeError, Disconnect, Packet, PacketType, Plain,
    ProtocolVersion, Publish, Suback, Subscribe, Unsuback, Unsubscribe,
};

/// Takes the first packet off `input`, if it is there whole; else leaves `input` as it is and says `None`. Topic, payload
/// and the like are slices of `input`.
///
/// `version` is `None` until the CONNECT is through: then only a CONNECT is taken, which says its version itself.
/// `packet_size_max` counts header and body and is checked before the body is there.
///
/// # Errors
/// Whatever breaks the standard. Nothing after it can be understood: the connection must be closed.
pub fn decode(
    input: &mut Bytes,
    version: Option<ProtocolVersion>,
    packet_size_max: u32,
) -> Result<Option<Packet>, DecodeError> {
    let Some(header) = FixedHeader::read(input, version, packet_size_max)? else {
        return Ok(None);
    };
    let len = header.frame_len();
    let Some(body) = input.get(header.len..len) else {
        return Ok(None);
    };
    let mut reader = Reader::new(input, body);
    let packet = decode_body(&mut reader, &header, version)?;
    if !reader.is_empty() {
        return Err(DecodeError::TrailingBytes {
            packet: header.packet,
            count: reader.len(),
        });
    }
    input.advance(len);
    Ok(Some(packet))
}

fn decode_body(
    reader: &mut Reader<'_>,
    header: &FixedHeader,
    version: Option<ProtocolVersion>,
) -> Result<Packet, DecodeError> {
    let packet = header.packet;
    if packet == PacketType::Connect {
        let connect = Connect::decode(reader)?;
        // The length came before the version that has a rule for it.
        if connect.version.is_v5() && !header.minimal {
            return Err(DecodeError::LengthNotMinimal);
        }
        return Ok(Packet::Connect(Box::new(connect)));
    }
    let version = version.ok_or(DecodeError::NotConnect { packet })?;
    let acknowledge = |reader: &mut Reader<'_>| Acknowledge::decode(reader, version, packet);
    Ok(match packet {
        PacketType::Connect => return Err(DecodeError::NotConnect { packet }),
        PacketType::Connack => Packet::Connack(Box::new(Connack::decode(reader, version)?)),
        PacketType::Publish => Packet::Publish(Publish::decode(reader, version, header.flags)?),
        PacketType::Puback => Packet::Puback(acknowledge(reader)?),
        PacketType::Pubrec => Packet::Pubrec(acknowledge(reader)?),
        PacketType::Pubrel => Packet::Pubrel(acknowledge(reader)?),
        PacketType::Pubcomp => Packet::Pubcomp(acknowledge(reader)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(reader, version)?),
        PacketType::Suback => Packet::Suback(Suback::decode(reader, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(reader, version)?),
        PacketType::Unsuback => Packet::Unsuback(Unsuback::decode(reader, version)?),
        PacketType::Pingreq => Packet::Pingreq,
        PacketType::Pingresp => Packet::Pingresp,
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(reader, version)?),
        PacketType::Auth => Packet::Auth(Auth::decode(reader)?),
    })
}

/// The packets of one connection, out of whatever pieces they are read in.
///
/// After each [`Self::push`] call [`Self::next_packet`] until it says `None`; then nothing is kept but the part of an unfinished
/// frame. That part's buffer grows with what arrived, to at most the length of the frame, which is within the limit.
/// After an error the decoder is of no more use.
#[derive(Debug)]
pub struct Decoder {
    version: Option<ProtocolVersion>,
    packet_size_max: u32,
    /// What a client sends is decoded: it began without a version.
    of_client: bool,
    /// What was read and not yet decoded.
    pub(super) input: Bytes,
    /// The start of a frame whose rest is not there yet. Empty, and without storage, between frames.
    pub(super) partial: BytesMut,
    /// What is passed by at the moment.
    pub(super) passing: Option<Box<Passing>>,
}

impl Decoder {
    /// `version`: `None` on the server's side, where the first CONNECT decides it; a client knows what it asked for.
    #[must_use]
    pub fn new(version: Option<ProtocolVersion>, packet_size_max: u32) -> Self {
        Self {
            version,
            packet_size_max,
            of_client: version.is_none(),
            input: Bytes::new(),
            partial: BytesMut::new(),
            passing: None,
        }
    }

    /// The version in force.
    #[must_use]
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// Bytes kept for an unfinished frame.
    #[must_use]
    pub fn held(&self) -> usize {
        let passing = self.passing.as_ref().map_or(0, |passing| passing.held());
        self.partial.len() + self.input.len() + passing
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: Bytes) {
        if self.input.is_empty() {
            self.input = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(self.input.len() + bytes.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&bytes);
            self.input = joined.freeze();
        }
    }

    /// The next packet; `None` where more must be read for it.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn next_packet(&mut self) -> Result<Option<Packet>, DecodeError> {
        self.check_sender()?;
        let decoded = if self.partial.is_empty() {
            decode(&mut self.input, self.version, self.packet_size_max)?
        } else {
            match self.complete_partial()? {
                None => None,
                Some(mut frame) => decode(&mut frame, self.version, self.packet_size_max)?,
            }
        };
        match &decoded {
            None => self.keep_rest()?,
            Some(Packet::Connect(connect)) if self.version.is_none() => {
                self.version = Some(connect.version);
            }
            Some(_) => {}
        }
        Ok(decoded)
    }

    /// The next packet where it lies, if it is plain and lies there whole. Then either [`Self::pass`] it by, or have it decoded
    /// by [`Self::next_packet`] all the same.
    #[inline]
    #[must_use]
    pub fn plain(&self) -> Option<Plain<'_>> {
        if !self.partial.is_empty() {
            return None;
        }
        let plain = Plain::read(&self.input, self.version?)?;
        (plain.len <= self.packet_size_max as usize).then_some(plain)
    }

    /// Goes on behind the first `len` bytes, those of the packet that [`Self::plain`] showed.
    #[inline]
    pub fn pass(&mut self, len: usize) {
        self.input.advance(len.min(self.input.len()));
    }

    /// What only a server sends is refused by its type, whatever is in it: it is not malformed but out of place.
    fn check_sender(&self) -> Result<(), DecodeError> {
        use PacketType::{Connack, Pingresp, Suback, Unsuback};
        let first = self.partial.first().or_else(|| self.input.first());
        let Some(first) = first.filter(|_| self.of_client && self.version.is_some()) else {
            return Ok(());
        };
        let of_servers = [Connack, Suback, Unsuback, Pingresp];
        let found = of_servers
            .into_iter()
            .find(|packet| *packet as u8 == first >> 4);
        found.map_or(Ok(()), |packet| Err(DecodeError::OfServer { packet }))
    }

    /// Moves what belongs to the unfinished frame out of the input, and hands the frame out when it is whole.
    fn complete_partial(&mut self) -> Result<Option<Bytes>, DecodeError> {
        loop {
            let (missing, len) = match self.frame(&self.partial)? {
                Frame::Complete { .. } => {
                    return Ok(Some(std::mem::take(&mut self.partial).freeze()));
                }
                // The header says with each byte whether it needs another.
                Frame::HeaderIncomplete => (1, None),
                Frame::Incomplete { len } => (len - self.partial.len(), Some(len)),
            };
            if self.input.is_empty() {
                return Ok(None);
            }
            let piece = self.input.split_to(missing.min(self.input.len()));
            self.append(&piece, len);
        }
    }

    fn keep_rest(&mut self) -> Result<(), DecodeError> {
        if self.input.is_empty() {
            return Ok(());
        }
        let len = match self.frame(&self.input)? {
            Frame::Incomplete { len } => Some(len),
            Frame::HeaderIncomplete | Frame::Complete { .. } => None,
        };
        let rest = std::mem::take(&mut self.input);
        self.append(&rest, len);
        Ok(())
    }

    /// Grows by doubling and never past the frame's `len`, so that a peer must send what it makes us hold.
    fn append(&mut self, piece: &[u8], len: Option<usize>) {
        let filled = self.partial.len() + piece.len();
        if filled > self.partial.capacity() {
            let target = len.map_or(filled, |len| len.min(2 * filled));
            let mut grown = BytesMut::with_capacity(target);
            grown.extend_from_slice(&self.partial);
            self.partial = grown;
        }
        self.partial.extend_from_slice(piece);
    }

    fn frame(&self, bytes: &[u8]) -> Result<Frame, DecodeError> {
        Frame::check(bytes, self.version, self.packet_size_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{PacketId, ReasonCode};

    const LIMIT: u32 = 1000;
    const V5: Option<ProtocolVersion> = Some(ProtocolVersion::V5);
    const V311: Option<ProtocolVersion> = Some(ProtocolVersion::V311);

    fn puback(id: u16) -> Packet {
        let id = PacketId::new(id).unwrap();
        Packet::Puback(Acknowledge::new(id, ReasonCode::Success))
    }

    #[test]
    fn whole_frames_are_taken_and_the_rest_stays() {
        let mut input = Bytes::from_static(b"\x40\x02\x00\x07\xc0\x00\x40\x02\x00");
        assert_eq!(decode(&mut input, V5, LIMIT), Ok(Some(puback(7))));
        assert_eq!(decode(&mut input, V5, LIMIT), Ok(Some(Packet::Pingreq)));
        assert_eq!(decode(&mut input, V5, LIMIT), Ok(None));
        assert_eq!(&*input, b"\x40\x02\x00");
    }

    #[test]
    fn topic_and_payload_are_slices_of_the_input() {
        let mut input = Bytes::from_static(b"\x30\x05\x00\x01txy");
        let whole = input.as_ptr_range();
        let Ok(Some(Packet::Publish(publish))) = decode(&mut input, V311, LIMIT) else {
            panic!("no PUBLISH")
        };
        assert_eq!(&*publish.payload, b"xy");
        assert!(whole.contains(&publish.payload.as_ptr()));
        assert!(whole.contains(&publish.topic.unwrap().as_bytes().as_ptr()));
    }

    #[test]
    fn the_decoder_puts_pieces_together_and_keeps_nothing_between_frames() {
        let mut decoder = Decoder::new(V311, LIMIT);
        decoder.push(Bytes::from_static(b"\xc0\x00\x40"));
        assert_eq!(decoder.next_packet(), Ok(Some(Packet::Pingreq)));
        assert_eq!(decoder.next_packet(), Ok(None));
        assert_eq!(decoder.held(), 1);
        decoder.push(Bytes::from_static(b"\x02\x00"));
        assert_eq!(decoder.next_packet(), Ok(None));
        assert_eq!(decoder.held(), 3);
        decoder.push(Bytes::from_static(b"\x09\xd0\x00"));
        assert_eq!(decoder.next_packet(), Ok(Some(puback(9))));
        assert_eq!(decoder.partial.capacity(), 0);
        assert_eq!(decoder.next_packet(), Ok(Some(Packet::Pingresp)));
        assert_eq!(decoder.next_packet(), Ok(None));
        assert_eq!(decoder.held(), 0);
    }

    #[test]
    fn a_peer_must_send_what_it_makes_us_hold() {
        let mut decoder = Decoder::new(V311, 1_000_000);
        // A PUBLISH of 524288 bytes, of which three arrive.
        decoder.push(Bytes::from_static(b"\x30\x80\x80\x20\x00\x01t"));
        assert_eq!(decoder.next_packet(), Ok(None));
        assert!(decoder.partial.capacity() <= 64);
    }

    #[test]
    fn mqtt_3_1_2_24_a_packet_over_the_limit_is_refused_with_its_length() {
        let too_large = DecodeError::PacketTooLarge {
            len: 1001,
            limit: LIMIT,
        };
        let mut input = Bytes::from_static(b"\x30\xe6\x07");
        assert_eq!(decode(&mut input, V311, LIMIT), Err(too_large));
        assert_eq!(too_large.reason(), ReasonCode::PacketTooLarge);
        let mut input = Bytes::from_static(b"\x30\xe5\x07");
        assert_eq!(decode(&mut input, V311, LIMIT), Ok(None));
    }

    #[test]
    fn the_connect_decides_the_version() {
        let mut decoder = Decoder::new(None, LIMIT);
        decoder.push(Bytes::from_static(
            b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00",
        ));
        assert!(matches!(
            decoder.next_packet(),
            Ok(Some(Packet::Connect(_)))
        ));
        assert_eq!(decoder.version(), V5);
    }
}
