//! The console's server: opens its address, accepts, and lets no more in than there is room for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::Hosts;
use super::connection::{Desk, converse, turn_away};
use super::opening::Opening;
use crate::net;
use crate::shutdown::Stop;
use crate::status::{GatewayState, ListenerStatus};

/// After an accept that failed, as without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Somebody wants to know how the gateway is.
#[derive(Debug)]
pub struct Wanted(pub(super) oneshot::Sender<Box<GatewayState>>);

impl Wanted {
    /// Tells it.
    pub fn tell(self, state: GatewayState) {
        // Whoever asked may have gone; then nobody misses it.
        let told = self.0.send(Box::new(state)).is_ok();
        tracing::trace!(told, "the console was told the state");
    }
}

/// What a peer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are answered at a time; as many again are told that there is no room, further ones wait.
    pub connections: usize,
    /// The head of a request; no less than 8192.
    pub head_bytes: usize,
    /// For the head of a request to come, the wait for its first byte included.
    pub head_time: Duration,
    /// Of a connection; after it no further request is answered there.
    pub connection_time: Duration,
    /// After that, for an answer that is under way to be taken.
    pub answer_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8,
            head_bytes: 8 << 10,
            // Longer than what a browser waits between two requests for one page, shorter than a scrape interval.
            head_time: Duration::from_secs(10),
            connection_time: Duration::from_secs(60),
            answer_time: Duration::from_secs(10),
        }
    }
}

/// A console that answers until it is told to stop.
#[derive(Debug)]
pub struct Console {
    /// Where it listens, or why not.
    pub status: watch::Receiver<ListenerStatus>,
}

impl Console {
    /// Opens `bind` and answers in a task of the calling runtime; for the state, `wanted` is asked. The first attempt to open
    /// is made before this returns; where it fails, the task tries again.
    #[must_use]
    pub fn start(
        bind: SocketAddr,
        hosts: Hosts,
        limits: Limits,
        wanted: mpsc::Sender<Wanted>,
        stop: Stop,
    ) -> Self {
        let mut opening = Opening::new(bind);
        let status = opening.status();
        let first = opening.attempt();
        let desk = Desk {
            hosts,
            limits,
            wanted,
        };
        tokio::spawn(serve(stop, opening, first, Arc::new(desk)));
        Self { status }
    }
}

/// Connections that are there at the end are cut: nothing is lost that cannot be asked again.
async fn serve(mut stop: Stop, mut opening: Opening, first: Option<TcpListener>, desk: Arc<Desk>) {
    let accepting = async {
        let listener = match first {
            Some(listener) => listener,
            None => opening.until_open().await,
        };
        accept(&listener, &desk).await;
    };
    tokio::select! {
        () = stop.requested() => {}
        () = accepting => {}
    }
}

/// Never returns.
async fn accept(listener: &TcpListener, desk: &Arc<Desk>) {
    let (mut let_in, mut turned_away) = (JoinSet::new(), JoinSet::new());
    let room = desk.limits.connections;
    loop {
        tokio::select! {
            biased; // the room that others left is there for the next
            Some(ended) = let_in.join_next() => note(ended),
            Some(ended) = turned_away.join_next() => note(ended),
            stream = next(listener), if turned_away.len() < room => {
                if let_in.len() < room {
                    let_in.spawn(converse(stream, Arc::clone(desk)));
                } else {
                    turned_away.spawn(turn_away(stream));
                }
            }
        }
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(fault) = ended {
        tracing::error!(%fault, "a connection of the console failed in an unforeseen way; this is a fault of fieldgate");
    }
}

/// The next connection. Cancel safe.
async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match net::configure(&stream) {
                Ok(()) => return stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection of the console was lost at once")
                }
            },
            Err(error) => {
                tracing::warn!(%error, "the console cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
