//! Options of instruments. No I/O.

use std::time::Duration;

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
