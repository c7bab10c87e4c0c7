//! Whether the files of a TLS set-up hold something else than before.
//!
//! By content, not by time: copying keeps times, a symbolic link is turned without touching what it names, and a box
//! without a clock stamps everything alike. The files are a few kilobytes.

use std::path::PathBuf;
use std::time::Duration;

use ring::digest::{Context, SHA256};

use super::{ClientTls, pem};

/// Files that have just changed may be half written, or half of a new set: they count when they have stood still for so long.
pub const SETTLE: Duration = Duration::from_secs(5);

/// Equal for files with equal contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of the files that `options` names, as they are now. One that cannot be read counts by why. Blocks.
    #[must_use]
    pub fn of(options: &ClientTls) -> Self {
        let identity = options.identity.iter();
        let identity = identity.flat_map(|(certificate, private_key)| [certificate, private_key]);
        Self::of_files(std::iter::once(&options.ca).chain(identity))
    }

    /// Of these files, as they are now.
    pub fn of_files<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Self {
        let mut context = Context::new(&SHA256);
        for path in files {
            let (is_read, bytes) = match pem::read(path) {
                Ok(bytes) => (1, bytes),
                Err(fault) => (0, fault.to_string().into_bytes()),
            };
            context.update(&[is_read]);
            context.update(&(bytes.len() as u64).to_le_bytes());
            context.update(&bytes);
        }
        let mut sum = [0; 32];
        sum.copy_from_slice(context.finish().as_ref());
        Self(sum)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_contents_count_and_each_file_s() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let options = ClientTls {
            ca: path("ca"),
            identity: Some((path("certificate"), path("key"))),
            server_name: None,
            alpn: Vec::new(),
        };
        let now = || Fingerprint::of(&options);
        let mut seen = vec![now()];
        for (name, text) in [
            ("ca", "1"),
            ("certificate", "2"),
            ("key", "3"),
            ("key", "33"),
            ("certificate", "23"),
        ] {
            fs::write(path(name), text).unwrap();
            assert!(!seen.contains(&now()), "{name} is {text}");
            seen.push(now());
        }
        fs::write(path("new"), "23").unwrap();
        fs::rename(path("new"), path("certificate")).unwrap();
        assert_eq!(seen.last(), Some(&now()));
        fs::remove_file(path("key")).unwrap();
        assert!(!seen.contains(&now()));
    }
}
