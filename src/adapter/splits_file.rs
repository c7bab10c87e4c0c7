//! Which requests a device refuses as a whole, kept over restarts: a small JSON file for each connection, so that a device
//! need not be found out again, with exceptions for a while, each time the gateway starts.
//!
//! Invariants: a file that is damaged, of another version or of another configuration costs nothing but finding out again;
//! it is replaced as a whole; it is written when something changed, and at most once in [`SPACING`], for the sake of the
//! medium. What is older than [`FORGOTTEN_AFTER`] is found out again: a device may have new firmware.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::split::Cut;
use crate::clock::WallTime;

const VERSION: u32 = 1;
const SPACING: Duration = Duration::from_secs(600);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 86_400);
/// A file of ours is never so long.
const BYTES_MAX: u64 = 1 << 20;

/// A request of this device's group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Split {
    pub(super) device: String,
    pub(super) group: String,
    #[serde(flatten)]
    pub(super) cut: Cut,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    /// When the oldest of them was found out, in ms since 1970.
    since: u64,
    splits: Vec<Split>,
}

/// The file of one connection.
#[derive(Debug)]
pub(super) struct SplitsFile {
    path: Option<PathBuf>,
    /// What is in it.
    splits: Vec<Split>,
    since: Option<WallTime>,
    write_after: Option<Instant>,
}

impl SplitsFile {
    /// `None`: nothing is kept.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            splits: Vec::new(),
            since: None,
            write_after: None,
        }
    }

    /// What is known.
    pub(super) async fn read(&mut self, now: WallTime) -> Vec<Split> {
        let Some(path) = self.path.clone() else {
            return Vec::new();
        };
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let Some(content) = read.ok().flatten() else {
            return Vec::new();
        };
        let age = Duration::from_millis(now.0.saturating_sub(content.since));
        if content.version != VERSION || age > FORGOTTEN_AFTER {
            return Vec::new();
        }
        self.since = Some(WallTime(content.since));
        self.splits.clone_from(&content.splits);
        content.splits
    }

    /// Writes what is known now, where that is news. Does not wait for the medium. False: the last time is not long ago.
    pub(super) fn keep(
        &mut self,
        splits: impl FnOnce() -> Vec<Split>,
        now: Instant,
        at: WallTime,
    ) -> bool {
        if self.write_after.is_some_and(|after| now < after) {
            return false;
        }
        self.write_after = Some(now + SPACING);
        let splits = splits();
        let Some(path) = self.path.clone().filter(|_| splits != self.splits) else {
            return true;
        };
        self.splits.clone_from(&splits);
        let content = Content {
            version: VERSION,
            since: self.since.get_or_insert(at).0,
            splits,
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&path, &content) {
                tracing::warn!(file = %path.display(), %error, "what devices refuse cannot be kept over a restart");
            }
        });
        true
    }
}

fn read(path: &Path) -> Option<Content> {
    let length = fs::metadata(path).ok()?.len();
    if length > BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, content: &Content) -> io::Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(folder)?;
    let next = path.with_extension("new");
    let mut file = File::create(&next)?;
    file.write_all(&serde_json::to_vec(content)?)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: WallTime = WallTime(1_800_000_000_000);

    fn split() -> Split {
        Split {
            device: "meter".to_owned(),
            group: "power".to_owned(),
            cut: Cut {
                function: 3,
                address: 0,
                quantity: 20,
                parts: vec![0, 8],
            },
        }
    }

    async fn read_at(path: &Path, at: WallTime) -> Vec<Split> {
        SplitsFile::new(Some(path.to_owned())).read(at).await
    }

    #[tokio::test]
    async fn what_is_kept_is_read_until_it_is_forgotten_and_damage_costs_nothing() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("splits").join("line.json");
        assert_eq!(read_at(&path, AT).await, []);
        let content = Content {
            version: VERSION,
            since: AT.0,
            splits: vec![split()],
        };
        write(&path, &content).unwrap();
        assert_eq!(read_at(&path, AT).await, [split()]);
        let later = WallTime(AT.0 + 31 * 86_400_000);
        assert_eq!(read_at(&path, later).await, []);
        for damaged in [
            &b"{\"version\":1,\"spl"[..],
            b"{\"version\":2,\"since\":1800000000000,\"splits\":[]}",
            b"",
        ] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(read_at(&path, AT).await, []);
        }
    }

    #[tokio::test]
    async fn it_is_written_for_news_only_and_not_often() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut file = SplitsFile::new(Some(folder.path().join("line.json")));
        let now = crate::clock::now();
        let mut asked = 0;
        for seconds in [0, 1, 599, 600, 700] {
            let splits = || {
                asked += 1;
                Vec::new()
            };
            let kept = file.keep(splits, now + Duration::from_secs(seconds), AT);
            assert_eq!(kept, seconds % 600 == 0);
        }
        assert_eq!(asked, 2, "at once, and after the spacing");
        assert!(!folder.path().join("line.json").exists(), "no news");
    }
}
