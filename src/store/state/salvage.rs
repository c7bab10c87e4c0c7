//! What to do with a damaged file: put it aside, and make it anew from the rows that can be found in its bytes.
//!
//! redb is not asked: a damaged page may send it anywhere. Copies that it left behind are found too, also ones that were
//! never committed; of two with one key the later wins. So nothing is invented, but what had ended may come back. Left out
//! are marks: one that had ended would keep a message from being retained that comes under its packet id.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::error::StoreError;
use super::super::writer::{Place, put_aside};
use super::super::{SessionNumber, StateChange};
use super::file::{self, NAME, StateFile, TEMPORARY};
use super::row::{self, Counts, Head, Kept, Key, MAGIC, Row, RowError};
use crate::clock::{ClockMark, ClockReading};

/// Where no head was found, it is not known how many starts there were; no session number may be used twice.
const UNKNOWN_EPOCHS: u32 = 1000;

/// What was found in the bytes of a file.
#[derive(Debug, Default)]
struct Scanned {
    head: Option<Head>,
    rows: BTreeMap<Key, Kept>,
    /// Rows whose checksum is wrong.
    damaged: u64,
    /// The version of a row that a newer program wrote.
    newer: Option<u8>,
}

/// Makes the file anew; gives how many rows could not be read, as far as that can be told. The damaged file is kept
/// beside it as `*.bad-<seconds since 1970>`.
pub(super) fn salvage(
    place: &Place,
    reading: ClockReading,
    damage: &StoreError,
) -> Result<u64, StoreError> {
    tracing::error!(%damage, "putting the file aside and salvaging what is in it");
    let bytes = place.directory.read(NAME);
    let bytes = bytes.map_err(|error| place.io(NAME, error))?;
    let mut scanned = scan(&Bytes::from(bytes));
    if let Some(found) = scanned.newer.filter(|_| scanned.rows.is_empty()) {
        return Err(file::newer(place, found.into(), row::VERSION.into()));
    }
    let lost = scanned.lost();
    scanned.drop_strays();
    let head = scanned.head_or_guess(reading);
    let rows: Vec<_> = scanned.rows.into_values().collect();
    StateFile::fill(place, TEMPORARY, head.epoch, head.clock, &rows)?.close(place, TEMPORARY)?;
    put_aside(place, NAME, TEMPORARY)?;
    tracing::error!(
        rows = rows.len(),
        lost,
        "salvaged sessions, subscriptions and retained messages; some may be outdated"
    );
    Ok(lost)
}

/// Ends a salvage that was interrupted between its two renames; removes what was being made and has no name yet.
pub(super) fn finish(place: &Place) -> Result<(), StoreError> {
    let directory = &place.directory;
    let files = directory.list().map_err(|error| place.io("", error))?;
    let is_there = |wanted: &str| files.iter().any(|(name, _)| name == wanted);
    let was_put_aside = || {
        let prefix = format!("{NAME}.bad-");
        files.iter().any(|(name, _)| name.starts_with(&prefix))
    };
    let tidied = if !is_there(TEMPORARY) {
        Ok(())
    } else if !is_there(NAME) && was_put_aside() {
        directory.rename(TEMPORARY, NAME)
    } else {
        directory.remove(TEMPORARY)
    };
    // A name that an earlier attempt could not make durable must be, before anything is committed under it.
    tidied
        .and_then(|()| directory.sync())
        .map_err(|error| place.io(NAME, error))
}

fn scan(bytes: &Bytes) -> Scanned {
    let mut scanned = Scanned::default();
    let mut at = 0;
    while let Some(skipped) = find(bytes.get(at..).unwrap_or_default()) {
        at += skipped;
        match row::decode(&bytes.slice(at..)) {
            Ok((row, length)) => {
                scanned.take(row);
                // Over all of it: what a message contains is no row, whatever it looks like.
                at += length;
                continue;
            }
            Err(RowError::Damaged) => scanned.damaged += 1,
            Err(RowError::Newer(version)) => scanned.newer = Some(version),
        }
        at += 1;
    }
    scanned
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)
}

impl Scanned {
    fn take(&mut self, row: Row) {
        match row {
            Row::Head(head) => {
                let order = |head: &Head| (head.epoch, head.clock.timeline);
                if self.head.is_none_or(|held| order(&held) < order(&head)) {
                    self.head = Some(head);
                }
            }
            Row::Kept(Kept {
                change: StateChange::Marked(_),
                ..
            }) => {}
            Row::Kept(kept) => {
                let slot = self.rows.entry(Key::of(&kept.change));
                let held = slot.or_insert_with(|| kept.clone());
                if held.stamp < kept.stamp {
                    *held = kept;
                }
            }
        }
    }

    fn lost(&self) -> u64 {
        let Some(head) = self.head else {
            return self.damaged;
        };
        let mut found = Counts::default();
        for key in self.rows.keys() {
            match key {
                Key::Session(_) => found.sessions += 1,
                Key::Subscription(..) => found.subscriptions += 1,
                Key::Retained(_) => found.retained += 1,
                Key::Mark(_) => {}
            }
        }
        let had = head.counts;
        had.sessions.saturating_sub(found.sessions)
            + had.subscriptions.saturating_sub(found.subscriptions)
            + had.retained.saturating_sub(found.retained)
    }

    /// Leaves out sessions whose client has begun another since, and subscriptions without a session.
    fn drop_strays(&mut self) {
        let mut newest = BTreeMap::new();
        for kept in self.rows.values() {
            if let StateChange::Session(number, session) = &kept.change {
                // Keys ascend, and so do numbers.
                newest.insert(session.client_id.clone(), *number);
            }
        }
        let numbers: BTreeSet<SessionNumber> = newest.into_values().collect();
        self.rows.retain(|key, _| match key {
            Key::Session(number) | Key::Subscription(number, _) => numbers.contains(number),
            Key::Retained(_) | Key::Mark(_) => true,
        });
    }

    fn head_or_guess(&self, reading: ClockReading) -> Head {
        if let Some(head) = self.head {
            return head;
        }
        let starts = self.rows.keys().map(|key| match key {
            Key::Session(number) => super::epoch_of(*number),
            _ => 0,
        });
        let stamps = self.rows.values().map(|kept| kept.stamp);
        Head {
            epoch: starts.max().unwrap_or(0).saturating_add(UNKNOWN_EPOCHS),
            clock: ClockMark {
                timeline: stamps.max().unwrap_or(0),
                reading,
            },
            counts: Counts::default(),
        }
    }
}
