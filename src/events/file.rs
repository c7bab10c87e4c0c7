//! The file that keeps events: `events/log` in the data folder.
//!
//! Entries are appended. A file that is full is replaced by one with all entries that there are: that is written beside it,
//! put on stable storage and renamed, so at each moment one of the two is whole. The same follows a write that failed, since
//! nobody knows what became of it.
//!
//! Reading takes what is good, whatever state the file is in: a last line without an end was torn by a power cut and is passed
//! over, other bad lines are counted.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::error::EventsError;

const NAME: &str = "log";
const REPLACEMENT: &str = "log.tmp";

/// The first line is this and the version.
const MAGIC: &str = "fieldgate-events";
const VERSION: u32 = 1;

/// A file that would be longer is full. What a new one begins with takes less than half of it.
pub(super) const FILE_MAX: usize = 512 << 10;

/// Of a file that somebody else made longer, so much is read.
const READ_MAX: u64 = 2 * FILE_MAX as u64;

/// Where events are kept.
#[derive(Debug)]
pub struct EventFile {
    folder: PathBuf,
    /// Up to where it is good; `None`: there is none, or nobody knows.
    length: Option<usize>,
    /// Bytes written since the start.
    written: u64,
    found: Found,
}

/// What was wrong with a file when it was read.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Lines that could not be read.
    pub damaged: usize,
    /// Why nothing could.
    pub fault: Option<EventsError>,
}

impl EventFile {
    /// Reads what is there. Blocks.
    pub(super) fn open(folder: &Path) -> (Self, Vec<Entry>) {
        let mut file = Self {
            folder: folder.to_owned(),
            length: None,
            written: 0,
            found: Found::default(),
        };
        let entries = match file.read() {
            Ok(entries) => entries,
            Err(fault) => {
                file.found.fault = Some(fault);
                Vec::new()
            }
        };
        (file, entries)
    }

    /// What was wrong when it was opened; tells it once.
    pub(super) fn found(&mut self) -> Found {
        std::mem::take(&mut self.found)
    }

    /// Whether so many bytes more need a new file.
    pub(super) fn is_full(&self, more: usize) -> bool {
        self.length.is_none_or(|length| length + more > FILE_MAX)
    }

    /// Bytes written since the start.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    #[cfg(test)]
    pub(super) fn length(&self) -> Option<usize> {
        self.length
    }

    fn read(&mut self) -> Result<Vec<Entry>, EventsError> {
        let path = self.folder.join(NAME);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(READ_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(EventsError::Io { path, source }),
        }
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let lines = bytes.get(..end.unwrap_or(0)).unwrap_or_default();
        let mut lines = lines.split(|byte| *byte == b'\n');
        match lines.next().and_then(version) {
            Some(VERSION) => self.length = end.map(|end| end + 1),
            Some(version) if version > VERSION => return Err(EventsError::Newer { path }),
            // Not worth keeping as it is; its lines are tried all the same.
            _ => self.found.damaged += usize::from(end.is_some()),
        }
        let mut entries: HashMap<u64, Entry> = HashMap::new();
        for line in lines {
            match Entry::parse(line) {
                // The later line of one entry is what became of it.
                Some(entry) => drop(entries.insert(entry.id, entry)),
                None => self.found.damaged += 1,
            }
        }
        Ok(entries.into_values().collect())
    }

    /// Appends lines. Blocks.
    pub(super) fn append(&mut self, lines: &str) -> Result<(), EventsError> {
        let path = self.folder.join(NAME);
        let length = self.length.take().unwrap_or(0);
        append(&path, length, lines).map_err(|source| EventsError::Io { path, source })?;
        self.written += lines.len() as u64;
        self.length = Some(length + lines.len());
        Ok(())
    }

    /// Begins a new file with these lines. Blocks.
    pub(super) fn replace(&mut self, lines: &str) -> Result<(), EventsError> {
        let path = self.folder.join(REPLACEMENT);
        let text = format!("{MAGIC} {VERSION}\n{lines}");
        let written = replace(&self.folder, &path, &text);
        written.map_err(|source| EventsError::Io { path, source })?;
        self.written += text.len() as u64;
        self.length = Some(text.len());
        Ok(())
    }
}

fn append(path: &Path, length: usize, lines: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    // What is behind it was torn.
    file.set_len(length as u64)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}

fn replace(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let written = write(path, text).and_then(|()| fs::rename(path, folder.join(NAME)));
    if written.is_err() && fs::remove_file(path).is_err() {
        // On a disk that is full, half a file would take the rest.
        tracing::debug!("what was written of the events cannot be removed");
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

fn version(line: &[u8]) -> Option<u32> {
    let line = str::from_utf8(line).ok()?;
    let (magic, version) = line.split_once(' ')?;
    (magic == MAGIC).then(|| version.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::*;

    fn lines(entries: &[Entry]) -> String {
        entries.iter().map(Entry::line).collect()
    }

    /// A folder with a file of these entries, the last two appended.
    fn kept(entries: &[Entry]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, none) = EventFile::open(folder.path());
        assert_eq!(none, []);
        assert!(file.is_full(0), "there is none");
        let (first, last) = entries.split_at(entries.len() - 2);
        file.replace(&lines(first)).unwrap();
        for entry in last {
            file.append(&entry.line()).unwrap();
        }
        folder
    }

    fn read(folder: &Path) -> (Vec<Entry>, Found) {
        let (mut file, mut entries) = EventFile::open(folder);
        entries.sort_by_key(|entry| entry.number);
        (entries, file.found())
    }

    #[test]
    fn a_file_cut_at_any_byte_gives_the_entries_before_and_takes_more() {
        let entries = [1, 2, 3].map(|number| entry(number, "x"));
        let folder = kept(&entries);
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (mut file, read) = EventFile::open(folder.path());
            let ends = whole[..length]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            assert_eq!(read.len(), ends.saturating_sub(1), "{length}");
            assert_eq!(file.found().damaged, 0, "{length}");
            assert_eq!(file.is_full(0), ends == 0, "{length}");
            if ends > 0 {
                file.append(&entry(9, "more").line()).unwrap();
            } else {
                file.replace(&entry(9, "more").line()).unwrap();
            }
            let (more, found) = self::read(folder.path());
            assert_eq!((more.len(), found.damaged), (read.len() + 1, 0), "{length}");
        }
    }

    #[test]
    fn damage_costs_the_lines_that_it_hits_and_is_counted() {
        let folder = kept(&[1, 2, 3, 4].map(|number| entry(number, "x")));
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            bytes[at] = 0;
            fs::write(&path, bytes).unwrap();
            let (entries, found) = read(folder.path());
            assert_eq!(found.damaged, 1, "{at}");
            // The first line holds no entry, and a line end that is gone costs both.
            let is_end = whole[at] == b'\n';
            assert!(
                (2 + usize::from(!is_end)..=4).contains(&entries.len()),
                "{at}"
            );
        }
    }

    #[test]
    fn the_later_line_of_an_entry_counts() {
        let (first, second) = (entry(1, "lost"), entry(2, "back"));
        let again = Entry {
            number: 3,
            ..first.clone()
        };
        let folder = kept(&[first, second.clone(), again.clone()]);
        assert_eq!(read(folder.path()).0, [second, again]);
    }

    #[test]
    fn a_file_of_a_newer_fieldgate_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "fieldgate-events 2\nsomething\n").unwrap();
        let (entries, found) = read(folder.path());
        assert_eq!(entries, []);
        assert!(matches!(found.fault, Some(EventsError::Newer { .. })));
    }

    #[test]
    fn what_is_no_file_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::create_dir(&path).unwrap();
        let (entries, found) = read(folder.path());
        assert_eq!(entries, []);
        let fault = found.fault.unwrap().to_string();
        assert!(fault.contains(path.to_str().unwrap()), "{fault}");
    }

    #[test]
    fn a_full_disk_leaves_what_is_there() {
        let entries = [1, 2, 3].map(|number| entry(number, "x"));
        let folder = kept(&entries);
        let (mut file, _) = EventFile::open(folder.path());
        std::os::unix::fs::symlink("/dev/full", folder.path().join(REPLACEMENT)).unwrap();
        let fault = file.replace("").unwrap_err().to_string();
        assert!(fault.contains("No space left on device"), "{fault}");
        assert_eq!(read(folder.path()).0, entries);
        let half = folder.path().join(REPLACEMENT);
        assert!(!half.is_symlink(), "nothing takes the rest of the disk");
        file.replace(&entries[0].line()).unwrap();
        assert_eq!(read(folder.path()).0, entries[..1]);
    }
}
