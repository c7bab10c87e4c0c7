//! The check of a login, off the caller's thread.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::Semaphore;

use super::{Principal, Users};

/// Passwords checked at a time. More would only make each slower, and a flood of logins must leave the box its CPU.
pub const PARALLEL_HASHES: usize = 2;

/// Checks logins. Cheap to clone; all clones share the users and the bound on hashes.
#[derive(Clone, Debug)]
pub struct Authenticator {
    users: Arc<Users>,
    hashes: Arc<Semaphore>,
}

/// What a client said about itself, and where.
#[derive(Clone, Debug)]
pub struct Login {
    /// For the log.
    pub client_id: ByteString,
    /// The listener it came in by, for the log.
    pub listener: Arc<str>,
    /// Its address, for the log.
    pub peer: Option<SocketAddr>,
    /// Whether this listener takes clients without a user name.
    pub anonymous: bool,
    /// User Name.
    pub user_name: Option<ByteString>,
    /// Password.
    pub password: Option<Bytes>,
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

impl Authenticator {
    /// For these users.
    #[must_use]
    pub fn new(users: Users) -> Self {
        Self {
            users: Arc::new(users),
            hashes: Arc::new(Semaphore::new(PARALLEL_HASHES)),
        }
    }

    /// Checks a login; within a tokio runtime, on whose blocking threads the hash runs. Cancel safe; a hash that was
    /// begun runs to its end and counts towards [`PARALLEL_HASHES`] until then.
    ///
    /// # Errors
    /// The refusal, logged here with who, where, and how to allow it.
    pub async fn check(&self, login: Login) -> Result<Principal, LoginRefusal> {
        let Some(user_name) = &login.user_name else {
            return Self::anonymous(&login);
        };
        // Nothing to verify is no reason to believe: a listener that takes anonymous clients takes those without a name.
        if self.users.is_empty() {
            tracing::warn!(
                client_id = %login.client_id, user = %user_name, listener = %login.listener, peer = ?login.peer,
                "login refused: there is no user at all; name a `users_file`, or let the client connect without a user name"
            );
            return Err(LoginRefusal::BadUserNameOrPassword);
        }
        let password = login.password.clone().unwrap_or_default();
        if self.verify(user_name.clone(), password).await? {
            return Ok(Principal {
                user: Some(user_name.clone()),
            });
        }
        tracing::warn!(
            client_id = %login.client_id, user = %user_name, listener = %login.listener, peer = ?login.peer,
            "login refused: unknown user or wrong password; the user needs a line with its hash in the `users_file`"
        );
        Err(LoginRefusal::BadUserNameOrPassword)
    }

    fn anonymous(login: &Login) -> Result<Principal, LoginRefusal> {
        if login.anonymous {
            return Ok(Principal::default());
        }
        tracing::warn!(
            client_id = %login.client_id, listener = %login.listener, peer = ?login.peer,
            "login refused: no user name; give the client one, or set `anonymous: true` for this listener"
        );
        Err(LoginRefusal::NotAuthorized)
    }

    async fn verify(&self, name: ByteString, password: Bytes) -> Result<bool, LoginRefusal> {
        let permit = Arc::clone(&self.hashes)
            .acquire_owned()
            .await
            .map_err(|_| LoginRefusal::Busy)?;
        let users = Arc::clone(&self.users);
        let check = tokio::task::spawn_blocking(move || {
            let matches = users.verify(&name, &password);
            drop(permit);
            matches
        });
        check.await.map_err(|fault| {
            tracing::error!(%fault, "a password could not be checked; this is a fault of fieldgate");
            LoginRefusal::Busy
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::users::tests::line;
    use super::*;

    fn login(user_name: Option<&str>, password: &str, anonymous: bool) -> Login {
        Login {
            client_id: "c".into(),
            listener: "plant".into(),
            peer: None,
            anonymous,
            user_name: user_name.map(Into::into),
            password: Some(Bytes::copy_from_slice(password.as_bytes())),
        }
    }

    #[tokio::test]
    async fn a_user_with_the_right_password_is_that_user() {
        let authenticator = Authenticator::new(Users::parse(&line("plc7", "right")).unwrap());
        let check = async |name, password, anonymous| {
            authenticator.check(login(name, password, anonymous)).await
        };
        let plc7 = Principal {
            user: Some("plc7".into()),
        };
        assert_eq!(check(Some("plc7"), "right", false).await, Ok(plc7));
        for (name, password) in [("plc7", "wrong"), ("nobody", "right"), ("", "")] {
            let refusal = Err(LoginRefusal::BadUserNameOrPassword);
            assert_eq!(check(Some(name), password, true).await, refusal);
        }
    }

    #[tokio::test]
    async fn nobody_is_let_in_without_a_name_unless_the_listener_says_so() {
        let authenticator = Authenticator::new(Users::default());
        let check = async |anonymous| authenticator.check(login(None, "", anonymous)).await;
        assert_eq!(check(false).await, Err(LoginRefusal::NotAuthorized));
        assert_eq!(check(true).await, Ok(Principal::default()));
    }

    #[tokio::test]
    async fn a_name_that_nobody_can_verify_is_refused() {
        let authenticator = Authenticator::new(Users::default());
        assert_eq!(
            authenticator.check(login(Some("plc7"), "x", true)).await,
            Err(LoginRefusal::BadUserNameOrPassword)
        );
    }
}
