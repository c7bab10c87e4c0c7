//! A simulated medium: a folder whose files and names reach the medium only when they are synced, and whose power goes
//! at a chosen operation. A [`Witness`] keeps what a cut would leave at many operations of one run.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use tokio::sync::watch;

use super::super::{Directory, Progress};

/// What a medium writes whole or not at all.
const SECTOR: usize = 512;

/// What becomes of the operations that were not synced when the power went. Numbers are seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Unsynced {
    Dropped,
    Kept,
    /// Of each file a random subset, in any order; of what was done to names a random subset.
    Reordered(u64),
    /// The same, and of each write a random subset of its sectors.
    Torn(u64),
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

    /// Of a write, whole or some of its sectors.
    fn apply_torn(&self, bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
        let Self::Write(at, data) = self else {
            return self.apply(bytes);
        };
        let mut from = *at;
        let mut data = data.as_slice();
        while !data.is_empty() {
            let (sector, rest) = data.split_at(data.len().min(SECTOR - from % SECTOR));
            if random.bool() {
                Self::Write(from, sector.to_vec()).apply(bytes);
            }
            from += sector.len();
            data = rest;
        }
    }
}

impl Contents {
    fn after_cut(&self, unsynced: Unsynced) -> Vec<u8> {
        let (seed, is_torn) = match unsynced {
            Unsynced::Dropped => return self.durable.clone(),
            Unsynced::Kept => return self.live.clone(),
            Unsynced::Reordered(seed) => (seed, false),
            Unsynced::Torn(seed) => (seed, true),
        };
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = self.durable.clone();
        let mut landed: Vec<_> = self.pending.iter().collect();
        landed.retain(|_| random.bool());
        random.shuffle(&mut landed);
        for change in landed {
            if is_torn {
                change.apply_torn(&mut bytes, &mut random);
            } else {
                change.apply(&mut bytes);
            }
        }
        bytes
    }
}

type Names = BTreeMap<String, usize>;

/// What one operation does to names: each then means that file, or none.
type Naming = Vec<(String, Option<usize>)>;

fn name(names: &mut Names, naming: &Naming) {
    for (name, file) in naming {
        match file {
            Some(file) => names.insert(name.clone(), *file),
            None => names.remove(name),
        };
    }
}

/// Files and their names, as programs see them and as the medium has them.
#[derive(Clone, Debug, Default)]
struct Media {
    files: Vec<Contents>,
    names: Names,
    durable_names: Names,
    pending_names: Vec<Naming>,
}

impl Media {
    fn after_cut(&self, unsynced: Unsynced) -> Self {
        let names = match unsynced {
            Unsynced::Dropped => self.durable_names.clone(),
            Unsynced::Kept => self.names.clone(),
            Unsynced::Reordered(seed) | Unsynced::Torn(seed) => {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut names = self.durable_names.clone();
                let landed = self.pending_names.iter().filter(|_| random.bool());
                landed.for_each(|naming| name(&mut names, naming));
                names
            }
        };
        let mut files = vec![Contents::default(); self.files.len()];
        for file in names.values() {
            let bytes = self.files[*file].after_cut(unsynced);
            files[*file] = Contents {
                live: bytes.clone(),
                durable: bytes,
                pending: Vec::new(),
            };
        }
        Self {
            files,
            durable_names: names.clone(),
            names,
            pending_names: Vec::new(),
        }
    }
}

/// What a cut at some operation would find.
#[derive(Debug)]
pub(in crate::store) struct Sight {
    pub(in crate::store) folder: SimulatedFolder,
    /// What had been said when the power went.
    pub(in crate::store) progress: Progress,
}

/// Keeps a [`Sight`] now and then, before an operation.
#[derive(Debug)]
struct Witness {
    random: fastrand::Rng,
    /// At every so manieth operation on average.
    every: u64,
    next: u64,
    progress: Option<watch::Receiver<Progress>>,
    seen: Vec<Sight>,
}

/// See the head of this file.
#[derive(Debug)]
struct Disk {
    media: Media,
    honesty: Honesty,
    operations: u64,
    cut_at: u64,
    /// These operations fail; those after them work again.
    failing: Range<u64>,
    witness: Option<Witness>,
}

impl Disk {
    /// Every operation that changes something comes through here.
    fn operate(&mut self) -> io::Result<()> {
        self.be_witnessed();
        if self.operations >= self.cut_at {
            return Err(io::Error::other("the power is gone"));
        }
        self.operations += 1;
        if self.failing.contains(&self.operations) {
            return Err(io::Error::other("a passing fault"));
        }
        Ok(())
    }

    fn be_witnessed(&mut self) {
        let Some(witness) = &mut self.witness else {
            return;
        };
        if self.operations < witness.next {
            return;
        }
        witness.next = self.operations + witness.random.u64(1..witness.every * 2);
        let progress = witness.progress.as_ref();
        witness.seen.push(Sight {
            folder: SimulatedFolder::with(self.media.clone(), self.honesty),
            progress: progress.map(|told| *told.borrow()).unwrap_or_default(),
        });
    }

    fn change(&mut self, file: usize, change: Change) -> io::Result<()> {
        self.operate()?;
        let contents = &mut self.media.files[file];
        change.apply(&mut contents.live);
        contents.pending.push(change);
        Ok(())
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        let file = self.media.names.get(name);
        Ok(*file.ok_or(io::ErrorKind::NotFound)?)
    }

    fn rename(&mut self, naming: Naming) -> io::Result<()> {
        self.operate()?;
        name(&mut self.media.names, &naming);
        self.media.pending_names.push(naming);
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
        Self::with(Media::default(), honesty)
    }

    fn with(media: Media, honesty: Honesty) -> Self {
        Self {
            disk: Arc::new(Mutex::new(Disk {
                media,
                honesty,
                operations: 0,
                cut_at: u64::MAX,
                failing: 0..0,
                witness: None,
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

    /// From now on a [`Sight`] is kept at every so manieth operation, at random; `progress`: what is being said.
    pub(in crate::store) fn witness(
        &self,
        seed: u64,
        every: u64,
        progress: Option<watch::Receiver<Progress>>,
    ) {
        let mut disk = self.disk.lock().unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        disk.witness = Some(Witness {
            next: disk.operations + random.u64(0..every),
            random,
            every,
            progress,
            seen: Vec::new(),
        });
    }

    /// What was kept since the last time.
    pub(in crate::store) fn seen(&self) -> Vec<Sight> {
        let mut disk = self.disk.lock().unwrap();
        let witness = disk.witness.as_mut();
        witness.map_or_else(Vec::new, |witness| std::mem::take(&mut witness.seen))
    }

    /// The folder as it is found after the power is back.
    pub(in crate::store) fn after_cut(&self, unsynced: Unsynced) -> Self {
        let disk = self.disk.lock().unwrap();
        Self::with(disk.media.after_cut(unsynced), disk.honesty)
    }
}

impl Directory for SimulatedFolder {
    fn path(&self) -> &Path {
        Path::new("simulated")
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let media = &self.disk.lock().unwrap().media;
        let names = media.names.iter();
        Ok(names
            .map(|(name, file)| (name.clone(), media.files[*file].live.len() as u64))
            .collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StorageBackend>> {
        let mut disk = self.disk.lock().unwrap();
        let file = if create {
            let file = disk.media.files.len();
            disk.media.files.push(Contents::default());
            disk.rename(vec![(name.to_owned(), Some(file))])?;
            file
        } else {
            disk.file(name)?
        };
        Ok(Box::new(SimulatedFile {
            disk: Arc::clone(&self.disk),
            file,
        }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let disk = self.disk.lock().unwrap();
        Ok(disk.media.files[disk.file(name)?].live.clone())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let file = disk.file(from)?;
        disk.rename(vec![(from.to_owned(), None), (to.to_owned(), Some(file))])
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.file(name)?;
        disk.rename(vec![(name.to_owned(), None)])
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        disk.operate()?;
        if disk.honesty != Honesty::LiesAboutNames {
            let media = &mut disk.media;
            media.durable_names.clone_from(&media.names);
            media.pending_names.clear();
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
        Ok(self.disk.lock().unwrap().media.files[self.file].live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.lock().unwrap();
        let from = index(offset);
        let bytes = disk.media.files[self.file].live.get(from..from + out.len());
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
            let contents = &mut disk.media.files[self.file];
            for change in contents.pending.drain(..) {
                change.apply(&mut contents.durable);
            }
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
