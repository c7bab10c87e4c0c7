//! `conf.d/*.yaml` beside the file, read as if it stood in it: in the order of their names, lists append, sections and the
//! names of templates join. Nothing overrides anything: what is given twice is a fault that names both places, because
//! which of two files wins is what nobody remembers at night.
//!
//! All files together are bounded as one is.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_yaml::{Mapping, Value};

use super::context::Context;
use super::environment::Environment;
use super::error::Code;
use super::excerpt::quoted;
use super::place::Place;
use super::units::show_size;
use super::{FILE_BYTES_MAX, wording};

/// The folder beside the file.
const FOLDER: &str = "conf.d";
/// The most files in it.
const FILES_MAX: usize = 200;

/// The files beside the one at `path` that are read with it; none where the folder cannot be read, which is a fault.
pub(super) fn files(path: &Path, environment: &dyn Environment) -> Vec<PathBuf> {
    let files = environment.yaml_files(&path.with_file_name(FOLDER), FILES_MAX);
    let mut files = files.unwrap_or_default();
    files.retain(|file| file.extension().is_some_and(|it| it == "yaml"));
    files
}

/// `main`, the document of the file, and all of `conf.d`, as one.
pub(super) fn whole(context: &mut Context<'_>, main: Value, main_bytes: usize) -> Value {
    let folder = context.folder.join(FOLDER);
    let mut whole = match main {
        Value::Null => Mapping::new(),
        Value::Mapping(mapping) => mapping,
        other => return other,
    };
    let mut bytes = main_bytes;
    for (file, text) in context.yaml_files(&folder, FILES_MAX) {
        bytes = bytes.saturating_add(text.len());
        if u64::try_from(bytes).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
            let limit = show_size(FILE_BYTES_MAX);
            let message = format!("with it, the configuration is larger than {limit} altogether");
            context.unreadable(&file, message, "put less into it");
            break;
        }
        let root = Place::root_of(Rc::clone(&file));
        match context.document(file, text, root.clone()) {
            Some(Value::Mapping(added)) => {
                join(context, &mut whole, added, (&Place::default(), &root));
            }
            Some(Value::Null) | None => {}
            Some(other) => {
                let message = format!("expected keys and values, found {}", wording::kind(&other));
                let remedy = "write sections as the file itself has them, such as `devices:`";
                context.error(Code::WrongType, &root, message, remedy);
            }
        }
    }
    Value::Mapping(whole)
}

/// Adds what a file has at `there` to what the whole has at `here`.
fn join(
    context: &mut Context<'_>,
    whole: &mut Mapping,
    added: Mapping,
    (here, there): (&Place, &Place),
) {
    let at_root = here.steps().is_empty();
    let are_names = here.path() == "templates";
    for (key, value) in added {
        let name = key.as_str().unwrap_or_default().to_owned();
        let (here, there) = (here.key(&name), there.key(&name));
        match (whole.get_mut(&key), value) {
            // A section of the file with all its keys commented out.
            (Some(_), Value::Null) if at_root => {}
            (Some(Value::Null), value) if at_root => {
                whole.insert(key, value);
                context.origins.insert(here, there);
            }
            (None, value) => {
                whole.insert(key, value);
                context.origins.insert(here, there);
            }
            (Some(Value::Mapping(whole)), Value::Mapping(added)) if !are_names => {
                join(context, whole, added, (&here, &there));
            }
            (Some(Value::Sequence(whole)), Value::Sequence(added)) => {
                for (index, value) in added.into_iter().enumerate() {
                    let here = here.index(whole.len());
                    context.origins.insert(here, there.index(index));
                    whole.push(value);
                }
            }
            (Some(_), _) if are_names => {
                let message = format!("there is a template `{}` already", quoted(&name));
                let remedy = "give each template a name of its own";
                context.error_again(Code::DuplicateName, &there, &here, message, remedy);
            }
            (Some(first @ (Value::Mapping(_) | Value::Sequence(_))), value) => {
                let (first, second) = (wording::kind(first), wording::kind(&value));
                let name = quoted(&name);
                let message =
                    format!("`{name}` is {second} here, and {first} where it is given already");
                let remedy = "write both alike, so that they can be joined";
                context.error_again(Code::DuplicateKey, &there, &here, message, remedy);
            }
            (Some(_), _) => {
                let message = format!("`{}` is given already", quoted(&name));
                let remedy = "remove one of the two; no file overrides another";
                context.error_again(Code::DuplicateKey, &there, &here, message, remedy);
            }
        }
    }
}
