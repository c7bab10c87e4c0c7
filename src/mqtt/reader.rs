//! Reads the fields of one frame (MQTT 5 section 1.5). Strings and binary data come out as slices of the frame.

use bytes::Bytes;
use bytestring::ByteString;

use super::header::read_variable_byte_integer;
use super::{DecodeError, PacketId, PacketType, ReasonCode};
use crate::topic::{TopicError, TopicName};

/// What is left to read of a frame. Every read is checked against the end.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// What slices are cut from; `rest` lies inside.
    frame: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `rest` is a part of `frame`.
    pub(super) fn new(frame: &'a Bytes, rest: &'a [u8]) -> Self {
        Self { frame, rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Section 1.5.5; only MQTT 5 has them inside a body, so the fewest bytes are required.
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, DecodeError> {
        let number = read_variable_byte_integer(self.rest)
            .map_err(|()| DecodeError::RemainingLength)?
            .ok_or(DecodeError::Truncated)?;
        if !number.minimal() {
            return Err(DecodeError::LengthNotMinimal);
        }
        self.take(number.len)?;
        Ok(number.value)
    }

    /// A reader of the next `count` bytes, which this one skips.
    pub(super) fn split(&mut self, count: u32) -> Result<Self, DecodeError> {
        let rest = self.take(count as usize)?;
        Ok(Self {
            frame: self.frame,
            rest,
        })
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::PacketIdZero)
    }

    /// A Reason Code that `packet` may carry.
    pub(super) fn reason(&mut self, packet: PacketType) -> Result<ReasonCode, DecodeError> {
        let code = self.u8()?;
        ReasonCode::from_byte(code)
            .filter(|reason| reason.is_for(packet))
            .ok_or(DecodeError::ReasonCode { packet, code })
    }

    /// Binary Data, section 1.5.6.
    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        let count = self.u16()?;
        let taken = self.take(usize::from(count))?;
        Ok(self.frame.slice_ref(taken))
    }

    /// A UTF-8 Encoded String, section 1.5.4.
    pub(super) fn string(&mut self) -> Result<ByteString, DecodeError> {
        let bytes = self.binary()?;
        if bytes.contains(&0) {
            return Err(DecodeError::NullCharacter);
        }
        ByteString::try_from(bytes).map_err(|_| DecodeError::NotUtf8)
    }

    /// A Topic Name.
    pub(super) fn topic(&mut self) -> Result<TopicName, DecodeError> {
        TopicName::from_bytes(self.binary()?).map_err(|error| match error {
            TopicError::NotUtf8 => DecodeError::NotUtf8,
            TopicError::Null => DecodeError::NullCharacter,
            other => DecodeError::Topic(other),
        })
    }

    /// All that is left.
    pub(super) fn remainder(&mut self) -> Bytes {
        let taken = std::mem::take(&mut self.rest);
        self.frame.slice_ref(taken)
    }
}
