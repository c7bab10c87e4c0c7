//! Which replies may still come on a line, so that none is taken for the reply to a later request. No I/O.
//!
//! A reply in Modbus RTU does not say which request it answers. After a timeout the reply may come late, and where the same
//! is asked again it would be taken for the new one: an old value, wrong for ever after, as each reply is then that to the
//! request before. No waiting time excludes it. But a device answers one request after the other, and what a reply looks
//! like is decided by its request ([`Shape`]). So what may still come is remembered, and nothing is asked whose reply would
//! look like one of those; something else is asked first ([`Doubts::next`]), whose reply proves that what was asked before
//! it has been answered, or never will be.
//!
//! Invariant: a reply of the shape of the last request is the reply to it, as long as the device answers in order or not
//! at all, however late. An exception tells no values; it may be that to an older request of the same function, so it
//! proves only the oldest of these.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::options::{Table, UnitId};
use super::super::plan::{BITS_MAX, REGISTERS_MAX, ReadRequest};
use super::ask::Ask;
use super::frame::{EXCEPTION, EXCEPTION_BYTES, Shape, crc};

/// What is this late is believed to come no more: the way out for a device that answers one request only.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// How many sizes more than wanted, and of each other table, are tried as a probe.
const SIZES_MAX: u16 = 4;

/// What may be asked of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// What is wanted.
    Wanted,
    /// This first: the reply to what is wanted could be an earlier one.
    Probe(ReadRequest),
    /// Nothing, until the oldest doubt is forgotten: the unit left everything without an answer that could be told apart.
    Nothing,
}

/// What the beginning of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// A late reply of this unit, so many bytes.
    Reply(UnitId, usize),
    /// A part of one.
    Part,
    /// None.
    No,
}

/// What the units of a line may still answer.
#[derive(Clone, Debug, Default)]
pub(super) struct LineDoubts {
    units: BTreeMap<UnitId, Doubts>,
}

/// What one unit may still answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts {
    /// In the order of their requests.
    outstanding: Vec<(Shape, Instant)>,
}

impl LineDoubts {
    pub(super) fn of(&mut self, unit: UnitId) -> &mut Doubts {
        self.units.entry(unit).or_default()
    }

    /// Whether these bytes begin with a reply that was still to come; if it is there in whole, it comes no more.
    pub(super) fn late(&mut self, bytes: &[u8]) -> Late {
        let Some((unit, frame)) = bytes.split_first() else {
            return Late::Part;
        };
        let unit = UnitId(*unit);
        let Some(doubts) = self.units.get_mut(&unit) else {
            return Late::No;
        };
        let mut found = Late::No;
        for at in 0..doubts.outstanding.len() {
            let Some((shape, _)) = doubts.outstanding.get(at) else {
                break;
            };
            let length = match *frame {
                [] => return Late::Part,
                [said, ..] if said == shape.function | EXCEPTION => EXCEPTION_BYTES,
                [said, ..] if said == shape.function && shape.fits_count(frame.get(1)) => {
                    shape.bytes
                }
                _ => continue,
            };
            match bytes.get(..length) {
                None => found = Late::Part,
                Some(whole) if crc(whole) == 0 => {
                    // The unit answers in order: what was asked before it comes no more either.
                    doubts.outstanding.drain(..=at);
                    return Late::Reply(unit, length);
                }
                Some(_) => {}
            }
        }
        found
    }
}

impl Doubts {
    /// No reply of `shape` came in time.
    pub(super) fn unanswered(&mut self, shape: Shape, now: Instant) {
        self.outstanding.push((shape, now));
    }

    /// The reply to the last request came: what was asked before it comes no more.
    pub(super) fn answered(&mut self) {
        self.outstanding.clear();
    }

    /// An exception to `function` came, in answer to the last request, which had `shape`, or to an earlier one.
    pub(super) fn refused(&mut self, shape: Shape, now: Instant) {
        let oldest = self
            .outstanding
            .iter()
            .position(|(doubt, _)| doubt.function == shape.function);
        if let Some(oldest) = oldest {
            // All before it are settled as well, and the last request may be the one that still is to be answered.
            self.outstanding.drain(..=oldest);
            self.unanswered(shape, now);
        } else {
            self.answered();
        }
    }

    /// Whether a reply of this shape may be one to an earlier request.
    pub(super) fn has(&mut self, shape: Shape, now: Instant) -> bool {
        self.outstanding
            .retain(|(_, since)| now.saturating_duration_since(*since) < FORGOTTEN_AFTER);
        self.outstanding.iter().any(|(doubt, _)| *doubt == shape)
    }

    /// A probe is the least that the device is likely to answer, what is wanted or a part of it before anything else.
    pub(super) fn next(&mut self, wanted: Ask<'_>, now: Instant) -> Next {
        if self.has(wanted.shape(), now) {
            self.probe(wanted, now)
        } else {
            Next::Wanted
        }
    }

    /// A read whose reply cannot be taken for an earlier one.
    pub(super) fn probe(&mut self, wanted: Ask<'_>, now: Instant) -> Next {
        let wanted = wanted.as_read();
        let step = if wanted.table.holds_bits() { 8 } else { 1 };
        let steps = wanted.quantity.div_ceil(step);
        let parts = (1..=steps).rev();
        // The device may refuse more than it has; that it does is an answer to the same function, so to be told apart.
        let more = steps + 1..=steps + SIZES_MAX;
        let here = parts.chain(more).map(|steps| (wanted.table, steps * step));
        let elsewhere =
            (1..=SIZES_MAX).flat_map(|quantity| OTHER_TABLES.map(|table| (table, quantity)));
        here.chain(elsewhere)
            .map(|(table, quantity)| ReadRequest {
                table,
                quantity,
                address: wanted.address,
                tags: Vec::new(),
            })
            .filter(can_be_asked)
            .find(|request| !self.has(Ask::Read(request).shape(), now))
            .map_or(Next::Nothing, Next::Probe)
    }
}

/// Where to probe when the table of what is wanted does not answer, the likeliest first.
const OTHER_TABLES: [Table; 4] = [
    Table::HoldingRegisters,
    Table::InputRegisters,
    Table::Coils,
    Table::DiscreteInputs,
];

fn can_be_asked(request: &ReadRequest) -> bool {
    let longest = if request.table.holds_bits() {
        BITS_MAX
    } else {
        REGISTERS_MAX
    };
    let last = request
        .address
        .checked_add(request.quantity.saturating_sub(1));
    request.quantity <= longest && last.is_some()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn read(table: Table, quantity: u16) -> ReadRequest {
        ReadRequest {
            table,
            address: 7,
            quantity,
            tags: vec![],
        }
    }

    fn probe(doubts: &mut Doubts, wanted: &ReadRequest, now: Instant) -> ReadRequest {
        match doubts.next(Ask::Read(wanted), now) {
            Next::Probe(request) => request,
            other => panic!("{other:?} instead of a probe"),
        }
    }

    #[test]
    fn what_is_in_doubt_is_not_asked_and_a_part_of_it_is() {
        let now = crate::clock::now();
        let mut doubts = Doubts::default();
        let wanted = read(Table::HoldingRegisters, 10);
        assert_eq!(doubts.next(Ask::Read(&wanted), now), Next::Wanted);
        doubts.unanswered(Ask::Read(&wanted).shape(), now);
        let first = probe(&mut doubts, &wanted, now);
        assert_eq!((first.address, first.quantity), (7, 9));
        doubts.unanswered(Ask::Read(&first).shape(), now);
        assert_eq!(probe(&mut doubts, &wanted, now).quantity, 8);
        let other = read(Table::HoldingRegisters, 3);
        assert_eq!(doubts.next(Ask::Read(&other), now), Next::Wanted);
        doubts.answered();
        assert_eq!(doubts.next(Ask::Read(&wanted), now), Next::Wanted);
    }

    #[test]
    fn what_has_no_part_is_told_from_more_of_it_or_from_another_function() {
        let now = crate::clock::now();
        for table in OTHER_TABLES {
            let wanted = read(table, 1);
            let mut doubts = Doubts::default();
            doubts.unanswered(Ask::Read(&wanted).shape(), now);
            let first = probe(&mut doubts, &wanted, now);
            assert_ne!(Ask::Read(&first).shape(), Ask::Read(&wanted).shape());
            let last = ReadRequest {
                address: u16::MAX,
                ..wanted
            };
            assert_ne!(probe(&mut doubts, &last, now).table, table);
        }
    }

    #[test]
    fn eight_bits_are_one_byte_and_no_part_of_each_other() {
        let now = crate::clock::now();
        let mut doubts = Doubts::default();
        let wanted = read(Table::Coils, 20);
        doubts.unanswered(Ask::Read(&wanted).shape(), now);
        assert_eq!(probe(&mut doubts, &wanted, now).quantity, 16);
        let same = read(Table::Coils, 17);
        assert_ne!(doubts.next(Ask::Read(&same), now), Next::Wanted);
    }

    #[test]
    fn a_unit_that_leaves_everything_unanswered_is_asked_nothing_until_the_oldest_is_forgotten() {
        let now = crate::clock::now();
        let mut doubts = Doubts::default();
        let wanted = read(Table::Coils, 1);
        doubts.unanswered(Ask::Read(&wanted).shape(), now);
        while let Next::Probe(request) = doubts.next(Ask::Read(&wanted), now) {
            doubts.unanswered(Ask::Read(&request).shape(), now + Duration::from_secs(1));
        }
        assert_eq!(doubts.next(Ask::Read(&wanted), now), Next::Nothing);
        assert_eq!(
            doubts.next(Ask::Read(&wanted), now + FORGOTTEN_AFTER),
            Next::Wanted
        );
    }

    #[test]
    fn a_doubt_ends_with_the_time() {
        let now = crate::clock::now();
        let mut doubts = Doubts::default();
        let wanted = read(Table::Coils, 1);
        doubts.unanswered(Ask::Read(&wanted).shape(), now);
        assert!(doubts.has(Ask::Read(&wanted).shape(), now));
        assert!(!doubts.has(Ask::Read(&wanted).shape(), now + FORGOTTEN_AFTER));
    }

    /// What becomes of a request.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        /// Answered after so many further requests were sent; so are those behind it.
        Late(usize),
        Refused(usize),
        Dropped,
    }

    fn fates() -> impl Strategy<Value = Fate> {
        prop_oneof![
            4 => Just(Fate::Late(0)),
            2 => (0_usize..4).prop_map(Fate::Late),
            1 => (0_usize..4).prop_map(Fate::Refused),
            1 => Just(Fate::Dropped),
        ]
    }

    /// A device that answers in order, each request as its fate has it.
    #[derive(Default)]
    struct Device {
        /// The number of the request, its shape, and what becomes of it.
        queue: VecDeque<(usize, Shape, Fate)>,
    }

    impl Device {
        /// What it sends until the request after number `sent`: the number of the request, its shape, whether it is an exception.
        fn says(&mut self, sent: usize) -> Vec<(usize, Shape, bool)> {
            let mut said = Vec::new();
            while let Some(&(number, shape, fate)) = self.queue.front() {
                match fate {
                    Fate::Late(by) | Fate::Refused(by) if number + by > sent => break,
                    Fate::Late(_) => said.push((number, shape, false)),
                    Fate::Refused(_) => said.push((number, shape, true)),
                    Fate::Dropped => {}
                }
                self.queue.pop_front();
            }
            said
        }
    }

    proptest! {
        /// The line takes the first frame that is a reply by its looks, as a serial line has to.
        #[test]
        fn no_late_reply_is_taken_for_the_reply_to_a_later_request(
            script in proptest::collection::vec((0_u16..4, fates(), any::<bool>()), 1..60),
        ) {
            let now = crate::clock::now();
            let (mut doubts, mut device) = (Doubts::default(), Device::default());
            for (number, (which, fate, is_flushed)) in script.into_iter().enumerate() {
                let table = if which % 2 == 0 { Table::HoldingRegisters } else { Table::InputRegisters };
                let wanted = read(table, 1 + which);
                let request = match doubts.next(Ask::Read(&wanted), now) {
                    Next::Wanted => wanted,
                    Next::Probe(request) => request,
                    Next::Nothing => continue,
                };
                let asked = Ask::Read(&request).shape();
                device.queue.push_back((number, asked, fate));
                let said = device.says(number);
                let looks_right = |(_, shape, is_exception): &&(usize, Shape, bool)| {
                    *shape == asked || *is_exception && shape.function == asked.function
                };
                // What came of older requests is there before the request is, or comes while its reply is waited for.
                let old = said.iter().filter(|(of, ..)| *of < number).count();
                let seen = if is_flushed { &said[old..] } else { &said[..] };
                match seen.iter().find(looks_right) {
                    Some((_, _, true)) => doubts.refused(asked, now),
                    Some((of, _, false)) => {
                        prop_assert_eq!(*of, number, "the reply to an earlier request was taken");
                        doubts.answered();
                    }
                    None => doubts.unanswered(asked, now),
                }
            }
        }
    }
}
