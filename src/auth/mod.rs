//! Who a client is: the users file and the check of a password. What a user may do comes with the access rules.
//!
//! A hash takes about 100 ms of CPU on purpose, so it never runs on the broker's thread: [`Authenticator::check`] hands it
//! to the runtime's blocking threads, at most [`PARALLEL_HASHES`] at a time. A name that does not exist costs as much as a
//! wrong password, so that nobody can find out names with a stop watch. No credential is ever taken unverified, and no
//! password is ever logged.

mod authenticator;
mod users;

pub use authenticator::{Authenticator, Login, LoginRefusal, PARALLEL_HASHES};
pub use users::{LineFault, Users, UsersError};

use bytestring::ByteString;

/// Who stands behind a connection, once authenticated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The user, `None` for an anonymous client.
    pub user: Option<ByteString>,
}
