//! What a configuration may refer to outside its own text: variables, files, the host name. Behind a trait, so that
//! tests need neither.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The longest text that `${file:...}` may bring in, in bytes.
pub const SUBSTITUTE_BYTES_MAX: u64 = 64 << 10;

/// What the file may refer to.
pub trait Environment {
    /// The environment variable `name`, where set and UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// Where it cannot be read, is longer, or is not UTF-8.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String>;

    /// The entries of a folder whose names end in `.yaml` or `.yml`, by name, at most one more than `most`; those of
    /// editors, which begin with `.`, left out. None where there is no such folder.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    fn yaml_files(&self, folder: &Path, most: usize) -> io::Result<Vec<PathBuf>>;

    /// Whether `path` is a file.
    fn is_file(&self, path: &Path) -> bool;

    /// The name of this host.
    fn host_name(&self) -> Option<String>;
}

/// The machine the program runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Environment for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        read_text(path, bytes_max)
    }

    fn yaml_files(&self, folder: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
        let entries = match folder.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let extension = path.extension();
            let is_yaml = extension.is_some_and(|it| it == "yaml" || it == "yml");
            if is_yaml && !name.as_encoded_bytes().starts_with(b".") {
                files.push(path);
            }
            if files.len() > most {
                break;
            }
        }
        files.sort();
        Ok(files)
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn host_name(&self) -> Option<String> {
        let name = read_text(Path::new("/proc/sys/kernel/hostname"), 1024);
        name.ok().or_else(|| self.variable("HOSTNAME"))
    }
}

/// Reads a text file of at most `bytes_max` bytes. Anything but a file is refused, because a pipe could block for ever.
///
/// Links are followed, wherever they lead: Kubernetes mounts, NixOS, certbot and OSTree give files as links, and whoever
/// may put a link there may as well write the path of its target into the configuration. What could be got by a link that
/// a path could not get is nothing; what matters is that nothing of a secret is shown.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > bytes_max) {
        let limit = super::units::show_size(bytes_max);
        let message = format!("it is larger than {limit}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to());
        let line = before
            .unwrap_or_default()
            .split(|byte| *byte == b'\n')
            .count();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("line {line} is not UTF-8"),
        )
    })
}

/// The one within as if every file that the configuration names were there. For reading it before they are: the first user is
/// added before there is a users file, a certificate is asked for before there is one; and where others find out.
pub struct BeforeFiles<'a>(pub &'a dyn Environment);

impl fmt::Debug for BeforeFiles<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BeforeFiles")
            .finish_non_exhaustive()
    }
}

impl Environment for BeforeFiles<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.variable(name)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        self.0.read(path, bytes_max)
    }

    fn yaml_files(&self, folder: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
        self.0.yaml_files(folder, most)
    }

    fn is_file(&self, _: &Path) -> bool {
        true
    }

    fn host_name(&self) -> Option<String> {
        self.0.host_name()
    }
}

/// The part of a topic that is safe to make of a host name, or of nothing.
pub(super) fn topic_level(host_name: Option<String>) -> String {
    let cleaned: String = host_name
        .unwrap_or_default()
        .trim()
        .chars()
        .map(|letter| match letter {
            '/' | '+' | '#' | '$' => '-',
            other if other.is_whitespace() || other.is_control() => '-',
            other => other,
        })
        .take(64)
        .collect();
    if cleaned.is_empty() {
        "fieldgate".to_owned()
    } else {
        cleaned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_topic_levels() {
        assert_eq!(topic_level(Some("press-3.plant\n".into())), "press-3.plant");
        assert_eq!(topic_level(Some("$a/b c#".into())), "-a-b-c-");
        assert_eq!(topic_level(None), "fieldgate");
        assert_eq!(topic_level(Some("  ".into())), "fieldgate");
    }

    #[test]
    fn only_whole_utf8_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        assert_eq!(read_text(&file, 7).unwrap(), "s3cret\n");
        let error = read_text(&file, 6).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 6B");
        std::fs::write(&file, b"a\nb\n\xff").unwrap();
        let error = read_text(&file, 100).unwrap_err();
        assert_eq!(error.to_string(), "line 3 is not UTF-8");
        let error = read_text(folder.path(), 100).unwrap_err();
        assert_eq!(error.to_string(), "it is not a file");
    }
}
