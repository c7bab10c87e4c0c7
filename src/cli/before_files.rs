//! Reading a configuration before all is there that it names: the first user is added before there is a users file, and a
//! certificate is asked for before there is one.

use std::io;
use std::path::{Path, PathBuf};

use super::installed::Surroundings;
use crate::config::Environment;

/// This machine as if every file that the configuration names were there.
#[derive(Clone, Debug, Default)]
pub(super) struct BeforeFiles(pub(super) Surroundings);

impl Environment for BeforeFiles {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.variable(name)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        self.0.read(path, bytes_max)
    }

    fn yaml_files(&self, folder: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
        self.0.yaml_files(folder, most)
    }

    fn is_file(&self, _: &Path) -> bool {
        true
    }

    fn host_name(&self) -> Option<String> {
        self.0.host_name()
    }
}
