//! The MQTT codec from outside: its properties, the rules of the standard one by one, and another library's opinion.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines
)]

#[path = "../../fuzz/src/decode.rs"]
mod decode;
mod differential;
mod mutate;
mod packets;
mod round_trip;
mod rules;
mod seeded;
