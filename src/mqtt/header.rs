//! The fixed header (MQTT 5 section 2.1): packet type, flags, Remaining Length, and where a frame ends.
//!
//! Looks at no more than the first five bytes. What can be refused there is refused there: a wrong type or flag bit with
//! the first byte, a packet over the limit with the last byte of its length, before any byte of the body is awaited.

use std::fmt;

use super::{DecodeError, ProtocolVersion};

/// Largest value of a Variable Byte Integer, so the longest body (section 1.5.5).
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;

/// Longest packet the protocol can carry: type byte, four bytes of length, body.
pub const PACKET_BYTES_MAX: u32 = REMAINING_LENGTH_MAX + 5;

/// The kinds of packet, with their numbers on the wire (section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the standard's own")]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this type; of PUBLISH without DUP, QoS and RETAIN.
    pub(super) fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.reserved_flags()
    }

    /// What the flag bits must be (section 2.1.3); those of PUBLISH mean something.
    fn reserved_flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    fn check_flags(self, flags: u8, version: Option<ProtocolVersion>) -> Result<(), DecodeError> {
        if self == Self::Publish {
            return match flags {
                0b0110 | 0b0111 | 0b1110 | 0b1111 => Err(DecodeError::QoS),
                0b1000 | 0b1001 => Err(DecodeError::DupAtQoS0),
                _ => Ok(()),
            };
        }
        let expected = self.reserved_flags();
        // MQTT 3.1 sends these three again with DUP set.
        let dup =
            version == Some(ProtocolVersion::V31) && expected != 0 && flags == expected | 0b1000;
        if flags == expected || dup {
            Ok(())
        } else {
            Err(DecodeError::Flags {
                packet: self,
                flags,
            })
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "CONNECT",
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Suback => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Unsuback => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        })
    }
}

/// What the first bytes of a stream say about the frame they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The header itself is not whole yet, so the length is unknown.
    HeaderIncomplete,
    /// The frame takes `len` bytes in all, and fewer are there.
    Incomplete {
        /// Header and body, in bytes.
        len: usize,
    },
    /// The first `len` bytes are a whole frame.
    Complete {
        /// Header and body, in bytes.
        len: usize,
    },
}

impl Frame {
    /// Reads the header at the start of `bytes`. `version` is `None` until the CONNECT is through: then nothing but a
    /// CONNECT is taken. `packet_size_max` counts the whole frame, as Maximum Packet Size does.
    ///
    /// # Errors
    /// A first byte that no packet of this version has, a malformed length, a length over the limit. The stream cannot
    /// be followed after that.
    pub fn check(
        bytes: &[u8],
        version: Option<ProtocolVersion>,
        packet_size_max: u32,
    ) -> Result<Self, DecodeError> {
        let Some(header) = FixedHeader::read(bytes, version, packet_size_max)? else {
            return Ok(Self::HeaderIncomplete);
        };
        let len = header.frame_len();
        if bytes.len() < len {
            Ok(Self::Incomplete { len })
        } else {
            Ok(Self::Complete { len })
        }
    }
}

/// A fixed header that passed its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FixedHeader {
    pub(super) packet: PacketType,
    pub(super) flags: u8,
    /// Bytes of the header itself: 2 to 5.
    pub(super) len: usize,
    /// Bytes of the body.
    pub(super) remaining: usize,
    /// Whether the length took the fewest bytes [MQTT-1.5.5-1]; a rule of MQTT 5 only.
    pub(super) minimal: bool,
}

impl FixedHeader {
    /// `None` where the header is not whole yet.
    #[inline]
    pub(super) fn read(
        bytes: &[u8],
        version: Option<ProtocolVersion>,
        packet_size_max: u32,
    ) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let (packet, flags) = check_first_byte(first, version)?;
        let Some(number) =
            read_variable_byte_integer(rest).map_err(|()| DecodeError::RemainingLength)?
        else {
            return Ok(None);
        };
        let header = Self {
            packet,
            flags,
            len: 1 + number.len,
            remaining: number.value as usize,
            minimal: number.minimal(),
        };
        let len = header.frame_len();
        if len > packet_size_max as usize {
            return Err(DecodeError::PacketTooLarge {
                len,
                limit: packet_size_max,
            });
        }
        if !header.minimal && version.is_some_and(ProtocolVersion::is_v5) {
            return Err(DecodeError::LengthNotMinimal);
        }
        Ok(Some(header))
    }

    /// Bytes of header and body.
    pub(super) fn frame_len(&self) -> usize {
        self.len + self.remaining
    }
}

/// A fixed header has at most so many bytes.
pub const FIXED_HEADER_BYTES_MAX: usize = 5;

/// Bytes of the packet that begins with `header`, by its Remaining Length alone; `None` where that is not whole, or none.
#[must_use]
pub fn packet_len(header: &[u8]) -> Option<usize> {
    let (_, rest) = header.split_first()?;
    let number = read_variable_byte_integer(rest).ok()??;
    Some(1 + number.len + number.value as usize)
}

fn check_first_byte(
    first: u8,
    version: Option<ProtocolVersion>,
) -> Result<(PacketType, u8), DecodeError> {
    let packet = PacketType::from_number(first >> 4).ok_or(DecodeError::ReservedPacketType)?;
    let flags = first & 0x0F;
    match version {
        None if packet != PacketType::Connect => return Err(DecodeError::NotConnect { packet }),
        Some(version) if packet == PacketType::Auth && !version.is_v5() => {
            return Err(DecodeError::NotInVersion { packet, version });
        }
        _ => {}
    }
    packet.check_flags(flags, version)?;
    Ok((packet, flags))
}

/// A Variable Byte Integer as it was found (section 1.5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VariableByteInteger {
    pub(super) value: u32,
    /// Bytes it took: 1 to 4.
    pub(super) len: usize,
}

impl VariableByteInteger {
    pub(super) fn minimal(self) -> bool {
        self.len == variable_byte_integer_len(self.value)
    }
}

/// `Ok(None)` where more bytes are needed, `Err` where the fourth byte says that a fifth follows.
#[inline]
pub(super) fn read_variable_byte_integer(bytes: &[u8]) -> Result<Option<VariableByteInteger>, ()> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some(VariableByteInteger { value, len: at + 1 }));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(()) }
}

/// The bytes of `value`, which is at most [`REMAINING_LENGTH_MAX`], and how many of the four count.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "each step keeps seven bits"
)]
pub(super) fn variable_byte_integer(value: u32) -> ([u8; 4], usize) {
    let len = variable_byte_integer_len(value);
    let mut bytes = [0; 4];
    let mut rest = value;
    for (at, byte) in bytes.iter_mut().enumerate().take(len) {
        let more = if at + 1 < len { 0x80 } else { 0 };
        *byte = (rest & 0x7F) as u8 | more;
        rest >>= 7;
    }
    (bytes, len)
}

/// Bytes that `value` takes.
#[inline]
pub(super) fn variable_byte_integer_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_1_5_5_variable_byte_integers_at_their_borders() {
        let cases: [(u32, &[u8]); 8] = [
            (0, b"\x00"),
            (127, b"\x7f"),
            (128, b"\x80\x01"),
            (16_383, b"\xff\x7f"),
            (16_384, b"\x80\x80\x01"),
            (2_097_151, b"\xff\xff\x7f"),
            (2_097_152, b"\x80\x80\x80\x01"),
            (REMAINING_LENGTH_MAX, b"\xff\xff\xff\x7f"),
        ];
        for (value, expected) in cases {
            let (bytes, len) = variable_byte_integer(value);
            assert_eq!(&bytes[..len], expected);
            let read = read_variable_byte_integer(expected).unwrap().unwrap();
            assert_eq!(read, VariableByteInteger { value, len });
            assert!(read.minimal());
            assert_eq!(read_variable_byte_integer(&expected[..len - 1]), Ok(None));
        }
        assert_eq!(read_variable_byte_integer(b"\x80\x80\x80\x80"), Err(()));
    }

    #[test]
    fn the_largest_frame_is_judged_by_its_header() {
        let v311 = Some(ProtocolVersion::V311);
        let largest = b"\x30\xff\xff\xff\x7f";
        let len = PACKET_BYTES_MAX as usize;
        assert_eq!(
            Frame::check(largest, v311, PACKET_BYTES_MAX),
            Ok(Frame::Incomplete { len })
        );
        let limit = PACKET_BYTES_MAX - 1;
        assert_eq!(
            Frame::check(largest, v311, limit),
            Err(DecodeError::PacketTooLarge { len, limit })
        );
    }
}
