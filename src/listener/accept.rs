//! The accept loop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::bind::Bound;
use super::handshake::Door;
use super::stream::{Caller, Socket};
use crate::broker::LinkClosed;
use crate::clock;

/// Handshakes of TLS and WebSocket at a time; each costs about 2 ms of CPU and 40 KB. Clients beyond wait in the kernel's
/// queue. More than one address may have by default, so that one that opens connections and says nothing is not in
/// everybody's way.
pub const HANDSHAKES_MAX: usize = 256;

/// Wait after an error of accept that another try would only repeat, such as no file descriptor being left.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Accepts until the broker ends.
pub(super) async fn accept(bound: Bound, door: Arc<Door>) -> LinkClosed {
    let mut handshakes = JoinSet::new();
    let mut backoff = Backoff::default();
    loop {
        let (socket, caller) = tokio::select! {
            Some(ended) = handshakes.join_next() => match ended {
                Ok(Ok(())) => continue,
                Ok(Err(closed)) => return closed,
                Err(fault) => {
                    tracing::error!(listener = %door.name, %fault, "a handshake failed in an unforeseen way; this is a fault of fieldgate");
                    continue;
                }
            },
            accepted = next(&bound, &mut backoff, &door), if handshakes.len() < HANDSHAKES_MAX => accepted,
        };
        let accepted = clock::now();
        if door.has_handshake() {
            let door = Arc::clone(&door);
            handshakes.spawn(async move { door.admit(socket, caller, accepted).await });
        } else if let Err(closed) = door.admit(socket, caller, accepted).await {
            return closed;
        }
    }
}

/// The next socket, however long the system refuses to give one. Cancel safe.
async fn next(bound: &Bound, backoff: &mut Backoff, door: &Door) -> (Socket, Caller) {
    loop {
        match bound.accept().await {
            Ok(accepted) => {
                if backoff.recovered() {
                    tracing::info!(listener = %door.name, "accepting again");
                }
                return accepted;
            }
            // The client left while it waited in the kernel's queue.
            Err(fault)
                if matches!(
                    fault.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(fault) => {
                let (wait, is_new) = backoff.failed(&fault);
                if is_new {
                    tracing::error!(
                        listener = %door.name, %fault,
                        "cannot accept; trying on. Too many open files: raise LimitNOFILE or lower `connections`"
                    );
                }
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// How long to wait, and whether the fault is another than before: a log line a second helps nobody.
#[derive(Debug, Default)]
struct Backoff {
    wait: Duration,
    fault: Option<Option<i32>>,
}

impl Backoff {
    fn failed(&mut self, fault: &io::Error) -> (Duration, bool) {
        self.wait = (self.wait * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        let code = Some(fault.raw_os_error());
        let is_new = self.fault != code;
        self.fault = code;
        (self.wait, is_new)
    }

    fn recovered(&mut self) -> bool {
        let failed = self.fault.is_some();
        *self = Self::default();
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_to_a_second_and_a_fault_is_told_once() {
        let full = io::Error::from_raw_os_error(24);
        let mut backoff = Backoff::default();
        assert_eq!(backoff.failed(&full), (BACKOFF_MIN, true));
        assert_eq!(backoff.failed(&full), (BACKOFF_MIN * 2, false));
        for _ in 0..20 {
            backoff.failed(&full);
        }
        assert_eq!(backoff.failed(&full), (BACKOFF_MAX, false));
        assert!(backoff.failed(&io::Error::from_raw_os_error(12)).1);
        assert!(backoff.recovered());
        assert!(!backoff.recovered());
        assert_eq!(backoff.failed(&full), (BACKOFF_MIN, true));
    }
}
