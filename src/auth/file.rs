//! The files that say who may come in and what for: text of lines, read as a whole or not at all, with all faults told at
//! once. Half a file would lock some out, or let some in, without a word.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Some 30 000 users.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why a file cannot be taken. Its owner is to blame.
#[derive(Debug, thiserror::Error)]
pub enum FileError<F: Error> {
    /// Missing, or not ours to read.
    #[error(
        "{path}: cannot be read: {source}; check the path, and that the user fieldgate runs as may read it"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Lines that mean nothing.
    #[error("{}", by_line(path, faults))]
    Lines {
        /// Which file.
        path: PathBuf,
        /// All of them, by number from 1.
        faults: Vec<(usize, F)>,
    },
}

fn by_line<F: Error>(path: &Path, faults: &[(usize, F)]) -> impl fmt::Display {
    let lines: Vec<String> = faults
        .iter()
        .map(|(line, fault)| format!("{}:{line}: {fault}", path.display()))
        .collect();
    lines.join("\n")
}

/// Reads the file and makes of its text what it means. Blocks.
pub(super) fn read<T, F: Error>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, Vec<(usize, F)>>,
) -> Result<T, FileError<F>> {
    let text = text(path).map_err(|source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|faults| FileError::Lines {
        path: path.to_owned(),
        faults,
    })
}

fn text(path: &Path) -> io::Result<String> {
    // To open a pipe could block for ever.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    let length = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("larger than 4 MiB, which is no such file"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::Users;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("users");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let error = Users::read(&pipe).unwrap_err().to_string();
        assert!(
            error.contains("cannot be read: it is no regular file;"),
            "{error}"
        );
    }
}
