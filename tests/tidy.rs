//! House rules that neither the compiler nor clippy checks: the order of the rooms, no I/O where decisions are made, a
//! header in every file, nothing unbounded.
//!
//! Every rule is a function from one file to its faults. `RULES` names them; `PLANTED` holds at least one small file
//! for each that it must find fault with, so a rule that stops firing fails here too. Reads only the working tree and
//! needs only std.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

#[path = "tidy/file.rs"]
mod file;
#[path = "tidy/promises.rs"]
mod promises;
#[path = "tidy/sayings.rs"]
mod sayings;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use file::{Fault, File, NamedPath};

/// The rooms, lowest row first. A room may name only rooms on lower rows: rooms on one row never name each other.
const ROOMS: &[&[&str]] = &[
    &["topic", "value", "clock", "shutdown", "metrics", "secret"],
    &["mqtt", "net", "status"],
    &["session"],
    &["store"],
    &["auth", "events"],
    &["broker"],
    &[
        "listener",
        "bridge",
        "adapter",
        "http",
        "control",
        "simulator",
    ],
    &["config"],
    &["app"],
    &["cli"],
    &["main"],
];

/// Inside a room: a part, and the parts of the same room that it may name.
const PARTS: &[(&str, &[&str])] = &[
    ("broker/options", &[]),
    ("broker/route", &["options"]),
    ("broker/core", &["options", "route"]),
    ("bridge/options", &[]),
    ("bridge/core", &["options"]),
    ("adapter/wire_options", &[]),
    ("adapter/options", &["wire_options"]),
    ("adapter/reason", &[]),
    ("adapter/plan", &["options"]),
    ("adapter/budget", &["wire_options", "options", "plan"]),
    ("adapter/schedule", &["options", "plan"]),
    ("adapter/health", &["options", "reason"]),
    ("adapter/publish", &["options", "reason", "health"]),
    (
        "adapter/command",
        &["options", "reason", "plan", "publish", "data", "write"],
    ),
    (
        "adapter/serial",
        &[
            "wire_options",
            "options",
            "reason",
            "health",
            "schedule",
            "publish",
            "command",
        ],
    ),
];

/// Where decisions are made: no runtime, sockets, files, clocks, randomness. `now` and seeds are arguments. A file
/// elsewhere whose header says "No I/O" is held to it, too.
const WITHOUT_IO: &[&str] = &[
    "topic",
    "value",
    "mqtt",
    "session",
    "broker/core",
    "bridge/core",
    "adapter/plan",
    "adapter/schedule",
    "adapter/command",
];

/// What a file in `WITHOUT_IO` may not name, as beginnings of paths.
const IO: &[&str] = &[
    "tokio",
    "tokio_rustls",
    "rustls",
    "redb",
    "hyper_util",
    "socket2",
    "fastrand",
    "tempfile",
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "crate::clock::now",
    "crate::clock::wall",
];

/// Crates that only some rooms may name.
const KEPT_IN: &[(&str, &[&str])] = &[
    ("serde_yaml", &["config"]),
    ("redb", &["store"]),
    ("tokio_modbus", &["adapter/modbus", "simulator"]),
    (
        "tokio_serial",
        &["adapter/serial_port", "adapter/rs485", "simulator"],
    ),
    ("socket2", &["net", "listener", "bridge", "adapter"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
];

/// Lines a file may have, test modules not counted.
const LINES_MAX: usize = 400;

/// What a rule needs to know of the other files.
#[derive(Default)]
struct Tree {
    /// (room, part): `src/room/part.rs` or `src/room/part/` exists.
    parts: HashSet<(String, String)>,
    /// (room, name) to the part that `pub use part::name` in the room's `mod.rs` takes it from.
    exports: HashMap<(String, String), String>,
}

/// A rule: finds the faults of one file.
type Rule = fn(&File, &Tree) -> Vec<Fault>;

const RULES: &[(&str, Rule)] = &[
    ("order", order),
    ("parts", parts),
    ("header", header),
    ("without_io", without_io),
    ("clock", clock),
    ("unbounded", unbounded),
    ("root", root),
    ("length", length),
    ("one_writer", one_writer),
    ("kept_in", kept_in),
    ("no_unsafe", no_unsafe),
];

// ---------------------------------------------------------------------------------------------------------------------
// The rules
// ---------------------------------------------------------------------------------------------------------------------

fn order(file: &File, _: &Tree) -> Vec<Fault> {
    let Some(room) = file.room() else {
        return Vec::new();
    };
    let row = |name: &str| ROOMS.iter().position(|row| row.contains(&name));
    let Some(own) = row(room) else {
        if room == "lib" {
            return Vec::new();
        }
        return file.fault(1, format!("`{room}` has no row in ROOMS"));
    };
    let mut faults = Vec::new();
    for path in &file.paths {
        if path.segments[0] == "fieldgate" && room != "main" {
            faults.extend(file.fault(path.line, "say crate::, fieldgate:: is for main and tests"));
        }
        let Some(named) = path.in_crate().and_then(<[String]>::first) else {
            continue;
        };
        match row(named) {
            _ if named == room => {}
            Some(other) if other < own => {}
            Some(_) => faults.extend(file.fault(
                path.line,
                format!("{room} may not name {named}: not on a lower row"),
            )),
            None => faults.extend(file.fault(
                path.line,
                format!("`{named}` is no room: name the module that has it"),
            )),
        }
    }
    faults
}

fn parts(file: &File, tree: &Tree) -> Vec<Fault> {
    let (Some(room), Some((part, allowed))) = (
        file.room(),
        PARTS.iter().find(|(part, _)| file.is_in(&[part])),
    ) else {
        return Vec::new();
    };
    let own = part.rsplit('/').next().unwrap();
    let mut faults = Vec::new();
    for path in file.paths.iter().filter(|path| !path.in_test) {
        let Some([first, name, ..]) = path.in_crate() else {
            continue;
        };
        let named = tree
            .exports
            .get(&(first.clone(), name.clone()))
            .unwrap_or(name);
        let is_part = tree.parts.contains(&(first.clone(), named.clone()));
        let hidden = named == "*";
        if first == room
            && (is_part || hidden)
            && named != own
            && !allowed.contains(&named.as_str())
        {
            faults.extend(file.fault(
                path.line,
                format!("{part} may not name {room}::{name} (in {named})"),
            ));
        }
    }
    faults
}

fn header(file: &File, _: &Tree) -> Vec<Fault> {
    let first = file.text.lines().next().unwrap_or_default();
    match first.strip_prefix("//!") {
        Some(words) if !words.trim().is_empty() => Vec::new(),
        _ => file.fault(
            1,
            "begins without a //! header: what it is, what it never does",
        ),
    }
}

fn without_io(file: &File, _: &Tree) -> Vec<Fault> {
    let says_so = file.room().is_some() && file.header().contains("No I/O");
    if !file.is_in(WITHOUT_IO) && !says_so {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for path in file.paths.iter().filter(|path| !path.in_test) {
        let whole = path.segments.join("::");
        if let Some(io) = IO.iter().find(|io| begins(&whole, io)) {
            faults.extend(file.fault(path.line, format!("{io} where there is no I/O")));
        }
    }
    for at in file.production() {
        // `Instant::elapsed` reads the clock behind our back.
        if file.is_call(at, "elapsed") {
            faults.extend(file.fault(file.tokens[at].line, "elapsed() reads the clock"));
        }
    }
    faults
}

fn clock(file: &File, _: &Tree) -> Vec<Fault> {
    if file.room().is_none_or(|room| room == "clock") {
        return Vec::new();
    }
    let reads = |path: &&NamedPath| {
        let whole = path.segments.join("::");
        !path.in_test
            && (whole.ends_with("Instant::now")
                || whole.ends_with("SystemTime::now")
                || whole == "std::time::SystemTime")
    };
    let found = file.paths.iter().filter(reads);
    found
        .flat_map(|path| file.fault(path.line, "a clock: crate::clock is the only one"))
        .collect()
}

fn unbounded(file: &File, _: &Tree) -> Vec<Fault> {
    if file.room().is_none() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for at in file.production() {
        let token = &file.tokens[at];
        let named = [
            "unbounded",
            "unbounded_channel",
            "UnboundedSender",
            "UnboundedReceiver",
            "SegQueue",
        ];
        if named.contains(&token.text.as_str()) {
            faults.extend(file.fault(token.line, format!("{} has no limit", token.text)));
        }
        // Only std's mpsc::channel takes no capacity; a oneshot's is one.
        let std_channel = token.text == "channel" && file.is_empty_call(at);
        if std_channel && !(at > 1 && file.is(at - 2, "oneshot")) {
            faults.extend(file.fault(token.line, "channel() has no limit: say sync_channel(n)"));
        }
    }
    faults
}

fn root(file: &File, _: &Tree) -> Vec<Fault> {
    if file.path != "src/lib.rs" {
        return Vec::new();
    }
    let tokens = &file.tokens;
    let found = (1..tokens.len()).filter(|&at| {
        tokens[at].text == "use" && ["pub", ")"].contains(&tokens[at - 1].text.as_str())
    });
    found
        .flat_map(|at| file.fault(tokens[at].line, "pub use at the crate root hides an edge"))
        .collect()
}

fn length(file: &File, _: &Tree) -> Vec<Fault> {
    let tested: HashSet<usize> = (file.tests.iter())
        .flat_map(|&(from, to)| file.tokens[from].line..=file.tokens[to].line)
        .collect();
    let lines = file.text.lines().count() - tested.len();
    if file.room().is_none() || file.only_for_tests || lines <= LINES_MAX {
        return Vec::new();
    }
    file.fault(
        LINES_MAX,
        format!("{lines} lines, {LINES_MAX} are enough: split it by what it does"),
    )
}

fn one_writer(file: &File, _: &Tree) -> Vec<Fault> {
    if file.room().is_none() || file.is_in(&["store/writer", "store/state/file"]) {
        return Vec::new();
    }
    let found = file
        .production()
        .into_iter()
        .filter(|&at| file.tokens[at].text == "begin_write");
    found
        .flat_map(|at| {
            file.fault(
                file.tokens[at].line,
                "only store/writer and store/state/file open a write transaction",
            )
        })
        .collect()
}

fn kept_in(file: &File, _: &Tree) -> Vec<Fault> {
    if file.room().is_none() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (name, rooms) in KEPT_IN.iter().filter(|(_, rooms)| !file.is_in(rooms)) {
        for at in file.production() {
            if file.tokens[at].text == *name {
                let places = rooms.join(", ");
                faults.extend(
                    file.fault(file.tokens[at].line, format!("{name} is only for {places}")),
                );
            }
        }
    }
    faults
}

/// Programs of their own: the load generator talks to the system by libc, so that it costs next to nothing, and the one
/// around SQLite counts its syncs in place of libc. The program itself calls nothing of the system's that a crate wraps.
fn no_unsafe(file: &File, _: &Tree) -> Vec<Fault> {
    let may = [
        "benches/loadgen/",
        "benches/sqlite/",
        "src/adapter/line_errors.rs",
        "src/adapter/rs485.rs",
        "src/app/memory.rs",
    ];
    if may.iter().any(|place| file.path.starts_with(place)) {
        return Vec::new();
    }
    let found = file.tokens.iter().filter(|token| token.text == "unsafe");
    found
        .flat_map(|token| file.fault(token.line, "unsafe: no other module may"))
        .collect()
}

fn begins(path: &str, with: &str) -> bool {
    path.strip_prefix(with)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

// ---------------------------------------------------------------------------------------------------------------------
// The whole tree
// ---------------------------------------------------------------------------------------------------------------------

fn tree(files: &mut [File]) -> Tree {
    let mut tree = Tree::default();
    let mut only_for_tests = Vec::new();
    for file in files.iter() {
        let Some(module) = file.module() else {
            continue;
        };
        if let Some((room, rest)) = module.split_once('/') {
            let part = rest.split('/').next().unwrap();
            tree.parts.insert((room.to_owned(), part.to_owned()));
        } else {
            for path in &file.paths {
                if let [name] = &path.segments[1..] {
                    let key = (module.to_owned(), name.clone());
                    tree.exports.insert(key, path.segments[0].clone());
                }
            }
        }
        for &(from, to) in &file.tests {
            if file.is(to, ";") && file.is(to - 2, "mod") && from < to - 2 {
                only_for_tests.push(format!("{module}/{}", file.tokens[to - 1].text));
            }
        }
    }
    tree.exports
        .retain(|(room, _), part| tree.parts.contains(&(room.clone(), part.clone())));
    for file in files {
        let module = file.module().unwrap_or_default();
        let within = |test: &String| module == test || module.starts_with(&format!("{test}/"));
        file.only_for_tests = only_for_tests.iter().any(within);
        let only = file.only_for_tests;
        file.paths.iter_mut().for_each(|path| path.in_test |= only);
    }
    tree
}

fn check(files: &mut [File]) -> Vec<(&'static str, Fault)> {
    let tree = tree(files);
    let of_rule = |(name, rule): &(&'static str, Rule)| {
        let faults = files.iter().flat_map(|file| rule(file, &tree));
        faults.map(|fault| (*name, fault)).collect::<Vec<_>>()
    };
    RULES.iter().flat_map(of_rule).collect()
}

fn read(folder: &Path, root: &Path, into: &mut Vec<File>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") {
            read(&path, root, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            into.push(File::new(name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_file_keeps_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        read(&root.join(folder), root, &mut files);
    }
    assert!(files.len() > 10, "found only {} files", files.len());
    let faults = check(&mut files);
    let lines: Vec<String> = (faults.iter())
        .map(|(rule, fault)| format!("{}: {} [{rule}]", fault.place, fault.what))
        .collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

// ---------------------------------------------------------------------------------------------------------------------
// The rules' own tests
// ---------------------------------------------------------------------------------------------------------------------

/// (rule that must fire, path, text without its header)
#[rustfmt::skip] // a row each
const PLANTED: &[(&str, &str, &str)] = &[
    ("order", "src/mqtt/mod.rs", "use crate::config::Config;"),
    ("order", "src/topic/name.rs", "use crate::{value::Value, topic::TopicName};"),
    ("order", "src/bridge/mod.rs", "use crate::{broker::{Link, Origin}, adapter::{self}};"),
    ("order", "src/session/mod.rs", "fn f() { super::broker::start() }"),
    ("order", "src/store/files/name.rs", "fn f() { super::super::super::app::run() }"),
    ("order", "src/auth/mod.rs", "mod tests { use super::super::broker::Link; }"),
    ("order", "src/broker/mod.rs", "fn f() -> Vec<crate::listener::Bind> { todo!() }"),
    ("order", "src/status/mod.rs", "pub(in crate::mqtt) fn f() {}"),
    ("order", "src/net/mod.rs", "use fieldgate::clock;"),
    ("order", "src/net/mod.rs", "use crate::*;"),
    ("order", "src/cloud/mod.rs", ""),
    ("order", "src/mqtt/mod.rs", "use crate::cloud::Cloud;"),
    ("parts", "src/broker/core/mod.rs", "use crate::broker::handle::BrokerHandle;"),
    ("parts", "src/broker/core/mod.rs", "use crate::broker::{BrokerHandle, Origin};"),
    ("parts", "src/broker/core/publish.rs", "fn f() { super::super::handle::f() }"),
    ("parts", "src/broker/core/publish.rs", "use super::super::*;"),
    ("parts", "src/bridge/core.rs", "use super::link::Link;"),
    ("header", "src/net/tls.rs", "NO HEADER"),
    ("header", "tests/wire/main.rs", "NO HEADER"),
    ("without_io", "src/session/outbound.rs", "async fn f() { tokio::time::sleep(d).await }"),
    ("without_io", "src/broker/core/will.rs", "use std::{fs::File, io};"),
    ("without_io", "src/adapter/plan.rs", "use std::net::TcpStream;"),
    ("without_io", "src/bridge/core/mod.rs", "fn f() -> u64 { fastrand::u64(..) }"),
    ("without_io", "src/mqtt/decode.rs", "use crate::clock; fn f() { crate::clock::wall(); }"),
    ("without_io", "src/value/mod.rs", "fn f(at: Instant) -> Duration { at.elapsed() }"),
    ("without_io", "src/session/mod.rs", "use std::time::{Duration, SystemTime};"),
    ("without_io", "src/store/ranges.rs", "//! No I/O.\nuse std::fs::File;"),
    ("clock", "src/listener/mod.rs", "fn f() { let now = std::time::Instant::now(); }"),
    ("clock", "src/adapter/mod.rs", "fn f() { let now = tokio::time::Instant::now(); }"),
    ("unbounded", "src/app/mod.rs", "fn f() { let (a, b) = tokio::sync::mpsc::unbounded_channel(); }"),
    ("unbounded", "src/store/writer.rs", "fn f() { let (a, b) = std::sync::mpsc::channel(); }"),
    ("unbounded", "src/store/writer.rs", "fn f() { let (a, b) = channel::<Vec<(u8, u8)>>(); }"),
    ("root", "src/lib.rs", "pub use crate::broker::Broker;"),
    ("root", "src/lib.rs", "pub(crate) use crate::broker::Broker;"),
    ("one_writer", "src/store/reader.rs", "fn f(db: &Database) { let t = db.begin_write(); }"),
    ("kept_in", "src/cli/mod.rs", "use serde_yaml::Value;"),
    ("kept_in", "src/adapter/plan.rs", "use tokio_modbus::Slave;"),
    ("kept_in", "src/bridge/mod.rs", "fn f() -> redb::Database { todo!() }"),
    ("no_unsafe", "src/net/mod.rs", "fn f() { unsafe { ioctl() } }"),
    ("no_unsafe", "benches/codec.rs", "unsafe impl Send for X {}"),
];

/// Files that no rule minds.
#[rustfmt::skip] // a row each
const CLEAN: &[(&str, &str)] = &[
    ("src/mqtt/decode.rs", "// use crate::config::Config;\n/* tokio::spawn /* */ unsafe */ fn f(now: Instant) {}"),
    ("src/mqtt/encode.rs", "const A: &str = \"crate::app::x \\\" unsafe\"; const B: &str = r#\"tokio::x\" unsafe\"#;"),
    ("src/mqtt/reason.rs", "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' } use std::time::Instant;"),
    ("src/topic/mod.rs", "#[cfg(test)]\nmod tests { use super::*; fn f() { let n = std::time::Instant::now(); } }"),
    ("src/topic/filter.rs", "#[cfg(test)] mod tests;"),
    ("src/topic/filter/tests.rs", "use super::super::TopicName; fn f() { tokio::spawn(g()); n.elapsed(); }"),
    ("src/broker/core/mod.rs", "use crate::broker::{ForwardRoute, Origin}; use super::route::Latest; mod will;"),
    ("src/broker/mod.rs", "pub use handle::BrokerHandle; pub use route::ForwardRoute; pub enum Origin {}"),
    ("src/broker/handle.rs", "use super::core::Core; use tokio::sync::mpsc; fn f() { mpsc::channel(8); oneshot::channel(); }"),
    ("src/bridge/link.rs", "use crate::broker::Link; use crate::{clock, mqtt::{self, Message as M}};"),
    ("src/store/writer/generation.rs", "fn f(db: &redb::Database) { db.begin_write(); }"),
    ("src/store/state/file.rs", "fn f(db: &redb::Database) { db.begin_write(); }"),
    ("src/config/raw.rs", "use serde_yaml::Value; use crate::adapter::DeviceOptions;"),
    ("src/main.rs", "fn main() { fieldgate::cli::run() }"),
    ("benches/loadgen/src/sys.rs", "fn f() { unsafe { libc::close(0) } }"),
    ("benches/sqlite/src/main.rs", "fn f() { unsafe { libc::syscall(75, 1) } }"),
    ("src/app/memory.rs", "fn f() { unsafe { libc::malloc_trim(0) } }"),
    ("src/lib.rs", "pub mod clock; use std::fmt;"),
    ("src/store/testing.rs", "fn f() -> impl Iterator<Item = u8> + use<> { channel(1) }"),
    ("tests/wire/main.rs", "use fieldgate::broker; fn f() { db.begin_write(); Instant::now(); }"),
];

fn planted(path: &str, text: &str) -> File {
    match text {
        "NO HEADER" => File::new(path, "use std::fmt;\n"),
        text => File::new(path, &format!("//! Header.\n{text}\n")),
    }
}

/// The clean files with one of them replaced, or one more.
fn tree_with(path: &str, text: &str) -> Vec<File> {
    let others = CLEAN.iter().filter(|(other, _)| *other != path);
    let mut files: Vec<File> = others.map(|(path, text)| planted(path, text)).collect();
    files.push(planted(path, text));
    files
}

#[test]
fn each_planted_fault_is_found_where_it_is() {
    for (rule, path, text) in PLANTED {
        let found = check(&mut tree_with(path, text));
        let hit = |(name, fault): &(&str, Fault)| name == rule && fault.place.starts_with(path);
        assert!(found.iter().any(hit), "{rule} let pass in {path}: {text}");
        let elsewhere = |(_, fault): &&(&str, Fault)| !fault.place.starts_with(path);
        assert_eq!(found.iter().find(elsewhere), None, "{path}: {text}");
    }
}

#[test]
fn a_file_with_too_many_lines_is_found_and_its_tests_do_not_count() {
    let production = "fn f() {}\n".repeat(LINES_MAX - 1); // and the header
    let tests = format!(
        "#[cfg(test)]\nmod tests {{\n{}}}\n",
        "fn f() {}\n".repeat(500)
    );
    let faults = |text: &str| check(&mut [File::new("src/net/tls.rs", text)]);
    let fits = format!("//! Header.\n{production}{tests}");
    assert_eq!(faults(&fits), []);
    let found = faults(&format!("{fits}fn one_more() {{}}\n"));
    assert!(matches!(&found[..], [("length", _)]), "{found:?}");
}

#[test]
fn clean_files_have_no_fault() {
    let mut files: Vec<File> = CLEAN
        .iter()
        .map(|(path, text)| planted(path, text))
        .collect();
    assert_eq!(check(&mut files), []);
}

#[test]
fn every_rule_has_a_planted_fault() {
    for (rule, _) in RULES.iter().filter(|(rule, _)| *rule != "length") {
        assert!(PLANTED.iter().any(|(name, ..)| name == rule), "{rule}");
    }
}

#[test]
fn a_fault_names_its_line() {
    let text = "\n\nuse crate::{\n    clock,\n    app::{\n        run,\n    },\n};";
    let found = check(&mut tree_with("src/net/mod.rs", text));
    let places: Vec<&str> = found
        .iter()
        .map(|(_, fault)| fault.place.as_str())
        .collect();
    assert_eq!(places, ["src/net/mod.rs:7"]);
}

/// Names of all tests there are.
fn tests_there() -> HashSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut there = HashSet::new();
    promises::tests(&root.join("src"), &mut there);
    promises::tests(&root.join("tests"), &mut there);
    there
}

/// Every test that the table of a page names is there; `planted` is one of them, and one that is not there in its place is found.
fn named_tests_are_there(file: &str, heading: &str, planted: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join(file)).unwrap();
    let there = tests_there();
    let missing = |page: &str| {
        let mut named = promises::named(page, heading);
        assert!(named.len() > 20, "{named:?}");
        named.retain(|name| !there.contains(name));
        named
    };
    assert!(missing(&page).is_empty(), "{file}: {:?}", missing(&page));
    let planted = page.replacen(&format!("`{planted}`"), "`tests/run nothing`", 1);
    assert_eq!(missing(&planted), ["tests/run nothing"], "{file}");
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    named_tests_are_there("ARCHITECTURE.md", "What is promised", "tests/run kill");
}

#[test]
fn every_threat_names_what_is_done_what_remains_and_tests_that_are_there() {
    let (file, heading) = ("SECURITY.md", "Whom it is made for");
    named_tests_are_there(file, heading, "tests/run acl");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join(file)).unwrap();
    for (number, row) in (1..=15).zip(promises::rows(&page, heading)) {
        assert_eq!(row[0], format!("T{number}"));
        assert_eq!(row.len(), 5, "T{number}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "T{number}");
        assert!(
            row[4].contains('`') || row[4].starts_with("no test: "),
            "T{number}"
        );
    }
    assert_eq!(promises::rows(&page, heading).len(), 15);
}

#[test]
fn what_the_page_of_troubles_quotes_is_what_the_program_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("config/docs/troubleshooting.md")).unwrap();
    let mut sources = Vec::new();
    sayings::sources(&root.join("src"), &mut sources);
    let unsaid = |page: &str| {
        let mut quoted = sayings::quoted(page);
        assert!(quoted.len() > 80, "{}", quoted.len());
        quoted.retain(|pieces| !sayings::is_said(pieces, &sources));
        quoted
    };
    assert_eq!(unsaid(&page), [[""; 0]; 0], "no source says so");
    let planted = page.replacen("`unknown issuer: ...`", "`issuer ... unknown!`", 1);
    assert_eq!(unsaid(&planted), [["issuer", "unknown!"]]);
}
