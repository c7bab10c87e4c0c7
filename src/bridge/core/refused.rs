//! Messages that the upstream refuses: for good, or for now.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Core, DropReason, Effect, Flight};
use crate::mqtt::ReasonCode;
use crate::store::{Outcome, Seq};

/// Wait before a refused message is sent again; doubles with each refusal.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Messages that are to be sent again, and when. At most as many as were in flight: each counts towards the reach of the
/// ids.
#[derive(Debug, Default)]
pub(super) struct Retry {
    delayed: BTreeMap<(Instant, Seq), Flight>,
    /// Nothing new before: the upstream's quota is used up.
    paused: Option<Instant>,
}

impl Retry {
    pub(super) fn next(&self) -> Option<Instant> {
        let delayed = self.delayed.keys().next().map(|(at, _)| *at);
        delayed.into_iter().chain(self.paused).min()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Those whose time has come.
    pub(super) fn wake(&mut self, now: Instant) -> Vec<Flight> {
        self.paused.take_if(|until| *until <= now);
        let mut woken = Vec::new();
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            woken.push(first.remove());
        }
        woken
    }
}

/// Whether no later try can succeed.
fn is_for_good(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::NotAuthorized
            | ReasonCode::TopicNameInvalid
            | ReasonCode::PacketTooLarge
            | ReasonCode::PayloadFormatInvalid
    )
}

impl Core {
    /// PUBACK or PUBREC with a Reason Code of 0x80 or above: the upstream does not have the message.
    pub(super) fn refuse(&mut self, now: Instant, mut flight: Flight, reason: ReasonCode) {
        if is_for_good(reason) {
            self.figures.refused += 1;
            return self.give_up(&flight, DropReason::Refused(reason));
        }
        self.figures.retried += 1;
        let doublings = flight.refusals.min(16);
        let wait = RETRY_MIN.saturating_mul(1 << doublings).min(RETRY_MAX);
        flight.refusals = flight.refusals.saturating_add(1);
        flight.session = None;
        if reason == ReasonCode::QuotaExceeded {
            self.retry.paused = Some(now + wait);
        }
        self.retry
            .delayed
            .insert((now + wait, flight.seq()), flight);
    }

    /// Drops a message by a declared policy, and says so.
    pub(super) fn give_up(&mut self, flight: &Flight, reason: DropReason) {
        self.effects.push_back(Effect::Dropped {
            seq: flight.seq(),
            topic: flight.entry.record.message.topic.clone(),
            reason,
        });
        self.done(flight, Outcome::Dropped);
    }
}
