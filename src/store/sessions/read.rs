//! What a session gets: from RAM, or sifted from what was found in the files.

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::reading::{Ask, Found};
use super::super::tail::message_bytes;
use super::super::{Seq, SessionEntry, SessionNumber, Want};
use super::SessionCore;
use crate::mqtt::Message;

/// Where the next messages of a session are.
#[derive(Debug)]
pub(in crate::store) enum Reading {
    /// Here they are; and whether that is all there is at present.
    Ram(Vec<SessionEntry>, bool),
    /// In the files, from one position to another.
    Files { from: u64, until: u64 },
}

impl SessionCore {
    /// See [`super::super::SessionLog::read`].
    pub(in crate::store) fn read(
        &mut self,
        now: Instant,
        number: SessionNumber,
        after: u64,
        messages: usize,
        bytes: usize,
    ) -> Reading {
        let tail = self.front.tail.first();
        let Some(session) = self.sessions.get_mut(&number) else {
            return Reading::Ram(Vec::new(), true);
        };
        let mut open = session.open.range(after.saturating_add(1)..);
        let open_in_files = open.next().map(|(seq, _)| *seq).filter(|seq| *seq < tail);
        if session.is_behind() {
            let from = session.horizon + 1;
            if from < tail {
                let from = open_in_files.map_or(from, |open| open.min(from));
                return Reading::Files {
                    from,
                    until: tail - 1,
                };
            }
            // Counted, and nowhere: it was in what a salvage could not find.
            self.lost += session.looked(tail - 1, tail, &self.ledger, &mut self.census);
            self.note_dead();
        }
        match open_in_files {
            Some(from) => Reading::Files {
                from,
                until: tail - 1,
            },
            None => self.read_ram(now, number, after, messages, bytes),
        }
    }

    fn read_ram(
        &mut self,
        now: Instant,
        number: SessionNumber,
        after: u64,
        messages: usize,
        bytes: usize,
    ) -> Reading {
        let Some(session) = self.sessions.get(&number) else {
            return Reading::Ram(Vec::new(), true);
        };
        let from = after.saturating_add(1);
        let enough = messages.saturating_add(1);
        let open = session.open.range(from..).take(enough);
        let recent = session.recent.range(from..).take(enough);
        let seqs: BTreeSet<u64> = open.chain(recent).map(|(seq, _)| *seq).collect();
        let mut entries = Vec::new();
        let mut taken = 0;
        let mut is_all = true;
        for seq in seqs {
            let Some(kept) = self.front.tail.get(seq) else {
                continue;
            };
            taken += message_bytes(&kept.record.message);
            if !entries.is_empty() && (entries.len() >= messages || taken > bytes) {
                is_all = false;
                break;
            }
            let record = &kept.record;
            if let Some(place) = record.place_of(number)
                && let Some(want) = record.wants.get(place).cloned()
            {
                entries.push(self.entry(now, seq, record.message.clone(), record.stamp, want));
            }
        }
        if let Some(last) = entries.last()
            && let Some(session) = self.sessions.get_mut(&number)
        {
            session.hand_out(last.seq.0);
        }
        Reading::Ram(entries, is_all)
    }

    /// Sifts what was found for a session.
    pub(super) fn sift(&mut self, now: Instant, ask: &Ask, found: Found) -> Vec<SessionEntry> {
        let tail = self.front.tail.first();
        let Some(number) = ask.session else {
            return Vec::new();
        };
        let Some(session) = self.sessions.get_mut(&number) else {
            return Vec::new();
        };
        let open = session.open.range(ask.from..);
        let open = open.map(|(seq, _)| *seq);
        let mut missing: BTreeSet<_> = open.take_while(|seq| *seq <= found.reached).collect();
        let mut wanted = Vec::with_capacity(found.records.len());
        for (seq, _, record) in found.records {
            missing.remove(&seq);
            let generation = self.ledger.generation_of(seq);
            let generation = generation.map(|generation| generation.summary.number);
            let bytes = message_bytes(&record.message) as u64;
            if session.meet(seq, bytes, generation, &mut self.census) {
                wanted.push((seq, record));
            }
        }
        for seq in missing {
            if let Some(held) = session.open.remove(&seq) {
                self.census.remove(held.generation, 1);
                self.lost += 1;
            }
        }
        if ask.from <= session.horizon + 1 {
            self.lost += session.looked(found.reached, tail, &self.ledger, &mut self.census);
        }
        self.note_dead();
        let entries = wanted.into_iter();
        entries
            .filter_map(|(seq, record)| {
                let mut wants = record.wants.into_iter();
                let want = wants.find(|want| want.session == number)?;
                Some(self.entry(now, seq, record.message, record.stamp, want))
            })
            .collect()
    }

    fn entry(
        &self,
        now: Instant,
        seq: u64,
        message: Message,
        stamp: u64,
        want: Want,
    ) -> SessionEntry {
        let session = self.sessions.get(&want.session);
        let held = session.and_then(|session| session.open.get(&seq));
        let received = held.and_then(|held| held.received);
        SessionEntry {
            seq: Seq(seq),
            message,
            want,
            age: self.timeline.age(stamp, now),
            received: received.is_some_and(|number| number <= self.front.pace.commits()),
        }
    }
}
