//! From options to a listener that listens: its files are read first, its address is opened in a step of its own.
//!
//! An address that cannot be had ends nothing. After a power cut a box is often up before its network is, and nobody is
//! there to start it again: the listener says so in log and status, and tries until it has the address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::accept::accept;
use super::bind::{Bound, open};
use super::handshake::Door;
use super::served::Served;
use super::{Bind, BindError, ListenError, ListenerOptions};
use crate::broker::{BrokerHandle, LinkClosed};
use crate::clock;
use crate::net::{self, Expiry, ServerSetup, TlsTime};
use crate::shutdown::{Pulse, Stop};
use crate::status::ListenerStatus;

/// Between two attempts to open the address.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// How often its task shows that it is alive, and how late that may be.
const BEAT: Duration = Duration::from_secs(10);
const STEP_MAX: Duration = Duration::from_secs(30);

/// A listener whose files are read and sound; it does not listen yet.
#[derive(Debug)]
pub struct PreparedListener {
    options: ListenerOptions,
    tls: Option<ServerSetup>,
}

/// A listener that accepts until it is told to stop.
#[derive(Clone, Debug)]
pub struct Listener {
    /// How it stands.
    pub status: watch::Receiver<ListenerStatus>,
    /// Of its task.
    pub pulse: Pulse,
    options: ListenerOptions,
    tls: Option<Served>,
}

impl PreparedListener {
    /// Reads the certificates; those of clients are judged by `time`. Blocks for milliseconds.
    ///
    /// # Errors
    /// Where a file cannot be used; says which and what to do.
    pub fn new(options: ListenerOptions, time: &TlsTime) -> Result<Self, ListenError> {
        let tls = options.tls.as_ref();
        let tls = tls.map(|tls| net::server_setup(tls, time)).transpose();
        let tls = tls.map_err(|source| ListenError {
            name: options.name.clone(),
            source,
        })?;
        Ok(Self { options, tls })
    }

    /// When its certificate ends, if it has one.
    #[must_use]
    pub fn expiry(&self) -> Option<&Expiry> {
        self.tls.as_ref()?.expiry.as_ref()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Opens the address and accepts in a task of the calling runtime, which may not be the broker's. The first attempt
    /// is made before this returns; where it fails, the task tries again.
    #[must_use]
    pub fn start(self, broker: BrokerHandle, stop: Stop) -> Listener {
        let Self { options, tls } = self;
        let tls = tls.as_ref().map(Served::new);
        let kept = (options.clone(), tls.clone());
        let door = Door {
            name: options.name.as_str().into(),
            anonymous: options.anonymous,
            tls,
            websocket: options.websocket,
            user_from_common_name: options.user_from_common_name,
            broker,
            has_ended: Arc::default(),
        };
        let mut opening = Opening {
            report: watch::Sender::new(ListenerStatus::new(options.name, &options.bind)),
            bind: options.bind,
            wait: Duration::ZERO,
        };
        let status = opening.report.subscribe();
        let first = opening.attempt();
        let pulse = Pulse::new(format!("listener {}", door.name), STEP_MAX, clock::now());
        tokio::spawn(serve(stop, opening, first, Arc::new(door), pulse.clone()));
        let (options, tls) = kept;
        Listener {
            status,
            pulse,
            options,
            tls,
        }
    }
}

impl Listener {
    /// Answers the next handshakes with the files of `new`; connections that are there stay. False where there is nothing
    /// to answer with, or where `new` differs in its options: those count from a start on.
    pub fn renew(&self, new: &PreparedListener) -> bool {
        let files = self.tls.as_ref().zip(new.tls.as_ref());
        let Some((served, setup)) = files.filter(|_| self.options == new.options) else {
            return false;
        };
        served.replace(setup);
        true
    }

    /// Where it listens; the port is the real one where port 0 was asked for. `None` while it does not listen, and for
    /// a unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        let status = self.status.borrow();
        let address = status.address.parse().ok();
        address.filter(|_| status.error.is_none())
    }
}

/// Ends with the request to stop or with the broker; handshakes that are not done then are dropped.
async fn serve(
    mut stop: Stop,
    mut opening: Opening,
    first: Option<Bound>,
    door: Arc<Door>,
    pulse: Pulse,
) {
    let (name, has_ended) = (Arc::clone(&door.name), Arc::clone(&door.has_ended));
    let accepting = async {
        let bound = match first {
            Some(bound) => bound,
            None => opening.until_open().await,
        };
        accept(bound, door).await
    };
    tokio::select! {
        () = stop.requested() => {}
        LinkClosed = accepting => {}
        () = beat(&pulse) => {}
    }
    has_ended.store(true, Ordering::Relaxed);
    // One that ends by itself is missed.
    if stop.is_requested() {
        pulse.end();
    }
    tracing::info!(listener = %name, "no longer listening");
}

/// In the same task as what accepts: where that hangs, this does.
async fn beat(pulse: &Pulse) {
    let mut tick = tokio::time::interval(BEAT);
    loop {
        pulse.rest_until(tick.tick().await.into_std() + BEAT);
    }
}

/// The attempts to open one address.
struct Opening {
    bind: Bind,
    report: watch::Sender<ListenerStatus>,
    wait: Duration,
}

impl Opening {
    /// Tells a fault when it is another than before: a line each half minute helps nobody.
    fn attempt(&mut self) -> Option<Bound> {
        let listener = self.report.borrow().name.clone();
        match open(&self.bind) {
            Ok((bound, bind)) => {
                tracing::info!(listener, address = %bind, "listening");
                self.report.send_modify(|status| status.opened(&bind));
                Some(bound)
            }
            Err(fault) => {
                let fault: BindError = fault;
                let error = fault.to_string();
                let is_new = self.report.send_if_modified(|status| status.failed(&error));
                if is_new {
                    tracing::error!(listener, error, "not listening; trying on");
                }
                None
            }
        }
    }

    async fn until_open(&mut self) -> Bound {
        loop {
            self.wait = (self.wait * 2).clamp(AGAIN_MIN, AGAIN_MAX);
            tokio::time::sleep(self.wait).await;
            if let Some(bound) = self.attempt() {
                return bound;
            }
        }
    }
}

/// Why this address cannot be listened on now, if it cannot; asked by `check`. The address is free again when this
/// returns. `None` for a unix socket: its folder may be made when the service starts. Within a tokio runtime.
#[must_use]
pub fn probe(bind: &Bind) -> Option<BindError> {
    match bind {
        Bind::Tcp(_) => open(bind).err(),
        Bind::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_is_tried_until_it_is_free() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bind = Bind::Tcp(taken.local_addr().unwrap());
        let mut opening = Opening {
            report: watch::Sender::new(ListenerStatus::new("plant".to_owned(), &bind)),
            bind,
            wait: Duration::ZERO,
        };
        let mut status = opening.report.subscribe();
        assert!(opening.attempt().is_none());
        let error = status.borrow_and_update().error.clone().unwrap();
        assert!(error.contains("is in use"), "{error}");
        assert!(opening.attempt().is_none());
        assert!(
            !status.has_changed().unwrap(),
            "the same fault is told once"
        );

        drop(taken);
        let bound = opening.until_open().await;
        assert_eq!(status.borrow_and_update().error, None);
        drop(bound);
    }
}
