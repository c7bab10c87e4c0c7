//! `fieldgate user`: who may log in. Works on the users file of the configuration, then has the gateway that runs read it.
//!
//! No password is an argument, where every process would see it, and none is kept but as its hash.

mod password;
mod sample;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::asking::{self, Whom};
use super::reload::take_up;
use super::replace::{Readers, replace};
use super::words::shown;
use super::{EXIT_USAGE, say};
use crate::auth::{FileError, LineFault, UserFault, UserLine, Users, user_names, without_user};
use crate::config::Config;

/// What `user` may be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Let somebody log in, or give them another password. Asks for it twice.
    Add {
        /// The user.
        name: String,
        /// Read the password from stdin, its first line.
        #[arg(long, conflicts_with = "generate")]
        stdin: bool,
        /// Make a password, and print it once.
        #[arg(long)]
        generate: bool,
        /// What was done as JSON, in one line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        whom: Whom,
    },
    /// Let somebody log in no more.
    Remove {
        /// The user.
        name: String,
        /// What was done as JSON, in one line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        whom: Whom,
    },
    /// Print who may log in with a password, a name a line.
    List {
        /// As a JSON list.
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
    #[error(
        "the configuration {} names no users file\n  help: add `users_file: users` below `broker:`, then try again", _0.display()
    )]
    NoFile(PathBuf),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{0}\n  help: put these lines right, nothing was changed")]
    Lines(FileError<LineFault>),
    #[error(transparent)]
    User(#[from] UserFault),
    #[error("the two are not the same; nothing was changed")]
    Different,
    #[error("there is no user `{0}` in the users file")]
    NoSuchUser(String),
    #[error("nobody can be asked for the password: this is no terminal; say --stdin or --generate")]
    NobodyToAsk,
    #[error("{0}")]
    System(#[from] io::Error),
}

pub(super) fn user(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.verb {
        Verb::Add {
            name,
            stdin,
            generate,
            json,
            whom,
        } => add(name, (*stdin, *generate), *json, whom),
        Verb::Remove { name, json, whom } => remove(name, *json, whom),
        Verb::List { json, whom } => list(*json, whom),
    };
    match done {
        Ok(status) => status,
        Err(Fault::Asking(fault)) => fault.end("user"),
        Err(fault) => {
            eprintln!("fieldgate user: {fault}");
            match fault {
                Fault::NobodyToAsk | Fault::User(_) => ExitCode::from(EXIT_USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn add(
    name: &str,
    (stdin, generate): (bool, bool),
    json: bool,
    whom: &Whom,
) -> Result<ExitCode, Fault> {
    let (config, path) = users_file(whom)?;
    let before = text(&path)?;
    let password = if generate {
        password::made()?
    } else if stdin {
        password::from_stdin()?
    } else if password::can_ask() {
        password::typed()?.ok_or(Fault::Different)?
    } else {
        return Err(Fault::NobodyToAsk);
    };
    let line = UserLine::new(name, password.as_bytes(), &password::random()?)?;
    let (after, was_there) = line.put_into(&before);
    write(&path, &after, whom)?;
    let commands = sample::commands(&config, name);
    if json {
        let taken_up = take_up(whom)?;
        taken_up.tell_in(serde_json::json!({
            "user": name, "file": path, "was_there": was_there,
            "password": generate.then_some(&password), "try": commands,
        }));
        return Ok(taken_up.status());
    }
    let what = if was_there {
        "has another password"
    } else {
        "may log in"
    };
    say(format_args!("{} {what} ({})", shown(name), path.display()));
    if generate {
        say(format_args!("password, shown this once: {password}"));
    }
    let taken_up = take_up(whom)?;
    taken_up.tell();
    if !commands.is_empty() {
        say("to try it, in two terminals:");
        for command in commands {
            say(format_args!("  {command}"));
        }
    }
    Ok(taken_up.status())
}

fn remove(name: &str, json: bool, whom: &Whom) -> Result<ExitCode, Fault> {
    let (_, path) = users_file(whom)?;
    let before = text(&path)?;
    let after = without_user(&before, name);
    let after = after.ok_or_else(|| Fault::NoSuchUser(name.to_owned()))?;
    write(&path, &after, whom)?;
    if json {
        let taken_up = take_up(whom)?;
        taken_up.tell_in(serde_json::json!({ "user": name, "file": path }));
        return Ok(taken_up.status());
    }
    say(format_args!(
        "{} may log in no more ({})",
        shown(name),
        path.display()
    ));
    let taken_up = take_up(whom)?;
    taken_up.tell();
    Ok(taken_up.status())
}

fn list(json: bool, whom: &Whom) -> Result<ExitCode, Fault> {
    let (_, path) = users_file(whom)?;
    let text = text(&path)?;
    let names: Vec<_> = user_names(&text).collect();
    if json {
        say(serde_json::json!(names));
        return Ok(ExitCode::SUCCESS);
    }
    for name in names {
        say(shown(name));
    }
    Ok(ExitCode::SUCCESS)
}

fn users_file(whom: &Whom) -> Result<(Config, PathBuf), Fault> {
    let config = whom.load_before_files()?;
    match config.users_file.clone() {
        Some(path) => Ok((config, path)),
        None => Err(Fault::NoFile(whom.file())),
    }
}

/// Of a file that is not there yet: nothing.
fn text(path: &Path) -> Result<String, Fault> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::File {
            path: path.to_owned(),
            source: error,
        }),
        text => Ok(text.unwrap_or_default()),
    }
}

/// Only a file that the gateway can read takes the place of one.
fn write(path: &Path, text: &str, whom: &Whom) -> Result<(), Fault> {
    if let Err(faults) = Users::parse(text) {
        let path = path.to_owned();
        return Err(Fault::Lines(FileError::Lines { path, faults }));
    }
    let written = replace(path, text.as_bytes(), Readers::Group, &whom.file());
    written.map_err(|source| Fault::File {
        path: path.to_owned(),
        source,
    })
}
