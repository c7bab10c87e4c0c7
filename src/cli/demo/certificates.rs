//! The demo's certificates: an authority, the stand-in upstream and the gateway, made on the spot into a folder.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Where the files are.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) authority: PathBuf,
    pub(super) upstream: (PathBuf, PathBuf),
    pub(super) gateway: (PathBuf, PathBuf),
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot write a certificate: {0}")]
    Write(#[from] std::io::Error),
}

/// Makes all of them in `folder`.
pub(super) fn make(folder: &Path) -> Result<Certificates, CertificateError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "fieldgate demo authority");
    let key = KeyPair::generate()?;
    let authority = folder.join("ca.crt");
    fs::write(&authority, params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let names = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
    Ok(Certificates {
        authority,
        upstream: signed(
            &issuer,
            folder,
            "upstream",
            names,
            ExtendedKeyUsagePurpose::ServerAuth,
        )?,
        gateway: signed(
            &issuer,
            folder,
            "gateway",
            Vec::new(),
            ExtendedKeyUsagePurpose::ClientAuth,
        )?,
    })
}

fn signed(
    issuer: &Issuer<'_, KeyPair>,
    folder: &Path,
    name: &str,
    subject_alternative_names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<(PathBuf, PathBuf), CertificateError> {
    let mut params = CertificateParams::new(subject_alternative_names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    let (certificate, private_key) = (
        folder.join(format!("{name}.crt")),
        folder.join(format!("{name}.key")),
    );
    fs::write(&certificate, params.signed_by(&key, issuer)?.pem())?;
    fs::write(&private_key, key.serialize_pem())?;
    Ok((certificate, private_key))
}
