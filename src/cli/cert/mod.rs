//! `fieldgate cert`: the certificates that the gateway shows to others. What there is, a request for a new one with a key
//! made here, and putting in place what was signed.

mod identity;
mod install;
mod request;
mod show;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::asking::{self, Whom};
use super::reload::take_up;
use super::words::{date, shown};
use super::{EXIT_USAGE, say};
use crate::clock;
use crate::net::TlsError;
use identity::{Identity, identities};

/// What `cert` may be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show each certificate of the configuration, and whether its key fits. Status 1 where one is at fault.
    Show {
        /// Only that of this listener, connection or bridge.
        name: Option<String>,
        /// As JSON, a line for each.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        whom: Whom,
    },
    /// Make a key here, and print the request (CSR) that whoever signs is to be sent.
    Request {
        /// The listener, connection or bridge that it is for: `cloud`, `listener plant`.
        name: String,
        /// Whom it shall name; default: as the present one, else the client id of the bridge or the gateway's id.
        #[arg(long, value_name = "NAME")]
        common_name: Option<String>,
        /// A host name or address that it shall be valid for; several times. Default: those of the present one.
        #[arg(long = "san", value_name = "HOST")]
        names: Vec<String>,
        /// Make another key though one waits for its certificate.
        #[arg(long)]
        new_key: bool,
        /// The request and what is in it as JSON, in one line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        whom: Whom,
    },
    /// Put a certificate that was signed in place, once it is known to fit.
    Install {
        /// PEM: the certificate, then whoever signed it, and so on.
        file: PathBuf,
        /// What was done as JSON, in one line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        whom: Whom,
    },
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Asking(#[from] asking::Fault),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: rcgen::Error },
    #[error("no request can be made: {0}")]
    Request(rcgen::Error),
    #[error("no certificate is named `{name}`; there are: {known}")]
    NoSuchName { name: String, known: String },
    #[error("`{name}` may be any of: {known}; write it whole")]
    SeveralNames { name: String, known: String },
    #[error("{}: {why}\n  help: nothing was changed", file.display())]
    NotUsable { file: PathBuf, why: String },
    #[error("{}: no certificate is in it", _0.display())]
    NothingInIt(PathBuf),
    #[error(
        "{}: it fits no key of this gateway ({keys})\n  help: send whoever signs what `fieldgate cert request` prints; nothing was changed", file.display()
    )]
    FitsNoKey { file: PathBuf, keys: String },
}

impl Fault {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }

    fn key(path: &Path) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Key {
            path: path.to_owned(),
            source,
        }
    }
}

pub(super) fn cert(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.verb {
        Verb::Show { name, json, whom } => show(name.as_deref(), *json, whom),
        Verb::Request {
            name,
            common_name,
            names,
            new_key,
            json,
            whom,
        } => request(name, common_name.as_deref(), (names, *new_key), *json, whom),
        Verb::Install { file, json, whom } => install(file, *json, whom),
    };
    match done {
        Ok(status) => status,
        Err(Fault::Asking(fault)) => fault.end("cert"),
        Err(fault) => {
            eprintln!("fieldgate cert: {fault}");
            match fault {
                Fault::NoSuchName { .. } | Fault::SeveralNames { .. } => ExitCode::from(EXIT_USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn show(name: Option<&str>, json: bool, whom: &Whom) -> Result<ExitCode, Fault> {
    let all = identities(&whom.load_before_files()?);
    let wanted = match name {
        Some(name) => vec![find(&all, name)?],
        None => all.iter().collect(),
    };
    if wanted.is_empty() && !json {
        say("the configuration names no certificate of the gateway");
    }
    let now = clock::wall();
    let mut status = ExitCode::SUCCESS;
    for identity in wanted {
        let found = show::Found::read(identity);
        if json {
            say(found.json(now));
        } else {
            say(found.lines(now).join("\n"));
        }
        if !found.is_well(now) {
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}

/// The request goes to stdout, so that it can be written to a file; what to do with it to stderr.
fn request(
    name: &str,
    common_name: Option<&str>,
    (names, new_key): (&[String], bool),
    json: bool,
    whom: &Whom,
) -> Result<ExitCode, Fault> {
    let all = identities(&whom.load_before_files()?);
    let identity = find(&all, name)?;
    let made = request::request(identity, common_name, names, new_key)?;
    if json {
        say(serde_json::json!({
            "used_by": identity.used_by, "common_name": made.common_name, "names": made.names,
            "key": made.key, "is_new_key": !made.is_again, "request": made.pem,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    say(made.pem.trim_end());
    let which = if made.is_again {
        "the key that waits already (--new-key makes another)"
    } else {
        "a new key, made here"
    };
    eprintln!(
        "a request for {}, for CN={}{}, with {which}: {}",
        shown(&identity.users()),
        shown(&made.common_name),
        made.names
            .iter()
            .map(|it| format!(", {}", shown(it)))
            .collect::<String>(),
        made.key.display()
    );
    eprintln!(
        "have it signed, and then: fieldgate cert install FILE; until then the present certificate stays in use"
    );
    Ok(ExitCode::SUCCESS)
}

fn install(file: &Path, json: bool, whom: &Whom) -> Result<ExitCode, Fault> {
    let all = identities(&whom.load_before_files()?);
    let done = install::install(file, &all, clock::wall())?;
    if json {
        let taken_up = take_up(whom)?;
        taken_up.tell_in(serde_json::json!({
            "used_by": done.identity.used_by, "certificate": done.identity.certificate,
            "private_key": done.identity.private_key, "is_new_key": done.has_new_key,
            "not_after": done.ends, "kept": done.kept, "lost_names": done.lost_names,
        }));
        return Ok(taken_up.status());
    }
    let what = if done.has_new_key {
        "certificate and key are"
    } else {
        "certificate is"
    };
    say(format_args!(
        "{}: the {what} in place, valid to {}",
        shown(&done.identity.users()),
        date(done.ends)
    ));
    for kept in &done.kept {
        say(format_args!(
            "  what was there before is kept: {}",
            kept.display()
        ));
    }
    if !done.lost_names.is_empty() {
        say(format_args!(
            "  it is no longer valid for {}",
            shown(&done.lost_names.join(", "))
        ));
    }
    let taken_up = take_up(whom)?;
    taken_up.tell();
    if done
        .identity
        .used_by
        .iter()
        .any(|it| it.starts_with("bridge "))
    {
        say(
            "  a bridge tries it in a connection of its own before it goes over to it: fieldgate status says whether it has",
        );
    }
    Ok(taken_up.status())
}

fn find<'a>(all: &'a [Identity], name: &str) -> Result<&'a Identity, Fault> {
    let named: Vec<_> = all.iter().filter(|it| it.is_named(name)).collect();
    let names = |identities: &[&Identity]| {
        let names = identities.iter().flat_map(|it| it.used_by.iter());
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    match *named {
        [only] => Ok(only),
        [] => Err(Fault::NoSuchName {
            name: name.to_owned(),
            known: names(&all.iter().collect::<Vec<_>>()),
        }),
        _ => Err(Fault::SeveralNames {
            name: name.to_owned(),
            known: names(&named),
        }),
    }
}
