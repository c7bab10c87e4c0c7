//! The frame around a small row: it can be told from damage, and found in the bytes of a damaged file. No I/O.
//!
//! ```text
//! magic (7 bytes) version:u8 | crc32c:u32 of the body | body length:u32 | body
//! ```

use bytes::Bytes;

use super::varint::Input;

const HEAD_BYTES: usize = 16;

/// Puts the frame around `body`.
pub(super) fn seal(magic: &[u8; 7], version: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
    out.extend_from_slice(magic);
    out.push(version);
    out.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(body);
    out
}

/// The body. `None`: another frame, or not as it was written; bytes after its end do not matter.
pub(super) fn open(magic: &[u8; 7], version: u8, bytes: Bytes) -> Option<Input> {
    let mut input = Input::new(bytes);
    if input.take(magic.len())?.as_ref() != magic || input.byte()? != version {
        return None;
    }
    let crc = input.u32()?;
    let length = usize::try_from(input.u32()?).ok()?;
    let body = input.take(length)?;
    (crc32c::crc32c(&body) == crc).then(|| Input::new(body))
}
