//! Messages on which the upstream ends the connection instead of answering.
//!
//! A server that will not have a message and cannot say so (MQTT 3.1.1), or does not, closes the connection. The message
//! goes out again on the next one, for ever. A bad link ends connections too, and no good message may be given up for that.
//! So a message is condemned by [`CLOSES`] connections that
//!
//! - the upstream ended itself: in good order, by DISCONNECT with a reason that speaks of a packet, or by a reset at once, as a
//!   server does that stops in the middle of a packet; silence, timeouts and other reasons say nothing about a message;
//! - had carried answers: PINGRESP has come after CONNACK and the SUBSCRIBEs, so the upstream wants us (two clients of one name,
//!   which throw each other out, do not get so far, or the message is acknowledged in time);
//! - had nothing else under way: from the second end on with the same message unanswered, one thing is asked at a time;
//!   QoS 0 comes after it, in the other lane too.
//!
//! RAM: what was unanswered at such an end, so the window and the gateway's own topics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Core, Effect, Lane, ids};
use crate::mqtt::{PacketId, ReasonCode};
use crate::session::Resend;
use crate::store::Seq;
use crate::topic::TopicName;

/// So many connections end on a message that is alone, until it is given up.
pub(super) const CLOSES: u32 = 3;

/// Unanswered at one end, with others; sent as ever.
const NOTED: u32 = 1;
/// Sent alone from here on; each end then counts one more.
const ALONE: u32 = 2;
const CONDEMNED: u32 = ALONE + CLOSES;

/// A reset later than this after the last packet is the network's.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Whether the upstream answers on this connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Proof {
    #[default]
    Missing,
    Asked,
    Given,
}

/// What is suspected, and how much.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    messages: BTreeMap<PacketId, u32>,
    /// The gateway's own. Those that are condemned stay, and are sent no more.
    topics: BTreeMap<TopicName, u32>,
    proof: Proof,
}

impl Suspects {
    /// Whether one thing is asked at a time.
    pub(super) fn is_careful(&self) -> bool {
        let levels = self.messages.values().chain(self.topics.values());
        { levels }.any(|level| (ALONE..CONDEMNED).contains(level))
    }

    /// The same because of a message, not only of a topic of the gateway's own.
    pub(super) fn is_message_suspected(&self) -> bool {
        let mut levels = self.messages.values();
        levels.any(|level| (ALONE..CONDEMNED).contains(level))
    }

    pub(super) fn is_condemned(&self, id: PacketId) -> bool {
        self.messages.get(&id).is_some_and(|&at| at >= CONDEMNED)
    }

    pub(super) fn is_topic_condemned(&self, topic: &TopicName) -> bool {
        self.topics.get(topic).is_some_and(|&at| at >= CONDEMNED)
    }

    /// The message has been answered, or is given up.
    pub(super) fn clear(&mut self, lane: Lane, seq: Seq) {
        if let Some(id) = ids::packet_id(lane, seq).filter(|_| !self.messages.is_empty()) {
            self.messages.remove(&id);
        }
    }

    pub(super) fn answered(&mut self, id: PacketId) {
        self.messages.remove(&id);
    }

    pub(super) fn topic_answered(&mut self, topic: &TopicName) {
        self.topics.remove(topic);
    }

    /// No topic waits: those that were suspected have been answered, or are gone.
    pub(super) fn topics_answered(&mut self) {
        self.topics.retain(|_, level| *level >= CONDEMNED);
    }

    pub(super) fn proof_given(&mut self) {
        if self.proof == Proof::Asked {
            self.proof = Proof::Given;
        }
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self) {
        self.proof = Proof::Missing;
    }
}

/// DISCONNECT because of something that we sent, not of who we are, how much it is, or the server's own state.
fn speaks_of_a_packet(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::UnspecifiedError
            | ReasonCode::MalformedPacket
            | ReasonCode::ProtocolError
            | ReasonCode::ImplementationSpecificError
            | ReasonCode::NotAuthorized
            | ReasonCode::TopicNameInvalid
            | ReasonCode::PacketTooLarge
            | ReasonCode::PayloadFormatInvalid
            | ReasonCode::RetainNotSupported
            | ReasonCode::QoSNotSupported
    )
}

impl Core {
    /// The upstream has ended the connection: in good order, or by a reset. To be followed by [`Self::handle_closed`].
    pub fn handle_hang_up(&mut self, now: Instant, in_good_order: bool) {
        let Some(last) = self.since.values().max().filter(|_| self.is_up()) else {
            return;
        };
        if !in_good_order && *last + AT_ONCE < now {
            return;
        }
        let is_alone = self.since.len() == 1;
        let is_careful = self.suspects.is_careful();
        if is_careful && !(is_alone && self.suspects.proof == Proof::Given) {
            return;
        }
        let least = if is_alone { ALONE } else { NOTED };
        let raised = |level: Option<u32>| level.map_or(least, |level| level + 1).max(least);
        let is_publish = |id: &&PacketId| {
            let resend = self.outbound.resend_one(**id);
            matches!(resend, Some(Resend::Publish { .. }))
        };
        let messages = self.since.keys().filter(is_publish);
        let messages: Vec<_> = messages
            .map(|id| (*id, raised(self.suspects.messages.get(id).copied())))
            .collect();
        let topics = self.newest.in_flight_topics().chain(self.gap_in_flight());
        let topics: Vec<_> = topics
            .map(|topic| {
                (
                    topic.clone(),
                    raised(self.suspects.topics.get(topic).copied()),
                )
            })
            .collect();
        if !is_careful {
            // What was answered, or did not even leave this time, is not to blame.
            self.suspects.messages.clear();
            self.suspects.topics_answered();
        }
        for (topic, level) in topics {
            if level == CONDEMNED {
                self.effects
                    .push_back(Effect::OwnTopicRefused(topic.clone()));
            }
            self.suspects.topics.insert(topic, level);
        }
        self.suspects.messages.extend(messages);
    }

    pub(super) fn handle_disconnect_reason(&mut self, now: Instant, reason: ReasonCode) {
        self.limits.topic_aliases &= reason != ReasonCode::TopicAliasInvalid;
        if speaks_of_a_packet(reason) {
            self.handle_hang_up(now, true);
        }
    }

    /// Whether what wants an answer has to wait until nothing else does.
    pub(super) fn has_company(&self) -> bool {
        !self.since.is_empty() && self.suspects.is_careful()
    }

    /// Whether a message has to wait, so that it is alone under way on a connection that works.
    pub(super) fn waits_alone(&self) -> bool {
        self.suspects.is_careful()
            && !(self.since.is_empty() && self.suspects.proof == Proof::Given)
    }

    /// PINGREQ before a message is sent alone.
    pub(super) fn ask_for_proof(&mut self, now: Instant) {
        if self.newest.is_empty() && !self.has_untold_gap() {
            self.suspects.topics_answered();
        }
        if self.suspects.proof == Proof::Missing && self.since.is_empty() && self.waits_alone() {
            self.suspects.proof = Proof::Asked;
            self.ping(now);
        }
    }
}
