//! The last configuration that the gateway ran on, kept for the start at which the file has faults: a typo must not cost a
//! journey to the box.
//!
//! One file, replaced as a whole and only where it differs, readable by its owner alone. It holds the YAML as it was; keys, users
//! and certificates are read where they are. It is of use only for the file that it was read from.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::{FILE_BYTES_MAX, Source};

const NAME: &str = "last-good.json";
const STAGED: &str = "last-good.json.tmp";

/// Where it is kept: systemd's `$STATE_DIRECTORY`, which is known however broken the file is; else `data_dir`.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    let named = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    match named.split(':').next() {
        Some("") | None => data_dir.to_owned(),
        Some(first) => PathBuf::from(first),
    }
}

/// The last good texts of `file`, if any are kept. `folder` as far as somebody can say what it is.
#[must_use]
pub fn find(folder: &Path, file: &Path) -> Option<Source> {
    let text = read(&folder.join(NAME)).ok()?;
    let source: Source = serde_json::from_str(&text).ok()?;
    (absolute(&source.file) == absolute(file)).then_some(source)
}

/// Keeps these texts. Blocks while they are written.
///
/// # Errors
/// Where the folder cannot be written; then the one before stays.
pub fn keep(folder: &Path, source: &Source) -> io::Result<()> {
    let text = serde_json::to_string(source)?;
    if read(&folder.join(NAME)).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let staged = folder.join(STAGED);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&staged)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&staged, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}

/// Whatever folder somebody is in.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn read(path: &Path) -> io::Result<String> {
    // Quoted in JSON, texts are longer.
    if fs::metadata(path)?.len() > FILE_BYTES_MAX * 4 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read_to_string(path)
}

/// The `data_dir` that a text with faults names, as far as one line of it can be understood; else the default.
#[must_use]
pub fn data_dir_of(text: &str, file: &Path) -> PathBuf {
    let named = text.lines().find_map(|line| {
        let (before, value) = line.split_once("data_dir:")?;
        if before.contains('#') {
            return None;
        }
        let value = value.split(" #").next()?.trim();
        let value = value.trim_matches(['"', '\'', '}', ' ']);
        (!value.is_empty() && !value.contains("${")).then_some(value)
    });
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    named.map_or_else(|| PathBuf::from("data"), |named| folder.join(named))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config;

    fn source(folder: &Path, id: &str) -> Source {
        let file = folder.join("site.yaml");
        fs::write(&file, format!("gateway: {{ id: {id} }}\n")).unwrap();
        config::load_with_source(&file, config::NamedFiles::MustBeThere)
            .unwrap()
            .1
    }

    #[test]
    fn what_is_kept_is_found_for_its_own_file_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let state = folder.join("state");
        let file = folder.join("site.yaml");
        assert_eq!(find(&state, &file), None);
        for id in ["first", "second", "second"] {
            let source = source(folder, id);
            keep(&state, &source).unwrap();
            assert_eq!(find(&state, &file), Some(source));
        }
        assert_eq!(find(&state, &folder.join("other.yaml")), None);
        let mode = fs::metadata(state.join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!state.join(STAGED).exists());
    }

    #[test]
    fn what_is_damaged_is_none_and_what_did_not_change_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let kept = source(folder, "a");
        keep(folder, &kept).unwrap();
        let written = fs::metadata(folder.join(NAME)).unwrap().modified().unwrap();
        keep(folder, &kept).unwrap();
        let again = fs::metadata(folder.join(NAME)).unwrap().modified().unwrap();
        assert_eq!(written, again);
        fs::write(folder.join(NAME), "{").unwrap();
        assert_eq!(find(folder, &kept.file), None);
        keep(folder, &kept).unwrap();
        assert!(find(folder, &kept.file).is_some());
    }

    #[test]
    fn the_folder_is_found_in_a_text_that_is_no_yaml() {
        let file = Path::new("/etc/fieldgate/fieldgate.yaml");
        for (text, found) in [
            ("gateway:\n  data_dir: /srv/fg # big disk\n ]", "/srv/fg"),
            (
                "gateway: { data_dir: \"store\" }\n\t]",
                "/etc/fieldgate/store",
            ),
            ("gateway:\n  # data_dir: /var/lib/fieldgate\n", "data"),
            ("gateway: [", "data"),
            ("gateway:\n  data_dir: ${env:X}\n", "data"),
        ] {
            assert_eq!(data_dir_of(text, file), Path::new(found), "{text}");
        }
    }
}
