//! Writes the fields of a packet (MQTT 5 section 1.5), or only counts their bytes.
//!
//! A packet has one function that writes its body; it runs once against [`Measure`], which finds the length and whatever
//! cannot be written, and once against the buffer. So a length is exact by construction, and nothing is written of a
//! packet that cannot be written whole.

use bytes::{BufMut, BytesMut};

use super::header::{REMAINING_LENGTH_MAX, variable_byte_integer};
use super::{EncodeError, PacketId, PacketType, ReasonCode};

/// Takes the bytes of a packet.
pub(super) trait Writer {
    fn put(&mut self, bytes: &[u8]);

    /// Says that what is being written cannot be written.
    fn refuse(&mut self, error: EncodeError);

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    fn packet_id(&mut self, id: PacketId) {
        self.u16(id.get());
    }

    /// A Reason Code, if `packet` may carry it.
    fn reason(&mut self, packet: PacketType, reason: ReasonCode) {
        if !reason.is_for(packet) {
            self.refuse(EncodeError::ReasonCode { packet, reason });
        }
        self.u8(reason.byte());
    }

    /// Section 1.5.5.
    fn variable_byte_integer(&mut self, value: usize) {
        match u32::try_from(value) {
            Ok(value) if value <= REMAINING_LENGTH_MAX => {
                let (bytes, len) = variable_byte_integer(value);
                self.put(bytes.get(..len).unwrap_or(&bytes));
            }
            _ => self.refuse(EncodeError::PacketTooLarge { len: value }),
        }
    }

    /// Binary Data, section 1.5.6; also a string that is known to be free of U+0000.
    fn binary(&mut self, bytes: &[u8]) {
        match u16::try_from(bytes.len()) {
            Ok(len) => {
                self.u16(len);
                self.put(bytes);
            }
            Err(_) => self.refuse(EncodeError::FieldTooLong { len: bytes.len() }),
        }
    }

    /// A UTF-8 Encoded String, section 1.5.4.
    fn string(&mut self, text: &str) {
        if text.as_bytes().contains(&0) {
            self.refuse(EncodeError::NullCharacter);
        }
        self.binary(text.as_bytes());
    }
}

impl Writer for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    /// The measuring pass came first and found nothing.
    fn refuse(&mut self, error: EncodeError) {
        debug_assert!(false, "written without measuring: {error}");
    }
}

/// Counts, and keeps the first thing that cannot be written.
#[derive(Debug, Default)]
pub(super) struct Measure {
    len: usize,
    error: Option<EncodeError>,
}

impl Writer for Measure {
    fn put(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
    }

    fn refuse(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }
}

impl Measure {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0 && self.error.is_none()
    }
}

/// How many bytes `write` writes.
pub(super) fn measure(write: impl FnOnce(&mut dyn Writer)) -> Result<usize, EncodeError> {
    let mut measure = Measure::default();
    write(&mut measure);
    match measure.error {
        None => Ok(measure.len),
        Some(error) => Err(error),
    }
}
