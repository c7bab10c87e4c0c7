//! The folder of a log, the names in it, and the guard around every call into redb.

use std::io;
use std::panic::{self, AssertUnwindSafe};

use super::super::directory::{Directory, Medium, Meter};
use super::super::error::StoreError;

/// The folder, and what every file in it is opened with.
#[derive(Debug)]
pub(in crate::store) struct Place {
    pub(in crate::store) directory: Box<dyn Directory>,
    pub(in crate::store) meter: Meter,
}

/// Its file's name.
pub(in crate::store) fn file_name(number: u64) -> String {
    format!("q-{number:08}.redb")
}

/// The number in a file's name.
pub(in crate::store) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("q-")?.strip_suffix(".redb")?;
    digits.parse().ok()
}

impl Place {
    pub(in crate::store) fn io(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Io {
            path: self.directory.path().join(name),
            source,
        }
    }

    pub(in crate::store) fn damaged(&self, name: &str, reason: impl ToString) -> StoreError {
        StoreError::Damaged {
            path: self.directory.path().join(name),
            reason: reason.to_string(),
        }
    }

    /// Numbers and sizes of the generations that are there, lowest number first.
    pub(in crate::store) fn generations(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        let files = self.directory.list();
        let files = files.map_err(|error| self.io("", error))?;
        let files = files.iter();
        let mut found: Vec<_> = files
            .filter_map(|(name, bytes)| Some((number_of(name)?, *bytes)))
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Size of a file; 0 if it is not there.
    pub(in crate::store) fn size(&self, name: &str) -> Result<u64, StoreError> {
        let files = self.directory.list();
        let files = files.map_err(|error| self.io(name, error))?;
        let file = files.iter().find(|(file, _)| file == name);
        Ok(file.map_or(0, |(_, bytes)| *bytes))
    }

    /// Removes the file of a sealed generation. Not made durable: one that comes back is removed again.
    pub(in crate::store) fn unlink(&self, number: u64) -> Result<(), StoreError> {
        let name = file_name(number);
        match self.directory.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io(&name, error)),
            _ => Ok(()),
        }
    }

    pub(in crate::store) fn medium(&self, name: &str, create: bool) -> Result<Medium, StoreError> {
        let backend = self.directory.open(name, create);
        let backend = backend.map_err(|error| self.io(name, error))?;
        Ok(Medium::new(backend, self.meter.clone()))
    }

    /// Calls into redb; sorts what goes wrong, panics included.
    pub(in crate::store) fn guard<T>(
        &self,
        name: &str,
        call: impl FnOnce() -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        match panic::catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.sort(name, error)),
            Err(payload) => Err(self.damaged(name, panic_text(payload.as_ref()))),
        }
    }

    fn sort(&self, name: &str, error: redb::Error) -> StoreError {
        let path = self.directory.path().join(name);
        match error {
            redb::Error::Io(source) => match source.kind() {
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                    self.damaged(name, source)
                }
                _ => StoreError::Io { path, source },
            },
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path },
            redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::TransactionInProgress => StoreError::Io {
                path,
                source: io::Error::other(error),
            },
            other => self.damaged(name, other),
        }
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("redb panicked: {}", text.unwrap_or("no text"))
}
