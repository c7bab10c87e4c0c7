//! How others start and hold the broker.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{self, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};

use super::figures::{BrokerStats, Figures};
use super::inlet::InletOptions;
use super::link::{Joining, LinkEnds, inlet_pair, link_pair};
use super::request::Request;
use super::seats::{NoSeat, Seat, Seats};
use super::stores::Stores;
use super::thread::{Start, run};
use super::{BrokerOptions, Inlet, Link, LinkClosed, LinkOptions};
use crate::auth::{Authenticator, PARALLEL_HASHES};
use crate::shutdown::Stop;

/// Connections and links on their way to the broker's thread; whoever brings more waits.
const ARRIVALS: usize = 128;

/// What a thread's stack of hashes may still take when the broker has ended.
const HASHES_END: Duration = Duration::from_secs(1);

/// Starts the broker.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// Starts the broker on a thread of its own, named `broker`; it ends when `stop` is requested, after telling its
    /// clients (DISCONNECT 0x8B in MQTT 5), and drops `stop` when its last write is done. The stores are to
    /// be closed after that.
    ///
    /// # Errors
    /// Where the thread or its runtime cannot be made.
    pub fn start(
        options: BrokerOptions,
        stores: impl Into<Stores>,
        authenticator: Authenticator,
        stop: Stop,
    ) -> io::Result<BrokerHandle> {
        let (sender, arrivals) = mpsc::channel(ARRIVALS);
        let figures = Arc::new(Figures::default());
        let handle = BrokerHandle {
            arrivals: sender,
            authenticator: authenticator.clone(),
            figures: Arc::clone(&figures),
            connect_timeout: options.limits.connect_timeout,
            seats: Arc::new(Seats::new(options.limits.connections_per_address)),
        };
        let start = Start {
            options,
            stores: stores.into(),
            authenticator,
            figures,
            arrivals,
        };
        // The runtime cannot leave the thread that makes it; how that went comes back by this.
        let (made, is_made) = sync_channel(1);
        thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || {
                let mut stop = stop;
                let (runtime, outcome) = match runtime() {
                    Ok(runtime) => (Some(runtime), Ok(())),
                    Err(fault) => (None, Err(fault)),
                };
                if made.send(outcome).is_ok()
                    && let Some(runtime) = runtime
                {
                    runtime.block_on(run(start, &mut stop));
                    runtime.shutdown_timeout(HASHES_END);
                }
                drop(stop);
            })?;
        is_made.recv().map_err(io::Error::other)??;
        Ok(handle)
    }
}

/// The broker's thread, and those that hash passwords for it.
fn runtime() -> io::Result<LocalRuntime> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(PARALLEL_HASHES)
        .thread_name("broker-hash")
        .build_local(LocalOptions::default())
}

/// A byte stream whose handshake is done, in whatever way.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Called once on the broker's thread before the first use: a socket that was opened under another runtime is
    /// registered anew with this one.
    ///
    /// # Errors
    /// Where the socket cannot be registered.
    fn rehome(&mut self) -> io::Result<()>;
}

/// A connection as a listener hands it in, before CONNECT.
pub struct IncomingConnection {
    /// The bytes.
    pub stream: Box<dyn Stream>,
    /// The listener it came in by, for logs.
    pub listener: Arc<str>,
    /// Who is on the other side, for logs; `None` for a unix socket.
    pub peer: Option<SocketAddr>,
    /// The user that the client's certificate has proven: that is the login, whatever the CONNECT says.
    pub certified: Option<ByteString>,
    /// Whether a client without user name may connect here.
    pub anonymous: bool,
    /// When the socket was accepted: CONNECT must come within the limit from then on.
    pub accepted: Instant,
    /// Set when the listener has ended: who has not come in by then does not, since its terms are not those of now.
    pub has_ended: Arc<AtomicBool>,
}

/// What arrives at the broker's thread.
#[derive(Debug)]
pub(super) enum Arrival {
    Connection(IncomingConnection),
    Link(Joining, LinkEnds),
    Request(Request),
}

/// Holds the broker. Cheap to clone; every call is a message on a bounded channel to the broker's thread. The broker
/// lives on without handles, until it is stopped.
#[derive(Clone, Debug)]
pub struct BrokerHandle {
    pub(super) arrivals: mpsc::Sender<Arrival>,
    pub(super) authenticator: Authenticator,
    figures: Arc<Figures>,
    connect_timeout: Duration,
    seats: Arc<Seats>,
}

impl BrokerHandle {
    /// Hands in a connection. Waits while the broker is busy. Cancel safe: a cancelled call closes the connection.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn attach(&self, connection: IncomingConnection) -> Result<(), LinkClosed> {
        let arrival = Arrival::Connection(connection);
        self.arrivals.send(arrival).await.map_err(|_| LinkClosed)
    }

    /// Connects a part of fieldgate as a client; a link of the same client id that is still there is taken over.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn link(&self, options: LinkOptions) -> Result<Link, LinkClosed> {
        let (connected, answer) = oneshot::channel();
        let (link, ends) = link_pair(connected);
        let arrival = Arrival::Link(options.into(), ends);
        self.arrivals.send(arrival).await.map_err(|_| LinkClosed)?;
        let terms = answer.await.map_err(|_| LinkClosed)?;
        Ok(link.connected(terms))
    }

    /// Connects a bridge for what its upstream sends; an inlet of the same client id that is still there is taken over.
    /// Returns when the session is kept, as a CONNACK does.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn inlet(&self, options: InletOptions) -> Result<Inlet, LinkClosed> {
        let (connected, answer) = oneshot::channel();
        let (inlet, ends) = inlet_pair(connected);
        let arrival = Arrival::Link(options.into(), ends);
        self.arrivals.send(arrival).await.map_err(|_| LinkClosed)?;
        let terms = answer.await.map_err(|_| LinkClosed)?;
        Ok(inlet(terms))
    }

    /// Whether the broker takes nobody in any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.arrivals.is_closed()
    }

    /// A place for one more connection of this address, to be kept until it has ended.
    ///
    /// # Errors
    /// Where the address has as many as it may have.
    pub fn seat(&self, address: IpAddr) -> Result<Seat, NoSeat> {
        self.seats.take(address)
    }

    /// From accept to CONNECT, TLS included: what a listener gives a client before it hands it in.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Figures, as of the broker's last turn.
    #[must_use]
    pub fn stats(&self) -> BrokerStats {
        self.figures.stats()
    }
}

impl std::fmt::Debug for IncomingConnection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("IncomingConnection")
            .field("listener", &self.listener)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
