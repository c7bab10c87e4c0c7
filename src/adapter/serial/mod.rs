//! Serial instruments: scales, receivers, readers and meters that speak in frames of their own.
//!
//! `options` what an instrument is; `framing` bytes to frames; `checksum` whether they arrived whole; `parse` what they
//! say (all without I/O).

mod checksum;
mod framing;
mod options;
mod parse;

pub use checksum::{Checksum, ChecksumError, ChecksumKind, Encoding, Span};
pub use framing::{Frame, Framer, FramerStats};
pub use options::{
    Endian, FieldOptions, FieldType, Format, Framing, FramingOptions, ParseOptions, Pattern, Source,
};
pub use parse::{FieldReading, Parser};
