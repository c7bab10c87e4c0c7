//! Surroundings made of a few names, and short ways to read a text.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fieldgate::config::{self, Environment, Faults, Loaded};
use tempfile::TempDir;

/// Files and variables that a test says there are.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) variables: BTreeMap<&'static str, &'static str>,
    pub(crate) texts: BTreeMap<&'static str, &'static str>,
    pub(crate) missing: Vec<&'static str>,
}

impl Environment for Surroundings {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|text| (*text).to_owned())
    }

    fn read(&self, path: &Path, _: u64) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.texts.get(path));
        text.map(|text| (*text).to_owned())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn yaml_files(&self, folder: &Path, _: usize) -> io::Result<Vec<PathBuf>> {
        let files = self.texts.keys().map(PathBuf::from);
        Ok(files.filter(|file| file.parent() == Some(folder)).collect())
    }

    fn is_file(&self, path: &Path) -> bool {
        !self
            .missing
            .iter()
            .any(|missing| Path::new(missing) == path)
    }

    fn host_name(&self) -> Option<String> {
        Some("box7\n".to_owned())
    }
}

/// Reads `text` where every file is there and no variable set.
pub(crate) fn read(text: &str) -> Result<Loaded, Faults> {
    read_in(text, &Surroundings::default())
}

pub(crate) fn read_in(text: &str, surroundings: &Surroundings) -> Result<Loaded, Faults> {
    config::parse(text, Path::new("fieldgate.yaml"), surroundings)
}

/// The faults of `text`, one line each: `LINE:COLUMN CODE PATH: MESSAGE (REMEDY)`.
pub(crate) fn faults(text: &str) -> Vec<String> {
    faults_in(text, &Surroundings::default())
}

pub(crate) fn faults_in(text: &str, surroundings: &Surroundings) -> Vec<String> {
    let list = match read_in(text, surroundings) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => faults.list,
    };
    list.into_iter()
        .map(|fault| {
            let (line, column, code) = (fault.line, fault.column, fault.code);
            format!(
                "{line}:{column} {code} {}: {} ({})",
                fault.path, fault.message, fault.remedy
            )
        })
        .collect()
}

/// Files in a folder of their own.
pub(crate) fn folder_of(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    folder
}

/// The faults of the `fieldgate.yaml` in a folder, their first lines as they are printed, without the folder.
pub(crate) fn faults_in_folder(folder: &Path) -> Vec<String> {
    let list = match config::load(&folder.join("fieldgate.yaml")) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => faults.list,
    };
    let within = format!("{}/", folder.display());
    list.into_iter()
        .map(|fault| {
            let told = fault.to_string().replace(&within, "");
            told.lines().next().unwrap().to_owned()
        })
        .collect()
}

/// The faults of files in a folder of their own, their first lines as they are printed.
pub(crate) fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
    faults_in_folder(folder_of(files).path())
}
