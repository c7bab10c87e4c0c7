//! Users and rules, out of the files that a configuration names.
//!
//! Where one of them cannot be used at a start, the gateway runs, whoever would be judged by it is refused ([`Unknown`]), and it is
//! read again until it can be. Nobody is let in meanwhile who might have been refused. A reload is another matter: it takes
//! up nothing where a file is at fault, so what is known stays known.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::observe::Observer;
use crate::auth::{
    Access, AccessOptions, Acl, AclFault, Credentials, FileError, LineFault, Unknown, Users,
};
use crate::broker::BrokerHandle;
use crate::config::Config;
use crate::shutdown::Stop;
use crate::topic::TopicError;

/// Between two attempts to read the files.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// Where users and rules are.
#[derive(Clone, Debug)]
pub(super) struct LoginFiles {
    gateway: String,
    users_file: Option<PathBuf>,
    access: AccessOptions,
}

/// What is in these files.
#[derive(Debug)]
pub(super) struct Logins {
    pub(super) credentials: Credentials,
    pub(super) faults: Vec<LoginFault>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LoginFault {
    #[error(transparent)]
    Users(#[from] FileError<LineFault>),
    #[error(transparent)]
    Acl(#[from] FileError<AclFault>),
    #[error("gateway.id makes no topic: {0}")]
    Topic(#[from] TopicError),
}

impl LoginFiles {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            gateway: config.gateway.id.clone(),
            users_file: config.users_file.clone(),
            access: config.access.clone(),
        }
    }

    /// Reads them. Blocks for milliseconds.
    pub(super) fn read(&self) -> Logins {
        let mut faults = Vec::new();
        // First what concerns more clients.
        let access = self.access().map_err(|fault| faults.push(fault)).ok();
        let users = self.users_file.as_deref().map(Users::read);
        let users = users.unwrap_or_else(|| Ok(Users::default()));
        let users = users.map_err(|fault| faults.push(fault.into())).ok();
        Logins {
            credentials: Credentials {
                unknown: Unknown {
                    users: users.is_none(),
                    rules: access.is_none(),
                },
                users: users.unwrap_or_default(),
                // What comes for those who are away is kept; before they get it, they are judged by the rules.
                access: access.unwrap_or_else(Access::unlimited),
            },
            faults,
        }
    }

    fn access(&self) -> Result<Access, LoginFault> {
        let gateway = &self.gateway;
        Ok(match &self.access {
            AccessOptions::NoRules => Access::without_rules(gateway)?,
            AccessOptions::Entries(entries) => Access::with_entries(gateway, entries)?,
            AccessOptions::MosquittoAcl(file) => Access::with_acl(gateway, Acl::read(file)?)?,
        })
    }
}

impl Logins {
    /// Who is refused and why, in one line; `None`: nobody but whom users and rules refuse.
    pub(super) fn error(&self) -> Option<String> {
        let told: Vec<_> = self.faults.iter().map(ToString::to_string).collect();
        let lines: Vec<_> = told.iter().flat_map(|fault| fault.lines()).collect();
        let (first, others) = lines.split_first()?;
        let whom = if self.credentials.unknown.rules {
            "every client is refused"
        } else {
            "clients with a user name are refused"
        };
        let others = match others.len() {
            0 => String::new(),
            more => format!(" (and {more} more: `fieldgate check`)"),
        };
        Some(format!("{whom}: {first}{others}"))
    }
}

/// Reads `files` until they can be used, and has the broker judge by them; `known`: what was wrong with them the last time.
pub(super) async fn mend(
    files: LoginFiles,
    known: String,
    broker: BrokerHandle,
    observer: Observer,
    mut stop: Stop,
) {
    let (mut known, mut wait) = (Some(known), AGAIN_MIN);
    while known.is_some() {
        tokio::select! {
            () = stop.requested() => return,
            () = sleep(wait) => {}
        }
        wait = (wait * 2).min(AGAIN_MAX);
        let again = files.clone();
        let Ok(logins) = spawn_blocking(move || again.read()).await else {
            return; // the runtime ends
        };
        let error = logins.error();
        if error == known {
            continue;
        }
        match &error {
            Some(error) => tracing::error!("{error}"),
            None => tracing::info!("users and access rules can be read, and count from now on"),
        }
        if broker
            .replace_credentials(logins.credentials)
            .await
            .is_err()
        {
            return;
        }
        observer.tell_login_error(error.clone());
        known = error;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_at_fault_makes_unknown_what_is_in_it_and_is_told_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = LoginFiles {
            gateway: "g1".to_owned(),
            users_file: Some(path("users")),
            access: AccessOptions::MosquittoAcl(path("acl")),
        };
        let read = || {
            let logins = files.read();
            let Unknown { users, rules } = logins.credentials.unknown;
            (users, rules, logins.error().unwrap_or_default())
        };
        let (users, rules, error) = read();
        assert!(users && rules);
        assert!(error.starts_with("every client is refused: "), "{error}");
        assert!(error.contains("acl: cannot be read: "), "{error}");
        assert!(error.ends_with("(and 1 more: `fieldgate check`)"));

        std::fs::write(path("acl"), "topic read a\n").unwrap();
        std::fs::write(path("users"), "plc7:secret\n\nplc8\n").unwrap();
        let (users, rules, error) = read();
        assert!(users && !rules);
        assert!(error.starts_with("clients with a user name are refused: "));
        assert!(error.contains("users:1: `plc7`: "), "{error}");
        assert!(
            !error.contains('\n') && !error.contains("secret"),
            "{error}"
        );

        std::fs::write(path("users"), "").unwrap();
        assert_eq!(read(), (false, false, String::new()));
    }
}
