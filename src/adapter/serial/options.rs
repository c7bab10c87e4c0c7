//! Options of instruments. No I/O.

use std::time::Duration;

use regex::bytes::{Captures, Regex, RegexBuilder};

use super::checksum::Checksum;
use crate::adapter::options::{Payload, ProbeBackoff};
use crate::adapter::wire_options::SerialOptions;
use crate::mqtt::QoS;
use crate::topic::TopicName;
use crate::value::{ByteOrder, TagType, Value};

/// How an instrument's bytes are cut into frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramingOptions {
    /// Where frames begin and end.
    pub kind: Framing,
    /// Most bytes of a frame, without its delimiter. What is longer is dropped and counted.
    pub max_length: usize,
    /// Silence after which what was begun is dropped, and what comes is a beginning. [`Framing::IdleGap`] has its own.
    pub frame_timeout: Duration,
}

/// Where frames begin and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Each frame is followed by these bytes, which do not belong to it. Between two there is nothing: no frame.
    Delimiter(Vec<u8>),
    /// From mark to mark, neither of which stands in the data: another start is the beginning of another frame.
    Marks {
        /// Begins a frame and belongs to it.
        start: Vec<u8>,
        /// Ends the data; belongs to the frame.
        end: Vec<u8>,
        /// Bytes behind the end that belong to the frame, such as a checksum.
        trailer: usize,
    },
    /// Always as long.
    Length {
        /// Bytes of a frame.
        length: usize,
        /// Begins each frame and belongs to it; may be empty.
        sync: Vec<u8>,
    },
    /// A number in the frame says how long it is.
    LengthField {
        /// First byte of the number, from the frame's first.
        offset: usize,
        /// Bytes of the number: 1 to 4.
        size: usize,
        /// Their order.
        endian: Endian,
        /// Added to the number gives the length of the whole frame.
        adjust: i64,
        /// Begins each frame and belongs to it; may be empty.
        sync: Vec<u8>,
    },
    /// So long a silence stands between frames.
    IdleGap(Duration),
}

/// Order of the bytes of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Endian {
    /// Most significant byte first.
    #[default]
    Big,
    /// Least significant byte first.
    Little,
}

impl FramingOptions {
    /// What a frame begins with; of a delimiter, what it ends with.
    pub(super) fn mark(&self) -> &[u8] {
        match &self.kind {
            Framing::Delimiter(mark)
            | Framing::Marks { start: mark, .. }
            | Framing::Length { sync: mark, .. }
            | Framing::LengthField { sync: mark, .. } => mark,
            Framing::IdleGap(_) => &[],
        }
    }

    /// Whether something between frames says that one has ended, instead of something in them.
    pub(super) fn has_borders(&self) -> bool {
        matches!(self.kind, Framing::Delimiter(_) | Framing::IdleGap(_))
    }

    pub(super) fn silence(&self) -> Duration {
        match self.kind {
            Framing::IdleGap(gap) => gap,
            _ => self.frame_timeout,
        }
    }
}

impl Endian {
    /// The number that at most seven bytes are.
    pub(super) fn number(self, bytes: &[u8]) -> i64 {
        let join = |number: i64, byte: &u8| (number << 8) | i64::from(*byte);
        match self {
            Self::Big => bytes.iter().fold(0, join),
            Self::Little => bytes.iter().rev().fold(0, join),
        }
    }
}

/// How frames become values.
#[derive(Clone, Debug, PartialEq)]
pub struct ParseOptions {
    /// Frames that this does not find are not for us, and say nothing; `None`: all are for us.
    pub only: Option<Pattern>,
    /// What frames look like.
    pub format: Format,
    /// The values in them.
    pub fields: Vec<FieldOptions>,
    /// While one of these fields has this value, or none, the others are uncertain.
    pub uncertain_when: Vec<(String, Value)>,
}

/// What frames look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Text that this pattern finds; a field is a named group.
    Regex(Pattern),
    /// Text between separators, blanks around it dropped; a field is a column.
    Csv(u8),
    /// A JSON document; a field is a JSON Pointer.
    Json,
    /// Bytes; a field has an offset.
    Binary,
}

/// One value of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldOptions {
    /// Its name in payloads and topics.
    pub name: String,
    /// Where it stands.
    pub source: Source,
    /// What it is.
    pub kind: FieldType,
    /// Multiplied with a number; 1.0: the number itself.
    pub scale: f64,
    /// Digits after the point that are published; `None`: as many as the value has.
    pub decimals: Option<u8>,
    /// What it means instead of what stands there; where there is one, nothing else may stand there.
    pub map: Vec<(String, Value)>,
    /// Its unit.
    pub unit: Option<String>,
    /// Where the frame says its unit: what is told, or where there is a `unit`, what has to be that.
    pub unit_from: Option<Source>,
}

/// Where a field stands in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a named group of the pattern.
    Group(String),
    /// In this column, from 0.
    Column(usize),
    /// At this JSON Pointer.
    Pointer(String),
    /// From this byte on, from 0; numbers in this order.
    Bytes(usize, ByteOrder),
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// One byte, signed.
    Int8,
    /// One byte.
    Uint8,
    /// As in registers, but for text.
    Tag(TagType),
    /// Text; among bytes so many, without trailing NULs and blanks.
    Text(usize),
}

/// A regular expression over bytes: classes are ASCII, `.` is any byte but a line feed. Finding takes time linear in the
/// frame.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// At which of its characters, from 1.
    pub column: Option<usize>,
    /// What is wrong there.
    pub message: String,
}

/// Most memory that a pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what is wrong with it, and where.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        RegexBuilder::new(text)
            .unicode(false)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map(Self)
            .map_err(|error| PatternError::new(&error))
    }

    /// Whether it is found in `bytes`.
    #[must_use]
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// The named groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.0.capture_names().flatten()
    }

    pub(super) fn captures<'f>(&self, bytes: &'f [u8]) -> Option<Captures<'f>> {
        self.0.captures(bytes)
    }
}

impl PatternError {
    /// Of an error that shows the pattern with a mark below it:
    ///
    /// ```text
    /// regex parse error:
    ///     a(b
    ///      ^
    /// error: unclosed group
    /// ```
    fn new(error: &regex::Error) -> Self {
        const INDENT: usize = 4;
        if let regex::Error::CompiledTooBig(_) = error {
            return Self {
                column: None,
                message: "the pattern is too large: repeat less".to_owned(),
            };
        }
        let text = error.to_string();
        let mark = text
            .lines()
            .rfind(|line| line.contains('^') && line.trim().chars().all(|mark| mark == '^'));
        let column = mark.and_then(|line| (line.find('^')? + 1).checked_sub(INDENT));
        let message = text.lines().last().unwrap_or_default();
        Self {
            column,
            message: message.trim_start_matches("error: ").to_owned(),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// How an instrument speaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialect {
    /// How its bytes are cut into frames.
    pub framing: FramingOptions,
    /// What tells whether a frame arrived whole.
    pub checksum: Option<Checksum>,
    /// Who speaks first.
    pub mode: Mode,
    /// What frames say.
    pub parse: ParseOptions,
    /// What it can be told to do.
    pub commands: Vec<CommandOptions>,
}

/// One instrument, alone on its line.
#[derive(Clone, Debug, PartialEq)]
pub struct InstrumentOptions {
    /// Its name in topics.
    pub name: String,
    /// How it speaks.
    pub dialect: Dialect,
    /// How readings are published.
    pub payload: Payload,
    /// A topic for each field, in their order, for [`Payload::JsonPerTag`] and [`Payload::Value`].
    pub topics: Vec<TopicName>,
    /// QoS of readings.
    pub qos: QoS,
    /// Whether readings are retained.
    pub retain: bool,
    /// Where `$status` goes.
    pub status_topic: TopicName,
    /// One level above the topics of its commands.
    pub set_topic: TopicName,
    /// Failures in a row, and at least 3 s, after which it is offline.
    pub offline_after: u32,
    /// Wait between probes of an offline instrument.
    pub probe_backoff: ProbeBackoff,
}

/// An instrument and its port.
#[derive(Clone, Debug, PartialEq)]
pub struct InstrumentConnection {
    /// For logs.
    pub name: String,
    /// The port.
    pub port: SerialOptions,
    /// What is on it.
    pub instrument: InstrumentOptions,
}

/// Who speaks first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The instrument, whenever it likes.
    Listen {
        /// So long without a reading is a failure; `None`: it speaks when somebody uses it.
        stale_after: Option<Duration>,
    },
    /// We do.
    Poll {
        /// What is sent.
        send: Vec<u8>,
        /// From one question to the next, by absolute deadline.
        interval: Duration,
        /// From the question to the end of the answer.
        timeout: Duration,
    },
}

/// Something that an instrument can be told to do.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandOptions {
    /// Its name in topics.
    pub name: String,
    /// What is sent.
    pub send: Vec<u8>,
    /// What the answer looks like; `None`: there is none.
    pub expect: Option<Pattern>,
    /// From the command to the end of the answer.
    pub timeout: Duration,
    /// Older ones are refused.
    pub max_age: Duration,
    /// One whose age is not known counts as new.
    pub takes_undated: bool,
}
