//! What goes wrong in the store, and who is to blame.

use std::io;
use std::path::PathBuf;

use super::directory::is_bad_medium;

/// What went wrong in the store; the disk or the file is to blame unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file's content is not what was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How it showed.
        reason: String,
    },
    /// Written by a newer fieldgate; the file is kept as it is.
    #[error(
        "{path} has format {found}, and this program knows formats up to {known}: run the fieldgate that wrote it, or a \
         newer one; or move it away to begin with nothing kept"
    )]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this program writes.
        known: u32,
    },
    /// Another process has the files open.
    #[error("{path} is in use by another process: is fieldgate already running on this folder?")]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The files cannot be used now; the log tries again by itself.
    #[error("the backlog's files cannot be read now ({reason}); trying again by itself")]
    Unavailable {
        /// The error that put them out of use.
        reason: String,
    },
    /// More readers wait than a log serves; ours is the fault.
    #[error("too many reads wait for the backlog's thread")]
    Busy,
    /// The log was closed.
    #[error("the backlog is closed")]
    Closed,
}

impl StoreError {
    /// Whether the medium is full, so that room must be made.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }

    /// Whether the content or the blocks under it are at fault, so that trying again does not help but salvaging may: what
    /// can be read goes to a new file, and the old one stays beside it. Where the whole medium is gone that fails too.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { source, .. } => is_bad_medium(source),
            _ => false,
        }
    }
}
