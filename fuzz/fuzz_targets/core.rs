//! `cargo +nightly fuzz run core`

#![no_main]

#[path = "../src/core.rs"]
mod core;

libfuzzer_sys::fuzz_target!(|data: &[u8]| core::check(data));
