//! `${env:NAME}`, `${file:path}` and `${cred:name}`: what stands for a whole value. Never shows what it found, not in an
//! error either: such values are secrets.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::environment::{Environment, SUBSTITUTE_BYTES_MAX};
use super::excerpt::quoted;

/// Where systemd puts what `LoadCredential=` names, for this service alone.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

const FORMS: &str = "write `${env:NAME}`, `${file:path}` or `${cred:name}` as the whole value";

/// Shorter than this it may stand in a message by chance.
const WORD_BYTES: usize = 4;

/// A message and a remedy.
type Fault = (String, String);

/// What was found, each with what stands for it in the file. Rules that look at a value later may quote it; what they say is
/// shown with the reference instead.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// `text` came from `reference`.
    pub(super) fn insert(&mut self, text: &str, reference: &str) {
        // As messages quote it: a long one is cut there, so its beginning is looked for.
        let shown: String = quoted(text).trim_end_matches('…').to_owned();
        self.0.insert(shown, quoted(reference));
    }

    /// `message` without them. One of few letters could be part of any word, so it is looked for in its quotes.
    pub(super) fn concealed(&self, message: String) -> String {
        // The longest first, since one may be part of another.
        let mut secrets: Vec<_> = self.0.iter().collect();
        secrets.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        secrets
            .into_iter()
            .fold(message, |message, (text, reference)| {
                if text.len() < WORD_BYTES {
                    message.replace(&format!("`{text}`"), &format!("`{reference}`"))
                } else {
                    message.replace(text, reference)
                }
            })
    }
}

/// What `text` stands for. `path` is where a path leads that stands beside it.
pub(super) fn resolve(
    text: &str,
    environment: &dyn Environment,
    path: impl Fn(&str) -> PathBuf,
) -> Result<String, Fault> {
    let inner = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    let Some((kind, name)) = inner.and_then(|inner| inner.split_once(':')) else {
        let message = "`${...}` stands for a whole value, not for a part of one";
        return Err((message.to_owned(), FORMS.to_owned()));
    };
    match kind {
        "env" => environment.variable(name).ok_or_else(|| {
            let message = format!("the environment variable `{}` is not set", quoted(name));
            let remedy =
                "set it where fieldgate is started (systemd: `Environment=` or `EnvironmentFile=`)";
            (message, remedy.to_owned())
        }),
        "file" => read(environment, &path(name)).map_err(|error| {
            let message = format!("the file `{}` cannot be read: {error}", quoted(name));
            let remedy = "correct the path or its rights; relative paths are relative to this file";
            (message, remedy.to_owned())
        }),
        "cred" => credential(environment, name),
        _ => {
            let message = format!("`{}` is no source of values", quoted(kind));
            Err((message, FORMS.to_owned()))
        }
    }
}

/// The text of a file without its last line break.
fn read(environment: &dyn Environment, path: &Path) -> io::Result<String> {
    let text = environment.read(path, SUBSTITUTE_BYTES_MAX)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn credential(environment: &dyn Environment, name: &str) -> Result<String, Fault> {
    let shown = quoted(name);
    if name.is_empty() || name.contains('/') || matches!(name, "." | "..") {
        let message = format!("`{shown}` is no name of a credential");
        let remedy = "write its name alone; for a path there is `${file:path}`";
        return Err((message, remedy.to_owned()));
    }
    let folder = environment.variable(CREDENTIALS);
    let Some(folder) = folder.filter(|folder| !folder.is_empty()) else {
        let message = format!("there are no credentials here: ${CREDENTIALS} is not set");
        let remedy = format!(
            "systemd sets it for a service with `LoadCredential={shown}:PATH`; to check by hand, set it to a folder with a file `{shown}`"
        );
        return Err((message, remedy));
    };
    read(environment, &Path::new(&folder).join(name)).map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => format!("there is no credential `{shown}`"),
            _ => format!("the credential `{shown}` cannot be read: {error}"),
        };
        let remedy = format!(
            "add `LoadCredential={shown}:PATH` to the service; what is there is read at its start"
        );
        (message, remedy)
    })
}
