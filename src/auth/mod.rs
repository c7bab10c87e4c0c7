//! Who a client is and what it may do: the users file, the check of a password, the rights that rules give.
//!
//! A hash takes about 100 ms of CPU on purpose, so it never runs on the broker's thread: [`Authenticator::check`] hands it
//! to the runtime's blocking threads, at most [`PARALLEL_HASHES`] at a time. A name that does not exist costs as much as a
//! wrong password, so that nobody can find out names with a stop watch. No credential is ever taken unverified, and no
//! password is ever logged.

mod access;
mod acl;
mod authenticator;
mod file;
mod hash;
mod patterns;
mod reach;
mod revision;
mod rights;
mod turns;
mod users;
mod users_text;

pub use access::{Access, AccessEntry, AccessOptions, PLACEHOLDERS, Who};
pub use acl::{Acl, AclFault};
pub use authenticator::{Authenticator, Credentials, Login, LoginRefusal, Unknown};
pub use file::FileError;
pub use patterns::LEVELS_MAX;
pub use reach::Reach;
pub use revision::Revision;
pub use rights::{Grant, Layer, Rights};
pub use turns::{PARALLEL_HASHES, WAITING_MAX};
pub use users::{LineFault, Users};
pub use users_text::{SALT_BYTES, UserFault, UserLine, user_names, without_user};

use std::sync::Arc;

use bytestring::ByteString;

/// Whom a login has proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user, `None` for an anonymous client.
    pub user: Option<ByteString>,
    /// Known by its certificate: it needs no line in the users file.
    pub certified: bool,
}

impl Identity {
    /// With what it may do by these rules under the ClientId that it has. That may be one that the broker gives it, so the
    /// rights come after the name.
    #[must_use]
    pub fn with_rights(self, access: &Access, client_id: &str) -> Principal {
        let Self { user, certified } = self;
        Principal {
            rights: access.rights(user.as_deref(), client_id),
            user,
            certified,
        }
    }
}

/// Who stands behind a connection, once authenticated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The user, `None` for an anonymous client.
    pub user: Option<ByteString>,
    /// Known by its certificate: it needs no line in the users file.
    pub certified: bool,
    /// What it may do; `None`: everything, as fieldgate's own links.
    pub rights: Option<Arc<Rights>>,
}
