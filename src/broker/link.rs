//! A client inside the program: how adapters, bridges and the app meet the broker, with the same checks and limits as
//! a client on a socket.
//!
//! This file is the client's side and what goes between the threads; `link_task` is the broker's side. Bounded
//! throughout: commands and deliveries by their channels, QoS 1 and 2 publishes by credits (the broker's Receive
//! Maximum), acknowledgements by the window of the link. The broker never waits for a link: one that does not take its deliveries
//! gets no more QoS 1 and 2 messages than its window, and loses QoS 0 ones, counted. Devices and the gateway are answered when
//! a message is taken: what is to be kept is kept, but nobody waits for that who could not send it again.

use std::sync::Arc;

use bytestring::ByteString;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::core::Publisher;
use super::inlet::{InletAnswer, InletOptions, PASSING};
use super::{Inlet, Origin};
use crate::mqtt::{Message, Packet, PacketId, ProtocolVersion, QoS, ReasonCode};
use crate::topic::TopicFilter;

/// QoS 1 and 2 messages in flight towards a link.
pub(super) const WINDOW: u16 = 64;
/// QoS 0 messages that wait in a link beside those; half full, the broker is told to send no more.
pub(super) const UNACKNOWLEDGED_MAX: usize = 256;
/// Commands that wait for the broker's thread.
const COMMANDS: usize = 64;

/// Who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// Unique; starts with `$` so that no client on a socket can take it.
    pub client_id: ByteString,
    /// What its messages are marked with.
    pub origin: Origin,
}

/// Who connects, and to which session.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    pub(super) client_id: ByteString,
    pub(super) origin: Origin,
    pub(super) version: ProtocolVersion,
    pub(super) clean_start: bool,
    pub(super) session_expiry: u32,
}

impl From<LinkOptions> for Joining {
    fn from(options: LinkOptions) -> Self {
        Self {
            client_id: options.client_id,
            origin: options.origin,
            version: ProtocolVersion::V5,
            clean_start: true,
            session_expiry: 0,
        }
    }
}

impl From<InletOptions> for Joining {
    fn from(options: InletOptions) -> Self {
        Self {
            client_id: options.client_id,
            origin: Origin::Bridge(options.bridge),
            version: options.version,
            clean_start: options.clean_start,
            session_expiry: u32::MAX, // never
        }
    }
}

/// The broker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker has ended")]
pub struct LinkClosed;

/// One such client. Its session is not persistent; it ends when this is dropped.
#[derive(Debug)]
pub struct Link {
    commands: mpsc::Sender<Command>,
    credits: Arc<Semaphore>,
    deliveries: mpsc::Receiver<Delivery>,
    taken: mpsc::Sender<PacketId>,
    terms: Terms,
}

/// What the broker grants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) maximum_qos: QoS,
    pub(super) retain_available: bool,
}

/// What a link asks of the broker's thread.
#[derive(Debug)]
pub(super) enum Command {
    Publish(Message, Option<oneshot::Sender<ReasonCode>>),
    Subscribe {
        filter: TopicFilter,
        qos: QoS,
        granted: oneshot::Sender<ReasonCode>,
    },
    /// Of an inlet: a PUBLISH or PUBREL as it is.
    Pass(Packet),
}

/// What it gets.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) message: Message,
    pub(super) publisher: Option<Publisher>,
    /// Present where an acknowledgement is due.
    pub(super) packet_id: Option<PacketId>,
}

/// The broker's ends of the channels.
#[derive(Debug)]
pub(super) struct LinkEnds {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) credits: Arc<Semaphore>,
    pub(super) deliveries: mpsc::Sender<Delivery>,
    pub(super) taken: mpsc::Receiver<PacketId>,
    pub(super) connected: oneshot::Sender<Terms>,
    /// Of an inlet, which answers for itself.
    pub(super) answers: Option<mpsc::Sender<InletAnswer>>,
}

/// An inlet that is not connected yet, and the broker's side of it.
pub(super) fn inlet_pair(
    connected: oneshot::Sender<Terms>,
) -> (impl FnOnce(Terms) -> Inlet, LinkEnds) {
    let (commands, broker_commands) = mpsc::channel(PASSING);
    // As many as there are unanswered steps, and one over.
    let (broker_answers, answers) = mpsc::channel(PASSING);
    let (deliveries, _) = mpsc::channel(1);
    let (_, taken) = mpsc::channel(1);
    let ends = LinkEnds {
        commands: broker_commands,
        credits: Arc::new(Semaphore::new(0)),
        deliveries,
        taken,
        connected,
        answers: Some(broker_answers),
    };
    (move |terms| Inlet::new(commands, answers, terms), ends)
}

/// A link that is not connected yet, and the broker's side of it.
pub(super) fn link_pair(connected: oneshot::Sender<Terms>) -> (Link, LinkEnds) {
    let (commands, broker_commands) = mpsc::channel(COMMANDS);
    let (broker_deliveries, deliveries) = mpsc::channel(UNACKNOWLEDGED_MAX + usize::from(WINDOW));
    let (taken, broker_taken) = mpsc::channel(usize::from(WINDOW));
    let credits = Arc::new(Semaphore::new(0));
    let link = Link {
        commands,
        credits: Arc::clone(&credits),
        deliveries,
        taken,
        terms: Terms {
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
        },
    };
    let ends = LinkEnds {
        commands: broker_commands,
        credits,
        deliveries: broker_deliveries,
        taken: broker_taken,
        connected,
        answers: None,
    };
    (link, ends)
}

impl Link {
    /// On the terms of the broker's CONNACK.
    pub(super) fn connected(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    /// Publishes. QoS 1 and 2: returns when the message is in flight, which waits while the receive maximum of messages
    /// is not yet acknowledged; so a backlog that refuses is felt here. QoS and retain flag are lowered to what the
    /// broker grants its clients. Cancel safe: a cancelled call has not published.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn publish(&mut self, message: Message) -> Result<(), LinkClosed> {
        self.send(message, None).await
    }

    /// As [`Self::publish`], and waits for the acknowledgement: at QoS 1 and 2 returns when what is to be kept is kept, or why
    /// it is refused. At QoS 0 there is none.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn publish_acknowledged(
        &mut self,
        message: Message,
    ) -> Result<ReasonCode, LinkClosed> {
        if message.qos.min(self.terms.maximum_qos) == QoS::AtMostOnce {
            self.send(message, None).await?;
            return Ok(ReasonCode::Success);
        }
        let (acknowledged, reason) = oneshot::channel();
        self.send(message, Some(acknowledged)).await?;
        reason.await.map_err(|_| LinkClosed)
    }

    async fn send(
        &mut self,
        mut message: Message,
        acknowledged: Option<oneshot::Sender<ReasonCode>>,
    ) -> Result<(), LinkClosed> {
        message.qos = message.qos.min(self.terms.maximum_qos);
        message.retain &= self.terms.retain_available;
        let credit = match message.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                Some(self.credits.acquire().await.map_err(|_| LinkClosed)?)
            }
        };
        let command = Command::Publish(message, acknowledged);
        self.commands.send(command).await.map_err(|_| LinkClosed)?;
        if let Some(credit) = credit {
            credit.forget(); // the broker gives it back with the acknowledgement
        }
        Ok(())
    }

    /// Subscribes; returns when the subscription is in force, or why it is refused. A message comes with the retain flag it
    /// was published with (Retain As Published), so that the receiver can tell a command from the memory of one.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn subscribe(
        &mut self,
        filter: TopicFilter,
        qos: QoS,
    ) -> Result<ReasonCode, LinkClosed> {
        let (granted, answer) = oneshot::channel();
        let command = Command::Subscribe {
            filter,
            qos,
            granted,
        };
        self.commands.send(command).await.map_err(|_| LinkClosed)?;
        answer.await.map_err(|_| LinkClosed)
    }

    /// The next message for this link; QoS 1 and 2 are acknowledged when it is returned. Cancel safe.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn receive(&mut self) -> Result<Message, LinkClosed> {
        Ok(self.receive_from().await?.0)
    }

    /// As [`Self::receive`], with who published it: known of what a link of [`Origin::Device`] or [`Origin::Console`] is sent
    /// at QoS 0 as it is published, not of what was retained. The QoS is that of the publisher then.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn receive_from(&mut self) -> Result<(Message, Option<Publisher>), LinkClosed> {
        let delivery = self.deliveries.recv().await.ok_or(LinkClosed)?;
        if let Some(id) = delivery.packet_id
            && let Err(fault) = self.taken.try_send(id)
        {
            // There is room for as many as the window lets be in flight, so the broker is gone. The next call says it.
            tracing::debug!(%fault, "an acknowledgement came too late for the broker");
        }
        Ok((delivery.message, delivery.publisher))
    }
}
