//! The users file: lines of `name:hash`, the hash an argon2id PHC string (`$argon2id$v=19$m=..,t=..,p=..$salt$hash`).
//!
//! Read as a whole or not at all, and all faults are told at once: a file that is half understood would lock out some
//! users without a word. A hash that asks for more RAM or time than a gateway can spare is a fault, for a login would
//! stall the box.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier as _};

/// Some 30 000 users.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// RAM of one hash in KiB; twice that is in use while two are checked.
const MEMORY_KIB_MAX: u32 = 64 << 10;
/// Passes over that memory.
const PASSES_MAX: u32 = 16;

/// The users of the file, by name.
#[derive(Clone, Debug, Default)]
pub struct Users {
    hashes: HashMap<String, PasswordHash>,
    /// The one that takes longest to check: what a name that does not exist is made to cost.
    costliest: Option<PasswordHash>,
}

/// Why the users file cannot be taken. Its owner is to blame.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Missing, or not ours to read.
    #[error(
        "{path}: cannot be read: {source}; check the path, and that the user fieldgate runs as may read it"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Lines that are no users.
    #[error("{}", by_line(path, faults))]
    Lines {
        /// Which file.
        path: PathBuf,
        /// All of them.
        faults: Vec<(usize, LineFault)>,
    },
}

/// What is wrong with a line, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// No colon, or nothing before it.
    #[error("not of the form `name:hash`")]
    NotAUser,
    /// A password in clear, a hash of Mosquitto's, a line cut short.
    #[error(
        "`{user}`: not an argon2id hash; make one with `printf %s PASSWORD | argon2 \"$(openssl rand -hex 8)\" -id -e`"
    )]
    NotAHash {
        /// Whose.
        user: String,
    },
    /// More than a gateway can spare.
    #[error(
        "`{user}`: the hash asks for more than 64 MiB or 16 passes, which would stall the gateway at each login; make it with less"
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

fn by_line(path: &Path, faults: &[(usize, LineFault)]) -> impl fmt::Display {
    let lines: Vec<String> = faults
        .iter()
        .map(|(line, fault)| format!("{}:{line}: {fault}", path.display()))
        .collect();
    lines.join("\n")
}

impl Users {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// Where it cannot be read, and where a line is no user: with all such lines.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let unreadable = |source| UsersError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let length = File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(unreadable)?;
        if length as u64 > FILE_BYTES_MAX {
            return Err(unreadable(io::Error::other(
                "larger than 4 MiB, which is no users file",
            )));
        }
        Self::parse(&text).map_err(|faults| UsersError::Lines {
            path: path.to_owned(),
            faults,
        })
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

    /// Whether `password` is that of `name`. Takes as long as the hash asks for, also for a name that does not exist;
    /// at once only where there is no user at all.
    #[must_use]
    pub fn verify(&self, name: &str, password: &[u8]) -> bool {
        let known = self.hashes.get(name);
        let Some(hash) = known.or(self.costliest.as_ref()) else {
            return false;
        };
        let matches = Argon2::default().verify_password(password, hash).is_ok();
        matches && known.is_some()
    }

    fn add(&mut self, name: &str, hash: PasswordHash) {
        if self
            .costliest
            .as_ref()
            .is_none_or(|it| cost(it) < cost(&hash))
        {
            self.costliest = Some(hash.clone());
        }
        self.hashes.insert(name.to_owned(), hash);
    }
}

fn user(line: &str) -> Result<(&str, PasswordHash), LineFault> {
    let (name, hash) = line
        .split_once(':')
        .filter(|(name, _)| !name.is_empty())
        .ok_or(LineFault::NotAUser)?;
    let not_a_hash = || LineFault::NotAHash {
        user: name.to_owned(),
    };
    let hash = PasswordHash::new(hash).map_err(|_| not_a_hash())?;
    if hash.algorithm != Algorithm::Argon2id.ident() || hash.salt.is_none() || hash.hash.is_none() {
        return Err(not_a_hash());
    }
    let params = Params::try_from(&hash).map_err(|_| not_a_hash())?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
        return Err(LineFault::TooCostly {
            user: name.to_owned(),
        });
    }
    Ok((name, hash))
}

/// Blocks times passes: what the time goes with.
fn cost(hash: &PasswordHash) -> u64 {
    Params::try_from(hash).map_or(0, |params| {
        u64::from(params.m_cost()) * u64::from(params.t_cost())
    })
}

#[cfg(test)]
pub(super) mod tests {
    use argon2::PasswordHasher;

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
    fn a_hash_made_by_the_reference_implementation_is_understood() {
        // From its own tests: "password" with "somesalt", 256 KiB, two passes.
        let users = Users::parse(concat!(
            "plc7:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ",
            "$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n"
        ))
        .unwrap();
        assert!(users.verify("plc7", b"password"));
        assert!(!users.verify("plc7", b"Password"));
    }

    #[test]
    fn without_users_nobody_is_let_in() {
        assert!(!Users::default().verify("", b""));
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_lines() {
        let text = format!(
            "{}plc8\n:x\nhmi:secret\nold:$7$101$abc$def\ncut:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ\n\
             big:$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA\n{}",
            line("plc7", "a"),
            line("plc7", "b"),
        );
        let faults = Users::parse(&text).unwrap_err();
        let lines: Vec<usize> = faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8]);
        let error = UsersError::Lines {
            path: "users".into(),
            faults,
        }
        .to_string();
        assert!(error.contains("users:2: not of the form `name:hash`"));
        assert!(error.contains("users:4: `hmi`: not an argon2id hash; make one"));
        assert!(error.contains("users:7: `big`: the hash asks for more"));
        assert!(error.contains("users:8: `plc7`: is in line 1 already"));
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
