//! The requests of one group as they are made: those of the plan, and in place of one that the device refuses as a whole its
//! parts. No I/O.
//!
//! A request for registers that lie apart is refused where the device lacks one of them (exception 02), and one that is too
//! long by 03. It is then cut in two, at the widest hole or else in the middle, until a part is answered or cannot be cut.
//!
//! Invariants: every tag is in one request, and tags of one set stay together; parts are kept as long as one of them is
//! answered. A request all of whose parts are refused, by a device that is starting for instance, is made whole again and,
//! until it is answered, cut no more than once in [`CUT_AGAIN_AFTER`] readings: no refusal costs a request a tag each time.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::plan::{ReadRequest, TagSlot};

/// Readings after which a request that was refused in all its parts is cut again.
const CUT_AGAIN_AFTER: u32 = 60;

/// A planned request that is made in parts, for the time after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cut {
    /// The function code that reads its table.
    pub(super) function: u8,
    /// The first address of the whole.
    pub(super) address: u16,
    /// Bits or registers of the whole.
    pub(super) quantity: u16,
    /// The first address of each part.
    pub(super) parts: Vec<u16>,
}

/// The requests of a group, and which comes next.
#[derive(Debug)]
pub(super) struct Requests {
    planned: Vec<Planned>,
    /// Which of them, and which of its parts.
    next: (usize, usize),
}

#[derive(Debug)]
struct Planned {
    whole: Arc<ReadRequest>,
    parts: Vec<Part>,
    /// Readings before it is cut again.
    wait: u32,
}

#[derive(Debug)]
struct Part {
    request: Arc<ReadRequest>,
    /// Whether it was refused the last time.
    refused: bool,
}

impl Requests {
    pub(super) fn new(planned: &[ReadRequest]) -> Self {
        let planned = planned.iter().map(|request| {
            let whole = Arc::new(request.clone());
            Planned {
                parts: vec![Part::new(Arc::clone(&whole))],
                whole,
                wait: 0,
            }
        });
        Self {
            planned: planned.collect(),
            next: (0, 0),
        }
    }

    /// Those that are made in parts of which one was answered.
    pub(super) fn cuts(&self) -> impl Iterator<Item = Cut> {
        let cut = |planned: &&Planned| {
            planned.parts.len() > 1 && planned.parts.iter().any(|part| !part.refused)
        };
        self.planned.iter().filter(cut).map(|planned| {
            let parts = planned.parts.iter();
            Cut {
                function: planned.whole.table.read_function(),
                address: planned.whole.address,
                quantity: planned.whole.quantity,
                parts: parts.map(|part| part.request.address).collect(),
            }
        })
    }

    /// Makes a request in parts as it was before a restart; where the plan has no such request, or the parts are none of
    /// its own, nothing.
    pub(super) fn recall(&mut self, cut: &Cut) {
        let address = cut.address;
        let is_it = |planned: &&mut Planned| {
            let whole = &planned.whole;
            let this = (whole.table.read_function(), whole.address, whole.quantity);
            this == (cut.function, address, cut.quantity)
        };
        let Some(planned) = self.planned.iter_mut().find(is_it) else {
            return;
        };
        let sets = sets(&planned.whole);
        let first_of = |set: &Set| usize::from(address) + set.start;
        let mut groups = Vec::new();
        let mut rest = &sets[..];
        for next in cut.parts.iter().skip(1) {
            let border = |set: &Set| first_of(set) >= usize::from(*next);
            let at = rest.iter().position(border).unwrap_or(rest.len());
            let (before, behind) = rest.split_at(at);
            groups.push(before);
            rest = behind;
        }
        groups.push(rest);
        let parts = groups.iter().map(|sets| part(&planned.whole, sets));
        let parts: Option<Vec<ReadRequest>> = parts.collect();
        // Each is at its place, so all tags are in them.
        let parts = parts.filter(|parts| {
            parts
                .iter()
                .map(|part| part.address)
                .eq(cut.parts.iter().copied())
        });
        if let Some(parts) = parts {
            planned.parts = parts
                .into_iter()
                .map(|part| Part::new(Arc::new(part)))
                .collect();
        }
    }

    /// The one that comes next; `None` where all have been made.
    pub(super) fn next(&self) -> Option<&Arc<ReadRequest>> {
        let planned = self.planned.get(self.next.0)?;
        Some(&planned.parts.get(self.next.1)?.request)
    }

    /// It is answered.
    pub(super) fn answered(&mut self) {
        if let Some(planned) = self.planned.get_mut(self.next.0) {
            planned.wait = 0;
        }
        self.advance(false);
    }

    /// There is no answer, for no fault of the request.
    pub(super) fn failed(&mut self) {
        self.advance(false);
    }

    /// The device refuses it for its addresses or its length; true where parts of it come next instead.
    pub(super) fn refused(&mut self) -> bool {
        if self.cut().is_some() {
            return true;
        }
        self.advance(true);
        false
    }

    /// From the first one on again.
    pub(super) fn restart(&mut self) {
        self.next = (0, 0);
        for planned in &mut self.planned {
            planned.wait = planned.wait.saturating_sub(1);
            if planned.parts.len() > 1 && planned.parts.iter().all(|part| part.refused) {
                planned.parts = vec![Part::new(Arc::clone(&planned.whole))];
                planned.wait = CUT_AGAIN_AFTER;
            }
        }
    }

    fn cut(&mut self) -> Option<()> {
        let planned = self.planned.get_mut(self.next.0)?;
        let part = planned.parts.get(self.next.1)?;
        if planned.wait > 0 {
            return None;
        }
        let (first, second) = halves(&part.request)?;
        let halves = [first, second].map(|request| Part::new(Arc::new(request)));
        planned.parts.splice(self.next.1..=self.next.1, halves);
        Some(())
    }

    fn advance(&mut self, refused: bool) {
        let Some(planned) = self.planned.get_mut(self.next.0) else {
            return;
        };
        if let Some(part) = planned.parts.get_mut(self.next.1) {
            part.refused = refused;
        }
        self.next.1 += 1;
        if self.next.1 >= planned.parts.len() {
            self.next = (self.next.0 + 1, 0);
        }
    }
}

impl Part {
    fn new(request: Arc<ReadRequest>) -> Self {
        Self {
            request,
            refused: false,
        }
    }
}

/// Tags that stay together, and what they span of a reply.
struct Set {
    number: usize,
    start: usize,
    end: usize,
    slots: Vec<TagSlot>,
}

/// The request in two; `None` where it is for one set alone.
fn halves(request: &ReadRequest) -> Option<(ReadRequest, ReadRequest)> {
    let sets = sets(request);
    let best = (1..sets.len()).max_by_key(|cut| {
        let hole = sets.split_at_checked(*cut).map(|(left, right)| {
            let end = left.iter().map(|set| set.end).max().unwrap_or(0);
            let start = right.iter().map(|set| set.start).min().unwrap_or(0);
            start.saturating_sub(end)
        });
        (hole, Reverse(cut.abs_diff(sets.len() / 2)))
    });
    let (left, right) = sets.split_at_checked(best?)?;
    part(request, left).zip(part(request, right))
}

/// By address of their first tag.
fn sets(request: &ReadRequest) -> Vec<Set> {
    let mut sets: Vec<Set> = Vec::new();
    for slot in &request.tags {
        let end = slot.offset.saturating_add(slot.length);
        if let Some(set) = sets.iter_mut().find(|set| set.number == slot.set) {
            set.start = set.start.min(slot.offset);
            set.end = set.end.max(end);
            set.slots.push(*slot);
        } else {
            sets.push(Set {
                number: slot.set,
                start: slot.offset,
                end,
                slots: vec![*slot],
            });
        }
    }
    sets
}

/// A request for these sets of `request`.
fn part(request: &ReadRequest, sets: &[Set]) -> Option<ReadRequest> {
    let start = sets.iter().map(|set| set.start).min()?;
    let end = sets.iter().map(|set| set.end).max()?;
    let mut tags: Vec<TagSlot> = sets.iter().flat_map(|set| &set.slots).copied().collect();
    for slot in &mut tags {
        slot.offset -= start;
    }
    tags.sort_by_key(|slot| slot.offset);
    Some(ReadRequest {
        table: request.table,
        address: request.address.checked_add(u16::try_from(start).ok()?)?,
        quantity: u16::try_from(end - start).ok()?,
        tags,
    })
}
