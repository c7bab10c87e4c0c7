//! The users file: lines of `name:hash`; see `hash` for the kinds of hashes.
//!
//! Read as a whole or not at all, and all faults are told at once: a file that is half understood would lock out some
//! users without a word.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::file::{self, FileError};
use super::hash::{Hash, HashFault};

/// The users of the file, by name.
#[derive(Clone, Debug, Default)]
pub struct Users {
    hashes: HashMap<String, Arc<Hash>>,
    /// The one that takes longest to check: what a name that does not exist is made to cost.
    costliest: Option<Arc<Hash>>,
}

/// How a line of the users file is made.
const MAKE_ONE: &str = "make one with `fieldgate user add NAME`, or with mosquitto_passwd";

/// What is wrong with a line, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// No colon, or nothing before it.
    #[error("not of the form `name:hash`")]
    NotAUser,
    /// A password in clear, or something else.
    #[error(
        "`{user}`: what follows is no hash that is known (argon2id, or Mosquitto's `$6$` and `$7$`); {MAKE_ONE}"
    )]
    NotAHash {
        /// Whose.
        user: String,
    },
    /// A hash of another program's.
    #[error(
        "`{user}`: hashes of {kind} are not read (argon2id is, and Mosquitto's `$6$` and `$7$`); {MAKE_ONE}"
    )]
    UnknownKind {
        /// Whose.
        user: String,
        /// Which.
        kind: &'static str,
    },
    /// Cut short, or mistyped.
    #[error("`{user}`: the hash is damaged; copy the whole line again, or {MAKE_ONE}")]
    Damaged {
        /// Whose.
        user: String,
    },
    /// More than a gateway can spare.
    #[error(
        "`{user}`: the hash asks for more than 64 MiB, 16 passes or 500000 iterations, which would stall the gateway at each login; make it with less"
    )]
    TooCostly {
        /// Whose.
        user: String,
    },
    /// Nobody could say which of the two passwords counts.
    #[error("`{user}`: is in line {first} already; remove one of the two")]
    Duplicate {
        /// Who.
        user: String,
        /// Where first.
        first: usize,
    },
}

impl Users {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// Where it cannot be read, and where a line is no user: with all such lines.
    pub fn read(path: &Path) -> Result<Self, FileError<LineFault>> {
        file::read(path, Self::parse)
    }

    /// The same from its text. Empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// All lines that are no users, by number from 1.
    pub fn parse(text: &str) -> Result<Self, Vec<(usize, LineFault)>> {
        let mut users = Self::default();
        let mut first_lines = HashMap::new();
        let mut faults = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match user(line) {
                Err(fault) => faults.push((number, fault)),
                Ok((name, hash)) => match first_lines.insert(name, number) {
                    None => users.add(name, hash),
                    Some(first) => faults.push((
                        number,
                        LineFault::Duplicate {
                            user: name.to_owned(),
                            first,
                        },
                    )),
                },
            }
        }
        if faults.is_empty() {
            Ok(users)
        } else {
            Err(faults)
        }
    }

    /// Whether nobody has an entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether `password` is that of `name`. Takes as long as the costliest hash asks for unless it is: neither a name that
    /// does not exist nor one with a cheap hash can be told by the time. At once only where there is no user at all.
    #[must_use]
    pub fn verify(&self, name: &str, password: &[u8]) -> bool {
        let Some(costliest) = &self.costliest else {
            return false;
        };
        let known = self.hashes.get(name);
        if known.is_some_and(|hash| hash.verify(password)) {
            return true;
        }
        if known.is_none_or(|hash| hash.cost() < costliest.cost()) {
            costliest.verify(password);
        }
        false
    }

    /// Whether `name` is in both with one and the same hash, so that who has logged in with the one may stay.
    #[must_use]
    pub fn agree_on(&self, other: &Self, name: &str) -> bool {
        let hash = self.hashes.get(name);
        hash.is_some() && hash == other.hashes.get(name)
    }

    /// Whether there is a line for `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.hashes.contains_key(name)
    }

    fn add(&mut self, name: &str, hash: Hash) {
        let hash = Arc::new(hash);
        if self
            .costliest
            .as_ref()
            .is_none_or(|it| it.cost() < hash.cost())
        {
            self.costliest = Some(Arc::clone(&hash));
        }
        self.hashes.insert(name.to_owned(), hash);
    }
}

fn user(line: &str) -> Result<(&str, Hash), LineFault> {
    let (name, hash) = line
        .split_once(':')
        .filter(|(name, _)| !name.is_empty())
        .ok_or(LineFault::NotAUser)?;
    let user = || name.to_owned();
    let hash = Hash::parse(hash).map_err(|fault| match fault {
        HashFault::Unknown => LineFault::NotAHash { user: user() },
        HashFault::Kind(kind) => LineFault::UnknownKind { user: user(), kind },
        HashFault::Damaged => LineFault::Damaged { user: user() },
        HashFault::TooCostly => LineFault::TooCostly { user: user() },
    })?;
    Ok((name, hash))
}

#[cfg(test)]
pub(super) mod tests {
    use argon2::password_hash::phc::PasswordHash;
    use argon2::{Algorithm, Argon2, Params, PasswordHasher};

    use super::*;

    /// As small as argon2 allows: these tests are not about cost.
    pub(in crate::auth) fn line(name: &str, password: &str) -> String {
        let params = Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash: PasswordHash = argon2
            .hash_password_with_salt(password.as_bytes(), b"0123456789abcdef")
            .unwrap();
        format!("{name}:{hash}\n")
    }

    #[test]
    fn a_password_is_checked_against_the_hash_of_its_user() {
        let text = format!(
            "# who may log in\n\n{}{}",
            line("plc7", "right"),
            line("hmi", "other")
        );
        let users = Users::parse(&text).unwrap();
        assert!(users.verify("plc7", b"right"));
        assert!(!users.verify("plc7", b"other"));
        assert!(!users.verify("plc7", b""));
        assert!(!users.verify("nobody", b"right"));
        assert!(users.verify("hmi", b"other"));
    }

    #[test]
    fn a_wrong_password_is_wrong_whatever_the_kinds_of_hashes() {
        // Of mosquitto_passwd, "secret".
        let old = "old:$6$Cp7rjNmIkJhL7/kg$/zoeXYyUrI1FuiyYun5DQw55PtdLJNRqvQfzqBnEVcL83b8ao56OD8kD1/7VWFyV45yixeOzBpItha6AEh7Phw==\n";
        let users = Users::parse(&format!("{old}{}", line("plc7", "right"))).unwrap();
        assert!(users.verify("old", b"secret") && users.verify("plc7", b"right"));
        // The costliest hash is checked for its time only: its password lets nobody else in.
        assert!(!users.verify("old", b"right") && !users.verify("nobody", b"right"));
    }

    #[test]
    fn only_who_has_the_same_hash_in_both_stays() {
        let before = format!("{}{}", line("a", "1"), line("b", "1"));
        let before = Users::parse(&format!("{before}{}", line("c", "1"))).unwrap();
        let after = Users::parse(&format!("{}{}", line("a", "1"), line("b", "2"))).unwrap();
        let stays = ["a", "b", "c", "d"].map(|name| before.agree_on(&after, name));
        assert_eq!(stays, [true, false, false, false]);
    }

    #[test]
    fn without_users_nobody_is_let_in() {
        assert!(!Users::default().verify("", b""));
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_lines() {
        let text = format!(
            "{}plc8\n:x\nhmi:secret\nold:$7$101$abc$def\ncut:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ\n\
             big:$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA\n{}web:$2y$05$abc\n",
            line("plc7", "a"),
            line("plc7", "b"),
        );
        let faults = Users::parse(&text).unwrap_err();
        let lines: Vec<usize> = faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9]);
        let error = FileError::Lines {
            path: "users".into(),
            faults,
        }
        .to_string();
        assert!(error.contains("users:2: not of the form `name:hash`"));
        assert!(error.contains("users:4: `hmi`: what follows is no hash that is known"));
        assert!(error.contains("users:5: `old`: the hash is damaged"));
        assert!(error.contains("users:7: `big`: the hash asks for more"));
        assert!(error.contains("users:8: `plc7`: is in line 1 already"));
        assert!(error.contains("users:9: `web`: hashes of bcrypt are not read"));
        assert!(!error.contains("secret"), "a password must not be shown");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Users::read(Path::new("/nowhere/users")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("/nowhere/users: cannot be read")
        );
    }
}
