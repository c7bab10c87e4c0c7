//! A process that is measured: what it takes of CPU and RAM, by /proc.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Of the kernel's times in /proc; it is the same on all that fieldgate is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// It runs until this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().unwrap())
    }

    /// `fieldgate run` with this configuration, which is written into `folder`.
    pub fn fieldgate(folder: &Path, config: &str) -> Self {
        let file = folder.join("config.yaml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
        Self::start(command.args(["run", "-c"]).arg(file))
    }

    /// Seconds of CPU since it began.
    pub fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(self.file("stat")).unwrap();
        // The name before may have blanks; then utime and stime are 11 fields further.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let times = fields.split_whitespace().skip(11).take(2);
        times
            .map(|ticks| ticks.parse::<f64>().unwrap())
            .sum::<f64>()
            / TICKS_PER_SECOND
    }

    /// Resident, in MB.
    pub fn rss(&self) -> f64 {
        let status = fs::read_to_string(self.file("status")).unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024.0 / 1e6
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
