//! What a reload of users and rules makes of clients that are there already. No I/O.

use std::sync::Arc;

use super::{Credentials, Principal};

/// From the users and rules that counted to those that count now.
#[derive(Clone, Debug)]
pub struct Revision {
    before: Arc<Credentials>,
    now: Arc<Credentials>,
}

impl Revision {
    pub(super) fn new(before: Arc<Credentials>, now: Arc<Credentials>) -> Self {
        Self { before, now }
    }

    /// Who the client is now, with the rights that it has now; `None`: nobody, because its line in the users file is gone
    /// or has another password. Who logged in with a certificate needs no line.
    #[must_use]
    pub fn judge(&self, principal: &Principal, client_id: &str) -> Option<Principal> {
        let Principal {
            user, certified, ..
        } = principal;
        if let Some(user) = user.as_deref().filter(|_| !certified)
            && self.before.users.has(user)
            && !self.before.users.agree_on(&self.now.users, user)
        {
            return None;
        }
        Some(Principal {
            user: user.clone(),
            certified: *certified,
            rights: self.now.access.rights(user.as_deref(), client_id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::users::tests::line;
    use super::super::{Access, Users};
    use super::*;

    fn credentials(users: &[(&str, &str)], access: Access) -> Arc<Credentials> {
        let text: String = users
            .iter()
            .map(|(name, password)| line(name, password))
            .collect();
        let users = Users::parse(&text).unwrap();
        Arc::new(Credentials {
            users,
            access,
            ..Credentials::default()
        })
    }

    #[test]
    fn who_is_no_user_any_more_is_nobody_and_the_others_get_new_rights() {
        let before = credentials(
            &[("gone", "1"), ("stays", "1"), ("new-password", "1")],
            Access::unlimited(),
        );
        let rules = Access::without_rules("g1").unwrap();
        let now = credentials(&[("stays", "1"), ("new-password", "2")], rules.clone());
        let revision = Revision::new(before, now);
        let judge = |user: Option<&str>, certified| {
            let principal = Principal {
                user: user.map(Into::into),
                certified,
                rights: None,
            };
            revision.judge(&principal, "c")
        };
        assert_eq!(judge(Some("gone"), false), None);
        assert_eq!(judge(Some("new-password"), false), None);
        for (user, certified) in [
            (Some("stays"), false),
            (Some("gone"), true),
            (Some("by-certificate"), true),
            (None, false),
        ] {
            let principal = judge(user, certified).unwrap();
            assert_eq!(
                (principal.user.as_deref(), principal.certified),
                (user, certified)
            );
            assert_eq!(principal.rights, rules.rights(user, "c"));
        }
    }
}
