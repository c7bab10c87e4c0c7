//! A set of positions kept as ranges: what is done above the cursor, what the upstream has received.
//!
//! Its size is the number of ranges, not of positions, and is bounded by what the reader has in flight.

use std::collections::BTreeMap;

use super::varint::{self, Input};

/// Positions, as disjoint ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// First position to last, both inside.
    spans: BTreeMap<u64, u64>,
}

impl Ranges {
    pub(super) fn contains(&self, seq: u64) -> bool {
        self.spans
            .range(..=seq)
            .next_back()
            .is_some_and(|(_, last)| *last >= seq)
    }

    /// Adds `first..=last`; nothing where the range is empty.
    pub(super) fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        while let Some((&start, &end)) = self.spans.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            self.spans.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        self.spans.insert(first, last);
    }

    /// Removes every position up to `seq`.
    pub(super) fn remove_to(&mut self, seq: u64) {
        while let Some((&first, &last)) = self.spans.first_key_value() {
            if first > seq {
                break;
            }
            self.spans.remove(&first);
            if last > seq {
                self.spans.insert(seq + 1, last);
            }
        }
    }

    /// The highest position in it, 0 if it is empty.
    pub(super) fn last(&self) -> u64 {
        self.spans.last_key_value().map_or(0, |(_, last)| *last)
    }

    /// The end of the range that holds `seq`.
    pub(super) fn end_of(&self, seq: u64) -> Option<u64> {
        let (_, last) = self.spans.range(..=seq).next_back()?;
        (*last >= seq).then_some(*last)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.spans.iter().map(|(first, last)| (*first, *last))
    }

    /// Count, then for each range the distance from the one before and its length less one.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.spans.len() as u64);
        let mut end = 0;
        for (first, last) in self.iter() {
            varint::put(out, first - end);
            varint::put(out, last - first);
            end = last;
        }
    }

    pub(super) fn decode(input: &mut Input) -> Option<Self> {
        let mut spans = BTreeMap::new();
        let mut end = 0_u64;
        for _ in 0..input.varint()? {
            let first = end.checked_add(input.varint()?)?;
            let last = first.checked_add(input.varint()?)?;
            spans.insert(first, last);
            end = last;
        }
        Some(Self { spans })
    }

    #[cfg(test)]
    fn decode_all(bytes: Vec<u8>) -> Option<Self> {
        Self::decode(&mut Input::new(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_behave_like_a_set(steps in prop::collection::vec((0_u64..60, 0_u64..6, any::<bool>()), 0..60)) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for (first, length, insert) in steps {
                if insert {
                    ranges.insert(first, first + length);
                    model.extend(first..=first + length);
                } else {
                    ranges.remove_to(first);
                    model.retain(|seq| *seq > first);
                }
                for seq in 0..80 {
                    prop_assert_eq!(ranges.contains(seq), model.contains(&seq));
                }
                let spans: Vec<_> = ranges.iter().collect();
                prop_assert!(spans.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "merged: {:?}", spans);
            }
            let mut out = Vec::new();
            ranges.encode(&mut out);
            prop_assert_eq!(Ranges::decode_all(out), Some(ranges));
        }
    }

    #[test]
    fn an_empty_range_adds_nothing() {
        let mut ranges = Ranges::default();
        ranges.insert(5, 4);
        assert_eq!(ranges, Ranges::default());
    }
}
