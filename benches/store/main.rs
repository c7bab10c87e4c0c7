//! What keeping messages costs: bytes and syncs of a commit, opening after kill -9, the drain, and the whole way from a
//! publisher to the upstream. Beside each figure stands what it is compared with, measured in the same run: an append-only
//! log, SQLite, a client that keeps nothing, Mosquitto.
//!
//! ```text
//! cargo bench --bench store                    every part, about three minutes
//! cargo bench --bench store -- PART...         commits | rates | opening | drain | chain | sessions
//! cargo bench --bench store -- opening --10m   with a backlog of 10 million messages too (3 GB)
//! ```
//!
//! Messages have 256 bytes. What is written is told twice: `given` are the bytes of write calls, which depend on nothing but
//! the program; `pages` is what the kernel counts as dirtied for a disk, in whole pages, and 0 on a tmpfs (set TMPDIR).
//! Messages a second hold for this disk and this hour; what carries over to others are ratios, bytes and syncs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a bench measures time, and stops where it cannot"
)]

mod backlog;
mod chain;
mod client;
mod commits;
mod drain;
mod meter;
mod opening;
mod peers;
mod rates;
mod sessions;
mod sink;
mod sqlite;

use std::env;

/// Bytes of a payload.
const SIZE: usize = 256;

/// With the words of the command line.
type Part = fn(&[String]);

const PARTS: [(&str, Part); 6] = [
    ("commits", |_| commits::run()),
    ("rates", |_| rates::run()),
    ("opening", opening::run),
    ("drain", |_| drain::run()),
    ("chain", |_| chain::run()),
    ("sessions", |_| sessions::run()),
];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(child) = arguments.first().and_then(|name| opening::child(name)) {
        return child(&arguments[1..]);
    }
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
            part(&arguments);
            println!();
        }
    }
}
