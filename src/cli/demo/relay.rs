//! The link between gateway and upstream: relays TCP byte for byte, and can be cut. While it is cut, connections are
//! dropped and new ones are refused, as when a router loses its uplink.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A relay to one address.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    /// Ends with the relay.
    _task: JoinSet<()>,
}

impl Relay {
    /// Listens on a free port of loopback.
    pub(super) async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (cut, watched) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, upstream, watched));
        Ok(Self {
            address,
            cut,
            _task: task,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, cut: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if !*cut.borrow() => {
                    connections.spawn(relay(client, upstream, cut.clone()));
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "the demo's link cannot accept"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(mut client: TcpStream, upstream: SocketAddr, mut cut: watch::Receiver<bool>) {
    let relayed = async {
        let mut server = TcpStream::connect(upstream).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        ended = relayed => tracing::debug!(?ended, "a relayed connection ended"),
        _ = cut.wait_for(|cut| *cut) => {}
    }
}
