//! Numbers as they are stored: LEB128 varints and little-endian words, and the cursor that reads them back.
//!
//! Every read is checked: what is not there is `None`, never a panic, and no length is trusted before the bytes behind
//! it have been seen.

use bytes::Bytes;

/// Longest varint of a `u64`.
const VARINT_BYTES_MAX: u32 = 10;

/// Appends `value`, 7 bits a byte, lowest first.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends a length and the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Small numbers of either sign to small numbers without sign.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The reverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads stored bytes from front to back. A part that is kept shares them; numbers do not, because counting who shares
/// costs more than reading one.
#[derive(Clone, Debug)]
pub(super) struct Input {
    bytes: Bytes,
    at: usize,
}

impl Input {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bytes, shared with what is being read.
    pub(super) fn take(&mut self, count: usize) -> Option<Bytes> {
        let end = self.at.checked_add(count)?;
        let taken = (end <= self.bytes.len()).then(|| self.bytes.slice(self.at..end))?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(array)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for place in 0..VARINT_BYTES_MAX {
            let byte = *self.bytes.get(self.at + place as usize)?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * place);
            if shifted >> (7 * place) != bits {
                return None;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                self.at += place as usize + 1;
                return Some(value);
            }
        }
        None
    }

    /// A length and as many bytes.
    pub(super) fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_come_back(value: u64) {
            let mut out = Vec::new();
            put(&mut out, value);
            let mut input = Input::new(out.into());
            prop_assert_eq!(input.varint(), Some(value));
            prop_assert_eq!(input.byte(), None);
        }

        #[test]
        fn signs_come_back(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let mut input = Input::new(bytes.into());
            while input.bytes().is_some() {}
        }
    }

    #[test]
    fn a_varint_that_does_not_fit_is_refused() {
        let mut input = Input::new(vec![0xff; 12].into());
        assert_eq!(input.varint(), None);
        let mut input =
            Input::new(vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02].into());
        assert_eq!(input.varint(), None);
    }
}
