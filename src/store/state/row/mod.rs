//! The stored form of what `state.redb` keeps: one row for each session, subscription and retained message, and the head.
//! No I/O.
//!
//! ```text
//! "FGROW" version:u8 | crc32c:u32 | body length:u32 | body               the CRC covers all that follows it
//! body: kind:u8 | stamp: varint, milliseconds of the timeline | content
//! 0 head          epoch:u32 | wall:u64 | boot:u8 [id:u128 | uptime:u64] | rows of each table: 3 varints
//! 1 session       number: varint | flags:u8 | version:u8 | expiry: varint | client id [user] [expires in, ms] [will in, ms]
//!                 [will: delay, message]
//! 2 subscription  number: varint | filter | flags:u8 [identifier: varint]
//! 3 retained      publisher | message
//! 4 mark          number: varint | packet id: varint
//! message         flags:u8 | topic [MQTT 5 property block] | payload        texts and bytes: varint length, bytes
//! ```
//!
//! A row says what it is, and when it was written, so that it can be found in a damaged file without redb. Time that
//! remains counts from the stamp. Separate from the run-time types: a change of this form is a new version.

mod message;
mod session;

use bytes::Bytes;
use bytestring::ByteString;

use super::super::varint::{self, Input};
use super::super::{Mark, SessionNumber, StateChange};
use crate::clock::{Boot, ClockMark, ClockReading, WallTime};
use crate::mqtt::PacketId;
use crate::topic::TopicName;

/// What a row starts with; [`VERSION`] follows.
pub(super) const MAGIC: &[u8; 5] = b"FGROW";
/// Version of all rows. In version 1 no session says that it is certified, and there are no marks.
pub(super) const VERSION: u8 = 2;
const CRC_AT: usize = 6;
const COVERED_FROM: usize = 10;
const BODY_FROM: usize = 14;

const HEAD: u8 = 0;
const SESSION: u8 = 1;
const SUBSCRIPTION: u8 = 2;
const RETAINED: u8 = 3;
const MARK: u8 = 4;

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Row {
    Head(Head),
    Kept(Kept),
}

/// What is known of the file as a whole, as of its last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The start of the program that wrote it.
    pub(super) epoch: u32,
    /// When.
    pub(super) clock: ClockMark,
    /// Rows in each table.
    pub(super) counts: Counts,
}

/// Rows in each table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sessions: u64,
    pub(super) subscriptions: u64,
    pub(super) retained: u64,
}

/// What a key has, and since when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    /// Milliseconds of the timeline.
    pub(super) stamp: u64,
    /// One of those that keep something, not `*Gone`.
    pub(super) change: StateChange,
}

/// What a row is about. Ordered so that the subscriptions of a session are neighbours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Session(SessionNumber),
    Subscription(SessionNumber, ByteString),
    Retained(TopicName),
    Mark(Mark),
}

/// Why a value is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowError {
    /// Magic, CRC or content are wrong.
    #[error("a row does not match its checksum")]
    Damaged,
    /// A newer program wrote it.
    #[error("a row has version {0}")]
    Newer(u8),
}

impl Key {
    pub(super) fn of(change: &StateChange) -> Self {
        match change {
            StateChange::Session(number, _) | StateChange::SessionGone(number) => {
                Self::Session(*number)
            }
            StateChange::Subscription(number, filter, _)
            | StateChange::SubscriptionGone(number, filter) => {
                Self::Subscription(*number, filter.clone())
            }
            StateChange::Retained(message, _) => Self::Retained(message.topic.clone()),
            StateChange::RetainedGone(topic) => Self::Retained(topic.clone()),
            StateChange::Marked(mark) | StateChange::MarkGone(mark) => Self::Mark(*mark),
        }
    }
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = begin(HEAD, self.clock.timeline);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.clock.reading.wall.0.to_le_bytes());
        out.push(u8::from(self.clock.reading.boot.is_some()));
        if let Some(boot) = self.clock.reading.boot {
            out.extend_from_slice(&boot.id.to_le_bytes());
            out.extend_from_slice(&boot.uptime.to_le_bytes());
        }
        varint::put(&mut out, self.counts.sessions);
        varint::put(&mut out, self.counts.subscriptions);
        varint::put(&mut out, self.counts.retained);
        finish(out)
    }

    fn decode(timeline: u64, input: &mut Input) -> Option<Self> {
        let epoch = input.u32()?;
        let wall = WallTime(input.u64()?);
        let boot = match input.byte()? {
            0 => None,
            1 => Some(Boot {
                id: u128::from_le_bytes(input.take(16)?.as_ref().try_into().ok()?),
                uptime: input.u64()?,
            }),
            _ => return None,
        };
        Some(Self {
            epoch,
            clock: ClockMark {
                timeline,
                reading: ClockReading { wall, boot },
            },
            counts: Counts {
                sessions: input.varint()?,
                subscriptions: input.varint()?,
                retained: input.varint()?,
            },
        })
    }
}

/// The row of what `change` keeps; `None` where it keeps nothing.
pub(super) fn encode(stamp: u64, change: &StateChange) -> Option<Vec<u8>> {
    let row = match change {
        StateChange::Session(number, session) => {
            let mut out = begin(SESSION, stamp);
            varint::put(&mut out, number.0);
            session::encode_session(&mut out, session);
            out
        }
        StateChange::Subscription(number, filter, subscription) => {
            let mut out = begin(SUBSCRIPTION, stamp);
            varint::put(&mut out, number.0);
            varint::put_bytes(&mut out, filter.as_bytes());
            session::encode_subscription(&mut out, *subscription);
            out
        }
        StateChange::Retained(message, publisher) => {
            let mut out = begin(RETAINED, stamp);
            varint::put_bytes(&mut out, publisher.as_bytes());
            message::encode(&mut out, message);
            out
        }
        StateChange::Marked(mark) => {
            let mut out = begin(MARK, stamp);
            varint::put(&mut out, mark.session.0);
            varint::put(&mut out, mark.packet_id.get().into());
            out
        }
        StateChange::SessionGone(_)
        | StateChange::SubscriptionGone(..)
        | StateChange::RetainedGone(_)
        | StateChange::MarkGone(_) => return None,
    };
    Some(finish(row))
}

/// Reads the row that `bytes` begins with, and says how long it is; what follows it does not matter.
pub(super) fn decode(bytes: &Bytes) -> Result<(Row, usize), RowError> {
    let length = checked(bytes)?;
    let mut input = Input::new(bytes.slice(BODY_FROM..length));
    let row = decode_body(&mut input).ok_or(RowError::Damaged)?;
    Ok((row, length))
}

/// Length of the row, if it is as it was written.
fn checked(bytes: &Bytes) -> Result<usize, RowError> {
    let mut input = Input::new(bytes.clone());
    let magic = input.take(MAGIC.len()).ok_or(RowError::Damaged)?;
    let version = input.byte().ok_or(RowError::Damaged)?;
    if magic.as_ref() != MAGIC || version == 0 {
        return Err(RowError::Damaged);
    }
    if version > VERSION {
        return Err(RowError::Newer(version));
    }
    let crc = input.u32().ok_or(RowError::Damaged)?;
    let body = input.u32().and_then(|length| usize::try_from(length).ok());
    let length = body.and_then(|body| body.checked_add(BODY_FROM));
    let length = length.filter(|length| *length <= bytes.len());
    let length = length.ok_or(RowError::Damaged)?;
    if crc32c::crc32c(&bytes.slice(COVERED_FROM..length)) != crc {
        return Err(RowError::Damaged);
    }
    Ok(length)
}

fn decode_body(input: &mut Input) -> Option<Row> {
    let kind = input.byte()?;
    let stamp = input.varint()?;
    let change = match kind {
        HEAD => return Some(Row::Head(Head::decode(stamp, input)?)),
        SESSION => {
            let number = SessionNumber(input.varint()?);
            StateChange::Session(number, Box::new(session::decode_session(input)?))
        }
        SUBSCRIPTION => {
            let number = SessionNumber(input.varint()?);
            let filter = text(input)?;
            StateChange::Subscription(number, filter, session::decode_subscription(input)?)
        }
        RETAINED => {
            let publisher = text(input)?;
            StateChange::Retained(message::decode(input)?, publisher)
        }
        MARK => StateChange::Marked(Mark {
            session: SessionNumber(input.varint()?),
            packet_id: PacketId::new(u16::try_from(input.varint()?).ok()?)?,
        }),
        _ => return None,
    };
    Some(Row::Kept(Kept { stamp, change }))
}

fn text(input: &mut Input) -> Option<ByteString> {
    ByteString::try_from(input.bytes()?).ok()
}

/// A row whose CRC and length are still missing.
fn begin(kind: u8, stamp: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.resize(BODY_FROM, 0);
    out.push(kind);
    varint::put(&mut out, stamp);
    out
}

fn finish(mut out: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(out.len() - BODY_FROM).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(COVERED_FROM..BODY_FROM) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    let crc = crc32c::crc32c(out.get(COVERED_FROM..).unwrap_or_default());
    if let Some(place) = out.get_mut(CRC_AT..COVERED_FROM) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests;
