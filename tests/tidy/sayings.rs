//! What the page of troubles says that the program says, it says.

use std::fs;
use std::path::Path;

/// Code of the first columns of a page's tables, in pieces at `...`, which stands for what differs.
pub fn quoted(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let first = rows.filter_map(|row| row.split('|').nth(1));
    first
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|code| {
            let pieces = code.split("...").map(str::trim);
            let pieces = pieces.filter(|piece| !piece.is_empty());
            pieces.map(str::to_owned).collect()
        })
        .collect()
}

/// Adds the text of all sources below `folder`, without comments and tests, with texts over several lines in one.
pub fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let production = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = production.lines();
            let code: Vec<&str> = lines
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect();
            let text = code.join("\n");
            let mut lines = text.split("\\\n");
            let mut whole = lines.next().unwrap_or_default().to_owned();
            lines.for_each(|line| whole.push_str(line.trim_start()));
            into.push(whole);
        }
    }
}

/// Whether one source has all pieces.
pub fn is_said(pieces: &[String], sources: &[String]) -> bool {
    let has_all = |source: &String| pieces.iter().all(|piece| source.contains(piece.as_str()));
    sources.iter().any(has_all)
}
