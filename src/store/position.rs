//! The reader's position as it is stored: one small row, always whole, so that a commit whose outcome is unknown can
//! simply be made again.
//!
//! ```text
//! epoch:u32 | cursor:u64 | done above the cursor | received (QoS 2) | generations touched: count, (number, done)*
//! | session: length, text; length 0: none | from version 2 on: holes, see `gap`; routes: count, fingerprint:u32*
//! ```
//!
//! It is [`framed`], so it can be found in a damaged file.

use bytes::Bytes;

use super::framed;
use super::gap::Gaps;
use super::ranges::Ranges;
use super::varint;

/// What a stored position starts with; a version byte follows.
pub(super) const MAGIC: &[u8; 7] = b"FGPOSIT";
const VERSION: u8 = 2;
/// Without holes and routes.
const VERSION_1: u8 = 1;

/// How far the reader is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The start of the program that wrote it.
    pub(super) epoch: u32,
    /// Every message up to here is done.
    pub(super) cursor: u64,
    /// Done above the cursor, or never written.
    pub(super) done: Ranges,
    /// QoS 2 messages whose PUBREC has come.
    pub(super) received: Ranges,
    /// Generations of which some messages are done: their number and how many.
    pub(super) touched: Vec<(u64, u64)>,
    /// What the reader calls its session at the upstream; the marks of `received` were made in it.
    pub(super) session: Option<String>,
    /// Holes that the upstream does not know of.
    pub(super) gaps: Gaps,
    /// What the appender calls its routes; see [`super::Log::keep_routes`].
    pub(super) routes: Vec<u32>,
}

impl Position {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64);
        body.extend_from_slice(&self.epoch.to_le_bytes());
        body.extend_from_slice(&self.cursor.to_le_bytes());
        self.done.encode(&mut body);
        self.received.encode(&mut body);
        varint::put(&mut body, self.touched.len() as u64);
        for (number, done) in &self.touched {
            varint::put(&mut body, *number);
            varint::put(&mut body, *done);
        }
        let session = self.session.as_deref().unwrap_or_default();
        varint::put_bytes(&mut body, session.as_bytes());
        self.gaps.encode(&mut body);
        varint::put(&mut body, self.routes.len() as u64);
        for route in &self.routes {
            body.extend_from_slice(&route.to_le_bytes());
        }
        framed::seal(MAGIC, VERSION, &body)
    }

    /// `None`: no position, or not as it was written; bytes after its end do not matter.
    pub(super) fn decode(bytes: Bytes) -> Option<Self> {
        let (mut input, is_version_2) = match framed::open(MAGIC, VERSION, bytes.clone()) {
            Some(input) => (input, true),
            None => (framed::open(MAGIC, VERSION_1, bytes)?, false),
        };
        let mut position = Self {
            epoch: input.u32()?,
            cursor: input.u64()?,
            done: Ranges::decode(&mut input)?,
            received: Ranges::decode(&mut input)?,
            ..Self::default()
        };
        for _ in 0..input.varint()? {
            position.touched.push((input.varint()?, input.varint()?));
        }
        let session = String::from_utf8(input.bytes()?.to_vec()).ok()?;
        position.session = Some(session).filter(|session| !session.is_empty());
        if is_version_2 {
            position.gaps = Gaps::decode(&mut input)?;
            for _ in 0..input.varint()? {
                position.routes.push(input.u32()?);
            }
        }
        Some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::super::gap::GapReason;
    use super::*;
    use crate::clock::WallTime;

    fn position() -> Position {
        let mut position = Position {
            epoch: 3,
            cursor: 1000,
            touched: vec![(1, 5), (2, 900)],
            session: Some("cloud:8883 gw".to_owned()),
            routes: vec![7, u32::MAX],
            ..Position::default()
        };
        position.done.insert(1002, 1004);
        position.done.insert(1009, 1009);
        position.received.insert(1001, 1001);
        let (first, last) = (WallTime(7), WallTime(9));
        position.gaps.add(GapReason::MaxAge, 3, first, last);
        position.gaps.fix();
        position
    }

    #[test]
    fn a_position_of_version_1_has_neither_holes_nor_routes() {
        let old = Position {
            gaps: Gaps::default(),
            routes: Vec::new(),
            ..position()
        };
        let whole = old.encode();
        let (head, body) = (16, whole.len() - 4); // no number, none fixed, none open, no routes
        let bytes = framed::seal(MAGIC, VERSION_1, &whole[head..body]);
        assert_eq!(Position::decode(bytes.into()), Some(old));
    }

    #[test]
    fn a_position_comes_back_whatever_follows_it() {
        let mut bytes = position().encode();
        bytes.extend_from_slice(b"rest of the page");
        assert_eq!(Position::decode(bytes.into()), Some(position()));
    }

    #[test]
    fn a_position_without_a_session_comes_back() {
        let position = Position {
            session: None,
            ..position()
        };
        assert_eq!(Position::decode(position.encode().into()), Some(position));
    }

    #[test]
    fn a_damaged_position_is_noticed() {
        let whole = position().encode();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert_eq!(Position::decode(bytes.into()), None, "byte {at}");
            assert_eq!(Position::decode(whole[..at].to_vec().into()), None);
        }
    }
}
