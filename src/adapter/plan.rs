//! Which requests read a group: tags joined into as few reads as the limits allow. No I/O.
//!
//! Invariants: a tag is never split over two requests, so no value is torn; a request holds tags of one table of one
//! group only; tags that must be of one moment (`atomic`, a value and its `scale_from`) share a request, together with
//! the registers between them; no request is longer than the device takes; the number of requests is the smallest for
//! these limits.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::options::{DeviceOptions, GroupOptions, Table, TagOptions};

/// Most bits in one request, by the Modbus specification.
pub const BITS_MAX: u16 = 2000;
/// Most registers in one request, by the Modbus specification.
pub const REGISTERS_MAX: u16 = 125;

/// Why a group cannot be read. The configuration is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The tag alone is longer than a request may be.
    #[error(
        "tag {tag} spans {registers} registers and one request holds {limit}: shorten it or raise max_registers (at most 125)"
    )]
    TooLong {
        /// Which tag.
        tag: String,
        /// Its length.
        registers: u16,
        /// The limit.
        limit: u16,
    },
    /// The tag has no register.
    #[error("tag {0} spans no register: give it a length")]
    Empty(String),
    /// The tag reaches beyond address 65535.
    #[error("tag {0} reaches beyond the last address, 65535")]
    BeyondTable(String),
    /// The factor of a tag is not read with it.
    #[error("tag {tag} takes its factor from {factor}, which is no tag of its group")]
    NoFactor {
        /// Which tag.
        tag: String,
        /// Its factor.
        factor: String,
    },
    /// Tags that must share a request are of different tables.
    #[error("tags {tag} and {with} cannot be read in one request: they are in different tables")]
    Tables {
        /// The one.
        tag: String,
        /// The other.
        with: String,
    },
    /// Tags that must share a request are too far apart.
    #[error(
        "tags {tag} and {with} cannot be read in one request: it would take {registers}, and one holds {limit}"
    )]
    Apart {
        /// The one.
        tag: String,
        /// The other.
        with: String,
        /// From the first to the last.
        registers: u32,
        /// The limit.
        limit: u16,
    },
}

/// One request and the tags in its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Which table.
    pub table: Table,
    /// The first address.
    pub address: u16,
    /// How many bits or registers.
    pub quantity: u16,
    /// The tags it answers, by address.
    pub tags: Vec<TagSlot>,
}

/// Where a tag is in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagSlot {
    /// Index into the tags of the group.
    pub tag: usize,
    /// Tags with the same number are never read apart.
    pub set: usize,
    /// Bits or registers before it.
    pub offset: usize,
    /// Its bits or registers.
    pub length: usize,
}

/// How one group is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    /// Name of the device.
    pub device: String,
    /// Name of the group.
    pub group: String,
    /// From one reading to the next.
    pub interval: Duration,
    /// The requests, by table and address.
    pub requests: Vec<ReadRequest>,
}

impl Table {
    /// Whether an address of it is one bit.
    #[must_use]
    pub fn holds_bits(self) -> bool {
        matches!(self, Self::Coils | Self::DiscreteInputs)
    }

    /// The function code that reads it.
    #[must_use]
    pub fn read_function(self) -> u8 {
        match self {
            Self::Coils => 1,
            Self::DiscreteInputs => 2,
            Self::HoldingRegisters => 3,
            Self::InputRegisters => 4,
        }
    }
}

/// Plans every group of a device, in the order of the options.
///
/// # Errors
/// Says which tag cannot be read.
pub fn plan(device: &DeviceOptions) -> Result<Vec<GroupPlan>, PlanError> {
    device
        .groups
        .iter()
        .map(|group| plan_group(device, group))
        .collect()
}

fn plan_group(device: &DeviceOptions, group: &GroupOptions) -> Result<GroupPlan, PlanError> {
    let mut spans = spans(group, device.max_registers)?;
    spans.sort_by_key(|span| (span.table, span.start, span.end));
    let mut requests: Vec<ReadRequest> = Vec::new();
    for span in spans {
        let joined = requests
            .last_mut()
            .is_some_and(|request| span.join(request, device));
        if !joined {
            requests.push(ReadRequest {
                table: span.table,
                address: span.start,
                quantity: span.length(),
                tags: span.slots(span.start).collect(),
            });
        }
    }
    for request in &mut requests {
        request.tags.sort_by_key(|slot| slot.offset);
    }
    Ok(GroupPlan {
        device: device.name.clone(),
        group: group.name.clone(),
        interval: group.interval,
        requests,
    })
}

/// Whether the group can be read in requests of so many registers.
///
/// # Errors
/// Says which tag cannot be read.
pub fn check(group: &GroupOptions, max_registers: u16) -> Result<(), PlanError> {
    spans(group, max_registers).map(drop)
}

/// What has to be in one request, each.
fn spans(group: &GroupOptions, max_registers: u16) -> Result<Vec<Span>, PlanError> {
    let mut spans = BTreeMap::<usize, Span>::new();
    for ((index, tag), set) in group.tags.iter().enumerate().zip(sets(&group.tags)?) {
        let span = Span::of(index, set, tag, max_registers)?;
        match spans.get_mut(&set) {
            Some(whole) => whole.include(span, &group.tags, max_registers)?,
            None => drop(spans.insert(set, span)),
        }
    }
    Ok(spans.into_values().collect())
}

/// The number of each tag's set: tags of one set must share a request.
fn sets(tags: &[TagOptions]) -> Result<Vec<usize>, PlanError> {
    let mut sets: Vec<usize> = (0..tags.len()).collect();
    let first_atomic = tags.iter().position(|tag| tag.atomic);
    for (index, tag) in tags.iter().enumerate() {
        let factor = match &tag.scale_from {
            Some(factor) => {
                let found = tags.iter().position(|other| other.name == *factor);
                Some(found.ok_or_else(|| PlanError::NoFactor {
                    tag: tag.name.clone(),
                    factor: factor.clone(),
                })?)
            }
            None => None,
        };
        for partner in factor
            .into_iter()
            .chain(first_atomic.filter(|_| tag.atomic))
        {
            if let (Some(from), Some(to)) = (sets.get(index).copied(), sets.get(partner).copied()) {
                sets.iter_mut()
                    .filter(|set| **set == from)
                    .for_each(|set| *set = to);
            }
        }
    }
    Ok(sets)
}

/// The addresses of one tag, or of all that must share a request.
struct Span {
    tags: Vec<SpanTag>,
    set: usize,
    table: Table,
    start: u16,
    /// One past the last, so up to 65536.
    end: u32,
}

struct SpanTag {
    tag: usize,
    start: u16,
    length: u16,
}

impl Span {
    fn of(
        index: usize,
        set: usize,
        tag: &TagOptions,
        max_registers: u16,
    ) -> Result<Self, PlanError> {
        let length = if tag.table.holds_bits() {
            1
        } else {
            tag.kind.registers()
        };
        if length == 0 {
            return Err(PlanError::Empty(tag.name.clone()));
        }
        let limit = limit(tag.table, max_registers);
        if length > limit {
            return Err(PlanError::TooLong {
                tag: tag.name.clone(),
                registers: length,
                limit,
            });
        }
        let end = u32::from(tag.address) + u32::from(length);
        if end > 0x1_0000 {
            return Err(PlanError::BeyondTable(tag.name.clone()));
        }
        Ok(Self {
            tags: vec![SpanTag {
                tag: index,
                start: tag.address,
                length,
            }],
            set,
            table: tag.table,
            start: tag.address,
            end,
        })
    }

    fn length(&self) -> u16 {
        u16::try_from(self.end.saturating_sub(u32::from(self.start))).unwrap_or(u16::MAX)
    }

    fn slots(&self, request_start: u16) -> impl Iterator<Item = TagSlot> {
        self.tags.iter().map(move |tag| TagSlot {
            tag: tag.tag,
            set: self.set,
            offset: usize::from(tag.start.saturating_sub(request_start)),
            length: usize::from(tag.length),
        })
    }

    /// Takes in another tag of the set, and what lies between.
    fn include(
        &mut self,
        other: Self,
        tags: &[TagOptions],
        max_registers: u16,
    ) -> Result<(), PlanError> {
        let name = |span: &Self| {
            let tag = span.tags.first().and_then(|first| tags.get(first.tag));
            tag.map(|tag| tag.name.clone()).unwrap_or_default()
        };
        let (tag, with) = (name(&other), name(self));
        if other.table != self.table {
            return Err(PlanError::Tables { tag, with });
        }
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        let registers = self.end.saturating_sub(u32::from(self.start));
        let limit = limit(self.table, max_registers);
        if registers > u32::from(limit) {
            return Err(PlanError::Apart {
                tag,
                with,
                registers,
                limit,
            });
        }
        self.tags.extend(other.tags);
        Ok(())
    }

    /// Joins the request where the limits allow. Spans come by start address, and a request is left for good at the
    /// first span that does not fit: a later one that would still fit lies wholly within the span that did not, whose
    /// request reads it anyway. So starting at the first address not yet read and reaching as far as possible is
    /// already the smallest number of requests.
    fn join(&self, request: &mut ReadRequest, device: &DeviceOptions) -> bool {
        let start = u32::from(request.address);
        let end = start + u32::from(request.quantity);
        let new_end = end.max(self.end);
        let quantity = new_end.saturating_sub(start);
        let fits = request.table == self.table
            && u32::from(self.start) <= end + u32::from(device.max_gap)
            && quantity <= u32::from(limit(self.table, device.max_registers));
        if fits {
            request.quantity = u16::try_from(quantity).unwrap_or(u16::MAX);
            request.tags.extend(self.slots(request.address));
        }
        fits
    }
}

fn limit(table: Table, max_registers: u16) -> u16 {
    if table.holds_bits() {
        BITS_MAX
    } else {
        max_registers.min(REGISTERS_MAX)
    }
}

/// `chiller/status: FC01 @0x1, FC03 @10x1 @12x1, 3 requests per 500 ms`; `@ADDRESSxQUANTITY`, both decimal.
impl fmt::Display for GroupPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}:", self.device, self.group)?;
        let mut table = None;
        for request in &self.requests {
            if table != Some(request.table) {
                let comma = if table.is_some() { "," } else { "" };
                write!(formatter, "{comma} FC{:02}", request.table.read_function())?;
                table = Some(request.table);
            }
            write!(formatter, " @{}x{}", request.address, request.quantity)?;
        }
        let comma = if table.is_some() { "," } else { "" };
        let count = self.requests.len();
        let plural = if count == 1 { "" } else { "s" };
        let millis = self.interval.as_millis();
        if millis.is_multiple_of(1000) {
            let seconds = millis / 1000;
            write!(formatter, "{comma} {count} request{plural} per {seconds} s")
        } else {
            write!(formatter, "{comma} {count} request{plural} per {millis} ms")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture;
    use super::*;
    use crate::value::TagType;

    fn device(max_gap: u16, max_registers: u16, tags: Vec<TagOptions>) -> DeviceOptions {
        DeviceOptions {
            max_gap,
            max_registers,
            ..fixture::device("chiller", 1, vec![fixture::group("status", 500, tags)])
        }
    }

    fn registers(spans: &[(u16, u16)]) -> Vec<TagOptions> {
        spans
            .iter()
            .map(|(address, length)| {
                let kind = TagType::Text(*length);
                fixture::tag("t", Table::HoldingRegisters, *address, kind)
            })
            .collect()
    }

    fn planned(device: &DeviceOptions) -> GroupPlan {
        plan(device).unwrap().remove(0)
    }

    fn chiller() -> Vec<TagOptions> {
        vec![
            fixture::tag("run", Table::Coils, 0, TagType::Bool),
            fixture::tag("mode", Table::HoldingRegisters, 10, TagType::Uint16),
            fixture::tag("setpoint", Table::HoldingRegisters, 12, TagType::Int16),
            fixture::tag("supply_t", Table::InputRegisters, 3, TagType::Int16),
            fixture::tag("alarms", Table::HoldingRegisters, 20, TagType::Uint16),
        ]
    }

    #[test]
    fn a_plan_reads_as_the_report_shows_it() {
        assert_eq!(
            planned(&device(0, 125, chiller())).to_string(),
            "chiller/status: FC01 @0x1, FC03 @10x1 @12x1 @20x1, FC04 @3x1, 5 requests per 500 ms"
        );
        assert_eq!(
            planned(&device(8, 125, chiller())).to_string(),
            "chiller/status: FC01 @0x1, FC03 @10x11, FC04 @3x1, 3 requests per 500 ms"
        );
        let empty = device(0, 125, vec![]);
        assert_eq!(
            planned(&empty).to_string(),
            "chiller/status: 0 requests per 500 ms"
        );
    }

    #[test]
    fn neighbours_share_a_request_and_know_their_place() {
        let group = planned(&device(
            0,
            125,
            registers(&[(4, 4), (0, 2), (2, 2), (1, 2)]),
        ));
        assert_eq!(group.requests.len(), 1);
        let request = &group.requests[0];
        assert_eq!((request.address, request.quantity), (0, 8));
        let slots: Vec<_> = request
            .tags
            .iter()
            .map(|slot| (slot.tag, slot.offset, slot.length))
            .collect();
        assert_eq!(slots, [(1, 0, 2), (3, 1, 2), (2, 2, 2), (0, 4, 4)]);
    }

    #[test]
    fn a_tag_is_never_split() {
        let group = planned(&device(
            0,
            10,
            registers(&[(0, 4), (4, 4), (8, 4), (12, 4)]),
        ));
        let spans: Vec<_> = group
            .requests
            .iter()
            .map(|request| (request.address, request.quantity))
            .collect();
        assert_eq!(spans, [(0, 8), (8, 8)]);
    }

    #[test]
    fn bits_have_their_own_limit() {
        let coils = |count: u16| {
            (0..count)
                .map(|address| fixture::tag("c", Table::Coils, address, TagType::Bool))
                .collect()
        };
        assert_eq!(planned(&device(0, 10, coils(2000))).requests.len(), 1);
        assert_eq!(planned(&device(0, 10, coils(2001))).requests.len(), 2);
    }

    #[test]
    fn tags_that_cannot_be_read_are_named() {
        let fault = |spans: &[(u16, u16)]| plan(&device(0, 60, registers(spans))).unwrap_err();
        assert!(matches!(
            fault(&[(0, 61)]),
            PlanError::TooLong { limit: 60, .. }
        ));
        assert_eq!(
            fault(&[(65_535, 2)]),
            PlanError::BeyondTable("t".to_owned())
        );
        assert_eq!(fault(&[(0, 0)]), PlanError::Empty("t".to_owned()));
        let last = planned(&device(0, 60, registers(&[(65_535, 1)])));
        assert_eq!(last.requests[0].quantity, 1);
    }

    #[test]
    fn tags_of_one_moment_share_a_request_whatever_lies_between() {
        let mut tags = registers(&[(0, 1), (10, 1), (20, 1)]);
        for (tag, name) in tags.iter_mut().zip(["a", "factor", "c"]) {
            name.clone_into(&mut tag.name);
        }
        assert_eq!(planned(&device(0, 60, tags.clone())).requests.len(), 3);
        tags[2].scale_from = Some("factor".to_owned());
        let text = planned(&device(0, 60, tags.clone())).to_string();
        assert_eq!(
            text,
            "chiller/status: FC03 @0x1 @10x11, 2 requests per 500 ms"
        );
        (tags[0].atomic, tags[1].atomic) = (true, true);
        let text = planned(&device(0, 60, tags.clone())).to_string();
        assert_eq!(text, "chiller/status: FC03 @0x21, 1 request per 500 ms");
        let fault = plan(&device(0, 20, tags.clone())).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "tags c and a cannot be read in one request: it would take 21, and one holds 20"
        );
        tags[1].table = Table::InputRegisters;
        let fault = plan(&device(0, 60, tags.clone())).unwrap_err();
        assert!(matches!(fault, PlanError::Tables { .. }), "{fault}");
        tags[2].scale_from = Some("x".to_owned());
        let fault = plan(&device(0, 60, tags)).unwrap_err();
        assert!(matches!(fault, PlanError::NoFactor { .. }), "{fault}");
    }

    /// What must be read at once, as address and length: tags whose bonds reach each other, by asking all pairs until
    /// nothing changes.
    fn bound(spans: &[(u16, u16)], atomic: &[bool], factor: &[Option<usize>]) -> Vec<Vec<usize>> {
        let bond = |a: usize, b: usize| {
            factor[a] == Some(b) || factor[b] == Some(a) || (atomic[a] && atomic[b])
        };
        let mut left: Vec<usize> = (0..spans.len()).collect();
        let mut sets = Vec::new();
        while let Some(first) = left.pop() {
            let mut set = vec![first];
            while let Some(at) = left
                .iter()
                .position(|tag| set.iter().any(|member| bond(*tag, *member)))
            {
                set.push(left.remove(at));
            }
            sets.push(set);
        }
        sets
    }

    /// The fewest requests, by trying every way to cut the tags in address order, each request as its tags need it.
    fn fewest(spans: &[(u32, u32)], max_gap: u32, limit: u32) -> usize {
        let mut sorted = spans.to_vec();
        sorted.sort_unstable();
        let mut best = vec![0_usize; sorted.len() + 1];
        for from in (0..sorted.len()).rev() {
            best[from] = usize::MAX;
            let (start, mut end) = (sorted[from].0, sorted[from].0);
            for to in from..sorted.len() {
                if to > from && sorted[to].0 > end + max_gap {
                    break;
                }
                end = end.max(sorted[to].0 + sorted[to].1);
                if end - start <= limit {
                    best[from] = best[from].min(1 + best[to + 1]);
                }
            }
        }
        best[0]
    }

    proptest! {
        #[test]
        fn no_plan_has_fewer_requests_and_every_tag_is_read_once(
            tags in proptest::collection::vec(
                (0_u16..60, 1_u16..9, proptest::bool::weighted(0.2), proptest::option::weighted(0.2, 0_usize..12)),
                1..12,
            ),
            max_gap in 0_u16..6,
            max_registers in 8_u16..30,
        ) {
            let spans: Vec<_> = tags.iter().map(|(address, length, _, _)| (*address, *length)).collect();
            let atomic: Vec<_> = tags.iter().map(|tag| tag.2).collect();
            let factor: Vec<_> = tags.iter().map(|tag| tag.3.filter(|factor| *factor < tags.len())).collect();
            let mut options = registers(&spans);
            for (index, tag) in options.iter_mut().enumerate() {
                tag.name = format!("t{index}");
                tag.atomic = atomic[index];
                tag.scale_from = factor[index].map(|factor| format!("t{factor}"));
            }
            let device = device(max_gap, max_registers, options);
            let sets = bound(&spans, &atomic, &factor);
            let wide: Vec<(u32, u32)> = sets
                .iter()
                .map(|set| {
                    let start = set.iter().map(|tag| spans[*tag].0).min().unwrap();
                    let end = set.iter().map(|tag| spans[*tag].0 + spans[*tag].1).max().unwrap();
                    (u32::from(start), u32::from(end - start))
                })
                .collect();
            let planned = plan(&device);
            if wide.iter().any(|(_, length)| *length > u32::from(max_registers)) {
                let refused = matches!(planned, Err(PlanError::Apart { .. }));
                prop_assert!(refused, "{:?}", planned);
                return Ok(());
            }
            let group = planned.unwrap().remove(0);
            let expected = fewest(&wide, u32::from(max_gap), u32::from(max_registers));
            prop_assert_eq!(group.requests.len(), expected);
            let mut seen = vec![0; spans.len()];
            for request in &group.requests {
                prop_assert!(request.quantity <= max_registers);
                for slot in &request.tags {
                    seen[slot.tag] += 1;
                    prop_assert_eq!(usize::from(request.address) + slot.offset, usize::from(spans[slot.tag].0));
                    prop_assert!(slot.offset + slot.length <= usize::from(request.quantity));
                }
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
            for set in sets {
                let holds_all = |request: &ReadRequest| {
                    set.iter().all(|tag| request.tags.iter().any(|slot| slot.tag == *tag))
                };
                prop_assert!(group.requests.iter().any(holds_all), "{:?} is torn", set);
            }
        }
    }
}
