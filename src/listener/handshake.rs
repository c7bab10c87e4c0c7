//! From an accepted socket to a stream whose handshake is done, and who the client's certificate says it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytestring::ByteString;
use rustls::{AlertDescription, CertificateError, ServerConfig};
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::WebSocketOptions;
use super::stream::{Caller, Socket};
use super::websocket;
use crate::broker::{BrokerHandle, IncomingConnection, LinkClosed, NoSeat, Stream};
use crate::clock::{self, WallTime};
use crate::net;

/// What the connections of one listener have in common.
pub(super) struct Door {
    pub(super) name: Arc<str>,
    pub(super) anonymous: bool,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) revocations: RevocationWatch,
    pub(super) websocket: Option<WebSocketOptions>,
    pub(super) user_from_common_name: bool,
    pub(super) broker: BrokerHandle,
}

impl Door {
    /// Prepares one socket and hands it in. What is wrong with one client is logged here and nobody else's business.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub(super) async fn admit(
        &self,
        socket: Socket,
        caller: Caller,
        accepted: Instant,
    ) -> Result<(), LinkClosed> {
        tracing::debug!(listener = %self.name, %caller, "accepted");
        let Some(socket) = self.seat(socket, caller) else {
            return Ok(());
        };
        if let Err(fault) = socket.configure() {
            tracing::debug!(listener = %self.name, %caller, %fault, "the client was gone before it was served");
            return Ok(());
        }
        let deadline = accepted + self.broker.connect_timeout();
        let prepared = match &self.tls {
            None => self.wrap(socket, caller, deadline).await.zip(Some(None)),
            Some(config) => match self.secure(config, socket, caller, deadline).await {
                Some((stream, certified)) => {
                    let stream = self.wrap(stream, caller, deadline).await;
                    stream.zip(Some(certified))
                }
                None => None,
            },
        };
        let Some((stream, certified)) = prepared else {
            return Ok(());
        };
        let connection = IncomingConnection {
            stream,
            listener: Arc::clone(&self.name),
            peer: caller.address(),
            certified,
            anonymous: self.anonymous,
            accepted,
        };
        self.broker.attach(connection).await
    }

    /// Counts the connection; `None` where its address has as many as it may have.
    fn seat(&self, socket: Socket, caller: Caller) -> Option<Socket> {
        let Some(address) = caller.address() else {
            return Some(socket); // who may open the file is trusted that far
        };
        match self.broker.seat(address.ip()) {
            Ok(seat) => Some(socket.seated(seat)),
            Err(NoSeat { limit, is_news }) => {
                if is_news {
                    tracing::warn!(
                        listener = %self.name, address = %address.ip(), limit,
                        "refused: this address has as many connections as `connections_per_address` allows; raise it if they are meant to be"
                    );
                }
                None
            }
        }
    }

    /// Whether a connection has something to do before the broker takes it.
    pub(super) fn has_handshake(&self) -> bool {
        self.tls.is_some() || self.websocket.is_some()
    }

    /// The stream as the broker takes it: WebSocket, where this listener speaks that.
    async fn wrap<S: Stream + 'static>(
        &self,
        stream: S,
        caller: Caller,
        deadline: Instant,
    ) -> Option<Box<dyn Stream>> {
        let Some(options) = &self.websocket else {
            return Some(Box::new(stream));
        };
        match timeout_at(deadline.into(), websocket::upgrade(stream, options)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(fault)) => {
                tracing::warn!(listener = %self.name, %caller, %fault, "no WebSocket");
                None
            }
            Err(_) => {
                tracing::warn!(listener = %self.name, %caller, "no WebSocket within `connect_timeout`");
                None
            }
        }
    }

    /// The TLS handshake, and the user that the client's certificate names where this listener goes by it.
    async fn secure(
        &self,
        config: &Arc<ServerConfig>,
        socket: Socket,
        caller: Caller,
        deadline: Instant,
    ) -> Option<(TlsStream<Socket>, Option<ByteString>)> {
        let handshake = TlsAcceptor::from(Arc::clone(config)).accept(socket);
        let stream = match timeout_at(deadline.into(), handshake).await {
            Ok(Ok(stream)) => {
                self.revocations.warn_if_due(&self.name, clock::wall());
                stream
            }
            Ok(Err(fault)) => {
                let advice = advice(&fault);
                tracing::warn!(listener = %self.name, %caller, %fault, advice, "TLS handshake failed");
                return None;
            }
            Err(_) => {
                tracing::warn!(listener = %self.name, %caller, "TLS handshake not finished within `connect_timeout`");
                return None;
            }
        };
        match self.certified(&stream) {
            Ok(user) => Some((stream, user)),
            Err(NoName) => {
                tracing::warn!(
                    listener = %self.name, %caller,
                    "client refused: its certificate has no single common name to be its user; issue one with a common name, or set `user_from: off`"
                );
                None
            }
        }
    }

    /// `None`: this listener does not go by certificates, or the client showed none.
    fn certified(&self, stream: &TlsStream<Socket>) -> Result<Option<ByteString>, NoName> {
        if !self.user_from_common_name {
            return Ok(None);
        }
        let shown = stream.get_ref().1.peer_certificates();
        let Some(certificate) = shown.and_then(|chain| chain.first()) else {
            return Ok(None);
        };
        let name = net::common_name(certificate).ok_or(NoName)?;
        Ok(Some(name.into()))
    }
}

/// Tells, once a day, that the revocation list in use is older than its authority says it should be.
#[derive(Debug)]
pub(super) struct RevocationWatch {
    /// When it is due to be renewed.
    due: Option<WallTime>,
    /// In milliseconds of the wall clock.
    told: AtomicU64,
}

impl RevocationWatch {
    const AGAIN_MILLIS: u64 = 24 * 60 * 60 * 1000;

    pub(super) fn new(due: Option<WallTime>) -> Self {
        Self {
            due,
            told: AtomicU64::new(0),
        }
    }

    pub(super) fn warn_if_due(&self, listener: &str, now: WallTime) {
        if self.is_to_be_told(now) {
            tracing::warn!(
                listener,
                "the revocation list in `crl` is out of date; the certificates that it names are still refused, those revoked since are not: get the newest list"
            );
        }
    }

    fn is_to_be_told(&self, now: WallTime) -> bool {
        let is_due = self.due.is_some_and(|due| due < now);
        let told = WallTime(self.told.load(Ordering::Relaxed));
        let tell = is_due && now.millis_since(told) >= Self::AGAIN_MILLIS;
        if tell {
            self.told.store(now.0, Ordering::Relaxed);
        }
        tell
    }
}

/// The certificate is sound, but names nobody.
struct NoName;

/// What to do about a handshake that failed; rustls says what, not whose turn it is.
fn advice(fault: &io::Error) -> &'static str {
    let fault = fault
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match fault {
        None => "the client closed the connection; it may not trust this listener's certificate",
        Some(rustls::Error::InvalidMessage(_)) => {
            "the client does not speak TLS; it must be told to, or use a listener without `tls`"
        }
        Some(rustls::Error::NoCertificatesPresented) => {
            "the client must be given a certificate, or `client_certificate` set to optional"
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => {
            "its certificate is revoked by the list in `crl`; if it is meant to come in, issue it a new one"
        }
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownRevocationStatus)) => {
            "no list in `crl` speaks for the authority that signed the client's certificate; add its list to the file"
        }
        Some(rustls::Error::InvalidCertRevocationList(_)) => {
            "the list in `crl` is not signed by the authority that signed the client's certificate, or that one may not sign lists (key usage cRLSign)"
        }
        Some(rustls::Error::InvalidCertificate(_)) => {
            "the client needs a valid certificate that one in `client_ca` has signed"
        }
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        )) => {
            "the client does not trust this listener's certificate; give it the CA that signed it"
        }
        Some(rustls::Error::PeerIncompatible(_)) => {
            "the client offers no TLS version or cipher in common; see `minimum_version`"
        }
        Some(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_out_of_date_is_told_once_a_day() {
        let watch = RevocationWatch::new(Some(WallTime(1_900_000_000_000)));
        let after = |millis| watch.is_to_be_told(WallTime(1_900_000_000_000 + millis));
        assert!(!after(0));
        assert!(after(1));
        assert!(!after(2));
        assert!(!after(RevocationWatch::AGAIN_MILLIS));
        assert!(after(RevocationWatch::AGAIN_MILLIS + 1));
        assert!(!RevocationWatch::new(None).is_to_be_told(WallTime(u64::MAX)));
    }
}
