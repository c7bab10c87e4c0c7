//! The bridge: a client of an upstream broker that drains one backlog.
//!
//! [`core`] decides (no I/O), `dial` makes connections stage by stage, `wire` has their bytes, `link` moves them to and from the
//! core, `task` is what happens between connections, `certificates` takes new ones up, `take_overs` sees when another
//! client has our name, `dead_letters` keeps what the upstream refuses for good, `profile` knows the large providers, and `supervise` starts it again after a panic. Messages come
//! from the log and nowhere else; live traffic is a short backlog (invariant 2). Routes up are applied before a message
//! enters the log. What the upstream sends goes to the local broker through an inlet (`down`), which is all that is seen of
//! the broker here.

mod backoff;
mod certificates;
pub mod core;
mod dead_letters;
mod dial;
mod down;
mod error;
mod lanes;
mod link;
mod options;
mod profile;
mod rates;
mod report;
mod supervise;
mod take_overs;
mod task;
mod wire;

pub use backoff::next_wait;
pub use core::{DEAD_LETTER_PROPERTY, HOPS_PROPERTY, ID_PROPERTY};
pub use dead_letters::DeadLetterLog;
pub use down::Local;
pub use error::{DialError, LinkError, Stage, StartError};
pub use lanes::Lanes;
pub use options::{Address, Backoff, BridgeOptions, Ceilings, Rate, ReceiveRoute};
pub use profile::Profile;

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::broker::Latest;
use crate::net::{Expiry, TlsTime};
use crate::shutdown::{Pulse, Stop};
use crate::status::BridgeStatus;
use certificates::Certificates;
use dead_letters::DeadLetters;
use dial::Dialler;
use report::Report;
use task::Task;

/// A bridge whose certificates were read; not started yet.
#[derive(Debug)]
pub struct PreparedBridge {
    options: Arc<BridgeOptions>,
    dialler: Result<Dialler, StartError>,
    time: TlsTime,
}

/// A running bridge.
#[derive(Debug)]
pub struct BridgeHandle {
    /// How it stands: the newest snapshot, on every change of the link and at most each second for figures.
    pub status: watch::Receiver<BridgeStatus>,
    /// Ends after `stop` was requested, a little later than the connection; never waits for the backlog.
    pub task: JoinHandle<()>,
    /// What the upstream refused for good.
    pub dead_letters: DeadLetterLog,
    /// Of its task.
    pub pulse: Pulse,
    asked: Arc<Notify>,
}

impl BridgeHandle {
    /// Has the bridge look at its certificate files now: new ones that are sound and that the upstream takes are in use
    /// soon, without a message lost; what is wrong with them is told in log and status. It looks by itself each minute.
    pub fn renew_certificates(&self) {
        self.asked.notify_one();
    }
}

impl PreparedBridge {
    /// Reads the certificates; the upstream's is judged by `time`. Blocks for milliseconds.
    ///
    /// # Errors
    /// Where the TLS files cannot be used; the text names file and remedy.
    pub fn new(options: BridgeOptions, time: TlsTime) -> Result<Self, StartError> {
        let dialler = Dialler::new(&options, &time)?;
        Ok(Self {
            options: Arc::new(options),
            dialler: Ok(dialler),
            time,
        })
    }

    /// The same where TLS files that cannot be used ([`Self::fault`]) end nothing: the bridge takes messages into its backlog,
    /// says what is wrong, and each attempt to connect begins with reading them again.
    #[must_use]
    pub fn patient(options: BridgeOptions, time: TlsTime) -> Self {
        Self {
            dialler: Dialler::new(&options, &time),
            options: Arc::new(options),
            time,
        }
    }

    /// What keeps it from dialling.
    #[must_use]
    pub fn fault(&self) -> Option<&StartError> {
        self.dialler.as_ref().err()
    }

    /// What it was made of.
    #[must_use]
    pub fn options(&self) -> &BridgeOptions {
        &self.options
    }

    /// When its certificate ends, if it has one.
    #[must_use]
    pub fn expiry(&self) -> Option<&Expiry> {
        self.dialler.as_ref().ok()?.expiry.as_ref()
    }

    /// Tries the way to each address of the upstream: DNS, TCP and TLS, but no login, which would take the session from a
    /// bridge that runs.
    pub async fn try_addresses(&self) -> Vec<(&Address, Result<(), DialError>)> {
        let mut tried = Vec::new();
        for (index, address) in self.options.addresses.iter().enumerate() {
            let dialled = match &self.dialler {
                Ok(dialler) => dialler.dial(index).await.map(drop),
                Err(fault) => Err(DialError::new(Stage::Tls, fault.to_string())),
            };
            tried.push((address, dialled));
        }
        tried
    }

    /// Starts the bridge on the runtime that this is called on. It connects, and connects again, until `stop` is requested.
    /// What the upstream sends goes to `local`; without one, nothing is received.
    #[must_use]
    pub fn start(
        self,
        logs: impl Into<Lanes>,
        latest: Arc<Latest>,
        local: Option<Local>,
        stop: Stop,
    ) -> BridgeHandle {
        self.spawn(logs.into(), latest, local, stop, |task| task)
    }

    /// The same, on logs that another bridge was working on, which has ended: what that has sent, the logs know.
    #[must_use]
    pub fn go_on(
        self,
        logs: impl Into<Lanes>,
        latest: Arc<Latest>,
        local: Option<Local>,
        stop: Stop,
    ) -> BridgeHandle {
        self.spawn(logs.into(), latest, local, stop, Task::taking_over)
    }

    fn spawn(
        self,
        logs: Lanes,
        latest: Arc<Latest>,
        local: Option<Local>,
        stop: Stop,
        begin: impl FnOnce(Task) -> Task,
    ) -> BridgeHandle {
        let letters = DeadLetters::new(self.options.dead_letter.clone());
        let dead_letters = letters.log();
        let (report, status) = Report::new(&self.options.name, logs.clone(), dead_letters.clone());
        let pulse = report.pulse().clone();
        let asked = Arc::new(Notify::new());
        let certificates = Certificates::new(
            Arc::clone(&self.options),
            self.dialler.ok(),
            self.time,
            Arc::clone(&asked),
        );
        let task = Task::new(
            self.options,
            certificates,
            (logs, letters),
            latest,
            local,
            report,
            stop,
        );
        BridgeHandle {
            status,
            task: tokio::spawn(supervise::run(begin(task))),
            dead_letters,
            pulse,
            asked,
        }
    }
}
