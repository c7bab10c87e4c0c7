//! What reading needs and makes: the surroundings of the file, and the list that faults are noted in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::document::{self, Allowance, Document};
use super::environment::Environment;
use super::error::{Code, Fault, Severity};
use super::excerpt::quoted;
use super::locate::Spot;
use super::origins::Origins;
use super::place::Place;
use super::substitute::{self, Secrets};
use super::{FILE_BYTES_MAX, placed, wording};

/// A fault whose line and column are not known yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Noted {
    pub(super) place: Place,
    pub(super) spot: Spot,
    pub(super) code: Code,
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) remedy: String,
    /// Where what is given twice was given first.
    pub(super) first: Option<(Place, Spot)>,
}

/// What reading needs and makes: the surroundings of the file and the faults so far.
pub(super) struct Context<'a> {
    pub(super) environment: &'a dyn Environment,
    /// The folder of the file itself.
    pub(super) folder: PathBuf,
    /// Which parts of the whole come from other files.
    pub(super) origins: Origins,
    allowance: Allowance,
    secrets: Secrets,
    noted: BTreeSet<Noted>,
    others: Others,
    /// The range of each key that was looked at, by section and key: what the schema says is what is checked.
    #[cfg(test)]
    pub(super) ranges: BTreeMap<(&'static str, String), (String, String)>,
}

/// Files that belong to the configuration, beside the file itself.
#[derive(Default)]
pub(super) struct Others {
    /// The texts of those that were read.
    pub(super) texts: BTreeMap<Rc<Path>, String>,
    /// What is wrong with those that could not be.
    pub(super) faults: Vec<Fault>,
}

impl<'a> Context<'a> {
    pub(super) fn new(environment: &'a dyn Environment, folder: PathBuf) -> Self {
        Self {
            environment,
            folder,
            origins: Origins::default(),
            allowance: Allowance::default(),
            secrets: Secrets::default(),
            noted: BTreeSet::new(),
            others: Others::default(),
            #[cfg(test)]
            ranges: BTreeMap::new(),
        }
    }

    /// The tree of the file itself.
    pub(super) fn main_document(&mut self, text: &str) -> Result<Value, serde_yaml::Error> {
        let document = document::parse_within(text, Place::default(), &mut self.allowance)?;
        Ok(self.root_of(document))
    }

    /// The tree of another file, whose faults are to be shown in it; `None`: it is no YAML, which is noted.
    pub(super) fn document(&mut self, file: Rc<Path>, text: String, root: Place) -> Option<Value> {
        let text = document::without_mark(&text).to_owned();
        let root = match document::parse_within(&text, root, &mut self.allowance) {
            Ok(document) => Some(self.root_of(document)),
            Err(error) => {
                self.fault(placed::no_yaml(&text, &file, &error));
                None
            }
        };
        self.others.texts.insert(file, text);
        root
    }

    /// The tree, after what it says in vain was noted.
    fn root_of(&mut self, document: Document) -> Value {
        for place in &document.repeated {
            let (Some(mapping), Some(name)) = (place.parent(), place.last_key()) else {
                continue;
            };
            let message = format!("`{}` is given already", quoted(name));
            let remedy = "remove one of the two";
            let first = mapping.key(name);
            self.error_again(Code::DuplicateKey, place, &first, message, remedy);
        }
        for place in &document.tagged {
            let message = "YAML tags (`!name`) mean nothing here";
            let remedy = "remove the tag, or use quotes";
            self.error(Code::WrongType, place, message, remedy);
        }
        document.root
    }

    /// The texts of the files `*.yaml` of a folder, by name. What cannot be read is noted, and `*.yml`, which is not read.
    pub(super) fn yaml_files(&mut self, folder: &Path, most: usize) -> Vec<(Rc<Path>, String)> {
        let files = match self.environment.yaml_files(folder, most) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                self.unreadable(folder, "it is not a folder", "make it one, or remove it");
                return Vec::new();
            }
            Err(error) => {
                self.fault(placed::unreadable(folder, &error));
                return Vec::new();
            }
        };
        if files.len() > most {
            let message = format!("there are more than {most} files in this folder");
            self.unreadable(folder, message, "put several into one");
        }
        let mut texts = Vec::new();
        for file in files.into_iter().take(most) {
            if file.extension().is_none_or(|extension| extension != "yaml") {
                let message = "this file is not read, because its name does not end in `.yaml`";
                self.fault(Fault {
                    severity: Severity::Warning,
                    ..placed::whole(&file, Code::NoEffect, message, "rename or remove it")
                });
                continue;
            }
            match self.environment.read(&file, FILE_BYTES_MAX) {
                Ok(text) => texts.push((file.into(), text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let message = "this is a link to a file that is not there";
                    self.unreadable(&file, message, "correct the link, or remove it");
                }
                Err(error) => self.fault(placed::unreadable(&file, &error)),
            }
        }
        texts
    }

    /// Notes that a file cannot be used at all.
    pub(super) fn unreadable(
        &mut self,
        file: &Path,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.fault(placed::whole(file, Code::Unreadable, message, remedy));
    }

    /// Notes a fault of another file, that is placed already.
    fn fault(&mut self, fault: Fault) {
        self.others.faults.push(fault);
    }

    /// Notes an error at the value of `place`. A fault of a template that several devices use is noted once.
    pub(super) fn error(
        &mut self,
        code: Code,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let at = (place, Spot::Value);
        self.note(Severity::Error, code, at, message.into(), remedy.into());
    }

    /// Notes an error at the key of `place`, or at its beginning where it is an element of a list.
    pub(super) fn error_at_key(
        &mut self,
        code: Code,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let at = (place, beginning(place));
        self.note(Severity::Error, code, at, message.into(), remedy.into());
    }

    /// Notes a warning at the value of `place`.
    pub(super) fn warning(
        &mut self,
        code: Code,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let at = (place, Spot::Value);
        self.note(Severity::Warning, code, at, message.into(), remedy.into());
    }

    /// Notes that what stands at `place` was given at `first` already. The message will end with file and line of that.
    pub(super) fn error_again(
        &mut self,
        code: Code,
        place: &Place,
        first: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        // A name is a value; what is given twice itself is a key.
        let spot = |place| match code {
            Code::DuplicateKey => beginning(place),
            _ => Spot::Value,
        };
        self.noted.insert(Noted {
            place: self.origins.of(place),
            spot: spot(place),
            code,
            severity: Severity::Error,
            message: message.into(),
            remedy: remedy.into(),
            first: Some((self.origins.of(first), spot(first))),
        });
    }

    fn note(
        &mut self,
        severity: Severity,
        code: Code,
        (place, spot): (&Place, Spot),
        message: String,
        remedy: String,
    ) {
        self.noted.insert(Noted {
            place: self.origins.of(place),
            spot,
            code,
            severity,
            message,
            remedy,
            first: None,
        });
    }

    /// All that was noted, and the files beside the file itself that it may be in.
    pub(super) fn into_noted(self) -> (impl Iterator<Item = Noted>, Others) {
        let secrets = self.secrets;
        let concealed = move |mut noted: Noted| {
            noted.message = secrets.concealed(noted.message);
            noted.remedy = secrets.concealed(noted.remedy);
            noted
        };
        (self.noted.into_iter().map(concealed), self.others)
    }

    /// Reads one scalar, an element of a list.
    pub(super) fn scalar<T: DeserializeOwned>(
        &mut self,
        value: &Value,
        place: &Place,
    ) -> Option<T> {
        let takes = |value| serde_yaml::from_value::<T>(value).map(drop);
        let value = self.settle(value, place, &takes)?;
        serde_yaml::from_value(value).ok()
    }

    /// The path that `name` at `place` means: a relative one is relative to the file that says it.
    pub(super) fn path(&self, name: &str, place: &Place) -> PathBuf {
        let place = self.origins.of(place);
        let folder = place.file().map(|file| file.parent());
        folder.flatten().unwrap_or(&self.folder).join(name)
    }

    /// The path of a file named at `place`, which must be there.
    pub(super) fn file(&mut self, name: &str, place: &Place) -> PathBuf {
        let path = self.path(name, place);
        if !self.environment.is_file(&path) {
            let message = format!("there is no file {}", quoted(&path.display().to_string()));
            let remedy =
                "correct the path or put the file there; relative paths are relative to this file";
            self.error(Code::MissingFile, place, message, remedy);
        }
        path
    }

    /// The form of `value` that `takes` takes, `${...}` resolved; `None` where there is none, and why is noted.
    pub(super) fn settle(
        &mut self,
        value: &Value,
        place: &Place,
        takes: &dyn Fn(Value) -> Result<(), serde_yaml::Error>,
    ) -> Option<Value> {
        if value.is_null() {
            let remedy = "give it one, or remove the key; text that begins with `#` needs quotes";
            self.error_at_key(Code::NoValue, place, "there is no value here", remedy);
            return None;
        }
        let reference = value.as_str().filter(|text| text.contains("${"));
        let Some(reference) = reference else {
            return match takes(value.clone()) {
                Ok(()) => Some(value.clone()),
                Err(error) => {
                    let error = error.to_string();
                    let found = if place.is_secret() {
                        wording::kind(value)
                    } else {
                        wording::found(value)
                    };
                    let (message, remedy) = wording::wrong_value(&error, value, &found);
                    let code = if error.starts_with("invalid value") {
                        Code::OutOfRange
                    } else {
                        Code::WrongType
                    };
                    self.error(code, place, message, remedy);
                    None
                }
            };
        };
        let path = |name: &str| self.path(name, place);
        let text = match substitute::resolve(reference, self.environment, path) {
            Ok(text) => text,
            Err((message, remedy)) => {
                self.error(Code::Substitution, place, message, remedy);
                return None;
            }
        };
        self.secrets.insert(&text, reference);
        let typed = serde_yaml::from_str::<Value>(&text)
            .ok()
            .filter(|value| value.is_number() || value.is_bool());
        let text = Value::String(text);
        let error = match takes(text.clone()) {
            Ok(()) => return Some(text),
            Err(error) => error,
        };
        if let Some(typed) = typed
            && takes(typed.clone()).is_ok()
        {
            return Some(typed);
        }
        let (message, remedy) = wording::wrong_substitute(&error.to_string(), reference);
        self.error(Code::WrongType, place, message, remedy);
        None
    }
}

/// The key, or of an element of a list its beginning.
fn beginning(place: &Place) -> Spot {
    if place.has_key() {
        Spot::Key
    } else {
        Spot::Value
    }
}
