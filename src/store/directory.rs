//! The folder of a log as the store sees it: the seam at which tests cut the power.
//!
//! Everything that touches the medium goes through [`Directory`] and the [`Medium`]s it opens; nothing else in the store
//! names a file. Real folders are [`Folder`].

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::io::Errno;

use super::error::StoreError;

/// What a medium gives or does not.
const BLOCK_BYTES: usize = 4096;
/// What is read at once where it is good; a multiple of [`BLOCK_BYTES`].
const READ_BYTES: usize = 64 * BLOCK_BYTES;

/// A folder of flat files.
pub trait Directory: Debug + Send {
    /// Where it is, for messages.
    fn path(&self) -> &Path;

    /// Names and sizes of the files in it, in any order.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Opens a file to read and write; `create`: makes it, empty, in place of any that is there.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StorageBackend>>;

    /// All bytes of a file; where the medium does not give them, zeroes.
    ///
    /// # Errors
    /// What the file system says, unless it is that the medium is bad.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Gives a file another name, in place of any that has it. Durable after [`Self::sync`].
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Self::sync`].
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&self) -> io::Result<()>;

    /// Bytes that are free on the medium, for us.
    ///
    /// # Errors
    /// What the file system says.
    fn free_space(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// A folder of the file system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// As [`Self::create`], with an error of this room.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::create(path.to_owned()).map_err(|source| StoreError::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// As it is, there or not.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Bytes that are free on the disk of a folder.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn free_space(path: &Path) -> io::Result<u64> {
        let told = rustix::fs::statvfs(path)?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }

    /// Makes the folder if it is absent.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { path })
    }
}

impl Directory for Folder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for file in fs::read_dir(&self.path)? {
            let file = file?;
            if let (Ok(name), metadata) = (file.file_name().into_string(), file.metadata()?)
                && metadata.is_file()
            {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Box<dyn StorageBackend>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(create)
            .open(self.path.join(name))?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = File::open(self.path.join(name))?;
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        read_around_bad_blocks(length, |bytes, at| file.read_exact_at(bytes, at))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_space(&self) -> io::Result<u64> {
        Self::free_space(&self.path)
    }
}

/// Whether the medium itself is at fault: a block that cannot be read or written, or what the file system keeps about it.
pub(super) fn is_bad_medium(error: &io::Error) -> bool {
    let known = [Errno::IO, Errno::UCLEAN, Errno::BADMSG];
    Errno::from_io_error(error).is_some_and(|errno| known.contains(&errno))
}

/// Reads `length` bytes by `read`, and where the medium is bad block by block: those that it does not give are zeroes.
fn read_around_bad_blocks(
    length: usize,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    let mut all = vec![0; length];
    let mut at = 0;
    for blocks in all.chunks_mut(READ_BYTES) {
        let mut tried = read(blocks, at);
        if tried.as_ref().is_err_and(is_bad_medium) {
            tried = Ok(());
            let mut at = at;
            for block in blocks.chunks_mut(BLOCK_BYTES) {
                let mut once = || read(block, at);
                match once().or_else(|_| once()) {
                    Err(error) if is_bad_medium(&error) => block.fill(0),
                    given => given?,
                }
                at += block.len() as u64;
            }
        }
        tried?;
        at += blocks.len() as u64;
    }
    Ok(all)
}

/// What was given to the medium since the log was opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    syncs: AtomicU64,
    failed_syncs: AtomicU64,
}

impl Meter {
    pub(super) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn syncs(&self) -> u64 {
        self.counts.syncs.load(Ordering::Relaxed)
    }

    /// Syncs that failed. What was written before one may read as written and never reach the medium: the kernel gives such
    /// pages up, and a later sync succeeds without them.
    pub(super) fn failed_syncs(&self) -> u64 {
        self.counts.failed_syncs.load(Ordering::Relaxed)
    }
}

/// A file as redb gets it: what a [`Directory`] opened, with its writes and syncs counted.
#[derive(Debug)]
pub(super) struct Medium {
    inner: Box<dyn StorageBackend>,
    meter: Meter,
}

impl Medium {
    pub(super) fn new(inner: Box<dyn StorageBackend>, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

type Lock<T> = Result<T, redb::BackendError>;

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.meter.counts.syncs.fetch_add(1, Ordering::Relaxed);
        let synced = self.inner.sync_data();
        let failed = u64::from(synced.is_err());
        let counts = &self.meter.counts;
        counts.failed_syncs.fetch_add(failed, Ordering::Relaxed);
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let bytes = data.len() as u64;
        self.meter.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Lock<bool> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Lock<bool> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Lock<()> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Lock<()> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Lock<()> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Lock<bool> {
        self.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bad_medium_does_not_give_is_zeroes_and_the_rest_is_read() {
        let length = READ_BYTES * 2 + 100;
        let written: Vec<u8> = (1..=251).cycle().take(length).collect();
        let bad = [BLOCK_BYTES * 3, READ_BYTES * 2];
        let read = |bytes: &mut [u8], at: u64| {
            let at = usize::try_from(at).unwrap();
            if bad.iter().any(|bad| (at..at + bytes.len()).contains(bad)) {
                return Err(Errno::IO.into());
            }
            bytes.copy_from_slice(&written[at..at + bytes.len()]);
            Ok(())
        };
        let mut expected = written.clone();
        expected[bad[0]..bad[0] + BLOCK_BYTES].fill(0);
        expected[bad[1]..].fill(0);
        assert!(read_around_bad_blocks(length, read).unwrap() == expected);
    }

    #[test]
    fn another_error_than_of_the_medium_ends_the_read() {
        let read = |_: &mut [u8], _| Err(io::ErrorKind::PermissionDenied.into());
        let error = read_around_bad_blocks(10, read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
