//! A folder of a log that is only looked at: whatever the store writes stays in RAM and is forgotten.
//!
//! So a log can be read as the next start would find it, repaired and salvaged where that is due, and no file of it is
//! touched: not its content, not its owner. RAM: the files that are open, about 16 MiB each.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::directory::{Directory, Folder};

/// See the head of this file.
#[derive(Debug)]
pub(super) struct View {
    folder: Folder,
    /// What differs from the folder: files that were opened or made, and names that are gone.
    own: Mutex<BTreeMap<String, Option<Copy>>>,
}

impl View {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            folder: Folder::at(path),
            own: Mutex::default(),
        }
    }

    fn own(&self) -> MutexGuard<'_, BTreeMap<String, Option<Copy>>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file as it is here.
    fn copy(&self, name: &str) -> io::Result<Copy> {
        match self.own().get(name) {
            Some(Some(copy)) => Ok(copy.clone()),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            None => Copy::of(&self.folder.read(name)?),
        }
    }
}

impl Directory for View {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files: BTreeMap<_, _> = self.folder.list()?.into_iter().collect();
        for (name, copy) in self.own().iter() {
            match copy {
                Some(copy) => files.insert(name.clone(), copy.len()?),
                None => files.remove(name),
            };
        }
        Ok(files.into_iter().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StorageBackend>> {
        if !create && !self.own().contains_key(name) {
            // Not kept here: of the sealed files one at a time is open, and none of them is changed.
            return Ok(Box::new(self.copy(name)?));
        }
        let copy = if create {
            Copy::of(&[])?
        } else {
            self.copy(name)?
        };
        self.own().insert(name.to_owned(), Some(copy.clone()));
        Ok(Box::new(copy))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let copy = self.copy(name)?;
        let length = usize::try_from(copy.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        copy.read(0, &mut bytes)?;
        Ok(bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let copy = self.copy(from)?;
        let mut own = self.own();
        own.insert(to.to_owned(), Some(copy));
        own.insert(from.to_owned(), None);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.own().insert(name.to_owned(), None);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file in RAM; clones are the same file.
#[derive(Clone, Debug)]
struct Copy(Arc<InMemoryBackend>);

impl Copy {
    fn of(bytes: &[u8]) -> io::Result<Self> {
        let file = InMemoryBackend::new();
        file.set_len(bytes.len() as u64)?;
        file.write(0, bytes)?;
        Ok(Self(Arc::new(file)))
    }
}

impl StorageBackend for Copy {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
