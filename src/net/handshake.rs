//! Why a TLS handshake failed, in words for whoever has to mend it.

use std::io;
use std::path::Path;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::clock::WallTime;

/// Whom a handshake was for, as messages name it.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// What it is: an upstream, a device.
    pub name: &'a str,
    /// Where the configuration says its address.
    pub address: &'a str,
    /// What may be spoken on a port that is not for TLS.
    pub plain: &'a str,
    /// The file with the trusted issuers.
    pub ca: Option<&'a Path>,
    /// This gateway's clock.
    pub wall: WallTime,
}

/// Whether the other side ended the connection without a word.
#[must_use]
pub fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// What rustls found, inside the error of a stream.
#[must_use]
pub fn tls_fault(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

impl Peer<'_> {
    /// What failed, and what to look at.
    #[must_use]
    pub fn handshake_fault(&self, error: &io::Error) -> String {
        let Self { name, plain, .. } = self;
        match tls_fault(error) {
            Some(rustls::Error::InvalidCertificate(fault)) => self.certificate(fault),
            Some(rustls::Error::AlertReceived(alert)) => self.refused_by_alert(*alert),
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                format!("the port does not speak TLS; is it the port for {plain}?")
            }
            Some(rustls::Error::PeerIncompatible(fault)) => {
                format!("no version or cipher of TLS 1.2 or 1.3 in common ({fault:?})")
            }
            Some(other) => other.to_string(),
            None if is_hang_up(error) => format!(
                "the {name} closed the connection during the handshake; is this a TLS port?"
            ),
            None => error.to_string(),
        }
    }

    fn certificate(&self, fault: &CertificateError) -> String {
        let Self {
            name,
            address,
            ca,
            wall,
            ..
        } = self;
        let clock = if wall.is_plausible() {
            "or this gateway's clock is wrong"
        } else {
            "by this gateway's clock, which has not been set since it was switched on; check its time server"
        };
        match fault {
            CertificateError::NotValidForName => {
                format!(
                    "host name mismatch: the {name}'s certificate is for another name; correct {address}, or set `server_name` to a name in it"
                )
            }
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => format!(
                "host name mismatch: the {name}'s certificate is for {}, not for {}; correct {address}, or set `server_name` to a name in it",
                presented.join(", "),
                expected.to_str(),
            ),
            CertificateError::UnknownIssuer => format!(
                "unknown issuer: the {name}'s certificate is signed by none of the CAs in {}",
                ca.map_or_else(|| "`ca`".to_owned(), |path| path.display().to_string()),
            ),
            CertificateError::BadSignature => format!(
                "unknown issuer: the {name}'s certificate is not signed by the CA of that name in {}; was the CA renewed?",
                ca.map_or_else(|| "`ca`".to_owned(), |path| path.display().to_string()),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the {name}'s certificate has expired, {clock} ({fault})")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the {name}'s certificate is not valid yet, {clock} ({fault})")
            }
            CertificateError::Revoked => format!("the {name}'s certificate has been revoked"),
            other => format!("the {name}'s certificate is not accepted: {other}"),
        }
    }

    fn refused_by_alert(&self, alert: AlertDescription) -> String {
        let Self { name, address, .. } = self;
        let why = match alert {
            AlertDescription::CertificateRequired => {
                format!(
                    "the {name} wants a client certificate; set `certificate` and `private_key`"
                )
            }
            AlertDescription::UnknownCA => {
                format!(
                    "the {name} does not know who signed our certificate; its CA must be registered there"
                )
            }
            AlertDescription::CertificateExpired => {
                format!("the {name} says that our certificate has expired")
            }
            AlertDescription::CertificateRevoked => {
                format!("the {name} says that our certificate has been revoked")
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => format!("the {name} refused our certificate"),
            AlertDescription::HandshakeFailure => {
                format!("the {name} found nothing in common with us, or wants a client certificate")
            }
            AlertDescription::NoApplicationProtocol => {
                format!("the {name} takes none of our `alpn` names")
            }
            AlertDescription::ProtocolVersion => {
                format!("the {name} takes neither TLS 1.2 nor 1.3")
            }
            AlertDescription::UnrecognisedName => {
                format!("the {name} serves no such name; correct {address} or `server_name`")
            }
            _ => format!("the {name} ended the handshake"),
        };
        format!("{why} (alert {alert:?})")
    }
}
