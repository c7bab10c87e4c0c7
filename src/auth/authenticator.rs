//! The check of a login, off the caller's thread.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use bytestring::ByteString;

use super::turns::Turns;
use super::{Access, Identity, Revision, Users};
use crate::secret::Secret;

/// Checks logins. Cheap to clone; all clones share users, rules and the bound on hashes.
#[derive(Clone, Debug)]
pub struct Authenticator {
    shared: Arc<Shared>,
    turns: Turns,
}

#[derive(Debug)]
struct Shared {
    /// Never held while anything waits or is computed.
    current: Mutex<Arc<Credentials>>,
}

/// Who may log in, and what for.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// By password.
    pub users: Users,
    /// Everybody.
    pub access: Access,
    /// What of them nobody knows at present.
    pub unknown: Unknown,
}

/// Files that could not be used: whoever would be judged by one is refused, as one whose password cannot be checked now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Who the users are: clients with a user name are refused.
    pub users: bool,
    /// What they may do: every client is refused. `access` counts for the sessions of those who are away.
    pub rules: bool,
}

/// Who a client says it is, and where.
#[derive(Clone, Debug)]
pub struct Login {
    /// For the log; empty where the broker is yet to give it one.
    pub client_id: ByteString,
    /// The listener it came in by, for the log.
    pub listener: Arc<str>,
    /// Its address: for the log, and because addresses take turns.
    pub peer: Option<SocketAddr>,
    /// The user that its certificate has proven: user name and password do not count then.
    pub certified: Option<ByteString>,
    /// Whether this listener takes clients without a user name.
    pub anonymous: bool,
    /// User Name.
    pub user_name: Option<ByteString>,
    /// Password.
    pub password: Option<Secret<Bytes>>,
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// The name is unknown or the password is not its own; which of the two is not told.
    BadUserNameOrPassword,
    /// Somebody without a name, where one is needed.
    NotAuthorized,
    /// The check could not be made now.
    Busy,
}

impl From<Users> for Credentials {
    /// These users, who may do everything.
    fn from(users: Users) -> Self {
        Self {
            users,
            access: Access::unlimited(),
            unknown: Unknown::default(),
        }
    }
}

impl Authenticator {
    /// For these users and rules.
    #[must_use]
    pub fn new(credentials: impl Into<Credentials>) -> Self {
        Self {
            shared: Arc::new(Shared {
                current: Mutex::new(Arc::new(credentials.into())),
            }),
            turns: Turns::new(),
        }
    }

    /// Those that count now.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&lock(&self.shared.current))
    }

    /// From now on others count, for logins that are being checked as well. What that makes of clients that are there
    /// already is for the broker to carry out.
    #[must_use]
    pub fn replace(&self, credentials: Credentials) -> Revision {
        let now = Arc::new(credentials);
        let before = std::mem::replace(&mut *lock(&self.shared.current), Arc::clone(&now));
        Revision::new(before, now)
    }

    /// Checks a login; within a tokio runtime, on whose blocking threads the hash runs. Cancel safe; a hash that was
    /// begun runs to its end and counts towards [`PARALLEL_HASHES`](super::PARALLEL_HASHES) until then.
    ///
    /// # Errors
    /// The refusal, logged here with who, where, and how to allow it.
    pub async fn check(&self, login: Login) -> Result<Identity, LoginRefusal> {
        let credentials = self.known_rules(&login)?;
        let is_nobody_known = credentials.users.is_empty() && !credentials.unknown.users;
        let certified = login.certified.is_some();
        let user = match (&login.certified, &login.user_name) {
            (Some(user), _) => Some(user),
            // Many clients always give a name. Nothing can verify it, so it is not believed; but it takes away nothing either.
            (None, Some(_)) if login.anonymous && is_nobody_known => None,
            (None, Some(user)) => {
                self.check_password(user, &login).await?;
                // Meanwhile they may have become unknown.
                self.known_rules(&login)?;
                Some(user)
            }
            (None, None) if login.anonymous => None,
            (None, None) => {
                Self::tell(
                    &login,
                    "no user name; give the client one, or set `anonymous: true` for this listener",
                );
                return Err(LoginRefusal::NotAuthorized);
            }
        };
        Ok(Identity {
            user: user.cloned(),
            certified,
        })
    }

    /// What counts now, where somebody can say what a client may do.
    fn known_rules(&self, login: &Login) -> Result<Arc<Credentials>, LoginRefusal> {
        let credentials = self.credentials();
        if credentials.unknown.rules {
            Self::tell(
                login,
                "the access rules cannot be read, so nobody is let in until they can be; `fieldgate status` says why",
            );
            return Err(LoginRefusal::Busy);
        }
        Ok(credentials)
    }

    async fn check_password(&self, user: &ByteString, login: &Login) -> Result<(), LoginRefusal> {
        const REFUSED: LoginRefusal = LoginRefusal::BadUserNameOrPassword;
        let before = self.credentials();
        if before.unknown.users {
            Self::tell(
                login,
                "the `users_file` cannot be read, so no password can be checked until it can be; `fieldgate status` says why",
            );
            return Err(LoginRefusal::Busy);
        }
        if before.users.is_empty() {
            Self::tell(
                login,
                "there is no user at all; name a `users_file`, or set `anonymous: true` for this listener",
            );
            return Err(REFUSED);
        }
        let Some(turn) = self.turns.wait(login.peer.map(|peer| peer.ip())).await else {
            Self::tell(
                login,
                "too many passwords wait to be checked, most of them from this address; the client may try again",
            );
            return Err(LoginRefusal::Busy);
        };
        let (name, password) = (user.clone(), login.password.clone().unwrap_or_default());
        let checked = Arc::clone(&before);
        let check = tokio::task::spawn_blocking(move || {
            let matches = checked.users.verify(&name, password.expose());
            drop(turn);
            matches
        });
        let matches = check.await.map_err(|fault| {
            tracing::error!(%fault, "a password could not be checked; this is a fault of fieldgate");
            LoginRefusal::Busy
        })?;
        if !matches {
            Self::tell(
                login,
                "unknown user or wrong password; the user needs a line with its hash in the `users_file`",
            );
            return Err(REFUSED);
        }
        let now = self.credentials();
        if !Arc::ptr_eq(&before, &now) && !before.users.agree_on(&now.users, user) {
            Self::tell(
                login,
                "the `users_file` was changed meanwhile, and its line is gone or another",
            );
            return Err(REFUSED);
        }
        Ok(())
    }

    fn tell(login: &Login, why: &str) {
        tracing::warn!(
            client_id = %login.client_id, user = login.user_name.as_deref(), listener = %login.listener, peer = ?login.peer,
            "login refused: {why}"
        );
    }
}

/// Nothing panics while one is held, and each change is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::users::tests::line;
    use super::super::{AccessEntry, Who};
    use super::*;
    use crate::topic::{Template, TopicName};

    fn login(user_name: Option<&str>, password: &str, anonymous: bool) -> Login {
        Login {
            client_id: "c".into(),
            listener: "plant".into(),
            peer: None,
            certified: None,
            anonymous,
            user_name: user_name.map(Into::into),
            password: Some(Bytes::copy_from_slice(password.as_bytes()).into()),
        }
    }

    fn users(text: &str) -> Credentials {
        Users::parse(text).unwrap().into()
    }

    #[test]
    fn neither_a_password_nor_a_hash_is_shown() {
        let users = line("plc7", "hunter2");
        let (_, hash) = users.split_once(':').unwrap();
        let shown = format!(
            "{:#?} {:#?}",
            login(Some("plc7"), "hunter2", false),
            Authenticator::new(self::users(&users))
        );
        assert!(shown.contains("Argon2id(***)"), "{shown}");
        let parts = hash.split('$').filter(|part| part.len() > 10);
        for secret in parts.chain(["hunter2", "104, 117, 110"]) {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
    }

    #[tokio::test]
    async fn a_user_with_the_right_password_is_that_user() {
        let authenticator = Authenticator::new(users(&line("plc7", "right")));
        let check = async |name, password, anonymous| {
            authenticator.check(login(name, password, anonymous)).await
        };
        let plc7 = Identity {
            user: Some("plc7".into()),
            certified: false,
        };
        assert_eq!(check(Some("plc7"), "right", false).await, Ok(plc7));
        for (name, password) in [("plc7", "wrong"), ("nobody", "right"), ("", "")] {
            let refusal = Err(LoginRefusal::BadUserNameOrPassword);
            assert_eq!(check(Some(name), password, true).await, refusal);
        }
    }

    #[tokio::test]
    async fn nobody_is_let_in_without_a_name_unless_the_listener_says_so() {
        let authenticator = Authenticator::new(Credentials::default());
        let check = async |anonymous| authenticator.check(login(None, "", anonymous)).await;
        assert_eq!(check(false).await, Err(LoginRefusal::NotAuthorized));
        assert_eq!(check(true).await, Ok(Identity::default()));
    }

    #[tokio::test]
    async fn a_name_that_nothing_can_verify_is_not_believed() {
        let authenticator = Authenticator::new(Credentials::default());
        let check = async |anonymous| {
            authenticator
                .check(login(Some("plc7"), "x", anonymous))
                .await
        };
        assert_eq!(check(true).await, Ok(Identity::default()));
        assert_eq!(check(false).await, Err(LoginRefusal::BadUserNameOrPassword));
    }

    #[tokio::test]
    async fn who_would_be_judged_by_a_file_that_cannot_be_read_is_refused_and_nobody_else() {
        let unknown = |users, rules| {
            Authenticator::new(Credentials {
                unknown: Unknown { users, rules },
                ..Credentials::default()
            })
        };
        let busy = Err(LoginRefusal::Busy);
        let certified = Login {
            certified: Some("plc7".into()),
            ..login(None, "", false)
        };

        let users = unknown(true, false);
        // Where there are no users, a name counts for nothing on this listener. Here there may be.
        assert_eq!(users.check(login(Some("plc7"), "x", true)).await, busy);
        assert_eq!(
            users.check(login(None, "", true)).await,
            Ok(Identity::default())
        );
        users.check(certified.clone()).await.unwrap();

        let rules = unknown(false, true);
        for login in [
            login(Some("plc7"), "x", true),
            login(None, "", true),
            certified,
        ] {
            assert_eq!(rules.check(login).await, busy);
        }
        let known = Credentials::from(Users::parse(&line("plc7", "right")).unwrap());
        drop(rules.replace(known));
        rules
            .check(login(Some("plc7"), "right", false))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_user_by_certificate_needs_no_password_and_gets_the_rights_of_its_name() {
        let entry = AccessEntry {
            who: Who::User("plc7".to_owned()),
            publish: vec![Template::parse("plant/{client_id}", &["client_id"], false).unwrap()],
            subscribe: Vec::new(),
        };
        let authenticator = Authenticator::new(Credentials {
            users: Users::default(),
            access: Access::with_entries("g1", &[entry]).unwrap(),
            unknown: Unknown::default(),
        });
        let identity = authenticator
            .check(Login {
                certified: Some("plc7".into()),
                ..login(Some("hmi"), "wrong", false)
            })
            .await
            .unwrap();
        let principal = identity.with_rights(&authenticator.credentials().access, "given");
        assert_eq!(
            (principal.user.as_deref(), principal.certified),
            (Some("plc7"), true)
        );
        let rights = principal.rights.unwrap();
        assert!(rights.may_publish(&TopicName::try_from("plant/given").unwrap()));
        assert!(!rights.may_publish(&TopicName::try_from("plant/c").unwrap()));
    }

    /// What becomes of a login with the right password where `now` counts before that is checked.
    async fn changed_meanwhile(now: Credentials) -> Result<Identity, LoginRefusal> {
        let authenticator = Authenticator::new(users(&line("plc7", "right")));
        let taken = [
            authenticator.turns.wait(None).await,
            authenticator.turns.wait(None).await,
        ];
        let mut check = Box::pin(authenticator.check(login(Some("plc7"), "right", false)));
        assert!(
            std::future::poll_fn(|context| std::task::Poll::Ready(
                check.as_mut().poll(context).is_pending()
            ))
            .await
        );
        drop(authenticator.replace(now));
        drop(taken);
        check.await
    }

    #[tokio::test]
    async fn what_was_changed_while_a_password_was_checked_counts() {
        let other = users(&line("plc7", "other"));
        let refused = Err(LoginRefusal::BadUserNameOrPassword);
        assert_eq!(changed_meanwhile(other).await, refused);
        let without_rules = Credentials {
            unknown: Unknown {
                users: false,
                rules: true,
            },
            ..users(&line("plc7", "right"))
        };
        let busy = Err(LoginRefusal::Busy);
        assert_eq!(changed_meanwhile(without_rules).await, busy);
    }
}
