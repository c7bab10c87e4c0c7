//! Modbus TCP over TLS (Modbus/TCP Security): the handshake on a connection that was dialled, and in words why there is none.
//!
//! The files are read for each connection: those that were replaced count for the next one.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::open::LinkError;
use crate::adapter::wire_options::TcpOptions;
use crate::clock;
use crate::net::{self, ClientTls, Peer, TlsTime};

/// Why the device ended a connection after the handshake: with TLS 1.3 it says only then that it refuses our certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    /// What it said, once.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn tell(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

/// Bytes that nobody else reads.
#[derive(Debug)]
pub(super) struct Secured {
    stream: TlsStream<TcpStream>,
    tls: ClientTls,
    refusal: Refusal,
    /// Something came: from then on an error is no refusal.
    is_heard: bool,
}

/// Shakes hands as `tls` says; certificates are judged by `time`.
pub(super) async fn secure(
    stream: TcpStream,
    options: &TcpOptions,
    tls: &ClientTls,
    time: &TlsTime,
    refusal: &Refusal,
) -> Result<Secured, LinkError> {
    let setup = net::client_setup(tls, time)?;
    let name = tls.server_name.as_ref().unwrap_or(&options.host);
    let server_name = ServerName::try_from(name.clone())
        .map_err(|_| LinkError::ServerName { name: name.clone() })?;
    let shaking = TlsConnector::from(setup.config).connect(server_name, stream);
    match tokio::time::timeout(options.connect_timeout, shaking).await {
        Err(_) => Err(LinkError::Handshake(format!(
            "no answer within {:?}; is this a port for TLS?",
            options.connect_timeout
        ))),
        Ok(Err(error)) => Err(LinkError::Handshake(fault(&error, tls))),
        Ok(Ok(stream)) => Ok(Secured {
            stream,
            tls: tls.clone(),
            refusal: refusal.clone(),
            is_heard: false,
        }),
    }
}

fn fault(error: &io::Error, tls: &ClientTls) -> String {
    let device = Peer {
        name: "device",
        address: "`host`",
        plain: "Modbus TCP without TLS",
        ca: Some(&tls.ca),
        wall: clock::wall(),
    };
    device.handshake_fault(error)
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read
            && !this.is_heard
            && net::tls_fault(error).is_some()
        {
            let why = LinkError::Handshake(fault(error, &this.tls));
            this.refusal.tell(why.to_string());
        }
        this.is_heard |= buffer.filled().len() > before;
        read
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
