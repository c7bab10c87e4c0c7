//! Wills of sessions that are kept: a crash never loses one, whatever of it was committed, and in whatever order.

use fieldgate::broker::core::{ConnId, Effect};
use fieldgate::broker::{Limits, WhenQueueFull};
use fieldgate::mqtt::{Connack, Connect, Disconnect, Packet, ReasonCode};

use crate::fake_store::FakeStore;
use crate::story::{QOS1, Story, v5, with_will};

/// How a client with a will leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// Its will is due at once.
    AtOnce,
    /// Its will is due before its session ends.
    Delayed,
    /// Its session ends before its will would be due.
    Expired,
    /// Its DISCONNECT ends the session and asks for the will.
    ForGood,
}

const ALL: [Leaves; 4] = [
    Leaves::AtOnce,
    Leaves::Delayed,
    Leaves::Expired,
    Leaves::ForGood,
];

/// What is committed between the will and the crash; `l` the session log, `s` the state.
const COMMITS: [&str; 9] = ["", "l", "s", "sl", "ls", "ss", "ll", "sls", "lsls"];

struct World {
    story: Story,
    store: FakeStore,
    connacks: Vec<Connack>,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let mut world = Self {
            story: Story::with(change),
            store: FakeStore::default(),
            connacks: Vec::new(),
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let (core, now) = (&mut self.story.core, self.story.now);
        self.store.open(core, now, Vec::new());
        core.timeout(now, self.story.wall);
        self.absorb();
    }

    fn crash(&mut self) {
        self.story.restart(WhenQueueFull::DropOldest);
        self.open();
    }

    fn absorb(&mut self) {
        for effect in self.story.effects() {
            let rest = self.store.take(self.story.now, effect);
            if let Some(Effect::Send { packet, .. }) = rest
                && let Packet::Connack(connack) = packet
            {
                self.connacks.push(*connack);
            }
        }
    }

    fn commit(&mut self, which: &str) {
        for part in which.chars() {
            let (core, now) = (&mut self.story.core, self.story.now);
            match part {
                'l' => self.store.commit_log(core, now),
                _ => self.store.commit_state(core, now),
            }
            self.absorb();
        }
    }

    fn settle(&mut self) {
        self.absorb();
        self.commit("lslsls");
    }

    /// Somebody who is away now and wants all wills; and the client, with everything committed.
    fn with_client(mut self, connect: Connect) -> (Self, ConnId) {
        let watcher = self.story.connect_with(Connect {
            session_expiry: u32::MAX,
            ..v5("watcher")
        });
        self.settle();
        self.story.subscribe(watcher, "will/#", QOS1);
        self.settle();
        self.story.cut(watcher);
        let conn = self.story.connect_with(connect);
        self.settle();
        (self, conn)
    }

    fn leave(&mut self, conn: ConnId, how: Leaves) {
        match how {
            Leaves::AtOnce => self.story.cut(conn),
            Leaves::Delayed => {
                self.story.cut(conn);
                self.settle();
                self.story.secs(30);
            }
            Leaves::Expired => {
                self.story.cut(conn);
                self.settle();
                self.story.secs(10);
            }
            Leaves::ForGood => {
                let disconnect = Disconnect {
                    session_expiry: Some(0),
                    ..Disconnect::new(ReasonCode::DisconnectWithWill)
                };
                self.story.packet(conn, Packet::Disconnect(disconnect));
            }
        }
        self.absorb();
    }

    fn wills(&self) -> usize {
        self.store.committed_kept().count()
    }
}

fn client(how: Leaves) -> Connect {
    match how {
        Leaves::AtOnce | Leaves::ForGood => with_will(v5("c"), "will/c", 0),
        Leaves::Delayed => with_will(v5("c"), "will/c", 30),
        Leaves::Expired => Connect {
            session_expiry: 10,
            ..with_will(v5("c"), "will/c", 30)
        },
    }
}

#[test]
fn a_crash_loses_no_will_and_publishes_it_twice_at_most() {
    for how in ALL {
        for commits in COMMITS {
            let (mut world, conn) = World::new().with_client(client(how));
            world.leave(conn, how);
            world.commit(commits);
            world.crash();
            world.settle();
            world.story.secs(40);
            world.settle();
            let wills = world.wills();
            assert!((1..=2).contains(&wills), "{how:?} {commits:?}: {wills}");
            if commits.contains("ls") {
                assert_eq!(wills, 1, "{how:?} {commits:?}: all was committed");
            }
            world.crash();
            world.story.secs(100_000);
            world.settle();
            assert_eq!(world.wills(), wills, "{how:?} {commits:?}: it is done with");
            assert_eq!(world.story.core.stats().sessions, 1, "the watcher's");
        }
    }
}

#[test]
fn a_crash_loses_no_will_that_is_retained() {
    for how in ALL {
        for commits in COMMITS {
            let mut connect = client(how);
            connect.will.as_mut().unwrap().message.retain = true;
            let mut world = World::new();
            let conn = world.story.connect_with(connect);
            world.settle();
            world.leave(conn, how);
            world.commit(commits);
            world.crash();
            world.story.secs(40);
            world.settle();
            let retained = world.store.committed_retained("will/c");
            assert!(retained.is_some(), "{how:?} {commits:?}");
        }
    }
}

#[test]
fn a_client_that_is_back_before_its_will_is_committed_does_not_leave_it_again() {
    for how in ALL {
        let (mut world, conn) = World::new().with_client(client(how));
        world.leave(conn, how);
        let goes_on = matches!(how, Leaves::AtOnce | Leaves::Delayed);
        world.story.connect_with(v5("c"));
        world.settle();
        assert_eq!(world.wills(), 1, "{how:?}");
        let connack = world.connacks.last().unwrap();
        assert_eq!(connack.session_present, goes_on, "{how:?}");
    }
}

#[test]
fn a_session_that_waits_for_its_will_counts_as_long() {
    let world = World::with(|limits| limits.sessions = 2);
    let (mut world, conn) = world.with_client(client(Leaves::ForGood));
    world.leave(conn, Leaves::ForGood);
    for expected in [ReasonCode::QuotaExceeded, ReasonCode::Success] {
        world.story.connect_with(v5("new"));
        world.settle();
        assert_eq!(world.connacks.last().unwrap().reason, expected);
    }
}

#[test]
fn an_orderly_end_does_not_leave_a_will_for_the_next_start() {
    let (mut world, _) = World::new().with_client(client(Leaves::AtOnce));
    world.story.core.shutdown(world.story.now);
    world.absorb();
    // The logs are closed first.
    world.commit("ls");
    world.crash();
    world.story.secs(40);
    world.settle();
    assert_eq!(world.wills(), 1);
}
