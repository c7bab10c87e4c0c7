//! The store on real files: what is covered is there after any end of the program, and nothing is dropped uncounted.
//! Only the public API; what happens at a power cut is tested beside the code, with a simulated medium.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod bad_blocks;
mod damage;
mod drain;
mod drop_oldest;
mod faulty;
mod full;
mod kill;
mod purge;
mod refuse;
mod restart;
mod session;
mod sessions;
mod state;
mod state_damage;
mod state_kill;
mod support;
