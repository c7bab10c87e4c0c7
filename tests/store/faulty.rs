//! A folder in memory on a medium that fills up and fails: what a full disk and a failed sync do, at the moment that a test
//! chooses.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use fieldgate::store::Directory;
use redb::StorageBackend;

const PAGE: usize = 4096;
/// What Linux says of a block that cannot be read.
const EIO: i32 = 5;

/// Clones are the same folder.
#[derive(Clone, Debug, Default)]
pub struct FaultyFolder {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    /// Pages that there is room for; `None`: as many as you like.
    pages: Option<usize>,
    syncs_fail: bool,
    writes_fail: bool,
    /// Every write finds it full until a file is removed.
    is_full: bool,
    /// A file that cannot be read now.
    unreadable: Option<usize>,
    /// A file, and a page of it that can never be read.
    bad: Option<(usize, usize)>,
    /// The next removal of a file panics.
    panics: bool,
    /// What it says is free, in bytes.
    free: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What a read gives.
    cached: Vec<u8>,
    /// What is on the medium.
    stored: Vec<u8>,
    /// Pages that the next sync writes.
    dirty: Vec<bool>,
    /// Pages that take room.
    used: Vec<bool>,
}

impl Disk {
    fn used(&self) -> usize {
        let files = self.names.values().map(|file| &self.files[*file].used);
        files.flatten().filter(|used| **used).count()
    }
}

impl FaultyFolder {
    /// From now on nothing fits in that is not there already, but for so many pages.
    pub fn fill_up(&self, left: usize) {
        let mut disk = self.disk.lock().unwrap();
        disk.pages = Some(disk.used() + left);
    }

    /// No write fits in, be it over what is there, until a file is removed.
    pub fn fill_until_a_file_goes(&self) {
        self.disk.lock().unwrap().is_full = true;
    }

    /// It says that so much is free; what it does is another matter.
    pub fn say_free(&self, bytes: u64) {
        self.disk.lock().unwrap().free = Some(bytes);
    }

    /// This file cannot be read from now on; `None`: every file can be.
    pub fn fail_reads(&self, name: Option<&str>) {
        let mut disk = self.disk.lock().unwrap();
        disk.unreadable = name.map(|name| disk.names[name]);
    }

    /// The block under a page of this file is worn out.
    pub fn wear_out(&self, name: &str, page: usize) {
        let mut disk = self.disk.lock().unwrap();
        disk.bad = Some((disk.names[name], page));
    }

    /// Size of a file, in pages.
    pub fn pages(&self, name: &str) -> usize {
        let disk = self.disk.lock().unwrap();
        disk.files[disk.names[name]].cached.len().div_ceil(PAGE)
    }

    /// The next removal of a file panics, as a bug in it would.
    pub fn panic_once(&self) {
        self.disk.lock().unwrap().panics = true;
    }

    /// There is room again.
    pub fn empty(&self) {
        self.disk.lock().unwrap().pages = None;
    }

    /// A sync fails from now on, or succeeds again. One that fails gives up what was to be written, as Linux does: it can be
    /// read, and a later sync knows nothing of it.
    pub fn fail_syncs(&self, fail: bool) {
        self.disk.lock().unwrap().syncs_fail = fail;
    }

    /// Every write and every change of a name fails from now on, or succeeds again: the medium is read only.
    pub fn fail_writes(&self, fail: bool) {
        self.disk.lock().unwrap().writes_fail = fail;
    }

    /// The power goes. The folder as it is found then.
    pub fn after_power_cut(&self) -> Self {
        let disk = self.disk.lock().unwrap();
        let files = disk.files.iter().map(|file| File {
            cached: file.stored.clone(),
            dirty: vec![false; file.stored.len().div_ceil(PAGE)],
            ..file.clone()
        });
        let after = Disk {
            files: files.collect(),
            names: disk.names.clone(),
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(after)),
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.disk.lock().unwrap().names.keys().cloned().collect()
    }

    fn rename_in<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, usize>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.disk.lock().unwrap();
        if disk.writes_fail {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        change(&mut disk.names)
    }
}

impl Directory for FaultyFolder {
    fn path(&self) -> &Path {
        Path::new("faulty")
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.disk.lock().unwrap();
        let names = disk.names.iter();
        Ok(names
            .map(|(name, file)| (name.clone(), disk.files[*file].cached.len() as u64))
            .collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StorageBackend>> {
        let file = if create {
            let mut disk = self.disk.lock().unwrap();
            disk.files.push(File::default());
            let file = disk.files.len() - 1;
            drop(disk);
            self.rename_in(|names| Ok(names.insert(name.to_owned(), file)))?;
            file
        } else {
            let disk = self.disk.lock().unwrap();
            *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?
        };
        Ok(Box::new(OpenFile {
            disk: Arc::clone(&self.disk),
            file,
        }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let disk = self.disk.lock().unwrap();
        let file = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = disk.files[file].cached.clone();
        if let Some((_, page)) = disk.bad.filter(|(bad, _)| *bad == file) {
            bytes[page * PAGE..]
                .iter_mut()
                .take(PAGE)
                .for_each(|byte| *byte = 0);
        }
        Ok(bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_in(|names| {
            let file = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let panics = std::mem::take(&mut self.disk.lock().unwrap().panics);
        assert!(!panics, "planted by the test");
        self.rename_in(|names| {
            names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(())
        })?;
        self.disk.lock().unwrap().is_full = false;
        Ok(())
    }

    /// Names are never lost here.
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_space(&self) -> io::Result<u64> {
        Ok(self.disk.lock().unwrap().free.unwrap_or(u64::MAX))
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: Arc<Mutex<Disk>>,
    file: usize,
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl StorageBackend for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().unwrap().files[self.file].cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.lock().unwrap();
        if disk.unreadable == Some(self.file) {
            return Err(io::Error::other("input/output error"));
        }
        let from = index(offset);
        let pages = from / PAGE..(from + out.len()).div_ceil(PAGE);
        if disk
            .bad
            .is_some_and(|(file, page)| file == self.file && pages.contains(&page))
        {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let bytes = disk.files[self.file].cached.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        if disk.writes_fail {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let file = &mut disk.files[self.file];
        file.cached.resize(index(len), 0);
        // The length is the file system's own, which it keeps in its journal.
        file.stored.resize(index(len), 0);
        let pages = index(len).div_ceil(PAGE);
        file.dirty.resize(pages, false);
        file.used.resize(pages, false);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        let fails = disk.syncs_fail;
        let file = &mut disk.files[self.file];
        for (page, dirty) in file.dirty.iter_mut().enumerate() {
            if std::mem::take(dirty) && !fails {
                let end = (page * PAGE + PAGE).min(file.cached.len());
                let bytes = &file.cached[page * PAGE..end];
                file.stored[page * PAGE..end].copy_from_slice(bytes);
            }
        }
        if fails {
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        if disk.writes_fail {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if disk.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (from, to) = (index(offset), index(offset) + data.len());
        let mut left = disk.pages.map(|pages| pages.saturating_sub(disk.used()));
        let file = &mut disk.files[self.file];
        for page in from / PAGE..to.div_ceil(PAGE) {
            if !file.used[page] {
                match &mut left {
                    Some(0) => return Err(io::ErrorKind::StorageFull.into()),
                    Some(left) => *left -= 1,
                    None => {}
                }
                file.used[page] = true;
            }
            file.dirty[page] = true;
        }
        file.cached[from..to].copy_from_slice(data);
        Ok(())
    }
}
