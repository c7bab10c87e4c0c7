//! Why a bridge does not start, an attempt to connect fails, or a connection ends; in words for whoever has to mend it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::core::Cause;
use crate::clock::WallTime;
use crate::mqtt::DecodeError;
use crate::net::{Peer, TlsError, is_hang_up, tls_fault};

/// Why a bridge cannot start. The configuration or one of its files is to blame.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate, key or CA file.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// `mqtts://` without a `tls` section.
    #[error("{host}: an mqtts:// address needs a `tls` section with at least `ca`")]
    NoTls {
        /// Of the address.
        host: String,
    },
    /// Not a DNS name nor an IP address.
    #[error("{name:?} is no name that a certificate can carry; correct the url or `server_name`")]
    ServerName {
        /// As configured.
        name: String,
    },
    /// No address at all.
    #[error("the bridge has no address; give it a `url`")]
    NoAddress,
}

/// Stages of an attempt before MQTT, whose refusals are [`Cause`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name to addresses.
    Dns,
    /// The connection.
    Tcp,
    /// The handshake.
    Tls,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Dns => "DNS",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
#[error("{stage}: {why}")]
pub struct DialError {
    /// How far it came.
    pub stage: Stage,
    /// What happened, and what to do about it.
    pub why: String,
    /// One of both sides does not take the other's certificate, or so it seems: not the network.
    pub(super) is_refusal: bool,
}

impl DialError {
    pub(super) fn new(stage: Stage, why: impl Into<String>) -> Self {
        Self {
            stage,
            why: why.into(),
            is_refusal: false,
        }
    }

    /// At the TLS stage, of who we are or who the upstream is.
    pub(super) fn refusal(why: impl Into<String>) -> Self {
        Self {
            is_refusal: true,
            ..Self::new(Stage::Tls, why)
        }
    }

    pub(super) fn timeout(stage: Stage, limit: Duration) -> Self {
        let hint = match stage {
            Stage::Dns => "no answer from the DNS server",
            Stage::Tcp => {
                "no answer from the host; it is off, the route is down, or a firewall drops the packets"
            }
            Stage::Tls => "the handshake did not end; is this a TLS port?",
        };
        Self::new(stage, format!("{hint} ({limit:?})"))
    }

    pub(super) fn dns(error: &io::Error) -> Self {
        Self::new(
            Stage::Dns,
            format!(
                "the name cannot be resolved ({error}); check it, and the DNS server of this gateway"
            ),
        )
    }

    pub(super) fn tcp(error: &io::Error) -> Self {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "connection refused: nothing listens on this port, or a firewall rejects it"
                    .to_owned()
            }
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                format!("no route to the host ({error}); check cable, modem and gateway address")
            }
            _ => error.to_string(),
        };
        Self::new(Stage::Tcp, why)
    }

    /// `ca`: the file with the trusted issuers; `wall`: this gateway's clock.
    pub(super) fn tls(error: &io::Error, ca: Option<&PathBuf>, wall: WallTime) -> Self {
        let upstream = Peer {
            name: "upstream",
            address: "the url",
            plain: "plain mqtt://",
            ca: ca.map(PathBuf::as_path),
            wall,
        };
        Self::refusal(upstream.handshake_fault(error))
    }
}

/// Why a connection that was made ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The core closed it.
    #[error("MQTT: {0}")]
    Closed(Cause),
    /// The upstream closed it, without a word.
    #[error("the upstream closed the connection{}", if *.before_connack {
        " before its CONNACK: it refuses this client without saying why, or is not an MQTT broker"
    } else {
        ""
    })]
    End {
        /// CONNACK had not come.
        before_connack: bool,
    },
    /// The upstream sent something that is not MQTT.
    #[error("MQTT: the upstream sent a malformed packet: {0}")]
    Malformed(#[from] DecodeError),
    /// TLS 1.3 tells only now that our certificate was refused.
    #[error("{0}")]
    Tls(DialError),
    /// The network.
    #[error("the connection broke: {0}")]
    Io(io::Error),
}

impl LinkError {
    /// The upstream ended it without a word: in good order, or by a reset. `None`: we ended it, or the network did.
    pub(super) fn hang_up(&self) -> Option<bool> {
        match self {
            Self::End { .. } => Some(true),
            Self::Io(error) if is_hang_up(error) => Some(false),
            _ => None,
        }
    }

    /// Of reading or writing; `ca` and `wall` as for [`DialError::tls`].
    pub(super) fn io(error: io::Error, ca: Option<&PathBuf>, wall: WallTime) -> Self {
        if tls_fault(&error).is_some() {
            Self::Tls(DialError::tls(&error, ca, wall))
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            // TLS without its close_notify; rustls has a page of advice on it that helps no operator.
            Self::End {
                before_connack: false,
            }
        } else {
            Self::Io(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError};

    use super::*;

    const SET: WallTime = WallTime(1_900_000_000_000);

    fn tls(error: rustls::Error, wall: WallTime) -> String {
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        DialError::tls(&error, Some(&PathBuf::from("certs/ca.pem")), wall).to_string()
    }

    #[test]
    fn each_stage_names_itself_and_what_to_look_at() {
        let limit = Duration::from_secs(10);
        for (stage, word) in [
            (Stage::Dns, "DNS server"),
            (Stage::Tcp, "firewall"),
            (Stage::Tls, "TLS port"),
        ] {
            let text = DialError::timeout(stage, limit).to_string();
            assert!(text.starts_with(&stage.to_string()), "{text}");
            assert!(text.contains(word) && text.contains("10s"), "{text}");
        }
        let refused = DialError::tcp(&io::ErrorKind::ConnectionRefused.into()).to_string();
        assert!(refused.starts_with("TCP: connection refused"), "{refused}");
    }

    #[test]
    fn a_certificate_fault_says_which() {
        let fault = |fault| tls(rustls::Error::InvalidCertificate(fault), SET);
        let text = fault(CertificateError::UnknownIssuer);
        assert!(
            text.contains("unknown issuer") && text.contains("certs/ca.pem"),
            "{text}"
        );
        assert!(fault(CertificateError::NotValidForName).contains("host name mismatch"));
        assert!(fault(CertificateError::Expired).contains("has expired, or this gateway's clock"));
        assert!(fault(CertificateError::NotValidYet).contains("not valid yet"));
    }

    #[test]
    fn a_clock_that_was_never_set_is_named_as_the_cause() {
        let fault = rustls::Error::InvalidCertificate(CertificateError::NotValidYet);
        let text = tls(fault, WallTime(1000));
        assert!(text.contains("has not been set"), "{text}");
    }

    #[test]
    fn what_the_upstream_says_about_our_certificate_is_told() {
        let text = tls(
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
            SET,
        );
        assert!(text.contains("wants a client certificate"), "{text}");
    }
}
