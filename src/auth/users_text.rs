//! Changing the text of a users file, line by line: what somebody else wrote there, comments too, stays as it is. No I/O.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _};

/// Bytes of a salt.
pub const SALT_BYTES: usize = 16;
/// The longest password, in bytes: what MQTT carries.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Why there can be no such user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserFault {
    /// The file could not hold it, or no client could send it.
    #[error(
        "a user's name has 1 to 65535 bytes, no `:`, no control character, and neither blanks at its ends nor `#` at its start"
    )]
    Name,
    /// Nobody shall be able to log in without one, and no client can send a longer one.
    #[error("a password has 1 to 65535 bytes")]
    Password,
    /// Of argon2.
    #[error("the password cannot be hashed; this is a fault of fieldgate")]
    Hash,
}

/// A line of a users file.
#[derive(Clone, PartialEq, Eq)]
pub struct UserLine {
    name: String,
    hash: String,
}

impl fmt::Debug for UserLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("UserLine").field(&self.name).finish()
    }
}

impl UserLine {
    /// For a user with this password, by argon2id with 19 MiB and two passes. Takes some 100 ms of CPU.
    ///
    /// # Errors
    /// Where there can be no such user.
    pub fn new(name: &str, password: &[u8], salt: &[u8; SALT_BYTES]) -> Result<Self, UserFault> {
        let is_name = (1..=65_535).contains(&name.len())
            && !name.contains(':')
            && !name.chars().any(char::is_control)
            && name.trim() == name
            && !name.starts_with('#');
        if !is_name {
            return Err(UserFault::Name);
        }
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Err(UserFault::Password);
        }
        let hashed = Argon2::default().hash_password_with_salt(password, salt);
        let hash: PasswordHash = hashed.map_err(|_| UserFault::Hash)?;
        Ok(Self {
            name: name.to_owned(),
            hash: hash.to_string(),
        })
    }

    /// The text with this user, in the place of any line of that name, else at the end. Whether there was one.
    #[must_use]
    pub fn put_into(&self, text: &str) -> (String, bool) {
        let line = format!("{}:{}", self.name, self.hash);
        let mut was_there = false;
        let mut lines: Vec<&str> = Vec::new();
        for old in text.lines() {
            if name_of(old) != Some(&*self.name) {
                lines.push(old);
            } else if !std::mem::replace(&mut was_there, true) {
                lines.push(&line);
            }
        }
        if !was_there {
            lines.push(&line);
        }
        (joined(&lines), was_there)
    }
}

/// The text without this user; `None` where there is none of that name.
#[must_use]
pub fn without_user(text: &str, name: &str) -> Option<String> {
    let kept: Vec<_> = text
        .lines()
        .filter(|line| name_of(line) != Some(name))
        .collect();
    (kept.len() < text.lines().count()).then(|| joined(&kept))
}

/// The names, in their order.
pub fn user_names(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(name_of)
}

/// As the reader of the file takes it.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim();
    let (name, _) = line.split_once(':')?;
    (!line.starts_with('#') && !name.is_empty()).then_some(name)
}

fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Users;
    use super::*;

    const SALT: &[u8; SALT_BYTES] = b"0123456789abcdef";

    #[test]
    fn a_user_that_was_added_can_log_in_and_nothing_else_is_touched() {
        let one = UserLine::new("plc7", b"secret", SALT).unwrap();
        assert!(one.hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(format!("{one:?}"), "UserLine(\"plc7\")", "no hash in a log");
        let before = "# who may log in\n\n  hmi:$7$x\nplc7:$old\n plc7:$older\nlast:$6$";
        let (text, was_there) = one.put_into(before);
        assert!(was_there);
        let wanted = format!(
            "# who may log in\n\n  hmi:$7$x\nplc7:{}\nlast:$6$\n",
            one.hash
        );
        assert_eq!(text, wanted);
        assert_eq!(
            user_names(&text).collect::<Vec<_>>(),
            ["hmi", "plc7", "last"]
        );
        assert_eq!(
            without_user(&text, "plc7").unwrap(),
            "# who may log in\n\n  hmi:$7$x\nlast:$6$\n"
        );
        assert_eq!(without_user(&text, "plc"), None);

        let (alone, was_there) = one.put_into("");
        assert!(!was_there);
        let users = Users::parse(&alone).unwrap();
        assert!(users.verify("plc7", b"secret") && !users.verify("plc7", b"Secret"));
    }

    #[test]
    fn what_the_file_cannot_hold_is_refused() {
        for name in ["", "a:b", " a", "a ", "#a", "a\nb", &"x".repeat(65_536)] {
            let fault = UserLine::new(name, b"secret", SALT).unwrap_err();
            assert_eq!(fault, UserFault::Name, "{name}");
        }
        for password in [&b""[..], &[b'x'; 65_536]] {
            let fault = UserLine::new("plc7", password, SALT).unwrap_err();
            assert_eq!(fault, UserFault::Password);
        }
    }
}
