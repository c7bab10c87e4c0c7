//! Holes in a backlog that the upstream has not been told of: messages that were taken, or should have been, and will never
//! reach it. No I/O.
//!
//! What is lost for one reason is one hole, which grows until its turn comes to be told. Then it is fixed, under a number that is
//! never used twice, and is shown to the reader once that is committed: so it is told as the same again after a crash, and
//! what is lost meanwhile makes the next hole. So there are as many as there are reasons, and one, whatever is lost.
//!
//! They are stored with the position, as what it says of the messages is true only together with them.

use super::varint::{self, Input};
use crate::clock::WallTime;

/// Holes that may have been told since rows were written that were found in an older file: more than one file can hold.
const UNKNOWN_NUMBERS: u64 = 1 << 20;

/// Why messages of a backlog never reach the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GapReason {
    /// The backlog or the medium was full: the oldest gave way.
    DropOldest,
    /// They were older than the backlog keeps them.
    MaxAge,
    /// The backlog was full, or its files out of use, and who sent them could not be told: they were never in it.
    NotTaken,
    /// Their file was damaged.
    Damaged,
    /// Somebody purged them.
    Purged,
    /// Their file was dropped just before a crash, for one of these reasons; some may have been delivered before.
    Unknown,
}

impl GapReason {
    const ALL: [Self; 6] = [
        Self::DropOldest,
        Self::MaxAge,
        Self::NotTaken,
        Self::Damaged,
        Self::Purged,
        Self::Unknown,
    ];

    /// As the upstream is told.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DropOldest => "drop_oldest",
            Self::MaxAge => "max_age",
            Self::NotTaken => "not_taken",
            Self::Damaged => "damaged",
            Self::Purged => "purged",
            Self::Unknown => "unknown",
        }
    }

    /// As it is stored.
    fn code(self) -> u64 {
        match self {
            Self::DropOldest => 1,
            Self::MaxAge => 2,
            Self::NotTaken => 3,
            Self::Damaged => 4,
            Self::Unknown => 5,
            Self::Purged => 6,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// A hole in a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Counts the holes of a log over all starts; 0: not fixed yet.
    pub number: u64,
    /// Why.
    pub reason: GapReason,
    /// How many messages.
    pub count: u64,
    /// No message in it is older.
    pub first: WallTime,
    /// No message in it is newer.
    pub last: WallTime,
}

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    /// That grow; one a reason at most.
    open: Vec<Gap>,
    /// Whose turn it is, until the upstream knows of it.
    fixed: Option<Gap>,
    /// The number that was used last.
    last_number: u64,
}

impl Gaps {
    /// Messages are lost, of these times.
    pub(super) fn add(&mut self, reason: GapReason, count: u64, first: WallTime, last: WallTime) {
        if count == 0 {
            return;
        }
        let (first, last) = (first.min(last), last.max(first));
        match self.open.iter_mut().find(|gap| gap.reason == reason) {
            Some(gap) => {
                gap.count = gap.count.saturating_add(count);
                gap.first = gap.first.min(first);
                gap.last = gap.last.max(last);
            }
            None => self.open.push(Gap {
                number: 0,
                reason,
                count,
                first,
                last,
            }),
        }
    }

    /// Fixes the next one, where it has its turn: what is stored now is what will be told.
    pub(super) fn fix(&mut self) {
        if self.fixed.is_none() && !self.open.is_empty() {
            self.last_number = self.last_number.saturating_add(1);
            let number = self.last_number;
            self.fixed = Some(Gap {
                number,
                ..self.open.remove(0)
            });
        }
    }

    pub(super) fn fixed(&self) -> Option<Gap> {
        self.fixed
    }

    /// The upstream knows of this one. False: it was told before.
    pub(super) fn told(&mut self, number: u64) -> bool {
        self.fixed.take_if(|gap| gap.number == number).is_some()
    }

    /// These are not the newest that were stored: no number comes again.
    pub(super) fn skip_unknown(&mut self) {
        self.last_number = self.last_number.saturating_add(UNKNOWN_NUMBERS);
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.fixed.is_none()
    }

    /// The messages in all of them.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        let all = self.fixed.iter().chain(&self.open);
        all.map(|gap| gap.count).sum()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.last_number);
        varint::put(out, u64::from(self.fixed.is_some()));
        varint::put(out, self.open.len() as u64);
        for gap in self.fixed.iter().chain(&self.open) {
            let Gap {
                number,
                reason,
                count,
                first,
                last,
            } = gap;
            for value in [*number, reason.code(), *count, first.0, last.0] {
                varint::put(out, value);
            }
        }
    }

    pub(super) fn decode(input: &mut Input) -> Option<Self> {
        let mut gaps = Self {
            last_number: input.varint()?,
            ..Self::default()
        };
        let (fixed, open) = (input.varint()?, input.varint()?);
        if fixed > 1 || open > GapReason::ALL.len() as u64 {
            return None;
        }
        if fixed == 1 {
            gaps.fixed = Some(decode(input)?);
        }
        for _ in 0..open {
            gaps.open.push(decode(input)?);
        }
        Some(gaps)
    }
}

fn decode(input: &mut Input) -> Option<Gap> {
    Some(Gap {
        number: input.varint()?,
        reason: GapReason::from_code(input.varint()?)?,
        count: input.varint()?,
        first: WallTime(input.varint()?),
        last: WallTime(input.varint()?),
    })
}

#[cfg(test)]
mod tests {
    use super::GapReason::{DropOldest, MaxAge, NotTaken};
    use super::*;

    fn gaps() -> Gaps {
        let mut gaps = Gaps::default();
        gaps.add(DropOldest, 3, WallTime(20), WallTime(29));
        gaps.add(MaxAge, 1, WallTime(5), WallTime(5));
        gaps.add(DropOldest, 4, WallTime(10), WallTime(19));
        gaps
    }

    #[test]
    fn what_is_lost_for_one_reason_is_one_hole_until_it_is_fixed() {
        let mut gaps = gaps();
        gaps.fix();
        gaps.add(DropOldest, 1, WallTime(30), WallTime(30));
        gaps.add(NotTaken, 0, WallTime(1), WallTime(1));
        gaps.fix();
        let first = gaps.fixed().unwrap();
        let of = |gap: Gap| (gap.number, gap.reason, gap.count, gap.first.0, gap.last.0);
        assert_eq!(of(first), (1, DropOldest, 7, 10, 29));
        assert!(!gaps.told(2));
        assert!(gaps.told(1));
        assert!(!gaps.told(1));
        gaps.fix();
        assert_eq!(of(gaps.fixed().unwrap()), (2, MaxAge, 1, 5, 5));
        assert!(gaps.told(2));
        gaps.fix();
        assert_eq!(of(gaps.fixed().unwrap()), (3, DropOldest, 1, 30, 30));
        assert!(gaps.told(3));
        assert!(gaps.is_empty());
    }

    #[test]
    fn holes_come_back() {
        let mut fixed = gaps();
        fixed.fix();
        for gaps in [Gaps::default(), gaps(), fixed] {
            let mut bytes = Vec::new();
            gaps.encode(&mut bytes);
            let mut input = Input::new(bytes.clone().into());
            assert_eq!(Gaps::decode(&mut input), Some(gaps));
            bytes.pop();
            assert_eq!(Gaps::decode(&mut Input::new(bytes.into())), None);
        }
    }

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        for reason in GapReason::ALL {
            assert_eq!(GapReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(GapReason::from_code(0), None);
    }
}
