//! Checksums of frames. No I/O.
//!
//! Places in a frame are counted like in Python: 0 is its first byte, -1 its last; a range leaves its end out. Other than
//! in Python a place that the frame does not have makes the frame unsound instead of the range shorter.

use std::ops::Range;
use std::str::FromStr;

use super::options::Endian;

/// How a checksum is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumKind {
    /// The sum of the bytes, modulo 256.
    Sum8,
    /// Exclusive or of the bytes: NMEA 0183, BCC.
    Xor8,
    /// Two's complement of the sum, modulo 256.
    Lrc,
    /// CRC-16/MODBUS: polynomial 0x8005 reflected, from 0xFFFF.
    Crc16Modbus,
    /// CRC-16/CCITT-FALSE: polynomial 0x1021, from 0xFFFF.
    Crc16Ccitt,
}

/// How a checksum is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Two hexadecimal digits a byte, capital or small.
    Hex(Endian),
    /// The bytes themselves.
    Binary(Endian),
}

/// A part of a frame: `1..-1`, `0..`, `..-3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub from: i32,
    /// The byte after the last; `None`: up to the end.
    pub to: Option<i32>,
}

/// A checksum in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// How it is computed.
    pub kind: ChecksumKind,
    /// Over what.
    pub over: Span,
    /// How it is written.
    pub encoding: Encoding,
    /// Where its first byte stands; `None`: it ends the frame.
    pub at: Option<i32>,
}

/// What cannot be in a checksum, whatever the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// The range is empty or reaches out of the frame.
    #[error("the range holds no byte of a frame")]
    Range,
    /// There is no room for the checksum.
    #[error("the checksum would stand outside of the frame")]
    Place,
    /// It would have to be known before it is.
    #[error("the range holds the checksum itself")]
    Itself,
}

impl ChecksumKind {
    /// The checksum of `bytes`.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> u16 {
        let sum = || bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        match self {
            Self::Sum8 => u16::from(sum()),
            Self::Xor8 => u16::from(bytes.iter().fold(0_u8, |sum, byte| sum ^ byte)),
            Self::Lrc => u16::from(sum().wrapping_neg()),
            Self::Crc16Modbus => bytes.iter().fold(0xFFFF, |crc, byte| {
                (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
                    (crc >> 1) ^ if crc & 1 == 1 { 0xA001 } else { 0 }
                })
            }),
            Self::Crc16Ccitt => bytes.iter().fold(0xFFFF, |crc, byte| {
                (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
                    (crc << 1) ^ if crc & 0x8000 != 0 { 0x1021 } else { 0 }
                })
            }),
        }
    }

    /// Bytes of the checksum.
    fn width(self) -> usize {
        match self {
            Self::Sum8 | Self::Xor8 | Self::Lrc => 1,
            Self::Crc16Modbus | Self::Crc16Ccitt => 2,
        }
    }
}

impl Checksum {
    /// Whether the checksum in `frame` is that of its bytes.
    #[must_use]
    pub fn is_right(&self, frame: &[u8]) -> bool {
        let Ok((over, at)) = self.places(frame.len()) else {
            return false;
        };
        let (Some(bytes), Some(written)) = (frame.get(over), frame.get(at)) else {
            return false;
        };
        self.read(written) == Some(i64::from(self.kind.of(bytes)))
    }

    /// Writes the checksum of `frame` into its place there; where it ends the frame, behind what is given.
    ///
    /// # Errors
    /// Where such a frame cannot have it.
    pub fn seal(&self, frame: &mut Vec<u8>) -> Result<(), ChecksumError> {
        let given = frame.len();
        if self.at.is_none() {
            frame.resize(given + self.digits(), 0);
        }
        let places = self.places(frame.len());
        let (over, at) = places.inspect_err(|_| frame.truncate(given))?;
        let sum = self.kind.of(frame.get(over).unwrap_or_default());
        if let Some(place) = frame.get_mut(at) {
            place.copy_from_slice(&self.written(sum));
        }
        Ok(())
    }

    /// Whether a frame of so many bytes can have it.
    ///
    /// # Errors
    /// Says why not.
    pub fn fits(&self, length: usize) -> Result<(), ChecksumError> {
        self.places(length).map(|_| ())
    }

    /// The bytes that it is over, and those that it is.
    fn places(&self, length: usize) -> Result<(Range<usize>, Range<usize>), ChecksumError> {
        let over = self.over.range(length).ok_or(ChecksumError::Range)?;
        let digits = self.digits();
        let from = match self.at {
            Some(at) => place(at, length),
            None => length.checked_sub(digits),
        };
        let at = from.map(|from| from..from + digits);
        let at = at
            .filter(|at| at.end <= length)
            .ok_or(ChecksumError::Place)?;
        if over.start < at.end && at.start < over.end {
            return Err(ChecksumError::Itself);
        }
        Ok((over, at))
    }

    /// Bytes that it takes in the frame.
    fn digits(&self) -> usize {
        match self.encoding {
            Encoding::Hex(_) => 2 * self.kind.width(),
            Encoding::Binary(_) => self.kind.width(),
        }
    }

    /// The bytes that say `sum`.
    fn written(&self, sum: u16) -> Vec<u8> {
        let skipped = 2 - self.kind.width();
        let mut bytes: Vec<u8> = sum.to_be_bytes().into_iter().skip(skipped).collect();
        let (Encoding::Hex(endian) | Encoding::Binary(endian)) = self.encoding;
        if endian == Endian::Little {
            bytes.reverse();
        }
        match self.encoding {
            Encoding::Binary(_) => bytes,
            Encoding::Hex(_) => bytes
                .iter()
                .flat_map(|byte| format!("{byte:02X}").into_bytes())
                .collect(),
        }
    }

    fn read(&self, written: &[u8]) -> Option<i64> {
        match self.encoding {
            Encoding::Binary(endian) => Some(endian.number(written)),
            Encoding::Hex(endian) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let mut bytes = Vec::with_capacity(2);
                for pair in written.chunks(2) {
                    let digits = pair.iter().map(digit).collect::<Option<Vec<_>>>()?;
                    let byte = digits.iter().fold(0, |byte, digit| byte << 4 | digit);
                    bytes.push(u8::try_from(byte).ok()?);
                }
                Some(endian.number(&bytes))
            }
        }
    }
}

impl Span {
    /// The bytes in a frame of that length; `None` where there is none.
    fn range(self, length: usize) -> Option<Range<usize>> {
        let from = place(self.from, length)?;
        let to = match self.to {
            Some(to) => place(to, length)?,
            None => length,
        };
        (from < to && to <= length).then_some(from..to)
    }
}

impl FromStr for Span {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, to) = text.split_once("..").ok_or(())?;
        let number = |text: &str| text.parse::<i32>().map_err(|_| ());
        Ok(Self {
            from: if from.is_empty() { 0 } else { number(from)? },
            to: if to.is_empty() {
                None
            } else {
                Some(number(to)?)
            },
        })
    }
}

/// The byte that a place means; negative ones count from the end.
fn place(at: i32, length: usize) -> Option<usize> {
    let distance = usize::try_from(at.unsigned_abs()).ok()?;
    if at < 0 {
        length.checked_sub(distance)
    } else {
        Some(distance)
    }
}
