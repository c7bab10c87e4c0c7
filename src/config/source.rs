//! The texts that a configuration was read from, so that it can be read again when the files are not what they were.
//!
//! Only YAML is in it: the file, `conf.d` and `templates`. What `${env:...}`, `${file:...}` and `${cred:...}` stand for, and
//! what is in the files that are named (keys, users), is read anew each time and never kept here.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::environment::{Environment, System};

/// The texts of one configuration. May hold passwords, where somebody wrote one into the YAML.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file itself.
    pub file: PathBuf,
    /// Its text.
    pub(super) text: String,
    /// Folders that were looked into, and what was there.
    folders: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// What was read of that.
    texts: BTreeMap<PathBuf, String>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Source")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The machine, and a note of the YAML that is read from it.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    folders: RefCell<BTreeMap<PathBuf, Vec<PathBuf>>>,
    texts: RefCell<BTreeMap<PathBuf, String>>,
    listed: RefCell<BTreeSet<PathBuf>>,
}

impl Recorder {
    pub(super) fn into_source(self, file: &Path, text: String) -> Source {
        Source {
            file: file.to_owned(),
            text,
            folders: self.folders.into_inner(),
            texts: self.texts.into_inner(),
        }
    }
}

impl Environment for Recorder {
    fn variable(&self, name: &str) -> Option<String> {
        System.variable(name)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        let text = System.read(path, bytes_max)?;
        if self.listed.borrow().contains(path) {
            let mut texts = self.texts.borrow_mut();
            texts.insert(path.to_owned(), text.clone());
        }
        Ok(text)
    }

    fn yaml_files(&self, folder: &Path, most: usize) -> io::Result<Vec<PathBuf>> {
        let files = System.yaml_files(folder, most)?;
        self.listed.borrow_mut().extend(files.iter().cloned());
        let mut folders = self.folders.borrow_mut();
        folders.insert(folder.to_owned(), files.clone());
        Ok(files)
    }

    fn is_file(&self, path: &Path) -> bool {
        System.is_file(path)
    }

    fn host_name(&self) -> Option<String> {
        System.host_name()
    }
}

/// The YAML as it was, all else as it is.
impl Environment for Source {
    fn variable(&self, name: &str) -> Option<String> {
        System.variable(name)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        match self.texts.get(path) {
            Some(text) => Ok(text.clone()),
            None => System.read(path, bytes_max),
        }
    }

    fn yaml_files(&self, folder: &Path, _: usize) -> io::Result<Vec<PathBuf>> {
        Ok(self.folders.get(folder).cloned().unwrap_or_default())
    }

    fn is_file(&self, path: &Path) -> bool {
        self.texts.contains_key(path) || System.is_file(path)
    }

    fn host_name(&self) -> Option<String> {
        System.host_name()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::NamedFiles::{MayLack, MustBeThere};
    use super::super::{Code, load_with_source, read_again};
    use super::*;

    #[test]
    fn what_was_read_once_is_read_again_whatever_has_become_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["conf.d", "templates"] {
            fs::create_dir(path(name)).unwrap();
        }
        let main =
            "gateway: { id: '${file:id}' }\nconnections: [{ name: a, modbus_tcp: { host: h } }]\n";
        fs::write(path("site.yaml"), main).unwrap();
        fs::write(path("id"), "press").unwrap();
        let template = "templates: { meter: { groups: [{ name: g, tags: [{ name: t, register: holding, address: 0, type: uint16 }] }] } }\n";
        fs::write(path("templates/m.yaml"), template).unwrap();
        let devices = "devices: [{ name: d, connection: a, unit_id: 1, template: meter }]\n";
        fs::write(path("conf.d/1.yaml"), devices).unwrap();
        let (loaded, source) = load_with_source(&path("site.yaml"), MustBeThere).unwrap();
        assert_eq!(loaded.config.connections[0].devices.len(), 1);
        let kept = serde_json::to_string(&source).unwrap();
        assert!(
            !kept.contains("press"),
            "what a reference stands for is not kept"
        );

        for name in ["site.yaml", "conf.d/1.yaml", "templates/m.yaml"] {
            fs::write(path(name), "]").unwrap();
        }
        fs::write(path("conf.d/2.yaml"), "]").unwrap();
        load_with_source(&path("site.yaml"), MustBeThere).unwrap_err();
        let source: Source = serde_json::from_str(&kept).unwrap();
        assert_eq!(
            read_again(&source, MustBeThere).unwrap().config,
            loaded.config
        );
    }

    #[test]
    fn a_named_file_that_is_not_there_is_a_fault_unless_whoever_reads_it_is_to_find_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site.yaml");
        fs::write(&file, "broker: { users_file: users }\n").unwrap();
        let faults = load_with_source(&file, MustBeThere).unwrap_err();
        assert_eq!(faults.list[0].code, Code::MissingFile);
        let (loaded, source) = load_with_source(&file, MayLack).unwrap();
        assert_eq!(loaded.config.users_file, Some(folder.path().join("users")));
        read_again(&source, MustBeThere).unwrap_err();
        assert_eq!(read_again(&source, MayLack).unwrap(), loaded);
    }
}
