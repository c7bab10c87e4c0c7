//! `fieldgate cert install`: a certificate that was signed takes the place of the one before, once it is known to fit.
//!
//! Invariants: nothing is changed by a certificate that would not be believed, or that no key here fits; what is replaced is
//! kept beside it as `.old`, also where the command is given again; each file is whole at any time; no key is written into a
//! file that others may read. Where both are one file they are replaced at once. Between the two files of a pair the old
//! certificate has the new key for a moment: whoever looks then keeps what it has, and after a power cut just then the
//! same command mends it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Fault;
use super::identity::Identity;
use crate::cli::replace::{Readers, beside, replace};
use crate::cli::words::date;
use crate::clock::WallTime;
use crate::net::{Described, TlsError, check_pair};

/// What was done.
#[derive(Debug)]
pub(super) struct Installed<'a> {
    pub(super) identity: &'a Identity,
    /// The key is new, too.
    pub(super) has_new_key: bool,
    /// Names that the one before had and this one has not.
    pub(super) lost_names: Vec<String>,
    pub(super) ends: WallTime,
    /// What was replaced is there.
    pub(super) kept: Vec<PathBuf>,
}

/// Takes the certificate in `file` up, in the place of whichever of `identities` it is for.
pub(super) fn install<'a>(
    file: &Path,
    identities: &'a [Identity],
    now: WallTime,
) -> Result<Installed<'a>, Fault> {
    let chain = Described::read(file)?;
    judge(file, &chain, now)?;
    let (identity, has_new_key) = fitting(file, identities)?;
    let Some(first) = chain.first() else {
        return Err(Fault::NothingInIt(file.to_owned()));
    };
    let before = Described::read(&identity.certificate).unwrap_or_default();
    let lost = before.first().map(|before| before.names.iter());
    let lost = lost
        .into_iter()
        .flatten()
        .filter(|it| !first.names.contains(it));
    Ok(Installed {
        has_new_key,
        lost_names: lost.cloned().collect(),
        ends: chain.iter().map(|it| it.to).min().unwrap_or(first.to),
        kept: swap(file, identity, has_new_key)?,
        identity,
    })
}

/// Whether anybody would believe it.
fn judge(file: &Path, chain: &[Described], now: WallTime) -> Result<(), Fault> {
    let fault = |why: String| Fault::NotUsable {
        file: file.to_owned(),
        why,
    };
    for pair in chain.windows(2) {
        if let [below, above] = pair
            && below.issuer != above.subject
        {
            return Err(fault(format!(
                "after `{}` comes `{}`, and not who signed it, `{}`; the file holds the certificate, then its issuer, and so on",
                below.subject, above.subject, below.issuer
            )));
        }
    }
    if !now.is_plausible() {
        return Err(fault(
            "the clock of this box is not set, so nobody knows whether it is valid now; set the time first".to_owned(),
        ));
    }
    for certificate in chain {
        let Described {
            subject, from, to, ..
        } = certificate;
        if now < *from {
            return Err(fault(format!(
                "`{subject}` is valid only from {} on",
                date(*from)
            )));
        }
        if *to <= now {
            return Err(fault(format!("`{subject}` ended on {}", date(*to))));
        }
    }
    Ok(())
}

/// Whose key it fits, and whether that is one that waits. Those come first.
fn fitting<'a>(file: &Path, identities: &'a [Identity]) -> Result<(&'a Identity, bool), Fault> {
    let waiting = identities.iter().map(|it| (it, true, it.new_key()));
    let present = identities
        .iter()
        .map(|it| (it, false, it.private_key.clone()));
    let mut others = Vec::new();
    for (identity, is_new, key) in waiting.chain(present) {
        if !key.exists() {
            continue;
        }
        match check_pair(file, &key) {
            Ok(()) => return Ok((identity, is_new)),
            Err(TlsError::KeyMismatch { .. }) => others.push(key.display().to_string()),
            // Then no key helps.
            Err(TlsError::Unusable { path, source }) if path == file => {
                return Err(TlsError::Unusable { path, source }.into());
            }
            // That this key cannot be used may be why none fits.
            Err(fault) => others.push(fault.to_string()),
        }
    }
    Err(Fault::FitsNoKey {
        file: file.to_owned(),
        keys: others.join(", "),
    })
}

/// What was there before is kept where this says.
fn swap(file: &Path, identity: &Identity, has_new_key: bool) -> Result<Vec<PathBuf>, Fault> {
    let Identity {
        certificate,
        private_key,
        ..
    } = identity;
    let read = |path: &Path| fs::read(path).map_err(Fault::file(path));
    let new = identity.new_key();
    let mut kept = Vec::new();
    let chain = sections(&read(file)?, Section::Certificate);
    if is_same(certificate, private_key) {
        let key = read(if has_new_key { &new } else { private_key })?;
        let both = [sections(&key, Section::Other), chain].concat();
        kept.extend(keep(private_key, &both, Readers::Group)?);
        replace(private_key, &both, Readers::Group, &new).map_err(Fault::file(private_key))?;
    } else {
        if has_new_key {
            let key = read(&new)?;
            kept.extend(keep(private_key, &key, Readers::Group)?);
            replace(private_key, &key, Readers::Group, &new).map_err(Fault::file(private_key))?;
        }
        kept.extend(keep(certificate, &chain, Readers::All)?);
        replace(certificate, &chain, Readers::All, private_key)
            .map_err(Fault::file(certificate))?;
    }
    if has_new_key {
        // Only now: until here the command can be given again.
        fs::remove_file(&new).map_err(Fault::file(&new))?;
    }
    Ok(kept)
}

/// One file has several names.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// What stands in a PEM file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Certificate,
    /// Keys, and what belongs to them.
    Other,
}

/// Those of one kind alone, without what stands between them.
fn sections(pem: &[u8], wanted: Section) -> Vec<u8> {
    let mut found = Vec::new();
    let mut current = None;
    for line in pem.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"-----BEGIN CERTIFICATE-----") {
            current = Some(Section::Certificate);
        } else if line.starts_with(b"-----BEGIN ") {
            current = Some(Section::Other);
        }
        if current == Some(wanted) {
            found.extend_from_slice(line);
        }
        if line.starts_with(b"-----END ") {
            current = None;
        }
    }
    if found.last().is_some_and(|last| *last != b'\n') {
        found.push(b'\n');
    }
    found
}

/// Keeps what `next` is to replace; nothing where that was done already. A copy, so that the name always stands for a whole
/// file.
fn keep(path: &Path, next: &[u8], readers: Readers) -> Result<Option<PathBuf>, Fault> {
    let content = match fs::read(path) {
        Ok(content) if content == next => return Ok(None),
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::file(path)(error)),
    };
    let old = beside(path, "old");
    replace(&old, &content, readers, path).map_err(Fault::file(&old))?;
    Ok(Some(old))
}
