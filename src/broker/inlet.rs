//! An inlet: the client as which a bridge brings the messages of its upstream in.
//!
//! A [`super::Link`] gives packet ids of its own and answers PUBREC by itself. Here the bridge is between two brokers, and
//! passes on what each says to the other: packet ids are the upstream's, and PUBACK, PUBREC and PUBCOMP come back as they
//! are. So the broker keeps for a bridge what it keeps for any client, the marks of QoS 2 messages above all, and a
//! message that the upstream sends again after a crash is published once.
//!
//! An inlet lasts as long as one connection to the upstream. The session behind it begins anew when the upstream's does and
//! does not end before, however long that takes: only the upstream knows how long it keeps its side (3.1.1 cannot say it, and the
//! time counts from when it noticed), and where it kept more than the broker, QoS 2 messages would come twice, uncounted. Bounded: [`STEPS`] packets are unanswered at most; the bridge keeps the next ones at the
//! upstream ([`Inlet::has_room`]). Nothing is ever delivered through it.

use std::collections::BTreeSet;

use bytestring::ByteString;
use tokio::sync::mpsc;

use super::LinkClosed;
use super::link::{Command, Terms};
use crate::mqtt::{Acknowledge, Packet, PacketId, ProtocolVersion, Publish, QoS};

/// PUBLISHes and PUBRELs that the broker has not answered.
pub(super) const STEPS: usize = 64;
/// Packets on their way to the broker's thread, QoS 0 messages among them.
pub(super) const PASSING: usize = 2 * STEPS;

/// Which bridge, and which session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InletOptions {
    /// Unique; starts with `$` so that no client on a socket can take it.
    pub client_id: ByteString,
    /// The number of the bridge's log, in the order of attachment: what comes in here does not go up there again.
    pub bridge: usize,
    /// What the upstream speaks: who cannot be told that a message is refused is held back instead.
    pub version: ProtocolVersion,
    /// The upstream's session is a new one.
    pub clean_start: bool,
}

impl InletOptions {
    /// The ClientId of the bridge of this name.
    #[must_use]
    pub fn client_id_of(bridge: &str) -> ByteString {
        format!("$fieldgate/upstream/{bridge}").into()
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct Inlet {
    commands: mpsc::Sender<Command>,
    answers: mpsc::Receiver<InletAnswer>,
    terms: Terms,
    /// What the broker has not answered; true for a PUBREL.
    unanswered: BTreeSet<(PacketId, bool)>,
}

/// What the broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InletAnswer {
    /// To a QoS 1 message: it is safe, or refused.
    Puback(Acknowledge),
    /// To a QoS 2 message: it is safe, or refused.
    Pubrec(Acknowledge),
    /// To a PUBREL: the id is free.
    Pubcomp(Acknowledge),
}

impl InletAnswer {
    /// `None` where the packet is no answer.
    pub(super) fn new(packet: &Packet) -> Option<Self> {
        match packet {
            Packet::Puback(ack) => Some(Self::Puback(ack.clone())),
            Packet::Pubrec(ack) => Some(Self::Pubrec(ack.clone())),
            Packet::Pubcomp(ack) => Some(Self::Pubcomp(ack.clone())),
            _ => None,
        }
    }

    fn step(&self) -> (PacketId, bool) {
        match self {
            Self::Puback(ack) | Self::Pubrec(ack) => (ack.packet_id, false),
            Self::Pubcomp(ack) => (ack.packet_id, true),
        }
    }
}

impl Inlet {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        answers: mpsc::Receiver<InletAnswer>,
        terms: Terms,
    ) -> Self {
        Self {
            commands,
            answers,
            terms,
            unanswered: BTreeSet::new(),
        }
    }

    /// The highest QoS that the broker takes.
    #[must_use]
    pub fn maximum_qos(&self) -> QoS {
        self.terms.maximum_qos
    }

    /// Whether a QoS 1 or 2 message, or a PUBREL, can be passed on now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.unanswered.len() < STEPS && self.commands.capacity() > 0
    }

    /// Publishes, with the packet id that the upstream gave. False: there is no room, and it was not published. Above [`Self::maximum_qos`] the broker ends the inlet.
    pub fn publish(&mut self, mut publish: Publish) -> bool {
        publish.retain &= self.terms.retain_available;
        match publish.packet_id {
            None => self.pass(Packet::Publish(publish)),
            Some(id) => {
                self.has_room() && self.pass(Packet::Publish(publish)) && {
                    self.unanswered.insert((id, false));
                    true
                }
            }
        }
    }

    /// PUBREL. False: there is no room.
    pub fn release(&mut self, pubrel: Acknowledge) -> bool {
        let id = pubrel.packet_id;
        self.has_room() && self.pass(Packet::Pubrel(pubrel)) && {
            self.unanswered.insert((id, true));
            true
        }
    }

    fn pass(&self, packet: Packet) -> bool {
        self.commands.try_send(Command::Pass(packet)).is_ok()
    }

    /// The next answer. Cancel safe.
    ///
    /// # Errors
    /// Where the broker has ended the connection, or itself.
    pub async fn answer(&mut self) -> Result<InletAnswer, LinkClosed> {
        let answer = self.answers.recv().await.ok_or(LinkClosed)?;
        self.unanswered.remove(&answer.step());
        Ok(answer)
    }

    /// The next answer, or `None` where there is room for this packet, which may have come since it was refused. Cancel
    /// safe.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub async fn answer_or_room(
        &mut self,
        packet: &Packet,
    ) -> Result<Option<InletAnswer>, LinkClosed> {
        let is_answered =
            !matches!(packet, Packet::Publish(publish) if publish.packet_id.is_none());
        if is_answered && self.unanswered.len() >= STEPS {
            return self.answer().await.map(Some);
        }
        let answer = tokio::select! {
            answer = self.answers.recv() => answer.ok_or(LinkClosed)?,
            room = self.commands.reserve() => return room.map(|_| None).map_err(|_| LinkClosed),
        };
        self.unanswered.remove(&answer.step());
        Ok(Some(answer))
    }
}
