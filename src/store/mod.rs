//! The store: what must outlive a power cut. A [`Log`] is the backlog of a bridge; the [`SessionLog`] holds what client
//! sessions want. Both are generation files of segments in redb, with a writer thread and group commit.
//!
//! ```text
//! q-00000016.redb      sealed: read only, unlinked when nothing in it is wanted
//! q-00000017.redb      active: the highest number; new segments, all small rows, summaries of the sealed ones
//! *.tmp, *.bad-SECONDS being made; damaged and put aside
//! ```
//!
//! A handle is a mutex around a core (`core`, `sessions`), which decides everything and does no I/O. What both cores share
//! is what waits for a commit (`front`) and what they say to the thread (`keeper`). The thread in `writer` owns the files,
//! each a generation, whose rows are `segment`s (of `record`s) and small rows: a `position`, marks, sessions.
//!
//! It never acknowledges: it says how far it is ([`Progress`]) and others draw the consequences. It never deletes a message
//! from a redb file, never compacts one, and never drops a message without counting it.
//!
//! Invariants: one appender a log; only the writer thread opens a write transaction; no lock is held across a file
//! operation or an await; no (epoch, position) is used twice; what a newer program wrote is refused and kept.

mod core;
mod directory;
mod error;
mod framed;
mod front;
mod gap;
mod handle;
mod keeper;
mod ledger;
mod log;
mod marks;
mod options;
mod pace;
mod position;
#[cfg(test)]
mod power_cut;
mod ranges;
mod reading;
mod record;
mod segment;
mod session_log;
mod sessions;
mod shared;
mod state;
mod tail;
#[cfg(test)]
mod testing;
mod varint;
mod view;
mod wanted;
mod writer;

pub use directory::{Directory, Folder};
pub use error::StoreError;
pub use gap::{Gap, GapReason};
pub use log::Log;
pub use options::{LogOptions, SessionLogOptions, WhenFull};
pub use session_log::SessionLog;
pub use state::{Restored, RestoredRetained, RestoredSession, State, StateOptions, StateStats};
pub use tail::message_bytes;
pub use wanted::{
    Mark, SessionEntry, SessionNumber, SessionStanding, StateChange, StoredPresence, StoredSession,
    StoredSubscription, Want,
};

use crate::clock::WallTime;
use crate::metrics::Histogram;
use crate::mqtt::Message;

/// Longest name of a session, in bytes; see [`Log::keep_session`].
pub const SESSION_NAME_MAX: usize = 512;
/// The same with its note.
pub const SESSION_TEXT_MAX: usize = 8 << 10;

/// A bridge has a QoS 2 message under way only while it is less than this above [`Progress::cursor`]: its packet id is decided by
/// its position, and ids come round. Half of those that messages have, since a bridge may have two logs.
pub const REACH: u64 = 32_500;

/// Position of a message in one log. Counts from 1; 0 is "before the first". Never used twice within an [`Entry::epoch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Number of a commit, counted from 1 since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitNumber(pub u64);

/// What is appended: the message as it will be sent (topic already mapped, QoS already capped), and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// QoS 0 is kept in RAM only.
    pub message: Message,
    /// When the gateway took it.
    pub stamped: WallTime,
}

/// What is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub seq: Seq,
    /// The start of the program in which it was appended.
    pub epoch: u32,
    /// What.
    pub record: Record,
    /// QoS 2: the upstream's PUBREC is committed; what remains to be sent is PUBREL.
    pub received: bool,
    /// Appended before this start of the program, so it may have been sent before.
    pub maybe_sent: bool,
}

/// How far a log is. Published on every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Highest position handed out.
    pub appended: Seq,
    /// Every message up to here is on stable storage or done: its acknowledgement may go out (P1).
    pub covered: Seq,
    /// Every message up to here that is not done is on stable storage: a QoS 2 message may be sent (section 4).
    pub committed: Seq,
    /// Every message up to here is done, and would be after a crash: a bridge sends a QoS 2 message only while it is less
    /// than [`REACH`] above.
    pub cursor: Seq,
    /// The last commit that succeeded.
    pub commits: CommitNumber,
    /// A message that is appended now leaves soon: the link is up, nothing waits for longer than 5 s, and the log is far from
    /// full. Of a bridge's log.
    pub is_prompt: bool,
    /// Messages dropped by a declared policy since the start; in the session log once for each session that wanted one.
    pub dropped: u64,
    /// Nothing more is to be appended: there is no room, and what is there must not give way ([`WhenFull::Refuse`]).
    pub is_full: bool,
    /// A hole in the log that the upstream is to be told of, as every later start will tell it; the next one follows once
    /// that was said to be done ([`Log::gap_told`]).
    pub gap: Option<Gap>,
}

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Messages that are gone.
    pub purged: u64,
    /// Messages as old that stay: on their way, or at QoS 2 and perhaps known to the upstream.
    pub kept: u64,
    /// The commit that makes it last.
    pub commit: CommitNumber,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream has it.
    Delivered,
    /// Dropped by a declared policy; counted.
    Dropped,
    /// The upstream refuses it for good, and the dead-letter has it.
    DeadLettered,
}

/// Figures of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Messages not done.
    pub messages: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Stamp of the oldest one.
    pub oldest: Option<WallTime>,
    /// Size of all files.
    pub file_bytes: u64,
    /// The size at which it is full.
    pub file_bytes_max: u64,
    /// Highest position handed out: grows by one with each message.
    pub appended: u64,
    /// Dropped by a declared policy since the start.
    pub dropped: u64,
    /// As many of them were purged.
    pub purged: u64,
    /// Not taken, because the log was full, and left to a publisher who knows it.
    pub refused: u64,
    /// Nothing more is taken now: see [`Progress::is_full`].
    pub is_full: bool,
    /// Stored messages that could not be read back because of damage; each was reported.
    pub lost: u64,
    /// Commits since the start, by how long they took, with their syncs.
    pub commits: Histogram,
    /// Syncs of the medium since the start.
    pub syncs: u64,
    /// Bytes given to the medium since the start.
    pub bytes_written: u64,
}

/// Whether a message may be held in RAM for the upstream's acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkHealth {
    /// Down, or slower than the hold: write at once.
    #[default]
    Down,
    /// Up.
    Up,
}
