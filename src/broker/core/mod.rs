//! The broker's core: what happens to every packet, decided without I/O.
//!
//! One owner, on the broker's thread. Calls bring in what happened ([`Core::connect`], [`Core::receive`],
//! [`Core::closed`], [`Core::covered`], [`Core::congested`], [`Core::timeout`], ...); what is to be done comes out as
//! [`Effect`]s, which the shell takes after each call, or after a batch of calls, and carries out in order. The core never
//! sees a socket, a clock, a file or randomness: the time and one seed are arguments.
//!
//! The state machine is split by verb, each file an `impl Core`: `connect`, `publish`, `acknowledge`, `subscribe`,
//! `disconnect`, `will`, `expire`, `refuse`, `share`, `rights`. Below them, without knowledge of the core: the `subscriptions`
//! with their `trie` and `groups`, the `retained` store, the `session` with its `deliver`y, the `answers`, the `timeouts`.
//!
//! What can be told without taking a packet apart goes the short way, `express`, along the `lanes` that were found before.
//!
//! With a store ([`Core::attach_store`]) sessions that outlive their connection are kept: `durable` is what is known of
//! one, `keep` and `fetch` the way of its messages into the log and back, `rows` what the store is told beside them, `restore` a start with what it knew,
//! `lacking` one without a part of it, `new_routes` what a bridge is sent of the past.
//!
//! Invariants. An answer leaves only when all of the store that it depends on is covered, and in the order of what was
//! asked (P1); nothing leaves before the CONNACK. What takes a message is decided before anyone takes it. What is kept beyond the call that brought
//! it owns its storage. Whatever a client does ends at worst its own connection. Everything that grows has its limit in [`Limits`].

mod acknowledge;
mod alias;
mod answers;
mod clients;
mod connect;
mod deliver;
mod disconnect;
mod durable;
mod effect;
mod expire;
mod explain;
mod express;
mod fetch;
mod groups;
mod held;
mod keep;
mod lacking;
mod lanes;
mod new_routes;
mod overtake;
mod publish;
mod receivers;
mod recent;
mod refuse;
mod restore;
mod retained;
mod rights;
mod route;
mod rows;
mod session;
mod share;
mod shrink;
mod source;
mod stats;
mod store;
mod subscribe;
mod subscriptions;
mod table;
mod timeouts;
mod topic_hash;
mod trie;
mod watermark;
mod will;

pub use connect::AuthRefusal;
pub use effect::{
    Act, CloseCause, Command, ConnId, Effect, FETCH_BYTES, FETCH_MESSAGES, LogId, Publisher,
    Refused,
};
pub use express::{ExpressDelivery, Expressed};
pub use new_routes::NewRoutes;
pub use restore::{Restored, RestoredRetained, RestoredSession};
pub use stats::{ByQos, CoreStats};
pub use table::{ConnectionRow, SessionRow};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;
use std::vec;

use bytestring::ByteString;
use slab::Slab;

use self::clients::Clients;
use self::deliver::Out;
use self::groups::GroupKey;
use self::lanes::Lanes;
use self::receivers::Receiver;
use self::refuse::{Obstacle, Parked};
use self::retained::Retained;
use self::route::AttachedLog;
use self::session::{Session, SessionKey};
use self::share::Estate;
use self::store::AttachedStore;
use self::subscriptions::{Subscriber, Subscriptions};
use self::timeouts::Timeouts;
use super::{BrokerOptions, Durability, ForwardRoute, Limits, Origin, WhenQueueFull};
use crate::clock::WallTime;
use crate::mqtt::{Packet, ProtocolVersion, ReasonCode};
use crate::store::SessionNumber;

/// The broker's state machine.
#[derive(Debug)]
pub struct Core {
    limits: Limits,
    when_queue_full: WhenQueueFull,
    durability: Durability,
    seed: u64,
    names_given: u64,
    /// The last time heard of.
    now: Option<Instant>,
    /// The last wall time heard of, and when: some events carry none, but may publish a will.
    wall: Option<(Instant, WallTime)>,
    /// By [`ConnId`].
    slots: Vec<Slot>,
    sessions: Slab<Session>,
    clients: Clients,
    subscriptions: Subscriptions,
    lanes: Lanes,
    retained: Retained,
    logs: Vec<AttachedLog>,
    store: AttachedStore,
    /// The session log or the state could not be opened.
    lacks_store: bool,
    /// The session log has no room, nor will have soon.
    passes_sessions_by: bool,
    /// Of sessions that were kept and have ended.
    estates: HashMap<SessionNumber, Estate>,
    /// Publishers that are not read because the queue of a receiver, or a log, is full.
    parked: BTreeMap<SessionKey, Parked>,
    timeouts: Timeouts,
    /// When expired retained messages are looked for, while there may be any.
    sweep: Option<Instant>,
    /// Sessions with retained messages left to send that could go at once.
    replaying: BTreeSet<SessionKey>,
    replayed: SessionKey,
    effects: Vec<Effect>,
    stats: CoreStats,
    publishes: u64,
    /// Scratch of `publish`, kept for its capacity.
    matches: Vec<Subscriber>,
    /// Likewise.
    groups: Vec<GroupKey>,
    /// Likewise.
    receivers: Vec<Receiver>,
}

/// What is known of a [`ConnId`].
#[derive(Clone, Copy, Debug, Default)]
enum Slot {
    /// No CONNECT yet, or gone.
    #[default]
    Empty,
    /// Connected.
    Open(SessionKey),
    /// Told to close; the shell still needs the version to encode what was sent.
    Closing(ProtocolVersion),
}

impl Core {
    /// An empty core. The same seed gives the same names to clients without one: it must not be guessable.
    #[must_use]
    pub fn new(options: BrokerOptions, seed: u64) -> Self {
        let limits = options.limits;
        Self {
            retained: Retained::new(limits.retained_messages, limits.retained_bytes),
            limits,
            when_queue_full: options.when_queue_full,
            durability: options.durability,
            seed,
            names_given: 0,
            now: None,
            wall: None,
            slots: Vec::new(),
            sessions: Slab::new(),
            clients: Clients::default(),
            subscriptions: Subscriptions::default(),
            lanes: Lanes::default(),
            logs: Vec::new(),
            store: AttachedStore::default(),
            lacks_store: false,
            passes_sessions_by: false,
            estates: HashMap::new(),
            parked: BTreeMap::new(),
            timeouts: Timeouts::default(),
            sweep: None,
            replaying: BTreeSet::new(),
            replayed: SessionKey(0),
            effects: Vec::new(),
            stats: CoreStats::default(),
            publishes: 0,
            matches: Vec::new(),
            groups: Vec::new(),
            receivers: Vec::new(),
        }
    }

    /// Tells the time. Needed only before the first event that carries no wall time ([`Self::connect`],
    /// [`Self::violated`], [`Self::shutdown`]): a will published by one of them is stamped with the wall time of the last
    /// call that had one, plus what passed since.
    pub fn tell_time(&mut self, now: Instant, wall: WallTime) {
        self.now = Some(now);
        self.wall = Some((now, wall));
    }

    /// A packet from a client, decoded. Anything before CONNECT closes the connection [MQTT-3.1.0-1]; anything after the
    /// core closed it is ignored.
    pub fn receive(&mut self, now: Instant, wall: WallTime, conn: ConnId, packet: Packet) {
        self.tell_time(now, wall);
        let key = match self.slot(conn) {
            Slot::Open(key) => key,
            Slot::Closing(_) => return,
            Slot::Empty => {
                let cause = CloseCause::Violated(ReasonCode::ProtocolError);
                return self.close(conn, ProtocolVersion::V311, cause);
            }
        };
        self.seen(now, key);
        if let Err(reason) = self.dispatch(now, key, packet) {
            self.end(now, key, CloseCause::Violated(reason));
        }
    }

    fn dispatch(
        &mut self,
        now: Instant,
        key: SessionKey,
        packet: Packet,
    ) -> Result<(), ReasonCode> {
        match packet {
            Packet::Publish(publish) => self.publish(now, key, publish),
            Packet::Puback(puback) => self.puback(now, key, &puback),
            Packet::Pubrec(pubrec) => self.pubrec(now, key, &pubrec),
            Packet::Pubrel(pubrel) => self.pubrel(key, &pubrel),
            Packet::Pubcomp(pubcomp) => self.pubcomp(now, key, &pubcomp),
            Packet::Subscribe(subscribe) => self.subscribe(now, key, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(now, key, &unsubscribe),
            Packet::Pingreq => {
                self.answer_now(key, Packet::Pingresp);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnect(now, key, &disconnect),
            // A second CONNECT [MQTT-3.1.0-2]; AUTH, though no method was agreed on; packets of a server.
            Packet::Connect(_)
            | Packet::Auth(_)
            | Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp => Err(ReasonCode::ProtocolError),
        }
    }

    /// The outbox of a connection is over its limit, or below it again. While it is over, QoS 0 to it is dropped and
    /// counted, QoS 1 and 2 wait in the session's queue.
    pub fn congested(&mut self, conn: ConnId, congested: bool) {
        let Slot::Open(key) = self.slot(conn) else {
            return;
        };
        let session = self.sessions.get_mut(key.0);
        if let Some(connection) = session.and_then(Session::connection_mut) {
            connection.congested = congested;
        }
        if !congested && let Some(now) = self.now {
            self.flush(now, key);
        }
    }

    /// Sends a step (at most 128) of the retained messages that new subscriptions of this connection still get. True
    /// where more could go at once. Calling it is optional: [`Self::next_timeout`] is due while any are left, and
    /// [`Self::timeout`] takes a step of one connection after the other.
    pub fn proceed(&mut self, conn: ConnId) -> bool {
        let (Slot::Open(key), Some(now)) = (self.slot(conn), self.now) else {
            return false;
        };
        self.flush(now, key);
        self.replaying.contains(&key)
    }

    /// What is to be done, in order.
    pub fn effects(&mut self) -> vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// The same, as an exchange for an empty list whose memory is used next.
    pub fn swap_effects(&mut self, list: &mut Vec<Effect>) {
        std::mem::swap(&mut self.effects, list);
    }

    /// How many of them there are.
    #[must_use]
    pub fn effects_waiting(&self) -> usize {
        self.effects.len()
    }

    /// Whether those behind the first `known` decide if more may be read: they fill a log, and whether it is full then only
    /// the carrying out tells; or they say that a connection pauses.
    #[must_use]
    pub fn must_carry_out(&self, known: usize) -> bool {
        let mut new = self.effects.iter().skip(known);
        new.any(|effect| {
            matches!(
                effect,
                Effect::Append { .. }
                    | Effect::Keep { .. }
                    | Effect::State { .. }
                    | Effect::Pause { .. }
            )
        })
    }

    /// Who a connection is, for the log; `None` where the core has closed it, or does not know it yet.
    #[must_use]
    pub fn client_id(&self, conn: ConnId) -> Option<&ByteString> {
        let Slot::Open(key) = self.slot(conn) else {
            return None;
        };
        self.sessions.get(key.0).map(|session| &session.client_id)
    }

    /// What a connection speaks; also of one that was just refused or closed, until [`Self::closed`].
    #[must_use]
    pub fn version(&self, conn: ConnId) -> ProtocolVersion {
        match self.slot(conn) {
            Slot::Open(key) => {
                let session = self.sessions.get(key.0);
                let connection = session.and_then(Session::connection);
                connection.map_or(ProtocolVersion::V311, |connection| connection.version)
            }
            Slot::Closing(version) => version,
            Slot::Empty => ProtocolVersion::V311,
        }
    }

    /// The wall time at `now`.
    fn wall(&self, now: Instant) -> WallTime {
        let Some((then, wall)) = self.wall else {
            return WallTime::default();
        };
        wall.after(now.saturating_duration_since(then))
    }

    fn slot(&self, conn: ConnId) -> Slot {
        self.slots.get(conn.0).copied().unwrap_or_default()
    }

    /// `conn` is dense: it comes from the shell's slab, never from a wire.
    fn set_slot(&mut self, conn: ConnId, slot: Slot) {
        if conn.0 >= self.slots.len() {
            self.slots.resize(conn.0 + 1, Slot::Empty);
        }
        if let Some(place) = self.slots.get_mut(conn.0) {
            *place = slot;
        }
    }

    /// Tells the shell to close a connection that has no session (any more).
    fn close(&mut self, conn: ConnId, version: ProtocolVersion, cause: CloseCause) {
        self.set_slot(conn, Slot::Closing(version));
        self.effects.push(Effect::Close { conn, cause });
    }

    /// The session of a key, and what its deliveries need.
    fn with_session(&mut self, now: Instant, key: SessionKey) -> Option<(&mut Session, Out<'_>)> {
        let session = self.sessions.get_mut(key.0)?;
        let out = Out {
            now,
            key,
            limits: &self.limits,
            retained: &self.retained,
            store: &mut self.store,
            effects: &mut self.effects,
            stats: &mut self.stats,
        };
        Some((session, out))
    }

    /// Sends what waits for a session, as far as it may go.
    fn flush(&mut self, now: Instant, key: SessionKey) {
        let Some((session, mut out)) = self.with_session(now, key) else {
            return;
        };
        if session.flush(&mut out) {
            self.replaying.insert(key);
        } else {
            self.replaying.remove(&key);
        }
        if self.store.has_replayed() {
            self.store.tell_replayed(&mut self.effects);
        }
        if !self.parked.is_empty() {
            self.retry_parked(now, Obstacle::Queue(key));
        }
    }
}
