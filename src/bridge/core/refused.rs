//! Messages that the upstream refuses: for now, or for good. The latter go to the dead-letter, and leave the backlog when they are
//! on stable storage there; those at QoS 0, of which nothing is promised, and those that have expired are dropped.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::{Core, DropReason, Effect, Flight, Lane};
use crate::mqtt::{QoS, ReasonCode};
use crate::store::{Outcome, Record, Seq};

/// Wait before a refused message is sent again; doubles with each refusal.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Name of the user property that says in the dead-letter why a message is there.
pub const DEAD_LETTER_PROPERTY: &str = "fieldgate-dead-letter";

/// On their way to the dead-letter; beyond it nothing new is sent, so that what waits there for a disk is bounded.
const BURYING_MAX: usize = 64;

/// Messages that are to be sent again, and when. At most as many as were in flight: each counts towards the reach of the
/// ids.
#[derive(Debug, Default)]
pub(super) struct Retry {
    delayed: BTreeMap<(Instant, Lane, Seq), Flight>,
    /// Nothing new before: the upstream's quota is used up.
    paused: Option<Instant>,
}

impl Retry {
    pub(super) fn next(&self) -> Option<Instant> {
        let delayed = self.delayed.keys().next().map(|(at, ..)| *at);
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
        // Perhaps it has not looked further than the reason, and not at the alias.
        self.aliases.forget();
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
            .insert((now + wait, flight.lane, flight.seq()), flight);
    }

    /// A message that will not be sent any more: kept in the dead-letter, or dropped by a declared policy. Its packet id is free
    /// at the upstream.
    pub(super) fn give_up(&mut self, flight: &Flight, reason: DropReason) {
        let (lane, seq) = (flight.lane, flight.seq());
        let Record { message, stamped } = &flight.entry.record;
        if message.qos == QoS::AtMostOnce || reason == DropReason::Expired {
            let topic = message.topic.clone();
            self.effects.push_back(Effect::Dropped {
                lane,
                seq,
                topic,
                reason,
            });
            return self.done(flight, Outcome::Dropped);
        }
        let mut message = message.clone();
        let properties = message.properties.get_or_insert_default();
        let (why, id) = (reason.to_string(), self.id_of(flight));
        properties.user_properties.extend([
            (ByteString::from_static(super::ID_PROPERTY), id),
            (ByteString::from_static(DEAD_LETTER_PROPERTY), why.into()),
        ]);
        let letter = Box::new(Record {
            message,
            stamped: *stamped,
        });
        self.suspects.clear(lane, seq);
        self.burying.insert((lane, seq));
        let effect = Effect::DeadLetter {
            lane,
            seq,
            letter,
            reason,
        };
        self.effects.push_back(effect);
    }

    /// The dead-letter has the message, also after a power cut.
    pub fn handle_dead_letter(&mut self, lane: Lane, seq: Seq) {
        if self.burying.remove(&(lane, seq)) {
            let outcome = Outcome::DeadLettered;
            self.effects.push_back(Effect::Done { lane, seq, outcome });
        }
    }

    /// Whether the dead-letter keeps up.
    pub(super) fn may_bury(&self) -> bool {
        self.burying.len() < BURYING_MAX
    }
}
