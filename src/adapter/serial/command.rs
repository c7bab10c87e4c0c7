//! What an instrument is told to do, and what becomes of it.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::adapter::command::CommandError;

/// Something to do.
#[derive(Debug)]
pub struct Command {
    /// Which of the options.
    pub name: String,
    /// Then it is too old.
    pub until: Instant,
    /// What became of it.
    pub answer: oneshot::Sender<Result<(), CommandError>>,
}
