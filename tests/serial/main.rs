//! Serial instruments: from the bytes of a line to what is published of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod checksum;
mod dialects;
mod framing;
mod instrument;
mod parse;
mod port;
