//! The other side of one connection, as the broker's thread sees it: a socket or a link.
//!
//! Shared by its own task and by whoever publishes to it, on one thread; no borrow of a cell here outlives the call that takes
//! it, and none is held across an await.

use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use super::Stream;
use super::core::{CloseCause, ConnId};
use super::link_task::LinkSide;
use super::outbox::{Outbox, Spare, Written};
use super::topic_aliases::TopicAliases;
use crate::mqtt::{Connect, ProtocolVersion, ReasonCode};

/// One connection that the core knows.
pub(super) struct Peer {
    pub(super) conn: ConnId,
    pub(super) side: Side,
    /// The core wants it closed; its task does that.
    pub(super) closing: Cell<Option<CloseCause>>,
    /// It has effects that were not flushed yet.
    pub(super) touched: Cell<bool>,
    /// Its outbox has grown large in this turn.
    pub(super) swollen: Cell<bool>,
    /// The core wants nothing read from it for now.
    pub(super) paused: Cell<bool>,
    /// The core has been told to send no more for now.
    pub(super) congested: Cell<bool>,
}

pub(super) enum Side {
    Socket(Socket),
    Link(LinkSide),
}

/// A connection with bytes.
pub(super) struct Socket {
    pub(super) address: Address,
    pub(super) version: ProtocolVersion,
    /// Maximum Packet Size of the client; `u32::MAX` where it named none.
    pub(super) packet_size_max: u32,
    wire: RefCell<Wire>,
    /// Wakes the connection's task; of no effect until its first poll.
    waker: RefCell<Waker>,
    /// Since when the stream takes nothing although there is something to write.
    pub(super) stalled_since: Cell<Option<Instant>>,
    /// Of no more use, and why.
    broken: Cell<Option<io::ErrorKind>>,
}

/// Where a client is, for the log.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) listener: Arc<str>,
    pub(super) peer: Option<SocketAddr>,
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.peer {
            Some(peer) => write!(formatter, "{peer} on {}", self.listener),
            None => formatter.write_str(&self.listener),
        }
    }
}

pub(super) struct Wire {
    pub(super) stream: Box<dyn Stream>,
    pub(super) outbox: Outbox,
    /// Where the client takes any.
    pub(super) aliases: Option<Box<TopicAliases>>,
}

impl Peer {
    pub(super) fn new(conn: ConnId, side: Side) -> Self {
        Self {
            conn,
            side,
            closing: Cell::new(None),
            touched: Cell::new(false),
            swollen: Cell::new(false),
            paused: Cell::new(false),
            congested: Cell::new(false),
        }
    }

    /// Lets its task look at what changed.
    pub(super) fn wake(&self) {
        match &self.side {
            Side::Socket(socket) => socket.wake(),
            Side::Link(link) => link.wake(),
        }
    }

    /// Asks its task to close it. The first cause counts.
    pub(super) fn close(&self, cause: CloseCause) {
        if self.closing.get().is_none() {
            self.closing.set(Some(cause));
        }
        self.wake();
    }

    /// It cannot go on, by a fault of ours.
    pub(super) fn give_up(&self) {
        match &self.side {
            Side::Socket(socket) => socket.break_off(io::ErrorKind::Other),
            Side::Link(_) => self.close(CloseCause::Violated(ReasonCode::UnspecifiedError)),
        }
    }
}

impl Socket {
    pub(super) fn new(address: Address, connect: &Connect, stream: Box<dyn Stream>) -> Self {
        let packet_size_max = connect.maximum_packet_size.unwrap_or(u32::MAX);
        let aliases = TopicAliases::new(connect.topic_alias_maximum, packet_size_max);
        Self {
            address,
            version: connect.version,
            packet_size_max,
            wire: RefCell::new(Wire {
                stream,
                outbox: Outbox::default(),
                aliases,
            }),
            waker: RefCell::new(Waker::noop().clone()),
            stalled_since: Cell::new(None),
            broken: Cell::new(None),
        }
    }

    /// Calls `work` with the stream and what waits for it.
    pub(super) fn with_wire<R>(&self, work: impl FnOnce(&mut Wire) -> R) -> R {
        work(&mut self.wire.borrow_mut())
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.wire.borrow().outbox.len()
    }

    /// Whether all is written, also what TLS kept.
    pub(super) fn is_drained(&self) -> bool {
        self.wire.borrow().outbox.is_empty()
    }

    /// From now on this task is woken when the stream can be written again.
    pub(super) fn served_by(&self, context: &Context<'_>) {
        let waker = self.waker();
        let is_new = !waker.will_wake(context.waker());
        drop(waker);
        if is_new {
            self.waker.replace(context.waker().clone());
        }
    }

    fn waker(&self) -> Ref<'_, Waker> {
        self.waker.borrow()
    }

    pub(super) fn wake(&self) {
        self.waker().wake_by_ref();
    }

    /// Gives the stream what it takes, and says how many bytes that was. A failure is kept for the connection's task,
    /// which is woken.
    pub(super) fn flush(&self, now: Instant, spare: &mut Spare) -> usize {
        if self.broken.get().is_some() {
            return 0;
        }
        let waker = self.waker();
        let mut context = Context::from_waker(&waker);
        let mut wire = self.wire.borrow_mut();
        let Wire { stream, outbox, .. } = &mut *wire;
        match outbox.write_to(stream.as_mut(), &mut context, spare) {
            Ok(Written { blocked, bytes }) => {
                let since = match bytes {
                    0 => self.stalled_since.get().unwrap_or(now),
                    _ => now,
                };
                self.stalled_since.set(blocked.then_some(since));
                bytes
            }
            Err(fault) => {
                self.broken.set(Some(fault.kind()));
                waker.wake_by_ref();
                0
            }
        }
    }

    /// The stream is of no more use.
    pub(super) fn break_off(&self, kind: io::ErrorKind) {
        self.broken.set(Some(kind));
        self.wake();
    }

    pub(super) fn broken(&self) -> Option<io::ErrorKind> {
        self.broken.get()
    }
}
