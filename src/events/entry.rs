//! An entry, and the line that keeps it. No I/O.
//!
//! A line is the CRC32C of the rest in eight hex digits, a space, and a JSON array. One that was torn or damaged is no line.

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Somebody may want to know.
    Warning,
    /// Somebody should do something.
    Error,
}

/// What happened, once or again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Grows with each entry and each change of one: an entry that is repeated has a new number.
    pub number: u64,
    /// The number that it had at first, which tells what it is.
    pub id: u64,
    /// When, last.
    pub at: WallTime,
    /// When, first.
    pub first: WallTime,
    /// How often.
    pub count: u64,
    /// The same by the machine's own count, last; `None`: it does not say.
    pub boot: Option<Boot>,
    /// How bad it is.
    pub severity: Severity,
    /// Which part of the program says it, such as `bridge/task`.
    pub kind: String,
    /// What of the configuration it is about, such as `bridge cloud`.
    pub subject: Option<String>,
    /// In words, as it was said last.
    pub text: String,
}

/// A start of the machine, and how long ago it was. True also where the wall clock is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// Some bits of its id: enough to tell it from those before.
    pub id: u32,
    /// Milliseconds since it.
    pub uptime: u64,
}

/// The array: as short as it can be, since each byte wears the disk.
#[derive(Serialize, Deserialize)]
struct Stored(
    u64,
    u64,
    u64,
    u64,
    u64,
    Option<(u32, u64)>,
    Severity,
    String,
    Option<String>,
    String,
);

impl Boot {
    /// Those bits.
    #[must_use]
    pub fn short(id: u128) -> u32 {
        let [a, b, c, d, ..] = id.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

impl Entry {
    /// Its line, with the end of line.
    pub(super) fn line(&self) -> String {
        let stored = Stored(
            self.number,
            self.id,
            self.at.0,
            self.first.0,
            self.count,
            self.boot.map(|boot| (boot.id, boot.uptime)),
            self.severity,
            self.kind.clone(),
            self.subject.clone(),
            self.text.clone(),
        );
        // Numbers and strings always have a JSON text.
        let json = serde_json::to_string(&stored).unwrap_or_default();
        format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()))
    }

    /// What a line says, without its end.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let (crc, json) = line.split_at_checked(8)?;
        let json = json.strip_prefix(b" ")?;
        let crc = u32::from_str_radix(str::from_utf8(crc).ok()?, 16).ok()?;
        if crc != crc32c::crc32c(json) {
            return None;
        }
        let Stored(number, id, at, first, count, boot, severity, kind, subject, text) =
            serde_json::from_slice(json).ok()?;
        Some(Self {
            number,
            id,
            at: WallTime(at),
            first: WallTime(first),
            count,
            boot: boot.map(|(id, uptime)| Boot { id, uptime }),
            severity,
            kind,
            subject,
            text,
        })
    }

    /// What it takes, in memory and in a file, roughly.
    pub(super) fn bytes(&self) -> usize {
        const NUMBERS: usize = 100;
        let subject = self.subject.as_deref().unwrap_or_default();
        NUMBERS + self.kind.len() + subject.len() + self.text.len()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::events) fn entry(number: u64, text: &str) -> Entry {
        Entry {
            number,
            id: number,
            at: WallTime(1_795_960_924_123),
            first: WallTime(1_795_960_924_000),
            count: 412,
            boot: Some(Boot {
                id: u32::MAX,
                uptime: u64::MAX,
            }),
            severity: Severity::Warning,
            kind: "bridge/task".to_owned(),
            subject: Some("bridge cloud".to_owned()),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_line_reads_back_as_what_it_was_and_is_about_as_long_as_was_reckoned() {
        for text in ["", "link lost: no answer", "a\n\"\\\u{2028}ä"] {
            let entry = entry(7, text);
            let line = entry.line();
            assert_eq!(line.matches('\n').count(), 1);
            let parsed = Entry::parse(line.trim_end_matches('\n').as_bytes());
            assert_eq!(parsed.as_ref(), Some(&entry));
            assert!(line.len() < entry.bytes() + 60, "{line}");
        }
    }

    #[test]
    fn no_part_of_a_line_and_no_line_with_a_flipped_bit_is_an_entry() {
        let line = entry(7, "link lost").line();
        let line = line.trim_end().as_bytes();
        for length in 0..line.len() {
            assert_eq!(Entry::parse(&line[..length]), None);
        }
        for bit in 0..line.len() * 8 {
            let mut flipped = line.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // The case of a hex digit of the CRC is all that may differ.
            let same = Entry::parse(&flipped).is_none_or(|read| read == entry(7, "link lost"));
            assert!(same, "bit {bit}");
        }
    }
}
