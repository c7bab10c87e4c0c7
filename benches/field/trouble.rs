//! What else the gateway has to do, or suffers, while it reads devices.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fieldgate::clock;

/// What the disk is made to sync at a time.
const BLOCK: usize = 8 << 20;
/// The file that is written goes no further.
const BLOCKS: usize = 16;

/// Clients that publish and receive as fast as the broker lets them: `benches/loadgen`.
#[derive(Debug)]
pub struct Flood(Child);

impl Flood {
    /// Builds the generator.
    pub fn program() -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = root.join("target/loadgen");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--manifest-path"])
            .arg(root.join("benches/loadgen/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .status();
        assert!(built.unwrap().success());
        target.join("release/loadgen")
    }

    pub fn start(program: &Path, port: u16, time: Duration) -> Self {
        let mut command = Command::new(program);
        command.args("pairs --pairs 50 --qos 0 --window 50 --size 64".split(' '));
        command.args(["--port", &port.to_string()]);
        command.args(["--secs", &time.as_secs().to_string()]);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until its time is over; messages a second.
    pub fn end(self) -> f64 {
        let said = self.0.wait_with_output().unwrap().stdout;
        let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
        said["msgs_s"].as_f64().unwrap()
    }
}

/// A thread that writes to a disk and syncs, again and again.
#[derive(Debug)]
pub struct BusyDisk {
    ends: Arc<AtomicBool>,
    /// How long its syncs took.
    thread: JoinHandle<Vec<Duration>>,
}

impl BusyDisk {
    pub fn start(folder: &Path) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let mut file = File::create(folder.join("busy")).unwrap();
        let thread = thread::spawn({
            let ends = Arc::clone(&ends);
            move || {
                let block = vec![0x5a; BLOCK];
                let mut syncs = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    if syncs.len().is_multiple_of(BLOCKS) {
                        file.rewind().unwrap();
                    }
                    file.write_all(&block).unwrap();
                    let began = clock::now();
                    file.sync_data().unwrap();
                    syncs.push(clock::now().duration_since(began));
                }
                syncs
            }
        });
        Self { ends, thread }
    }

    /// Median and longest of its syncs.
    pub fn end(self) -> (Duration, Duration) {
        self.ends.store(true, Ordering::Relaxed);
        let mut syncs = self.thread.join().unwrap();
        syncs.sort();
        (syncs[syncs.len() / 2], syncs[syncs.len() - 1])
    }
}
