//! What happens to a file when somebody slips: each key of the full file deleted, misspelt, given a value of another
//! type, given twice. And arbitrary text.

use fieldgate::config::Severity;
use proptest::prelude::*;

use crate::support::read;

const FULL: &str = include_str!("full.yaml");

/// A key on a line of its own: `indent [- ]key: value`.
struct Key {
    line: usize,
    column: usize,
    name: String,
    has_value: bool,
}

fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    for (index, line) in FULL.lines().enumerate() {
        let start = line
            .find(|letter: char| letter != ' ' && letter != '-')
            .unwrap();
        let Some((name, value)) = line[start..].split_once(':') else {
            continue;
        };
        if name.contains(['{', '"', '/']) || name.starts_with("mqtt") {
            continue;
        }
        keys.push(Key {
            line: index,
            column: start,
            name: name.to_owned(),
            has_value: !value.trim().is_empty(),
        });
    }
    assert!(keys.len() > 100, "{}", keys.len());
    keys
}

fn with_line(number: usize, change: impl Fn(&str) -> String) -> String {
    let lines = FULL.lines().enumerate();
    lines
        .map(|(index, line)| {
            if index == number {
                change(line) + "\n"
            } else {
                format!("{line}\n")
            }
        })
        .collect()
}

/// Whether some error of `text` is at `line` (from 0); `None` where there is no error at all.
fn error_at(text: &str, line: usize) -> Option<bool> {
    let faults = read(text).err()?;
    let errors = faults
        .list
        .iter()
        .filter(|fault| fault.severity == Severity::Error);
    Some(errors.into_iter().any(|fault| fault.line == line + 1))
}

#[test]
fn a_misspelt_key_is_named_where_it_stands() {
    let keys = keys();
    for key in &keys {
        let text = with_line(key.line, |line| {
            let (before, after) = line.split_at(key.column);
            format!(
                "{before}{}",
                after.replacen(&key.name, &format!("{}x", key.name), 1)
            )
        });
        // A template may have any name; then the device's is dangling.
        if key.name == "hall_meter" {
            assert!(read(&text).is_err());
            continue;
        }
        let faults = read(&text).unwrap_err();
        let at = (key.line + 1, key.column + 1);
        let found = faults
            .list
            .iter()
            .find(|fault| (fault.line, fault.column) == at);
        let found = found.unwrap_or_else(|| panic!("{} at {at:?}: {faults}", key.name));
        assert_eq!(found.message, format!("unknown key `{}x`", key.name));
    }
}

#[test]
fn a_value_of_another_type_is_named_where_it_stands() {
    let (mut tried, mut named) = (0, 0);
    let mut missed = Vec::new();
    for key in keys().iter().filter(|key| key.has_value) {
        for wrong in ["[1, {a: b}]", "{nonsense: 1}", "~"] {
            let text = with_line(key.line, |line| {
                format!("{}{}: {wrong}", &line[..key.column], key.name)
            });
            if key.column == 0 && wrong == "~" {
                continue; // a section with all its keys commented out
            }
            tried += 1;
            match error_at(&text, key.line) {
                Some(true) => named += 1,
                _ => missed.push(format!("{}:{} {wrong}", key.line + 1, key.name)),
            }
        }
    }
    println!("wrong types: {named} of {tried} named at their line; missed: {missed:?}");
    assert_eq!(named, tried, "{missed:?}");
}

#[test]
fn a_wrong_word_is_named_where_it_stands() {
    let (mut tried, mut named) = (0, 0);
    let mut missed = Vec::new();
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
        "users_file",
    ];
    for key in keys()
        .iter()
        .filter(|key| key.has_value && !free.contains(&key.name.as_str()))
    {
        for wrong in ["bogus", "-7", "99999999999999"] {
            let text = with_line(key.line, |line| {
                format!("{}{}: {wrong}", &line[..key.column], key.name)
            });
            if key.name == "scale" && wrong != "bogus" {
                continue; // any number is a scale
            }
            tried += 1;
            match error_at(&text, key.line) {
                Some(true) => named += 1,
                _ => missed.push(format!("{}:{} {wrong}", key.line + 1, key.name)),
            }
        }
    }
    println!("wrong words: {named} of {tried} named at their line; missed: {missed:?}");
    assert!(named * 100 >= tried * 98, "{named} of {tried}: {missed:?}");
}

#[test]
fn a_key_given_twice_is_named_where_it_stands() {
    for key in keys().iter().filter(|key| key.has_value) {
        let text = with_line(key.line, |line| {
            let again = format!("{}{}", " ".repeat(key.column), &line[key.column..]);
            format!("{line}\n{again}")
        });
        assert_eq!(
            error_at(&text, key.line + 1),
            Some(true),
            "{} {text}",
            key.name
        );
    }
}

#[test]
fn a_deleted_key_is_missed_or_has_a_default() {
    let (mut errors, mut fine) = (0, 0);
    for key in keys().iter().filter(|key| key.has_value) {
        let text = with_line(key.line, |line| {
            let dash = line.get(..key.column).filter(|start| start.contains('-'));
            dash.unwrap_or_default().to_owned()
        });
        match read(&text) {
            Ok(_) => fine += 1,
            Err(faults) => {
                errors += 1;
                assert!(faults.list.iter().all(|fault| fault.line > 0), "{faults}");
            }
        }
    }
    println!("deleted keys: {errors} are missed, {fine} have a default");
    assert!(errors > 10 && fine > 30, "{errors} {fine}");
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
