//! A session: what the broker knows of a client, connected or away.
//!
//! The connection lives in [`Presence::Online`], so that an absent client has no connection that could be misused. The
//! session owns what must outlive a connection: subscriptions, what is in flight, what waits, which QoS 2 ids are taken.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::alias::TopicAliases;
use super::answers::{Answers, Tickets};
use super::durable::Durable;
use super::held::{Held, Queue};
use super::lanes::LastLane;
use super::retained::Cursor;
use super::rights::Refusals;
use super::subscriptions::SubscriptionKey;
use super::{ConnId, Origin};
use crate::auth::Principal;
use crate::mqtt::{PacketId, ProtocolVersion, QoS, ReasonCode, Will};
use crate::session::{Inbound, Outbound, PacketIds};
use crate::store::StoredSubscription;
use crate::topic::TopicFilter;

/// Place of a session in the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionKey(pub(super) usize);

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client_id: ByteString,
    /// Who its client was when it connected last, and what it may do now.
    pub(super) principal: Principal,
    /// Its rights have changed: what waits may be more than it may read.
    pub(super) recheck: bool,
    pub(super) refusals: Refusals,
    /// Messages for it that were dropped by a declared policy.
    pub(super) dropped: u64,
    pub(super) presence: Presence,
    /// Seconds that it outlives its connection.
    pub(super) expiry: u32,
    /// What it subscribed to; filters and options are in the index. Bounded by `subscriptions_per_client`.
    pub(super) subscriptions: Vec<SubscriptionKey>,
    /// In flight to the client. Without the message where nobody will ask for it again.
    pub(super) outbound: Outbound<Option<Held>>,
    pub(super) packet_ids: PacketIds,
    /// In flight, but not yet sent again on this connection.
    pub(super) resend: VecDeque<PacketId>,
    /// Waiting.
    pub(super) queue: Queue,
    /// Retained messages that new subscriptions still get; at most one for each filter.
    pub(super) replays: VecDeque<Replay>,
    /// In flight from the client.
    pub(super) inbound: Inbound,
    /// QoS 2 messages that were taken, but whose connection ended before the PUBREC: what it waits for.
    pub(super) owed: BTreeMap<PacketId, (ReasonCode, Tickets)>,
    /// Present where the store keeps the session; then what waits for an absent client is in the session log alone.
    pub(super) durable: Option<Box<Durable>>,
    /// The publish that last found this session, and where it stands among the receivers: overlapping subscriptions
    /// are merged with it.
    pub(super) found: (u64, usize),
    pub(super) last_lane: LastLane,
}

/// Whether the client is there.
#[derive(Debug)]
pub(super) enum Presence {
    Online(Box<Connection>),
    Offline(Away),
}

/// A client that is not there.
#[derive(Debug, Default)]
pub(super) struct Away {
    pub(super) expires: Option<Instant>,
    pub(super) will: Option<Box<DelayedWill>>,
}

/// A will that waits for its Will Delay Interval, and then for the store.
#[derive(Debug)]
pub(super) struct DelayedWill {
    pub(super) will: Box<Will>,
    pub(super) origin: Origin,
    pub(super) due: Instant,
    /// From before a restart: it may have been published then.
    pub(super) is_restored: bool,
    /// It was published; what must be covered before the session's row may forget it.
    pub(super) published: Option<Tickets>,
}

/// What lasts as long as the network connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) conn: ConnId,
    pub(super) since: Instant,
    pub(super) version: ProtocolVersion,
    pub(super) origin: Origin,
    /// Of the client, in bytes.
    pub(super) maximum_packet_size: usize,
    /// The outbox is over its limit.
    pub(super) congested: bool,
    /// The CONNACK was sent: the client may be sent something.
    pub(super) greeted: bool,
    /// The core wants nothing more read from it for now.
    pub(super) paused: bool,
    /// The shell reads nothing from it for now.
    pub(super) unread: bool,
    pub(super) will: Option<Box<Will>>,
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) answers: Answers,
    pub(super) aliases: TopicAliases,
    /// It was promised Topic Aliases.
    pub(super) takes_aliases: bool,
    /// Request Problem Information: answers may explain themselves.
    pub(super) wants_reasons: bool,
}

/// Watches over silence.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// The Keep Alive.
    pub(super) seconds: NonZeroU16,
    pub(super) last_seen: Instant,
    /// For when the timeout is set.
    pub(super) set: Instant,
}

impl KeepAlive {
    /// The silence that is allowed: one and a half times as long [MQTT-3.1.2-22].
    pub(super) fn limit(seconds: NonZeroU16) -> Duration {
        Duration::from_millis(u64::from(seconds.get()) * 1500)
    }
}

/// Retained messages that a new subscription still gets.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) filter: TopicFilter,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) subscription_id: Option<u32>,
    pub(super) cursor: Cursor,
    /// [`super::retained::Retained::changes`] when the subscription was made: at QoS 1 and 2, what changed since then was
    /// delivered like any other message.
    pub(super) since: u64,
    /// The subscription as the store knows it once all were delivered. Present where it is kept.
    pub(super) stored: Option<StoredSubscription>,
}

impl Session {
    pub(super) fn new(client_id: ByteString) -> Self {
        Self {
            client_id,
            principal: Principal::default(),
            recheck: false,
            refusals: Refusals::default(),
            dropped: 0,
            presence: Presence::Offline(Away::default()),
            expiry: 0,
            subscriptions: Vec::new(),
            outbound: Outbound::new(0),
            packet_ids: PacketIds::default(),
            resend: VecDeque::new(),
            queue: Queue::default(),
            replays: VecDeque::new(),
            inbound: Inbound::new(0),
            owed: BTreeMap::new(),
            durable: None,
            found: (0, 0),
            last_lane: LastLane::default(),
        }
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        match &self.presence {
            Presence::Online(connection) => Some(connection),
            Presence::Offline(_) => None,
        }
    }

    /// Whether messages at QoS 1 or 2 that were sent are asked for again: the session outlives its connection.
    pub(super) fn keeps_sent(&self) -> bool {
        self.expiry > 0 || self.durable.is_some() || self.connection().is_none()
    }

    pub(super) fn connection_mut(&mut self) -> Option<&mut Connection> {
        match &mut self.presence {
            Presence::Online(connection) => Some(connection),
            Presence::Offline(_) => None,
        }
    }
}
