//! `fieldgate cert request`: a key that never leaves the box, and what whoever signs has to be sent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::Fault;
use super::identity::Identity;
use crate::cli::replace::{Readers, replace};
use crate::net::Described;

/// A signing request, and the key it was made with.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) pem: String,
    pub(super) key: PathBuf,
    /// The key waited already.
    pub(super) is_again: bool,
    pub(super) common_name: String,
    pub(super) names: Vec<String>,
}

/// Makes the request; with the key of an earlier one that waits still, unless another is wanted.
pub(super) fn request(
    identity: &Identity,
    common_name: Option<&str>,
    names: &[String],
    new_key: bool,
) -> Result<Request, Fault> {
    // What there is now is asked for again, unless something else is said.
    let current = Described::read(&identity.certificate).unwrap_or_default();
    let current = current.first();
    let common_name = common_name
        .or_else(|| current?.common_name.as_deref())
        .unwrap_or(&identity.common_name)
        .to_owned();
    let names: Vec<String> = if names.is_empty() {
        current.map(kept_names).unwrap_or_default()
    } else {
        names.to_vec()
    };
    let path = identity.new_key();
    let (key, is_again) = match read_key(&path)? {
        Some(key) if !new_key => (key, true),
        _ => (make_key(&path, identity)?, false),
    };
    let pem = sign(&common_name, &names, &key)?;
    Ok(Request {
        pem,
        key: path,
        is_again,
        common_name,
        names,
    })
}

/// Those that a request can have.
fn kept_names(certificate: &Described) -> Vec<String> {
    let names = certificate.names.iter();
    let of_kind = |name: &String| {
        let name = name
            .strip_prefix("DNS:")
            .or_else(|| name.strip_prefix("IP:"))?;
        Some(name.to_owned())
    };
    names.filter_map(of_kind).collect()
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, Fault> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(KeyPair::from_pem(&text).map_err(Fault::key(path))?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::file(path)(error)),
    }
}

/// On the curve P-256, which every cloud takes.
fn make_key(path: &Path, identity: &Identity) -> Result<KeyPair, Fault> {
    let key = KeyPair::generate().map_err(Fault::key(path))?;
    let like = [&*identity.private_key, &*identity.certificate];
    let like = like.into_iter().find(|it| it.exists());
    let like = like.or_else(|| path.parent()).unwrap_or(path);
    let pem = key.serialize_pem();
    replace(path, pem.as_bytes(), Readers::Group, like).map_err(Fault::file(path))?;
    Ok(key)
}

fn sign(common_name: &str, names: &[String], key: &KeyPair) -> Result<String, Fault> {
    let mut params = CertificateParams::new(names).map_err(Fault::Request)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let request = params.serialize_request(key).map_err(Fault::Request)?;
    request.pem().map_err(Fault::Request)
}
