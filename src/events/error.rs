//! What goes wrong with the files of events, and who is to blame.

use std::io;
use std::path::PathBuf;

/// Why events are not kept over a restart. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The disk, or the rights on it.
    #[error("{path}: {source}; events are kept in memory only until it can be written")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// By a later fieldgate: it is left as it is.
    #[error(
        "{path}: of a newer fieldgate, and left as it is; events are kept in memory only. Move the file away to have them kept"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
    },
}
