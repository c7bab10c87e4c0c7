//! From options to a listener that listens: its files are read first, its address is opened in a step of its own.
//!
//! An address that cannot be had ends nothing. After a power cut a box is often up before its network is, and nobody is
//! there to start it again: the listener says so in log and status, and tries until it has the address. A *patient* one does
//! the same with files that cannot be used, and takes them when they can be and have stood still for a while: half of a chain
//! or of a bundle is well by itself. Invariant: what shall speak TLS is not opened without.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::accept::accept;
use super::bind::{Bound, open};
use super::handshake::Door;
use super::served::Served;
use super::{Bind, BindError, ListenError, ListenerOptions};
use crate::broker::{BrokerHandle, LinkClosed};
use crate::clock;
use crate::net::{self, Expiry, Fingerprint, SETTLE, ServerSetup, ServerTls, TlsError, TlsTime};
use crate::shutdown::{Pulse, Stop};
use crate::status::ListenerStatus;

/// Between two attempts to open the address.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// How often its task shows that it is alive, and how late that may be.
const BEAT: Duration = Duration::from_secs(10);
const STEP_MAX: Duration = Duration::from_secs(30);

/// A listener whose files were read; it does not listen yet.
#[derive(Debug)]
pub struct PreparedListener {
    options: ListenerOptions,
    time: TlsTime,
    /// `None`: it speaks no TLS.
    tls: Option<Result<ServerSetup, TlsError>>,
}

/// A listener that accepts until it is told to stop.
#[derive(Clone, Debug)]
pub struct Listener {
    /// How it stands.
    pub status: watch::Receiver<ListenerStatus>,
    /// Of its task.
    pub pulse: Pulse,
    options: ListenerOptions,
    /// Empty as long as its files could not be used.
    served: Arc<OnceLock<Served>>,
}

impl PreparedListener {
    /// Reads the certificates; those of clients are judged by `time`. Blocks for milliseconds.
    ///
    /// # Errors
    /// Where a file cannot be used; says which and what to do.
    pub fn new(options: ListenerOptions, time: &TlsTime) -> Result<Self, ListenError> {
        let prepared = Self::patient(options, time);
        match prepared.tls {
            Some(Err(source)) => Err(ListenError {
                name: prepared.options.name,
                source,
            }),
            _ => Ok(prepared),
        }
    }

    /// The same where files that cannot be used ([`Self::fault`]) end nothing: the listener stays closed, says why, and reads
    /// them again until they can be.
    #[must_use]
    pub fn patient(options: ListenerOptions, time: &TlsTime) -> Self {
        let tls = options.tls.as_ref();
        Self {
            tls: tls.map(|tls| net::server_setup(tls, time)),
            time: time.clone(),
            options,
        }
    }

    /// What is wrong with its files.
    #[must_use]
    pub fn fault(&self) -> Option<&TlsError> {
        self.tls.as_ref()?.as_ref().err()
    }

    /// When its certificate ends, if it has one.
    #[must_use]
    pub fn expiry(&self) -> Option<&Expiry> {
        self.setup()?.expiry.as_ref()
    }

    fn setup(&self) -> Option<&ServerSetup> {
        self.tls.as_ref()?.as_ref().ok()
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
        let served = Arc::new(OnceLock::new());
        if let Some(setup) = self.setup() {
            served.get_or_init(|| Served::new(setup));
        }
        let Self { options, time, .. } = self;
        let mut opening = Opening::new(&options, time, Arc::clone(&served));
        let door = Door {
            name: options.name.as_str().into(),
            anonymous: options.anonymous,
            tls: None, // as it is opened
            websocket: options.websocket.clone(),
            user_from_common_name: options.user_from_common_name,
            broker,
            has_ended: Arc::default(),
        };
        let status = opening.report.subscribe();
        let first = opening.attempt();
        let pulse = Pulse::new(format!("listener {}", door.name), STEP_MAX, clock::now());
        tokio::spawn(serve(stop, opening, first, door, pulse.clone()));
        Listener {
            status,
            pulse,
            options,
            served,
        }
    }
}

impl Listener {
    /// Answers the next handshakes with the files of `new`; connections that are there stay. False where there is nothing
    /// to answer with, or where `new` differs in its options: those count from a start on.
    pub fn renew(&self, new: &PreparedListener) -> bool {
        let files = self.served.get().zip(new.setup());
        let Some((served, setup)) = files.filter(|_| self.options == new.options) else {
            return false;
        };
        served.replace(setup);
        true
    }

    /// When the certificate that it shows ends, if it has one.
    #[must_use]
    pub fn expiry(&self) -> Option<Expiry> {
        self.served.get()?.now().watch.expiry().cloned()
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
    first: Option<Open>,
    mut door: Door,
    pulse: Pulse,
) {
    let (name, has_ended) = (Arc::clone(&door.name), Arc::clone(&door.has_ended));
    let accepting = async {
        let (bound, tls) = match first {
            Some(open) => open,
            None => opening.until_open().await,
        };
        door.tls = tls;
        accept(bound, Arc::new(door)).await
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

/// The socket, and what its handshakes are answered with; `None`: it speaks no TLS.
type Open = (Bound, Option<Served>);

/// The attempts to open one listener.
struct Opening {
    bind: Bind,
    tls: Option<ServerTls>,
    time: TlsTime,
    /// Of `tls`, once that could be read.
    served: Arc<OnceLock<Served>>,
    /// Of files that could be used in the last attempt, and not in the one before.
    unsettled: Option<Fingerprint>,
    report: watch::Sender<ListenerStatus>,
    wait: Duration,
}

impl Opening {
    fn new(options: &ListenerOptions, time: TlsTime, served: Arc<OnceLock<Served>>) -> Self {
        let status = ListenerStatus::new(options.name.clone(), &options.bind);
        Self {
            bind: options.bind.clone(),
            tls: options.tls.clone(),
            time,
            served,
            unsettled: None,
            report: watch::Sender::new(status),
            wait: Duration::ZERO,
        }
    }

    /// Tells a fault when it is another than before: a line each half minute helps nobody.
    fn attempt(&mut self) -> Option<Open> {
        let listener = self.report.borrow().name.clone();
        match self.open() {
            Ok((bound, bind, served)) => {
                tracing::info!(listener, address = %bind, "listening");
                self.report.send_modify(|status| status.opened(&bind));
                Some((bound, served))
            }
            Err(fault) => {
                let error = fault.to_string();
                let is_new = self.report.send_if_modified(|status| status.failed(&error));
                if is_new {
                    tracing::error!(listener, error, "not listening; trying on");
                }
                None
            }
        }
    }

    /// Blocks for milliseconds where files are to be read.
    fn open(&mut self) -> Result<(Bound, Bind, Option<Served>), BindError> {
        let served = match (&self.tls, self.served.get()) {
            (None, _) => None,
            (Some(_), Some(served)) => Some(served.clone()),
            (Some(tls), None) => {
                let before = self.unsettled.take();
                let setup = net::server_setup(tls, &self.time)?;
                // Afterwards: what was written in between is seen to differ.
                let seen = Fingerprint::of_files(tls.files());
                if before != Some(seen) {
                    self.unsettled = Some(seen);
                    return Err(BindError::Unsettled);
                }
                Some(self.served.get_or_init(|| Served::new(&setup)).clone())
            }
        };
        let (bound, bind) = open(&self.bind)?;
        Ok((bound, bind, served))
    }

    async fn until_open(&mut self) -> Open {
        loop {
            self.wait = (self.wait * 2).clamp(AGAIN_MIN, AGAIN_MAX);
            let settle = self.unsettled.map(|_| SETTLE);
            tokio::time::sleep(settle.unwrap_or(self.wait)).await;
            if let Some(open) = self.attempt() {
                return open;
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

    fn opening(bind: Bind, tls: Option<ServerTls>) -> Opening {
        let options = ListenerOptions {
            name: "plant".to_owned(),
            bind,
            anonymous: true,
            tls,
            websocket: None,
            user_from_common_name: false,
        };
        Opening::new(&options, TlsTime::default(), Arc::default())
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_tried_until_it_is_free() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut opening = opening(Bind::Tcp(taken.local_addr().unwrap()), None);
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
        let (bound, tls) = opening.until_open().await;
        assert_eq!(status.borrow_and_update().error, None);
        assert!(tls.is_none());
        drop(bound);
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_cannot_be_used_keep_it_closed_until_they_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(path("cert.pem"), pair.cert.pem()).unwrap();
        let tls = ServerTls {
            certificate: path("cert.pem"),
            private_key: path("key.pem"),
            client_ca: None,
            client_certificate: net::ClientCertificate::Off,
            crl: None,
            allow_tls12: false,
        };
        let mut opening = opening(Bind::Tcp("127.0.0.1:0".parse().unwrap()), Some(tls));
        let status = opening.report.subscribe();
        assert!(opening.attempt().is_none());
        let error = status.borrow().error.clone().unwrap();
        assert!(error.contains("key.pem: cannot be read"), "{error}");

        std::fs::write(path("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        assert!(opening.attempt().is_none(), "it may be half of them");
        std::fs::write(path("cert.pem"), pair.cert.pem().repeat(2)).unwrap();
        assert!(opening.attempt().is_none(), "it was");
        let (_bound, tls) = opening.until_open().await;
        assert!(tls.is_some(), "never without TLS");
        assert_eq!(status.borrow().error, None);
    }
}
