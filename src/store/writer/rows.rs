//! The small rows of a generation, by their keys in the table `cur`:
//!
//! | key | value |
//! |---|---|
//! | `reader` | the position, whole |
//! | `s`, session (u64, big endian) | the session's row, whole |
//! | `m`, session (u64, big endian), packet id (u16, big endian) | a mark: a version byte |
//! | `salvaged` | the rows were found in a damaged file: a version byte |
//!
//! In the log of a bridge there are no rows of sessions; in format 1 there was the position only.

use bytes::Bytes;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::super::keeper::Rows;
use super::super::position::Position;
use super::super::sessions::SessionRow;
use super::super::{Mark, SessionNumber};
use super::tables::{Contents, SEALED};
use crate::mqtt::PacketId;

pub(in crate::store) const SMALL: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("cur");
pub(in crate::store) const READER: &[u8] = b"reader";
pub(in crate::store) const SALVAGED: &[u8] = b"salvaged";
/// Of a row that says all with its key.
const VERSION: [u8; 1] = [1];

fn session_key(session: SessionNumber) -> Vec<u8> {
    let mut key = vec![b's'];
    key.extend_from_slice(&session.0.to_be_bytes());
    key
}

fn mark_key(mark: Mark) -> Vec<u8> {
    let mut key = vec![b'm'];
    key.extend_from_slice(&mark.session.0.to_be_bytes());
    key.extend_from_slice(&mark.packet_id.get().to_be_bytes());
    key
}

fn number(bytes: &[u8]) -> Option<SessionNumber> {
    Some(SessionNumber(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// Puts and deletes what `rows` says.
pub(in crate::store) fn write(
    transaction: &WriteTransaction,
    rows: &Rows,
) -> Result<(), redb::Error> {
    let mut small = transaction.open_table(SMALL)?;
    if rows.whole {
        small.retain(|_, _| false)?;
    }
    small.insert(READER, rows.position.encode().as_slice())?;
    for (session, row) in &rows.sessions {
        let row = row.as_ref().map(SessionRow::encode);
        put(&mut small, &session_key(*session), row.as_deref())?;
    }
    for (mark, is_set) in &rows.marks {
        put(&mut small, &mark_key(*mark), is_set.then_some(&VERSION))?;
    }
    let mut sealed = transaction.open_table(SEALED)?;
    for summary in &rows.summaries {
        sealed.insert(summary.number, summary.encode().as_slice())?;
    }
    Ok(())
}

fn put(
    small: &mut Table<'_, &[u8], &[u8]>,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), redb::Error> {
    match value {
        Some(value) => small.insert(key, value)?,
        None => small.remove(key)?,
    };
    Ok(())
}

/// Says in a file made anew that its rows were salvaged.
pub(in crate::store) fn note_salvage(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut small = transaction.open_table(SMALL)?;
    small.insert(SALVAGED, VERSION.as_slice())?;
    Ok(())
}

/// Fills in what the small rows say. False: some row is not as it was written, or the position is missing.
pub(in crate::store) fn read(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    contents: &mut Contents,
) -> Result<bool, redb::Error> {
    let mut has_position = false;
    for row in table.iter()? {
        let (key, value) = row?;
        let value = Bytes::copy_from_slice(value.value());
        let is_whole = match key.value().split_first() {
            _ if key.value() == READER => {
                has_position = true;
                Position::decode(value).map(|position| contents.position = position)
            }
            _ if key.value() == SALVAGED => {
                contents.is_salvaged = true;
                Some(())
            }
            Some((b's', session)) => session_row(session, value).map(|row| {
                contents.sessions.insert(row.session, row);
            }),
            Some((b'm', mark)) => parse_mark(mark).map(|mark| contents.marks.push(mark)),
            _ => None,
        };
        if is_whole.is_none() {
            return Ok(false);
        }
    }
    Ok(has_position)
}

fn session_row(key: &[u8], value: Bytes) -> Option<SessionRow> {
    let session = number(key)?;
    SessionRow::decode(value).filter(|row| row.session == session)
}

fn parse_mark(key: &[u8]) -> Option<Mark> {
    let (session, packet_id) = key.split_at_checked(8)?;
    let packet_id = u16::from_be_bytes(packet_id.try_into().ok()?);
    Some(Mark {
        session: number(session)?,
        packet_id: PacketId::new(packet_id)?,
    })
}
