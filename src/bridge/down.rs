//! The way down during one connection: the inlet at the local broker, and what waits for it. It decides nothing.
//!
//! While something waits that is to be acknowledged, nothing is read from the upstream ([`Down::is_crowded`]), so of that this
//! holds what one read brought. QoS 0 messages do not hold back the others, nor the acknowledgements of what goes up:
//! beyond [`UNACKNOWLEDGED_BYTES`] they are dropped and counted.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use super::BridgeOptions;
use crate::broker::{BrokerHandle, Inlet, InletAnswer, InletOptions, LinkClosed};
use crate::mqtt::{Packet, QoS};

/// What may wait at QoS 0.
const UNACKNOWLEDGED_BYTES: usize = 1 << 20;

/// The local broker, for a bridge that receives.
#[derive(Clone, Debug)]
pub struct Local {
    /// The broker.
    pub broker: BrokerHandle,
    /// The number of the bridge's log there, in the order of attachment.
    pub number: usize,
}

/// See the head of this file.
pub(super) struct Down<'a> {
    local: Option<&'a Local>,
    inlet: State,
    waiting: VecDeque<Packet>,
    /// Of these, the bytes at QoS 0, about, and how many are not.
    unacknowledged: usize,
    acknowledged: usize,
    /// QoS 0 messages that there was no room for.
    dropped: u64,
}

/// The bytes of a QoS 0 message, about; `None` for all else.
fn unacknowledged(packet: &Packet) -> Option<usize> {
    match packet {
        Packet::Publish(publish) if publish.packet_id.is_none() => {
            Some(publish.payload.len() + 128)
        }
        _ => None,
    }
}

enum State {
    None,
    Opening(Pin<Box<dyn Future<Output = Result<Inlet, LinkClosed>> + Send>>),
    Open(Inlet),
}

/// What happened.
pub(super) enum DownEvent {
    /// The broker has the session.
    Opened(QoS),
    Answer(InletAnswer),
    /// Some of what waited is on its way.
    Passed,
    /// True where the broker has ended altogether.
    Ended(bool),
}

impl<'a> Down<'a> {
    pub(super) fn new(local: Option<&'a Local>) -> Self {
        Self {
            local,
            inlet: State::None,
            waiting: VecDeque::new(),
            unacknowledged: 0,
            acknowledged: 0,
            dropped: 0,
        }
    }

    /// Asks for the inlet.
    pub(super) fn open(&mut self, options: &BridgeOptions, clean_start: bool) {
        let Some(Local { broker, number }) = self.local.cloned() else {
            return;
        };
        let options = InletOptions {
            client_id: InletOptions::client_id_of(&options.name),
            bridge: number,
            version: options.protocol,
            clean_start,
        };
        self.inlet = State::Opening(Box::pin(async move { broker.inlet(options).await }));
    }

    /// How many QoS 0 messages found no room since this was asked.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Hands a packet to the broker, now or as soon as there is room.
    pub(super) fn pass(&mut self, packet: Packet) {
        match unacknowledged(&packet) {
            Some(bytes) if self.unacknowledged + bytes > UNACKNOWLEDGED_BYTES => {
                self.dropped += 1;
                return;
            }
            Some(bytes) => self.unacknowledged += bytes,
            None => self.acknowledged += 1,
        }
        self.waiting.push_back(packet);
        self.flush();
    }

    fn flush(&mut self) {
        let State::Open(inlet) = &mut self.inlet else {
            return;
        };
        while let Some(packet) = self.waiting.front() {
            let passed = match packet {
                Packet::Publish(publish) => inlet.publish(publish.clone()),
                Packet::Pubrel(pubrel) => inlet.release(pubrel.clone()),
                _ => true,
            };
            if !passed {
                return;
            }
            match unacknowledged(packet) {
                Some(bytes) => self.unacknowledged -= bytes,
                None => self.acknowledged -= 1,
            }
            self.waiting.pop_front();
        }
    }

    /// Whether nothing more is to be read from the upstream for now.
    pub(super) fn is_crowded(&self) -> bool {
        self.acknowledged > 0
    }

    /// What comes next; never, where nothing is received. Cancel safe.
    pub(super) async fn event(&mut self) -> DownEvent {
        let event = match &mut self.inlet {
            State::None => std::future::pending().await,
            State::Opening(opening) => match opening.await {
                Ok(inlet) => {
                    let maximum_qos = inlet.maximum_qos();
                    self.inlet = State::Open(inlet);
                    return DownEvent::Opened(maximum_qos);
                }
                Err(LinkClosed) => None,
            },
            State::Open(inlet) => match self.waiting.front() {
                Some(packet) => inlet.answer_or_room(packet).await.ok(),
                None => inlet.answer().await.ok().map(Some),
            },
        };
        if let Some(event) = event {
            self.flush();
            return event.map_or(DownEvent::Passed, DownEvent::Answer);
        }
        self.inlet = State::None;
        self.waiting.clear();
        (self.unacknowledged, self.acknowledged) = (0, 0);
        let local = self.local.as_ref();
        DownEvent::Ended(local.is_none_or(|local| local.broker.has_ended()))
    }
}
