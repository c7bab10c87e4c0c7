//! A connection to an upstream, stage by stage, so that a failure names its stage. Each stage has the same limit.
//! CONNECT and CONNACK are the core's.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Address, BridgeOptions, DialError, Stage, StartError};
use crate::net::{Expiry, Fingerprint, TlsTime};
use crate::{clock, net};

/// A connection's bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What is needed to dial each address.
pub(super) struct Dialler {
    targets: Vec<Target>,
    /// Of the TLS options, to be named in errors.
    pub(super) ca: Option<PathBuf>,
    /// Of the files that it was made of.
    fingerprint: Option<Fingerprint>,
    /// When our certificate ends.
    pub(super) expiry: Option<Expiry>,
    limit: Duration,
}

struct Target {
    address: Address,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialler {
    /// Reads the TLS files. Blocks for milliseconds.
    pub(super) fn new(options: &BridgeOptions, time: &TlsTime) -> Result<Self, StartError> {
        // Taken first: should the files change meanwhile, the next look finds them changed.
        let fingerprint = options.tls.as_ref().map(Fingerprint::of);
        let setup = options.tls.as_ref();
        let setup = setup.map(|tls| net::client_setup(tls, time)).transpose()?;
        let (config, expiry) = setup.map(|setup| (setup.config, setup.expiry)).unzip();
        let connector = config.map(TlsConnector::from).zip(options.tls.as_ref());
        let target = |address: &Address| {
            if !address.tls {
                return Ok(Target {
                    address: address.clone(),
                    tls: None,
                });
            }
            let Some((connector, tls)) = &connector else {
                return Err(StartError::NoTls {
                    host: address.host.clone(),
                });
            };
            let name = tls.server_name.as_ref().unwrap_or(&address.host);
            let server_name = ServerName::try_from(name.clone())
                .map_err(|_| StartError::ServerName { name: name.clone() })?;
            Ok(Target {
                address: address.clone(),
                tls: Some((connector.clone(), server_name)),
            })
        };
        let targets: Vec<_> = options
            .addresses
            .iter()
            .map(target)
            .collect::<Result<_, _>>()?;
        if targets.is_empty() {
            return Err(StartError::NoAddress);
        }
        Ok(Self {
            targets,
            ca: options.tls.as_ref().map(|tls| tls.ca.clone()),
            fingerprint,
            expiry: expiry.flatten(),
            limit: options.stage_timeout,
        })
    }

    /// Of the TLS files that it was made of.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// DNS, TCP and TLS to the address with this index.
    pub(super) async fn dial(&self, index: usize) -> Result<Box<dyn Stream>, DialError> {
        let Some(target) = self.targets.get(index) else {
            return Err(DialError::new(Stage::Dns, "there is no such address"));
        };
        let resolved = self.resolve(&target.address).await?;
        let tcp = self.connect(&resolved).await?;
        net::configure(&tcp).map_err(|error| DialError::tcp(&error))?;
        let Some((connector, server_name)) = &target.tls else {
            return Ok(Box::new(tcp));
        };
        match timeout(self.limit, connector.connect(server_name.clone(), tcp)).await {
            Err(_) => Err(DialError::timeout(Stage::Tls, self.limit)),
            Ok(Err(error)) => Err(self.refused(&error)),
            Ok(Ok(stream)) => Ok(Box::new(stream)),
        }
    }

    /// Why a handshake failed, or what followed it.
    pub(super) fn refused(&self, error: &io::Error) -> DialError {
        DialError::tls(error, self.ca.as_ref(), clock::wall())
    }

    async fn resolve(&self, address: &Address) -> Result<Vec<SocketAddr>, DialError> {
        let lookup = tokio::net::lookup_host((address.host.as_str(), address.port));
        match timeout(self.limit, lookup).await {
            Err(_) => Err(DialError::timeout(Stage::Dns, self.limit)),
            Ok(Err(error)) => Err(DialError::dns(&error)),
            Ok(Ok(found)) => Ok(found.collect()),
        }
    }

    /// The first of the addresses that answers; they share the limit, so that one that drops packets leaves time for
    /// the next.
    async fn connect(&self, resolved: &[SocketAddr]) -> Result<TcpStream, DialError> {
        let share = self.limit / u32::try_from(resolved.len().max(1)).unwrap_or(u32::MAX);
        let mut failed = DialError::dns(&io::Error::other("it has no address"));
        for address in resolved {
            match timeout(share, TcpStream::connect(address)).await {
                Err(_) => failed = DialError::timeout(Stage::Tcp, share),
                Ok(Err(error)) => failed = DialError::tcp(&error),
                Ok(Ok(stream)) => return Ok(stream),
            }
        }
        Err(failed)
    }
}

impl std::fmt::Debug for Dialler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Dialler")
            .field("addresses", &self.targets.len())
            .finish_non_exhaustive()
    }
}
