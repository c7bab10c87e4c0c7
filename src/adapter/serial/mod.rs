//! Serial instruments: scales, receivers, readers and meters that speak in frames of their own.
//!
//! `options` what an instrument is; `framing` bytes to frames; `checksum` whether they arrived whole (all without I/O).

mod checksum;
mod framing;
mod options;

pub use checksum::{Checksum, ChecksumError, ChecksumKind, Encoding, Span};
pub use framing::{Frame, Framer, FramerStats};
pub use options::{Endian, Framing, FramingOptions};
