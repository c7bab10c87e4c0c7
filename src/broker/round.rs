//! Rounds: what all tasks do that were ready at once, from one wait for the sockets to the next.
//!
//! A turn ([`Shell::turn`]) belongs to the task of one connection; a round to all of them. The turns of a round are stamped with
//! one reading of the clocks, and what they give to others is written when the round ends: the task that ends it was queued
//! by the first of them, so it runs behind all that were ready then. Fifty publishers with one subscriber are one write,
//! not fifty. How long a message waits for that is bounded by [`ROUND_PACKETS`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::peer::{Peer, Side};
use super::shell::{Moment, Shell};
use crate::clock::{self, WallTime};

/// Packets of one round; with the last of them it ends, whoever is still to have a turn.
const ROUND_PACKETS: usize = 1024;

/// So late a change of the wall clock may be seen; in between it goes on with the other clock.
const WALL_AGE_MAX: Duration = Duration::from_millis(100);

/// The round that goes on.
pub(super) struct Round {
    /// What its turns are stamped with, once one asked.
    moment: Cell<Option<Moment>>,
    /// When the wall clock was read, and what it said.
    wall: Cell<Option<(Instant, WallTime)>>,
    packets: Cell<usize>,
    /// Its end has been asked for.
    is_ending: Cell<bool>,
    /// Wakes the task that ends it.
    ender: RefCell<Waker>,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            moment: Cell::default(),
            wall: Cell::default(),
            packets: Cell::default(),
            is_ending: Cell::default(),
            ender: RefCell::new(Waker::noop().clone()),
        }
    }
}

impl Round {
    fn ask_for_end(&self) {
        if !self.is_ending.replace(true) {
            self.ender.borrow().wake_by_ref();
        }
    }
}

impl Shell {
    /// The time, as of the first turn of this round.
    pub(super) fn moment(&self) -> Moment {
        self.round.moment.get().unwrap_or_else(|| self.new_moment())
    }

    /// The time, and that of the turns to come in this round.
    pub(super) fn new_moment(&self) -> Moment {
        let now = clock::now();
        let wall = match self.round.wall.get() {
            Some((then, wall)) if now.saturating_duration_since(then) < WALL_AGE_MAX => {
                wall.after(now.saturating_duration_since(then))
            }
            _ => {
                let wall = clock::wall();
                self.round.wall.set(Some((now, wall)));
                wall
            }
        };
        let moment = Moment { now, wall };
        self.round.moment.set(Some(moment));
        self.round.ask_for_end();
        moment
    }

    /// The task of this context ends the rounds from now on.
    pub(super) fn rounds_end_in(&self, context: &Context<'_>) {
        let mut ender = self.round.ender.borrow_mut();
        ender.clone_from(context.waker());
    }

    /// A turn of so many packets is over: what it gave to others is written at the end of the round.
    pub(super) fn finish(&self, packets: usize) {
        let total = self.round.packets.get() + packets;
        self.round.packets.set(total);
        if total >= ROUND_PACKETS {
            self.end_round();
        } else {
            self.round.ask_for_end();
        }
    }

    /// Writes to each touched connection once, and shows how the core stands.
    pub(super) fn end_round(&self) {
        let now = self.round.moment.get().map(|at| at.now);
        loop {
            let Some(peer) = self.touched.borrow_mut().pop_front() else {
                break;
            };
            peer.touched.set(false);
            self.write(&peer, now.unwrap_or_else(|| self.moment().now));
        }
        self.encoded.borrow_mut().forget();
        let core = self.core.borrow();
        if let Some(next) = core.next_timeout()
            && self.armed.get().is_none_or(|armed| next < armed)
        {
            self.armed.set(Some(next));
            self.sooner.notify_one();
        }
        self.figures.show(&core.stats(), &self.traffic.so_far());
        self.round.moment.set(None);
        self.round.packets.set(0);
        self.round.is_ending.set(false);
    }

    /// Gives a socket its bytes. One that takes them again is sent more.
    fn write(&self, peer: &Rc<Peer>, now: Instant) {
        let Side::Socket(socket) = &peer.side else {
            return;
        };
        self.flush(socket, now);
        if socket.stalled_since.get().is_some() && !self.stalls.replace(true) {
            self.sooner.notify_one();
        }
        if peer.congested.get() && socket.waiting() <= self.outbox_max() / 2 {
            self.ease(peer);
        }
    }

    /// The peer takes messages again.
    pub(super) fn ease(&self, peer: &Rc<Peer>) {
        if peer.congested.replace(false) {
            self.turn(self.moment(), |core, _| core.congested(peer.conn, false));
        }
    }
}
