//! What reading needs and makes: the surroundings of the file, and the list that faults are noted in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::document::Document;
use super::environment::{Environment, SUBSTITUTE_BYTES_MAX};
use super::error::{Code, Fault, Severity};
use super::excerpt::quoted;
use super::locate::Spot;
use super::place::Place;
use super::{later, wording};

/// A fault whose line and column are not known yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Noted {
    pub(super) place: Place,
    pub(super) spot: Spot,
    pub(super) code: Code,
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// What reading needs and makes: the surroundings of the file and the faults so far.
pub(super) struct Context<'a> {
    pub(super) environment: &'a dyn Environment,
    /// Relative paths are relative to it.
    pub(super) folder: PathBuf,
    noted: BTreeSet<Noted>,
    others: Others,
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
            noted: BTreeSet::new(),
            others: Others::default(),
        }
    }

    /// Notes what a document says in vain.
    pub(super) fn note_document(&mut self, document: &Document) {
        for place in &document.repeated {
            let message = "this key was given already";
            let remedy = "remove one of the two; the first counts until then";
            self.error_at_key(Code::DuplicateKey, place, message, remedy);
        }
        for place in &document.tagged {
            let message = "YAML tags (`!name`) mean nothing here";
            let remedy = "remove the tag, or use quotes";
            self.error(Code::WrongType, place, message, remedy);
        }
    }

    /// Adds a file whose faults are to be shown in it.
    pub(super) fn add_file(&mut self, file: Rc<Path>, text: String) {
        self.others.texts.insert(file, text);
    }

    /// Notes a fault of another file, that is placed already.
    pub(super) fn fault(&mut self, fault: Fault) {
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
        self.note(
            Severity::Error,
            code,
            place,
            Spot::Value,
            message.into(),
            remedy.into(),
        );
    }

    /// Notes an error at the key of `place`, or at its beginning where it is an element of a list.
    pub(super) fn error_at_key(
        &mut self,
        code: Code,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let spot = if place.has_key() {
            Spot::Key
        } else {
            Spot::Value
        };
        self.note(
            Severity::Error,
            code,
            place,
            spot,
            message.into(),
            remedy.into(),
        );
    }

    /// Notes a warning at the value of `place`.
    pub(super) fn warning(
        &mut self,
        code: Code,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(
            Severity::Warning,
            code,
            place,
            Spot::Value,
            message.into(),
            remedy.into(),
        );
    }

    fn note(
        &mut self,
        severity: Severity,
        code: Code,
        place: &Place,
        spot: Spot,
        message: String,
        remedy: String,
    ) {
        self.noted.insert(Noted {
            place: place.clone(),
            spot,
            code,
            severity,
            message,
            remedy,
        });
    }

    /// All that was noted, and the files beside the file itself that it may be in.
    pub(super) fn into_noted(self) -> (impl Iterator<Item = Noted>, Others) {
        (self.noted.into_iter(), self.others)
    }

    /// Reads one scalar, an element of a list.
    pub(super) fn scalar<T: DeserializeOwned>(
        &mut self,
        value: &Value,
        place: &Place,
    ) -> Option<T> {
        self.settle(value, place, serde_yaml::from_value::<T>)
            .map(|(_, read)| read)
    }

    /// A path as the file means it: relative ones are relative to its folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of a file named at `place`, which must be there.
    pub(super) fn file(&mut self, name: &str, place: &Place) -> PathBuf {
        let path = self.folder.join(name);
        if !self.environment.is_file(&path) {
            let message = format!("there is no file {}", quoted(&path.display().to_string()));
            let remedy =
                "correct the path or put the file there; relative paths are relative to this file";
            self.error(Code::MissingFile, place, message, remedy);
        }
        path
    }

    /// Finds the form of `value` that `read` takes, `${...}` resolved, or notes why there is none.
    pub(super) fn settle<T>(
        &mut self,
        value: &Value,
        place: &Place,
        read: impl Fn(Value) -> Result<T, serde_yaml::Error>,
    ) -> Option<(Value, T)> {
        if value.is_null() {
            let remedy = "give it one, or remove the key; text that begins with `#` needs quotes";
            self.error_at_key(Code::NoValue, place, "there is no value here", remedy);
            return None;
        }
        let reference = value.as_str().filter(|text| text.contains("${"));
        let Some(reference) = reference else {
            return match read(value.clone()) {
                Ok(result) => Some((value.clone(), result)),
                Err(error) => {
                    let error = error.to_string();
                    let (message, remedy) = wording::wrong_value(&error, value);
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
        let text = match self.substitute(reference) {
            Ok(text) => text,
            Err((code, message, remedy)) => {
                self.error(code, place, message, remedy);
                return None;
            }
        };
        let typed = serde_yaml::from_str::<Value>(&text)
            .ok()
            .filter(|value| value.is_number() || value.is_bool());
        let text = Value::String(text);
        let error = match read(text.clone()) {
            Ok(result) => return Some((text, result)),
            Err(error) => error,
        };
        if let Some(typed) = typed
            && let Ok(result) = read(typed.clone())
        {
            return Some((typed, result));
        }
        let (message, remedy) = wording::wrong_substitute(&error.to_string(), reference);
        self.error(Code::WrongType, place, message, remedy);
        None
    }

    /// What `${env:NAME}` or `${file:PATH}` stands for; else code, message and remedy.
    fn substitute(&self, text: &str) -> Result<String, (Code, String, String)> {
        const FORMS: &str = "write `${env:NAME}` or `${file:path}` as the whole value";
        let fault =
            |message: String, remedy: &str| (Code::Substitution, message, remedy.to_owned());
        let inner = text
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'));
        let Some((kind, name)) = inner.and_then(|inner| inner.split_once(':')) else {
            return Err(fault(
                "`${...}` stands for a whole value, not for a part of one".to_owned(),
                FORMS,
            ));
        };
        match kind {
            "env" => self.environment.variable(name).ok_or_else(|| {
                let message = format!("the environment variable `{}` is not set", quoted(name));
                fault(message, "set it where fieldgate is started (systemd: `Environment=` or `EnvironmentFile=`)")
            }),
            "file" => match self.environment.read(&self.folder.join(name), SUBSTITUTE_BYTES_MAX) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    let message = format!("the file `{}` cannot be read: {error}", quoted(name));
                    Err(fault(message, "correct the path or its rights; relative paths are relative to this file"))
                }
            },
            "cred" => Err((
                Code::NotAvailable,
                later::not_available("${cred:...}"),
                "write `${file:path}` or `${env:NAME}`".to_owned(),
            )),
            _ => Err(fault(format!("`{}` is no source of values", quoted(kind)), FORMS)),
        }
    }
}
