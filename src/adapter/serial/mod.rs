//! Serial instruments: scales, receivers, readers and meters that speak in frames of their own.
//!
//! `options` what an instrument is; `framing` bytes to frames; `checksum` whether they arrived whole; `parse` what they
//! say; `publish` what is told of that (all without I/O); `line` the frames of a port; `instrument` the actor.

mod checksum;
mod command;
mod framing;
mod instrument;
mod line;
mod options;
mod parse;
mod publish;

pub use checksum::{Checksum, ChecksumError, ChecksumKind, Encoding, Span};
pub use command::Command;
pub use framing::{Frame, Framer, FramerStats};
pub use instrument::{Audience, Instrument};
pub use options::{
    CommandOptions, Dialect, Endian, FieldOptions, FieldType, Format, Framing, FramingOptions,
    InstrumentConnection, InstrumentOptions, Mode, ParseOptions, Pattern, PatternError, Source,
};
pub use parse::{FieldReading, Parser};
