//! The newest messages, in RAM and in order: what waits for a commit, what is held for the upstream, and what was
//! committed but is likely to be read soon. No I/O.

use std::collections::VecDeque;
use std::time::Instant;

use super::SessionNumber;
use super::record::Stored;
use crate::mqtt::{Message, QoS};

/// RAM of a position besides its message's own bytes.
pub(super) const SLOT_BYTES: usize = size_of::<Option<Kept>>();

/// A message in RAM.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) record: Stored,
    /// When it was appended.
    pub(super) at: Instant,
    /// RAM it takes besides its slot, as it was when it was appended.
    bytes: usize,
}

/// RAM of a want, with what its session keeps of it, about.
const WANT_BYTES: usize = 128;

impl Kept {
    pub(super) fn new(record: Stored, at: Instant) -> Self {
        Self {
            bytes: message_bytes(&record.message) + record.wants.len() * WANT_BYTES,
            record,
            at,
        }
    }

    pub(super) fn is_qos0(&self) -> bool {
        self.record.message.qos == QoS::AtMostOnce
    }

    /// RAM it takes besides its slot.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// RAM that a message takes, about: topic, payload, properties. This is what a queue is counted in.
#[must_use]
pub fn message_bytes(message: &Message) -> usize {
    let properties = message.properties.as_deref().map_or(0, |properties| {
        let pairs = properties.user_properties.iter();
        size_of_val(properties)
            + properties
                .content_type
                .as_ref()
                .map_or(0, |text| text.len())
            + properties
                .response_topic
                .as_ref()
                .map_or(0, |topic| topic.as_bytes().len())
            + properties
                .correlation_data
                .as_ref()
                .map_or(0, |data| data.len())
            + pairs
                .map(|pair| size_of_val(pair) + pair.0.len() + pair.1.len())
                .sum::<usize>()
    });
    message.topic.as_bytes().len() + message.payload.len() + properties
}

/// A run of positions without a hole; a position whose message is done, or was dropped, is empty.
#[derive(Debug)]
pub(super) struct Tail {
    slots: VecDeque<Option<Kept>>,
    first: u64,
    bytes: usize,
    /// QoS 0 messages in it, and their bytes without slots.
    qos0: usize,
    qos0_bytes: usize,
    /// No QoS 0 message stands below.
    qos0_from: u64,
}

impl Tail {
    /// Empty, to begin at `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            slots: VecDeque::new(),
            first,
            bytes: 0,
            qos0: 0,
            qos0_bytes: 0,
            qos0_from: first,
        }
    }

    /// Lowest position in it, or the next to be appended.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The position to be appended next.
    pub(super) fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// RAM it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn qos0(&self) -> usize {
        self.qos0
    }

    pub(super) fn qos0_bytes(&self) -> usize {
        self.qos0_bytes
    }

    /// Appends a message, or a position that is empty from the start.
    pub(super) fn push(&mut self, kept: Option<Kept>) {
        self.bytes += SLOT_BYTES;
        if let Some(kept) = &kept {
            self.bytes += kept.bytes();
            if kept.is_qos0() {
                self.qos0 += 1;
                self.qos0_bytes += kept.bytes();
            }
        }
        self.slots.push_back(kept);
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Kept> {
        self.slots.get(self.index(seq)?)?.as_ref()
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        (self.first..self.next()).contains(&seq)
    }

    /// Empties a position.
    pub(super) fn take(&mut self, seq: u64) -> Option<Kept> {
        let index = self.index(seq)?;
        let kept = self.slots.get_mut(index)?.take()?;
        self.forget(&kept);
        Some(kept)
    }

    /// `session` wants the message no longer; gives it back where it was the last to want it.
    pub(super) fn release(&mut self, seq: u64, session: SessionNumber) -> Option<Kept> {
        let index = self.index(seq)?;
        let kept = self.slots.get_mut(index)?.as_mut()?;
        let place = kept.record.place_of(session)?;
        kept.record.wants.remove(place);
        if kept.record.wants.is_empty() {
            self.take(seq)
        } else {
            None
        }
    }

    /// Takes the lowest position off.
    pub(super) fn pop(&mut self) -> Option<(u64, Option<Kept>)> {
        let slot = self.slots.pop_front()?;
        self.bytes -= SLOT_BYTES;
        if let Some(kept) = &slot {
            self.forget(kept);
        }
        let seq = self.first;
        self.first += 1;
        Some((seq, slot))
    }

    /// Empties the oldest position with a QoS 0 message and says which.
    pub(super) fn take_oldest_qos0(&mut self) -> Option<u64> {
        if self.qos0 == 0 {
            return None;
        }
        let from = self.qos0_from.max(self.first);
        let seq = (from..self.next()).find(|seq| self.get(*seq).is_some_and(Kept::is_qos0))?;
        self.qos0_from = seq + 1;
        self.take(seq)?;
        Some(seq)
    }

    /// The messages from `from` on, with their positions.
    pub(super) fn iter(&self, from: u64) -> impl Iterator<Item = (u64, &Kept)> {
        let skip = self.index(from).unwrap_or(0).min(self.slots.len());
        let slots = self.slots.range(skip..).zip(self.first + skip as u64..);
        slots.filter_map(|(slot, seq)| Some((seq, slot.as_ref()?)))
    }

    fn index(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.first)?).ok()
    }

    fn forget(&mut self, kept: &Kept) {
        self.bytes -= kept.bytes();
        if kept.is_qos0() {
            self.qos0 -= 1;
            self.qos0_bytes -= kept.bytes();
        }
    }
}
