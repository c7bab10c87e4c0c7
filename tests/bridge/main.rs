//! The bridge: its core against a simulated upstream and a model of the log, its shell against an upstream on a
//! loopback socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod aliases;
mod ceilings;
mod certificates;
mod down;
mod down_faults;
mod faults;
mod gap;
mod hangs;
mod lanes;
mod pace;
mod refusals;
mod round;
mod shell;
mod sim;
mod stories;
mod upstream;
