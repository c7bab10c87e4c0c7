//! The broker's core against the standard, as stories: packets in, effects out, no I/O and no waiting.
//!
//! A test of a rule of the standard carries its tag.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test that goes wrong shall stop"
)]

mod acknowledge;
mod alias;
mod bridges;
mod connect;
mod deliver;
mod express;
mod fake_store;
mod full_log;
mod keep_alive;
mod kept;
mod kick;
mod lacking;
mod model;
mod model_kept;
mod new_routes;
mod overtake;
mod publish;
mod random;
mod reasons;
mod retained;
mod rights;
mod routes;
mod shared;
mod shared_kept;
#[path = "../../fuzz/src/core.rs"]
mod steps;
mod story;
mod subscribe;
mod will;
mod will_kept;
