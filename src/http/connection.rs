//! One connection: requests are answered one after the other, as HTTP/1 has it, until the peer ends it, or its time is over.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::answer;
use super::request::{Resource, resource};
use super::{Hosts, Limits, Wanted};
use crate::status::GatewayState;

/// For the state to be put together; it waits for nothing but the processor.
const STATE_TIME: Duration = Duration::from_secs(5);
/// For a peer that is turned away to take that.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Of what such a peer sends, so much is read and thrown away: closing with unread bytes would throw our answer away.
const REST_BYTES: usize = 8 << 10;

/// What connections share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) hosts: Hosts,
    pub(super) limits: Limits,
    pub(super) wanted: mpsc::Sender<Wanted>,
}

/// Answers until the peer is done, or too slow.
pub(super) async fn converse(stream: TcpStream, desk: Arc<Desk>) {
    let limits = desk.limits;
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut ended = timeout(limits.connection_time, connection.as_mut()).await;
    if ended.is_err() {
        connection.as_mut().graceful_shutdown();
        ended = timeout(limits.answer_time, connection).await;
    }
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection of the console ended early"),
        Err(_) => tracing::debug!("a peer of the console did not take its answer"),
    }
}

impl Desk {
    async fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        let resource = match resource(request, &self.hosts) {
            Ok(resource) => resource,
            Err(refusal) => return answer::refusal(refusal),
        };
        let from_state = match resource {
            Resource::Index => return answer::index(),
            Resource::Health => return answer::health(),
            Resource::Ready => answer::ready,
            Resource::Metrics => answer::metrics,
            Resource::State => answer::state,
        };
        match timeout(STATE_TIME, self.state()).await {
            Ok(Some(state)) => from_state(&state),
            Ok(None) => answer::unavailable("the gateway stops"),
            Err(_) => answer::unavailable("the gateway does not say how it is"),
        }
    }

    /// `None`: nobody tells it any more.
    async fn state(&self) -> Option<Box<GatewayState>> {
        let (sender, state) = oneshot::channel();
        self.wanted.send(Wanted(sender)).await.ok()?;
        state.await.ok()
    }
}

/// Tells a peer that too many others are here.
pub(super) async fn turn_away(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Cache-Control: no-store\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 52\r\n\r\n\
        there are too many connections at present; try later";
    let told = timeout(REFUSAL_TIME, async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        let mut rest = [0; 512];
        let mut read = 0;
        while read < REST_BYTES {
            match stream.read(&mut rest).await? {
                0 => break,
                count => read += count,
            }
        }
        Ok::<_, std::io::Error>(())
    });
    let told = matches!(told.await, Ok(Ok(())));
    tracing::debug!(told, "the console turned a connection away");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(wanted: mpsc::Sender<Wanted>) -> Desk {
        Desk {
            hosts: Hosts::Any,
            limits: Limits::default(),
            wanted,
        }
    }

    async fn ask(desk: &Desk, path: &str) -> (u16, String) {
        let request = Request::get(path).header("host", "h").body(()).unwrap();
        let response = desk.answer(&request).await;
        (response.status().as_u16(), response.into_body())
    }

    #[tokio::test(start_paused = true)]
    async fn the_program_is_alive_also_while_nobody_tells_the_state() {
        let (sender, silent) = mpsc::channel(1);
        let desk = desk(sender);
        let (status, why) = ask(&desk, "/readyz").await;
        assert_eq!(
            (status, &*why),
            (503, "the gateway does not say how it is\n")
        );
        assert_eq!(ask(&desk, "/healthz").await, (200, "ok\n".to_owned()));
        drop(silent);
        assert_eq!(ask(&desk, "/metrics").await.0, 503);
    }
}
