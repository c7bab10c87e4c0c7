//! The link's protocol state: what is sent to the upstream, when, and what its answers mean for the backlog. No I/O, no
//! clock, no randomness: `now` is an argument, outputs are [`Effect`]s.
//!
//! The shell calls `connect`, `handle_*` and `pump`, then drains `poll_effect` until it is empty, then waits for input or
//! for `next_timeout`. One `Core` lives as long as the bridge; connections come and go below it.
//!
//! Invariants:
//! - Messages come from the log only, in its order, through one cursor; of two logs where a route says `live_first` (`lane`).
//! - A message is done when the upstream has acknowledged it to the end, when the dead-letter has it, or by a declared and counted
//!   reason.
//! - A QoS 2 message is committed before its first PUBLISH leaves, and its PUBREC before PUBREL leaves.
//! - A committed PUBREC is answered by PUBREL alone only while the upstream keeps the session.
//! - The log knows at which upstream the session is, before the first QoS 2 message is sent in it. Where it does not know,
//!   or at another upstream, the session is begun with Clean Start.
//! - What comes from the upstream is acknowledged when the local broker has acknowledged it.
//! - RAM: the window, one read of the log, the gateway's own topics. It does not grow with the backlog.

mod acknowledge;
mod alive;
mod cause;
mod connect;
mod figures;
mod gap;
mod ids;
mod lane;
mod latest;
mod pace;
mod publish;
mod receive;
mod refused;
mod send;
mod stop;
mod subscribe;
mod suspect;

pub use cause::Cause;
pub use figures::Figures;
pub use lane::Lane;
pub use publish::{DropReason, ID_PROPERTY};
pub use receive::{HOPS_PROPERTY, NotReceived};
pub use refused::DEAD_LETTER_PROPERTY;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::BridgeOptions;
use crate::mqtt::{Packet, PacketId, QoS, ReasonCode};
use crate::session::{Outbound, TopicAliases};
use crate::store::{Entry, Outcome, Progress, Record, Seq};
use crate::topic::{TopicFilter, TopicName};
use alive::Timers;
use connect::{Limits, Phase};
use lane::Queues;
use latest::Newest;
use pace::Pace;
use receive::Receiving;
use refused::Retry;
use subscribe::Subscriptions;
use suspect::Suspects;

/// Messages taken from the log at a time.
const READ_MESSAGES: usize = 256;
/// Their bytes.
const READ_BYTES: usize = 256 << 10;

/// What the shell is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write it to the upstream.
    Send(Packet),
    /// Tell the log: `Log::done`.
    Done {
        /// Of which log.
        lane: Lane,
        /// Which message.
        seq: Seq,
        /// What became of it.
        outcome: Outcome,
    },
    /// Say in the log file that a message was given up; [`Effect::Done`] follows.
    Dropped {
        /// Of which log.
        lane: Lane,
        /// Which message.
        seq: Seq,
        /// Where it was to go.
        topic: TopicName,
        /// Why.
        reason: DropReason,
    },
    /// Keep it in the dead-letter, and answer with [`Core::handle_dead_letter`] when that is on stable storage.
    DeadLetter {
        /// Of which log.
        lane: Lane,
        /// Which message.
        seq: Seq,
        /// The message, with its id and the reason as user properties.
        letter: Box<Record>,
        /// Why.
        reason: DropReason,
    },
    /// Tell the log: `Log::gap_told`.
    GapTold(Lane, u64),
    /// Tell the log: `Log::received`, and answer with [`Core::handle_received`].
    Received(Lane, Seq),
    /// Tell every log: `Log::forget_received`, and answer with [`Core::handle_kept`].
    ForgetReceived,
    /// Tell every log: `Log::keep_session`, and answer with [`Core::handle_kept`].
    KeepSession(Option<String>),
    /// The upstream has accepted the connection.
    Up {
        /// It still has our session.
        session_present: bool,
        /// It keeps the session for this long, not as long as asked.
        session_expiry: Option<Duration>,
    },
    /// Ask the broker for an inlet, and answer with [`Core::handle_inlet`].
    OpenInlet {
        /// The upstream's session is a new one.
        clean_start: bool,
    },
    /// Hand a PUBLISH or PUBREL to the inlet; its answers go to [`Core::handle_inlet_answer`].
    Pass(Packet),
    /// Say in the log file that a message from the upstream went nowhere; of the first ones of a connection.
    NotReceived {
        /// The upstream's.
        topic: TopicName,
        /// Why.
        why: NotReceived,
    },
    /// Say in the log file that the upstream does not have this topic of the gateway's own, and gets it no more.
    OwnTopicRefused(TopicName),
    /// Say in the log file that the upstream refused a subscription.
    SubscriptionRefused {
        /// To what.
        filter: TopicFilter,
        /// Why.
        reason: ReasonCode,
    },
    /// Write what is to be sent, close the connection, call [`Core::handle_closed`].
    Close(Cause),
}

/// What the core wants to read from a log next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Of which log.
    pub lane: Lane,
    /// From here on.
    pub from: Seq,
    /// The log had messages up to here when this was said; handed back with what was read.
    pub upto: Seq,
    /// At most so many.
    pub messages: usize,
    /// About so many bytes.
    pub bytes: usize,
}

/// A message of the log on its way.
#[derive(Clone, Debug)]
struct Flight {
    lane: Lane,
    entry: Entry,
    /// The upstream's session in which a copy may have arrived; `None`: surely none did.
    session: Option<u32>,
    /// Refusals so far that ask for another try.
    refusals: u32,
}

impl Flight {
    fn seq(&self) -> Seq {
        self.entry.seq
    }
}

/// The protocol state of one bridge.
#[derive(Debug)]
pub struct Core {
    options: Arc<BridgeOptions>,
    phase: Phase,
    /// The connection that is ending is followed at once by another, in the same session.
    is_leaving: bool,
    limits: Limits,
    /// What the upstream was told on this connection.
    aliases: TopicAliases,
    /// Counts the sessions the upstream began for us; 0 is the one from before this start of the program.
    session: u32,
    /// What is still to be sent.
    queues: Queues,
    /// In flight, in the order of sending.
    outbound: Outbound<Flight>,
    /// How many of them are at QoS 2.
    exactly_once: usize,
    /// In flight, and not yet sent again on this connection; in order.
    due: VecDeque<(PacketId, QoS)>,
    /// When each flight that waits for the upstream last moved on.
    since: HashMap<PacketId, Instant>,
    retry: Retry,
    /// On their way to the dead-letter.
    burying: BTreeSet<(Lane, Seq)>,
    suspects: Suspects,
    pace: Pace,
    newest: Newest,
    /// Index of the address of this connection.
    address: usize,
    subscriptions: Subscriptions,
    receiving: Receiving,
    timers: Timers,
    effects: VecDeque<Effect>,
    figures: Figures,
}

impl Core {
    /// For a bridge whose log may hold messages from earlier starts.
    #[must_use]
    pub fn new(options: Arc<BridgeOptions>) -> Self {
        Self::with(options, Queues::new(Seq(0), None))
    }

    /// The same for a bridge with a live lane.
    #[must_use]
    pub fn with_live_lane(options: Arc<BridgeOptions>) -> Self {
        Self::with(options, Queues::new(Seq(0), Some(Seq(0))))
    }

    fn with(options: Arc<BridgeOptions>, queues: Queues) -> Self {
        Self {
            pace: Pace::new(options.rate),
            options,
            phase: Phase::Closed,
            is_leaving: false,
            limits: Limits::default(),
            aliases: TopicAliases::default(),
            session: 0,
            queues,
            outbound: Outbound::new(0),
            exactly_once: 0,
            due: VecDeque::new(),
            since: HashMap::new(),
            retry: Retry::default(),
            burying: BTreeSet::new(),
            suspects: Suspects::default(),
            newest: Newest::default(),
            address: 0,
            subscriptions: Subscriptions::default(),
            receiving: Receiving::default(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            figures: Figures::default(),
        }
    }

    /// In place of this one, which failed: it knows nothing but the log, of which all up to `appended` may have been sent,
    /// and of the live lane all up to `live`.
    #[must_use]
    pub fn anew(&self, appended: Seq, live: Option<Seq>) -> Self {
        Self {
            figures: self.figures,
            ..Self::with(Arc::clone(&self.options), Queues::new(appended, live))
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether the upstream has accepted the connection.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Stopping)
    }

    /// Figures.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// The subscriptions that the upstream refused on this connection.
    pub fn refused_subscriptions(&self) -> impl Iterator<Item = (&str, ReasonCode)> {
        self.subscriptions.refused()
    }

    /// QoS 1 and 2 messages on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.outbound.len()
    }

    /// A packet arrived.
    pub fn handle_packet(&mut self, now: Instant, packet: Packet) {
        match (&self.phase, packet) {
            (Phase::Connecting { .. }, Packet::Connack(connack)) => {
                self.handle_connack(now, &connack);
            }
            (Phase::Up | Phase::Stopping, packet) => self.handle_established(now, packet),
            (Phase::Connecting { .. }, _) => {
                self.violation("the first packet of the upstream is not a CONNACK");
            }
            (Phase::Closed, _) => {}
        }
    }

    fn handle_established(&mut self, now: Instant, packet: Packet) {
        match packet {
            Packet::Puback(puback) => self.handle_puback(now, &puback),
            Packet::Pubrec(pubrec) => self.handle_pubrec(now, &pubrec),
            Packet::Pubcomp(pubcomp) => self.handle_pubcomp(&pubcomp),
            Packet::Pingresp => {
                self.timers.answered();
                self.suspects.proof_given();
            }
            Packet::Publish(publish) => self.handle_publish(now, publish),
            Packet::Pubrel(pubrel) => self.handle_pubrel(now, pubrel),
            Packet::Disconnect(disconnect) if self.options.protocol.is_v5() => {
                self.handle_disconnect_reason(now, disconnect.reason);
                self.close(Cause::Disconnected {
                    reason: disconnect.reason,
                    text: disconnect.reason_string.map(|text| text.to_string()),
                });
            }
            Packet::Suback(suback) => self.handle_suback(&suback),
            Packet::Unsuback(unsuback) => self.handle_unsuback(&unsuback),
            Packet::Connack(_) => self.violation("the upstream sent a second CONNACK"),
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Pingreq
            | Packet::Auth(_)
            | Packet::Disconnect(_) => {
                self.violation("the upstream sent a packet that only a client may send");
            }
        }
    }

    /// How far a log is. Called whenever that changed, after all effects were carried out.
    pub fn handle_progress(&mut self, now: Instant, lane: Lane, progress: Progress) {
        self.queues.get_mut(lane).progress = progress;
        self.release_committed(now, lane);
    }
}
