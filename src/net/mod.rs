//! TLS set-ups from PEM files, why a handshake failed, who a certificate names and until when it is valid, the options every socket gets, and the
//! files of unix sockets.
//!
//! No accepting and no dialling: that is `listener`, `bridge` and `adapter`. Nothing here keeps state; the cryptography provider is
//! passed explicitly, so a process-wide default that some library might install changes nothing.

mod certificate;
mod der;
mod described;
mod fingerprint;
mod handshake;
mod pem;
mod revocation;
mod socket;
mod socket_file;
mod time;
mod tls;
mod tls_time;
mod validity;

pub use certificate::common_name;
pub use described::Described;
pub use fingerprint::{Fingerprint, SETTLE};
pub use handshake::{Peer, is_hang_up, tls_fault};
pub use socket::{configure, is_gone_or_speaks, listen as listen_tcp};
pub use socket_file::{SocketFile, SocketFileError, listen as listen_unix};
pub use tls::{ClientSetup, ServerSetup, TlsError, check_pair, client_setup, server_setup};
pub use tls_time::TlsTime;
pub use validity::Expiry;

use std::path::PathBuf;

/// What a TLS listener needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM: the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub private_key: PathBuf,
    /// PEM: who signs client certificates; needed unless `client_certificate` is off.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must show one.
    pub client_certificate: ClientCertificate,
    /// PEM: which client certificates were revoked, a list for each authority that signs clients.
    pub crl: Option<PathBuf>,
    /// Accept TLS 1.2 beside 1.3.
    pub allow_tls12: bool,
}

impl ServerTls {
    /// All that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = [&self.certificate, &self.private_key].into_iter();
        files.chain(&self.client_ca).chain(&self.crl)
    }
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Not asked for.
    #[default]
    Off,
    /// Checked where shown.
    Optional,
    /// No connection without.
    Required,
}

/// What is needed to reach an upstream, or a device, by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM: who signs the certificate of the other side.
    pub ca: PathBuf,
    /// PEM: our certificate and its private key, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that its certificate must carry; default: the host of the address.
    pub server_name: Option<String>,
    /// ALPN protocol names, in order of preference.
    pub alpn: Vec<String>,
}
