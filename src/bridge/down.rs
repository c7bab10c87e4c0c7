//! The way down during one connection: the inlet at the local broker, and what waits for it. It decides nothing.
//!
//! While something waits, nothing is read from the upstream ([`Down::is_crowded`]), so this holds what one read brought at
//! most.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use super::BridgeOptions;
use crate::broker::{BrokerHandle, Inlet, InletAnswer, InletOptions, LinkClosed};
use crate::mqtt::{Packet, QoS};

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
    /// QoS 0 messages that the broker had no room for.
    dropped: u64,
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
    /// True where the broker has ended altogether.
    Ended(bool),
}

impl<'a> Down<'a> {
    pub(super) fn new(local: Option<&'a Local>) -> Self {
        Self {
            local,
            inlet: State::None,
            waiting: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Asks for the inlet.
    pub(super) fn open(&mut self, options: &BridgeOptions, clean_start: bool) {
        let Some(Local { broker, number }) = self.local.cloned() else {
            return;
        };
        let options = InletOptions {
            client_id: format!("$fieldgate/upstream/{}", options.name).into(),
            bridge: number,
            version: options.protocol,
            clean_start,
            session_expiry: u32::try_from(options.session_expiry.as_secs()).unwrap_or(u32::MAX),
        };
        self.inlet = State::Opening(Box::pin(async move { broker.inlet(options).await }));
    }

    /// How many QoS 0 messages found no room since this was asked.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Hands a packet to the broker, now or as soon as there is room.
    pub(super) fn pass(&mut self, packet: Packet) {
        self.waiting.push_back(packet);
        self.flush();
    }

    fn flush(&mut self) {
        let State::Open(inlet) = &mut self.inlet else {
            return;
        };
        while let Some(packet) = self.waiting.pop_front() {
            let passed = match &packet {
                Packet::Publish(publish) if publish.packet_id.is_none() => {
                    let passed = inlet.publish(publish.clone());
                    self.dropped += u64::from(!passed);
                    true
                }
                Packet::Publish(publish) => inlet.publish(publish.clone()),
                Packet::Pubrel(pubrel) => inlet.release(pubrel.clone()),
                _ => true,
            };
            if !passed {
                return self.waiting.push_front(packet);
            }
        }
    }

    /// Whether nothing more is to be read from the upstream for now.
    pub(super) fn is_crowded(&self) -> bool {
        !self.waiting.is_empty()
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
            State::Open(inlet) => inlet.answer().await.ok(),
        };
        if let Some(answer) = event {
            self.flush();
            return DownEvent::Answer(answer);
        }
        self.inlet = State::None;
        self.waiting.clear();
        let local = self.local.as_ref();
        DownEvent::Ended(local.is_none_or(|local| local.broker.has_ended()))
    }
}
