//! Certificate, key and CA of a bridge over time: new files are taken without a restart.
//!
//! A set of files that has changed is read as a whole, then tried: by TLS to the upstream, beside the connection that is
//! up. Only where that holds does the bridge move, to the very connection that was tried, and only a CONNACK makes the
//! new set the one in use. A set that fails at any of these steps is passed over, told once, and the one before stays.
//! That a certificate is about to expire is told each day.
//!
//! Invariants:
//! - There is always a set that was sound when it was read, whatever becomes of the files; but where a start found none, there
//!   is none yet, and each attempt to connect begins with reading them.
//! - A network that is down is no verdict on a certificate.
//! - A set that was passed over is tried again when somebody asks, when the set in use fails, and each hour; not in between.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::core::Cause;
use super::dial::{Dialler, Stream};
use super::{BridgeOptions, DialError, LinkError, Stage};
use crate::clock::{self, WallTime};
use crate::mqtt::ReasonCode;
use crate::net::{Fingerprint, SETTLE, TlsTime};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(60);
/// What an upstream gets to refuse our certificate: in TLS 1.3 it does so after the handshake.
const REFUSAL: Duration = Duration::from_secs(2);
/// Between two reminders of a certificate that expires.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);
/// Before a set that was passed over is tried again.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// The set in use, and what is known of the files on disk.
#[derive(Debug)]
pub(super) struct Certificates {
    options: Arc<BridgeOptions>,
    time: TlsTime,
    /// `None`: none was sound yet.
    in_use: Option<Arc<Dialler>>,
    /// What the next connection, or the present one until its CONNACK, is made with instead.
    candidate: Option<Arc<Dialler>>,
    passed_over: Option<PassedOver>,
    /// Seen in the last look, and not judged yet.
    unsettled: Option<Fingerprint>,
    look_at: Instant,
    remind_at: Instant,
    /// Somebody waits for the verdict.
    is_asked: bool,
    asked: Arc<Notify>,
}

/// A set that is on disk and not in use.
#[derive(Debug)]
struct PassedOver {
    fingerprint: Fingerprint,
    again_at: Instant,
    why: String,
}

/// A connection made with new files. Its CONNECT is still to be sent.
pub(super) struct Successor {
    pub(super) stream: Box<dyn Stream>,
    dialler: Arc<Dialler>,
}

impl fmt::Debug for Successor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Successor").finish_non_exhaustive()
    }
}

/// What came of a look at the files while a connection is up.
pub(super) enum News {
    /// The set in use is what is there.
    InUse,
    /// Nothing that is not known, or nothing that can be said now.
    Nothing,
    /// They have changed: they are looked at again soon.
    Unsettled(Fingerprint),
    /// A new set that cannot be used, or that the upstream refuses.
    Bad(Fingerprint, String),
    /// A new set that the upstream takes.
    Good(Successor),
}

/// A look under way.
pub(super) type Looking = Pin<Box<dyn Future<Output = News> + Send>>;

/// What the files hold.
enum Found {
    InUse,
    PassedOver,
    Changed(Fingerprint, Result<Arc<Dialler>, String>),
}

impl Certificates {
    pub(super) fn new(
        options: Arc<BridgeOptions>,
        dialler: Option<Dialler>,
        time: TlsTime,
        asked: Arc<Notify>,
    ) -> Self {
        Self {
            options,
            time,
            in_use: dialler.map(Arc::new),
            candidate: None,
            passed_over: None,
            unsettled: None,
            look_at: clock::now() + LOOK,
            remind_at: clock::now(),
            is_asked: false,
            asked,
        }
    }

    /// What the next connection, or the present one, is made with; `None`: there is nothing to make one with.
    pub(super) fn dialler(&self) -> Option<Arc<Dialler>> {
        self.candidate.as_ref().or(self.in_use.as_ref()).cloned()
    }

    /// What somebody should do about the files, if anything.
    pub(super) fn warning(&self) -> Option<String> {
        let passed_over = self.passed_over.as_ref().map(|set| set.why.clone());
        match (passed_over, self.expiring()) {
            (Some(one), Some(other)) => Some(format!("{one}; {other}")),
            (one, other) => one.or(other),
        }
    }

    /// When the certificate in use ends.
    pub(super) fn expires(&self) -> Option<WallTime> {
        Some(self.in_use.as_ref()?.expiry.as_ref()?.at)
    }

    fn expiring(&self) -> Option<String> {
        let expiry = self.in_use.as_ref()?.expiry.as_ref()?;
        expiry.warning(self.time.now())
    }

    /// Each day, from some days ahead.
    fn remind(&mut self, now: Instant) {
        if self.remind_at <= now
            && let Some(warning) = self.expiring()
        {
            self.remind_at = now + REMIND;
            tracing::warn!(bridge = self.options.name, "{warning}");
        }
    }

    /// Waits until somebody asks for a look. Cancel safe.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Somebody asked: whatever is there is judged at once, and told again.
    pub(super) fn look_now(&mut self, now: Instant) {
        self.is_asked = true;
        self.look_at = now;
        self.forgive(now);
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.options.tls.is_some() && self.look_at <= now
    }

    /// Looks at the files, and tries a new set at the address with this index. [`Self::heard`] takes what comes of it.
    pub(super) fn look(&mut self, now: Instant, address: usize) -> Looking {
        self.look_at = now + LOOK;
        let found = self.find(now);
        let (is_asked, unsettled) = (self.is_asked, self.unsettled.take());
        Box::pin(async move {
            match found.await {
                Found::InUse => News::InUse,
                Found::PassedOver => News::Nothing,
                Found::Changed(seen, _) if !is_asked && unsettled != Some(seen) => {
                    News::Unsettled(seen)
                }
                Found::Changed(seen, Err(fault)) => News::Bad(seen, unusable(&fault)),
                Found::Changed(seen, Ok(dialler)) => match tried(&dialler, address).await {
                    Ok(stream) => News::Good(Successor { stream, dialler }),
                    Err(error) if error.is_refusal => News::Bad(seen, refused(&error.to_string())),
                    Err(error) => {
                        tracing::info!("new certificate files cannot be tried now: {error}");
                        News::Nothing
                    }
                },
            }
        })
    }

    /// What came of a look; gives the connection to move to, if there is one.
    pub(super) fn heard(&mut self, now: Instant, news: News) -> Option<Successor> {
        self.remind(now);
        match news {
            News::InUse => self.passed_over = None,
            News::Nothing => {}
            News::Unsettled(seen) => {
                self.unsettled = Some(seen);
                self.look_at = now + SETTLE;
                return None;
            }
            News::Bad(seen, why) => self.pass_over(now, seen, why),
            News::Good(successor) => {
                self.candidate = Some(Arc::clone(&successor.dialler));
                return Some(successor);
            }
        }
        self.is_asked = false;
        None
    }

    /// Before a connection is made: it is made with what is there, if that is sound. To dial is to try it.
    ///
    /// # Errors
    /// Where what is there is not sound, and nothing was before.
    pub(super) async fn before_dial(&mut self, now: Instant) -> Result<Arc<Dialler>, DialError> {
        let Some(in_use) = self.in_use.clone() else {
            return self.begin().await;
        };
        self.candidate = None;
        self.remind(now);
        match self.find(now).await {
            Found::InUse => self.passed_over = None,
            Found::PassedOver => {}
            Found::Changed(_, Ok(dialler)) => self.candidate = Some(dialler),
            Found::Changed(seen, Err(fault)) => self.pass_over(now, seen, unusable(&fault)),
        }
        Ok(self.candidate.clone().unwrap_or(in_use))
    }

    /// The first set that is sound is the one in use, whatever the upstream says of it: there is none to go back to.
    async fn begin(&mut self) -> Result<Arc<Dialler>, DialError> {
        self.is_asked = false;
        let (options, time) = (Arc::clone(&self.options), self.time.clone());
        let read = spawn_blocking(move || Dialler::new(&options, &time)).await;
        let read = read.map_err(|fault| DialError::new(Stage::Tls, fault.to_string()))?;
        let dialler = read.map_err(|fault| DialError::new(Stage::Tls, fault.to_string()))?;
        tracing::info!(bridge = self.options.name, "the TLS files can be used now");
        let dialler = Arc::new(dialler);
        self.in_use = Some(Arc::clone(&dialler));
        Ok(dialler)
    }

    /// CONNACK has accepted the connection.
    pub(super) fn accepted(&mut self) {
        if let Some(dialler) = self.candidate.take() {
            self.in_use = Some(dialler);
            self.passed_over = None;
            self.is_asked = false;
            self.remind_at = clock::now();
            let bridge = &self.options.name;
            tracing::info!(bridge, "connected with new certificate files");
        }
        self.remind(clock::now());
    }

    /// A connection could not be made, or ended before its CONNACK. True: the set before is to be tried at once.
    pub(super) fn failed(&mut self, now: Instant, why: &str, is_refusal: bool) -> bool {
        match self.candidate.take() {
            Some(candidate) if is_refusal => {
                if let Some(fingerprint) = candidate.fingerprint() {
                    self.pass_over(now, fingerprint, refused(why));
                }
                true
            }
            Some(_) => false,
            None => {
                if is_refusal {
                    self.forgive(now);
                }
                false
            }
        }
    }

    /// What was passed over is tried again.
    fn forgive(&mut self, now: Instant) {
        if let Some(set) = &mut self.passed_over {
            set.again_at = now;
        }
    }

    fn pass_over(&mut self, now: Instant, fingerprint: Fingerprint, why: String) {
        let told = self.passed_over.as_ref().map(|set| set.fingerprint);
        if self.is_asked || told != Some(fingerprint) {
            tracing::error!(bridge = self.options.name, "{why}");
        }
        self.is_asked = false;
        self.passed_over = Some(PassedOver {
            fingerprint,
            again_at: now + AGAIN,
            why,
        });
    }

    fn find(&self, now: Instant) -> impl Future<Output = Found> + Send + use<> {
        let (options, time) = (Arc::clone(&self.options), self.time.clone());
        let in_use = self.in_use.as_ref().and_then(|it| it.fingerprint());
        let passed_over = self.passed_over.as_ref().filter(|set| set.again_at > now);
        let passed_over = passed_over.map(|set| set.fingerprint);
        async move {
            if options.tls.is_none() {
                return Found::InUse;
            }
            let read = spawn_blocking(move || read(&options, &time, in_use, passed_over));
            // The runtime ends: no more is read, nor dialled.
            read.await.unwrap_or(Found::PassedOver)
        }
    }
}

/// Blocks for milliseconds.
fn read(
    options: &BridgeOptions,
    time: &TlsTime,
    in_use: Option<Fingerprint>,
    passed_over: Option<Fingerprint>,
) -> Found {
    let Some(tls) = &options.tls else {
        return Found::InUse;
    };
    let seen = Fingerprint::of(tls);
    if in_use == Some(seen) {
        return Found::InUse;
    }
    if passed_over == Some(seen) {
        return Found::PassedOver;
    }
    let dialler = Dialler::new(options, time).map(Arc::new);
    Found::Changed(seen, dialler.map_err(|fault| fault.to_string()))
}

/// A connection that the upstream has not refused.
async fn tried(dialler: &Dialler, address: usize) -> Result<Box<dyn Stream>, DialError> {
    let mut stream = dialler.dial(address).await?;
    match timeout(REFUSAL, stream.read_u8()).await {
        // Nothing said: that is how a server waits for CONNECT.
        Err(_) => Ok(stream),
        Ok(Ok(_)) => Err(DialError::refusal("the upstream speaks before its client")),
        Ok(Err(error)) => Err(dialler.refused(&error)),
    }
}

/// Whether a connection that ended before its CONNACK says something about who we are.
pub(super) fn is_refusal(ended: &LinkError) -> bool {
    match ended {
        LinkError::Closed(Cause::Refused { reason, .. }) => matches!(
            reason,
            ReasonCode::NotAuthorized
                | ReasonCode::BadUserNameOrPassword
                | ReasonCode::ClientIdentifierNotValid
                | ReasonCode::Banned
                | ReasonCode::BadAuthenticationMethod
        ),
        LinkError::End { .. } | LinkError::Tls(_) | LinkError::Io(_) => true,
        LinkError::Closed(_) | LinkError::Malformed(_) => false,
    }
}

fn unusable(fault: &str) -> String {
    format!("the new certificate files cannot be used; those read before stay in use: {fault}")
}

fn refused(fault: &str) -> String {
    format!(
        "the upstream cannot be reached with the new certificate files; those read before stay in use: {fault}"
    )
}
