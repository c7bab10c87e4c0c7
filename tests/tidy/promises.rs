//! The promises of ARCHITECTURE.md and the threats of SECURITY.md name tests that there are.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Cells of the rows of the table below the heading that begins with `heading`.
pub fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let from = page.find(&format!("\n## {heading}")).unwrap();
    let section = page.get(from + 1..).unwrap().split("\n## ").next();
    let rows = section
        .unwrap()
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The tests that the table names, in its last column.
pub fn named(page: &str, heading: &str) -> Vec<String> {
    let rows = rows(page, heading);
    let last = rows.iter().filter_map(|row| row.last());
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
