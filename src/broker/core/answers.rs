//! Answers that a client is owed, in the order of what it asked, each held until the store has covered what it depends on
//! (invariant 3): PUBACK, PUBREC, SUBACK, UNSUBACK, and the CONNACK before them all.
//!
//! What answers nothing of the store (PINGRESP, PUBREL) is no guest here, but for packets before the CONNACK: nothing may
//! overtake that one.

use std::collections::VecDeque;

use super::LogId;
use crate::mqtt::{Connack, Packet, PacketId, ReasonCode};
use crate::store::Seq;

/// Answers other than to messages that may wait for one client; with more, nothing is read from it.
pub(super) const OTHERS_MAX: usize = 128;

/// What an answer waits for: a position in each part of the store that took something on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Tickets {
    #[default]
    None,
    One([(LogId, Seq); 1]),
    Many(Vec<(LogId, Seq)>),
}

impl Tickets {
    /// One more. At most one for each log.
    pub(super) fn push(&mut self, log: LogId, seq: Seq) {
        match self {
            Self::None => *self = Self::One([(log, seq)]),
            Self::One([first]) => *self = Self::Many(vec![*first, (log, seq)]),
            Self::Many(all) => all.push((log, seq)),
        }
    }

    pub(super) fn as_slice(&self) -> &[(LogId, Seq)] {
        match self {
            Self::None => &[],
            Self::One(one) => one,
            Self::Many(all) => all,
        }
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// To a QoS 1 message.
    Puback(PacketId, ReasonCode),
    /// To a QoS 2 message.
    Pubrec(PacketId, ReasonCode),
    /// To CONNECT: from here on the client may be sent something.
    Connack(Box<Connack>),
    /// Anything else.
    Packet(Box<Packet>),
}

/// One answer that is owed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    pub(super) tickets: Tickets,
}

/// The answers of one connection, oldest first [MQTT-4.6.0-2, MQTT-4.6.0-3]. Those to messages are as many as are in
/// flight, which the Receive Maximum bounds; of a client that has many others waiting nothing more is read. Before the
/// first it is no more than a pointer: of most clients none ever waits.
#[derive(Debug, Default)]
pub(super) struct Answers(Option<Box<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Answer>,
    /// Those of them that answer no message.
    others: usize,
}

impl Answers {
    /// True where the answer is now the first.
    pub(super) fn push(&mut self, answer: Answer) -> bool {
        let queue = self.0.get_or_insert_default();
        queue.others += usize::from(answer.reply.is_other());
        queue.waiting.push_back(answer);
        queue.waiting.len() == 1
    }

    pub(super) fn front(&self) -> Option<&Answer> {
        self.0.as_ref()?.waiting.front()
    }

    pub(super) fn pop(&mut self) -> Option<Answer> {
        let queue = self.0.as_mut()?;
        let answer = queue.waiting.pop_front()?;
        queue.others -= usize::from(answer.reply.is_other());
        Some(answer)
    }

    /// How many wait that answer no message.
    pub(super) fn others(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.others)
    }

    pub(super) fn into_answers(self) -> impl Iterator<Item = Answer> {
        self.0.into_iter().flat_map(|queue| queue.waiting)
    }
}

impl Reply {
    fn is_other(&self) -> bool {
        matches!(self, Self::Connack(_) | Self::Packet(_))
    }
}
