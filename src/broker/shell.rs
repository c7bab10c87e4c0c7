//! What the tasks on the broker's thread share: the core, and the carrying out of what it decides.
//!
//! A task works in turns. In a turn it hands events to the core ([`Shell::turn`]), whose effects are carried out at once: frames
//! are appended to outboxes, records to logs. At the end of its turn it calls [`Shell::finish`]; at the end of the round
//! (`round`) each touched connection is written to once. So a batch of messages costs one write per receiver, not one
//! per message. Nothing here waits, and no cell stays borrowed when a call returns.
//!
//! What may not grow: an outbox above its limit is written at once; what the stream does not take then is congestion,
//! and the core sends that client no more until half of the limit is free again.
//!
//! A panic in a turn is a fault of ours and must not end the broker: [`Shell::guarded`] catches it, counts it, and its
//! caller closes the connection at fault. The core may have carried out half an event then. What that can cost: the half-done
//! event's own effects, and what the core kept for that one connection, whose number is therefore never given out
//! again if even its farewell panics. What it cannot: an acknowledgement without its message in the logs, because acknowledgements
//! are released by `covered` alone, and positions in a log, because every effect that was decided is still carried out.

use std::cell::{Cell, Ref, RefCell};
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use slab::Slab;
use tokio::sync::Notify;

use super::core::{ConnId, Core, Effect, Expressed, LogId};
use super::encoded::EncodedOnce;
use super::figures::Figures;
use super::keeping::Keeping;
use super::outbox::Spare;
use super::peer::{Peer, Side, Socket};
use super::round::Round;
use super::traffic::TrafficCount;
use super::{BrokerOptions, Limits, Stores};
use crate::auth::{Authenticator, Principal};
use crate::clock::{self, WallTime};
use crate::mqtt::Packet;
use crate::shutdown::Stop;

/// An outbox is written in the middle of a turn from here on, or when it is full: one write of four large payloads costs
/// less than four, one of more costs the same.
const OUTBOX_WRITE_FROM: usize = 256 << 10;

/// Any connection may have so much waiting.
const OUTBOX_MIN: usize = 64 << 10;

/// A client that takes nothing for this long, with something waiting for it, is closed.
pub(super) const STALL_MAX: Duration = Duration::from_secs(30);

/// State of the broker's thread.
pub(super) struct Shell {
    pub(super) core: RefCell<Core>,
    pub(super) limits: Limits,
    pub(super) keeping: Keeping,
    pub(super) authenticator: Authenticator,
    pub(super) figures: Arc<Figures>,
    pub(super) traffic: TrafficCount,
    pub(super) stop: Stop,
    /// By connection number; `None` where a number must not be given out again.
    peers: RefCell<Slab<Option<Rc<Peer>>>>,
    /// What the core says of a plain packet; kept for its capacity.
    pub(super) expressed: RefCell<Expressed>,
    /// Decided and not yet carried out.
    pub(super) effects: RefCell<VecDeque<Effect>>,
    /// What links answer at once, on their way into the core.
    pub(super) answers: RefCell<VecDeque<(ConnId, Packet)>>,
    /// Whom the round gave something to write.
    pub(super) touched: RefCell<VecDeque<Rc<Peer>>>,
    pub(super) round: Round,
    /// Whose outbox has grown large.
    pub(super) swollen: RefCell<Vec<Rc<Peer>>>,
    pub(super) encoded: RefCell<EncodedOnce>,
    pub(super) spare: RefCell<Spare>,
    /// Every socket is read into this.
    pub(super) input: RefCell<BytesMut>,
    /// The core was told something while its effects were being carried out.
    pub(super) told: Cell<bool>,
    /// A log that the turn filled.
    pub(super) full: Cell<Option<LogId>>,
    /// When the timer task will wake by itself.
    pub(super) armed: Cell<Option<Instant>>,
    /// Tells the timer task of something that is due sooner.
    pub(super) sooner: Notify,
    /// Some socket takes nothing; the timer task looks after it.
    pub(super) stalls: Cell<bool>,
}

/// What an event is stamped with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) wall: WallTime,
}

impl Shell {
    pub(super) fn new(
        options: BrokerOptions,
        mut stores: Stores,
        authenticator: Authenticator,
        figures: Arc<Figures>,
        stop: Stop,
    ) -> Self {
        let limits = options.limits.clone();
        // Keys of the standard library's hash maps come from the system's randomness.
        let seed = RandomState::new().hash_one(0);
        let mut core = Core::new(options, seed);
        let lanes = stores.spread_lanes();
        for (number, bridge) in stores.bridges.iter().enumerate() {
            let next_seq = bridge.log.next_seq();
            let log = LogId::Bridge(number);
            core.attach_log(log, next_seq, bridge.routes.clone());
            core.log_is_full(clock::now(), log, bridge.log.is_full());
        }
        for (log, live) in lanes {
            core.attach_live_lane(log, live);
        }
        // From the top: the numbers behind those that are there are given to logs that are attached later.
        let missing = std::mem::take(&mut stores.missing.bridges);
        for (number, routes) in (0..usize::MAX).rev().zip(missing) {
            core.lack_log(LogId::Bridge(number), routes);
        }
        if stores.missing.sessions {
            core.lack_store();
        }
        let restored = stores.take_restored();
        if let (Some(store), Some((restored, next_session))) = (&stores.sessions, restored) {
            core.attach_store(store.log.next_seq(), next_session);
            // Of one who was removed meanwhile the queue is all there is: it cannot log in.
            let credentials = authenticator.credentials();
            core.restore(clock::now(), restored, &mut |principal, client_id| {
                let user = principal.user.as_deref();
                Some(Principal {
                    rights: credentials.access.rights(user, client_id),
                    ..principal.clone()
                })
            });
        }
        Self {
            core: RefCell::new(core),
            limits,
            keeping: Keeping::new(stores),
            authenticator,
            figures,
            traffic: TrafficCount::default(),
            stop,
            peers: RefCell::default(),
            expressed: RefCell::default(),
            effects: RefCell::default(),
            answers: RefCell::default(),
            touched: RefCell::default(),
            round: Round::default(),
            swollen: RefCell::default(),
            encoded: RefCell::default(),
            spare: RefCell::default(),
            input: RefCell::default(),
            told: Cell::default(),
            full: Cell::default(),
            armed: Cell::default(),
            sooner: Notify::new(),
            stalls: Cell::default(),
        }
    }

    /// What one connection may have waiting: a quarter of what may be queued for a session, 64 KiB at least.
    pub(super) fn outbox_max(&self) -> usize {
        (self.limits.queued_bytes / 4).max(OUTBOX_MIN)
    }

    /// From here on an outbox is written in the middle of a turn.
    pub(super) fn outbox_write_from(&self) -> usize {
        OUTBOX_WRITE_FROM.min(self.outbox_max())
    }

    /// A number for a connection, and what stands behind it.
    pub(super) fn join(&self, side: Side) -> Rc<Peer> {
        let mut peers = self.peers.borrow_mut();
        let entry = peers.vacant_entry();
        let peer = Rc::new(Peer::new(ConnId(entry.key()), side));
        entry.insert(Some(Rc::clone(&peer)));
        peer
    }

    /// The core forgets the connection, and its number is free again. Twice is the same as once.
    pub(super) fn leave(&self, peer: &Rc<Peer>) {
        let is_known = self.peer(peer.conn).is_some_and(|it| Rc::ptr_eq(&it, peer));
        if !is_known {
            return;
        }
        let told = self.guarded(|| {
            self.turn(self.moment(), |core, at| {
                core.closed(at.now, at.wall, peer.conn)
            });
        });
        let mut peers = self.peers.borrow_mut();
        if told.is_some() {
            peers.try_remove(peer.conn.0);
        } else if let Some(entry) = peers.get_mut(peer.conn.0) {
            // The core may still believe in the number; another client must not get this one's messages.
            *entry = None;
        }
        drop(peers);
        self.guarded(|| self.finish(1));
    }

    /// All of them, for a look.
    pub(super) fn peers(&self) -> Ref<'_, Slab<Option<Rc<Peer>>>> {
        self.peers.borrow()
    }

    pub(super) fn peer(&self, conn: ConnId) -> Option<Rc<Peer>> {
        self.peers.borrow().get(conn.0).cloned().flatten()
    }

    /// Hands events to the core and carries out what it decides. Says which log is full now, if the turn filled one.
    pub(super) fn turn(&self, at: Moment, events: impl FnOnce(&mut Core, Moment)) -> Option<LogId> {
        self.full.set(None);
        let mut core = self.core.borrow_mut();
        core.tell_time(at.now, at.wall);
        events(&mut core, at);
        drop(core);
        self.carry_out_all(at);
        self.full.get()
    }

    /// When the core wants to be woken.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.core.borrow().next_timeout()
    }

    /// Runs `work`; a panic in it is caught, counted, and `None`.
    pub(super) fn guarded<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        let outcome = catch_unwind(AssertUnwindSafe(work)).ok();
        if outcome.is_none() {
            self.figures.panics.add(1);
            tracing::error!(
                "a panic was caught; the connection at fault is closed. This is a fault of fieldgate"
            );
            // What was decided before it still holds; each try takes at least one effect away.
            for _ in 0..8 {
                let rest = || self.carry_out_all(self.moment());
                if catch_unwind(AssertUnwindSafe(rest)).is_ok() {
                    break;
                }
                self.figures.panics.add(1);
            }
        }
        outcome
    }

    /// Gives a socket what it takes.
    pub(super) fn flush(&self, socket: &Socket, now: Instant) {
        let written = socket.flush(now, &mut self.spare.borrow_mut());
        self.traffic.bytes_sent(written);
    }

    /// Closes sockets that have been taking nothing for too long; says when to look again.
    pub(super) fn close_stalled(&self, now: Instant) -> Option<Instant> {
        let stalled: Vec<(Rc<Peer>, Instant)> = self
            .peers
            .borrow()
            .iter()
            .filter_map(|(_, peer)| peer.as_ref())
            .filter_map(|peer| match &peer.side {
                Side::Socket(socket) => Some((Rc::clone(peer), socket.stalled_since.get()?)),
                Side::Link(_) => None,
            })
            .collect();
        let mut next = None;
        for (peer, since) in stalled {
            let due = since + STALL_MAX;
            if due > now {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            } else if let Side::Socket(socket) = &peer.side {
                tracing::warn!(address = %socket.address, "closed: the client reads nothing");
                socket.break_off(std::io::ErrorKind::TimedOut);
            }
        }
        self.stalls.set(next.is_some());
        next
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::super::core::CloseCause;
    use super::super::peer::Address;
    use super::super::{Origin, Stream};
    use super::*;
    use crate::auth::{Principal, Users};
    use crate::mqtt::{Connect, ProtocolVersion};
    use crate::shutdown::Shutdown;

    /// A client that never reads and never says anything.
    struct Stuck;

    impl Stream for Stuck {
        fn rehome(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AsyncRead for Stuck {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Stuck {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn shell(shutdown: &Shutdown) -> Shell {
        Shell::new(
            BrokerOptions::default(),
            Stores::default(),
            Authenticator::new(Users::default()),
            Arc::default(),
            shutdown.stop(),
        )
    }

    fn client(shell: &Shell, client_id: &str) -> Rc<Peer> {
        let connect = Connect {
            keep_alive: 0,
            ..Connect::new(ProtocolVersion::V5, client_id.into())
        };
        let address = Address {
            listener: "test".into(),
            peer: None,
        };
        let socket = Socket::new(address, &connect, Box::new(Stuck));
        let peer = shell.join(Side::Socket(socket));
        shell.turn(shell.moment(), |core, at| {
            let principal = |_: &str| Ok(Principal::default());
            core.connect(at.now, peer.conn, Origin::Client, principal, connect);
        });
        peer
    }

    fn socket(peer: &Peer) -> &Socket {
        let Side::Socket(socket) = &peer.side else {
            panic!("not a socket");
        };
        socket
    }

    #[test]
    fn a_panic_is_counted_and_the_turn_of_another_goes_on() {
        let shutdown = Shutdown::default();
        let shell = shell(&shutdown);
        let (first, second) = (client(&shell, "first"), client(&shell, "second"));
        let outcome = shell.guarded(|| {
            shell.turn(shell.moment(), |core, at| {
                core.receive(at.now, at.wall, second.conn, Packet::Pingreq);
                panic!("planted");
            })
        });
        assert!(outcome.is_none());
        assert_eq!(shell.figures.stats().panics, 1);
        // What was decided before the panic was carried out, and nothing stayed borrowed.
        let waiting = socket(&second).waiting();
        shell.leave(&first);
        shell.turn(shell.moment(), |core, at| {
            core.receive(at.now, at.wall, second.conn, Packet::Pingreq);
        });
        assert_eq!(socket(&second).waiting(), waiting + 2);
        assert_eq!(client(&shell, "third").conn, first.conn);
    }

    #[test]
    fn a_client_that_takes_nothing_is_closed_after_a_while() {
        let shutdown = Shutdown::default();
        let shell = shell(&shutdown);
        let peer = client(&shell, "stuck");
        shell.end_round();
        assert!(shell.stalls.get());
        let since = socket(&peer).stalled_since.get().unwrap();
        assert_eq!(shell.close_stalled(since), Some(since + STALL_MAX));
        assert_eq!(socket(&peer).broken(), None);
        assert_eq!(shell.close_stalled(since + STALL_MAX), None);
        assert_eq!(socket(&peer).broken(), Some(io::ErrorKind::TimedOut));
        assert!(!shell.stalls.get());
    }

    #[test]
    fn a_closed_connection_is_forgotten_once() {
        let shutdown = Shutdown::default();
        let shell = shell(&shutdown);
        let first = client(&shell, "twin");
        let second = client(&shell, "twin");
        assert_eq!(first.closing.get(), Some(CloseCause::TakenOver));
        shell.leave(&first);
        let third = client(&shell, "third");
        assert_eq!(third.conn, first.conn);
        shell.leave(&first);
        assert!(shell.peer(third.conn).is_some());
        assert_eq!(second.closing.get(), None);
    }
}
