//! The status snapshot of a bridge: figures from the core and the log, published when they differ from the last ones.

use std::time::Duration;

use tokio::sync::watch;

use super::certificates::Certificates;
use super::core::Core;
use super::dead_letters::DeadLetterLog;
use super::lanes::Lanes;
use super::rates::{Counts, Rates};
use crate::clock;
use crate::shutdown::Pulse;
use crate::status::{BridgeStatus, LinkState};
use crate::store::Log;

/// Publishes the status.
#[derive(Debug)]
pub(super) struct Report {
    logs: Lanes,
    dead_letters: DeadLetterLog,
    sender: watch::Sender<BridgeStatus>,
    /// Without its figures.
    state: BridgeStatus,
    rates: Rates,
    /// Beats with each report: at least once a second while the bridge has its turn, whatever it waits for.
    pulse: Pulse,
}

/// What a bridge waits for it never waits for in one piece, but for what it says last on a connection.
const STEP_MAX: Duration = Duration::from_secs(60);

impl Report {
    pub(super) fn new(
        name: &str,
        logs: Lanes,
        dead_letters: DeadLetterLog,
    ) -> (Self, watch::Receiver<BridgeStatus>) {
        let state = BridgeStatus {
            since: clock::wall(),
            ..BridgeStatus::default()
        };
        let (sender, receiver) = watch::channel(state.clone());
        let report = Self {
            logs,
            dead_letters,
            sender,
            state,
            rates: Rates::default(),
            pulse: Pulse::new(format!("bridge {name}"), STEP_MAX, clock::now()),
        };
        (report, receiver)
    }

    /// The link changed; `error`: what the last attempt or connection ended with, kept while the next one is tried.
    pub(super) fn link(&mut self, core: &Core, link: LinkState, error: Option<String>) {
        if self.state.link != link {
            self.state.since = clock::wall();
            self.state.link = link;
        }
        match link {
            LinkState::Up => self.state.error = None,
            LinkState::Connecting => {}
            LinkState::Down => {
                if error.is_some() {
                    self.state.error = error;
                }
            }
        }
        self.figures(core);
    }

    /// Of the certificates: which is in use, and what somebody should do.
    pub(super) fn certificates(&mut self, core: &Core, certificates: &Certificates) {
        self.state.certificate_expires = certificates.expires();
        self.state.certificate_warning = certificates.warning();
        self.figures(core);
    }

    /// The bridge failed and is started again.
    pub(super) fn failed(&mut self, core: &Core, why: String) {
        self.state.restarts += 1;
        self.link(core, LinkState::Down, Some(why));
    }

    /// That of the bridge.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Publishes the figures, if one has changed.
    pub(super) fn figures(&mut self, core: &Core) {
        self.pulse.beat(clock::now());
        let refused = core.refused_subscriptions();
        let refused = refused.map(|(filter, reason)| format!("{filter}: {reason:?}"));
        let refused = refused.collect();
        let letters = self.dead_letters.borrow().clone();
        let dead = letters.as_ref().map(Log::stats).unwrap_or_default();
        let letters_error = letters.as_ref().and_then(Log::error);
        let (log, core) = (self.logs.stats(), core.figures());
        let counts = Counts {
            appended: log.appended,
            delivered: core.delivered,
            waiting: log.messages,
            file_bytes: log.file_bytes,
            bytes_max: log.file_bytes_max,
        };
        let status = BridgeStatus {
            store_error: self.logs.error().or(letters_error),
            backlog_messages: log.messages,
            backlog_bytes: log.bytes,
            oldest: log.oldest,
            file_bytes: log.file_bytes,
            file_bytes_max: log.file_bytes_max,
            flow: self.rates.take(clock::now(), counts),
            delivered: core.delivered,
            dropped: log.dropped,
            purged: log.purged,
            refusing: log.is_full,
            refused: log.refused,
            dead_letters: dead.messages,
            dead_letters_dropped: dead.dropped,
            maybe_duplicated: core.maybe_duplicated,
            in_doubt: core.in_doubt,
            connects: core.connects,
            received: core.received,
            not_received: core.not_received,
            too_many_hops: core.too_many_hops,
            subscriptions_refused: refused,
            ..self.state.clone()
        };
        self.sender.send_if_modified(|last| {
            let changed = *last != status;
            if changed {
                *last = status;
            }
            changed
        });
    }
}
