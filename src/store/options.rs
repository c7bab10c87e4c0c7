//! Options of logs.

use std::path::PathBuf;
use std::time::Duration;

/// What happens to a backlog that has no room for more: its files have their largest size, or the medium is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest messages give way to new ones; counted.
    #[default]
    DropOldest,
    /// What is there stays. [`super::Progress::is_full`] says that nothing more is to be appended until the reader has made
    /// room.
    Refuse,
}

/// How a log keeps its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Folder of its files; made if absent.
    pub dir: PathBuf,
    /// Group commit: from the first message that waits to the commit.
    pub commit_interval: Duration,
    /// QoS 1 kept in RAM this long for the upstream's acknowledgement before it is written; zero: never.
    pub hold_for_upstream: Duration,
    /// RAM that messages may take: held, waiting for a commit, or committed and soon to be sent.
    pub hold_bytes: usize,
    /// Size of all files at which the log is full. The active one is never dropped, so a little more may be used.
    pub max_bytes: u64,
    /// Age at which messages are dropped, whatever `when_full` says: nobody wants them any more.
    pub max_age: Duration,
    /// What gives way when it is full.
    pub when_full: WhenFull,
    /// Bytes that stay free on the medium: below, the log is full, and where nothing gives way, what is new is not covered.
    pub free_space_minimum: u64,
}

/// A generation is sealed at this many bytes of segments: its file then stays below redb's next doubling.
const GENERATION_BYTES: u64 = 7 << 20;
/// A small backlog is still dropped in steps of about an eighth, but not of less than this.
const GENERATION_BYTES_MIN: u64 = 128 << 10;

/// What a log for what overtakes another has at least: a few generations, so that it is not nearly full all the time. But no more
/// than half of what there is.
const LIVE_BYTES_MIN: u64 = 1 << 20;

/// How the session log keeps its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLogOptions {
    /// Folder of its files; made if absent.
    pub dir: PathBuf,
    /// Group commit: from the first message that waits to the commit.
    pub commit_interval: Duration,
    /// QoS 1 kept in RAM this long for the clients' acknowledgements before it is written; zero: never.
    pub hold: Duration,
    /// RAM that messages may take: held, waiting for a commit, or committed and soon to be sent.
    pub hold_bytes: usize,
    /// Size of all files at which the oldest is dropped. The active one is never dropped, so a little more may be used.
    pub queued_bytes_total: u64,
    /// As [`LogOptions::free_space_minimum`].
    pub free_space_minimum: u64,
}

impl SessionLogOptions {
    /// Bytes of segments at which a generation is sealed.
    pub(super) fn generation_bytes(&self) -> u64 {
        generation_bytes(self.queued_bytes_total)
    }

    /// The defaults of the configuration, for a log in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            commit_interval: Duration::from_millis(100),
            hold: Duration::from_millis(500),
            hold_bytes: 4 << 20,
            queued_bytes_total: 256 << 20,
            free_space_minimum: 64 << 20,
        }
    }
}

fn generation_bytes(of: u64) -> u64 {
    (of / 8).clamp(GENERATION_BYTES_MIN, GENERATION_BYTES)
}

impl LogOptions {
    /// Shared out between a log and another in a folder of its own within, for what overtakes it. Together they keep to these
    /// limits. That one only ever holds the newest, so most is for the log itself, and that gives way first.
    #[must_use]
    pub fn with_live_lane(self) -> (Self, Self) {
        let share = (self.max_bytes / 8).max(LIVE_BYTES_MIN);
        let live = Self {
            dir: self.live_dir(),
            hold_bytes: self.hold_bytes / 2,
            max_bytes: share.min(self.max_bytes / 2),
            ..self
        };
        let rest = Self {
            hold_bytes: self.hold_bytes - live.hold_bytes,
            max_bytes: self.max_bytes - live.max_bytes,
            ..self
        };
        (rest, live)
    }

    /// Where the log for what overtakes this one is, if there is one.
    #[must_use]
    pub fn live_dir(&self) -> PathBuf {
        self.dir.join("live")
    }

    /// Bytes of segments at which a generation is sealed.
    pub(super) fn generation_bytes(&self) -> u64 {
        generation_bytes(self.max_bytes)
    }

    /// The defaults of the configuration, for a log in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            commit_interval: Duration::from_millis(100),
            hold_for_upstream: Duration::from_millis(500),
            hold_bytes: 4 << 20,
            max_bytes: 2 << 30,
            max_age: Duration::from_secs(30 * 24 * 3600),
            when_full: WhenFull::DropOldest,
            free_space_minimum: 64 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_lane_has_an_eighth_and_enough_and_both_keep_to_the_limits() {
        const MIB: u64 = 1 << 20;
        for (max_bytes, expected) in [(MIB, MIB / 2), (4 * MIB, MIB), (800 * MIB, 100 * MIB)] {
            let options = LogOptions {
                max_bytes,
                hold_bytes: 1001,
                ..LogOptions::new("cloud".into())
            };
            let (rest, live) = options.clone().with_live_lane();
            assert_eq!(live.max_bytes, expected);
            assert_eq!(rest.max_bytes + live.max_bytes, max_bytes);
            assert_eq!(rest.hold_bytes + live.hold_bytes, 1001);
            assert_eq!(live.dir, PathBuf::from("cloud/live"));
            assert_eq!(rest.dir, options.dir);
        }
    }
}
