//! `fieldgate cert install`: a certificate that was signed takes the place of the one before, once it is known to fit.
//!
//! Invariants: nothing is changed by a certificate that would not be believed, or that no key here fits; what is replaced is
//! kept beside it as `.old`; each file is whole at any time. Between the two files of a pair the old certificate has the
//! new key for a moment: whoever looks then keeps what it has, and after a power cut just then the same command mends it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Fault;
use super::identity::Identity;
use crate::cli::replace::{Readers, beside, replace};
use crate::cli::words::date;
use crate::clock::WallTime;
use crate::net::{Described, check_pair};

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
    let fits = |key: &Path| key.exists() && check_pair(file, key).is_ok();
    let (identity, has_new_key) = identities
        .iter()
        .map(|identity| (identity, true))
        .chain(identities.iter().map(|identity| (identity, false)))
        .find(|(identity, is_new)| {
            if *is_new {
                fits(&identity.new_key())
            } else {
                fits(&identity.private_key)
            }
        })
        .ok_or_else(|| Fault::FitsNoKey {
            file: file.to_owned(),
            keys: keys(identities),
        })?;
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

fn keys(identities: &[Identity]) -> String {
    let keys = identities
        .iter()
        .flat_map(|identity| [identity.new_key(), identity.private_key.clone()]);
    let keys = keys.filter(|key| key.exists());
    let keys: Vec<_> = keys.map(|key| key.display().to_string()).collect();
    keys.join(", ")
}

fn swap(file: &Path, identity: &Identity, has_new_key: bool) -> Result<Vec<PathBuf>, Fault> {
    let Identity {
        certificate,
        private_key,
        ..
    } = identity;
    let pem = fs::read(file).map_err(Fault::file(file))?;
    let new = identity.new_key();
    let mut kept: Vec<_> = keep(certificate, Readers::All)?.into_iter().collect();
    if has_new_key {
        kept.extend(keep(private_key, Readers::Group)?);
        let key = fs::read(&new).map_err(Fault::file(&new))?;
        replace(private_key, &key, Readers::Group, &new).map_err(Fault::file(private_key))?;
    }
    replace(certificate, &pem, Readers::All, private_key).map_err(Fault::file(certificate))?;
    if has_new_key {
        // Only now: until here the command can be given again.
        fs::remove_file(&new).map_err(Fault::file(&new))?;
    }
    Ok(kept)
}

/// A copy, so that the name always stands for a whole file.
fn keep(path: &Path, readers: Readers) -> Result<Option<PathBuf>, Fault> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::file(path)(error)),
    };
    let old = beside(path, "old");
    replace(&old, &content, readers, path).map_err(Fault::file(&old))?;
    Ok(Some(old))
}
