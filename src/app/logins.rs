//! Users and rules, out of the files that a configuration names.
//!
//! Where one of them cannot be used at a start, the gateway runs, whoever would be judged by it is refused ([`Unknown`]), and it is
//! read again until it can be. Nobody is let in meanwhile who might have been refused. A reload is another matter: it takes
//! up nothing where a file is at fault.
//!
//! Invariants: what is known stays known, whatever becomes of its file; and what was at fault is taken up only when it has stood
//! still for a while, because the first half of a file may be well by itself and lack what it forbids.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::observe::Observer;
use crate::auth::{
    Access, AccessOptions, Acl, AclFault, Credentials, FileError, LineFault, Unknown, Users,
};
use crate::broker::BrokerHandle;
use crate::config::Config;
use crate::net::{Fingerprint, SETTLE};
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
        self.complete(&Credentials {
            users: Users::default(),
            // What comes for those who are away is kept; before they get it, they are judged by the rules.
            access: Access::unlimited(),
            unknown: Unknown {
                users: true,
                rules: true,
            },
        })
    }

    /// Reads what is not known yet; what is stays as it is. Blocks for milliseconds.
    fn complete(&self, known: &Credentials) -> Logins {
        let mut credentials = known.clone();
        let mut faults = Vec::new();
        // First what concerns more clients.
        if known.unknown.rules {
            match self.access() {
                Ok(access) => {
                    credentials.access = access;
                    credentials.unknown.rules = false;
                }
                Err(fault) => faults.push(fault),
            }
        }
        if known.unknown.users {
            let users = self.users_file.as_deref().map(Users::read);
            match users.unwrap_or_else(|| Ok(Users::default())) {
                Ok(users) => {
                    credentials.users = users;
                    credentials.unknown.users = false;
                }
                Err(fault) => faults.push(fault.into()),
            }
        }
        Logins {
            credentials,
            faults,
        }
    }

    /// Of what is in them now. Blocks for milliseconds.
    fn fingerprint(&self) -> Fingerprint {
        let acl = match &self.access {
            AccessOptions::MosquittoAcl(file) => Some(file),
            AccessOptions::NoRules | AccessOptions::Entries(_) => None,
        };
        Fingerprint::of_files(self.users_file.iter().chain(acl))
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

/// Users and rules that are not all known yet.
#[derive(Debug)]
struct Mending {
    known: Arc<Credentials>,
    /// Who is refused and why, as it was told.
    error: Option<String>,
    /// Seen in the last look, where that found something to take up.
    unsettled: Option<Fingerprint>,
}

/// What came of a look at the files.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// As before.
    Nothing,
    /// Still at fault, in another way.
    OtherFault,
    /// Something can be used: to be looked at again soon.
    Unsettled,
    /// More is known than before.
    Mended,
}

impl Mending {
    /// `found` was read before `seen`: what was written in between is seen to differ.
    fn judge(&mut self, found: Logins, seen: Fingerprint) -> Look {
        let error = found.error();
        if found.credentials.unknown == self.known.unknown {
            self.unsettled = None;
            if error == self.error {
                return Look::Nothing;
            }
            self.error = error;
            return Look::OtherFault;
        }
        if self.unsettled != Some(seen) {
            self.unsettled = Some(seen);
            return Look::Unsettled;
        }
        self.unsettled = None;
        self.error = error;
        self.known = Arc::new(found.credentials);
        Look::Mended
    }
}

/// Reads `files` until they can be used, and has the broker judge by them; `known`: what could be used so far, and `error` what was
/// wrong with the rest.
pub(super) async fn mend(
    files: LoginFiles,
    (known, error): (Credentials, String),
    broker: BrokerHandle,
    observer: Observer,
    mut stop: Stop,
) {
    let files = Arc::new(files);
    let mut mending = Mending {
        known: Arc::new(known),
        error: Some(error),
        unsettled: None,
    };
    let (mut wait, mut next) = (AGAIN_MIN, AGAIN_MIN);
    while mending.error.is_some() {
        tokio::select! {
            () = stop.requested() => return,
            () = sleep(wait) => {}
        }
        next = (next * 2).min(AGAIN_MAX);
        wait = next;
        let (again, known) = (Arc::clone(&files), Arc::clone(&mending.known));
        let reading = spawn_blocking(move || (again.complete(&known), again.fingerprint()));
        let read = tokio::select! {
            // A disk that hangs holds up no stop.
            () = stop.requested() => return,
            read = reading => read,
        };
        let look = match read {
            Ok((found, seen)) => mending.judge(found, seen),
            Err(fault) => {
                tracing::error!(%fault, "users and rules could not be read; this is a fault of fieldgate");
                continue;
            }
        };
        match look {
            Look::Nothing => continue,
            Look::Unsettled => {
                wait = SETTLE;
                continue;
            }
            Look::OtherFault => {}
            Look::Mended => {
                let known = Credentials::clone(&mending.known);
                if broker.replace_credentials(known).await.is_err() {
                    return;
                }
            }
        }
        match &mending.error {
            Some(error) => tracing::error!("{error}"),
            None => tracing::info!("users and access rules can be read, and count from now on"),
        }
        observer.tell_login_error(mending.error.clone());
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

    fn mending(files: &LoginFiles) -> Mending {
        let start = files.read();
        Mending {
            error: start.error(),
            known: Arc::new(start.credentials),
            unsettled: None,
        }
    }

    fn look(mending: &mut Mending, files: &LoginFiles) -> Look {
        let found = files.complete(&mending.known);
        mending.judge(found, files.fingerprint())
    }

    #[test]
    fn what_is_known_stays_known_whatever_becomes_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = LoginFiles {
            gateway: "g1".to_owned(),
            users_file: Some(path("users")),
            access: AccessOptions::MosquittoAcl(path("acl")),
        };
        std::fs::write(path("acl"), "topic read a\n").unwrap();
        let mut mending = mending(&files);
        std::fs::remove_file(path("acl")).unwrap();
        std::fs::write(path("users"), "plc7:secret\n").unwrap();
        assert_eq!(look(&mut mending, &files), Look::OtherFault);
        assert!(!mending.known.unknown.rules);
        std::fs::write(path("users"), "").unwrap();
        assert_eq!(look(&mut mending, &files), Look::Unsettled);
        assert_eq!(look(&mut mending, &files), Look::Mended);
        let rights = mending.known.access.rights(None, "c").unwrap();
        assert!(!rights.may_publish(&"a".try_into().unwrap()));
        assert_eq!(mending.error, None);
    }

    #[test]
    fn a_file_that_is_being_written_counts_when_it_has_stood_still() {
        let folder = tempfile::tempdir().unwrap();
        let acl = folder.path().join("acl");
        let files = LoginFiles {
            gateway: "g1".to_owned(),
            users_file: None,
            access: AccessOptions::MosquittoAcl(acl.clone()),
        };
        let mut mending = mending(&files);
        let rules = [
            "",
            "topic readwrite #\n",
            "topic readwrite #\ntopic deny s/#\n",
        ];
        for half in rules {
            std::fs::write(&acl, half).unwrap();
            assert_eq!(look(&mut mending, &files), Look::Unsettled);
            assert!(mending.known.unknown.rules);
        }
        assert_eq!(look(&mut mending, &files), Look::Mended);
        let rights = mending.known.access.rights(None, "c").unwrap();
        assert!(!rights.may_publish(&"s/a".try_into().unwrap()));
    }
}
