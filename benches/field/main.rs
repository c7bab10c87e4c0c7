//! What reading devices costs and how punctual it is: 200 of them beside pymodbus's client, and the deadlines of 20 while
//! all else in the gateway has trouble, beside a client that only sleeps, writes and reads.
//!
//! ```text
//! cargo bench --bench field              every part, about four minutes
//! cargo bench --bench field -- PART...   scale | jitter
//! ```
//!
//! The devices are in this process, the gateway in one of its own, so what they take is not counted as the gateway's, but
//! they share the machine. pymodbus is taken from where `tests/run` installs it, and left out where it is not. Linux only.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench that goes wrong shall stop"
)]

mod configuration;
mod devices;
mod jitter;
mod lateness;
mod process;
mod scale;
mod trouble;

use std::env;

const PARTS: [(&str, fn()); 2] = [("scale", scale::run), ("jitter", jitter::run)];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // Cargo says so when it benches, and not when it runs `cargo test --all-targets`.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing is measured without `cargo bench`");
        return;
    }
    let wanted: Vec<_> = arguments
        .iter()
        .filter(|name| !name.starts_with("--"))
        .collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|name| PARTS.iter().all(|part| part.0 != **name))
    {
        let names = PARTS.map(|part| part.0).join(", ");
        panic!("there is no part {unknown}; there are {names}");
    }
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            part();
            println!();
        }
    }
}
