//! PEM files: certificates, revocation lists and private keys, with errors that name the file, what is wrong with it and the remedy.
//!
//! A file is read once and up to a limit; what is not PEM, or not what was asked for, is an error and never skipped.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::TlsError;

/// Above what any bundle of trust anchors needs; keeps a path to a wrong file (a device, a backup) from filling the RAM.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Every certificate of the file, in order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|fault| not_pem(path, &fault))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

/// Every revocation list of the file; at least one.
pub(super) fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let text = read(path)?;
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|fault| not_pem(path, &fault))?;
    if lists.is_empty() {
        return Err(TlsError::NoRevocationList {
            path: path.to_owned(),
        });
    }
    Ok(lists)
}

/// The first private key of the file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if is_encrypted(&text) => Err(TlsError::EncryptedKey {
            path: path.to_owned(),
        }),
        Err(pem::Error::NoItemsFound) => Err(TlsError::NoPrivateKey {
            path: path.to_owned(),
        }),
        Err(fault) => Err(not_pem(path, &fault)),
    }
}

/// PKCS #8 says so in the section's name, the older OpenSSL form in a `Proc-Type` header.
fn is_encrypted(text: &[u8]) -> bool {
    text.windows(b"ENCRYPTED".len())
        .any(|window| window == b"ENCRYPTED")
}

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source: io::Error| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // To open a pipe could block for ever.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("it is no regular file")));
    }
    let mut text = Vec::new();
    let length = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(unreadable)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::other(
            "larger than 4 MiB, which is no PEM file",
        )));
    }
    Ok(text)
}

fn not_pem(path: &Path, fault: &pem::Error) -> TlsError {
    TlsError::NotPem {
        path: path.to_owned(),
        fault: fault.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("ca.pem");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let error = certificates(&pipe).unwrap_err().to_string();
        assert!(
            error.contains("cannot be read: it is no regular file"),
            "{error}"
        );
    }
}
