//! The broker's side of a link: what a client's library would do, on the broker's thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::sleep;

use super::core::{Command as CoreCommand, LogId};
use super::encoded::Delivery as CoreDelivery;
use super::inlet::InletAnswer;
use super::link::{Command, Delivery, Joining, LinkEnds, Terms, UNACKNOWLEDGED_MAX, WINDOW};
use super::link_packets::{connect, subscribe, success};
use super::peer::{Peer, Side};
use super::shell::Shell;
use crate::auth::Principal;
use crate::mqtt::{Acknowledge, Connack, Message, Packet, PacketId, QoS, ReasonCode};
use crate::session::PacketIds;

/// Commands carried out in one turn.
const COMMANDS_AT_ONCE: usize = 128;
/// Between two looks at whether a full log will have room soon.
const LOOK_AT_FULL: Duration = Duration::from_secs(1);

/// What stands behind a link's connection number.
pub(super) struct LinkSide {
    client_id: ByteString,
    deliveries: mpsc::Sender<Delivery>,
    credits: Arc<Semaphore>,
    /// Of an inlet.
    answers: Option<mpsc::Sender<InletAnswer>>,
    state: RefCell<State>,
    woken: Notify,
}

#[derive(Default)]
struct State {
    connected: Option<oneshot::Sender<Terms>>,
    ids: PacketIds,
    /// PUBLISHes that wait for their last acknowledgement; as many as there are credits.
    in_flight: Vec<InFlight>,
    /// The SUBSCRIBE that waits for its SUBACK; one, because the link waits for it.
    subscribing: Option<oneshot::Sender<ReasonCode>>,
    /// QoS of the deliveries that the link has not taken yet, for their acknowledgement; at most the window.
    untaken: Vec<(PacketId, QoS)>,
}

struct InFlight {
    id: PacketId,
    /// What the PUBREC said: that nobody subscribes is said there, and not in the PUBCOMP.
    received: ReasonCode,
    /// Who waits for the acknowledgement.
    acknowledged: Option<oneshot::Sender<ReasonCode>>,
}

impl LinkSide {
    /// Lets the link's task look at what changed.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// What the core says to the client. The answer that a client's library would give by itself comes back.
    pub(super) fn take(&self, packet: Packet) -> Option<Packet> {
        if let Some(answers) = &self.answers
            && let Some(answer) = InletAnswer::new(&packet)
        {
            if let Err(fault) = answers.try_send(answer) {
                // There is room for all that is unanswered, so the bridge is gone and its end is on its way here.
                tracing::debug!(client_id = %self.client_id, %fault, "an answer came too late for a bridge");
            }
            return None;
        }
        let mut state = self.state.borrow_mut();
        match packet {
            Packet::Connack(connack) => self.connected(&mut state, &connack),
            Packet::Puback(ack) | Packet::Pubcomp(ack) => self.acknowledged(&mut state, &ack),
            Packet::Pubrec(ack) if ack.reason.is_error() => self.acknowledged(&mut state, &ack),
            Packet::Pubrec(ack) => {
                let mut sent = state.in_flight.iter_mut();
                if let Some(sent) = sent.find(|sent| sent.id == ack.packet_id) {
                    sent.received = ack.reason;
                }
                return Some(Packet::Pubrel(success(ack.packet_id)));
            }
            Packet::Pubrel(ack) => return Some(Packet::Pubcomp(success(ack.packet_id))),
            Packet::Suback(suback) => {
                let refusal = suback.reasons.iter().find(|reason| reason.is_error());
                if let Some(reason) = refusal {
                    tracing::error!(client_id = %self.client_id, ?reason, "the subscription of a link was refused");
                }
                let reason = suback.reasons.first().copied();
                if let Some(granted) = state.subscribing.take()
                    && granted
                        .send(reason.unwrap_or(ReasonCode::UnspecifiedError))
                        .is_err()
                {
                    tracing::debug!(client_id = %self.client_id, "nobody waits for the subscription any more");
                }
            }
            Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Unsuback(_)
            | Packet::Pingreq
            | Packet::Pingresp
            | Packet::Disconnect(_)
            | Packet::Auth(_) => {}
        }
        None
    }

    /// Hands a message to the link. False: there is no room, and at QoS 0 it is dropped.
    pub(super) fn deliver(&self, delivery: &CoreDelivery) -> bool {
        let CoreDelivery {
            message,
            qos,
            retain,
            packet_id,
            ..
        } = delivery;
        // The window's share is kept free for QoS 1 and 2, so those always find room.
        if packet_id.is_none() && self.deliveries.capacity() <= usize::from(WINDOW) {
            return false;
        }
        let message = Message {
            qos: *qos,
            retain: *retain,
            ..message.compact()
        };
        if let Some(id) = *packet_id {
            self.state.borrow_mut().untaken.push((id, *qos));
        }
        let delivery = Delivery {
            message,
            publisher: None,
            packet_id: *packet_id,
        };
        self.deliveries.try_send(delivery).is_ok()
    }

    /// As [`Self::deliver`], with who published it.
    pub(super) fn command(&self, command: CoreCommand) -> bool {
        let message = Message {
            retain: command.retain,
            ..command.message.compact()
        };
        let delivery = Delivery {
            message,
            publisher: Some(command.publisher),
            packet_id: None,
        };
        self.deliveries.capacity() > usize::from(WINDOW)
            && self.deliveries.try_send(delivery).is_ok()
    }

    /// Half of the room for QoS 0 is used up.
    pub(super) fn is_crowded(&self) -> bool {
        self.deliveries.capacity() < usize::from(WINDOW) + UNACKNOWLEDGED_MAX / 2
    }

    fn connected(&self, state: &mut State, connack: &Connack) {
        let Some(connected) = state.connected.take() else {
            return;
        };
        if connack.reason.is_error() {
            tracing::error!(client_id = %self.client_id, reason = ?connack.reason, "a link was refused");
            return;
        }
        self.credits
            .add_permits(usize::from(connack.receive_maximum));
        let terms = Terms {
            maximum_qos: connack.maximum_qos,
            retain_available: connack.retain_available,
        };
        if connected.send(terms).is_err() {
            tracing::debug!(client_id = %self.client_id, "a link was given up before it was connected");
        }
    }

    /// A publish of the link is done, or refused; either way its credit comes back.
    fn acknowledged(&self, state: &mut State, ack: &Acknowledge) {
        let is_it = |sent: &InFlight| sent.id == ack.packet_id;
        let Some(position) = state.in_flight.iter().position(is_it) else {
            return;
        };
        let sent = state.in_flight.swap_remove(position);
        self.credits.add_permits(1);
        if let Some(acknowledged) = sent.acknowledged {
            let reason = match ack.reason {
                ReasonCode::Success => sent.received,
                other => other,
            };
            if acknowledged.send(reason).is_err() {
                tracing::debug!(client_id = %self.client_id, "nobody waits for the acknowledgement any more");
            }
        } else if ack.reason.is_error() {
            tracing::warn!(client_id = %self.client_id, reason = ?ack.reason, "a message of a link was refused");
        }
    }

    fn packet_of(&self, command: Command) -> Option<Packet> {
        let mut state = self.state.borrow_mut();
        let State { ids, in_flight, .. } = &mut *state;
        match command {
            Command::Pass(packet) => Some(packet),
            Command::Publish(message, _) if message.qos == QoS::AtMostOnce => {
                Some(Packet::Publish(message.into_publish(None)))
            }
            Command::Publish(message, acknowledged) => {
                let id = ids.next(|id| in_flight.iter().any(|sent| sent.id == id))?;
                in_flight.push(InFlight {
                    id,
                    received: ReasonCode::Success,
                    acknowledged,
                });
                Some(Packet::Publish(message.into_publish(Some(id))))
            }
            Command::Subscribe {
                filter,
                qos,
                granted,
            } => {
                let id = ids.next(|id| in_flight.iter().any(|sent| sent.id == id))?;
                state.subscribing = Some(granted);
                Some(Packet::Subscribe(subscribe(id, &filter, qos)))
            }
        }
    }

    /// The acknowledgement of a delivery that the link has taken.
    fn acknowledgement_of(&self, id: PacketId) -> Option<Packet> {
        let mut state = self.state.borrow_mut();
        let position = state.untaken.iter().position(|(it, _)| *it == id)?;
        let (_, qos) = state.untaken.swap_remove(position);
        Some(match qos {
            QoS::AtMostOnce => return None,
            QoS::AtLeastOnce => Packet::Puback(success(id)),
            QoS::ExactlyOnce => Packet::Pubrec(success(id)),
        })
    }
}

/// Serves one link until it is dropped or the broker closes it.
pub(super) async fn serve(shell: Rc<Shell>, joining: Joining, ends: LinkEnds) {
    let LinkEnds {
        commands,
        credits,
        deliveries,
        taken,
        connected,
        answers,
    } = ends;
    let side = LinkSide {
        client_id: joining.client_id.clone(),
        deliveries: deliveries.clone(),
        credits: Arc::clone(&credits),
        answers,
        state: RefCell::new(State {
            connected: Some(connected),
            ..State::default()
        }),
        woken: Notify::new(),
    };
    let peer = shell.join(Side::Link(side));
    let waits = !joining.origin.has_no_resender();
    let told = shell.guarded(|| {
        shell.turn(shell.moment(), |core, at| {
            let origin = joining.origin;
            let principal = |_: &str| Ok(Principal::default());
            core.connect(at.now, peer.conn, origin, principal, connect(joining));
        });
        shell.finish(1);
    });
    if let (Some(()), Side::Link(link)) = (told, &peer.side) {
        let serving = Serving {
            shell: &shell,
            peer: &peer,
            link,
            commands,
            deliveries,
            taken,
            waits,
            full: None,
        };
        serving.run().await;
    }
    // A client that waits for a credit learns that none will come.
    credits.close();
    shell.leave(&peer);
}

/// A link that the core knows.
struct Serving<'a> {
    shell: &'a Rc<Shell>,
    peer: &'a Rc<Peer>,
    link: &'a LinkSide,
    commands: mpsc::Receiver<Command>,
    deliveries: mpsc::Sender<Delivery>,
    taken: mpsc::Receiver<PacketId>,
    /// A log that will have no room soon is waited for; otherwise it is passed by.
    waits: bool,
    /// A log that this link feeds is full: it is not heard until there is room.
    full: Option<LogId>,
}

impl Serving<'_> {
    async fn run(mut self) {
        while self.peer.closing.get().is_none() {
            let Some(packets) = self.next().await else {
                return;
            };
            let shell = self.shell;
            let turned = shell.guarded(|| {
                let at = shell.moment();
                let count = packets.len();
                for packet in packets {
                    let filled = shell.turn(at, |core, at| {
                        core.receive(at.now, at.wall, self.peer.conn, packet);
                    });
                    self.full = self.full.or(filled);
                }
                shell.finish(count);
            });
            if turned.is_none() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What the link says next, as packets; none where only the state has changed. `None`: the link is gone.
    async fn next(&mut self) -> Option<Vec<Packet>> {
        if let Some(log) = self.full
            && !self.waits
            && self.shell.keeping.is_out_of_use(log)
        {
            self.shell.core.borrow_mut().pass_by(log, true);
            self.full = None;
        }
        let may_pass = self.full.is_some() && !self.waits;
        let room = self.full.and_then(|log| self.shell.keeping.room(log));
        let room = async {
            match room {
                Some(room) => room.await,
                None => std::future::pending().await,
            }
        };
        let mut commands = Vec::new();
        tokio::select! {
            () = self.link.woken.notified() => {}
            () = room => self.full = None,
            () = sleep(LOOK_AT_FULL), if may_pass => {}
            eased = self.deliveries.reserve_many(UNACKNOWLEDGED_MAX), if self.peer.congested.get() => {
                drop(eased);
                self.shell.guarded(|| {
                    self.shell.ease(self.peer);
                    self.shell.finish(1);
                });
            }
            Some(id) = self.taken.recv() => {
                let more = std::iter::from_fn(|| self.taken.try_recv().ok());
                let ids = std::iter::once(id).chain(more);
                return Some(ids.filter_map(|id| self.link.acknowledgement_of(id)).collect());
            }
            count = self.commands.recv_many(&mut commands, COMMANDS_AT_ONCE), if self.full.is_none() && !self.peer.paused.get() => {
                if count == 0 {
                    return None;
                }
            }
        }
        let packets = commands.into_iter();
        Some(
            packets
                .filter_map(|command| self.link.packet_of(command))
                .collect(),
        )
    }
}
