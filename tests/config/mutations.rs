//! What happens to a file when somebody slips: each key of the full file deleted, misspelt, given a value of another
//! type, another word, or given twice. And arbitrary text.
//!
//! A mutant counts where it has to be a fault. It is located where an error is at the very place that was changed: line and
//! column of the misspelt key, line of the wrong value. What was deleted has no place any more: it is located where an error names
//! the key and stands between the beginning of its section and the line after it; or where what refers to it, wherever that
//! is, says what it looked for in vain.

use std::collections::BTreeSet;

use fieldgate::config::{Fault, Severity};
use proptest::prelude::*;

use crate::support::read;

const FULL: &str = include_str!("full.yaml");

/// A key, in a line of its own or between braces.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    /// Where its name begins and ends, and its value ends, in bytes of the file.
    start: usize,
    name_end: usize,
    value_end: usize,
    name: String,
    /// From 1.
    line: usize,
    column: usize,
    in_braces: bool,
    /// Of the section that it stands in: the line of the key, or of the element of a list.
    parent_line: usize,
}

/// All keys of the file, found by their looks: there is nothing in it that looks like a key and is none.
fn keys() -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    // Of the sections around: the column of their keys and the line that they began in.
    let mut around: Vec<(usize, usize)> = Vec::new();
    let mut offset = 0;
    for (index, line) in FULL.lines().enumerate() {
        let indent = line.len() - line.trim_start_matches([' ', '-']).len();
        let begins_element = line.trim_start().starts_with("- ");
        while around.last().is_some_and(|(column, _)| *column > indent) {
            around.pop();
        }
        if begins_element || around.last().is_none_or(|(column, _)| *column < indent) {
            around.retain(|(column, _)| *column < indent);
            let opener = if begins_element { index + 1 } else { index };
            around.push((indent, opener));
        }
        let mut braces = Vec::new();
        let mut quote = None;
        let mut key_starts = Some(indent);
        for (at, letter) in line.char_indices().skip_while(|(at, _)| *at < indent) {
            match (quote, letter) {
                (Some(open), _) => quote = (open != letter).then_some(open),
                (None, '"' | '\'') => quote = Some(letter),
                (None, '{') => {
                    braces.push(letter);
                    key_starts = Some(at + 1);
                }
                (None, '[') => braces.push(letter),
                (None, '}' | ']') => drop(braces.pop()),
                (None, ',') if braces.last() == Some(&'{') => key_starts = Some(at + 1),
                (None, ':') if line[at + 1..].starts_with(' ') || at + 1 == line.len() => {
                    let Some(start) = key_starts.take() else {
                        continue;
                    };
                    let in_braces = braces.last() == Some(&'{');
                    let name = line[start..at].trim_start();
                    let start = at - name.len();
                    let rest = &line[at + 1..];
                    let length = match rest.trim() {
                        "" => rest.len() + section_length(index + 1, start),
                        _ if in_braces => value_length(rest),
                        _ => rest.len(),
                    };
                    keys.push(Key {
                        start: offset + start,
                        name_end: offset + at,
                        value_end: offset + at + 1 + length,
                        name: name.to_owned(),
                        line: index + 1,
                        column: start + 1,
                        in_braces,
                        parent_line: if in_braces {
                            index + 1
                        } else {
                            around.last().map_or(1, |(_, line)| (*line).max(1))
                        },
                    });
                }
                _ => {}
            }
        }
        offset += line.len() + 1;
    }
    assert!(keys.len() > 250, "{}", keys.len());
    assert!(keys.iter().filter(|key| key.in_braces).count() > 80);
    keys
}

/// How far the value at the beginning of `rest` goes, within braces: to the comma or brace that ends it.
fn value_length(rest: &str) -> usize {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, letter) in rest.char_indices() {
        match (quote, letter) {
            (Some(open), _) => quote = (open != letter).then_some(open),
            (None, '"' | '\'') => quote = Some(letter),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') if depth > 0 => depth -= 1,
            (None, ',' | '}' | ']') if depth == 0 => return at,
            _ => {}
        }
    }
    rest.len()
}

/// How long the lines from `first` (from 0) on are that are indented further than a key at `start`, with their breaks.
fn section_length(first: usize, start: usize) -> usize {
    let below = |line: &&str| line.len() - line.trim_start().len() > start;
    let lines = FULL.lines().skip(first).take_while(below);
    lines.map(|line| line.len() + 1).sum()
}

/// The file with a piece replaced.
fn replaced(start: usize, end: usize, piece: &str) -> String {
    format!("{}{piece}{}", &FULL[..start], &FULL[end..])
}

/// The errors of `text`.
fn errors(text: &str) -> Vec<Fault> {
    let list = read(text).err().map(|faults| faults.list);
    let faults = list.unwrap_or_default().into_iter();
    faults
        .filter(|fault| fault.severity == Severity::Error)
        .collect()
}

/// Counts mutants, and those whose fault is located.
#[derive(Default)]
struct Tally {
    mutants: usize,
    located: usize,
    missed: Vec<String>,
}

impl Tally {
    fn count(&mut self, mutant: String, is_located: bool) {
        self.mutants += 1;
        self.located += usize::from(is_located);
        if !is_located {
            self.missed.push(mutant);
        }
    }

    /// Asserts that 99 % are located.
    fn settle(&self, what: &str) {
        let Self {
            mutants,
            located,
            missed,
        } = self;
        let share = *located as f64 / *mutants as f64 * 100.0;
        println!("{what}: {mutants} mutants, {located} located, {share:.1} %; missed: {missed:?}");
        assert!(
            located * 100 >= mutants * 99,
            "{what}: {located} of {mutants}: {missed:#?}"
        );
    }
}

/// Keys whose name the user chooses: a template, a field, a number, a command. Another name is as good.
fn is_chosen(key: &Key) -> bool {
    let names = ["hall_meter", "weight", "stable", "tare", "S", "D"];
    names.contains(&key.name.as_str()) || key.name.parse::<u32>().is_ok()
}

#[test]
fn a_misspelt_key_is_named_where_it_stands() {
    let mut tally = Tally::default();
    for key in keys().iter().filter(|key| !is_chosen(key)) {
        let text = replaced(key.start, key.name_end, &format!("{}x", key.name));
        let told = format!("unknown key `{}x`", key.name);
        let located = errors(&text).iter().any(|fault| {
            (fault.line, fault.column) == (key.line, key.column) && fault.message == told
        });
        tally.count(format!("{}:{} {}", key.line, key.column, key.name), located);
    }
    tally.settle("misspelt");
}

#[test]
fn a_value_of_another_type_is_named_where_it_stands() {
    let mut tally = Tally::default();
    for key in &keys() {
        for wrong in ["[1, {a: b}]", "{nonsense: 1}", "~"] {
            let text = replaced(key.name_end, key.value_end, &format!(": {wrong}"));
            if key.column == 1 && wrong == "~" {
                continue; // a section with all its keys commented out
            }
            let located = errors(&text).iter().any(|fault| fault.line == key.line);
            tally.count(
                format!("{}:{} {} {wrong}", key.line, key.column, key.name),
                located,
            );
        }
    }
    tally.settle("another type");
}

/// Whether a fault is about a value that is gone: the one of the key, or a name that was given in its section.
fn names_what_is_gone(told: &str, key: &str, gone: &str) -> bool {
    let names = gone.split("name: ").skip(1);
    let names = names.filter_map(|rest| rest.split([',', '\n']).next());
    let keys = gone
        .lines()
        .filter_map(|line| line.trim().strip_suffix(':'));
    let mut all = names.chain(keys).chain([gone.trim(), key]);
    all.any(|name| {
        told.contains(&format!("there is no connection `{name}`"))
            || told.contains(&format!("there is no template `{name}`"))
            || told.contains(&format!("there is no field `{name}`"))
            || told.contains(&format!("never gives `{name}`"))
    })
}

#[test]
fn a_deleted_key_that_is_needed_is_named() {
    let mut tally = Tally::default();
    let (mut free, mut needed) = (BTreeSet::new(), BTreeSet::new());
    for key in &keys() {
        let end = match FULL.as_bytes().get(key.value_end) {
            Some(b',') => key.value_end + 1,
            _ => key.value_end,
        };
        let errors = errors(&replaced(key.start, end, ""));
        // What has a default, or need not be, is no fault.
        if errors.is_empty() {
            free.insert(key.name.clone());
            continue;
        }
        needed.insert(key.name.clone());
        let gone = &FULL[key.name_end + 1..key.value_end];
        let located = errors.iter().any(|fault| {
            let told = format!("{} {}", fault.message, fault.remedy);
            let mut words = told.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let names_it = words.any(|word| word == key.name);
            let within = key.parent_line.min(key.line - 1)..=key.line + 1;
            names_it && within.contains(&fault.line) || names_what_is_gone(&told, &key.name, gone)
        });
        let told: Vec<String> = errors
            .iter()
            .map(|it| format!("{}: {}", it.line, it.message))
            .collect();
        tally.count(
            format!("{}:{} {} {told:?}", key.line, key.column, key.name),
            located,
        );
    }
    println!("deleted: without {free:?} it is sound; it needs {needed:?}");
    assert!(
        tally.mutants > 40 && free.len() > 60,
        "{} {}",
        tally.mutants,
        free.len()
    );
    tally.settle("deleted");
}

#[test]
fn a_wrong_word_is_named_where_it_stands() {
    let mut tally = Tally::default();
    // What takes any text is no fault, whatever is written there.
    let free = [
        "id",
        "data_dir",
        "name",
        "unit",
        "topic",
        "client_id",
        "user",
        "password",
        "server_name",
        "filter",
        "host",
        "certificate",
        "private_key",
        "client_ca",
        "ca",
        "crl",
        "users_file",
        "regex",
        "send",
        "expect",
        "delimiter",
        "send",
        "stable",
        "S",
        "D",
    ];
    let is_free = |key: &Key| free.contains(&key.name.as_str()) || is_chosen(key);
    for key in keys().iter().filter(|key| !is_free(key)) {
        for wrong in ["bogus", "-7", "99999999999999"] {
            // Any number is a scale, or a limit of a value; any that is not below 0 is a rate.
            let is_rate = key.name.ends_with("_per_second") && wrong != "-7";
            let is_number = matches!(key.name.as_str(), "scale" | "deadband" | "min" | "max");
            if wrong != "bogus" && (is_rate || is_number) {
                continue;
            }
            let text = replaced(key.name_end, key.value_end, &format!(": {wrong}"));
            let located = errors(&text).iter().any(|fault| fault.line == key.line);
            tally.count(
                format!("{}:{} {} {wrong}", key.line, key.column, key.name),
                located,
            );
        }
    }
    tally.settle("wrong words");
}

#[test]
fn a_key_given_twice_is_named_where_it_stands() {
    let mut tally = Tally::default();
    for key in &keys() {
        let again = &FULL[key.start..key.value_end];
        let (piece, line) = if key.in_braces {
            (format!("{again}, {again}"), key.line)
        } else {
            let indent = " ".repeat(key.column - 1);
            let line = key.line + again.lines().count();
            (format!("{again}\n{indent}{again}"), line)
        };
        let text = replaced(key.start, key.value_end, &piece);
        let told = format!(
            "`{}` is given already: fieldgate.yaml:{}",
            key.name, key.line
        );
        let located = errors(&text)
            .iter()
            .any(|fault| fault.line == line && fault.message == told);
        tally.count(format!("{}:{} {}", key.line, key.column, key.name), located);
    }
    tally.settle("given twice");
}

#[test]
fn the_full_file_cut_anywhere_never_panics() {
    for end in (0..FULL.len()).step_by(7) {
        drop(read(&FULL[..end]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        drop(read(&text));
    }

    #[test]
    fn text_with_the_signs_of_yaml_never_panics(text in "[a-e0-9 \\n\\t\\x1b\\r:{}\\[\\]#&*!|>'\"%@`,?~<-]{0,120}") {
        if let Err(faults) = read(&text) {
            let obeyed = faults.to_string().contains(|letter: char| letter.is_control() && letter != '\n');
            prop_assert!(!obeyed, "a terminal would obey this");
        }
    }

    #[test]
    fn the_full_file_with_a_piece_replaced_never_panics(start in 0..FULL.len(), length in 0_usize..40, piece in "[\\PC\\n\\t]{0,12}") {
        let end = (start + length).min(FULL.len());
        let text = format!("{}{piece}{}", &FULL[..start], &FULL[end..]);
        if let Err(faults) = read(&text) {
            prop_assert!(!faults.list.is_empty());
            prop_assert!(faults.list.iter().all(|fault| fault.line >= 1 && fault.column >= 1));
            drop(faults.to_string());
        }
    }
}
