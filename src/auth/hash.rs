//! Hashes of passwords: argon2id PHC strings (`$argon2id$v=19$m=..,t=..,p=..$salt$hash`), and what `mosquitto_passwd`
//! writes: `$7$iterations$salt$hash` (PBKDF2 of HMAC-SHA512) and, before version 2, `$6$salt$hash` (SHA-512 of password and
//! salt, once: quick to guess for whoever gets the file).
//!
//! A hash that asks for more RAM or time than a gateway can spare is a fault, for a login would stall the box.

use std::fmt;
use std::num::NonZeroU32;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier as _};
use base64ct::{Base64, Encoding as _};
use ring::{digest, pbkdf2};

/// RAM of one hash in KiB; twice that is in use while two are checked.
const MEMORY_KIB_MAX: u32 = 64 << 10;
/// Passes over that memory.
const PASSES_MAX: u32 = 16;
/// Of PBKDF2. `mosquitto_passwd` takes 101, or 1000 from 2.1 on.
const ITERATIONS_MAX: u32 = 500_000;

type Sha512 = [u8; digest::SHA512_OUTPUT_LEN];

/// What a password is checked against. Shown as its kind only: who has a hash can try passwords on it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Hash {
    Argon2id(Box<PasswordHash>),
    Pbkdf2 {
        iterations: NonZeroU32,
        salt: Box<[u8]>,
        expected: Box<Sha512>,
    },
    Sha512 {
        salt: Box<[u8]>,
        expected: Box<Sha512>,
    },
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Argon2id(_) => "Argon2id(***)",
            Self::Pbkdf2 { .. } => "Pbkdf2(***)",
            Self::Sha512 { .. } => "Sha512(***)",
        })
    }
}

/// Why a text is no hash that can be used. Never holds the text: it may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashFault {
    /// None that is known: perhaps a password in clear.
    Unknown,
    /// Of a kind with this name, which is not read.
    Kind(&'static str),
    /// It begins well, and is cut short or mistyped.
    Damaged,
    TooCostly,
}

/// Kinds that other programs write, by their beginnings.
const OTHER_KINDS: [(&str, &str); 9] = [
    ("$2a$", "bcrypt"),
    ("$2b$", "bcrypt"),
    ("$2y$", "bcrypt"),
    ("$argon2i$", "argon2i"),
    ("$argon2d$", "argon2d"),
    ("$scrypt$", "scrypt"),
    ("$1$", "MD5"),
    ("$5$", "SHA-256"),
    ("PBKDF2$", "mosquitto-go-auth"),
];

impl Hash {
    pub(super) fn parse(text: &str) -> Result<Self, HashFault> {
        if text.starts_with("$argon2id$") {
            return argon2id(text);
        }
        if let Some(rest) = text.strip_prefix("$7$") {
            return mosquitto_7(rest);
        }
        if let Some(rest) = text.strip_prefix("$6$") {
            return mosquitto_6(rest);
        }
        let kind = OTHER_KINDS
            .iter()
            .find(|(start, _)| text.starts_with(start));
        Err(kind.map_or(HashFault::Unknown, |(_, name)| HashFault::Kind(name)))
    }

    /// Whether it was made of `password`. Takes as long as the hash asks for.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            Self::Pbkdf2 {
                iterations,
                salt,
                expected,
            } => {
                let kind = pbkdf2::PBKDF2_HMAC_SHA512;
                pbkdf2::verify(kind, *iterations, salt, password, &expected[..]).is_ok()
            }
            Self::Sha512 { salt, expected } => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(salt);
                let made = context.finish();
                let pairs = made.as_ref().iter().zip(&expected[..]);
                // All of it, so that the time does not tell how much of it is right.
                pairs.fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
            }
        }
    }

    /// What the time goes with, roughly the same unit for all kinds: passes over a KiB, or iterations.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Argon2id(hash) => Params::try_from(&**hash).map_or(0, |params| {
                u64::from(params.m_cost()) * u64::from(params.t_cost())
            }),
            Self::Pbkdf2 { iterations, .. } => u64::from(iterations.get()),
            Self::Sha512 { .. } => 1,
        }
    }
}

fn argon2id(text: &str) -> Result<Hash, HashFault> {
    let hash = PasswordHash::new(text).map_err(|_| HashFault::Damaged)?;
    if hash.algorithm != Algorithm::Argon2id.ident() || hash.salt.is_none() || hash.hash.is_none() {
        return Err(HashFault::Damaged);
    }
    let params = Params::try_from(&hash).map_err(|_| HashFault::Damaged)?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
        return Err(HashFault::TooCostly);
    }
    Ok(Hash::Argon2id(Box::new(hash)))
}

fn mosquitto_7(rest: &str) -> Result<Hash, HashFault> {
    let (iterations, rest) = rest.split_once('$').ok_or(HashFault::Damaged)?;
    let iterations: NonZeroU32 = iterations.parse().map_err(|_| HashFault::Damaged)?;
    if iterations.get() > ITERATIONS_MAX {
        return Err(HashFault::TooCostly);
    }
    let (salt, expected) = salted(rest)?;
    Ok(Hash::Pbkdf2 {
        iterations,
        salt,
        expected,
    })
}

fn mosquitto_6(rest: &str) -> Result<Hash, HashFault> {
    let (salt, expected) = salted(rest)?;
    Ok(Hash::Sha512 { salt, expected })
}

fn salted(text: &str) -> Result<(Box<[u8]>, Box<Sha512>), HashFault> {
    let damaged = |_| HashFault::Damaged;
    let (salt, hash) = text.split_once('$').ok_or(HashFault::Damaged)?;
    let salt = Base64::decode_vec(salt).map_err(damaged)?;
    let mut expected = Box::new([0; digest::SHA512_OUTPUT_LEN]);
    let length = Base64::decode(hash, &mut expected[..])
        .map_err(damaged)?
        .len();
    if salt.is_empty() || length != expected.len() {
        return Err(HashFault::Damaged);
    }
    Ok((salt.into_boxed_slice(), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by mosquitto_passwd 2.0.11 of "secret".
    const SEVEN: &str = "$7$101$YQtXkMpuA0UZOwiB$3eV/sROD3ibH5zeIEGBFX41t5irHLWHVLzB6YvCpFlKX4oh+TRNcdxhikMRkv53CLgQmwZZoe4jcLQqE1cSc5w==";
    const SIX: &str = "$6$Cp7rjNmIkJhL7/kg$/zoeXYyUrI1FuiyYun5DQw55PtdLJNRqvQfzqBnEVcL83b8ao56OD8kD1/7VWFyV45yixeOzBpItha6AEh7Phw==";
    /// Made by the reference implementation of argon2, from its own tests: 256 KiB, two passes, of "password".
    const ARGON2ID: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn hashes_made_by_others_are_understood() {
        for (text, right, wrong) in [
            (SEVEN, "secret", "Secret"),
            (SIX, "secret", "secret "),
            (ARGON2ID, "password", ""),
        ] {
            let hash = Hash::parse(text).unwrap();
            assert!(hash.verify(right.as_bytes()), "{text}");
            assert!(!hash.verify(wrong.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_hash_is_told_without_showing_it() {
        for (text, fault) in [
            ("secret", HashFault::Unknown),
            ("$ecret$", HashFault::Unknown),
            ("", HashFault::Unknown),
            ("$2y$05$abc", HashFault::Kind("bcrypt")),
            (
                "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAA",
                HashFault::Kind("argon2i"),
            ),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", HashFault::Damaged),
            (
                "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
                HashFault::TooCostly,
            ),
            ("$7$", HashFault::Damaged),
            (&SEVEN.replace("101", "0"), HashFault::Damaged),
            (&SEVEN.replace("101", "-1"), HashFault::Damaged),
            (&SEVEN.replace("101", "500001"), HashFault::TooCostly),
            (
                &SEVEN.replace("$YQtXkMpuA0UZOwiB$", "$$"),
                HashFault::Damaged,
            ),
            (SEVEN.trim_end_matches('='), HashFault::Damaged),
            (&SIX[..40], HashFault::Damaged),
            (&SIX.replace("w==", "=="), HashFault::Damaged),
            ("$6$Cp7rjNmIkJhL7/kg$c2hvcnQ=", HashFault::Damaged),
        ] {
            assert_eq!(Hash::parse(text), Err(fault), "{text}");
        }
    }
}
