//! Serial instruments: scales, receivers, readers and meters that speak in frames of their own.
//!
//! `options` what an instrument is; `framing` bytes to frames (both without I/O).

mod framing;
mod options;

pub use framing::{Frame, Framer, FramerStats};
pub use options::{Endian, Framing, FramingOptions};
