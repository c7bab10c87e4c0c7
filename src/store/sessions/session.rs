//! What one session wants of the session log, without I/O. Its size is what the session has in flight and what of it is in
//! the tail, never what it has queued: of messages in the files only counts are kept.
//!
//! Invariants:
//! - of the positions up to `horizon` the session wants those in `open`, and no others;
//! - above it, it wants what the records say, but not what is in `gone`; a few may be in `open` already;
//! - `recent` are those above it, not open, that are in the tail. A session that wants more than these is *behind*: the
//!   rest is in the files only, and is found by reading on from the horizon.

use std::collections::BTreeMap;

use super::super::ledger::Ledger;
use super::super::ranges::Ranges;
use super::Census;
use crate::mqtt::PacketId;

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) horizon: u64,
    /// The highest position that may have been sent.
    pub(super) sent: u64,
    pub(super) last_packet_id: Option<PacketId>,
    pub(super) open: BTreeMap<u64, Held>,
    pub(super) recent: BTreeMap<u64, Held>,
    pub(super) gone: Ranges,
    /// By generation: what is above the horizon, in its file, and not open; `recent` that is in the file included.
    pub(super) shares: BTreeMap<u64, Share>,
    /// Of `recent`, those in a file.
    landed: u64,
}

/// A message that is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) bytes: u64,
    /// `None`: it is in no file yet.
    pub(super) generation: Option<u64>,
    /// QoS 2: PUBREC has come; the commit that makes it durable.
    pub(super) received: Option<u64>,
}

/// Messages of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Those to be skipped included.
    pub(super) messages: u64,
    /// Those to be skipped not included.
    pub(super) bytes: u64,
    /// The oldest so many that may not have been sent are dropped.
    pub(super) skip: u64,
}

impl Share {
    pub(super) fn live(&self) -> u64 {
        self.messages.saturating_sub(self.skip)
    }

    /// Takes one off; its bytes are as good as known.
    fn take(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn average(&self) -> u64 {
        self.bytes / self.live().max(1)
    }
}

impl Session {
    /// One that wants nothing up to `horizon`.
    pub(super) fn new(horizon: u64) -> Self {
        Self {
            horizon,
            ..Self::default()
        }
    }

    /// Messages that it wants, and their bytes.
    pub(super) fn total(&self) -> (u64, u64) {
        let held = self.open.values();
        let waiting = self
            .recent
            .values()
            .filter(|held| held.generation.is_none());
        let (mut messages, mut bytes) = (self.unread(), 0);
        for share in self.shares.values() {
            bytes += share.bytes;
        }
        for held in held.chain(waiting) {
            messages += 1;
            bytes += held.bytes;
        }
        (messages, bytes)
    }

    fn unread(&self) -> u64 {
        self.shares.values().map(Share::live).sum()
    }

    /// Whether it wants something above the horizon that is only in the files.
    pub(super) fn is_behind(&self) -> bool {
        self.unread() > self.landed
    }

    pub(super) fn append(&mut self, seq: u64, bytes: u64, packet_id: PacketId) {
        self.last_packet_id = Some(packet_id);
        let held = Held {
            bytes,
            ..Held::default()
        };
        self.recent.insert(seq, held);
    }

    /// Its messages from `from` to `until` that are still wanted are in the file of `generation` now.
    pub(super) fn land(&mut self, generation: u64, from: u64, until: u64, census: &mut Census) {
        let mut share = Share::default();
        for held in self.recent.range_mut(from..=until).map(|(_, held)| held) {
            if held.generation.is_none() {
                held.generation = Some(generation);
                share.messages += 1;
                share.bytes += held.bytes;
            }
        }
        let mut opened = 0;
        for held in self.open.range_mut(from..=until).map(|(_, held)| held) {
            if held.generation.is_none() {
                held.generation = Some(generation);
                opened += 1;
            }
        }
        self.landed += share.messages;
        census.add(generation, share.messages + opened);
        if share.messages > 0 {
            let known = self.shares.entry(generation).or_default();
            known.messages += share.messages;
            known.bytes += share.bytes;
        }
    }

    /// Takes a message off `recent`, and off the share that has it.
    fn take_recent(&mut self, seq: u64) -> Option<Held> {
        let held = self.recent.remove(&seq)?;
        if let Some(generation) = held.generation {
            self.landed = self.landed.saturating_sub(1);
            if let Some(share) = self.shares.get_mut(&generation) {
                share.take(held.bytes);
            }
        }
        Some(held)
    }

    /// Takes a message off the share of the file that has it, where that is all that is known of it.
    fn take_unread(&mut self, seq: u64, ledger: &Ledger) -> Option<Held> {
        let generation = ledger.generation_of(seq)?.summary.number;
        let share = self.shares.get_mut(&generation)?;
        if share.live() == 0 {
            return None;
        }
        let bytes = share.average();
        share.take(bytes);
        Some(Held {
            bytes,
            generation: Some(generation),
            received: None,
        })
    }

    /// Everything up to `to` may have been sent.
    pub(super) fn sent(&mut self, to: u64) {
        self.sent = self.sent.max(to);
        self.hand_out(to);
    }

    /// What is in the tail up to `to` was handed out.
    pub(super) fn hand_out(&mut self, to: u64) {
        let is_behind = self.is_behind();
        while let Some(seq) = self.recent.range(..=to).next().map(|(seq, _)| *seq) {
            if let Some(held) = self.take_recent(seq) {
                self.open.insert(seq, held);
            }
        }
        if !is_behind {
            self.horizon = self.horizon.max(to);
        }
    }

    /// Whether the horizon may be moved to `seq`: nothing below it is still to be handed out.
    fn can_hand_out(&self, seq: u64) -> bool {
        !self.is_behind() && self.recent.range(..seq).next().is_none()
    }

    /// A message leaves the tail; it is in a file. From here on only its count is kept, if it was not handed out.
    pub(super) fn evicted(&mut self, seq: u64) {
        if self.recent.remove(&seq).is_some() {
            self.landed = self.landed.saturating_sub(1);
        }
    }

    /// It does not want a message any more. What it was; `None` where it was not wanted. `is_written` says whether a
    /// position is in a file, or on its way there.
    pub(super) fn done(
        &mut self,
        seq: u64,
        is_written: bool,
        ledger: &Ledger,
        census: &mut Census,
    ) -> Option<Held> {
        let held = if let Some(held) = self.open.remove(&seq) {
            held
        } else if seq <= self.horizon || self.gone.contains(seq) {
            return None;
        } else if self.recent.contains_key(&seq) {
            if !is_written {
                self.take_recent(seq)?
            } else if self.can_hand_out(seq) {
                self.hand_out(seq);
                self.open.remove(&seq)?
            } else {
                self.gone.insert(seq, seq);
                self.take_recent(seq)?
            }
        } else {
            let held = self.take_unread(seq, ledger)?;
            self.gone.insert(seq, seq);
            held
        };
        census.remove(held.generation, 1);
        Some(held)
    }

    /// QoS 2: PUBREC has come. The commit that makes it durable: what `promise` gives, if it was not known. `None`: the
    /// message is not wanted.
    pub(super) fn received(
        &mut self,
        seq: u64,
        ledger: &Ledger,
        promise: impl FnOnce() -> u64,
    ) -> Option<u64> {
        if !self.open.contains_key(&seq) {
            if seq <= self.horizon || self.gone.contains(seq) {
                return None;
            }
            if !self.recent.contains_key(&seq) {
                let held = self.take_unread(seq, ledger)?;
                self.open.insert(seq, held);
            } else if self.can_hand_out(seq) {
                self.hand_out(seq);
            } else {
                let held = self.take_recent(seq)?;
                self.open.insert(seq, held);
            }
        }
        let held = self.open.get_mut(&seq)?;
        Some(*held.received.get_or_insert_with(promise))
    }

    /// Drops the oldest `count` of those that were neither handed out nor sent. Those that are in the tail are given back,
    /// to be dropped one by one; of the others only the counts are changed. The number of those.
    pub(super) fn skip(&mut self, count: u64, census: &mut Census) -> (u64, Vec<u64>) {
        let mut left = count.min(self.unread().saturating_sub(self.landed));
        let skipped = left;
        for (generation, share) in &mut self.shares {
            let here = left.min(share.live());
            share.bytes -= (share.average() * here).min(share.bytes);
            share.skip += here;
            left -= here;
            census.remove(Some(*generation), here);
        }
        let rest = usize::try_from(count - skipped).unwrap_or(usize::MAX);
        let in_tail = self.recent.range(self.sent.saturating_add(1)..);
        (skipped, in_tail.take(rest).map(|(seq, _)| *seq).collect())
    }

    /// Moves the horizon on to `appended` or the first message that is still wanted, where all between is known.
    pub(super) fn settle(&mut self, appended: u64) {
        if self.is_behind() {
            return;
        }
        let next = self.recent.keys().next();
        self.horizon = self.horizon.max(next.map_or(appended, |seq| seq - 1));
        self.gone.remove_to(self.horizon);
        for share in self.shares.values_mut() {
            // What was to be skipped lies below now.
            share.messages = share.live();
            share.skip = 0;
        }
        self.shares.retain(|_, share| share.messages > 0);
    }

    /// A message was found in the file of `generation`. Whether it is wanted; then it is open now.
    pub(super) fn meet(
        &mut self,
        seq: u64,
        bytes: u64,
        generation: Option<u64>,
        census: &mut Census,
    ) -> bool {
        if self.open.contains_key(&seq) {
            return true;
        }
        if seq <= self.horizon || self.gone.contains(seq) {
            return false;
        }
        let share = generation.and_then(|generation| self.shares.get_mut(&generation));
        match share {
            Some(share) if share.skip > 0 && seq > self.sent => {
                share.skip -= 1;
                share.messages = share.messages.saturating_sub(1);
                return false;
            }
            Some(share) if share.live() > 0 => share.take(bytes),
            // The counts are wrong; what the file says is true.
            _ => census.add(generation.unwrap_or_default(), 1),
        }
        let held = Held {
            bytes,
            generation,
            received: None,
        };
        self.open.insert(seq, held);
        true
    }

    /// Everything up to `reached` was looked at; below `tail`, everything is in the files only. What was wanted and not
    /// found is lost: how many.
    pub(super) fn looked(
        &mut self,
        reached: u64,
        tail: u64,
        ledger: &Ledger,
        census: &mut Census,
    ) -> u64 {
        self.horizon = self.horizon.max(reached);
        self.gone.remove_to(self.horizon);
        let mut lost = 0;
        let is_all = self.horizon + 1 >= tail;
        for (generation, share) in &mut self.shares {
            let last = ledger
                .summary(*generation)
                .map_or(0, |summary| summary.last);
            if last > self.horizon && !is_all {
                continue;
            }
            let recent = self.recent.values();
            let there = recent.filter(|held| held.generation == Some(*generation));
            let (mut messages, mut bytes) = (0, 0);
            for held in there {
                messages += 1;
                bytes += held.bytes;
            }
            let missing = share.live().saturating_sub(messages);
            lost += missing;
            census.remove(Some(*generation), missing);
            *share = Share {
                messages,
                bytes,
                skip: 0,
            };
        }
        self.shares.retain(|_, share| share.messages > 0);
        lost
    }

    /// The file of a generation was dropped. What it had of this session: messages, bytes.
    pub(super) fn drop_generation(&mut self, generation: u64) -> (u64, u64) {
        let share = self.shares.remove(&generation).unwrap_or_default();
        let (mut messages, mut bytes) = (share.live(), share.bytes);
        self.open.retain(|_, held| {
            let stays = held.generation != Some(generation);
            if !stays {
                messages += 1;
                bytes += held.bytes;
            }
            stays
        });
        let before = self.recent.len();
        self.recent
            .retain(|_, held| held.generation != Some(generation));
        self.landed -= (before - self.recent.len()) as u64;
        (messages, bytes)
    }

    /// How many it wants of each generation.
    pub(super) fn wanted(&self) -> BTreeMap<u64, u64> {
        let shares = self.shares.iter();
        let mut wanted: BTreeMap<_, _> = shares
            .map(|(generation, share)| (*generation, share.live()))
            .collect();
        for generation in self.open.values().filter_map(|held| held.generation) {
            *wanted.entry(generation).or_default() += 1;
        }
        wanted
    }
}
