//! A simulated medium: a folder whose files and names reach the medium only when they are synced, and whose power goes
//! at a chosen operation.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::super::Directory;

/// What becomes of the operations that were not synced when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Unsynced {
    Dropped,
    Kept,
    /// Of each file a random subset, in any order; of the names a random first part.
    Random(u64),
}

/// What the medium does when it is told to sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Honesty {
    Honest,
    /// Says that data were synced, but they were not.
    LiesAboutData,
    /// The same of names.
    LiesAboutNames,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                let end = at + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
            Self::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

type Names = BTreeMap<String, usize>;

/// See the head of this file.
#[derive(Debug)]
struct Disk {
    files: Vec<Contents>,
    names: Names,
    durable_names: Names,
    pending_names: Vec<Names>,
    honesty: Honesty,
    operations: u64,
    cut_at: u64,
    /// These operations fail; those after them work again.
    failing: Range<u64>,
}

impl Disk {
    /// Every operation that changes something comes through here.
    fn operate(&mut self) -> io::Result<()> {
        if self.operations >= self.cut_at {
            return Err(io::Error::other("the power is gone"));
        }
        self.operations += 1;
        if self.failing.contains(&self.operations) {
            return Err(io::Error::other("a passing fault"));
        }
        Ok(())
    }

    fn change(&mut self, file: usize, change: Change) -> io::Result<()> {
        self.operate()?;
        let contents = &mut self.files[file];
        change.apply(&mut contents.live);
        contents.pending.push(change);
        Ok(())
    }

    fn rename(&mut self, change: impl FnOnce(&mut Names) -> io::Result<()>) -> io::Result<()> {
        self.operate()?;
        change(&mut self.names)?;
        self.pending_names.push(self.names.clone());
        Ok(())
    }
}

/// A folder on a [`Disk`]. Clones are the same folder.
#[derive(Clone, Debug)]
pub(in crate::store) struct SimulatedFolder {
    disk: Arc<Mutex<Disk>>,
}

impl SimulatedFolder {
    pub(in crate::store) fn new(honesty: Honesty) -> Self {
        Self {
            disk: Arc::new(Mutex::new(Disk {
                files: Vec::new(),
                names: Names::new(),
                durable_names: Names::new(),
                pending_names: Vec::new(),
                honesty,
                operations: 0,
                cut_at: u64::MAX,
                failing: 0..0,
            })),
        }
    }

    /// The power goes when so many more operations have been done.
    pub(in crate::store) fn cut_after(&self, operations: u64) {
        let mut disk = self.disk.lock().unwrap();
        disk.cut_at = disk.operations + operations;
    }

    /// The operations with these numbers fail.
    pub(in crate::store) fn fail(&self, operations: Range<u64>) {
        self.disk.lock().unwrap().failing = operations;
    }

    pub(in crate::store) fn operations(&self) -> u64 {
        self.disk.lock().unwrap().operations
    }

    pub(in crate::store) fn is_cut(&self) -> bool {
        let disk = self.disk.lock().unwrap();
        disk.operations >= disk.cut_at
    }

    /// The folder as it is found after the power is back.
    pub(in crate::store) fn after_cut(&self, unsynced: Unsynced) -> Self {
        let disk = self.disk.lock().unwrap();
        let mut random = match unsynced {
            Unsynced::Random(seed) => fastrand::Rng::with_seed(seed),
            _ => fastrand::Rng::with_seed(0),
        };
        let files = disk.files.iter().map(|contents| {
            let bytes = match unsynced {
                Unsynced::Dropped => contents.durable.clone(),
                Unsynced::Kept => contents.live.clone(),
                Unsynced::Random(_) => {
                    let mut bytes = contents.durable.clone();
                    let mut kept: Vec<_> = contents.pending.iter().collect();
                    kept.retain(|_| random.bool());
                    random.shuffle(&mut kept);
                    for change in kept {
                        change.apply(&mut bytes);
                    }
                    bytes
                }
            };
            Contents {
                live: bytes.clone(),
                durable: bytes,
                pending: Vec::new(),
            }
        });
        let files = files.collect();
        let names = match unsynced {
            Unsynced::Dropped => disk.durable_names.clone(),
            Unsynced::Kept => disk.names.clone(),
            Unsynced::Random(_) => {
                let reached = random.usize(0..=disk.pending_names.len());
                let last = reached.checked_sub(1).map(|last| &disk.pending_names[last]);
                last.unwrap_or(&disk.durable_names).clone()
            }
        };
        let after = Self::new(disk.honesty);
        {
            let mut disk = after.disk.lock().unwrap();
            disk.files = files;
            disk.durable_names = names.clone();
            disk.names = names;
        }
        after
    }
}

impl Directory for SimulatedFolder {
    fn path(&self) -> &Path {
        Path::new("simulated")
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.disk.lock().unwrap();
        let names = disk.names.iter();
        Ok(names
            .map(|(name, file)| (name.clone(), disk.files[*file].live.len() as u64))
            .collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StorageBackend>> {
        let mut disk = self.disk.lock().unwrap();
        let file = if create {
            let file = disk.files.len();
            disk.files.push(Contents::default());
            disk.rename(|names| {
                names.insert(name.to_owned(), file);
                Ok(())
            })?;
            file
        } else {
            *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?
        };
        Ok(Box::new(SimulatedFile {
            disk: Arc::clone(&self.disk),
            file,
        }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let disk = self.disk.lock().unwrap();
        let file = disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(disk.files[*file].live.clone())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.lock().unwrap().rename(|names| {
            let file = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.lock().unwrap().rename(|names| {
            names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.operate()?;
        if disk.honesty != Honesty::LiesAboutNames {
            disk.durable_names = disk.names.clone();
            disk.pending_names.clear();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: Arc<Mutex<Disk>>,
    file: usize,
}

impl StorageBackend for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().unwrap().files[self.file].live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.lock().unwrap();
        let from = index(offset);
        let bytes = disk.files[self.file].live.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.change(self.file, Change::SetLen(index(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.operate()?;
        if disk.honesty != Honesty::LiesAboutData {
            let contents = &mut disk.files[self.file];
            contents.durable.clone_from(&contents.live);
            contents.pending.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.change(self.file, Change::Write(index(offset), data.to_vec()))
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
