//! Compares the tests with the standards: `statements.txt` with the tags in the names of all tests and in the tables of
//! `bad_input`. The outcome is `COVERAGE.md`, which is kept beside the statements.
//!
//! A statement that binds a server is covered by a test, or has its reason why none can show it. A tag that names no
//! statement is a fault, and so is a reason where there is a test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bad_input;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire");
/// Set it to write `COVERAGE.md` anew.
const RENEW: &str = "FIELDGATE_RENEW_COVERAGE";
const COMMAND: &str = "FIELDGATE_RENEW_COVERAGE=1 cargo test --test wire coverage";
/// Tests named for one statement; more are counted.
const NAMED_MAX: usize = 3;

#[derive(Debug)]
struct Statement {
    tag: String,
    binds: Binds,
    asks: String,
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binds {
    Server,
    Both,
    Client,
}

fn statements() -> Vec<Statement> {
    let text = fs::read_to_string(format!("{HERE}/statements.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split(" | ").collect();
            let (tag, binds, asks, reason) = match fields[..] {
                [tag, binds, asks] => (tag, binds, asks, None),
                [tag, binds, asks, reason] => (tag, binds, asks, Some(reason.to_owned())),
                _ => panic!("not a statement: {line}"),
            };
            let binds = match binds {
                "server" => Binds::Server,
                "both" => Binds::Both,
                "client" => Binds::Client,
                other => panic!("{other} in {line}"),
            };
            Statement {
                tag: tag.to_owned(),
                binds,
                asks: asks.to_owned(),
                reason,
            }
        })
        .collect()
}

/// Who shows what: tags to tests, those of this folder and those of other rooms.
#[derive(Default)]
struct Shown {
    here: BTreeMap<String, Vec<String>>,
    elsewhere: BTreeMap<String, Vec<String>>,
}

impl Shown {
    fn all() -> Self {
        let mut shown = Self::default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["tests", "src"] {
            for file in rust_files(&root.join(folder)) {
                let name = file.strip_prefix(root).unwrap().display().to_string();
                let text = fs::read_to_string(&file).unwrap();
                for (tag, test) in tags_of(&text) {
                    let (tests, place) = match name.strip_prefix("tests/wire/") {
                        Some(name) => (&mut shown.here, name),
                        None => (&mut shown.elsewhere, &*name),
                    };
                    let place = place.trim_end_matches(".rs");
                    let entry: &mut Vec<String> = tests.entry(tag).or_default();
                    entry.push(format!("`{place}`: {test}"));
                }
            }
        }
        for row in bad_input::rows() {
            for tag in row.tags.split_whitespace() {
                let entry = shown.here.entry(tag.to_owned()).or_default();
                entry.push(format!("`bad_input`: {}", row.name));
            }
        }
        shown
    }

    /// The tests over the wire, else those of the rooms: so the page changes with this folder and little else.
    fn by(&self, tag: &str) -> Option<&Vec<String>> {
        self.here.get(tag).or_else(|| self.elsewhere.get(tag))
    }

    fn tags(&self) -> impl Iterator<Item = &String> {
        self.here.keys().chain(self.elsewhere.keys())
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The tags of the tests in a file, with the words of their names.
fn tags_of(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut also: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            if !also.is_empty() || comment.trim_start().starts_with("Shows also") {
                also.extend(bracketed(comment));
            }
            continue;
        }
        if line.starts_with('#') {
            continue; // an attribute between the comment and the test
        }
        let (name, is_test) = name_of(line);
        let words = words_of(name);
        if is_test {
            found.extend(tag_of(name).map(|tag| (tag, words.clone())));
            found.extend(also.drain(..).map(|tag| (tag, words.clone())));
        }
        also.clear();
    }
    found
}

/// The name at the front of `fn name(` or, in `rules!`, of `name: scenario(`.
fn name_of(line: &str) -> (&str, bool) {
    let function = line
        .strip_prefix("async fn ")
        .or_else(|| line.strip_prefix("fn "));
    let rest = function.unwrap_or(line);
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let is_rule = function.is_none() && rest.starts_with(": ") && rest.ends_with(");");
    (name, is_rule || function.is_some() && rest.starts_with('('))
}

/// `mqtt_3_1_0_2_words` is MQTT-3.1.0-2 and `mqtt311_...` of 3.1.1; with fewer or more numbers it is none.
fn tag_of(name: &str) -> Option<String> {
    let (standard, rest) = if let Some(rest) = name.strip_prefix("mqtt311_") {
        ("MQTT311", rest)
    } else {
        ("MQTT", name.strip_prefix("mqtt_")?)
    };
    let is_number =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: Vec<&str> = rest.split('_').take_while(is_number).collect();
    match numbers[..] {
        [a, b, c, d] => Some(format!("{standard}-{a}.{b}.{c}-{d}")),
        _ => None,
    }
}

fn words_of(name: &str) -> String {
    let is_prefix =
        |part: &&str| part.starts_with("mqtt") || part.bytes().all(|byte| byte.is_ascii_digit());
    let words: Vec<&str> = match tag_of(name) {
        Some(_) => name.split('_').skip_while(is_prefix).collect(),
        None => name.split('_').collect(),
    };
    words.join(" ")
}

/// What stands in square brackets.
fn bracketed(text: &str) -> Vec<String> {
    text.split('[')
        .skip(1)
        .filter_map(|part| part.split_once(']'))
        .map(|(tag, _)| tag.to_owned())
        .collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// The page
// ---------------------------------------------------------------------------------------------------------------------

/// Of one standard.
#[derive(Default)]
struct Totals {
    statements: usize,
    bind_a_server: usize,
    covered: usize,
}

impl Totals {
    fn of(statements: &[&Statement], shown: &Shown) -> Self {
        let mut totals = Self {
            statements: statements.len(),
            ..Self::default()
        };
        for statement in statements {
            if statement.binds != Binds::Client {
                totals.bind_a_server += 1;
                totals.covered += usize::from(shown.by(&statement.tag).is_some());
            }
        }
        totals
    }
}

fn split(statements: &[Statement]) -> [(&'static str, Vec<&Statement>); 2] {
    let of = |prefix: &str| {
        let all = statements.iter();
        all.filter(|statement| statement.tag.starts_with(prefix))
            .collect()
    };
    [("MQTT 5.0", of("MQTT-")), ("MQTT 3.1.1", of("MQTT311-"))]
}

fn page(statements: &[Statement], shown: &Shown) -> String {
    let mut page = format!(
        "# What of the standards is tested\n\n\
         Made from `statements.txt` and the tests by `{COMMAND}`; a test sees that it is up to date.\n\
         Where tests over the wire show a statement they are named, else those of the rooms.\n\n\
         | | statements | bind a server | covered | not covered |\n|---|---|---|---|---|\n"
    );
    for (standard, statements) in split(statements) {
        let Totals {
            statements,
            bind_a_server,
            covered,
        } = Totals::of(&statements, shown);
        let rest = bind_a_server - covered;
        writeln!(
            page,
            "| {standard} | {statements} | {bind_a_server} | {covered} | {rest} |"
        )
        .unwrap();
    }
    page.push_str("\n## Not covered, and why\n\n");
    for statement in statements {
        if let Some(reason) = &statement.reason {
            let Statement { tag, asks, .. } = statement;
            writeln!(page, "- {tag}: {asks}. {reason}.").unwrap();
        }
    }
    for (standard, statements) in split(statements) {
        write!(
            page,
            "\n## {standard}\n\n| statement | asks | shown by |\n|---|---|---|\n"
        )
        .unwrap();
        for Statement {
            tag, asks, binds, ..
        } in statements
        {
            if *binds != Binds::Client {
                let tests = shown
                    .by(tag)
                    .map_or_else(|| "-".to_owned(), |tests| named(tests));
                writeln!(page, "| {tag} | {} | {tests} |", asks.replace('|', "\\|")).unwrap();
            }
        }
    }
    page
}

fn named(tests: &[String]) -> String {
    let mut named = tests[..tests.len().min(NAMED_MAX)].join("; ");
    if tests.len() > NAMED_MAX {
        write!(named, "; {} more", tests.len() - NAMED_MAX).unwrap();
    }
    named
}

// ---------------------------------------------------------------------------------------------------------------------
// The tests
// ---------------------------------------------------------------------------------------------------------------------

#[test]
fn every_statement_that_binds_a_server_is_covered_or_has_its_reason() {
    let (statements, shown) = (statements(), Shown::all());
    for (standard, statements) in split(&statements) {
        let Totals {
            bind_a_server,
            covered,
            ..
        } = Totals::of(&statements, &shown);
        let rest = bind_a_server - covered;
        println!(
            "{standard}: {bind_a_server} statements bind a server, {covered} covered, {rest} not"
        );
    }
    let faults: Vec<String> = statements
        .iter()
        .filter(|statement| statement.binds != Binds::Client)
        .filter_map(
            |Statement { tag, reason, .. }| match (shown.by(tag), reason) {
                (None, None) => Some(format!("{tag} has neither a test nor a reason")),
                (Some(_), Some(_)) => Some(format!("{tag} has a test: its reason is of no use")),
                _ => None,
            },
        )
        .collect();
    assert_eq!(faults, [""; 0]);
}

#[test]
fn every_tag_names_a_statement() {
    let (statements, shown) = (statements(), Shown::all());
    let known = |tag: &&String| statements.iter().any(|statement| statement.tag == **tag);
    let unknown: Vec<&String> = shown.tags().filter(|tag| !known(tag)).collect();
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn the_page_of_the_coverage_is_up_to_date() {
    let page = page(&statements(), &Shown::all());
    let file = format!("{HERE}/COVERAGE.md");
    if std::env::var_os(RENEW).is_some() {
        fs::write(&file, &page).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == page,
        "tests/wire/COVERAGE.md is old; renew it: {COMMAND}"
    );
}

#[test]
fn tags_are_read_from_names_and_comments() {
    let text = "\
        /// Why.\n/// Shows also [MQTT-1.2.3-4], [MQTT311-5.6.7-8].\n#[test]\nfn mqtt_3_1_0_2_it_closes() {\n\
        rules! {\n    mqtt311_3_1_2_24_silence: silence(V311);\n    words_only: silence(V5);\n}\n\
        fn mqtt_2_2_2_2_1_of_a_section() {}\nfn mqtt_5_has_more() {}\n    mqtt_1_1_1_1_no_test(V5);\n";
    let tags = tags_of(text);
    let tags: Vec<&str> = tags.iter().map(|(tag, _)| &**tag).collect();
    assert_eq!(
        tags,
        [
            "MQTT-3.1.0-2",
            "MQTT-1.2.3-4",
            "MQTT311-5.6.7-8",
            "MQTT311-3.1.2-24"
        ]
    );
}
