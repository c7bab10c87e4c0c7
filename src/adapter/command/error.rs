//! Why a command was not carried out.

use crate::adapter::reason::Reason;
use crate::value::Unwritable;

/// Why a command was not carried out, or whether it was is not known. The text is the error in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It came with RETAIN set: it may be the memory of a command.
    #[error("retained")]
    Retained,
    /// It came with DUP set: the same may have been carried out when it first came.
    #[error("sent_again")]
    SentAgain,
    /// Older than its `max_age`, or its age is not known where it has to be.
    #[error("expired")]
    Expired,
    /// The device has no such tag, group or command.
    #[error("unknown")]
    Unknown,
    /// The tag is not to be written.
    #[error("read_only")]
    ReadOnly,
    /// Not what the tag holds.
    #[error("bad_value")]
    BadValue,
    /// Beyond the limits of the tag or of its registers.
    #[error("out_of_range")]
    OutOfRange,
    /// Too many commands wait for the wire.
    #[error("busy")]
    Busy,
    /// The device is silent, or there is no way to it.
    #[error("offline")]
    Offline,
    /// It was written, and reads as something else.
    #[error("verify_failed")]
    VerifyFailed,
    /// It was written and confirmed, and cannot be read back.
    #[error("unverified")]
    Unverified,
    /// The instrument gave other answers than the expected one.
    #[error("unexpected_reply")]
    UnexpectedReply,
    /// The device refused it (`exception_NN`), or nothing usable came back: then it may have been carried out.
    #[error("{0}")]
    Failed(Reason),
}

impl CommandError {
    /// Whether it may have been carried out all the same.
    pub(crate) fn leaves_in_doubt(self) -> bool {
        matches!(self, Self::Failed(reason) if reason.leaves_in_doubt())
    }
}

impl From<Unwritable> for CommandError {
    fn from(error: Unwritable) -> Self {
        match error {
            Unwritable::BadValue => Self::BadValue,
            Unwritable::OutOfRange => Self::OutOfRange,
        }
    }
}

#[cfg(test)]
impl CommandError {
    /// All that have a word of their own, in the order of the page of topics.
    pub(super) const NAMED: [Self; 12] = [
        Self::Unknown,
        Self::ReadOnly,
        Self::BadValue,
        Self::OutOfRange,
        Self::Retained,
        Self::SentAgain,
        Self::Expired,
        Self::Busy,
        Self::Offline,
        Self::VerifyFailed,
        Self::Unverified,
        Self::UnexpectedReply,
    ];
}
