//! rustls configurations from the options, with ring as the provider.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use rustls_pki_types::CertificateRevocationListDer;

use super::{ClientCertificate, ClientTls, Expiry, ServerTls, TlsTime, pem, revocation};
use crate::clock::WallTime;

/// Why a TLS set-up cannot be made. A file of the owner's is to blame; each message says which, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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
    /// Damaged, or something else.
    #[error(
        "{path}: not a PEM file ({fault}); a DER file is converted with `openssl x509 -inform der`"
    )]
    NotPem {
        /// Which file.
        path: PathBuf,
        /// What the reader said.
        fault: String,
    },
    /// PEM, but of something else.
    #[error("{path}: no certificate in it; it needs a `-----BEGIN CERTIFICATE-----` section")]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// PEM, but of something else.
    #[error(
        "{path}: no revocation list in it; it needs a `-----BEGIN X509 CRL-----` section (`openssl crl -inform der -in FILE` converts)"
    )]
    NoRevocationList {
        /// Which file.
        path: PathBuf,
    },
    /// Damaged, or of a kind that webpki does not take, such as a delta list.
    #[error(
        "{path}: is no revocation list that can be used: {fault}; it must be a whole X.509 v2 list (`openssl ca -gencrl` makes one where its configuration has `crlnumber` and `crl_extensions`)"
    )]
    UnusableList {
        /// Which file.
        path: PathBuf,
        /// What webpki said.
        fault: String,
    },
    /// PEM, but of something else.
    #[error(
        "{path}: no private key in it; it needs a `-----BEGIN PRIVATE KEY-----` section (PKCS #8, PKCS #1 or SEC 1)"
    )]
    NoPrivateKey {
        /// Which file.
        path: PathBuf,
    },
    /// A gateway boots alone: nobody could type the pass phrase.
    #[error(
        "{path}: the private key is encrypted; store it without a pass phrase: `openssl pkey -in {path} -out NEW`"
    )]
    EncryptedKey {
        /// Which file.
        path: PathBuf,
    },
    /// The two files are of different pairs.
    #[error(
        "{private_key}: is not the key of the certificate in {certificate}; use the key that its request was made with"
    )]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        private_key: PathBuf,
    },
    /// Of a kind that we cannot use.
    #[error(
        "{path}: cannot be used: {source}; fieldgate takes X.509 v3 certificates with RSA (2048 bits and more), ECDSA (P-256, P-384) or Ed25519 keys"
    )]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// Client certificates are asked for, but nothing says whose.
    #[error(
        "client certificates are asked for, but `client_ca` is missing; name the PEM file of who signs them"
    )]
    NoClientCa,
    /// The provider lacks a protocol version; a fault of ours.
    #[error("no TLS version can be offered: {source}; this is a fault of fieldgate")]
    Versions {
        /// What rustls said.
        source: rustls::Error,
    },
}

/// What a listener answers handshakes with, its files read and checked.
#[derive(Clone, Debug)]
pub struct ServerSetup {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// When the first of the revocation lists is due to be renewed; `None`: there is none, or none says. A list that
    /// is due still counts: the certificates that it names stay revoked, and a plant must not stop because nobody
    /// renewed a file. Whoever uses this setup warns of it.
    pub revocations_due: Option<WallTime>,
    /// When its certificate ends.
    pub expiry: Option<Expiry>,
}

/// What a bridge dials with, its files read and checked.
#[derive(Clone, Debug)]
pub struct ClientSetup {
    /// For rustls.
    pub config: Arc<ClientConfig>,
    /// When our certificate ends; `None`: there is none, or it does not say.
    pub expiry: Option<Expiry>,
}

const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const TLS13_AND_12: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Reads the files of a listener. Blocks for milliseconds.
///
/// # Errors
/// Names the file that is at fault, and the remedy.
pub fn server_setup(options: &ServerTls, time: &TlsTime) -> Result<ServerSetup, TlsError> {
    let chain = pem::certificates(&options.certificate)?;
    let expiry = Expiry::of(&options.certificate, &chain);
    let key = pem::private_key(&options.private_key)?;
    let lists = match &options.crl {
        Some(path) => pem::revocation_lists(path)?,
        None => Vec::new(),
    };
    let revocations_due = lists.iter().filter_map(revocation::next_update).min();
    let verifier = client_verifier(options, lists)?;
    let versions = if options.allow_tls12 {
        TLS13_AND_12
    } else {
        TLS13
    };
    let config = ServerConfig::builder_with_details(provider(), Arc::new(time.clone()))
        .with_protocol_versions(versions)
        .map_err(|source| TlsError::Versions { source })?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|source| pair_fault(&options.certificate, &options.private_key, source))?;
    Ok(ServerSetup {
        config: Arc::new(config),
        revocations_due,
        expiry,
    })
}

/// What a bridge dials its upstream with.
///
/// # Errors
/// Names the file that is at fault, and the remedy.
pub fn client_setup(options: &ClientTls, time: &TlsTime) -> Result<ClientSetup, TlsError> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(time.clone()))
        .with_protocol_versions(TLS13_AND_12)
        .map_err(|source| TlsError::Versions { source })?
        .with_root_certificates(trust_anchors(&options.ca)?);
    let (mut config, expiry) = match &options.identity {
        None => (builder.with_no_client_auth(), None),
        Some((certificate, private_key)) => {
            let chain = pem::certificates(certificate)?;
            let expiry = Expiry::of(certificate, &chain);
            let config = builder
                .with_client_auth_cert(chain, pem::private_key(private_key)?)
                .map_err(|source| pair_fault(certificate, private_key, source))?;
            (config, expiry)
        }
    };
    config.alpn_protocols = options
        .alpn
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(ClientSetup {
        config: Arc::new(config),
        expiry,
    })
}

/// Whether a certificate and a private key are of one pair, and of a kind that can be used. Blocks.
///
/// # Errors
/// Names the file that is at fault, and the remedy.
pub fn check_pair(certificate: &Path, private_key: &Path) -> Result<(), TlsError> {
    let chain = pem::certificates(certificate)?;
    let key = pem::private_key(private_key)?;
    let pair = CertifiedKey::from_der(chain, key, &provider());
    pair.map_err(|source| pair_fault(certificate, private_key, source))?;
    Ok(())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Revocation is checked for the client's own certificate, as Mosquitto does it: operators have the list of the
/// authority that signs their clients, not one of each authority above. A certificate that no list speaks for is refused.
fn client_verifier(
    options: &ServerTls,
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if options.client_certificate == ClientCertificate::Off {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let path = options.client_ca.as_deref().ok_or(TlsError::NoClientCa)?;
    let anchors = Arc::new(trust_anchors(path)?);
    let builder = WebPkiClientVerifier::builder_with_provider(anchors, provider())
        .with_crls(lists)
        .only_check_end_entity_revocation();
    let builder = match options.client_certificate {
        ClientCertificate::Required => builder,
        ClientCertificate::Off | ClientCertificate::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|fault| match fault {
        VerifierBuilderError::InvalidCrl(fault) => TlsError::UnusableList {
            path: options.crl.clone().unwrap_or_default(),
            fault: format!("{fault:?}"),
        },
        // An empty set of anchors, which `trust_anchors` has refused already.
        _ => TlsError::NoCertificate {
            path: path.to_owned(),
        },
    })
}

/// All of the file, or an error: a bundle that is half understood would refuse some clients without a word.
fn trust_anchors(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut anchors = RootCertStore::empty();
    for certificate in pem::certificates(path)? {
        anchors
            .add(certificate)
            .map_err(|source| TlsError::Unusable {
                path: path.to_owned(),
                source,
            })?;
    }
    Ok(anchors)
}

/// rustls checks certificate and key together; this says which of the two files to look at.
fn pair_fault(certificate: &Path, private_key: &Path, source: rustls::Error) -> TlsError {
    match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch {
            certificate: certificate.to_owned(),
            private_key: private_key.to_owned(),
        },
        rustls::Error::InvalidCertificate(_) => TlsError::Unusable {
            path: certificate.to_owned(),
            source,
        },
        source => TlsError::Unusable {
            path: private_key.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{KeyPair, generate_simple_self_signed};

    use super::*;

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let rcgen::CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let files = Self {
                dir: tempfile::tempdir().unwrap(),
            };
            files.put("cert.pem", &cert.pem());
            files.put("key.pem", &signing_key.serialize_pem());
            files
        }

        fn put(&self, name: &str, text: &str) -> PathBuf {
            let path = self.path(name);
            fs::write(&path, text).unwrap();
            path
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn server(&self) -> ServerTls {
            ServerTls {
                certificate: self.path("cert.pem"),
                private_key: self.path("key.pem"),
                client_ca: Some(self.path("cert.pem")),
                client_certificate: ClientCertificate::Required,
                crl: None,
                allow_tls12: true,
            }
        }
    }

    #[test]
    fn a_sound_set_of_files_is_taken() {
        let files = Files::new();
        server_setup(&files.server(), &TlsTime::default()).unwrap();
        let client = ClientTls {
            ca: files.path("cert.pem"),
            identity: Some((files.path("cert.pem"), files.path("key.pem"))),
            server_name: None,
            alpn: vec!["mqtt".to_owned()],
        };
        let client = client_setup(&client, &TlsTime::default()).unwrap();
        assert_eq!(client.config.alpn_protocols, [b"mqtt"]);
    }

    #[test]
    fn each_fault_names_the_file_and_the_remedy() {
        let files = Files::new();
        let fault = |change: &dyn Fn(&mut ServerTls)| {
            let mut options = files.server();
            change(&mut options);
            server_setup(&options, &TlsTime::default())
                .unwrap_err()
                .to_string()
        };

        let missing = fault(&|o| o.certificate = files.path("absent.pem"));
        assert!(missing.contains("absent.pem: cannot be read"), "{missing}");

        let swapped = fault(&|o| o.certificate = files.path("key.pem"));
        assert!(swapped.contains("key.pem: no certificate"), "{swapped}");

        let no_key = fault(&|o| o.private_key = files.path("cert.pem"));
        assert!(no_key.contains("cert.pem: no private key"), "{no_key}");

        let other = KeyPair::generate().unwrap().serialize_pem();
        let other = files.put("other.pem", &other);
        let mismatch = fault(&|o| o.private_key = other.clone());
        assert!(mismatch.contains("other.pem: is not the key"), "{mismatch}");

        let encrypted = files.put(
            "enc.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        let encrypted = fault(&|o| o.private_key = encrypted.clone());
        assert!(encrypted.contains("without a pass phrase"), "{encrypted}");

        let torn = files.put("torn.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
        let torn = fault(&|o| o.client_ca = Some(torn.clone()));
        assert!(torn.contains("torn.pem: not a PEM file"), "{torn}");

        let junk = files.put(
            "junk.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        let junk = fault(&|o| o.client_ca = Some(junk.clone()));
        assert!(junk.contains("junk.pem: cannot be used"), "{junk}");

        let no_list = fault(&|o| o.crl = Some(files.path("cert.pem")));
        assert!(
            no_list.contains("cert.pem: no revocation list"),
            "{no_list}"
        );

        let junk = files.put(
            "junk.crl",
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        );
        let junk = fault(&|o| o.crl = Some(junk.clone()));
        assert!(junk.contains("junk.crl: is no revocation list"), "{junk}");

        let no_ca = fault(&|o| o.client_ca = None);
        assert!(no_ca.contains("`client_ca` is missing"), "{no_ca}");
    }
}
