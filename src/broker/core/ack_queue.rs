//! Answers that a publisher is owed: PUBACK and PUBREC in the order of its PUBLISHes, each held until all logs that took
//! the message have covered it (invariant 3).

use std::collections::VecDeque;

use super::LogId;
use crate::mqtt::{PacketId, ReasonCode};
use crate::store::Seq;

/// What an acknowledgement waits for: a position in each log that took the message at QoS 1 or 2.
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

/// Which packet answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Puback,
    Pubrec,
}

/// One answer that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) id: PacketId,
    pub(super) reason: ReasonCode,
    pub(super) tickets: Tickets,
}

/// The answers of one connection, oldest first [MQTT-4.6.0-2, MQTT-4.6.0-3]. As many as its messages in flight, which the
/// Receive Maximum bounds.
#[derive(Debug, Default)]
pub(super) struct AckQueue {
    answers: VecDeque<Answer>,
}

impl AckQueue {
    /// True where the answer is now the first.
    pub(super) fn push(&mut self, answer: Answer) -> bool {
        self.answers.push_back(answer);
        self.answers.len() == 1
    }

    pub(super) fn front(&self) -> Option<&Answer> {
        self.answers.front()
    }

    pub(super) fn pop(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    pub(super) fn into_answers(self) -> impl Iterator<Item = Answer> {
        self.answers.into_iter()
    }
}
