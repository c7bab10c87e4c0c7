//! `cargo +nightly fuzz run core`

#![no_main]

#[path = "../src/core.rs"]
mod core;
#[path = "../../tests/broker_core/fake_store.rs"]
mod fake_store;

libfuzzer_sys::fuzz_target!(|data: &[u8]| core::check(data));
