//! From an accepted socket to a stream whose handshake is done, and who the client's certificate says it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytestring::ByteString;
use rustls::{AlertDescription, CertificateError};
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::WebSocketOptions;
use super::served::Served;
use super::stream::{Caller, Socket};
use super::websocket::{self, UpgradeFault, WebSocket};
use crate::broker::{BrokerHandle, IncomingConnection, LinkClosed, NoSeat, Stream};
use crate::clock;
use crate::net;

/// What the connections of one listener have in common.
pub(super) struct Door {
    pub(super) name: Arc<str>,
    pub(super) anonymous: bool,
    pub(super) tls: Option<Served>,
    pub(super) websocket: Option<WebSocketOptions>,
    pub(super) user_from_common_name: bool,
    pub(super) broker: BrokerHandle,
    /// Nobody comes in by it any more.
    pub(super) has_ended: Arc<AtomicBool>,
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
        let (stream, certified) = if self.has_handshake() {
            let deadline = accepted + self.broker.connect_timeout();
            let shaken = timeout_at(deadline.into(), self.first_bytes(socket)).await;
            match shaken.unwrap_or(Err(HandshakeFault::Slow)) {
                Ok(shaken) => shaken,
                Err(fault) => {
                    self.complain(caller, &fault);
                    return Ok(());
                }
            }
        } else {
            (Box::new(socket) as Box<dyn Stream>, None)
        };
        let connection = IncomingConnection {
            stream,
            listener: Arc::clone(&self.name),
            peer: caller.address(),
            certified,
            anonymous: self.anonymous,
            accepted,
            has_ended: Arc::clone(&self.has_ended),
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

    /// The handshakes, begun when the client has said something: one that never does costs next to nothing.
    async fn first_bytes(&self, socket: Socket) -> Result<Shaken, HandshakeFault> {
        socket.readable().await.map_err(HandshakeFault::Socket)?;
        Box::pin(self.shake_hands(socket)).await
    }

    async fn shake_hands(&self, socket: Socket) -> Result<Shaken, HandshakeFault> {
        let Some(served) = &self.tls else {
            return Ok((self.wrap(socket).await?, None));
        };
        let files = served.now();
        let acceptor = TlsAcceptor::from(Arc::clone(&files.config));
        let stream = acceptor.accept(socket).await;
        let stream = Box::new(stream.map_err(HandshakeFault::Tls)?);
        files.watch.warn_if_due(&self.name, clock::wall());
        let certified = self.certified(&stream)?;
        Ok((self.wrap(stream).await?, certified))
    }

    /// The stream as the broker takes it: WebSocket, where this listener speaks that.
    async fn wrap(
        &self,
        mut stream: impl Stream + 'static,
    ) -> Result<Box<dyn Stream>, UpgradeFault> {
        match &self.websocket {
            None => Ok(Box::new(stream)),
            Some(options) => {
                let ahead = websocket::upgrade(&mut stream, options).await?;
                Ok(Box::new(WebSocket::new(stream, ahead)))
            }
        }
    }

    /// Says what became of a client.
    fn complain(&self, caller: Caller, fault: &HandshakeFault) {
        tracing::warn!(listener = %self.name, %caller, advice = fault.advice(), "no client: {fault}");
    }

    /// `None`: this listener does not go by certificates, or the client showed none.
    fn certified(&self, stream: &TlsStream<Socket>) -> Result<Option<ByteString>, HandshakeFault> {
        if !self.user_from_common_name {
            return Ok(None);
        }
        let shown = stream.get_ref().1.peer_certificates();
        let Some(certificate) = shown.and_then(|chain| chain.first()) else {
            return Ok(None);
        };
        let name = net::common_name(certificate).ok_or(HandshakeFault::NoName)?;
        Ok(Some(name.into()))
    }
}

/// A stream that the broker can take, and who it is where the handshake said so.
type Shaken = (Box<dyn Stream>, Option<ByteString>);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
enum HandshakeFault {
    #[error("the connection broke: {0}")]
    Socket(io::Error),
    #[error("it did not finish the handshake within `connect_timeout`")]
    Slow,
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("its certificate has no single common name to be its user")]
    NoName,
    #[error("no WebSocket: {0}")]
    WebSocket(#[from] UpgradeFault),
}

impl HandshakeFault {
    /// What to do about it, where the fault itself does not say it.
    fn advice(&self) -> &'static str {
        match self {
            Self::Tls(fault) => advice(fault),
            Self::NoName => "issue one with a common name, or set `user_from: off`",
            Self::Socket(_) | Self::Slow | Self::WebSocket(_) => "",
        }
    }
}

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
