//! From an accepted socket to a stream whose handshake is done, and who the client's certificate says it is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustls::{AlertDescription, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::stream::Socket;
use crate::auth::Principal;
use crate::broker::{BrokerHandle, IncomingConnection, LinkClosed, Stream};
use crate::net;

/// What the connections of one listener have in common.
pub(super) struct Door {
    pub(super) name: Arc<str>,
    pub(super) anonymous: bool,
    pub(super) tls: Option<Arc<ServerConfig>>,
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
        socket: TcpStream,
        peer: SocketAddr,
        accepted: Instant,
    ) -> Result<(), LinkClosed> {
        if let Err(fault) = net::configure(&socket) {
            tracing::debug!(listener = %self.name, %peer, %fault, "the client was gone before it was served");
            return Ok(());
        }
        let socket = Socket::new(socket);
        let (stream, principal): (Box<dyn Stream>, _) = match &self.tls {
            None => (Box::new(socket), None),
            Some(config) => match self.secure(config, socket, peer, accepted).await {
                Some((stream, principal)) => (Box::new(stream), principal),
                None => return Ok(()),
            },
        };
        let connection = IncomingConnection {
            stream,
            listener: Arc::clone(&self.name),
            peer: Some(peer),
            principal,
            anonymous: self.anonymous,
            accepted,
        };
        self.broker.attach(connection).await
    }

    /// The TLS handshake, and the user that the client's certificate names where this listener goes by it.
    async fn secure(
        &self,
        config: &Arc<ServerConfig>,
        socket: Socket,
        peer: SocketAddr,
        accepted: Instant,
    ) -> Option<(TlsStream<Socket>, Option<Principal>)> {
        let deadline = accepted + self.broker.connect_timeout();
        let handshake = TlsAcceptor::from(Arc::clone(config)).accept(socket);
        let stream = match timeout_at(deadline.into(), handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(fault)) => {
                let advice = advice(&fault);
                tracing::warn!(listener = %self.name, %peer, %fault, advice, "TLS handshake failed");
                return None;
            }
            Err(_) => {
                tracing::warn!(listener = %self.name, %peer, "TLS handshake not finished within `connect_timeout`");
                return None;
            }
        };
        match self.principal(&stream) {
            Ok(principal) => Some((stream, principal)),
            Err(NoName) => {
                tracing::warn!(
                    listener = %self.name, %peer,
                    "client refused: its certificate has no single common name to be its user; issue one with a common name, or set `user_from: off`"
                );
                None
            }
        }
    }

    /// `None`: this listener does not go by certificates, or the client showed none.
    fn principal(&self, stream: &TlsStream<Socket>) -> Result<Option<Principal>, NoName> {
        if !self.user_from_common_name {
            return Ok(None);
        }
        let shown = stream.get_ref().1.peer_certificates();
        let Some(certificate) = shown.and_then(|chain| chain.first()) else {
            return Ok(None);
        };
        let name = net::common_name(certificate).ok_or(NoName)?;
        Ok(Some(Principal {
            user: Some(name.into()),
        }))
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
