//! SQLite, in a program of its own (`benches/sqlite`) that is built when it is wanted: no dependency of fieldgate has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::meter::{Cost, Written};

pub struct Sqlite {
    program: PathBuf,
}

impl Sqlite {
    /// `None`, said in a line, where it cannot be built (no C compiler, no network the first time).
    pub fn build() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = root.join("target/sqlite");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--manifest-path"])
            .arg(root.join("benches/sqlite/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            // As distributions build it: else it syncs with fsync, which writes the file's times too.
            .env("LIBSQLITE3_FLAGS", "-DHAVE_FDATASYNC=1")
            .status();
        if built.is_ok_and(|status| status.success()) {
            return Some(Self {
                program: target.join("release/sqlite-appends"),
            });
        }
        println!("SQLite is left out: benches/sqlite cannot be built here");
        None
    }

    pub fn fill(&self, folder: &Path, per_commit: u64, commits: u64) -> Cost {
        let answer = Command::new(&self.program)
            .arg(folder.join("sqlite"))
            .args([per_commit.to_string(), commits.to_string()])
            .output()
            .unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        let error = String::from_utf8_lossy(&answer.stderr);
        assert!(answer.status.success(), "benches/sqlite: {error}");
        let figures: Vec<f64> = text
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        let [seconds, given, pages, syncs] = figures[..] else {
            panic!("benches/sqlite said {text}");
        };
        let written = Written {
            given: given as u64,
            pages: pages as u64,
        };
        Cost::new(per_commit * commits, seconds, written, syncs as u64)
    }
}
