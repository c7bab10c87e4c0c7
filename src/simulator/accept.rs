//! Takes connections in, at most [`CONNECTIONS_MAX`] at a time; more wait to be accepted. They end when this is dropped.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections served at a time.
pub const CONNECTIONS_MAX: usize = 64;
/// Pause before accepting again after the system refused to (no file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves each connection until it ends, for ever.
pub(super) async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the simulator cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "socket option refused");
        }
        let serving = serve(stream);
        connections.spawn(async move {
            serving.await;
            drop(slot);
        });
    }
}
