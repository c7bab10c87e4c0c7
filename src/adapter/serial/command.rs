//! What an instrument is told to do, and what becomes of it.

use tokio::sync::oneshot;

/// Something to do.
#[derive(Debug)]
pub struct Command {
    /// Which of the options.
    pub name: String,
    /// What became of it.
    pub answer: oneshot::Sender<Result<(), CommandError>>,
}

/// Why a command failed. The text is the error in payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such command.
    #[error("unknown_command")]
    Unknown,
    /// The instrument is silent, or there is no port.
    #[error("offline")]
    Offline,
    /// No answer in time.
    #[error("timeout")]
    Timeout,
    /// Only other answers than the expected one.
    #[error("unexpected_reply")]
    UnexpectedReply,
}
