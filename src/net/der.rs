//! A walk down one path of a DER value, instead of an X.509 crate and its dozen dependencies.
//!
//! What is walked here is read by webpki as well, which decides whether it is valid. Every length is checked against what
//! is there; nothing is allocated.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0C;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const IA5_STRING: u8 = 0x16;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// What remains to be read of one DER value.
pub(super) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The content of the next value, which must carry `tag`.
    pub(super) fn open(&mut self, tag: u8) -> Option<Self> {
        let (found, content) = self.next()?;
        (found == tag).then_some(content)
    }

    /// Tag and content of the next value. Lengths below 16 MiB, in the one form that DER allows.
    pub(super) fn next(&mut self) -> Option<(u8, Self)> {
        let (length, rest, tag) = match *self.0 {
            [tag, length @ 0..=0x7F, ref rest @ ..] => (usize::from(length), rest, tag),
            [tag, 0x81, length @ 0x80..=0xFF, ref rest @ ..] => (usize::from(length), rest, tag),
            [tag, 0x82, high @ 1..=0xFF, low, ref rest @ ..] => {
                (usize::from(u16::from_be_bytes([high, low])), rest, tag)
            }
            [tag, 0x83, high @ 1..=0xFF, middle, low, ref rest @ ..] => {
                let length = u32::from_be_bytes([0, high, middle, low]);
                (usize::try_from(length).ok()?, rest, tag)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, Self(content)))
    }
}
