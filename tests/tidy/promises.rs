//! The table of promises in ARCHITECTURE.md names tests that there are.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// The tests that the table names, in its last column.
pub fn named(page: &str) -> Vec<String> {
    let from = page.find("## What is promised").unwrap();
    let section = page.get(from..).unwrap().split("\n## ").next();
    let rows = section
        .unwrap()
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2);
    let last = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    last.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned))
        .collect()
}

/// Names of functions in the files below `folder`, and of rigs as `tests/run NAME`.
pub fn tests(folder: &Path, into: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, into);
            continue;
        }
        let stem = path.file_stem().unwrap().to_string_lossy();
        if let Some(rig) = stem.strip_prefix("rig_") {
            into.insert(format!("tests/run {rig}"));
        }
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let functions = text.split("fn ").skip(1);
            into.extend(functions.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
}
