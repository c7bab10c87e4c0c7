//! Segments: many messages in one stored value, with a header that lets them be found again in a damaged file.
//!
//! ```text
//! "FGSEGMT" version:u8 | crc32c:u32 | epoch:u32 | first:u64 | last:u64 | count:u32 | stamp:u64 | newest:u64
//! body length:u32 | body
//! body: count times (varint: positions left out since the one before, record)
//! ```
//!
//! Little endian. The CRC covers all that follows it. A position that is left out was done, or was QoS 0, when the
//! segment was written: it is nowhere else either. A segment stays under [`SEGMENT_BYTES_MAX`], because redb rounds a
//! value up to a power of two of its pages; a message that does not fit has a segment of its own.

use bytes::Bytes;

use super::SessionNumber;
use super::record::{RecordDecoder, RecordEncoder, Stored};
use super::varint::{self, Input};

/// What a segment starts with; [`VERSION`] follows.
pub(super) const MAGIC: &[u8; 7] = b"FGSEGMT";
/// Version of a segment and of the records in it. In version 1 no record has wants.
pub(super) const VERSION: u8 = 2;
/// 64 KiB less what redb needs in the same page.
pub(super) const SEGMENT_BYTES_MAX: usize = 65_536 - 64;

/// Where the CRC stands; it covers everything after itself.
const CRC_AT: usize = 8;
const COVERED_FROM: usize = 12;
const BODY_FROM: usize = 56;

/// An encoded segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// What it holds.
    pub(super) header: Header,
    /// All of it, header included.
    pub(super) bytes: Bytes,
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The start of the program that wrote it.
    pub(super) epoch: u32,
    /// Position of its first message.
    pub(super) first: u64,
    /// Position of its last message.
    pub(super) last: u64,
    /// Messages in it, at least one.
    pub(super) count: u32,
    /// Stamp of its first message.
    pub(super) stamp: u64,
    /// Highest stamp in it.
    pub(super) newest: u64,
    body_length: u32,
}

/// Why a value is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SegmentError {
    /// Magic, CRC or content are wrong.
    #[error("a segment does not match its checksum")]
    Damaged,
    /// A newer program wrote it.
    #[error("a segment has version {0}")]
    Newer(u8),
}

/// Packs records into segments.
#[derive(Debug)]
pub(super) struct SegmentEncoder {
    epoch: u32,
    finished: Vec<Segment>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    header: Header,
    records: RecordEncoder,
    bytes: Vec<u8>,
}

impl SegmentEncoder {
    pub(super) fn new(epoch: u32) -> Self {
        Self {
            epoch,
            finished: Vec::new(),
            open: None,
        }
    }

    /// Adds a record; positions must ascend.
    pub(super) fn push(&mut self, seq: u64, record: &Stored) {
        if let Some(open) = &mut self.open {
            if open.push(seq, record) {
                return;
            }
            self.finish_open();
        }
        self.open = Some(Open::new(self.epoch, seq, record));
    }

    /// The segments, in order.
    pub(super) fn finish(mut self) -> Vec<Segment> {
        self.finish_open();
        self.finished
    }

    fn finish_open(&mut self) {
        if let Some(open) = self.open.take() {
            self.finished.push(open.finish());
        }
    }
}

impl Open {
    /// With its first record, however big.
    fn new(epoch: u32, seq: u64, record: &Stored) -> Self {
        let mut records = RecordEncoder::default();
        let mut bytes = vec![0; BODY_FROM];
        varint::put(&mut bytes, 0);
        records.encode(&mut bytes, record.stamp, record);
        Self {
            header: Header {
                epoch,
                first: seq,
                last: seq,
                count: 1,
                stamp: record.stamp,
                newest: record.stamp,
                body_length: 0,
            },
            records,
            bytes,
        }
    }

    /// Whether it went in. Once something did not, the segment takes no more.
    fn push(&mut self, seq: u64, record: &Stored) -> bool {
        let before = self.bytes.len();
        varint::put(&mut self.bytes, seq.saturating_sub(self.header.last + 1));
        self.records
            .encode(&mut self.bytes, self.header.stamp, record);
        if self.bytes.len() > SEGMENT_BYTES_MAX {
            self.bytes.truncate(before);
            return false;
        }
        self.header.last = seq;
        self.header.count += 1;
        self.header.newest = self.header.newest.max(record.stamp);
        true
    }

    fn finish(mut self) -> Segment {
        // A record of 4 GiB cannot come in: the packet size of MQTT ends at 256 MiB.
        self.header.body_length =
            u32::try_from(self.bytes.len().saturating_sub(BODY_FROM)).unwrap_or(u32::MAX);
        let mut head = Vec::with_capacity(BODY_FROM);
        head.extend_from_slice(MAGIC);
        head.push(VERSION);
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&self.header.epoch.to_le_bytes());
        head.extend_from_slice(&self.header.first.to_le_bytes());
        head.extend_from_slice(&self.header.last.to_le_bytes());
        head.extend_from_slice(&self.header.count.to_le_bytes());
        head.extend_from_slice(&self.header.stamp.to_le_bytes());
        head.extend_from_slice(&self.header.newest.to_le_bytes());
        head.extend_from_slice(&self.header.body_length.to_le_bytes());
        self.bytes.splice(..BODY_FROM, head);
        let crc = crc32c::crc32c(self.bytes.get(COVERED_FROM..).unwrap_or_default());
        self.bytes.splice(CRC_AT..COVERED_FROM, crc.to_le_bytes());
        Segment {
            header: self.header,
            bytes: self.bytes.into(),
        }
    }
}

impl Segment {
    /// Checks what was read; bytes after its end are left out.
    pub(super) fn parse(bytes: Bytes) -> Result<Self, SegmentError> {
        let mut input = Input::new(bytes.clone());
        let magic = input.take(MAGIC.len()).ok_or(SegmentError::Damaged)?;
        if magic.as_ref() != MAGIC {
            return Err(SegmentError::Damaged);
        }
        let version = input.byte().ok_or(SegmentError::Damaged)?;
        let (crc, header) = Header::parse(&mut input).ok_or(SegmentError::Damaged)?;
        let end = BODY_FROM.saturating_add(header.body_length as usize);
        let covered = bytes.get(COVERED_FROM..end).ok_or(SegmentError::Damaged)?;
        if crc32c::crc32c(covered) != crc {
            return Err(SegmentError::Damaged);
        }
        // After the checksum, so that a flipped bit is not taken for the future.
        if version > VERSION {
            return Err(SegmentError::Newer(version));
        }
        Ok(Self {
            header,
            bytes: bytes.slice(..end),
        })
    }

    /// What damaged bytes say of how many messages they held; a guess, at least one.
    pub(super) fn claimed_count(bytes: &[u8]) -> u64 {
        let mut input = Input::new(Bytes::copy_from_slice(
            bytes.get(..BODY_FROM).unwrap_or(&[]),
        ));
        let header = input.take(CRC_AT).and_then(|_| Header::parse(&mut input));
        // A record takes at least 4 bytes.
        let most = (bytes.len() / 4) as u64;
        header
            .map_or(1, |(_, header)| u64::from(header.count))
            .clamp(1, most.max(1))
    }

    /// Its messages with their positions, in order.
    pub(super) fn records(&self) -> Records {
        self.records_for(None)
    }

    /// The same; where there is a `session`, no other is said to want them.
    pub(super) fn records_for(&self, session: Option<SessionNumber>) -> Records {
        Records {
            input: Input::new(self.bytes.slice(BODY_FROM.min(self.bytes.len())..)),
            decoder: RecordDecoder::only(session),
            stamp: self.header.stamp,
            next: self.header.first,
            left: self.header.count,
        }
    }
}

impl Header {
    /// What follows the version.
    fn parse(input: &mut Input) -> Option<(u32, Self)> {
        let crc = input.u32()?;
        let header = Self {
            epoch: input.u32()?,
            first: input.u64()?,
            last: input.u64()?,
            count: input.u32()?,
            stamp: input.u64()?,
            newest: input.u64()?,
            body_length: input.u32()?,
        };
        Some((crc, header))
    }
}

/// Walks through the messages of a segment. Ends early, with an error, where the content is not what the header says.
#[derive(Debug)]
pub(super) struct Records {
    input: Input,
    decoder: RecordDecoder,
    stamp: u64,
    next: u64,
    left: u32,
}

impl Records {
    fn decode(&mut self) -> Option<(u64, Stored)> {
        let seq = self.next.checked_add(self.input.varint()?)?;
        let record = self.decoder.decode(&mut self.input, self.stamp)?;
        self.next = seq.checked_add(1)?;
        Some((seq, record))
    }
}

impl Iterator for Records {
    type Item = Result<(u64, Stored), SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let decoded = self.decode();
        if decoded.is_none() {
            self.left = 0;
        }
        Some(decoded.ok_or(SegmentError::Damaged))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{self, any_records};
    use super::*;

    fn record(number: u64, size: usize) -> Stored {
        testing::record(number, size).into()
    }

    fn encode(records: &[(u64, Stored)]) -> Vec<Segment> {
        let mut encoder = SegmentEncoder::new(7);
        for (seq, record) in records {
            encoder.push(*seq, record);
        }
        encoder.finish()
    }

    fn decode(segments: &[Segment]) -> Vec<(u64, Stored)> {
        segments
            .iter()
            .flat_map(|segment| {
                let parsed = Segment::parse(segment.bytes.clone()).unwrap();
                assert_eq!(parsed, *segment);
                parsed.records().map(Result::unwrap).collect::<Vec<_>>()
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_packed_comes_back(records in any_records()) {
            let segments = encode(&records);
            for segment in &segments {
                prop_assert!(segment.bytes.len() <= SEGMENT_BYTES_MAX || segment.header.count == 1);
            }
            prop_assert_eq!(decode(&segments), records);
        }

        #[test]
        fn a_reader_for_one_session_is_told_of_no_other(mut records in any_records()) {
            let wants = records.iter().flat_map(|(_, record)| &record.wants);
            let session = wants.map(|want| want.session).max();
            let segments = encode(&records);
            for (_, record) in &mut records {
                record.wants.retain(|want| Some(want.session) == session);
            }
            let read = segments.iter().flat_map(|segment| segment.records_for(session));
            prop_assert_eq!(read.map(Result::unwrap).collect::<Vec<_>>(), records);
        }

        #[test]
        fn a_flipped_bit_is_noticed(records in any_records(), place: prop::sample::Index, bit in 0_u8..8) {
            let segments = encode(&records);
            prop_assume!(!segments.is_empty());
            let mut bytes = segments[0].bytes.to_vec();
            let at = place.index(bytes.len());
            // The version is not covered: a newer one must be told from damage, and then nothing is read.
            prop_assume!(at != MAGIC.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Segment::parse(bytes.into()), Err(SegmentError::Damaged));
        }

        #[test]
        fn any_body_is_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200), count: u32) {
            let mut bytes = encode(&[(1, record(1, 8))])[0].bytes[..BODY_FROM].to_vec();
            bytes.extend_from_slice(&body);
            let header = Header { epoch: 1, first: u64::MAX - 1, last: u64::MAX, count, stamp: 0, newest: 0, body_length: 0 };
            let segment = Segment { header, bytes: bytes.into() };
            let read = segment.records().count();
            prop_assert!(read <= body.len() + 1);
        }

        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(Segment::parse(bytes.into()).is_err());
        }
    }

    #[test]
    fn a_message_over_the_limit_has_a_segment_of_its_own() {
        let records = [
            (1, record(1, 10)),
            (2, record(2, 100_000)),
            (3, record(3, 10)),
        ];
        let segments = encode(&records);
        assert_eq!(segments.len(), 3);
        assert_eq!(decode(&segments), records);
    }

    #[test]
    fn a_newer_segment_is_not_damage() {
        let mut bytes = encode(&[(1, record(1, 8))])[0].bytes.to_vec();
        bytes[MAGIC.len()] = VERSION + 1;
        assert_eq!(
            Segment::parse(bytes.into()),
            Err(SegmentError::Newer(VERSION + 1))
        );
    }

    #[test]
    fn a_segment_of_version_1_is_read() {
        let segments = encode(&[(1, record(1, 8))]);
        let mut bytes = segments[0].bytes.to_vec();
        bytes[MAGIC.len()] = 1;
        let read = Segment::parse(bytes.into()).unwrap();
        assert_eq!(read.records().next(), Some(Ok((1, record(1, 8)))));
    }

    #[test]
    fn a_topic_is_stored_once_in_a_segment() {
        let records: Vec<_> = (1..=100).map(|seq| (seq, record(1, 4))).collect();
        let segments = encode(&records);
        assert_eq!(segments.len(), 1);
        let topic = records[0].1.message.topic.as_str().len();
        assert!(segments[0].bytes.len() < BODY_FROM + topic + 100 * 20);
    }
}
