//! CONNECT and CONNACK: what is asked for, what is granted, and whether the upstream still has our session.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;

use super::alive::{Timers, watchdog};
use super::{Cause, Core, Effect, Flight, Lane, publish};
use crate::mqtt::{Connack, Connect, Disconnect, Packet, QoS, ReasonCode, Will};
use crate::session::{Resend, TopicAliases};
use crate::store::{CommitNumber, Outcome, SESSION_NAME_MAX};

/// Between the parts of what the log keeps of a session: its name, whether the live lane has part in it, its filters. In none
/// of these.
pub(super) const SEPARATOR: char = '\0';

/// QoS 1 and 2 messages in flight towards us. With their PUBRELs fewer than the inlet takes at a time.
pub(super) const RECEIVE_MAXIMUM: u16 = 20;

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    Closed,
    /// CONNECT is sent.
    Connecting {
        /// Which of the addresses.
        address: usize,
        /// Clean Start was asked for.
        clean: bool,
    },
    /// CONNACK accepted it.
    Up,
    /// What is in flight is waited for; nothing new is begun.
    Stopping,
}

/// What a connection allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// QoS 1 and 2 messages in flight.
    pub(super) window: u16,
    pub(super) maximum_qos: QoS,
    pub(super) retain_available: bool,
    pub(super) maximum_packet_size: Option<u32>,
    /// Zero: none.
    pub(super) keep_alive: Duration,
    /// The upstream keeps to the topic aliases that it grants; learnt from a DISCONNECT.
    pub(super) topic_aliases: bool,
    /// The Will may carry RETAIN; learnt from a refusal.
    pub(super) will_retain: bool,
    /// Highest QoS of the Will; learnt from a refusal.
    pub(super) will_qos: QoS,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: 0,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            keep_alive: Duration::ZERO,
            topic_aliases: true,
            will_retain: true,
            will_qos: QoS::ExactlyOnce,
        }
    }
}

impl Core {
    /// A network connection to the address with this index is there: sends CONNECT, with Clean Start unless the session
    /// that the log has `kept` is at this address, and is the one that the live lane has kept where that has part in it. After
    /// [`Self::handle_progress`].
    pub fn connect(
        &mut self,
        now: Instant,
        address: usize,
        kept: Option<&str>,
        kept_live: Option<&str>,
    ) {
        let name = self.session_name(address);
        let is_it = |kept: &&str| kept.split(SEPARATOR).next() == Some(name.as_str());
        let goes_on = self.queues.may_go_on(kept, kept_live.filter(is_it));
        let kept = kept.filter(is_it).filter(|_| goes_on);
        let clean = kept.is_none();
        self.queues.restore(kept);
        self.subscriptions.restore(kept);
        self.address = address;
        for queue in self.queues.all_mut() {
            queue.session_kept = None;
        }
        self.phase = Phase::Connecting { address, clean };
        self.timers = Timers {
            connack: Some(now + self.options.stage_timeout),
            ..Timers::default()
        };
        let connect = self.connect_packet(clean);
        self.effects
            .push_back(Effect::Send(Packet::Connect(Box::new(connect))));
    }

    /// What the log is to keep of a session at the address with this index: whose it is and where. A name that would be
    /// too long ends in a checksum of all of it.
    fn session_name(&self, address: usize) -> String {
        let options = &self.options;
        let mut name = match options.addresses.get(address) {
            Some(address) => format!("{}:{} {}", address.host, address.port, options.client_id),
            None => options.client_id.clone(),
        };
        if name.len() > SESSION_NAME_MAX {
            let sum = format!("#{:08x}", crc32c::crc32c(name.as_bytes()));
            while name.len() + sum.len() > SESSION_NAME_MAX {
                name.pop();
            }
            name.push_str(&sum);
        }
        name
    }

    fn connect_packet(&self, clean: bool) -> Connect {
        let options = &self.options;
        let v5 = options.protocol.is_v5();
        // In 3.1.1 such a connection only clears the old session, and leaves no Will behind.
        let will = options.will.as_ref().filter(|_| v5 || !clean);
        Connect {
            version: options.protocol,
            clean_start: clean,
            keep_alive: u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX),
            client_id: ByteString::from(options.client_id.as_str()),
            will: will.map(|message| {
                let mut message = message.clone();
                let ceilings = &options.ceilings;
                message.retain &= self.limits.will_retain && ceilings.retain;
                message.qos = message.qos.min(self.limits.will_qos);
                message.qos = message.qos.min(ceilings.maximum_qos);
                Box::new(Will { message, delay: 0 })
            }),
            user_name: options.user.as_deref().map(ByteString::from),
            password: options
                .password
                .as_ref()
                .map(|password| Bytes::copy_from_slice(password.expose().as_bytes()).into()),
            session_expiry: match (v5, clean) {
                (true, _) => u32::try_from(options.session_expiry.as_secs()).unwrap_or(u32::MAX),
                (false, true) => 0,
                (false, false) => u32::MAX,
            },
            receive_maximum: if v5 { RECEIVE_MAXIMUM } else { u16::MAX },
            maximum_packet_size: v5.then_some(options.packet_size),
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: Vec::new(),
            authentication_method: None,
            authentication_data: None,
        }
    }

    pub(super) fn handle_connack(&mut self, now: Instant, connack: &Connack) {
        let Phase::Connecting { address, clean } = self.phase else {
            return;
        };
        if connack.reason != ReasonCode::Success {
            match connack.reason {
                ReasonCode::RetainNotSupported => self.limits.will_retain = false,
                ReasonCode::QoSNotSupported => {
                    self.limits.will_qos = connack.maximum_qos.min(QoS::AtMostOnce);
                }
                _ => {}
            }
            return self.close(Cause::Refused {
                reason: connack.reason,
                text: connack.reason_string.as_ref().map(ToString::to_string),
            });
        }
        if clean && connack.session_present {
            return self.violation("the upstream kept a session that we asked it to discard");
        }
        if clean && !self.options.protocol.is_v5() {
            // Clean Session 1 also means that this session ends with the connection.
            self.queues.begin_session();
            self.keep_session(address);
            self.effects
                .push_back(Effect::Send(Packet::Disconnect(Disconnect::new(
                    ReasonCode::Success,
                ))));
            return self.close(Cause::SessionCleared);
        }
        self.take_limits(connack);
        if !connack.session_present {
            self.queues.begin_session();
        }
        self.subscriptions
            .connected(&self.options.receive, connack.session_present);
        // First, so that the marks of one session never stand beside the name of another.
        self.keep_session(address);
        if connack.session_present {
            if self.holds_too_high_a_qos() {
                return self.mismatch();
            }
            self.resume();
        } else {
            self.begin_session();
        }
        self.phase = Phase::Up;
        self.figures.connects += 1;
        self.timers = Timers {
            watchdog: Some(now + watchdog(self.limits.keep_alive)),
            ..Timers::default()
        };
        // The CONNECT was the last packet sent, a little before.
        self.timers.sent(now, self.limits.keep_alive);
        self.newest.connected();
        self.tell_gaps_anew();
        self.effects.push_back(Effect::Up {
            session_present: connack.session_present,
            session_expiry: connack
                .session_expiry
                .map(|seconds| Duration::from_secs(u64::from(seconds))),
        });
        if !self.options.receive.is_empty() {
            self.receiving.open();
            let clean_start = !connack.session_present;
            self.effects.push_back(Effect::OpenInlet { clean_start });
        }
    }

    fn take_limits(&mut self, connack: &Connack) {
        let keep_alive = match connack.server_keep_alive {
            Some(seconds) => Duration::from_secs(u64::from(seconds)),
            // As it was sent, in whole seconds of 16 bits.
            None => Duration::from_secs(self.options.keep_alive.as_secs().min(u64::from(u16::MAX))),
        };
        let ceilings = &self.options.ceilings;
        let packet_size = connack.maximum_packet_size.unwrap_or(u32::MAX);
        let packet_size = packet_size.min(ceilings.packet_size);
        self.limits = Limits {
            window: self.options.inflight.min(connack.receive_maximum).max(1),
            maximum_qos: connack.maximum_qos.min(ceilings.maximum_qos),
            retain_available: connack.retain_available && ceilings.retain,
            maximum_packet_size: (packet_size != u32::MAX).then_some(packet_size),
            keep_alive,
            ..self.limits
        };
        self.outbound.set_window(self.limits.window);
        let granted = connack.topic_alias_maximum.min(publish::ALIASES_MAX);
        let granted = if self.limits.topic_aliases {
            granted
        } else {
            0
        };
        self.aliases = TopicAliases::new(granted);
    }

    /// Something in flight may no longer be sent as it was: the upstream's rules changed under its session.
    fn holds_too_high_a_qos(&self) -> bool {
        self.outbound.resend().any(|resend| match resend {
            Resend::Publish { qos, .. } => qos > self.limits.maximum_qos,
            Resend::Release { .. } => false,
        })
    }

    /// The upstream has our session: what is in flight goes out again, in order.
    fn resume(&mut self) {
        self.since.clear();
        self.due = self
            .outbound
            .resend()
            .map(|resend| match resend {
                Resend::Publish { id, qos, .. } => (id, qos),
                Resend::Release { id } => (id, QoS::ExactlyOnce),
            })
            .collect();
    }

    /// The upstream knows nothing of us: everything unfinished starts anew.
    fn begin_session(&mut self) {
        self.session = self.session.saturating_add(1);
        self.since.clear();
        self.due.clear();
        for queue in self.queues.all_mut() {
            queue.committing.clear();
            queue.exactly_once = 0;
            queue.is_recovering = false;
        }
        self.exactly_once = 0;
        let flights: Vec<_> = self.outbound.clear().collect();
        self.requeue(flights);
        self.effects.push_back(Effect::ForgetReceived);
    }

    pub(super) fn keep_session(&mut self, address: usize) {
        let name = self.session_name(address) + self.queues.note() + &self.subscriptions.note();
        self.effects.push_back(Effect::KeepSession(Some(name)));
    }

    /// What a log answered to [`Effect::KeepSession`] or [`Effect::ForgetReceived`].
    pub fn handle_kept(&mut self, lane: Lane, commit: CommitNumber) {
        let queue = self.queues.get_mut(lane);
        queue.session_kept = queue.session_kept.max(Some(commit));
    }

    /// The network connection is gone, for whatever reason. What is at QoS 0 and was not sent is dropped, unless the next
    /// connection is there already.
    pub fn handle_closed(&mut self) {
        self.phase = Phase::Closed;
        self.timers = Timers::default();
        self.newest.connected();
        self.tell_gaps_anew();
        self.subscriptions.closed();
        self.suspects.closed();
        self.receiving = super::Receiving::default();
        if std::mem::take(&mut self.is_leaving) {
            return;
        }
        let is_dropped = |flight: &Flight| flight.entry.record.message.qos == QoS::AtMostOnce;
        let mut all = Vec::new();
        for queue in self.queues.all_mut() {
            let pending = std::mem::take(&mut queue.pending);
            let (dropped, kept): (VecDeque<_>, _) = pending.into_iter().partition(is_dropped);
            queue.pending = kept;
            all.extend(dropped);
        }
        for flight in all {
            self.done(&flight, Outcome::Dropped);
        }
    }

    /// What we know does not fit the upstream's session: the next connection begins a new one.
    pub(super) fn mismatch(&mut self) {
        self.effects.push_back(Effect::KeepSession(None));
        self.close(Cause::SessionMismatch);
    }

    /// The upstream broke the standard.
    pub(super) fn violation(&mut self, what: &'static str) {
        if self.options.protocol.is_v5() && self.is_up() {
            self.effects
                .push_back(Effect::Send(Packet::Disconnect(Disconnect::new(
                    ReasonCode::ProtocolError,
                ))));
        }
        self.close(Cause::Violation(what));
    }
}
