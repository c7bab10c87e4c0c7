//! What is stored of a session in the session log: one small row, always whole, so that a commit whose outcome is unknown
//! can simply be made again. No I/O.
//!
//! ```text
//! session | epoch:u32 | order | horizon | sent | last packet id, 0: none | gone above the horizon
//! | generations: count, (number, unread messages, their bytes, skip, open: count, (distance from the one before, bytes,
//!   received: 0 or 1)*)*
//! ```
//!
//! All varints but the epoch. It is framed, so it can be found in a damaged file; of several, that of the latest commit
//! counts.

use bytes::Bytes;

use super::super::ranges::Ranges;
use super::super::{SessionNumber, framed, varint};
use crate::mqtt::PacketId;

/// What a stored row of a session starts with; a version byte follows.
pub(in crate::store) const MAGIC: &[u8; 7] = b"FGSESSN";
const VERSION: u8 = 1;

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct SessionRow {
    pub(in crate::store) session: SessionNumber,
    /// The start of the program that wrote it, and the number of the commit in it.
    pub(in crate::store) epoch: u32,
    pub(in crate::store) order: u64,
    /// Of the messages up to here, the session wants only those listed as open.
    pub(in crate::store) horizon: u64,
    /// The highest position that may have been sent.
    pub(in crate::store) sent: u64,
    pub(in crate::store) last_packet_id: Option<PacketId>,
    /// Done above the horizon.
    pub(in crate::store) gone: Ranges,
    /// Generations with something that it wants, lowest number first.
    pub(in crate::store) parts: Vec<Part>,
}

/// What a session wants of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Part {
    pub(in crate::store) generation: u64,
    /// Messages above the horizon that are not open, those to be skipped included.
    pub(in crate::store) messages: u64,
    /// Their bytes, those to be skipped not included.
    pub(in crate::store) bytes: u64,
    /// The oldest so many of them that may not have been sent are dropped.
    pub(in crate::store) skip: u64,
    pub(in crate::store) open: Vec<Open>,
}

/// A message that was handed out and is not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Open {
    pub(in crate::store) seq: u64,
    pub(in crate::store) bytes: u64,
    pub(in crate::store) received: bool,
}

impl SessionRow {
    /// The highest position that it speaks of.
    pub(in crate::store) fn highest(&self) -> u64 {
        let open = self.parts.iter().flat_map(|part| &part.open);
        let open = open.map(|open| open.seq).max().unwrap_or(0);
        self.horizon.max(self.sent).max(self.gone.last()).max(open)
    }

    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64);
        varint::put(&mut body, self.session.0);
        body.extend_from_slice(&self.epoch.to_le_bytes());
        for value in [self.order, self.horizon, self.sent] {
            varint::put(&mut body, value);
        }
        let id = self.last_packet_id.map_or(0, PacketId::get);
        varint::put(&mut body, id.into());
        self.gone.encode(&mut body);
        varint::put(&mut body, self.parts.len() as u64);
        for part in &self.parts {
            for value in [part.generation, part.messages, part.bytes, part.skip] {
                varint::put(&mut body, value);
            }
            varint::put(&mut body, part.open.len() as u64);
            let mut before = 0;
            for open in &part.open {
                varint::put(&mut body, open.seq.wrapping_sub(before));
                varint::put(&mut body, open.bytes);
                body.push(open.received.into());
                before = open.seq;
            }
        }
        framed::seal(MAGIC, VERSION, &body)
    }

    /// `None`: no row of a session, or not as it was written; bytes after its end do not matter.
    pub(in crate::store) fn decode(bytes: Bytes) -> Option<Self> {
        let mut input = framed::open(MAGIC, VERSION, bytes)?;
        let mut row = Self {
            session: SessionNumber(input.varint()?),
            epoch: input.u32()?,
            order: input.varint()?,
            horizon: input.varint()?,
            sent: input.varint()?,
            last_packet_id: PacketId::new(u16::try_from(input.varint()?).ok()?),
            gone: Ranges::decode(&mut input)?,
            parts: Vec::new(),
        };
        for _ in 0..input.varint()? {
            let mut part = Part {
                generation: input.varint()?,
                messages: input.varint()?,
                bytes: input.varint()?,
                skip: input.varint()?,
                open: Vec::new(),
            };
            let mut before = 0_u64;
            for _ in 0..input.varint()? {
                let open = Open {
                    seq: before.wrapping_add(input.varint()?),
                    bytes: input.varint()?,
                    received: input.byte()? != 0,
                };
                before = open.seq;
                part.open.push(open);
            }
            row.parts.push(part);
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> SessionRow {
        let mut row = SessionRow {
            session: SessionNumber(9),
            epoch: 3,
            order: 17,
            horizon: 1000,
            sent: 1003,
            last_packet_id: PacketId::new(77),
            gone: Ranges::default(),
            parts: vec![
                Part {
                    generation: 2,
                    open: vec![
                        Open {
                            seq: 990,
                            bytes: 12,
                            received: true,
                        },
                        Open {
                            seq: 999,
                            bytes: 400,
                            received: false,
                        },
                    ],
                    ..Part::default()
                },
                Part {
                    generation: 3,
                    messages: 12,
                    bytes: 3000,
                    skip: 2,
                    open: Vec::new(),
                },
            ],
        };
        row.gone.insert(1002, 1005);
        row
    }

    #[test]
    fn a_row_comes_back_whatever_follows_it() {
        let mut bytes = row().encode();
        bytes.extend_from_slice(b"rest of the page");
        assert_eq!(SessionRow::decode(bytes.into()), Some(row()));
        assert_eq!(row().highest(), 1005);
    }

    #[test]
    fn a_damaged_row_is_noticed() {
        let whole = row().encode();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert_eq!(SessionRow::decode(bytes.into()), None, "byte {at}");
            assert_eq!(SessionRow::decode(whole[..at].to_vec().into()), None);
        }
    }
}
